"""A person is erased: from tables, quarantine, mails, reports and archives; and does not come back."""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from orchestration.errors import PrismError
from orchestration.forgetting.erase import Person, erase, search
from orchestration.loading.load import BatchResult, load_source
from orchestration.loading.validate import pseudonym
from orchestration.settings import Settings, load_settings
from orchestration.warehouse import Warehouse
from tests.dbt import run_dbt

pytestmark = pytest.mark.integration

KEY = "a key of the test"
PERSON = "ann.mustermann@example.com"
LOG = f"""id,prompt,at,user,text,rating
1,p,2026-03-01T10:00:00Z,{PERSON},"how do
I tell my boss",4
2,p,2026-03-01T11:00:00Z,bob@example.com,hello,5
3,q,2026-03-02T10:00:00Z,{PERSON},"a, b",9
4,q,2026-03-03T10:00:00Z,bob@example.com,ask {PERSON} about it,5
5,q,never,{PERSON},lost,5
"""
COLUMNS = {
    "usage_id": "id", "prompt_key": "prompt", "used_at": "at", "user_key": "user",
    "user_prompt": "text", "rating": "rating",
}  # fmt: skip


class House:
    def __init__(self, warehouse: Warehouse, folder: Path) -> None:
        self.warehouse, self.folder = warehouse, folder
        (folder / "in").mkdir()
        source = {"name": "log", "type": "files", "path": "in/*", "archive": "done", "columns": COLUMNS}
        config = {"sources": [source], "privacy": {"prompt_texts": "full"}}
        (folder / "prism.yaml").write_text(yaml.safe_dump(config))

        self.variables = {"PRISM_HOME": str(folder / "home"), "PRISM_HMAC_KEY": KEY}

    @property
    def settings(self) -> Settings:
        return load_settings(self.variables, self.folder)

    def put(self, name: str, content: bytes) -> None:
        path = self.folder / "in" / name
        path.write_bytes(content)
        os.utime(path, (time.time() - 60,) * 2)

    def load(self) -> list[BatchResult]:
        return load_source(self.warehouse, self.settings.sources[0], self.settings)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.warehouse.connect() as connection:
            return connection.execute(query).fetchall()  # type: ignore[call-overload, no-any-return]

    def run(self, statement: str, *values: Any) -> None:
        with self.warehouse.connect() as connection:
            connection.execute(statement, values)  # type: ignore[call-overload]


@pytest.fixture
def house(warehouse: Warehouse, tmp_path: Path) -> House:
    return House(warehouse, tmp_path)


def test_an_erased_person_is_nowhere_and_does_not_come_back(house: House) -> None:
    house.put("log.csv", LOG.encode())
    assert house.load()[0].inserted == 4
    assert house.rows("select count(*) from raw.prompt_texts") == [(4,)]
    newest = house.rows("select max(batch_id) from raw.load_batches")[0][0]

    before = house.rows("select count(*) from raw.prompt_usage")
    trial = erase(house.warehouse, house.settings, PERSON, dry_run=True)
    assert house.rows("select count(*) from raw.prompt_usage") == before
    assert PERSON in (house.folder / "done" / "log.csv").read_text()

    receipt = erase(house.warehouse, house.settings, PERSON)
    assert receipt.removed == trial.removed
    assert receipt.removed == {
        "raw.prompt_texts": 2,
        "raw.prompt_texts (of others, that name them)": 1,
        "raw.prompt_usage": 2,
        "archive of log": 3,
    }
    assert (receipt.days, receipt.found, receipt.unread) == (2, {}, [])
    assert house.rows("select usage_id from raw.prompt_usage order by 1") == [("2",), ("4",)]
    days = house.rows(f"select usage_date::text from raw.load_days where batch_id > {newest} order by 1")
    assert days == [("2026-03-01",), ("2026-03-02",)]
    # the lines of others keep their numbers
    kept = (house.folder / "done" / "log.csv").read_text().split("\n")
    assert kept[3] == "2,p,2026-03-01T11:00:00Z,bob@example.com,hello,5"
    # the receipt is kept, the person is not; the tombstone is the pseudonym alone
    assert PERSON not in str(house.rows("select receipt from ops.erasures"))
    assert house.rows("select user_key from raw.erased_people") == [(pseudonym(KEY.encode(), PERSON),)]

    house.put("again.csv", LOG.encode())
    again = house.load()[0]
    assert (again.rows_read, again.inserted, again.unchanged, again.rejected) == (5, 0, 2, 3)
    # what somebody else typed of them comes back with that use, and the search says so
    with house.warehouse.connect() as connection:
        assert search(connection, Person.of(PERSON, house.settings)) == {"raw.prompt_texts": 1}
    assert house.rows(
        "select location, payload, count(*) from raw.rejected_rows where reason ~ '^erased' group by 1, 2"
    ) == [("in/again.csv", None, 3)]
    # an erasure that is run again finds what came since, and nothing else
    receipt = erase(house.warehouse, house.settings, PERSON)
    assert receipt.removed == {"raw.prompt_texts (of others, that name them)": 1, "archive of log": 3}
    assert receipt.found == {}


