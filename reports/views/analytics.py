"""The analytics page: where use is going, how prompts spread, what they cost, what to expect, what is better.

Pure: frames in, one frozen dataclass out. Verdicts are the marts'; this page puts them into sentences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports import format as fmt
from reports.charts import Kind, Row
from reports.marts import records
from reports.metrics import COST, PERIOD_NAMES, SUCCESS, USES, Metric, Tone
from reports.options import PERIODS, Period, ReportOptions
from reports.views.common import Chart, Page, page, prompt_href, prompt_name

_MOST_COSTS = 12
_MOST_MODELS = 10
_MOST_VERDICTS = 40
# Half of all known costs, and four fifths: what a reader looks for first in a Pareto chart.
_MOST_OF_IT = 0.8
_HISTORY_DAYS = 60
_SPREADS: tuple[tuple[str, str], ...] = (
    ("success_rate", "success rate"),
    ("average_rating", "average rating"),
    ("average_response_time_ms", "average response time"),
    ("cost_per_use", "cost per use"),
)
_FORECASTS: tuple[tuple[Metric, Kind, str], ...] = (
    (USES, "forecast-count", "uses"),
    (COST, "forecast-cost", "cost"),
    (SUCCESS, "forecast-rate", "success rate"),
)


@dataclass(frozen=True)
class Trend:
    """One prompt whose use is rising or falling, and by how much."""

    name: str
    href: str
    rising: bool
    now: str
    change: str
    points: tuple[float | None, ...]


@dataclass(frozen=True)
class Model:
    """What one model cost in a period, and what of it bought nothing."""

    name: str
    uses: str
    cost: str
    share: str
    width: int
    per_use: str
    per_success: str
    failures: str
    unpriced: str


@dataclass(frozen=True)
class Anomaly:
    """A prompt and model that cost far more than usual on some days of the period."""

    name: str
    href: str
    text: str


@dataclass(frozen=True)
class PeriodAnalytics:
    """One period of the page."""

    key: Period
    title: str
    days: str
    headline: str
    empty: bool
    costs: Chart | None
    cost_note: str
    models: tuple[Model, ...]
    anomalies: tuple[Anomaly, ...]
    spreads: tuple[Chart, ...]


@dataclass(frozen=True)
class Forecast:
    """What is expected of one metric: the chart, and how wrong the method has been, in words."""

    chart: Chart
    past: str


@dataclass(frozen=True)
class Difference:
    """One metric of a comparison. ``tone`` says whether the variant is better for it."""

    verdict: str
    tone: Tone
    text: str

    @property
    def symbol(self) -> str:
        return {"good": "▲", "bad": "▼", "neutral": "▬"}[self.tone]


@dataclass(frozen=True)
class Comparison:
    """A version against the one before, or an experiment: the verdict in words, metric by metric.

    ``kind`` names the experiment, and is empty of versions.
    """

    prompt_id: str
    variant: str
    title: str
    name: str
    href: str | None
    kind: str
    days: str
    verdict: str
    tone: Tone
    differences: tuple[Difference, ...]


@dataclass(frozen=True)
class Analytics:
    """The page. ``comparisons`` are the first of ``all_comparisons``."""

    page: Page
    periods: tuple[PeriodAnalytics, ...]
    rising: tuple[Trend, ...]
    falling: tuple[Trend, ...]
    trend_text: str
    forecasts: tuple[Forecast, ...]
    all_comparisons: tuple[Comparison, ...]
    comparisons: tuple[Comparison, ...]
    comparisons_left_out: int
    experiments: int


def _metric_words(metric: str) -> tuple[str, str]:
    """A metric of a comparison: what it is called, and how its values are written."""
    return {
        "success_rate": ("success rate", "rate"),
        "average_rating": ("rating", "rating"),
        "response_time_ms": ("response time", "time"),
        "cost_per_use": ("cost per use", "money"),
    }.get(metric, (metric.replace("_", " "), "number"))


def _written(how: str, value: float | None) -> str:
    if how == "rate":
        return fmt.percent(value)
    if how == "time":
        return fmt.duration(value)
    return fmt.money(value) if how == "money" else fmt.rating(value)


def _apart(how: str, value: float, *, relative: bool) -> str:
    """A difference with its sign: points of a rate, a share of a time, else in the metric's unit."""
    if relative:
        text = f"{100 * value:+.1f}{fmt.THIN}%"
    elif how == "rate":
        text = f"{100 * value:+.1f} points"
    elif how == "money":
        text = ("+" if value >= 0 else fmt.MINUS) + fmt.money(abs(value))
    else:
        text = f"{value:+.2f}"
    return text.replace("-", fmt.MINUS)


