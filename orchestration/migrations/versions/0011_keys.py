"""raw: by which key for pseudonyms a tombstone was made, so that a change of the key is noticed.

``erased_people.key_id`` is short and tells nothing of the key; null of those made before there was one.
"""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.execute("alter table raw.erased_people add column key_id text")
