"""What an alert notice says: its subject, its order, what it sums up, and that nothing breaks out of it."""

from __future__ import annotations

from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from reports import format as fmt
from reports import mail
from reports.views.notice import Change
from tests.unit import mail_samples as samples
from tests.unit.test_mail_compose import NOW, Tags

DAY = samples.DAY


def change(number: int, event: str, before: str | None = None, days_ago: int = 0) -> Change:
    return Change(f"alert-{number}", DAY - timedelta(days=days_ago), event, before)


@pytest.mark.parametrize(
    ("severities", "changes", "news"),
    [
        (["high"], [change(0, "opened")], "1 new high alert"),
        (["high", "high"], [change(0, "opened"), change(1, "reopened")], "2 new high alerts"),
        (
            ["low", "high", "medium"],
            [change(0, "opened"), change(1, "opened"), change(2, "escalated", "low")],
            "1 new high alert, 1 escalated to medium, 1 new low alert",
        ),
        (["over", "over"], [change(0, "resolved", "high"), change(1, "resolved", "low")], "2 resolved"),
        (["high"], [change(0, "opened", None, 1), change(0, "escalated", "low")], "1 escalated to high"),
    ],
)
def test_the_subject_counts_what_happened_the_worst_first(
    severities: list[str], changes: list[Change], news: str
) -> None:
    rows = [
        samples.alert(n, severity="high", state="resolved")
        if severity == "over"
        else samples.alert(n, severity=severity)
        for n, severity in enumerate(severities)
    ]
    view = samples.notice_of(rows, changes)
    assert view.subject == f"Prism 2026-11-21: {news}"
    assert view.headline.lower() == news.lower()


def test_what_is_behind_an_alert_stands_with_it_the_most_telling_first() -> None:
    causes = (
        "Version 3 is new.",
        "Model large: 81 % of what is too much." + "x" * 200,
        "timeout: 71 of 116.",
    )
    view = samples.notice_of([samples.alert(0)], [change(0, "opened")], causes=causes)
    [one] = view.alerts
    assert [cause[:15] for cause in one.alert.causes] == ["Version 3 is ne", "Model large: 81"]
    assert max(map(len, one.alert.causes)) == 160
    assert "· Version 3 is new." in mail.render_chat(view)[1]


def test_only_what_has_changed_is_in_it_the_worst_first_and_the_resolved_last() -> None:
    rows = [
        samples.alert(0, severity="low"),
        samples.alert(1),
        samples.alert(2, severity="medium"),
        samples.alert(3, state="resolved"),
    ]
    view = samples.notice_of(rows, [change(0, "opened"), change(2, "opened"), change(3, "resolved", "high")])
    assert [one.alert.alert_id for one in view.alerts] == ["alert-2", "alert-0"]
    assert [one.alert.alert_id for one in view.resolved] == ["alert-3"]


def test_what_is_over_the_cap_is_counted() -> None:
    rows = [samples.alert(n, severity="high" if n else "low") for n in range(5)]
    view = samples.notice_of(rows, [change(n, "opened") for n in range(5)], most=3)
    assert (len(view.alerts), view.more) == (3, "And 2 more: 1 high, 1 low.")
    assert view.subject.endswith("4 new high alerts, 1 new low alert")


def test_both_forms_say_the_same_of_every_alert() -> None:
    view = samples.plain_notice()
    content = mail.render_notice(view)
    assert content.html is not None
    words = " ".join(Tags(content.html).text.split())
    for one in view.alerts:
        for told in (one.alert.prompt, one.label, one.alert.message, one.alert.recommendation, one.command):
            assert told.replace(fmt.THIN, " ") in content.text
            assert " ".join(told.split()) in words
    for text in (content.text, words):
        assert "You get this by route 1" in text and "Resolved".lower() in text.lower()


def test_hostile_text_is_inert_in_a_notice() -> None:
    content = mail.render_notice(samples.hostile_notice())
    assert content.html is not None
    assert len(content.html.encode()) < mail.MOST_HTML_BYTES
    tags = Tags(content.html)
    assert not {"script", "img", "iframe", "form"} & {tag for tag, _ in tags.tags}
    links = [attributes["href"] for tag, attributes in tags.tags if tag == "a"]
    assert links and all(str(link).startswith("https://reports.example.com/prism/2026") for link in links)
    [message] = mail.compose_all(
        content, sender="prism@example.com", recipients=["ann@example.com"], composed_at=NOW
    )
    arrived = message_from_bytes(message.as_bytes(), _class=EmailMessage, policy=policy.default)
    assert arrived["Bcc"] is None and "\n" not in arrived["Subject"]
    for text in (content.text, *mail.render_chat(samples.hostile_notice())):
        assert not set("\r\x00\x1b\u202e\ud800") & set(text)
