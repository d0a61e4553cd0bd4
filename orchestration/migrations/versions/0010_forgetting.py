"""raw: who was erased and up to which day uses are sealed, which each load heeds; ops: receipts.

``raw.erased_people`` holds pseudonyms alone. ``raw.sealed_days`` has a row a sealing: all days up to
``sealed_through`` keep their daily rollups and are never built again. ``ops.erasures`` and
``ops.retention_runs`` say what was removed, by table, and of nobody in particular.
"""

from alembic import op

revision = "0010"
down_revision = "0009"

STATEMENTS = """
create table raw.erased_people (
    user_key text primary key,
    erased_at timestamptz not null default now()
);

create table raw.sealed_days (
    sealed_through date primary key,
    timezone text not null,
    sealed_at timestamptz not null default now()
);

create table ops.erasures (
    erasure_id bigint generated always as identity primary key,
    erased_at timestamptz not null default now(),
    receipt jsonb not null
);

create table ops.retention_runs (
    retention_run_id bigint generated always as identity primary key,
    finished_at timestamptz not null default now(),
    removed jsonb not null
);
"""


def upgrade() -> None:
    op.execute(STATEMENTS)
