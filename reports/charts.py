"""Charts: one Altair spec a kind, drawn in the browser, as static SVG or (by mail) as PNG; and sparklines.

A spec names its data instead of holding it, so that a page carries each spec once and each chart only its
rows. Colours come as a :class:`Palette`: CSS variables where a browser draws, plain colours elsewhere.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, Protocol, get_args

from markupsafe import Markup

Kind = Literal[
    "uses",
    "success",
    "rating",
    "response",
    "split-success",
    "split-rating",
    "split-median",
    "split-p95",
    "spread",
    "pareto",
    "forecast-count",
    "forecast-cost",
    "forecast-rate",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
Row = dict[str, Any]

_DATA = "points"
# Format of an axis by kind, in d3's language.
_AXES: Mapping[Kind, str] = {
    "rating": ".1f",
    "response": "~s",
    "split-success": "~%",
    "split-rating": ".1f",
    "split-median": "~s",
    "split-p95": "~s",
    "forecast-count": "~s",
    "forecast-cost": "$~s",
    "forecast-rate": "~%",
}


@dataclass(frozen=True)
class Palette:
    """Colours by role; hues that colour-blind readers can tell apart, and greys.

    ``several`` are for lines side by side, which differ in their marks' shape as well.
    """

    ink: str
    faint: str
    main: str
    second: str
    muted: str
    surface: str
    several: tuple[str, ...]


# In a page the style sheet decides, light or dark.
PAGE = Palette(
    ink="var(--muted)",
    faint="var(--line)",
    main="var(--series-1)",
    second="var(--series-2)",
    muted="var(--series-quiet)",
    surface="transparent",
    several=tuple(f"var(--series-{n})" for n in range(1, 6)),
)
# On white: mail and print.
PAPER = Palette(
    ink="#4a5568",
    faint="#e2e8f0",
    main="#1f5fbf",
    second="#b45309",
    muted="#a9bfe0",
    surface="#ffffff",
    several=("#1f5fbf", "#b45309", "#00796b", "#8e24aa", "#5f6b7a"),
)


class Point(Protocol):
    """What a trend chart needs to know of one point; times are days, rates 0 to 1."""

    @property
    def start(self) -> date: ...
    @property
    def end(self) -> date: ...
    @property
    def days(self) -> str: ...
    @property
    def current(self) -> bool: ...
    @property
    def usage_count(self) -> int: ...
    @property
    def success_rate(self) -> float | None: ...
    @property
    def success_target(self) -> float | None: ...
    @property
    def success(self) -> str: ...
    @property
    def uses(self) -> str: ...
    @property
    def outcomes(self) -> str: ...


def rows(kind: Kind, points: Sequence[Point]) -> list[Row]:
    """The data of one chart, as its spec expects it."""
    if kind == "uses":
        return [
            {"day": f"{point.end.isoformat()}T00:00:00", "value": point.usage_count, "now": point.current}
            | {"days": point.days, "text": point.uses}
            for point in points
        ]
    return [
        {
            "day": f"{point.end.isoformat()}T00:00:00",
            "value": round(point.success_rate, 5),
            "now": point.current,
            "target": point.success_target,
        }
        | {"days": point.days, "text": point.success, "of": point.outcomes}
        for point in points
        if point.success_rate is not None
    ]


@functools.cache
def spec(kind: Kind, palette: Palette = PAGE) -> dict[str, Any]:
    """The Vega-Lite spec of a kind, without data; as wide as its container. Treat it as read-only."""
    import altair as alt  # noqa: PLC0415 - takes seconds to import, and not every report process draws

    base = alt.Chart(alt.NamedData(_DATA))
    if kind == "uses":
        chart = _uses(alt, base, palette)
    elif kind == "spread":
        chart = _spread(alt, base, palette)
    elif kind == "pareto":
        chart = _pareto(alt, base, palette)
    elif kind.startswith("split-"):
        chart = _split(alt, base, palette, kind)
    elif kind.startswith("forecast-"):
        chart = _forecast(alt, base, palette, kind)
    elif kind == "response":
        chart = _response(alt, base, palette)
    else:
        chart = _line(alt, base, palette, kind)
    size: dict[str, Any] = (
        {"width": "container"} if kind == "pareto" else {"width": "container", "height": 180}
    )
    styled = (
        chart.properties(**size)
        .configure(background=palette.surface, font="system-ui, sans-serif", padding=4)
        .configure_view(strokeWidth=0)
        .configure_axis(
            labelColor=palette.ink,
            labelPadding=6,
            gridColor=palette.faint,
            domainColor=palette.faint,
            labelFontSize=11,
        )
        .configure_legend(
            orient="top", title=None, labelColor=palette.ink, labelFontSize=11, symbolSize=60, offset=4
        )
    )
    made: dict[str, Any] = styled.to_dict()
    made.pop("$schema", None)  # an address; nothing here asks the network for it
    return made


def _days(alt: Any) -> Any:
    axis = alt.Axis(format="%-d %b", labelOverlap=True, tickCount=8, grid=False)
    return alt.X("day:T", title=None, axis=axis)


def _values(alt: Any, name: str, labels: str, *, from_zero: bool) -> Any:
    axis = alt.Axis(format=labels, tickCount=4, domain=False, ticks=False)
    return alt.Y(f"{name}:Q", title=None, axis=axis, scale=alt.Scale(zero=from_zero, nice=True))


def _goal(base: Any, palette: Palette) -> Any:
    return (
        base.transform_filter("isValid(datum.target)")
        .mark_rule(strokeDash=[4, 4], color=palette.second, strokeWidth=1.5)
        .encode(y="max(target):Q")
    )


def _uses(alt: Any, base: Any, palette: Palette) -> Any:
    shade = alt.condition("datum.now", alt.value(palette.main), alt.value(palette.muted))
    axis = alt.Axis(format="%-d %b", labelOverlap=True, labelAngle=0, labelSeparation=14, ticks=False)
    return base.mark_bar(cornerRadiusEnd=2, binSpacing=1, width={"band": 0.8}).encode(
        x=alt.X(
            "day:O",
            timeUnit="yearmonthdate",
            title=None,
            axis=axis,
            scale=alt.Scale(paddingInner=0.25),
        ),
        y=_values(alt, "value", "~s", from_zero=True),
        color=shade,
        tooltip=[alt.Tooltip("days:N", title="Days"), alt.Tooltip("text:N", title="Uses")],
    )


def _line(alt: Any, base: Any, palette: Palette, kind: Kind) -> Any:
    title = "Success" if kind == "success" else "Rating"
    sample = "Outcomes" if kind == "success" else "Ratings"
    line = base.mark_line(strokeWidth=2, color=palette.main, interpolate="monotone").encode(
        x=_days(alt), y=_values(alt, "value", _AXES.get(kind, "~%"), from_zero=False)
    )
    dots = base.mark_circle(size=28, opacity=1).encode(
        x="day:T",
        y="value:Q",
        color=alt.condition("datum.now", alt.value(palette.main), alt.value(palette.muted)),
        tooltip=[
            alt.Tooltip("days:N", title="Days"),
            alt.Tooltip("text:N", title=title),
            alt.Tooltip("of:N", title=sample),
        ],
    )
    return alt.layer(_goal(base, palette), line, dots)


def _response(alt: Any, base: Any, palette: Palette) -> Any:
    """Median and 95th percentile in seconds, told apart by colour, dash and legend."""
    series = ["Median", "95th percentile"]
    colour = alt.Color("series:N", scale=alt.Scale(domain=series, range=[palette.main, palette.several[2]]))
    line = base.mark_line(strokeWidth=2, interpolate="monotone").encode(
        x=_days(alt),
        y=_values(alt, "value", "~s", from_zero=True),
        color=colour,
        strokeDash=alt.StrokeDash("series:N", scale=alt.Scale(domain=series, range=[[1, 0], [6, 3]])),
    )
    dots = base.mark_circle(size=24, opacity=1).encode(
        x="day:T",
        y="value:Q",
        color=colour,
        tooltip=[
            alt.Tooltip("days:N", title="Days"),
            alt.Tooltip("text:N", title="Response time"),
            alt.Tooltip("series:N", title="Of the times"),
            alt.Tooltip("of:N", title="Timed uses"),
        ],
    )
    return alt.layer(line, dots)


def _split(alt: Any, base: Any, palette: Palette, kind: Kind) -> Any:
    """One line a segment, told apart by colour and by the shape of its marks."""
    name = kind.removeprefix("split-")
    order = alt.EncodingSortField("rank", op="min", order="ascending")
    shapes = ["circle", "square", "triangle-up", "diamond", "cross"]
    legend = alt.Legend(columns=2, labelLimit=110)  # three are too wide for a phone
    colours = alt.Scale(range=list(palette.several))
    known = base.transform_filter(f"isValid(datum['{name}'])")
    value = _values(alt, name, _AXES[kind], from_zero=name in ("median", "p95"))
    line = known.mark_line(strokeWidth=1.75, interpolate="monotone").encode(
        x=_days(alt), y=value, color=alt.Color("series:N", sort=order, scale=colours, legend=None)
    )
    marks = known.mark_point(size=34, filled=True, opacity=1).encode(
        x="day:T",
        y=f"{name}:Q",
        color=alt.Color("series:N", sort=order, scale=colours, legend=legend),
        shape=alt.Shape("series:N", sort=order, scale=alt.Scale(range=shapes), legend=legend),
        tooltip=[
            alt.Tooltip("series:N", title="Of"),
            alt.Tooltip("days:N", title="Days"),
            alt.Tooltip("text:N", title="Then"),
        ],
    )
    # one legend: of a scale that two layers share, it would stand beside that of the shapes
    return alt.layer(line, marks).resolve_scale(color="independent", shape="independent")


def _spread(alt: Any, base: Any, palette: Palette) -> Any:
    """Prompts by bucket; those of few uses paler, and stacked on top."""
    series = ["20 uses or more", "fewer: may be luck"]
    return base.mark_bar(cornerRadiusEnd=2, width={"band": 0.82}).encode(
        x=alt.X(
            "bucket:N",
            sort=alt.EncodingSortField("order", op="min"),
            title=None,
            axis=alt.Axis(labelAngle=0, labelOverlap=True, labelSeparation=4, ticks=False),
        ),
        y=alt.Y(
            "value:Q",
            title=None,
            axis=alt.Axis(format="~s", tickCount=4, tickMinStep=1, domain=False, ticks=False),
        ),
        color=alt.Color("series:N", scale=alt.Scale(domain=series, range=[palette.main, palette.muted])),
        order=alt.Order("thin:Q"),
        tooltip=[
            alt.Tooltip("range:N", title="From, to"),
            alt.Tooltip("value:Q", title="Prompts"),
            alt.Tooltip("series:N", title="With"),
        ],
    )


def _pareto(alt: Any, base: Any, palette: Palette) -> Any:
    """The dearest first, each with its cost and what it and those above it come to."""
    name = alt.Y(
        "name:N",
        sort=alt.EncodingSortField("rank", op="min"),
        title=None,
        axis=alt.Axis(labelLimit=170, ticks=False, domain=False),
    )
    # room for the label of the longest bar, which is as long however narrow the chart
    room = alt.Scale(domainMin=0, nice=False, range=[0, alt.expr("max(24, width - 104)")])
    bars = base.mark_bar(cornerRadiusEnd=2, height={"band": 0.72}, color=palette.main).encode(
        y=name,
        x=alt.X("value:Q", title=None, axis=None, scale=room),
        tooltip=[
            alt.Tooltip("name:N", title="Prompt"),
            alt.Tooltip("text:N", title="Cost"),
            alt.Tooltip("sum:N", title="With those above"),
        ],
    )
    labels = base.mark_text(align="left", dx=6, color=palette.ink, fontSize=11).encode(
        y=name, x="value:Q", text="label:N"
    )
    return alt.layer(bars, labels)


def _forecast(alt: Any, base: Any, palette: Palette, kind: Kind) -> Any:
    """What was, as a line; what is expected, dashed, within the band that four days in five should hit."""
    value = _values(alt, "value", _AXES[kind], from_zero=kind != "forecast-rate")
    coming = base.transform_filter("datum.coming")
    band = coming.mark_area(color=palette.second, opacity=0.18, interpolate="monotone").encode(
        x=_days(alt), y="low:Q", y2="high:Q"
    )
    past = (
        base.transform_filter("!datum.coming")
        .mark_line(color=palette.main, strokeWidth=2, interpolate="monotone")
        .encode(x="day:T", y=value)
    )
    ahead = coming.mark_line(
        color=palette.second, strokeWidth=2, strokeDash=[5, 3], interpolate="monotone"
    ).encode(x="day:T", y="value:Q")
    points = base.mark_point(size=60, opacity=0).encode(
        x="day:T",
        y="value:Q",
        tooltip=[alt.Tooltip("days:N", title="Day"), alt.Tooltip("text:N", title="Value")],
    )
    return alt.layer(band, past, ahead, points)


def with_data(chart: dict[str, Any], data: Sequence[Row], width: int) -> dict[str, Any]:
    """A spec with its rows, of a fixed width in pixels: what vl-convert draws."""
    return {**chart, "width": width, "datasets": {_DATA: list(data)}}


def _height(kind: Kind, data: Sequence[Row]) -> dict[str, int]:
    """The height of a chart that has a bar a row; nothing for all others, whose spec has theirs."""
    return {"height": 24 * len(data) + 8} if kind == "pareto" else {}


def svg(kind: Kind, data: Sequence[Row], *, width: int, palette: Palette = PAGE) -> Markup:
    """The chart as static SVG: for print, and for readers without JavaScript."""
    import vl_convert  # noqa: PLC0415 - starts a JavaScript engine

    sized = with_data(spec(kind, palette), data, width) | _height(kind, data)
    drawn: str = vl_convert.vegalite_to_svg(sized)
    # Vega counts clip paths on through the life of the process; here each chart has names of its own.
    names: dict[str, str] = {}
    drawn = re.sub(
        r'(id="|url\(#)(clip\d+)',
        lambda found: found[1] + names.setdefault(found[2], f"{kind}-clip-{len(names)}"),
        drawn,
    )
    return Markup(drawn)  # nosec B704 # noqa: S704 - made by Vega, which escapes the texts of its data


@functools.cache
def script() -> str:
    """What a page needs to draw: Vega and its kin (as `vegaEmbed`), and the specs (`prismSpecs`)."""
    import vl_convert  # noqa: PLC0415 - starts a JavaScript engine

    libraries: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    specs = json.dumps({kind: spec(kind) for kind in KINDS}, separators=(",", ":"))
    # In a function of its own: the bundle would otherwise leave hundreds of names in the page.
    return f"window.prismSpecs = {specs};\n(() => {{{libraries}\n}})();\n"


def page_json(charts: Mapping[str, tuple[Kind, Sequence[Row]]]) -> Markup:
    """The rows of a page's charts by chart, for a `<script type="application/json">`.

    Charts of the very same rows share them.
    """
    sets: dict[int, int] = {}
    rows: list[Sequence[Row]] = []
    for _, data in charts.values():
        if id(data) not in sets:
            sets[id(data)] = len(rows)
            rows.append(data)
    named = {
        name: {"spec": kind, "rows": sets[id(data)]} | _height(kind, data)
        for name, (kind, data) in charts.items()
    }
    return script_json({"charts": named, "rows": rows})


def script_json(content: object) -> Markup:
    """JSON that can stand inside a script element: no `<`, `>` or `&` is left in it."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # nosec B704 # noqa: S704 - what could end the element or open another was just replaced


