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
from typing import Any, Literal, Protocol

from markupsafe import Markup

Kind = Literal["uses", "success"]
Row = dict[str, Any]

_DATA = "points"


@dataclass(frozen=True)
class Palette:
    """Colours by role; two hues that colour-blind readers can tell apart, and greys."""

    ink: str
    faint: str
    main: str
    second: str
    muted: str
    surface: str


# In a page the style sheet decides, light or dark.
PAGE = Palette(
    ink="var(--muted)",
    faint="var(--line)",
    main="var(--series-1)",
    second="var(--series-2)",
    muted="var(--series-quiet)",
    surface="transparent",
)
# On white: mail and print.
PAPER = Palette(
    ink="#4a5568", faint="#e2e8f0", main="#1f5fbf", second="#b45309", muted="#a9bfe0", surface="#ffffff"
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
    x = alt.X("day:T", title=None, axis=alt.Axis(format="%-d %b", labelOverlap=True, tickCount=8, grid=False))
    tooltip = [alt.Tooltip("days:N", title="Days")]
    shade = alt.condition("datum.now", alt.value(palette.main), alt.value(palette.muted))
    if kind == "uses":
        count_axis = alt.Axis(format="~s", tickCount=4, domain=False, ticks=False)
        chart = base.mark_bar(cornerRadiusEnd=2, binSpacing=1, width={"band": 0.8}).encode(
            x=alt.X(
                "day:O",
                timeUnit="yearmonthdate",
                title=None,
                axis=alt.Axis(
                    format="%-d %b", labelOverlap=True, labelAngle=0, labelSeparation=14, ticks=False
                ),
                scale=alt.Scale(paddingInner=0.25),
            ),
            y=alt.Y("value:Q", title=None, axis=count_axis),
            color=shade,
            tooltip=[*tooltip, alt.Tooltip("text:N", title="Uses")],
        )
    else:
        rate_axis = alt.Axis(format="~%", tickCount=4, domain=False, ticks=False)
        line = base.mark_line(strokeWidth=2, color=palette.main, interpolate="monotone").encode(
            x=x,
            y=alt.Y("value:Q", title=None, axis=rate_axis, scale=alt.Scale(zero=False, nice=True)),
        )
        dots = base.mark_circle(size=28, opacity=1).encode(
            x="day:T",
            y="value:Q",
            color=shade,
            tooltip=[
                *tooltip,
                alt.Tooltip("text:N", title="Success"),
                alt.Tooltip("of:N", title="Outcomes"),
            ],
        )
        goal = (
            base.transform_filter("isValid(datum.target)")
            .mark_rule(strokeDash=[4, 4], color=palette.second, strokeWidth=1.5)
            .encode(y="max(target):Q")
        )
        chart = alt.layer(goal, line, dots)
    styled = (
        chart.properties(width="container", height=180)
        .configure(background=palette.surface, font="system-ui, sans-serif", padding=4)
        .configure_view(strokeWidth=0)
        .configure_axis(
            labelColor=palette.ink,
            labelPadding=6,
            gridColor=palette.faint,
            domainColor=palette.faint,
            labelFontSize=11,
        )
    )
    made: dict[str, Any] = styled.to_dict()
    made.pop("$schema", None)  # an address; nothing here asks the network for it
    return made


def with_data(chart: dict[str, Any], data: Sequence[Row], width: int) -> dict[str, Any]:
    """A spec with its rows, of a fixed width in pixels: what vl-convert draws."""
    return {**chart, "width": width, "datasets": {_DATA: list(data)}}


def svg(kind: Kind, data: Sequence[Row], *, width: int, palette: Palette = PAGE) -> Markup:
    """The chart as static SVG: for print, and for readers without JavaScript."""
    import vl_convert  # noqa: PLC0415 - starts a JavaScript engine

    drawn: str = vl_convert.vegalite_to_svg(with_data(spec(kind, palette), data, width))
    # Vega counts clip paths on through the life of the process; here each chart has names of its own.
    names: dict[str, str] = {}
    drawn = re.sub(
        r'(id="|url\(#)(clip\d+)',
        lambda found: found[1] + names.setdefault(found[2], f"{kind}-clip-{len(names)}"),
        drawn,
    )
    return Markup(drawn)  # noqa: S704 - made by Vega, which escapes the texts of its data


@functools.cache
def script() -> str:
    """What a page needs to draw: Vega and its kin (as `vegaEmbed`), and the specs (`prismSpecs`)."""
    import vl_convert  # noqa: PLC0415 - starts a JavaScript engine

    libraries: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    kinds: tuple[Kind, ...] = ("uses", "success")
    specs = json.dumps({kind: spec(kind) for kind in kinds}, separators=(",", ":"))
    # In a function of its own: the bundle would otherwise leave hundreds of names in the page.
    return f"window.prismSpecs = {specs};\n(() => {{{libraries}\n}})();\n"


def page_json(charts: Mapping[str, tuple[Kind, list[Row]]]) -> Markup:
    """The rows of a page's charts by chart, for a `<script type="application/json">`."""
    return script_json({name: {"spec": kind, "rows": data} for name, (kind, data) in charts.items()})


def script_json(content: object) -> Markup:
    """JSON that can stand inside a script element: no `<`, `>` or `&` is left in it."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - what could end the element or open another was just replaced


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
    return Markup(  # noqa: S704 - numbers alone
        f'<svg class="spark" viewBox="0 0 {width} {height}" preserveAspectRatio="none" '
        f'aria-hidden="true" focusable="false">{"".join(parts)}</svg>'
    )
