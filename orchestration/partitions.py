"""The days that a nightly job can be run for: as-of dates, cut in the reporting time zone."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import dagster as dg

from orchestration.errors import PrismError
from orchestration.settings import Settings


def as_of_dates(settings: Settings) -> dg.DailyPartitionsDefinition:
    """One partition a day from ``start_date`` to the day that has just ended."""
    return dg.DailyPartitionsDefinition(
        start_date=settings.config.start_date.isoformat(),
        timezone=settings.config.timezone,
    )


def as_of_date(partition_key: str) -> date:
    """The date that a partition stands for."""
    return date.fromisoformat(partition_key)


def last_ended_day(settings: Settings, now: datetime) -> date:
    """The newest as-of date there can be at ``now`` (aware)."""
    return now.astimezone(settings.zone).date() - timedelta(days=1)


def check_as_of_date(settings: Settings, day: date, now: datetime) -> None:
    """Raises :class:`PrismError` for a day that has not ended or lies before the first partition."""
    newest, oldest = last_ended_day(settings, now), settings.config.start_date
    if day > newest:
        raise PrismError(
            f"{day} has not ended yet in {settings.config.timezone}",
            where="--date",
            mend=f"The newest date that can be reported is {newest}.",
        )
    if day < oldest:
        raise PrismError(
            f"{day} lies before the first day",
            where="--date",
            mend=f"`start_date` in prism.yaml is {oldest}; set it earlier.",
        )