def test_a_person_is_erased_by_their_pseudonym_too(house: House) -> None:
    house.put("log.csv", LOG.encode())
    house.load()
    receipt = erase(house.warehouse, house.settings, pseudonym(KEY.encode(), PERSON))
    assert receipt.removed["raw.prompt_usage"] == 2
    assert receipt.removed["archive of log"] == 3
    house.put("again.csv", LOG.encode())
    assert house.load()[0].inserted == 0


def test_an_erasure_outlives_a_change_of_the_key_and_one_after_it_finds_older_rows(
    house: House,
) -> None:
    old, new = "0ld", "n3w"
    house.variables["PRISM_HMAC_KEY"] = old
    house.put("log.csv", LOG.encode())
    house.load()
    erase(house.warehouse, house.settings, PERSON)

    house.variables["PRISM_HMAC_KEY"] = new
    house.put("again.csv", LOG.encode())
    with pytest.raises(PrismError, match="1 people were erased under another key") as told:
        house.load()
    assert "PRISM_HMAC_OLD_KEYS" in str(told.value) and old not in str(told.value)
    assert house.rows("select count(*) from raw.prompt_usage") == [(2,)]

    house.variables["PRISM_HMAC_OLD_KEYS"] = f"another {old}"
    again = house.load()[0]
    assert (again.rejected, again.updated, again.inserted) == (3, 2, 0)
    assert house.rows("select distinct user_key from raw.prompt_usage") == [
        (pseudonym(new.encode(), "bob@example.com"),)
    ]
    # of somebody of whom one use is kept by the old key's hash, and one by the new one's
    house.run(
        "update raw.prompt_usage set user_key = %s where usage_id = '2'",
        pseudonym(old.encode(), "bob@example.com"),
    )
    receipt = erase(house.warehouse, house.settings, "bob@example.com")
    assert receipt.removed["raw.prompt_usage"] == 2 and receipt.found == {}
    del house.variables["PRISM_HMAC_OLD_KEYS"]
    with pytest.raises(PrismError, match="under another key"):
        house.load()


def test_an_erasure_by_an_old_pseudonym_holds_as_long_as_the_old_key_is_named(house: House) -> None:
    old, new = "0ld", "n3w"
    house.variables["PRISM_HMAC_KEY"] = old
    house.put("log.csv", LOG.encode())
    house.load()
    house.variables |= {"PRISM_HMAC_KEY": new, "PRISM_HMAC_OLD_KEYS": old}
    receipt = erase(house.warehouse, house.settings, pseudonym(old.encode(), PERSON))
    assert receipt.removed["raw.prompt_usage"] == 2 and "person's own key" in receipt.notes[0]
    house.put("again.csv", LOG.encode())
    del house.variables["PRISM_HMAC_OLD_KEYS"]
    with pytest.raises(PrismError, match="under another key"):
        house.load()
    house.variables["PRISM_HMAC_OLD_KEYS"] = old
    house.load()
    assert house.rows("select usage_id from raw.prompt_usage order by 1") == [("2",), ("4",)]