def difference(row: Mapping[str, Any]) -> Difference:
    """One row of `prompt_comparisons` as a sentence with its interval and samples."""
    name, how = _metric_words(str(row["metric"]))
    verdict = str(row["verdict"])
    tone: Tone = "good" if verdict == "better" else "bad" if verdict == "worse" else "neutral"
    samples = f"{fmt.count(row['control_count'])} and {fmt.plural(row['variant_count'] or 0, 'use')}"
    if row["difference"] is None:
        text = f"{name.capitalize()}: not enough data to tell ({samples})"
        return Difference(verdict, tone, text)
    low, high = (
        _apart(how, row[f"difference_{end}"], relative=bool(row["is_relative"])) for end in ("low", "high")
    )
    by = _apart(how, row["difference"], relative=bool(row["is_relative"]))
    values = f"{_written(how, row['control_value'])} → {_written(how, row['variant_value'])}"
    return Difference(
        verdict,
        tone,
        f"{name.capitalize()} {verdict}: {values}, {by} "
        f"({fmt.percent(row['confidence'])} interval {low} to {high}; {samples})",
    )


def comparisons_of(
    rows: Sequence[Mapping[str, Any]], known: Mapping[str, Mapping[str, Any]]
) -> list[Comparison]:
    """The rows of `prompt_comparisons` by what they compare: those with a verdict first, then the newest.

    ``known`` are today's prompts by `prompt_id`.
    """
    grouped: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        key = (
            row["kind"],
            row["experiment"],
            row["prompt_id"],
            row["compares"],
            row["control"],
            row["variant"],
        )
        grouped.setdefault(key, []).append(row)
    made = []
    for (kind, experiment, prompt_id, compares, control, variant), group in grouped.items():
        first = group[0]
        found = [difference(row) for row in sorted(group, key=lambda row: str(row["metric"]), reverse=True)]
        worse, better = (sum(one.verdict == word for one in found) for word in ("worse", "better"))
        tone: Tone = "bad" if worse else "good" if better else "neutral"
        if worse and better:
            verdict = "better in some, worse in others"
        elif worse or better:
            verdict = "worse" if worse else "better"
        elif all(one.verdict == "not enough data" for one in found):
            verdict = "not enough data yet"
        else:
            verdict = "no difference seen"
        prompt = known.get(str(prompt_id))
        arms = (
            f"version {variant} against {control}"
            if compares == "version"
            else f"{compares} {variant} against {control}"
        )
        name = prompt_name(prompt or first) if prompt_id else str(experiment or "All prompts")
        made.append(
            (
                (
                    tone == "neutral",
                    verdict == "not enough data yet",
                    -first["starts_on"].toordinal(),
                    name,
                    arms,
                ),
                Comparison(
                    prompt_id=str(prompt_id or ""),
                    variant=str(variant),
                    title=arms,
                    name=name,
                    href=prompt_href(prompt) if prompt else None,
                    kind="Experiment " + str(experiment) if kind == "experiment" else "",
                    days=fmt.days_between(first["starts_on"], first["ends_on"] or first["starts_on"]),
                    verdict=verdict,
                    tone=tone,
                    differences=tuple(found),
                ),
            )
        )
    return [one for _, one in sorted(made, key=lambda pair: pair[0])]


def _edge(metric: str, value: float) -> str:
    if metric == "success_rate":
        return f"{100 * value:.0f}{fmt.THIN}%"
    if metric == "average_rating":
        return fmt.plain(f"{value:.1f}")
    return fmt.plain(fmt.duration(value)) if metric == "average_response_time_ms" else fmt.money(value)


def _bucket(metric: str, low: float, high: float | None) -> str:
    if high is None:
        return f"over {_edge(metric, low)}"
    return f"{_edge(metric, low)} to {_edge(metric, high)}"