def sparkline(values: Sequence[float | None], *, width: int = 120, height: int = 32) -> Markup:
    """A small trend as inline SVG, decorative; nothing where fewer than two values are known.

    A gap in the values is a gap in the line. Scaled to the values' own range.
    """
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return Markup("")
    low, high = min(known), max(known)
    spread = (high - low) or 1.0
    middle = high == low
    step = (width - 4) / max(1, len(values) - 1)
    runs: list[list[tuple[float, float]]] = [[]]
    for n, value in enumerate(values):
        if value is None:
            runs.append([])
            continue
        share = 0.5 if middle else (value - low) / spread
        runs[-1].append((2 + n * step, height - 3 - share * (height - 6)))
    parts = []
    for run in runs:
        if len(run) == 1:
            parts.append(f'<path class="spark-line" d="M{run[0][0]:.1f} {run[0][1]:.1f}h1"/>')
        elif run:
            path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run)
            parts.append(f'<path class="spark-line" d="{path}"/>')
    last = next(run for run in reversed(runs) if run)[-1]
    parts.append(f'<path class="spark-end" d="M{last[0]:.1f} {last[1]:.1f}h0"/>')
    return Markup(  # nosec B704 # noqa: S704 - numbers alone
        f'<svg class="spark" viewBox="0 0 {width} {height}" preserveAspectRatio="none" '
        f'aria-hidden="true" focusable="false">{"".join(parts)}</svg>'
    )
