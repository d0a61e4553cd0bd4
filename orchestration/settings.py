"""prism.yaml and the PRISM_* variables, read once into one frozen, validated object.

Knows nothing of what the settings are used for. Whoever needs a setting gets it handed in; no other
module reads the environment.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from datetime import date, time
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from orchestration.errors import PrismError

Period = Literal["day", "week", "month", "quarter", "year", "all"]
Entity = Literal["usage", "prompts", "agents", "agent_prompts"]

# What the program understands from the environment: name -> meaning. `.env.example` and the
# reference list just these, and a test holds them to it.
VARIABLES: Mapping[str, str] = {
    "PRISM_HOME": "folder for everything the program writes; default .prism",
    "PRISM_CONFIG": "the settings file; default prism.yaml in the working directory",
    "PRISM_WAREHOUSE_URL": "PostgreSQL 15 or newer to use as the warehouse; default: the embedded",
    "PRISM_DAGSTER_URL": "PostgreSQL for Dagster's own storage; default: a database beside it",
    "PRISM_SMTP_URL": "smtp://user:password@host:587 or smtps://…; unset: mails stay in the outbox",
    "PRISM_DKIM_KEY": "file with the private key that mails are signed with, see reports.dkim",
    "PRISM_HMAC_KEY": "key for pseudonyms of persons; unset: made once in PRISM_HOME",
    "PRISM_HMAC_OLD_KEYS": "keys that were PRISM_HMAC_KEY before, with spaces between",
}


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is not a time zone of the IANA database") from error
    return name


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, strict=False)


class ColumnMap(_Frozen):
    """Where one canonical column comes from; in prism.yaml `column: name` is short for `from: name`."""

    source: str | None = Field(default=None, alias="from")
    value: str | int | float | bool | None = None
    default: str | int | float | bool | None = None
    unit: Literal["s", "ms", "us", "ns"] | None = None
    timezone: str | None = None
    zero_is_unknown: bool = False
    scale: tuple[float, float] | None = None

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str | None) -> str | None:
        return None if name is None else _zone(name)

    @model_validator(mode="after")
    def _one_origin(self) -> ColumnMap:
        if (self.source is None) == (self.value is None):
            raise ValueError("needs either `from:` (a column) or `value:` (a constant)")
        if self.scale is not None and self.scale[0] >= self.scale[1]:
            raise ValueError("`scale:` needs its lower end first")
        return self


class _Source(_Frozen):
    """What every source has. ``prices``: a use that tells no cost gets one by its model and tokens."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")
    prices: bool = False


class ApplicationSource(_Source):
    """The application's PostgreSQL: tables prompts, agents, agent_prompts, prompt_usage.

    Without a ``url`` they lie in the warehouse's own database.
    """

    type: Literal["application"]
    url: str | None = Field(default=None, repr=False)
    db_schema: str = Field(default="public", alias="schema")
    overlap_minutes: int = Field(default=60, ge=0)
    reread_days: int = Field(default=14, ge=0)
    compare_days: int = Field(default=35, ge=0, le=3660)


class _Files(_Source):
    """What reads files. With an ``archive`` (a folder) each file is moved there once it was loaded."""

    path: str
    archive: str | None = None
    settle_seconds: int = Field(default=10, ge=0)


class FilesSource(_Files):
    """CSV, JSON Lines or Parquet files, plain or gzip, with a column map."""

    type: Literal["files"]
    format: Literal["csv", "jsonl", "parquet"] | None = None
    entity: Entity = "usage"
    columns: Mapping[str, ColumnMap] = Field(default_factory=dict)
    null_values: tuple[str, ...] = ()
    usage_id: Literal["line"] | tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _archive_of_uses(self) -> FilesSource:
        if self.archive is not None and self.entity != "usage":
            raise ValueError("`archive:` is for uses; a library's files stay, since each load reads them all")
        return self

    @field_validator("columns", mode="before")
    @classmethod
    def _short_form(cls, columns: Any) -> Any:
        if not isinstance(columns, Mapping):
            return columns
        return {key: {"from": spec} if isinstance(spec, str) else spec for key, spec in columns.items()}