def _spread(period: Period, metric: str, label: str, rows: Sequence[Mapping[str, Any]]) -> Chart:
    """How the prompts of a period spread over one metric."""
    known = sum(row["prompt_count"] for row in rows)
    fullest = max(rows, key=lambda row: (row["prompt_count"], -row["bucket"]))
    share = fullest["prompt_count"] / known if known else 0
    names = {row["bucket"]: _bucket(metric, row["bucket_low"], row["bucket_high"]) for row in rows}
    drawn: list[Row] = []
    for row in rows:
        sampled, thin = row["sampled_prompt_count"], row["prompt_count"] - row["sampled_prompt_count"]
        for value, series, order in ((sampled, "20 uses or more", 0), (thin, "fewer: may be luck", 1)):
            drawn.append(
                {
                    # no two buckets begin at one value
                    "bucket": _edge(metric, row["bucket_low"]),
                    "range": names[row["bucket"]],
                    "order": row["bucket"],
                    "value": value,
                    "series": series,
                    "thin": order,
                }
            )
    return Chart(
        key=f"{metric}-{period}",
        title=f"{fmt.percent(share, 0)} of prompts: {label} {names[fullest['bucket']]}" if known else label,
        note=f"{fmt.plural(known, 'prompt')} with a known {label}; each bar from the value under it.",
        kind="spread",
        rows=tuple(drawn),
        head=(label.capitalize(), "Prompts", "Of 20 uses or more", "Share"),
        # the table is shown from its end
        table=tuple(
            (
                names[row["bucket"]],
                fmt.count(row["prompt_count"]),
                fmt.count(row["sampled_prompt_count"]),
                fmt.percent(row["prompt_share"]),
            )
            for row in reversed(rows)
        ),
    )


def _pareto(period: Period, rows: Sequence[Mapping[str, Any]]) -> tuple[Chart | None, str]:
    """The dearest prompts of a period, and how few make most of the cost."""
    priced = [row for row in rows if (row["total_cost"] or 0) > 0]
    total = sum(row["total_cost"] for row in priced)
    if not priced:
        return None, ""
    priced.sort(key=lambda row: (-row["total_cost"], str(row["prompt_id"])))
    so_far, needed = 0.0, 0
    for row in priced:
        if so_far >= _MOST_OF_IT * total:
            break
        so_far += row["total_cost"]
        needed += 1
    top = priced[:_MOST_COSTS]
    drawn: list[Row] = []
    table = []
    cumulated = 0.0
    names: set[str] = set()
    for rank, row in enumerate(top, start=1):
        cumulated += row["total_cost"]
        name = fmt.cut(prompt_name(row), 40)
        # two prompts of one name are two bars
        while name in names:
            name += "\u200b"
        names.add(name)
        upto = f"{fmt.percent(cumulated / total, 0)} of all costs"
        drawn.append(
            {
                "name": name,
                "rank": rank,
                "value": round(row["total_cost"], 6),
                "text": fmt.money(row["total_cost"]),
                "label": f"{fmt.money(row['total_cost'])} · {fmt.percent(cumulated / total, 0)}",
                "sum": upto,
            }
        )
        table.append(
            (
                prompt_name(row),
                fmt.money(row["total_cost"]),
                fmt.percent(cumulated / total, 0),
                fmt.money(row["cost_per_use"]),
                fmt.money(row["cost_per_success"]),
            )
        )
    few = f"{fmt.plural(needed, 'prompt')} of {fmt.count(len(priced))}"
    chart = Chart(
        key=f"pareto-{period}",
        title=f"{few} make {fmt.percent(so_far / total, 0)} of the cost",
        note=f"The dearest {min(len(priced), _MOST_COSTS)}, with what each and those above it come to, "
        f"of {fmt.money(total)}.",
        kind="pareto",
        rows=tuple(drawn),
        head=("Prompt", "Cost", "With those above", "Per use", "Per success"),
        table=tuple(reversed(table)),
    )
    return chart, f"{few} make {fmt.percent(so_far / total, 0)} of {fmt.money(total)}"


def _models(rows: Sequence[Mapping[str, Any]]) -> tuple[Model, ...]:
    total = sum(row["total_cost"] or 0 for row in rows)
    return tuple(
        Model(
            name="unknown model" if row["model"] is None else str(row["model"]),
            uses=fmt.count(row["usage_count"]),
            cost=fmt.money(row["total_cost"]),
            share=fmt.percent(row["total_cost"] / total, 0)
            if row["total_cost"] is not None and total
            else fmt.DASH,
            width=round(100 * (row["total_cost"] or 0) / total) if total else 0,
            per_use=fmt.money(row["total_cost"] / row["priced_count"] if row["priced_count"] else None),
            per_success=fmt.money(
                row["total_cost"] / row["priced_success_count"] if row["priced_success_count"] else None
            ),
            failures=fmt.money(row["failure_cost"]),
            unpriced=fmt.count(row["unpriced_count"]),
        )
        for row in rows[:_MOST_MODELS]
    )


