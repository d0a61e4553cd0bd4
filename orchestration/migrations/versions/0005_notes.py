"""raw: what there is to say of a batch that is no fault, such as columns of a file that nothing reads."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("alter table raw.load_batches add column note text")