class _Gateway(_Source):
    """What sees many prompts' calls go by. ``default_prompt`` is the prompt of a call that names none."""

    prices: bool = True
    default_prompt: str | None = None
    zero_is_unknown: bool = False


class TagOrPath(_Frozen):
    """Where LiteLLM keeps what it has no column for: behind a prefix of a request tag, or in the metadata."""

    tag: str | None = Field(default=None, min_length=1)
    metadata: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_place(self) -> TagOrPath:
        if (self.tag is None) == (self.metadata is None):
            raise ValueError("needs either `tag:` (its prefix) or `metadata:` (a path, as a.b)")
        return self


class LitellmSource(_Gateway):
    """The table of calls of a LiteLLM proxy. Without a ``url`` it lies in the warehouse's own database."""

    type: Literal["litellm"]
    url: str | None = Field(default=None, repr=False)
    db_schema: str = Field(default="public", alias="schema")
    prompt: TagOrPath
    prompt_version: TagOrPath | None = None
    agent: TagOrPath | None = None
    reread_days: int = Field(default=2, ge=0)
    compare_days: int = Field(default=35, ge=0, le=3660)


# name of a score or an evaluation -> the scale of its values
Scales = Mapping[str, tuple[float, float]]


class _RatedExport(_Gateway, _Files):
    """Files in which ratings stand apart from the uses, and may come in a later one."""

    ratings: Scales = Field(default_factory=dict)
    reread_days: int = Field(default=30, ge=0)

    @field_validator("ratings")
    @classmethod
    def _lower_end_first(cls, ratings: Scales) -> Scales:
        for name, (low, high) in ratings.items():
            if not low < high:
                raise ValueError(f"the scale of {name!r} needs its lower end first")
        return ratings


class LangfuseSource(_RatedExport):
    """Langfuse's exports to blob storage. ``manifests`` false: of a Langfuse that writes none."""

    type: Literal["langfuse"]
    manifests: bool = True


class OpenTelemetrySource(_RatedExport):
    """OTLP JSON Lines of GenAI spans. ``prompt_attributes`` name a call's prompt, the first that is there."""

    type: Literal["opentelemetry"]
    prompt_attributes: tuple[str, ...] = ("gen_ai.prompt.name",)


class HeliconeSource(_Gateway, _Files):
    """Helicone's request exports, JSON Lines."""

    type: Literal["helicone"]


Source = Annotated[
    ApplicationSource | FilesSource | LitellmSource | LangfuseSource | OpenTelemetrySource | HeliconeSource,
    Field(discriminator="type"),
]


# The sources whose files may have an archive
FileSource = FilesSource | LangfuseSource | OpenTelemetrySource | HeliconeSource

SAMPLE = ApplicationSource(name="sample", type="application", schema="app")


# A domain or a local part may hold more, but no mail server of today takes it.
_ADDRESS = re.compile(r"[^@\s,;<>\"']+@[^@\s,;<>\"']+")


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text):
        raise ValueError(f"{text!r} is not a mail address")
    return text


Address = Annotated[str, AfterValidator(_address)]


