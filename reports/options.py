"""What a report is told from outside: the date, where its marts are, and how their build went.

Nothing here reads a setting, a clock or a database; whoever calls :mod:`reports.render` or
:mod:`reports.mail` fills these in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, get_args

Period = Literal["day", "week", "month", "quarter", "year", "all"]
PERIODS: tuple[Period, ...] = ("day", "week", "month", "quarter", "year", "all")
# Length of each period in days; `all` has none.
PERIOD_DAYS: Mapping[Period, int | None] = {
    "day": 1,
    "week": 7,
    "month": 30,
    "quarter": 90,
    "year": 365,
    "all": None,
}


Format = Literal["csv", "xlsx", "parquet", "json", "pdf"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True)
class Build:
    """The build behind the marts: ``green`` passed its tests, ``red`` did not, ``stale`` is an older one."""

    state: Literal["green", "red", "stale"]
    finished_at: datetime | None = None
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setting:
    """One setting in force, in words, never a secret. ``key`` is its place in the settings file, if any."""

    group: str
    label: str
    value: str
    key: str = ""


@dataclass(frozen=True)
class ReportOptions:
    """One report: ``as_of_date`` is the day it is about, ``marts_schema`` holds its marts by period.

    ``base_url`` is where the reports folder is published, without a slash at the end (None: nowhere);
    ``version`` that of the program; ``previous_report`` the date of the report before this one.
    ``settings`` are shown to readers, with ``config_file`` as the place to
    change them. ``exports`` are the formats of the files that lie in the report. ``domains``: it is of these
    alone; none: of all.
    """

    as_of_date: date
    build: Build
    marts_schema: str = "marts"
    timezone: str = "UTC"
    default_period: Period = "month"
    title: str = "Prompt performance"
    base_url: str | None = None
    version: str = ""
    previous_report: date | None = None
    settings: tuple[Setting, ...] = ()
    config_file: str = "prism.yaml"
    exports: tuple[Format, ...] = ()
    domains: tuple[str, ...] = ()
