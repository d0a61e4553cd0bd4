"""LiteLLM proxy's table of calls, ``"LiteLLM_SpendLogs"``, of any age: older ones lack columns.

Which prompt a call used, LiteLLM does not know: a rule says where the callers put it, behind a prefix of
a request tag or in the metadata. Rows come in the order of their start, from some days before the last
watermark on, as a call is written once it has ended. What it can't know: ratings, calls that the proxy
never wrote, and prices of models that LiteLLM has none for (it writes 0; see ``zero_is_unknown``).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date, timedelta

from psycopg import sql

from orchestration.database import describe
from orchestration.errors import PrismError
from orchestration.settings import LitellmSource, TagOrPath
from orchestration.sources.comparison import INSTANTS, Comparison, Days, Reported, Tally
from orchestration.sources.protocol import Batch, Entity, Reading, Watermarks
from orchestration.sources.snapshot import Snapshot, open_snapshot

_TABLE = "LiteLLM_SpendLogs"
# canonical column -> the table's, as they stand there
_NAMES = {
    "usage_id": "request_id",
    "session_id": "session_id",
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "total_tokens": "total_tokens",
    "ip_address": "requester_ip_address",
}
_NEEDED = ("request_id", "startTime")
# The proxy's own totals by user and day of UTC; those by team, tag or customer hold parts of the same calls.
_TOTALS = "LiteLLM_DailyUserSpend"
_TOTALLED = {"calls": "api_requests", "cost": "spend", "input_tokens": "prompt_tokens",
             "output_tokens": "completion_tokens"}  # fmt: skip


@contextmanager
def open_litellm(source: LitellmSource, url: str, *, with_texts: bool) -> Iterator[LitellmReader]:
    """A snapshot of the proxy's table at ``url``. ``with_texts`` reads the messages, too.

    Raises :class:`PrismError` where the database can't be reached, the table or a column that nothing works
    without is missing, or the role may not read it all.
    """
    where = f"sources: {source.name}: {describe(url)}, schema {source.db_schema}"
    with open_snapshot(url, setting=f"sources: {source.name}: url", where=where) as snapshot:
        yield LitellmReader(source, url, snapshot, where, with_texts=with_texts)


class LitellmReader:
    """The calls of one proxy, in one snapshot."""

    entities: Sequence[Entity] = ("usage",)
    readings: Mapping[str, Reading] = {}

    def __init__(
        self, source: LitellmSource, url: str, snapshot: Snapshot, where: str, *, with_texts: bool
    ) -> None:
        self._source = source
        self._snapshot = snapshot
        self._with_texts = with_texts
        self._has = snapshot.columns(source.db_schema, _TABLE)
        self._place = f"{source.db_schema}.{_TABLE}"
        self._table = sql.Identifier(source.db_schema, _TABLE)
        self._check(where)
        self.description = f'{describe(url)}, table "{_TABLE}"'

    def _check(self, where: str) -> None:
        if not self._has:
            raise PrismError(
                f'there is no table "{_TABLE}"',
                where=where,
                mend="Correct `url:` or `schema:` of this source in prism.yaml, "
                "or grant the role the use of the schema.",
            )
        rules = [self._source.prompt, self._source.prompt_version, self._source.agent]
        needed = [*_NEEDED, *(_holder(rule) for rule in rules if rule is not None)]
        if missing := [name for name in dict.fromkeys(needed) if name not in self._has]:
            raise PrismError(
                f'the table "{_TABLE}" has no column {", ".join(missing)}',
                where=where,
                mend="Prism can't do without. Bring the proxy up to date, or change the rules "
                "`prompt:`, `prompt_version:` and `agent:` of this source.",
            )

    def batches(self, entity: Entity, watermarks: Watermarks) -> Generator[Batch]:
        """The calls since the watermark, less the overlap."""
        mark = watermarks.get(self._place)
        yield from self._snapshot.batches(
            entity,
            self._place,
            self._columns(),
            self._table,
            key=sql.Identifier("request_id"),
            order=sql.Identifier("startTime"),
            since=self._snapshot.since(mark, timedelta(days=self._source.reread_days)),
            mark=mark,
        )

    def comparison(self) -> Comparison | None:
        """The last days of calls, to be compared with what was loaded of them and with the proxy's totals."""
        if not self._source.compare_days or self._has["startTime"].type not in INSTANTS:
            return None
        columns = self._columns()
        succeeded = (
            {"success": sql.SQL("case {} when 'true' then 1 when 'false' then 0 end").format(success)}
            if (success := columns.get("success"))
            else {}
        )
        return Comparison(
            self._snapshot,
            self._place,
            self._table,
            columns=columns,
            types=self._snapshot.types({**columns, **succeeded}, self._table),
            days=self._source.compare_days,
            compared_as=succeeded,
            loses_its_oldest=True,
            own_totals=self._own_totals,
        )

    def _own_totals(self, days: Days) -> dict[date, Reported]:
        """The proxy's own totals beside what its log comes to, of each day of UTC that has ended."""
        schema = self._source.db_schema
        if not self._snapshot.may_read(schema, _TOTALS):
            return {}
        theirs = self._snapshot.columns(schema, _TOTALS)
        both = [
            name for name, column in _TOTALLED.items()
            if column in theirs and (name == "calls" or column in self._has)
        ]  # fmt: skip
        sums = {
            name: sql.SQL("sum({}::double precision)").format(sql.Identifier(_TOTALLED[name]))
            for name in both
        }
        query = sql.SQL(
            """
            with reported as (
                select "date"::text as day, {reported} from {totals}
                where "date"::text between {first} and {last} group by 1
            ),

            logged as (
                select to_char("startTime", 'YYYY-MM-DD') as day, {logged} from {log}
                where "startTime" >= {first}::date and "startTime" < {last}::date + 1 group by 1
            )

            select day, {told} from reported full join logged using (day)
            where day < to_char(now(), 'YYYY-MM-DD') and day > (select min("date"::text) from {totals})
            """
        ).format(
            reported=_list(sums),
            logged=_list({**sums, "calls": sql.SQL("count(*)")} if "calls" in sums else sums),
            told=sql.SQL(", ").join(
                sql.SQL("coalesce({}, 0)").format(sql.Identifier(side, name))
                for side in ("reported", "logged")
                for name in both
            ),
            totals=sql.Identifier(schema, _TOTALS),
            log=self._table,
            # a day of UTC begins before or after ours: the first may lack what the table has lost of it
            first=sql.Literal((days.first + timedelta(days=1)).isoformat()),
            last=sql.Literal(days.last.isoformat()),
        )
        found = {}
        for text, *totals in self._snapshot.fetch(query, f"{schema}.{_TOTALS}") if both else ():
            with suppress(ValueError):  # their days are text
                found[date.fromisoformat(text)] = Reported(
                    Tally.of(dict(zip(both, totals[: len(both)], strict=True))),
                    Tally.of(dict(zip(both, totals[len(both) :], strict=True))),
                )
        return found

    def _columns(self) -> dict[str, sql.Composable]:
        """Canonical columns from those that this table has."""
        source = self._source
        columns: dict[str, sql.Composable] = {
            canonical: sql.Identifier(name) for canonical, name in _NAMES.items() if name in self._has
        }
        columns["used_at"] = sql.Identifier("startTime")  # without a zone it is UTC, as the session is
        rules = {
            "prompt_key": source.prompt,
            "prompt_version": source.prompt_version,
            "agent_key": source.agent,
        }
        for canonical, rule in rules.items():
            if rule is not None:
                columns[canonical] = _found(rule)
        if source.default_prompt is not None:
            columns["prompt_key"] = sql.SQL("coalesce(nullif({}, ''), {})").format(
                columns["prompt_key"], sql.Literal(source.default_prompt)
            )
        for canonical, names in (("user_key", ("end_user", "user")), ("model", ("model", "model_group"))):
            columns |= self._first(canonical, names)
        columns |= self._duration() | self._cost() | self._outcome()
        if self._with_texts and "messages" in self._has:
            columns["user_prompt"] = sql.SQL("nullif(messages::text, '{{}}')").format()
        return columns

    def _first(self, canonical: str, names: Sequence[str]) -> dict[str, sql.Composable]:
        """The first of some columns that says something."""
        has = [
            sql.SQL("nullif({}::text, '')").format(sql.Identifier(name))
            for name in names
            if name in self._has
        ]
        return {canonical: sql.SQL("coalesce({})").format(sql.SQL(", ").join(has))} if has else {}

    def _duration(self) -> dict[str, sql.Composable]:
        ways: list[sql.Composable] = []
        if "request_duration_ms" in self._has:
            ways.append(sql.Identifier("request_duration_ms"))
        if "endTime" in self._has:
            ways.append(
                sql.SQL(
                    "case when isfinite({0}) and isfinite({1}) then 1000 * extract(epoch from {0} - {1}) end"
                ).format(sql.Identifier("endTime"), sql.Identifier("startTime"))
            )
        return {"response_time_ms": sql.SQL("coalesce({})").format(sql.SQL(", ").join(ways))} if ways else {}

    def _cost(self) -> dict[str, sql.Composable]:
        if "spend" not in self._has:
            return {}
        if not self._source.zero_is_unknown:
            return {"cost": sql.Identifier("spend")}
        if "cache_hit" not in self._has:
            return {"cost": sql.SQL("nullif(spend, 0)")}
        # an answer from the cache costs nothing indeed
        return {"cost": sql.SQL("case when spend <> 0 or lower(cache_hit::text) = 'true' then spend end")}

    def _outcome(self) -> dict[str, sql.Composable]:
        """Success where the table says it: in a column, before that in the metadata, before that nowhere."""
        ways = [sql.SQL("nullif(status::text, '')")] if "status" in self._has else []
        if "metadata" in self._has:
            ways.append(sql.SQL("nullif(to_jsonb(metadata) ->> 'status', '')"))
        if not ways:
            return {}
        status = sql.SQL("coalesce({})").format(sql.SQL(", ").join(ways))
        columns: dict[str, sql.Composable] = {
            "success": sql.SQL(
                "case {0} when 'success' then 'true' when 'failure' then 'false' else {0} end"
            ).format(status)
        }
        if "metadata" in self._has:
            columns["error_type"] = sql.SQL(
                """
                case when {} = 'failure' then
                    coalesce(
                        nullif(to_jsonb(metadata) #>> '{{error_information,error_class}}', ''),
                        nullif(to_jsonb(metadata) #>> '{{error_information,error_code}}', '')
                    )
                end
                """
            ).format(status)
        return columns


def _holder(rule: TagOrPath) -> str:
    return "request_tags" if rule.tag is not None else "metadata"


def _found(rule: TagOrPath) -> sql.Composable:
    """What a rule finds in a row, as text."""
    if rule.tag is None:
        path = (rule.metadata or "").split(".")
        return sql.SQL("(to_jsonb(metadata) #>> {}::text[])").format(sql.Literal(path))
    return sql.SQL(
        """
        (
            select substr(tag, {length})
            from jsonb_array_elements_text(
                case when jsonb_typeof(to_jsonb(request_tags)) = 'array' then to_jsonb(request_tags)
                else '[]' end
            ) with ordinality as tags (tag, place)
            where starts_with(tag, {prefix}) and tag <> {prefix}
            order by place
            limit 1
        )
        """
    ).format(length=sql.Literal(len(rule.tag) + 1), prefix=sql.Literal(rule.tag))


def _list(columns: Mapping[str, sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{} as {}").format(column, sql.Identifier(name)) for name, column in columns.items()
    )