def _clock(value: Any) -> Any:
    """YAML takes an unquoted 10:30 for a number of base 60."""
    text = f"{value // 60:02d}:{value % 60:02d}" if isinstance(value, int) else value
    if not (isinstance(text, str) and re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d", text)):
        raise ValueError(f"{value!r} is not a time of day; expected for example 07:30")
    hour, minute = text.split(":")
    return time(int(hour), int(minute))


Clock = Annotated[time, BeforeValidator(_clock)]
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class Schedule(_Frozen):
    """The days on which mails go out; ``on`` is a weekday (0 is Monday) or a day of the month."""

    every: Literal["day", "weekday", "week", "month"]
    on: int = 0

    @classmethod
    def read(cls, text: str) -> Schedule:
        """`daily`, `weekdays`, `weekly on monday`, `monthly on 1` (31: the last day of shorter ones)."""
        words = text.lower().split()
        if words == ["daily"]:
            return cls(every="day")
        if words == ["weekdays"]:
            return cls(every="weekday")
        if len(words) == 3 and words[:2] == ["weekly", "on"] and words[2] in _WEEKDAYS:
            return cls(every="week", on=_WEEKDAYS.index(words[2]))
        if len(words) == 3 and words[:2] == ["monthly", "on"] and words[2] in map(str, range(1, 32)):
            return cls(every="month", on=int(words[2]))
        raise ValueError(
            f"{text!r} is not a schedule; expected daily, weekdays, weekly on monday or monthly on 1"
        )

    def __str__(self) -> str:
        return {
            "day": "daily",
            "weekday": "weekdays",
            "week": f"weekly on {_WEEKDAYS[self.on % 7]}",
            "month": f"monthly on {self.on}",
        }[self.every]


class Filters(_Frozen):
    """Which prompts and alerts a mail is about; empty: all."""

    domain: tuple[str, ...] = ()
    suite: tuple[str, ...] = ()
    severity: tuple[Literal["high", "medium", "low"], ...] = ()


class RecipientsOfColumn(_Frozen):
    """One mail for each value of a column of the mart `prompts`, about the prompts that have it."""

    column: Literal["owner", "domain", "suite"]


class Subscription(_Frozen):
    """Who gets which report, about what, when, in which form, and under which condition.

    ``pages``: the report that its mails lead to, the whole one or one of their domains alone.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,40}$")
    report: Literal["digest", "weekly", "monthly"] = "digest"
    recipients: tuple[str, ...] | RecipientsOfColumn
    filters: Filters = Filters()
    schedule: Schedule = Schedule(every="day")
    at: Clock | None = None
    timezone: str | None = None
    format: Literal["html", "text"] = "html"
    attach: tuple[Literal["xlsx", "csv"], ...] = ()
    condition: Literal["always", "results", "change", "alerts"] = "always"
    pages: Literal["whole", "own"] = "whole"

    @model_validator(mode="after")
    def _own_pages_are_of_domains(self) -> Subscription:
        if self.pages == "own" and not self.filters.domain and not self.is_by_domain:
            raise ValueError("`pages: own` needs `filters: {domain: […]}` or `recipients: {column: domain}`")
        return self

    @property
    def is_by_domain(self) -> bool:
        """Whether there is one mail for each domain."""
        return self.recipients == RecipientsOfColumn(column="domain")

    @model_validator(mode="before")
    @classmethod
    def _usual_schedule(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "schedule" not in values:
            usual = {"weekly": "weekly on monday", "monthly": "monthly on 1"}
            return {**values, "schedule": usual.get(str(values.get("report")), "daily")}
        return values

    @field_validator("schedule", mode="before")
    @classmethod
    def _schedule(cls, value: Any) -> Any:
        return Schedule.read(value) if isinstance(value, str) else value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str | None) -> str | None:
        return None if name is None else _zone(name)


class Dkim(_Frozen):
    """How mails are signed, with the key that PRISM_DKIM_KEY names. ``domain``: left out, the sender's."""

    selector: str = Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,60}[A-Za-z0-9])?$")
    domain: str | None = None


