"""Small frames as :class:`reports.marts.Marts` returns them, with every column, for the views' tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd

from reports import marts
from reports.options import PERIOD_DAYS, PERIODS, Build, ReportOptions

AS_OF = date(2026, 3, 1)
Row = Mapping[str, Any]


def options(**changes: Any) -> ReportOptions:
    """A report of a green build, as of :data:`AS_OF`."""
    values: dict[str, Any] = {
        "as_of_date": AS_OF,
        "build": Build("green", datetime(2026, 3, 2, 1, 34, tzinfo=UTC)),
        "version": "9.9",
    }
    return ReportOptions(**(values | changes))


def frame(columns: Mapping[str, str], rows: Sequence[Row]) -> pd.DataFrame:
    """A frame of a mart's columns; what a row leaves out is null, a column the mart lacks is an error."""
    for row in rows:
        assert set(row) <= set(columns), set(row) - set(columns)
    content = [[row.get(name) for name in columns] for row in rows]
    made = pd.DataFrame(content, columns=list(columns), dtype=object)
    return made.astype({name: marts._DTYPES[kind] for name, kind in columns.items()})


def dashboard(**month: Any) -> pd.DataFrame:
    """One row a period, empty but for the library and what ``month`` says of the month."""
    library = {
        "total_prompts": 3,
        "active_prompts": 2,
        "used_prompts": 0,
        "suite_prompts": 1,
        "total_agents": 4,
        "usage_count": 0,
        "target_success_rate": 0.8,
        "target_average_rating": 4.0,
        "target_average_response_time_ms": 2000.0,
    }
    rows = [library | {"period": period} | (month if period == "month" else {}) for period in PERIODS]
    return frame(marts._DASHBOARD, rows)


def summary(*rows: Row) -> pd.DataFrame:
    """Rows of the month unless they say another period."""
    filled = []
    for row in rows:
        period = row.get("period", "month")
        start = AS_OF - timedelta(days=(PERIOD_DAYS[period] or 90) - 1)
        known = {"period": period, "period_start": start, "period_end": AS_OF, "usage_count": 0}
        filled.append(known | {"prompt_name": row["prompt_id"], "health": "no_data"} | row)
    return frame(marts._SUMMARY, filled)


def top(*rows: Row) -> pd.DataFrame:
    return frame(marts._TOP, [{"period": "month"} | row for row in rows])


def alerts(*rows: Row) -> pd.DataFrame:
    known = {
        "rule": "poor_success_rate",
        "severity": "medium",
        "period": "month",
        "metric": "success_rate",
        "comparator": "below",
        "observed_value": 0.554,
        "threshold": 0.7,
        "sample_size": 184,
        "state": "open",
        "first_detected_on": AS_OF,
        "last_detected_on": AS_OF,
        "message": "Success rate 55.4 %.",
        "recommendation": "Read the failed calls.",
    }
    return frame(marts._ALERTS, [known | {"prompt_name": row["prompt_id"]} | row for row in rows])


def action_items(*rows: Row) -> pd.DataFrame:
    """Action items that nobody has finished, of prompts named by their id."""
    known = {"rule": "poor_success_rate", "severity": "high", "state": "open", "is_overdue": False}
    return frame(marts._ACTION_ITEMS, [known | {"prompt_name": row["prompt_id"]} | row for row in rows])


def library(*rows: Row) -> pd.DataFrame:
    known = {"domain": "support", "status": "active", "is_listed": True}
    return frame(marts._PROMPTS, [known | {"prompt_name": row["prompt_id"]} | row for row in rows])


def days(*rows: Row) -> list[dict[str, Any]]:
    """Rows of days, as the trends take them."""
    return marts.records(daily(*rows))


def daily(*rows: Row) -> pd.DataFrame:
    return frame({"usage_date": "date", **marts.SUMS}, rows)


def shares(*rows: Row) -> pd.DataFrame:
    return frame({"prompt_id": "text", "by": "text", "share": "text", **marts.SUMS}, rows)


def quality(*rows: Row) -> pd.DataFrame:
    known = {"source": "app", "usage_date": AS_OF, "rows_read": 100, "usage_count": 100, "verdict": "ok"}
    return frame(marts._QUALITY, [known | row for row in rows])


def segments(*rows: Row) -> pd.DataFrame:
    return frame(marts._SEGMENTS, [{"period": "month", "scope": "all"} | row for row in rows])


def over_time(*rows: Row) -> pd.DataFrame:
    known = {"grain": "week", "scope": "all", "starts_on": AS_OF - timedelta(days=6), "ends_on": AS_OF}
    return frame(marts._OVER_TIME, [known | row for row in rows])


def hours(*rows: Row) -> pd.DataFrame:
    return frame(marts._HOURS, [{"period": "month"} | row for row in rows])


def comparisons(*rows: Row) -> pd.DataFrame:
    known = {
        "kind": "version",
        "compares": "version",
        "control": "1",
        "variant": "2",
        "starts_on": AS_OF - timedelta(days=20),
        "ends_on": AS_OF,
        "metric": "success_rate",
        "is_relative": False,
        "confidence": 0.95,
        "verdict": "no difference seen",
    }
    return frame(marts._COMPARISONS, [known | row for row in rows])


def forecasts(*rows: Row) -> pd.DataFrame:
    known = {"metric": "usage_count", "forecast_date": AS_OF + timedelta(days=1), "history_days": 90}
    return frame(marts._FORECASTS, [known | row for row in rows])


def rules(*rows: Row) -> pd.DataFrame:
    known = {"kind": "alert rule", "scope": "all", "comparator": "below", "minimum_sample": 20}
    return frame(marts._RULES, [known | row for row in rows])


def versions(*rows: Row) -> pd.DataFrame:
    return frame(
        marts._VERSIONS, [{"prompt_id": "p", "outcome_count": 0, "rated_count": 0} | row for row in rows]
    )


def events(*rows: Row) -> pd.DataFrame:
    known = {"event": "opened", "event_on": AS_OF, "rule": "slow_response", "cause": "Slow.", "alert_id": "1"}
    return frame(marts._ALERT_EVENTS, [known | {"prompt_name": row["prompt_id"]} | row for row in rows])


def recommendations(*rows: Row) -> pd.DataFrame:
    known = {"priority": "high", "action": "rewrite", "title": "Rewrite it", "reason": "It fails."}
    return frame(marts._RECOMMENDATIONS, [known | {"prompt_name": row["prompt_id"]} | row for row in rows])


def evidence(*rows: Row) -> pd.DataFrame:
    return frame(marts._ALERT_EVIDENCE, rows)
