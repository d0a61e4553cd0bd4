"""raw: what a source's own daily totals (LiteLLM's) say of a day, beside the rows of its log."""

from alembic import op

revision = "0006"
down_revision = "0005"

STATEMENTS = """
alter table raw.reconciliations
    add column reported_count bigint,
    add column reported_agrees boolean,
    add column reported_totals text,
    add column logged_totals text;
"""


def upgrade() -> None:
    op.execute(STATEMENTS)
