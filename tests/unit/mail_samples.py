"""Frames as the marts would return them, for mails: a plain month, a hostile one, an empty one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd

from reports import marts
from reports.options import PERIODS, Build, ReportOptions
from reports.selection import Frames, Selection, cut
from reports.views.digest import Digest, Letter, digest
from reports.views.notice import Change, Notice, notice

DAY = date(2026, 11, 21)
OPTIONS = ReportOptions(
    as_of_date=DAY,
    build=Build("green", datetime(2026, 11, 22, 1, 31, tzinfo=UTC)),
    base_url="https://reports.example.com/prism",
    version="0.1.0",
)
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>\r\nBcc: all@example.com\x00\x1b[31m\u202egnp.exe "
    '"\' javascript:alert(3) {{ 7*7 }} =HYPERLINK("https://evil.example.com") \ud800 &amp; ' + "W" * 400
)

_NAMES = (
    ("Contract summary", "legal", 412, 0.981, 4.61, 1240.0),
    ("Invoice extraction", "finance", 1893, 0.962, 4.43, 880.0),
    ("Release notes from commits", "engineering", 1204, 0.948, 4.38, 1630.0),
    ("Customer reply, friendly", "support", 3120, 0.941, 4.30, 1420.0),
    ("Meeting minutes", "operations", 960, 0.936, 4.22, 1910.0),
    ("SQL from a question", "analytics", 705, 0.871, 3.94, 2410.0),
    ("Quarterly report outline for the board of directors", "finance", 138, 0.842, 3.60, 3350.0),
    ("Translate to German", "support", 1510, 0.790, 3.71, 1150.0),
    ("Log triage", "engineering", 344, 0.662, 2.81, 5630.0),
    ("Persona writer", "marketing", 61, 0.607, None, 6120.0),
    ("Tagline ideas", "marketing", 12, 0.750, 4.00, 900.0),
    ("Old onboarding mail", "people", 0, None, None, None),
)


def _frame(rows: list[dict[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=list(columns), dtype=object)
    return frame.astype({name: marts._DTYPES[kind] for name, kind in columns.items()})


def _summary(names: tuple[tuple[Any, ...], ...]) -> list[dict[str, Any]]:
    rows = []
    for number, (name, domain, uses, rate, rating, response) in enumerate(names, 1):
        margin = 1.96 * math.sqrt(rate * (1 - rate) / uses) if uses else None
        known = uses > 0
        rows.append(
            {
                "prompt_id": f"00000000-0000-0000-0000-{number:012d}",
                "prompt_name": name,
                "domain": domain,
                "status": "active",
                "usage_count": uses,
                "outcome_count": uses,
                "success_count": round(uses * rate) if known else 0,
                "success_rate": rate,
                "success_rate_low": max(0.0, rate - margin) if known else None,
                "success_rate_high": min(1.0, rate + margin) if known else None,
                "rated_count": uses // 9,
                "average_rating": rating,
                "average_response_time_ms": response,
                "priced_count": uses,
                "total_cost": uses * 0.0041 if known else None,
                "cost_per_use": 0.0041 if known else None,
                "previous_usage_count": round(uses * 0.93) if known else 260,
                "previous_success_rate": None
                if rate is None
                else min(1.0, rate + (0.09 if rate < 0.8 else 0.0)),
            }
        )
    return rows


def frames(
    names: tuple[tuple[Any, ...], ...] = _NAMES,
    *,
    alerts: list[dict[str, Any]] | None = None,
    days: int = 75,
) -> dict[str, pd.DataFrame]:
    """All the frames of :class:`reports.selection.Frames`, by name."""
    summary = _summary(names)
    outcomes = sum(row["outcome_count"] for row in summary)
    used = {
        "usage_count": outcomes,
        "success_rate": sum(row["success_count"] for row in summary) / outcomes if outcomes else None,
        "average_rating": 4.18 if outcomes else None,
        "average_response_time_ms": 1612.0 if outcomes else None,
        "total_cost": 42.47 if outcomes else None,
    }
    before = {
        "previous_usage_count": round(outcomes * 0.93),
        "previous_success_rate": 0.938 if outcomes else None,
        "previous_average_rating": 4.21 if outcomes else None,
        "previous_average_response_time_ms": 1490.0 if outcomes else None,
        "previous_total_cost": 38.10 if outcomes else None,
    }
    alert_rows = open_alerts() if alerts is None else alerts
    dashboard = {
        "total_prompts": len(names),
        "active_prompts": len(names),
        "used_prompts": sum(row["usage_count"] > 0 for row in summary),
        "suite_prompts": 4 if names else 0,
        "total_agents": 9,
        **used,
        **before,
        "target_success_rate": 0.8,
        "target_average_rating": 4.0,
        "target_average_response_time_ms": 2000.0,
    }
    best = sorted(
        (row for row in summary if row["usage_count"] >= 20), key=lambda row: -row["success_rate_low"]
    )
    return {
        "dashboard": _frame([{"period": period, **dashboard} for period in PERIODS], marts._DASHBOARD),
        "summary": _frame(
            [{"period": period, **row} for period in PERIODS for row in summary], marts._SUMMARY
        ),
        "top": _frame(
            [
                {"period": period, "rank": rank, **row}
                for period in PERIODS
                for rank, row in enumerate(best[:10], 1)
            ],
            marts._TOP,
        ),
        "alert_rows": _frame(alert_rows, marts._ALERTS),
        "daily": _frame(_daily(days if outcomes else 0), {"usage_date": "date", **marts.SUMS}),
        "quality": _frame(_quality(outcomes), marts._QUALITY),
    }


def _daily(days: int) -> list[dict[str, Any]]:
    rows = []
    for back in reversed(range(days)):
        day = DAY - timedelta(days=back)
        uses = 95 + 6 * (back % 7) if day.weekday() >= 5 else 390 - 2 * back + 17 * (back % 5)
        rate = 0.938 - 0.0012 * max(0, 34 - back) - (0.05 if back == 9 else 0) + 0.006 * (back % 3)
        rows.append(
            {
                "usage_date": day,
                "usage_count": uses,
                "outcome_count": uses,
                "success_count": round(uses * rate),
                "error_count": uses - round(uses * rate),
                "rated_count": uses // 9,
                "rating_sum": uses // 9 * 4.18,
                "response_time_count": uses,
                "response_time_sum_ms": uses * 1612.0,
                "priced_count": uses - 3,
                "total_cost": uses * 0.0041,
            }
        )
    return rows


def _quality(uses: int) -> list[dict[str, Any]]:
    if not uses:
        return []
    return [
        {
            "source": "prism",
            "usage_date": DAY - timedelta(days=back),
            "rows_read": 350,
            "rejected_rows": 6 if back == 3 else 0,
            "rejected_values": 0,
            "late_rows": 4,
            "usage_count": 345,
            "unpriced_uses": 3,
            "unlisted_uses": 9,
            "last_used_at": datetime(2026, 11, 21, 22, 58, tzinfo=UTC) - timedelta(days=back),
            "last_loaded_at": datetime(2026, 11, 22, 1, 30, tzinfo=UTC),
            "verdict": "warn" if back in (0, 3) else "ok",
            "reasons": "2.6 % of uses belong to prompts that the library does not list" if back == 0 else "",
        }
        for back in range(30)
    ]


def alert(number: int, **values: Any) -> dict[str, Any]:
    """One open alert; ``values`` replace those of the plain one."""
    return {
        "alert_id": f"alert-{number}",
        "prompt_id": "00000000-0000-0000-0000-000000000009",
        "prompt_name": "Log triage",
        "domain": "engineering",
        "rule": "poor_success_rate",
        "metric": "success_rate",
        "comparator": "below",
        "severity": "high",
        "period": "month",
        "observed_value": 0.662,
        "threshold": 0.7,
        "sample_size": 344,
        "first_detected_on": DAY,
        "last_detected_on": DAY,
        "days_open": 1,
        "state": "open",
        "message": "66.2 % of 344 outcomes succeeded; the threshold is 70 %.",
        "recommendation": "Compare version 3 with version 2: success fell with the edit of 12 November.",
        **values,
    }


def open_alerts() -> list[dict[str, Any]]:
    """Two new high ones, an older medium one, an acknowledged low one."""
    return [
        alert(1),
        alert(
            2,
            prompt_id="00000000-0000-0000-0000-000000000010",
            prompt_name="Persona writer",
            domain="marketing",
            rule="slow_response",
            metric="average_response_time_ms",
            comparator="above",
            observed_value=6120.0,
            threshold=5000.0,
            sample_size=61,
            recommendation="Try a smaller model: the answers are short, and the model takes 4.8 s to begin.",
        ),
        alert(
            3,
            rule="poor_rating",
            metric="average_rating",
            severity="medium",
            observed_value=2.81,
            threshold=3.0,
            sample_size=38,
            first_detected_on=DAY - timedelta(days=6),
            recommendation="Read the low-rated answers of the last week; most name missing context.",
        ),
        alert(
            4,
            prompt_id="00000000-0000-0000-0000-000000000012",
            prompt_name="Old onboarding mail",
            domain="people",
            rule="low_usage",
            metric="usage_count",
            severity="low",
            observed_value=0.0,
            threshold=5.0,
            sample_size=0,
            first_detected_on=DAY - timedelta(days=17),
            state="acknowledged",
            recommendation="Archive it, or tell its agents that it is there.",
        ),
    ]


def library(names: tuple[tuple[Any, ...], ...] = _NAMES) -> pd.DataFrame:
    """The mart `prompts` of the same prompts; `support` has an owner."""
    rows = [
        {
            "prompt_id": row["prompt_id"],
            "prompt_name": row["prompt_name"],
            "domain": row["domain"],
            "status": "active",
            "suite": "PRISM" if row["domain"] == "finance" else None,
            "owner": "ann@example.com" if row["domain"] == "support" else None,
            "is_listed": True,
        }
        for row in _summary(names)
    ]
    return _frame(rows, marts._PROMPTS)


LETTER = Letter(contact="owner@example.com")
OWNERS = Letter(
    kind="weekly",
    selection=Selection({"owner": ("ann@example.com",)}),
    scope="prompts of ann@example.com",
    reason="prompts of yours are in the library",
    contact="owner@example.com",
    attached=True,
)


def of(letter: Letter, options: ReportOptions = OPTIONS) -> Digest:
    """An ordinary morning's mail of some letter; what is cut has half of the days' uses."""
    days = _frame(
        [
            row
            | {name: row[name] // 2 for name in marts.SUMS if name.endswith("count")}
            | {name: row[name] / 2 for name in ("rating_sum", "response_time_sum_ms", "total_cost")}
            for row in _daily(75)
        ],
        {"usage_date": "date", **marts.SUMS},
    )
    return digest(cut(Frames(**frames()), letter.selection, library(), days, DAY), options, letter)


def plain_digest() -> Digest:
    """An ordinary morning."""
    return of(LETTER)


def weekly() -> Digest:
    """The week of all prompts."""
    return of(Letter(kind="weekly", contact="owner@example.com"))


def monthly() -> Digest:
    """The month of all prompts, its tables attached."""
    return of(Letter(kind="monthly", contact="owner@example.com", attached=True))


def owners() -> Digest:
    """The week of one owner's prompts."""
    return of(OWNERS)