def _period(
    period: Period,
    row: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    *,
    models: Sequence[Mapping[str, Any]],
    anomalies: Sequence[Mapping[str, Any]],
    spreads: Mapping[str, Sequence[Mapping[str, Any]]],
    known: Mapping[str, Mapping[str, Any]],
) -> PeriodAnalytics:
    costs, few = _pareto(period, rows)
    if not row["usage_count"]:
        headline = "No uses in this period."
    elif row["total_cost"] is None:
        headline = f"{fmt.plural(row['usage_count'], 'use')}; no cost is known."
    elif not few:
        headline = f"{fmt.plural(row['usage_count'], 'use')}, all free of charge."
    else:
        headline = f"{few}."
    failed = sum(one["failure_cost"] or 0 for one in models)
    total = row["total_cost"] or 0
    unpriced = sum(one["unpriced_count"] or 0 for one in models)
    notes = []
    if failed and total:
        notes.append(f"{fmt.money(failed)} ({fmt.percent(failed / total)}) went into uses that failed")
    if unpriced:
        notes.append(
            f"{fmt.plural(unpriced, 'use')} that took tokens {'has' if unpriced == 1 else 'have'} no price, "
            "so the true cost is higher"
        )
    return PeriodAnalytics(
        key=period,
        title=PERIOD_NAMES[period].title,
        days=fmt.days_between(row["period_start"], row["period_end"]),
        headline=headline,
        empty=not row["usage_count"],
        costs=costs,
        cost_note="; ".join(notes) + "." if notes else "",
        models=_models(models),
        anomalies=tuple(
            Anomaly(
                name=prompt_name(known.get(str(one["prompt_id"]), one)),
                href=prompt_href(known.get(str(one["prompt_id"]), one)),
                text=f"{fmt.plural(one['anomaly_count'], 'day')} out of the ordinary with "
                f"{one['model'] or 'an unknown model'}: {fmt.money(one['excess_cost'])} more than usual",
            )
            for one in anomalies
        ),
        spreads=tuple(
            _spread(period, metric, label, spreads[metric])
            for metric, label in _SPREADS
            if spreads.get(metric)
        ),
    )


def _forecast(
    metric: Metric,
    kind: Kind,
    label: str,
    days: Sequence[Mapping[str, Any]],
    ahead: Sequence[Mapping[str, Any]],
) -> Forecast:
    """The last :data:`_HISTORY_DAYS` days and the coming ones of one metric, all prompts together."""
    past = [
        {
            "day": f"{row['usage_date'].isoformat()}T00:00:00",
            "value": row[metric.key],
            "coming": False,
            "days": fmt.day(row["usage_date"]),
            "text": metric.write(row[metric.key]),
        }
        for row in days[-_HISTORY_DAYS:]
        if row[metric.key] is not None
    ]
    known = [row for row in ahead if row["value"] is not None]
    coming = [
        {
            "day": f"{row['forecast_date'].isoformat()}T00:00:00",
            "value": round(row["value"], 6),
            "low": round(row["low"], 6),
            "high": round(row["high"], 6),
            "coming": True,
            "days": fmt.day(row["forecast_date"]),
            "text": f"{metric.write(row['value'])}, between {metric.write(row['low'])} "
            f"and {metric.write(row['high'])}",
        }
        for row in known
    ]
    if not known:
        why = (
            "Not enough history: a forecast needs 21 days since the first value."
            if ahead
            else "The forecasts of this date were not computed."
        )
        return Forecast(
            Chart(f"forecast-{metric.key}", f"No forecast of {label} yet", why, kind, (), (), ()), ""
        )
    first = known[0]
    span = fmt.days_between(known[0]["forecast_date"], known[-1]["forecast_date"])
    if metric is SUCCESS:
        mean = sum(row["value"] for row in known) / len(known)
        title = f"About {fmt.percent(mean)} should succeed"
    else:
        total = sum(row["value"] for row in known)
        unit = " uses" if metric is USES else ""
        title = f"About {metric.write(total)}{unit} in the coming {fmt.plural(len(known), 'day')}"
    error, naive, cover = first["backtest_error"], first["naive_error"], first["interval_coverage"]
    if error is None or naive is None:
        words = f"Method: {first['method']}; there was nothing to test it on."
    else:
        against = (
            "no better than repeating the week before"
            if error >= naive
            else f"{fmt.percent(1 - error / naive, 0)} less wrong than repeating the week before"
        )
        words = (
            f"Method: {first['method']}, tested on its own past eight weeks: {against} "
            f"(error {error:.2f} against {naive:.2f} of what a weekday usually differs from the one before)"
        )
        words += (
            f"; {fmt.percent(cover, 0)} of the tested days fell into their interval, 80{fmt.THIN}% is meant."
            if cover is not None
            else "."
        )
    return Forecast(
        Chart(
            key=f"forecast-{metric.key}",
            title=title,
            note=f"{metric.label} a day: the last {len(past)} days, and dashed what {span} should bring, "
            "in the band that four days in five should hit. Of "
            f"{fmt.plural(first['history_days'] or 0, 'day')} of history.",
            kind=kind,
            rows=(*past, *coming),
            head=("Day", metric.label, "Low", "High"),
            table=tuple(
                (
                    fmt.day(row["forecast_date"]),
                    metric.write(row["value"]),
                    metric.write(row["low"]),
                    metric.write(row["high"]),
                )
                for row in reversed(known)
            ),
        ),
        words,
    )


