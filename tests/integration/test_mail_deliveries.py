"""The delivery log as analysts see it: what became of each mail, and nobody's address."""

from __future__ import annotations

import pytest

from orchestration.warehouse import Warehouse
from reports import outbox
from reports.outbox import Patience
from tests.dbt import run_dbt
from tests.mailbox import DAY, Mailbox, mail, running

pytestmark = pytest.mark.integration


def test_the_log_says_what_became_of_each_mail_and_names_nobody(warehouse: Warehouse) -> None:
    mailbox = Mailbox()
    mailbox.answers["gone@example.org"] = ["550 5.1.1 <gone@example.org>: no such user"]
    with warehouse.connect(autocommit=True) as connection, running(mailbox) as address:
        messages = [mail("ann@example.com"), mail("gone@example.org")]
        outbox.queue(connection, report="digest", as_of_date=DAY, messages=messages)
        outbox.deliver(connection, f"smtp://{address}", patience=Patience(timeout=5, pauses=()))
    run_dbt(
        warehouse, "build", "--select", "+mail_deliveries", vars={"as_of_date": DAY.isoformat()}
    )  # with its tests and its unit test
    with warehouse.connect() as connection:
        rows = connection.execute("select * from marts.mail_deliveries order by mail_id").fetchall()
        log = connection.execute(
            "select recipient_domain, state, attempt_count, reply_code, delivered_at is null"
            " from marts.mail_deliveries order by mail_id"
        ).fetchall()
    assert log == [
        ("example.com", "sent", 1, "250", False),
        ("example.org", "failed", 1, "550 5.1.1", True),
    ]
    assert "gone" not in str(rows) and "ann" not in str(rows)
