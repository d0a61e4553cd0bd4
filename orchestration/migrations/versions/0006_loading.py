"""raw: what a source's own daily totals (LiteLLM's) say of a day; quarantine looked up by place."""

from alembic import op

revision = "0006"
down_revision = "0005"

STATEMENTS = """
alter table raw.reconciliations
    add column reported_count bigint,
    add column reported_agrees boolean,
    add column reported_totals text,
    add column logged_totals text;

create index rejected_rows_open on raw.rejected_rows using hash (location) where resolved_at is null;
"""


def upgrade() -> None:
    op.execute(STATEMENTS)
