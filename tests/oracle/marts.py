"""Every mart computed a second time, from the contract's definitions, with pandas over the raw rows alone.

Shares nothing with the dbt project but the analysts' seeds: no SQL, no daily sums, no histogram. Prompts that
the library does not list have the id ``unlisted:`` and their key, whatever the marts derive from it.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import psycopg

SEEDS = Path(__file__).resolve().parents[2] / "dbt_project" / "seeds"
LENGTHS: Mapping[str, int | None] = {
    "day": 1,
    "week": 7,
    "month": 30,
    "quarter": 90,
    "year": 365,
    "all": None,
}
MINIMUM_SAMPLE = 20
Z = 1.959963984540054
_COMPARED = ["usage_count", "success_rate", "average_rating", "average_response_time_ms", "total_cost"]
_RAW = (
    "prompt_usage",
    "prompts",
    "prompt_versions",
    "agents",
    "agent_prompts",
    "load_batches",
    "reconciliations",
)
_COUNTS = {
    "usage_count": "one",
    "outcome_count": "outcome",
    "success_count": "succeeded",
    "error_known_count": "error_known",
    "error_count": "failed",
    "rated_count": "rated",
    "response_time_count": "timed",
    "priced_count": "priced",
    "priced_success_count": "priced_success",
    "unpriced_count": "unpriced",
    "response_time_log_count": "log_timed",
}
_SUMS = {
    "rating_sum": "rating",
    "rating_square_sum": "rating_square",
    "response_time_sum_ms": "response_time_ms",
    "response_time_log_sum": "log_time",
    "response_time_log_square_sum": "log_time_square",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "total_tokens": "total_tokens",
    "total_cost": "cost",
    "failure_cost": "failure_cost",
    "cost_square_sum": "cost_square",
}


def frame(connection: psycopg.Connection[Any], query: str) -> pd.DataFrame:
    cursor = connection.execute(query)  # type: ignore[call-overload]
    return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description or ()])


def measures(uses: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The contract's numbers of every group: a count over nothing is 0, a sum or ratio over nothing null."""
    groups = uses.groupby(list(keys), dropna=False, sort=False)
    found = pd.concat(
        [
            groups[list(_COUNTS.values())].sum().set_axis(list(_COUNTS), axis=1).astype("int64"),
            groups[list(_SUMS.values())].sum(min_count=1).set_axis(list(_SUMS), axis=1),
            groups["used_at"].agg(first_used_at="min", last_used_at="max"),
        ],
        axis=1,
    ).reset_index()
    return ratios(found)


def ratios(sums: pd.DataFrame) -> pd.DataFrame:
    """Adds what follows from the sums."""
    return sums.assign(
        success_rate=_ratio(sums["success_count"], sums["outcome_count"]),
        success_rate_low=wilson(sums["success_count"], sums["outcome_count"], -1),
        success_rate_high=wilson(sums["success_count"], sums["outcome_count"], 1),
        error_rate=_ratio(sums["error_count"], sums["error_known_count"]),
        average_rating=_ratio(sums["rating_sum"], sums["rated_count"]),
        average_response_time_ms=_ratio(sums["response_time_sum_ms"], sums["response_time_count"]),
        cost_per_use=_ratio(sums["total_cost"], sums["priced_count"]),
        cost_per_success=_ratio(sums["total_cost"], sums["priced_success_count"]),
    )


def _ratio(part: Any, whole: Any) -> pd.Series:
    whole = pd.Series(whole).astype(float)
    return pd.Series(part).astype(float) / whole.where(whole != 0)


def only(rows: pd.DataFrame, wanted: Iterable[bool]) -> pd.DataFrame:
    """The rows that are wanted; none of none."""
    return rows[np.fromiter(wanted, bool, len(rows))]


def wilson(part: Any, whole: Any, side: int) -> pd.Series:
    """An end of the Wilson interval at 95 %, from its quadratic: |p - s/n| = z sqrt(p (1 - p) / n)."""
    n = pd.Series(whole).astype(float).where(lambda count: count > 0)
    share = pd.Series(part).astype(float) / n
    a, b, c = 1 + Z**2 / n, -(2 * share + Z**2 / n), share**2
    root = (b**2 - 4 * a * c).clip(lower=0) ** 0.5
    return ((-b + side * root) / (2 * a)).clip(0, 1)


def percentiles(uses: pd.DataFrame, keys: Sequence[str], shares: Sequence[int]) -> pd.DataFrame:
    """The smallest value that at least so many per cent of the values do not exceed."""

    def nearest_ranks(times: pd.Series) -> pd.Series:
        ordered = np.sort(times.to_numpy())
        return pd.Series(
            {
                f"p{share}_response_time_ms": ordered[math.ceil(share * len(ordered) / 100) - 1]
                for share in shares
            }
        )

    timed = uses[uses["response_time_ms"].notna()]
    names = [f"p{share}_response_time_ms" for share in shares]
    if timed.empty:
        return pd.DataFrame(columns=[*keys, *names])
    found = timed.groupby(list(keys), dropna=False)["response_time_ms"].apply(nearest_ranks).unstack()
    return found.reset_index()