class Reports(_Frozen):
    """Who gets which report, and when it is made."""

    default_period: Period = "month"
    exports: tuple[Literal["csv", "xlsx", "parquet", "json", "pdf"], ...] = ("csv", "xlsx")
    allowed_domains: tuple[str, ...] = ()
    owner: Address | None = None
    recipients: tuple[Address, ...] = ()
    lists: Mapping[str, tuple[Address, ...]] = Field(default_factory=dict)
    subscriptions: tuple[Subscription, ...] = ()
    sender: Address = "prism@localhost"
    unsubscribe: Address | None = None
    base_url: str | None = None
    ui_url: str = "http://127.0.0.1:3000"
    schedule: str = "30 1 * * *"
    messages_a_minute: float | None = Field(default=None, gt=0)
    dkim: Dkim | None = None
    max_data_age_hours: int = Field(default=168, gt=0)
    on_failure: Literal["nothing", "last good"] = "nothing"
    heartbeat: Clock | None = None

    @property
    def all_subscriptions(self) -> tuple[Subscription, ...]:
        """Those of prism.yaml and, before them, the nightly digest of ``recipients``, where there are any.

        Without either it is there with nobody to get it, so that it can be looked at.
        """
        if self.subscriptions and not self.recipients:
            return self.subscriptions
        return (Subscription(name="digest", recipients=self.recipients), *self.subscriptions)

    @property
    def contact(self) -> str:
        """Whom to write to for no more mails."""
        return self.unsubscribe or self.owner or self.sender

    def allows(self, address: str) -> bool:
        """Whether mail may go to the address: its domain is one of ``allowed_domains``, if there are any."""
        domain = address.rpartition("@")[2].lower()
        return not self.allowed_domains or domain in {one.lower() for one in self.allowed_domains}

    @field_validator("owner", "recipients", "lists")
    @classmethod
    def _allowed(cls, value: Any, info: ValidationInfo) -> Any:
        allowed = cls.model_construct(allowed_domains=info.data.get("allowed_domains", ()))
        addresses = [value] if isinstance(value, str) else value or ()
        if isinstance(addresses, Mapping):
            addresses = [address for members in addresses.values() for address in members]
        for address in addresses:
            if not allowed.allows(address):
                raise ValueError(f"{address!r} is in none of reports.allowed_domains")
        return value

    @field_validator("subscriptions")
    @classmethod
    def _known_recipients(
        cls, value: tuple[Subscription, ...], info: ValidationInfo
    ) -> tuple[Subscription, ...]:
        names = [one.name for one in value]
        allowed = cls.model_construct(allowed_domains=info.data.get("allowed_domains", ()))
        if info.data.get("recipients"):
            names.append("digest")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two subscriptions are named {name!r} (reports.recipients is `digest`)")
        for one in value:
            for recipient in () if isinstance(one.recipients, RecipientsOfColumn) else one.recipients:
                if recipient in info.data.get("lists", {}):
                    continue
                if not _ADDRESS.fullmatch(recipient):
                    raise ValueError(
                        f"{one.name}: {recipient!r} is neither a mail address nor one of reports.lists"
                    )
                if not allowed.allows(recipient):
                    raise ValueError(f"{one.name}: {recipient!r} is in none of reports.allowed_domains")
        return value

    @field_validator("schedule")
    @classmethod
    def _cron(cls, value: str) -> str:
        if len(value.split()) != 5:
            raise ValueError(f"{value!r} is not a cron expression of five fields")
        return value


class Route(_Frozen):
    """Which alerts' notices go where: all that meet every condition.

    ``to``: addresses, the ``owner`` of the alert's prompt, names of channels. ``severity`` is the lowest.
    """

    to: tuple[str, ...] = Field(min_length=1)
    severity: Literal["low", "medium", "high"] = "low"
    domains: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()


class Alerts(_Frozen):
    """Who hears of alerts that open, escalate or are resolved, where and when.

    ``channels``: a name -> a URL that apprise knows; it may hold a secret, and never shows. ``most`` alerts
    stand in a message, the rest is summed up.
    """

    routes: tuple[Route, ...] = ()
    channels: Mapping[str, str] = Field(default_factory=dict, repr=False)
    quiet_hours: str | None = None
    timezone: str | None = None
    most: int = Field(default=20, ge=1, le=50)

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str | None) -> str | None:
        return None if name is None else _zone(name)

    @field_validator("quiet_hours")
    @classmethod
    def _two_times(cls, value: str | None) -> str | None:
        if value is not None:
            clock = "([01][0-9]|2[0-3]):[0-5][0-9]"
            ends = value.split("-")
            if not re.fullmatch(f"{clock}-{clock}", value) or ends[0] == ends[1]:
                raise ValueError(f"{value!r} is not a span of hours such as 22:00-07:00")
        return value

    @field_validator("channels")
    @classmethod
    def _known_channels(cls, channels: Mapping[str, str]) -> Mapping[str, str]:
        from orchestration.alerting.chat import is_known  # noqa: PLC0415 - only where there are channels

        for name, url in channels.items():
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name) or name == "owner":
                raise ValueError(f"{name!r} can't be the name of a channel: small letters, digits, _ and -")
            if not is_known(url):
                raise ValueError(f"the URL of {name} is none that apprise knows")
        return channels

    @model_validator(mode="after")
    def _known_recipients(self) -> Alerts:
        for route in self.routes:
            for recipient in route.to:
                if recipient not in ("owner", *self.channels) and not _ADDRESS.fullmatch(recipient):
                    raise ValueError(
                        f"{recipient!r} is neither a mail address nor `owner` nor a name of `channels`"
                    )
        return self