def stale_digest() -> Digest:
    """The last good report, after a night that failed."""
    build = Build("stale", OPTIONS.build.finished_at, ("unique_prompts_prompt_id",))
    return of(LETTER, replace(OPTIONS, build=build))


def hostile_digest() -> Digest:
    """Hostile text in every field that comes from outside, as many rows as a mail shows."""
    names = tuple((HOSTILE + str(n), HOSTILE, 40 + n, 0.5 + n / 100, 4.0, 900.0) for n in range(20))
    alerts = [
        alert(n, prompt_name=HOSTILE, domain=HOSTILE, message=HOSTILE, recommendation=HOSTILE)
        for n in range(20)
    ]
    letter = Letter(kind="monthly", scope=HOSTILE, contact="owner@example.com")
    return digest(Frames(**frames(names, alerts=alerts)), OPTIONS, letter)


def empty_digest() -> Digest:
    """No prompt, no use, no alert, not published."""
    options = ReportOptions(as_of_date=DAY, build=OPTIONS.build)
    return digest(Frames(**frames((), alerts=[], days=0)), options)


def notice_of(alert_rows: list[dict[str, Any]], changes: list[Change], **options: Any) -> Notice:
    """The notice about ``changes`` of alerts of prompts that the library knows by the names they have;
    ``causes``: words of what is behind the first alert."""
    prompts = {row["prompt_id"]: row for row in alert_rows}
    causes = [
        {"alert_id": alert_rows[0]["alert_id"], "kind": "change", "description": cause}
        for cause in options.pop("causes", ())
    ]
    return notice(
        alert_rows=_frame(alert_rows, marts._ALERTS),
        evidence=_frame(causes, marts._ALERT_EVIDENCE),
        prompts=prompts,
        changes=changes,
        options=options.pop("options", OPTIONS),
        most=options.pop("most", 20),
        reason="You get this by route 1 of alerts.routes in prism.yaml.",
    )