def test_every_format_of_an_archive_loses_the_persons_rows_alone(house: House) -> None:
    uses = [
        {"id": str(n), "prompt": "p", "at": "2026-03-01T10:00:00Z", "user": user, "text": "t", "rating": "4"}
        for n, user in enumerate((PERSON, "bob@example.com", PERSON))
    ]
    done = house.folder / "done"
    done.mkdir()
    lines = "".join(json.dumps(use) + "\n" for use in uses)
    (done / "a.jsonl").write_text(lines)
    (done / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (done / "c.json").write_text(json.dumps(uses))
    pq.write_table(pa.Table.from_pylist(uses), done / "d.parquet")
    spans = [{"spanId": str(n), "attributes": [{"key": "user.id", "value": {"stringValue": use["user"]}}]}
             for n, use in enumerate(uses)]  # fmt: skip
    otel = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    (done / "e.jsonl").write_text(json.dumps(otel) + "\n")
    (done / "f.csv.gz").write_bytes(gzip.compress(b"id,user\n1,x\n")[:-9])
    (done / "g.zip").write_bytes(b"PK\x03\x04\x14\x00\x00\x00")

    receipt = erase(house.warehouse, house.settings, PERSON)
    assert receipt.removed == {"archive of log": 9}
    assert receipt.unread == [str(done / "f.csv.gz"), str(done / "g.zip")]
    for content in (
        (done / "a.jsonl").read_text(),
        gzip.decompress((done / "b.jsonl.gz").read_bytes()).decode(),
        (done / "c.json").read_text(),
        str(pq.read_table(done / "d.parquet").to_pylist()),
    ):
        assert PERSON not in content
        assert content.count("bob@example.com") == 1
    assert [span["spanId"] for span in json.loads((done / "e.jsonl").read_text())
            ["resourceSpans"][0]["scopeSpans"][0]["spans"]] == ["1"]  # fmt: skip
    assert (done / "a.jsonl").read_text().split("\n")[1] == json.dumps(uses[1])
    assert not list(done.glob("*.part"))


def test_mails_names_and_reports_of_an_erased_person_go(house: House) -> None:
    mail = "To: {}\nSubject: s\nContent-Type: text/plain; charset=utf-8\n\nOwner: {}\n"
    for report, recipient, named, state in (
        ("digest", PERSON, "x", "sent"),
        ("digest", "bob@example.com", PERSON, "sent"),
        ("weekly", "bob@example.com", PERSON, "queued"),
        ("monthly", "bob@example.com", "x", "sent"),
    ):
        house.run(
            "insert into ops.outbox (report, as_of_date, recipient, message_id, subject, body, body_sha256,"
            " state) values (%s, '2026-03-01', %s, %s, 's', %s, 'x', %s)",
            report, recipient, f"{report} {recipient}", mail.format(recipient, named).encode(), state,
        )  # fmt: skip
    house.run("insert into ops.mail_suppressions (recipient) values (%s)", PERSON)
    house.run(
        "insert into ops.alert_actions (alert_id, acted_by, action, severity) "
        "values ('a', %s, 'acknowledge', 'high'), ('a', 'bob@example.com', 'acknowledge', 'high')",
        PERSON.title(),
    )
    page = house.settings.reports_dir / "2026-03-01" / "prompts.html"
    page.parent.mkdir(parents=True)
    page.write_text(f"<td>{PERSON}</td><td>bob@example.com</td>")
    (page.parent / "report.pdf").write_bytes(b"packed")
    own = house.settings.reports_dir / "domains" / "legal-1" / "2026-03-01"
    own.mkdir(parents=True)
    (own / "data.js").write_text(json.dumps({"owner": PERSON}))
    reports = house.settings.reports_dir
    others = [own.parent / "2026-03-02", reports / "domains/sales-1/2026-03-01", reports / "2026-03-02"]
    for other in others:
        other.mkdir(parents=True)
        (other / "report.pdf").write_bytes(b"packed")
    (own / "report.pdf").write_bytes(b"packed")

    receipt = erase(house.warehouse, house.settings, PERSON)
    assert receipt.found == {}
    assert receipt.removed == {
        "ops.outbox": 2, "ops.outbox (content)": 1, "ops.mail_suppressions": 1,
        "ops.alert_actions (names)": 1, "reports (pages)": 2, "reports (files)": 2,
    }  # fmt: skip
    assert house.rows("select report, recipient, length(body) > 0 from ops.outbox order by 1") == [
        ("digest", "bob@example.com", False),  # that it was sent stays known
        ("monthly", "bob@example.com", True),
    ]
    assert house.rows("select acted_by from ops.alert_actions order by 1") == [
        ("bob@example.com",),
        ("erased",),
    ]
    assert page.read_text() == "<td>erased</td><td>bob@example.com</td>"
    assert not (page.parent / "report.pdf").exists() and not (own / "report.pdf").exists()
    assert all((other / "report.pdf").exists() for other in others)
    with house.warehouse.connect() as connection, pytest.raises(psycopg.errors.RaiseException):
        connection.execute("update ops.alert_actions set note = 'changed'")


def test_a_short_key_takes_nothing_of_others(house: House) -> None:
    house.put("log.csv", LOG.replace(PERSON, "42").replace("bob@example.com", "420").encode())
    house.load()
    receipt = erase(house.warehouse, house.settings, "42")
    assert receipt.removed["raw.prompt_usage"] == 2
    assert house.rows("select usage_id from raw.prompt_usage order by 1") == [("2",), ("4",)]
    assert receipt.found == {}


def test_a_build_that_died_before_the_rollups_leaves_nobody_behind(house: House) -> None:
    house.put("a.csv", LOG.encode())
    house.load()
    run_dbt(house.warehouse, "run", "--select", "+int_touched_usage", vars={"as_of_date": "2026-03-05"})
    receipt = erase(house.warehouse, house.settings, PERSON)
    assert receipt.removed["int_touched_usage"] == 2
    assert receipt.found == {}
