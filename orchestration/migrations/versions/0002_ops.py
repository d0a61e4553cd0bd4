"""ops: what the program keeps of its own doings: builds, and the outbox of mails."""

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = """
create table ops.builds (
    build_id bigint generated always as identity primary key,
    as_of_date date not null,
    marts_schema text not null,
    started_at timestamptz not null,
    finished_at timestamptz,
    state text not null check (state in ('running', 'green', 'red')),
    batch_id bigint,
    failures jsonb not null default '[]',
    run_id text
);
create index builds_by_date on ops.builds (as_of_date, build_id desc);

create table ops.outbox (
    outbox_id bigint generated always as identity primary key,
    report text not null,
    as_of_date date not null,
    recipient text not null,
    message_id text not null unique,
    subject text not null,
    body bytea not null,
    body_sha256 text not null,
    state text not null default 'queued'
    check (state in ('queued', 'sending', 'sent', 'retry', 'failed', 'uncertain')),
    attempts integer not null default 0,
    lease_until timestamptz,
    next_attempt_at timestamptz,
    last_reply text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (report, as_of_date, recipient)
);

create table ops.deliveries (
    delivery_id bigint generated always as identity primary key,
    outbox_id bigint not null references ops.outbox,
    attempted_at timestamptz not null,
    outcome text not null,
    reply text
);
create index deliveries_by_outbox on ops.deliveries (outbox_id);
"""


def upgrade() -> None:
    op.execute(STATEMENTS)
