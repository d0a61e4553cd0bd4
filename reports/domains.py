"""A report of some domains: the marts as row level security shows them to whom it is for.

The rows are picked by the database, by the policies of a role that sees nothing unless it is told of whom
(`dbt_project/macros/guard.sql`); a page that forgets to ask has nothing to show. What the marts say of all
prompts together is summed anew here from the rows that are seen, or left out where it can't be summed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Final

import pandas as pd
import psycopg

from reports import selection
from reports.errors import ReportError
from reports.format import slug
from reports.marts import Marts, reading, records

ROLE: Final = "prism_recipient"
_MEND = "Make the roles (prism db setup, or prism db setup --sql for an administrator), then: prism run"
# A mean of a segment -> what it is a mean over.
_MEANS: Mapping[str, str] = {
    "success_rate": "outcome_count",
    "average_rating": "rated_count",
    "average_response_time_ms": "response_time_count",
    "cost_per_use": "priced_count",
}
_SUMS = ("usage_count", *_MEANS.values(), "total_cost")
# What is known of one segment alone: these can't be summed.
_OF_ONE = ("success_rate_low", "success_rate_high", "p50_response_time_ms", "p95_response_time_ms")


def folder_of(domains: Sequence[str]) -> str:
    """Where the reports of these domains lie, from the folder of all reports; of no other set the same."""
    names = sorted(set(domains))
    return f"domains/{slug('-'.join(names), json.dumps(names))}"


@contextmanager
def reading_domains(
    connection: psycopg.Connection, schema: str, as_of_date: date, domains: Sequence[str]
) -> Iterator[Marts]:
    """As :func:`reports.marts.reading`, of these domains alone.

    Raises :class:`ReportError` where the role that sees them alone is not there, or a mart would be open.
    """
    with reading(connection, schema, as_of_date) as whole:
        # of all domains no more than the periods and targets, and whether sources can be trusted
        periods, quality = whole.dashboard(), whole.data_quality(date.min, as_of_date)
        _narrow(whole, domains)
        try:
            yield MartsOfDomains(connection, schema, as_of_date, periods, quality)
        except psycopg.errors.InsufficientPrivilege as error:
            raise ReportError(
                "the marts were built before there was a role for the reports of some domains",
                where=f"schema {schema}",
                mend=_MEND,
            ) from error


def _narrow(whole: Marts, domains: Sequence[str]) -> None:
    """Goes on, to the end of the transaction, as who sees these domains alone."""
    try:
        bare = whole.narrow(ROLE, domains)
    except (psycopg.errors.InvalidParameterValue, psycopg.errors.InsufficientPrivilege) as error:
        raise ReportError(
            "a report of some domains needs the role that sees them alone, and it is not there",
            where=ROLE,
            mend=_MEND,
        ) from error
    if bare:
        raise ReportError(
            f"nothing guards the rows of {', '.join(bare)}", where=f"schema {whole.schema}", mend=_MEND
        )


@dataclass(frozen=True)
class MartsOfDomains(Marts):
    """The same queries where rows of some domains are seen, and what they come to together.

    ``whole`` is `dashboard_metrics` of all, for its periods and targets; ``quality`` is `data_quality`.
    """

    as_of_date: date
    whole: pd.DataFrame
    quality: pd.DataFrame

    def dashboard(self) -> pd.DataFrame:
        days = records(self.daily(self.as_of_date))
        return selection.dashboard(self.whole, self.summary(), self.prompts(), days, self.as_of_date)

    def data_quality(self, first_day: date, last_day: date) -> pd.DataFrame:
        return self.quality[self.quality["usage_date"].between(first_day, last_day)]

    def daily(self, last_day: date, prompt_ids: Sequence[str] | None = None) -> pd.DataFrame:
        chosen = list(self.prompts()["prompt_id"]) if prompt_ids is None else prompt_ids
        return super().daily(last_day, chosen)

    def top(self) -> pd.DataFrame:
        """Ranked among themselves."""
        frame = super().top()
        return frame.assign(rank=(frame.groupby("period").cumcount() + 1).astype("Int64"))

    def segments(self) -> pd.DataFrame:
        return together(super().segments(), ["period"])

    def over_time(self) -> pd.DataFrame:
        return together(super().over_time(), ["grain", "starts_on", "ends_on"])

    def distribution(self, scope: str = "domain") -> pd.DataFrame:
        frame = super().distribution(scope)
        bucket = ["period", "metric", "bucket", "bucket_low", "bucket_high"]
        made = frame.groupby(bucket, dropna=False, as_index=False)[
            ["prompt_count", "sampled_prompt_count"]
        ].sum()
        whole = made.groupby(["period", "metric"])["prompt_count"].transform("sum")
        made["prompt_share"] = made["prompt_count"] / whole
        return made.astype(frame.dtypes.to_dict())[list(frame.columns)]


def together(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Rows of segments of the scope ``domain`` by ``keys``, and before them their sums as the scope ``all``.

    Means are made of sums. Intervals and percentiles are there where there is one domain alone.
    """
    weighed = rows.assign(**{mean: rows[mean] * rows[count] for mean, count in _MEANS.items()})
    groups = weighed.groupby(keys, sort=False)
    made = groups[[*_SUMS, *_MEANS]].sum(min_count=1)
    for mean, count in _MEANS.items():
        made[mean] = made[mean] / made[count]
    alone = groups.size() == 1
    for name in _OF_ONE:
        made[name] = groups[name].first().where(alone)
    made = made.assign(scope="all", segment=None).reset_index()
    return pd.concat([made[list(rows.columns)].astype(rows.dtypes.to_dict()), rows], ignore_index=True)