class Privacy(_Frozen):
    """What is kept of persons and of what they typed."""

    persons: Literal["pseudonym", "plain"] = "pseudonym"
    prompt_texts: Literal["none", "redacted", "full"] = "none"


_DaysKept = Annotated[int, Field(ge=1)]


class Retention(_Frozen):
    """For how many days what is kept; null: for ever. ``outbox``: what mails say, not that they were."""

    texts: _DaysKept | None = None
    uses: _DaysKept | None = None
    rejected_rows: _DaysKept | None = None
    outbox: _DaysKept | None = None
    reports: _DaysKept | None = None
    dagster_events: _DaysKept | None = None

    @property
    def is_any(self) -> bool:
        return any(days is not None for days in self.model_dump().values())


class Console(_Frozen):
    """Who gets into the web console, beside its own accounts.

    ``proxy_header``: a reverse proxy at one of the addresses ``proxies`` says there who is asking, and
    passwords are not asked for; ``proxy_roles`` says what they may. ``https``: it is reached by https only.
    """

    proxy_header: str | None = Field(default=None, pattern=r"^[A-Za-z][A-Za-z0-9-]{0,62}$")
    proxy_roles: Mapping[str, Literal["viewer", "editor", "admin"]] = Field(default_factory=dict)
    proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    https: bool = False


class Config(_Frozen):
    """prism.yaml, key by key."""

    timezone: str = "UTC"
    start_date: date = date(2020, 1, 1)
    sources: tuple[Source, ...] = ()
    reports: Reports = Reports()
    alerts: Alerts = Alerts()
    privacy: Privacy = Privacy()
    retention: Retention = Retention()
    console: Console = Console()

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        return _zone(name)

    @field_validator("sources")
    @classmethod
    def _unique(cls, sources: tuple[Source, ...]) -> tuple[Source, ...]:
        names = [source.name for source in sources]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two sources are named {name!r}")
        return sources

    @model_validator(mode="after")
    def _uses_outlive_reading(self) -> Config:
        """A source that reads days again which are sealed would have all of them rejected, every night."""
        for source in self.sources:
            again = max(getattr(source, "reread_days", 0), getattr(source, "compare_days", 0))
            if self.retention.uses is not None and self.retention.uses <= again:
                raise ValueError(
                    f"retention.uses must be over the {again} days that source {source.name} reads again"
                )
        return self


class Settings(_Frozen):
    """All settings in force. Paths are absolute; secrets never show in ``repr``."""

    home: Path
    config_path: Path
    config: Config
    warehouse_url: str | None = Field(default=None, repr=False)
    dagster_url: str | None = Field(default=None, repr=False)
    smtp_url: str | None = Field(default=None, repr=False)
    dkim_key_path: Path | None = None
    hmac_key_text: str | None = Field(default=None, repr=False)
    hmac_old_keys_text: str | None = Field(default=None, repr=False)

    @property
    def sources(self) -> tuple[Source, ...]:
        """The sources of prism.yaml; without any, the sample application in the warehouse."""
        return self.config.sources or (SAMPLE,)

    @property
    def base(self) -> Path:
        """The folder that relative paths of prism.yaml start from."""
        return self.config_path.parent

    @property
    def reports_dir(self) -> Path:
        return self.home / "reports"

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.config.timezone)

    @property
    def alerts_zone(self) -> ZoneInfo:
        """The zone that quiet hours are in."""
        return ZoneInfo(self.config.alerts.timezone or self.config.timezone)

    def hmac_key(self) -> bytes:
        """The key for pseudonyms: the variable's, else one made once in ``PRISM_HOME`` (mode 0600)."""
        if self.hmac_key_text:
            return self.hmac_key_text.encode()
        path = self.home / "hmac.key"
        self.home.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            key = path.read_text(encoding="ascii").strip()
            if not key:
                raise PrismError(
                    "the key for pseudonyms is empty",
                    where=str(path),
                    mend="Restore it from a backup, or delete it and load all sources anew.",
                ) from None
            return key.encode()
        key = secrets.token_hex(32)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(key + "\n")
        return key.encode()

    def hmac_keys(self) -> tuple[bytes, ...]:
        """The key for pseudonyms, and those that were it before."""
        return self.hmac_key(), *(key.encode() for key in (self.hmac_old_keys_text or "").split())