def analytics(
    *,
    dashboard: pd.DataFrame,
    summary: pd.DataFrame,
    models: pd.DataFrame,
    anomalies: pd.DataFrame,
    distribution: pd.DataFrame,
    movers: pd.DataFrame,
    mover_days: pd.DataFrame,
    days: pd.DataFrame,
    forecasts: pd.DataFrame,
    comparisons: pd.DataFrame,
    prompts: Mapping[str, Mapping[str, Any]],
    options: ReportOptions,
) -> Analytics:
    """The page from the frames of :class:`reports.marts.Marts`; ``prompts`` are today's by `prompt_id`."""
    metrics = {row["period"]: row for row in records(dashboard)}
    by_period: dict[str, list[Mapping[str, Any]]] = {period: [] for period in PERIODS}
    for row in records(summary):
        by_period[row["period"]].append(row)
    by_model: dict[str, list[Mapping[str, Any]]] = {}
    for row in records(models):
        by_model.setdefault(row["period"], []).append(row)
    odd: dict[str, list[Mapping[str, Any]]] = {}
    for row in records(anomalies):
        odd.setdefault(row["period"], []).append(row)
    spreads: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for row in records(distribution):
        spreads.setdefault(row["period"], {}).setdefault(row["metric"], []).append(row)
    lines: dict[str, list[float | None]] = {}
    for row in records(mover_days):
        lines.setdefault(row["prompt_id"], []).append(row["week_usage_count"])

    def trend(row: Mapping[str, Any]) -> Trend:
        known = prompts.get(str(row["prompt_id"]), row)
        change = 28 * row["usage_slope"]
        return Trend(
            name=prompt_name(known),
            href=prompt_href(known),
            rising=row["direction"] == "rising",
            now=f"{row['week_usage_count']:,.1f} uses a day",
            change=f"{change:+,.1f} in 28 days".replace("-", fmt.MINUS),
            points=tuple(lines.get(str(row["prompt_id"]), ())),
        )

    found = [trend(row) for row in records(movers) if row["scope"] == "prompt"]
    all_of_them = next((row for row in records(movers) if row["scope"] == "all"), None)
    if options.domains:
        trend_text = ""  # told of all prompts together
    elif all_of_them is None:
        trend_text = "Nothing was used in the last 90 days."
    elif all_of_them["direction"] == "too little data":
        trend_text = "There is too little data to tell where use is going: it takes 28 days and 20 uses."
    else:
        change = f"{28 * all_of_them['usage_slope']:+,.0f}".replace("-", fmt.MINUS)
        trend_text = (
            f"Use is {all_of_them['direction']}: {all_of_them['week_usage_count']:,.0f} uses a day in the "
            f"last seven days, {change} a day within four weeks, each weekday compared with itself."
        )
    ahead: dict[str, list[Mapping[str, Any]]] = {}
    for row in records(forecasts):
        ahead.setdefault(row["metric"], []).append(row)
    history = records(days)
    compared = comparisons_of(records(comparisons), prompts)
    return Analytics(
        page=page(options, "Analytics", "analytics"),
        periods=tuple(
            _period(
                period,
                metrics[period],
                by_period[period],
                models=by_model.get(period, ()),
                anomalies=odd.get(period, ()),
                spreads=spreads.get(period, {}),
                known=prompts,
            )
            for period in PERIODS
        ),
        rising=tuple(one for one in found if one.rising),
        falling=tuple(one for one in found if not one.rising),
        trend_text=trend_text,
        # of a report of some domains there is none: intervals of prompts do not add up
        forecasts=tuple(
            _forecast(metric, kind, label, history, ahead.get(metric.key, ()))
            for metric, kind, label in _FORECASTS
            if not options.domains
        ),
        all_comparisons=tuple(compared),
        comparisons=tuple(compared[:_MOST_VERDICTS]),
        comparisons_left_out=max(0, len(compared) - _MOST_VERDICTS),
        experiments=len({row["experiment"] for row in records(comparisons) if row["experiment"]}),
    )
