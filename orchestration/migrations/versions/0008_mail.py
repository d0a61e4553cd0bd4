"""ops: mails that wait for their hour, are sent again when asked for, or are not wanted any more."""

from alembic import op

revision = "0008"
down_revision = "0007"

STATEMENTS = """
-- a mail that was asked for again is a copy with a row of its own
alter table ops.outbox add column copy integer not null default 0;
alter table ops.outbox drop constraint outbox_report_as_of_date_recipient_key;
alter table ops.outbox add constraint outbox_once unique (report, as_of_date, recipient, copy);
-- what the mail said, short: one that goes out on change alone is compared with the last
alter table ops.outbox add column fingerprint text;
-- tried again by hand: from then on counts how long it is worth trying
alter table ops.outbox add column revived_at timestamptz;
-- the owner hears once of each mail that failed; of those before there were such notices, no more
alter table ops.outbox add column is_owner_told boolean not null default false;
update ops.outbox set is_owner_told = true where state = 'failed';

create table ops.mail_suppressions (
    recipient text primary key check (recipient = lower(recipient)),
    suppressed_at timestamptz not null default now()
);
"""


def upgrade() -> None:
    op.execute(STATEMENTS)
