"""ops: what people do about alerts, and which notices went to whom.

``ops.alert_actions`` is a history that only grows: an alert's state is worked out from it, never written.
``ops.notices`` is the outbox of chats and webhooks, one message a recipient and night; a mail's message lies
in ``ops.outbox``. ``ops.notice_events`` is the ledger: an alert's change is told to a recipient once.
"""

from alembic import op

revision = "0007"
down_revision = "0006"

STATEMENTS = """
create table ops.alert_actions (
    action_id bigint generated always as identity primary key,
    alert_id text not null,
    acted_at timestamptz not null default now(),
    acted_by text not null check (acted_by <> ''),
    action text not null
    check (action in ('acknowledge', 'snooze', 'assign', 'resolve', 'reopen', 'note')),
    severity text not null check (severity in ('low', 'medium', 'high')),
    until_on date,
    assigned_to text,
    due_on date,
    note text,
    check ((action = 'snooze') = (until_on is not null)),
    check ((action = 'assign') = (assigned_to is not null)),
    check (due_on is null or action = 'assign'),
    check (note is not null or action <> 'note')
);
create index alert_actions_by_alert on ops.alert_actions (alert_id, action_id);

create function ops.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '%.% keeps what was done: it is added to, never changed', tg_table_schema, tg_table_name;
end
$$;
create trigger alert_actions_only_grow
before update or delete or truncate on ops.alert_actions
for each statement execute function ops.refuse_change();

create table ops.notices (
    notice_id bigint generated always as identity primary key,
    channel text not null check (channel in ('mail', 'chat')),
    recipient text not null,
    as_of_date date not null,
    title text not null,
    body text,
    outbox_id bigint,
    state text check (state in ('queued', 'sending', 'sent', 'retry', 'failed', 'uncertain')),
    attempts integer not null default 0,
    lease_until timestamptz,
    next_attempt_at timestamptz,
    last_reply text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (channel, recipient, as_of_date),
    check ((channel = 'chat') = (body is not null and state is not null))
);

create table ops.notice_events (
    alert_id text not null,
    event_on date not null,
    event text not null,
    channel text not null,
    recipient text not null,
    notice_id bigint not null references ops.notices,
    primary key (alert_id, event_on, event, channel, recipient)
);
create index notice_events_by_notice on ops.notice_events (notice_id);
"""


def upgrade() -> None:
    op.execute(STATEMENTS)
