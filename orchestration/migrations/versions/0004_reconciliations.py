"""raw: what comparing a source's days with what was loaded of them found; which rejected rows were mended."""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = """
create table raw.reconciliations (
    source text not null,
    usage_date date not null,
    compared_at timestamptz not null,
    source_count bigint not null,
    kept_count bigint not null,
    agrees boolean not null,
    source_totals text not null,
    kept_totals text not null,
    differed_at timestamptz,
    inserted bigint not null default 0,
    updated bigint not null default 0,
    deleted bigint not null default 0,
    primary key (source, usage_date)
);

alter table raw.rejected_rows add column resolved_at timestamptz;
"""


def upgrade() -> None:
    op.execute(STATEMENTS)