def plain_notice() -> Notice:
    """One that opened, one that opened again, one that escalated, one that is over."""
    new, slow, rated, idle = open_alerts()
    idle |= {"state": "resolved"}
    return notice_of(
        [new, slow | {"severity": "medium"}, rated | {"severity": "high"}, idle],
        [
            Change("alert-1", DAY, "opened", None),
            Change("alert-2", DAY, "reopened", None),
            Change("alert-3", DAY, "escalated", "medium"),
            Change("alert-4", DAY, "resolved", "low"),
        ],
        causes=(
            "Version 3 is new on 2026-11-12, 9 days before it was first detected; it has 64 % of the uses.",
            "Model large: 81 % of what is too much, with a success rate of 55.2 % over 210 (before: 88 %).",
            "timeout: 71 of 116 errors (61 %; 12 % in the 90 days before).",
        ),
    )


def hostile_notice() -> Notice:
    """Hostile text in every field that comes from outside, more alerts than it shows."""
    rows = [
        alert(
            n,
            prompt_name=HOSTILE,
            domain=HOSTILE,
            message=HOSTILE,
            recommendation=HOSTILE,
            state="open" if n < 20 else "resolved",
        )
        for n in range(30)
    ]
    changes = [Change(f"alert-{n}", DAY, "opened" if n < 20 else "resolved", None) for n in range(30)]
    return notice_of(rows, changes, most=25)


def unpublished_notice() -> Notice:
    """One resolution, and no report that could be linked."""
    options = ReportOptions(as_of_date=DAY, build=OPTIONS.build)
    return notice_of(
        [alert(1, state="resolved")], [Change("alert-1", DAY, "resolved", "high")], options=options
    )