_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# the password of a URL, in either of its places
_PASSWORD = re.compile(r"://[^/?#\s]*?:(?P<plain>[^/?#\s]+)@|\b(?:ssl)?password\s*=\s*(?P<option>[^&\s]+)")


def _expand(value: Any, environment: Mapping[str, str], path: str, where: str) -> Any:
    """Replaces ``${NAME}`` in every string; a missing variable is an error that names it.

    So is a password that stands there itself.
    """
    if isinstance(value, Mapping):
        return {
            key: _expand(inner, environment, f"{path}.{key}" if path else str(key), where)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_expand(inner, environment, f"{path}[{n}]", where) for n, inner in enumerate(value)]
    if not isinstance(value, str):
        return value

    for password in _PASSWORD.finditer(value):
        if not _REFERENCE.search(password["plain"] or password["option"]):
            raise PrismError(
                f"{path} holds a password, and secrets come from the environment",
                where=where,
                mend="Put the whole URL into a variable, and write ${NAME} in its place.",
            )

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environment:
            raise PrismError(
                f"{path} uses ${{{name}}}, but the environment variable {name} is not set",
                where=where,
                mend=f"Set it before you call prism: export {name}=…",
            )
        return environment[name]

    return _REFERENCE.sub(replace, value)


def _said(error: Exception) -> str:
    """What is wrong with a YAML file and in which line; not the line itself, which may hold a secret."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split())
    told = ", ".join(part for part in (error.context, error.problem) if part)
    return f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {told}"


_TYPES = ("application", "files", "litellm", "langfuse", "opentelemetry", "helicone")


def _complaints(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        path = ""
        for part in problem["loc"]:
            if part in _TYPES:  # pydantic names the chosen variant; people do not
                continue
            path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
        message = {
            "extra_forbidden": "is not a setting that Prism knows",
            "missing": "is missing",
        }.get(problem["type"], problem["msg"].removeprefix("Value error, "))
        yield f"{path or 'the file'}: {message}"


def load_settings(environment: Mapping[str, str], directory: Path) -> Settings:
    """Reads prism.yaml and the variables.

    ``environment`` is the process's (or a test's) variables; ``directory`` the working directory that
    relative paths in them start from. Raises :class:`PrismError` naming the key's path where prism.yaml
    has an unknown key, a wrong type or refers to a variable that is not set.
    """

    def variable(name: str) -> str | None:
        return environment.get(name) or None

    named = variable("PRISM_CONFIG")
    config_path = (directory / (named or "prism.yaml")).resolve()
    where = str(config_path)
    content: Any = {}
    if config_path.is_file():
        try:
            content = yaml.safe_load(config_path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise PrismError(f"this is not valid YAML: {_said(error)}", where=where) from None
        content = {} if content is None else content
    elif named:
        raise PrismError(
            "PRISM_CONFIG names a settings file that does not exist",
            where=where,
            mend="Create it, or unset PRISM_CONFIG.",
        )
    if not isinstance(content, dict):
        raise PrismError("the settings must be keys with values", where=where)
    try:
        config = Config.model_validate(_expand(content, environment, "", where))
    except ValidationError as error:
        raise PrismError(
            "; ".join(_complaints(error)),
            where=where,
            mend="docs/reference/settings.md lists every setting.",
        ) from None
    return Settings(
        home=(directory / (variable("PRISM_HOME") or ".prism")).resolve(),
        config_path=config_path,
        config=config,
        warehouse_url=variable("PRISM_WAREHOUSE_URL"),
        dagster_url=variable("PRISM_DAGSTER_URL"),
        smtp_url=variable("PRISM_SMTP_URL"),
        dkim_key_path=(directory / key).resolve() if (key := variable("PRISM_DKIM_KEY")) else None,
        hmac_key_text=variable("PRISM_HMAC_KEY"),
        hmac_old_keys_text=variable("PRISM_HMAC_OLD_KEYS"),
    )
