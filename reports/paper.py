"""The report as a PDF for people who print: tagged for screen readers, with contents and page numbers.

A view in, bytes out. Knows no mart. WeasyPrint draws it by Pango, which is a library of the system.
"""

from __future__ import annotations

from collections.abc import Mapping

import jinja2
from markupsafe import Markup

from reports import charts
from reports.errors import ReportError
from reports.views.printed import Printed

_CHART_WIDTH = 420


def pdf(view: Printed, templates: jinja2.Environment) -> bytes:
    """The document, PDF/UA-1. Raises :class:`ReportError` where Pango is not installed."""
    try:
        from weasyprint import HTML  # noqa: PLC0415 - loads libraries of the system
    except OSError as error:
        raise ReportError(
            "the report can't be made a PDF: the library Pango is not installed",
            where="reports.exports",
            mend="On Debian: apt-get install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0; "
            "or take pdf out of reports.exports.",
        ) from error

    page = templates.get_template("print/report.html").render(view=view, charts=_drawn(view))
    made: bytes = HTML(string=page, url_fetcher=_nothing).write_pdf(pdf_variant="pdf/ua-1")
    return made


def _nothing(url: str, *_: object, **__: object) -> Mapping[str, object]:
    """What the document asks for from elsewhere: it needs nothing, so a text that asks gets nothing."""
    raise ValueError(f"a printed report fetches nothing: {url}")


def _drawn(view: Printed) -> Mapping[str, Markup]:
    kinds: tuple[charts.Kind, ...] = ("uses", "success")
    return {
        kind: charts.svg(kind, charts.rows(kind, view.period.trend), width=_CHART_WIDTH, palette=charts.PAPER)
        for kind in kinds
        if view.period.trend
    }