@dataclass(frozen=True, eq=False)
class Oracle:
    """All marts of one as-of date. ``raw`` are the raw tables without deleted rows, by name."""

    raw: Mapping[str, pd.DataFrame]
    anomalies: pd.DataFrame
    comparisons: pd.DataFrame
    as_of: date
    timezone: str

    @classmethod
    def of(cls, connection: psycopg.Connection[Any], as_of: date, timezone: str) -> Oracle:
        tables = {name: frame(connection, f"select * from raw.{name}") for name in _RAW}
        kept = {
            name: table[table["deleted_at"].isna()] if "deleted_at" in table else table
            for name, table in tables.items()
        }
        where = f"where as_of_date = '{as_of}'"
        return cls(
            kept,
            frame(connection, f"select * from analytics.cost_anomalies {where}"),
            frame(connection, f"select * from analytics.prompt_comparisons {where}"),
            as_of,
            timezone,
        )

    # what all marts are made of

    @cached_property
    def library(self) -> pd.DataFrame:
        """The library's prompts, of two sources the entry changed last."""
        newest = self.raw["prompts"].sort_values(
            ["updated_at", "source"], ascending=[False, True], na_position="last"
        )
        found = newest.drop_duplicates("prompt_id").rename(columns={"name": "prompt_name"})
        return found.assign(
            display_name=found["display_name"].fillna(found["prompt_name"]),
            compliance_tags=[
                ", ".join(tags) if isinstance(tags, list) else None for tags in found["compliance_tags"]
            ],
            is_listed=True,
        )

    @cached_property
    def ids_by_name(self) -> Mapping[str, str]:
        elder_first = self.library.sort_values(
            ["created_at", "source", "prompt_id"], na_position="last", kind="stable"
        )
        by_name = elder_first.drop_duplicates("prompt_name").set_index("prompt_name")["prompt_id"]
        return {str(name): str(prompt) for name, prompt in by_name.items()}

    @cached_property
    def agent_names(self) -> Mapping[str, str]:
        elder_first = self.raw["agents"].sort_values(["created_at", "source"], na_position="last")
        by_id = elder_first.drop_duplicates("agent_id").set_index("agent_id")["name"]
        return {str(agent): str(name) for agent, name in by_id.items()}

    @cached_property
    def mappings(self) -> pd.DataFrame:
        agents = {name: agent for agent, name in reversed(list(self.agent_names.items()))}
        listed = set(self.library["prompt_id"])
        rows = self.raw["agent_prompts"]
        return pd.DataFrame(
            {
                "agent_id": [
                    agent if agent in self.agent_names else agents.get(agent, agent)
                    for agent in rows["agent_id"]
                ],
                "prompt_id": [
                    prompt if prompt in listed else self.ids_by_name.get(prompt, prompt)
                    for prompt in rows["prompt_id"]
                ],
            },
            dtype=object,
        ).drop_duplicates()

    @cached_property
    def uses(self) -> pd.DataFrame:
        """The uses up to the as-of date, with all that is counted of each."""
        rows = self.raw["prompt_usage"]
        moments = pd.to_datetime(rows["used_at"], utc=True)
        local = moments.dt.tz_convert(self.timezone)
        listed = set(self.library["prompt_id"])
        success = rows["success"].astype("boolean")
        is_error = rows["is_error"].astype("boolean").fillna(~success)
        time = rows["response_time_ms"].astype(float)
        cost = rows["cost"].astype(float)
        rating = rows["rating"].astype(float)
        tokens = rows[["total_tokens", "input_tokens", "output_tokens"]].astype(float)
        log_time = np.log(time.where(time > 0))
        batches = self.raw["load_batches"].groupby("source")["started_at"].min()
        first_load = rows["source"].map(batches)
        uses = rows.assign(
            used_at=moments,
            day=local.dt.date,
            hour=local.dt.hour,
            prompt_id=[
                key if key in listed else self.ids_by_name.get(key, f"unlisted:{key}")
                for key in rows["prompt_key"]
            ],
            agent_name=[
                None if pd.isna(key) else self.agent_names.get(key, key) for key in rows["agent_key"]
            ],
            one=1,
            outcome=success.notna().astype(int),
            succeeded=success.fillna(False).astype(int),
            error_known=is_error.notna().astype(int),
            failed=is_error.fillna(False).astype(int),
            rated=rating.notna().astype(int),
            rating=rating,
            rating_square=rating**2,
            timed=time.notna().astype(int),
            response_time_ms=time,
            log_timed=log_time.notna().astype(int),
            log_time=log_time,
            log_time_square=log_time**2,
            priced=cost.notna().astype(int),
            priced_success=(cost.notna() & success.fillna(False)).astype(int),
            unpriced=(cost.isna() & (tokens.max(axis=1).fillna(0) > 0)).astype(int),
            cost=cost,
            cost_square=cost**2,
            failure_cost=cost.where((~success).fillna(False).to_numpy(bool)),
            input_tokens=tokens["input_tokens"],
            output_tokens=tokens["output_tokens"],
            total_tokens=tokens["total_tokens"],
            late=((moments >= first_load) & (rows["loaded_at"] > moments + pd.Timedelta(days=1))).astype(int),
        )
        return uses[uses["day"] <= self.as_of].reset_index(drop=True)

    @cached_property
    def first_day(self) -> date | None:
        return None if self.uses.empty else self.uses["day"].min()

    def start(self, period: str) -> date | None:
        length = LENGTHS[period]
        return self.first_day if length is None else self.as_of - timedelta(days=length - 1)

    def back(self, days: int) -> pd.DataFrame:
        """The uses of so many days up to the as-of date."""
        return self.uses[self.uses["day"] > self.as_of - timedelta(days=days)]

    @cached_property
    def by_period(self) -> pd.DataFrame:
        """Every use once for each period that it is in."""
        return pd.concat(
            [
                self.uses[self.uses["day"] >= start].assign(period=period)
                for period in LENGTHS
                if (start := self.start(period)) is not None
            ]
        )

    @cached_property
    def by_previous_period(self) -> pd.DataFrame:
        windows = [
            (period, self.as_of - timedelta(days=2 * length - 1), self.as_of - timedelta(days=length))
            for period, length in LENGTHS.items()
            if length is not None
        ]
        return pd.concat(
            [
                self.uses[(self.uses["day"] >= first) & (self.uses["day"] <= last)].assign(period=period)
                for period, first, last in windows
            ]
        )

    def with_names(
        self, rows: pd.DataFrame, names: Sequence[str] = ("prompt_name", "domain")
    ) -> pd.DataFrame:
        return rows.merge(self.prompts()[["prompt_id", *names]], on="prompt_id", how="left", validate="m:1")

    def dated(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(as_of_date=self.as_of)

    # the marts

    def prompts(self) -> pd.DataFrame:
        return self._prompts

    @cached_property
    def _prompts(self) -> pd.DataFrame:
        versions = self.raw["prompt_versions"].assign(
            length=lambda table: table["version"].str.len(),
        )
        current = (
            versions.sort_values(
                ["created_at", "batch_id", "length", "version"], ascending=False, na_position="last"
            )
            .drop_duplicates("prompt_id")
            .set_index("prompt_id")["version"]
        )
        mapped = self.mappings.groupby("prompt_id").size()
        strangers = sorted(
            {prompt for prompt in self.uses["prompt_id"] if str(prompt).startswith("unlisted:")}
        )
        names = [prompt.removeprefix("unlisted:") for prompt in strangers]
        unlisted = pd.DataFrame(
            {
                "prompt_id": strangers,
                "prompt_name": names,
                "display_name": names,
                "domain": "unlisted",
                "is_listed": False,
            }
        )
        listed = self.library.assign(
            current_version=self.library["prompt_id"].map(current),
            mapped_agents=self.library["prompt_id"].map(mapped).fillna(0),
        )
        spans = self.uses.groupby("prompt_id").agg(
            first_used_at=("used_at", "min"),
            last_used_at=("used_at", "max"),
            first_used_on=("day", "min"),
            last_used_on=("day", "max"),
        )
        names_of_columns = [
            "prompt_id", "prompt_name", "display_name", "description", "domain", "complexity_level", "status",
            "suite", "owner", "compliance_tags", "source", "is_listed", "current_version", "mapped_agents",
            "created_at", "updated_at",
        ]  # fmt: skip
        both = pd.concat(
            [table.reindex(columns=names_of_columns).astype(object) for table in (listed, unlisted)]
        )
        return self.dated(
            both.assign(mapped_agents=both["mapped_agents"].fillna(0)).merge(
                spans.reset_index(), on="prompt_id", how="left"
            )
        )

    def prompt_usage_daily(self) -> pd.DataFrame:
        keys = ["day", "prompt_id", "prompt_version", "agent_name", "model"]
        sums = measures(self.uses, keys)[[*keys, *_COUNTS, *_SUMS]].rename(columns={"day": "usage_date"})
        return self.with_names(sums, ["prompt_name"])

    def usage_daily_totals(self) -> pd.DataFrame:
        scopes = {"all": ["day"], "prompt": ["day", "prompt_id"], "model": ["day", "prompt_id", "model"]}
        rows = pd.concat(
            [measures(self.uses, keys)[[*keys, *_COUNTS, *_SUMS]].assign(scope=scope)
             for scope, keys in scopes.items()]
        )  # fmt: skip
        known = rows["scope"] != "all"
        named = self.with_names(rows[known], ["prompt_name"])
        return pd.concat([rows[~known], named]).rename(columns={"day": "usage_date"})

    def prompt_performance_summary(self) -> pd.DataFrame:
        keys = ["period", "prompt_id"]
        prompts = self.prompts()
        grid = pd.MultiIndex.from_product([list(LENGTHS), prompts["prompt_id"]], names=keys).to_frame(
            index=False
        )
        now = measures(self.by_period, keys)
        reach = self.by_period.assign(
            session=[
                None if pd.isna(session) else (source, session)
                for source, session in zip(
                    self.by_period["source"], self.by_period["session_id"], strict=True
                )
            ]
        )
        users = reach.groupby(keys).agg(
            user_count=("user_key", "nunique"), session_count=("session", "nunique")
        )
        before = measures(self.by_previous_period, keys)[[*keys, *_COMPARED]].rename(
            columns={name: f"previous_{name}" for name in _COMPARED}
        )
        rows = (
            grid.merge(now, on=keys, how="left")
            .merge(percentiles(self.by_period, keys, (50, 95, 99)), on=keys, how="left")
            .merge(users.reset_index(), on=keys, how="left")
            .merge(before, on=keys, how="left")
        )
        counts = [*_COUNTS, "user_count", "session_count"]
        rows[counts] = rows[counts].fillna(0)
        rows["previous_usage_count"] = rows["previous_usage_count"].fillna(0).where(rows["period"] != "all")
        rows = rows.assign(
            period_start=rows["period"].map(self.start), period_end=self.as_of, health=_health(rows)
        )
        names = ["prompt_name", "display_name", "domain", "complexity_level", "status", "suite"]
        return self.dated(self.with_names(rows, names))

    def dashboard_metrics(self) -> pd.DataFrame:
        listed = self.library
        mapped = self.mappings["agent_id"].nunique()
        now = measures(self.by_period, ["period"]).set_index("period")
        before = measures(self.by_previous_period, ["period"]).set_index("period")
        used = self.by_period.groupby("period")["prompt_id"].nunique()
        used_before = self.by_previous_period.groupby("period")["prompt_id"].nunique()
        rows = pd.DataFrame({"period": list(LENGTHS)}).set_index("period")
        names = [*_COMPARED, "total_tokens"]
        rows = rows.join(now[names]).join(before[names].add_prefix("previous_"))
        rows = rows.assign(
            used_prompts=used, previous_used_prompts=used_before
        ).assign(
            used_prompts=lambda table: table["used_prompts"].fillna(0),
            usage_count=lambda table: table["usage_count"].fillna(0),
        )  # fmt: skip
        for name in ("previous_used_prompts", "previous_usage_count"):
            rows[name] = rows[name].fillna(0).where(rows.index != "all")
        return self.dated(
            rows.reset_index().assign(
                period_start=[self.start(period) for period in LENGTHS],
                period_end=self.as_of,
                total_prompts=len(listed),
                active_prompts=int((listed["status"] == "active").sum()),
                suite_prompts=int(listed["suite"].notna().sum()),
                total_agents=len(self.raw["agents"]),
                mapped_agents=mapped,
                total_mappings=len(self.mappings),
                average_mappings_per_agent=len(self.mappings) / mapped if mapped else None,
                target_success_rate=0.80,
                target_average_rating=4.0,
                target_average_response_time_ms=2000,
            )
        )

    def top_performing_prompts(self) -> pd.DataFrame:
        ranked = top_performers(self.prompt_performance_summary())
        return ranked[[name for name in ranked if not name.startswith("previous_")]]

    def prompt_version_performance(self) -> pd.DataFrame:
        versions = self.raw["prompt_versions"]
        zone = ZoneInfo(self.timezone)
        made = [
            None if pd.isna(moment) else moment.astimezone(zone).date() for moment in versions["created_at"]
        ]
        known = versions.assign(
            day=made, created_at=pd.to_datetime(versions["created_at"], utc=True)
        ).rename(columns={"version": "prompt_version", "created_at": "version_created_at"})  # fmt: skip
        known = only(known, (day is None or day <= self.as_of for day in known["day"]))
        known = known[known["prompt_id"].isin(set(self.prompts()["prompt_id"]))]
        changes = {
            prompt: list(zip(mine["day"], mine["prompt_version"], strict=True))
            for prompt, mine in known.dropna(subset="version_created_at")
            .sort_values("version_created_at")
            .groupby("prompt_id")
        }

        def version(prompt: str, stated: Any, day: date) -> str | None:
            if not pd.isna(stated):
                return str(stated)
            history = changes.get(prompt, [])
            before = [one for changed, one in history if changed < day]
            today = [one for changed, one in history if changed == day]
            could_run = [*before[-1:], *today]
            return could_run[0] if len(could_run) == 1 else None

        used = self.uses.assign(
            stated=self.uses["prompt_version"],
            prompt_version=[
                version(*use)
                for use in zip(
                    self.uses["prompt_id"], self.uses["prompt_version"], self.uses["day"], strict=True
                )
            ],
        )
        keys = ["prompt_id", "prompt_version"]
        timed = (
            used[used["stated"].isna() & used["prompt_version"].notna()]
            .groupby(keys)
            .size()
            .rename("timed_count")
        )
        made_at = known.groupby(keys)["version_created_at"].min().reset_index()
        rows = (
            measures(used, keys)
            .merge(made_at, on=keys, how="outer")
            .merge(timed.reset_index(), on=keys, how="left")
        )
        counts = [*_COUNTS, "timed_count"]
        rows[counts] = rows[counts].fillna(0)
        days = used.groupby(keys, dropna=False)["day"].agg(first_used_on="min", last_used_on="max")
        rows = rows.merge(days.reset_index(), on=keys, how="left")
        rows = self.with_names(rows, ["prompt_name", "domain", "current_version"])
        rows = rows.assign(is_current=rows["prompt_version"].eq(rows["current_version"]))
        compared = ["success_rate", "average_rating", "average_response_time_ms", "cost_per_use"]
        before = rows[[*keys, *compared]].rename(
            columns={"prompt_version": "previous_version", **{name: f"previous_{name}" for name in compared}}
        )
        rows = rows.merge(_changes(known), on=keys, how="left")
        return self.dated(
            rows.merge(
                before[before["previous_version"].notna()], on=["prompt_id", "previous_version"], how="left"
            )
        )

    def cost_analysis(self) -> pd.DataFrame:
        rows = self._costs(["prompt_id", "model"])
        found = self.anomalies.assign(prompt_id=self.ids(self.anomalies["prompt_id"]))
        strange = pd.concat(
            [
                only(found, (day >= (self.start(period) or day) for day in found["usage_date"])).assign(
                    period=period
                )
                for period in LENGTHS
            ]
        )
        keys = ["period", "prompt_id", "model"]
        counted = (
            strange.groupby(keys, dropna=False)["excess_cost"]
            .agg(anomaly_count="size", excess_cost="sum")
            .reset_index()
            .astype({"excess_cost": float})
        )
        both = rows.merge(counted, on=keys, how="left", validate="1:1")
        return both.assign(anomaly_count=both["anomaly_count"].astype(float).fillna(0))

    def agent_costs(self) -> pd.DataFrame:
        return self._costs(["agent_name", "prompt_id", "model"])

    def _costs(self, keys: Sequence[str]) -> pd.DataFrame:
        rows = measures(self.by_period, ["period", *keys])
        named = self.with_names(rows)
        whole = named.groupby(["period", "domain"], dropna=False)["total_cost"].transform("sum")
        return self.dated(named.assign(cost_share=_ratio(named["total_cost"], whole)))

    def ids(self, ids: pd.Series) -> list[str]:
        """The warehouse's ids as they are called here."""
        listed = set(self.library["prompt_id"])
        derived = {
            _derived(prompt.removeprefix("unlisted:")): prompt for prompt in set(self.uses["prompt_id"])
        }
        return [prompt if prompt in listed else derived[prompt] for prompt in ids]

    def performance_distribution(self) -> pd.DataFrame:
        values = self.prompt_performance_summary()
        rows = []
        for metric, (edges, sample) in BUCKETS.items():
            known = values[values[metric].notna()].astype({metric: float})
            # the highest value possible lies in the last bucket
            bins = pd.IntervalIndex.from_breaks([*edges[:-1], edges[-1] + 1e-9], closed="left")
            groups = [
                *((period, "domain", domain, group) for (period, domain), group in known.groupby(
                    ["period", "domain"], dropna=False
                )),
                *((period, "all", None, group) for period, group in known.groupby("period")),
            ]  # fmt: skip
            for period, scope, domain, group in groups:
                counts = pd.cut(group[metric], bins).value_counts(sort=False)
                enough = group[group[sample] >= MINIMUM_SAMPLE]
                sampled = pd.cut(enough[metric], bins).value_counts(sort=False)
                rows += [
                    {
                        "period": period,
                        "scope": scope,
                        "domain": domain,
                        "metric": metric,
                        "bucket": number + 1,
                        "bucket_low": edges[number],
                        "bucket_high": None if math.isinf(edges[number + 1]) else edges[number + 1],
                        "prompt_count": counts.iloc[number],
                        "sampled_prompt_count": sampled.iloc[number],
                        "prompt_share": counts.iloc[number] / len(group),
                    }
                    for number in range(len(edges) - 1)
                ]
        return self.dated(pd.DataFrame(rows))

    def usage_trends(self) -> pd.DataFrame:
        """The slope by least squares over the single days, with a dummy variable for each weekday."""
        if self.uses.empty:
            return pd.DataFrame()
        recent = set(self.back(118)["prompt_id"])
        everything = [("all", None, self.uses)]
        everything += [
            ("prompt", prompt, mine) for prompt, mine in self.uses.groupby("prompt_id") if prompt in recent
        ]
        found = pd.concat([_trend(scope, prompt, mine, self.as_of) for scope, prompt, mine in everything])
        return self.dated(self.with_names(found))

    def performance_by_segment(self) -> pd.DataFrame:
        return self.dated(self._segments(self.by_period, ["period"]))

    def performance_over_time(self) -> pd.DataFrame:
        recent = self.back(60)
        parts = [recent.assign(grain="day", starts_on=recent["day"], ends_on=recent["day"])]
        # 52 calendar weeks, from Monday to Sunday, and what there is of the one of the as-of date
        recent = self.back(7 * 52 + self.as_of.isoweekday())
        starts = [day - timedelta(days=day.isoweekday() - 1) for day in recent["day"]]
        ends = [min(start + timedelta(days=6), self.as_of) for start in starts]
        parts.append(recent.assign(grain="week", starts_on=starts, ends_on=ends))
        return self.dated(self._segments(pd.concat(parts), ["grain", "starts_on", "ends_on"]))

    def _segments(self, uses: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
        uses = self.with_names(uses, ["domain"])
        parts = []
        for scope, column in (
            ("all", None),
            ("domain", "domain"),
            ("model", "model"),
            ("agent", "agent_name"),
        ):
            mine = uses.assign(scope=scope, segment=None if column is None else uses[column])
            full = [*keys, "scope", "segment"]
            parts.append(measures(mine, full).merge(percentiles(mine, full, (50, 95)), on=full, how="left"))
        return pd.concat(parts)

    def response_time_distribution(self) -> pd.DataFrame:
        """Counted by the middle of the 2 % bucket that a time lies in: at an edge, within 1 % of the time."""
        lows = [0, 250, 500, 1000, 2000, 5000, 10000, 30000]
        timed = self.back(90).dropna(subset="response_time_ms")
        with np.errstate(divide="ignore"):
            middles = 1.02 ** (np.ceil(np.log(timed["response_time_ms"]) / np.log(1.02)) - 0.5)
        buckets = np.searchsorted(lows, middles.fillna(0), side="right")
        counts = timed.assign(bucket=buckets).groupby(["prompt_id", "bucket"]).size()
        rows = counts.rename("usage_count").reset_index()
        highs = [*lows[1:], None]
        return self.dated(
            rows.assign(
                bucket_low_ms=[lows[bucket - 1] for bucket in rows["bucket"]],
                bucket_high_ms=[highs[bucket - 1] for bucket in rows["bucket"]],
            )
        )

    def usage_by_hour(self) -> pd.DataFrame:
        uses = self.by_period
        uses = uses.assign(weekday=[day.isoweekday() for day in uses["day"]], usage_hour=uses["hour"])
        return self.dated(measures(uses, ["period", "weekday", "usage_hour"]))

    def prompt_library(self) -> pd.DataFrame:
        names = self.mappings.assign(
            name=[self.agent_names.get(agent, agent) for agent in self.mappings["agent_id"]]
        )
        mapped = names.groupby("prompt_id")["name"].agg(lambda group: "\n".join(sorted(group)))
        rows = self.library.merge(
            self.prompts()[["prompt_id", "current_version"]], on="prompt_id", validate="1:1"
        ).rename(columns={"current_version": "prompt_version"})
        return self.dated(rows.assign(mapped_agent_names=rows["prompt_id"].map(mapped)))

    def data_quality(self) -> pd.DataFrame:
        uses = self.uses.assign(
            unlisted=self.uses["prompt_id"].str.startswith("unlisted:").astype(int),
            priceable=self.uses["priced"] + self.uses["unpriced"],
        )
        zone = ZoneInfo(self.timezone)
        batches = self.raw["load_batches"]
        batches = batches.assign(
            day=[moment.astimezone(zone).date() - timedelta(days=1) for moment in batches["started_at"]],
            loaded=batches["inserted"] + batches["updated"],
        )
        batches = only(batches, (day <= self.as_of for day in batches["day"]))
        compared = self.raw["reconciliations"].set_index(["source", "usage_date"])
        rows = []
        for source in sorted({*uses["source"], *batches["source"]}):
            mine, loads = uses[uses["source"] == source], batches[batches["source"] == source]
            by_day = mine.groupby("day")
            sums = by_day[["one", "late", "unpriced", "unlisted", "priceable"]].sum()
            loaded = loads.groupby("day")[
                ["rows_read", "loaded", "unchanged", "superseded", "rejected", "values_rejected"]
            ].sum()
            newest = pd.concat(
                [by_day["loaded_at"].max(), loads.groupby("day")["finished_at"].max()], axis=1
            ).max(axis=1)
            noted = loads.dropna(subset=["note"]).groupby("day")["note"]
            notes_of = noted.agg(lambda notes: "; ".join(sorted(set(notes)))[:1000]).to_dict()
            first = min([*sums.index, *loaded.index])
            last_used = None
            for number in range((self.as_of - first).days + 1):
                day = first + timedelta(days=number)
                used = sums.loc[day] if day in sums.index else sums.sum() * 0
                load = loaded.loc[day] if day in loaded.index else loaded.sum() * 0
                if day in sums.index:
                    last_used = by_day["used_at"].max()[day]
                midnight = datetime.combine(day + timedelta(days=1), datetime.min.time(), zone)
                before = [day - timedelta(days=7 * weeks) for weeks in (1, 2, 3, 4)]
                there = (source, day) in compared.index
                rows.append(
                    {
                        "source": source,
                        "usage_date": day,
                        "rows_read": load["rows_read"],
                        "loaded_rows": load["loaded"],
                        "unchanged_rows": load["unchanged"],
                        "superseded_rows": load["superseded"],
                        "rejected_rows": load["rejected"],
                        "rejected_values": load["values_rejected"],
                        "usage_count": used["one"],
                        "late_rows": used["late"],
                        "unpriced_uses": used["unpriced"],
                        "unlisted_uses": used["unlisted"],
                        "priceable": used["priceable"],
                        "usual_usage_count": sum(sums["one"].get(one, 0) for one in before) / 4
                        if before[-1] >= first
                        else None,
                        **{
                            name: compared[column][source, day] if there else None
                            for name, column in {
                                "source_count": "source_count",
                                "kept_count": "kept_count",
                                "reported_count": "reported_count",
                                "is_reconciled": "agrees",
                                "is_as_reported": "reported_agrees",
                            }.items()
                        },
                        "last_used_at": last_used,
                        "last_loaded_at": newest.get(day),
                        "notes": notes_of.get(day),
                        "hours_without_use": (midnight - last_used).total_seconds() / 3600
                        if last_used is not None
                        else None,
                    }
                )
        found = pd.DataFrame(rows)
        limits = pd.read_csv(SEEDS / "data_quality_limits.csv").sort_values("measure").to_dict("records")
        verdicts = [_verdict(row, limits) for row in found.to_dict("records")]
        return self.dated(
            found.assign(
                verdict=[verdict for verdict, _ in verdicts], reasons=[reasons for _, reasons in verdicts]
            )
        )


BUCKETS: Mapping[str, tuple[tuple[float, ...], str]] = {
    "success_rate": ((0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1), "outcome_count"),
    "average_rating": ((1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5), "rated_count"),
    "average_response_time_ms": (
        (0, 100, 250, 500, 1000, 2000, 5000, 10000, 30000, math.inf),
        "response_time_count",
    ),
    "cost_per_use": ((0, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, math.inf), "priced_count"),
}


def _changes(versions: pd.DataFrame) -> pd.DataFrame:
    """What changed in each version against the one made just before."""
    rows = []
    fields = ["system_prompt", "user_prompt_template"]
    dated = versions.dropna(subset="version_created_at").sort_values("version_created_at")
    for prompt, mine in dated.groupby("prompt_id"):
        texts = [
            (version, ["" if pd.isna(field) else field for field in both])
            for version, *both in mine[["prompt_version", *fields]].itertuples(index=False)
        ]
        for (old, was), (new, now) in itertools.pairwise(texts):
            differ = [
                (Counter(a.split("\n") if a else []), Counter(b.split("\n") if b else []))
                for a, b in zip(was, now, strict=True)
            ]
            rows.append(
                {
                    "prompt_id": prompt,
                    "prompt_version": new,
                    "previous_version": old,
                    "changed_fields": ", ".join(
                        name for name, a, b in zip(fields, was, now, strict=True) if a != b
                    ),
                    "lines_added": sum((b - a).total() for a, b in differ),
                    "lines_removed": sum((a - b).total() for a, b in differ),
                }
            )
    names = [
        "prompt_id",
        "prompt_version",
        "previous_version",
        "changed_fields",
        "lines_added",
        "lines_removed",
    ]
    return pd.DataFrame(rows, columns=names)


def top_performers(summary: pd.DataFrame) -> pd.DataFrame:
    """The score of every prompt with five known outcomes, its terms, and its ranks, by period."""
    parts = []
    for _, mine in summary.groupby("period", sort=False):
        rated = mine[mine["rated_count"] > 0]
        mean = np.average(rated["average_rating"], weights=rated["rated_count"]) if len(rated) else 3.0
        median = mine["cost_per_use"].astype(float).median()
        best = mine[mine["outcome_count"] >= 5].copy()
        stars = best["average_rating"].astype(float).fillna(0) * best["rated_count"]
        best["shrunken_rating"] = (stars + 10 * mean) / (best["rated_count"] + 10)
        best["speed_score"] = (2000 / (2000 + best["average_response_time_ms"].astype(float))).fillna(0.5)
        cost = best["cost_per_use"].astype(float)
        best["cost_score"] = (median / (median + cost).where(median + cost > 0)).fillna(0.5)
        best["success_points"] = 0.60 * best["success_rate_low"]
        best["rating_points"] = 0.30 * (best["shrunken_rating"] - 1) / 4
        best["speed_points"] = 0.05 * best["speed_score"]
        best["cost_points"] = 0.05 * best["cost_score"]
        terms = ["success_points", "rating_points", "speed_points", "cost_points"]
        best["score"] = best[terms].sum(axis=1)
        best = best.sort_values(
            ["score", "usage_count", "prompt_name", "prompt_id"],
            ascending=[False, False, True, True],
            key=lambda column: column.round(9) if column.name == "score" else column,
        )
        best["rank"] = range(1, len(best) + 1)
        best["domain_rank"] = best.groupby("domain", dropna=False).cumcount() + 1
        parts.append(best)
    return pd.concat(parts)


def _trend(scope: str, prompt: str | None, uses: pd.DataFrame, as_of: date) -> pd.DataFrame:
    first = uses["day"].min()
    length = (as_of - first).days + 1
    days = [first + timedelta(days=number) for number in range(length)]
    sums = measures(uses, ["day"]).set_index("day").reindex(days)
    counts = sums["usage_count"].fillna(0)
    summed = ["usage_count", "outcome_count", "success_count", "rated_count", "response_time_count"]
    week = sums[summed].fillna(0).rolling(7, min_periods=1).sum()
    known = sums[["rating_sum", "response_time_sum_ms", "total_cost"]].rolling(7, min_periods=1).sum()
    week_days = np.minimum(np.arange(length) + 1, 7)
    usual = sum(counts.shift(7 * weeks) for weeks in (1, 2, 3, 4)) / 4
    slopes, errors, directions = [], [], []
    for number in range(length):
        four_weeks = counts.to_numpy()[number - 27 : number + 1]
        slope, error = _slope(four_weeks) if number >= 27 else (None, None)
        slopes.append(slope)
        errors.append(error)
        directions.append(_direction(slope, error, four_weeks.sum()))
    found = pd.DataFrame(
        {
            "scope": scope,
            "prompt_id": prompt,
            "usage_date": days,
            "usage_count": counts.to_numpy(),
            "usual_usage_count": usual.to_numpy(),
            **{
                name: sums[name].to_numpy()
                for name in ("success_rate", "average_rating", "average_response_time_ms", "total_cost")
            },
            "week_usage_count": week["usage_count"].to_numpy() / week_days,
            "week_success_rate": _ratio(week["success_count"], week["outcome_count"]).to_numpy(),
            "week_average_rating": _ratio(known["rating_sum"], week["rated_count"]).to_numpy(),
            "week_average_response_time_ms": _ratio(
                known["response_time_sum_ms"], week["response_time_count"]
            ).to_numpy(),
            "week_cost": known["total_cost"].to_numpy() / week_days,
            "usage_slope": slopes,
            "usage_slope_error": errors,
            "direction": directions,
        }
    )
    return found.tail(90)


_DESIGN = np.column_stack(
    [np.arange(28.0), *((np.arange(28) % 7 == weekday).astype(float) for weekday in range(7))]
)
_COVARIANCE = np.linalg.inv(_DESIGN.T @ _DESIGN)


def _slope(counts: np.ndarray) -> tuple[float, float]:
    """Growth a day and its standard error, of counts of 28 days, the oldest first."""
    found = _COVARIANCE @ _DESIGN.T @ counts
    left = counts - _DESIGN @ found
    # what is zero but for rounding is zero
    return round(found[0], 9), round(float(np.sqrt(_COVARIANCE[0, 0] * (left @ left) / (28 - 8))), 9)


def _direction(slope: float | None, error: float | None, uses: float) -> str:
    if slope is None or error is None or uses < 20:
        return "too little data"
    reach = 2.0859634 * error
    return "rising" if slope > reach else "falling" if slope < -reach else "steady"


_ALERTS: Mapping[str, tuple[str, Callable[[float], bool]]] = {
    "success_rate": ("outcome_count", lambda value: value < 0.70),
    "average_rating": ("rated_count", lambda value: value < 3.0),
    "average_response_time_ms": ("response_time_count", lambda value: value > 5000),
    "error_rate": ("error_known_count", lambda value: value > 0.20),
}
_TARGETS_MISSED: Mapping[str, Callable[[float], bool]] = {
    "success_rate": lambda value: value <= 0.80,
    "average_rating": lambda value: value <= 4.0,
    "average_response_time_ms": lambda value: value >= 2000,
}


def _health(rows: pd.DataFrame) -> list[str]:
    verdicts = []
    for row in rows.to_dict("records"):
        known = {name: row[name] for name, (sample, _) in _ALERTS.items() if row[sample] >= MINIMUM_SAMPLE}
        if not known:
            verdicts.append("no_data")
        elif any(_ALERTS[name][1](value) for name, value in known.items()):
            verdicts.append("at_risk")
        elif any(_TARGETS_MISSED[name](known[name]) for name in _TARGETS_MISSED if name in known):
            verdicts.append("watch")
        else:
            verdicts.append("healthy")
    return verdicts


def _verdict(row: Mapping[str, Any], limits: Sequence[Mapping[str, Any]]) -> tuple[str, str | None]:
    def share(part: Any, whole: Any) -> float | None:
        return float(part) / float(whole) if whole else None

    reconciled, reported = row["is_reconciled"], row["is_as_reported"]
    there, here, told = row["source_count"], row["kept_count"], row["reported_count"]
    usual = row["usual_usage_count"]
    observed = {
        "rejected_rows": share(row["rejected_rows"], row["rows_read"]),
        "rejected_values": share(row["rejected_values"], row["rows_read"]),
        "late_rows": share(row["late_rows"], row["usage_count"]),
        "unpriced_uses": share(row["unpriced_uses"], row["priceable"]),
        "unlisted_uses": share(row["unlisted_uses"], row["usage_count"]),
        "hours_without_use": row["hours_without_use"],
        "missing_uses": 1 - row["usage_count"] / usual if not pd.isna(usual) and usual >= 20 else None,
        "unreconciled_uses": abs(there - here) / max(there, 1) if reconciled is False else None,
        "unreconciled_values": 1.0 if reconciled is False and there == here else None,
        "unreported_uses": abs(told - there) / max(told, 1) if reported is False else None,
    }
    reasons, worst = [], "ok"
    for limit in limits:
        value = observed[limit["measure"]]
        if value is None or pd.isna(value) or not (
            value > limit["warning_above"] or value > limit["error_above"]
        ):  # fmt: skip
            continue
        worst = "error" if worst == "error" or value > limit["error_above"] else "warning"
        figure = {
            "hours_without_use": f"{value:.0f} ",
            "unreconciled_values": "",
        }.get(limit["measure"], f"{round(100 * value, 1):g} % ")
        reasons.append(figure + limit["reason"])
    return worst, "; ".join(reasons) or None


def _derived(key: str) -> str:
    """The id that the marts give a prompt that the library does not list."""

    return str(uuid.UUID(hashlib.md5(f"unlisted prompt {key}".encode()).hexdigest()))
