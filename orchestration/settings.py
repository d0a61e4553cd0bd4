"""prism.yaml and the PRISM_* variables, read once into one frozen, validated object.

Knows nothing of what the settings are used for. Whoever needs a setting gets it handed in; no other
module reads the environment.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

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
    "PRISM_HMAC_KEY": "key for pseudonyms of persons; unset: made once in PRISM_HOME",
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
    url: str | None = None
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
    url: str | None = None
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


_ADDRESS = re.compile(r"[^@\s,;<>\"']+@[^@\s,;<>\"']+")


class Reports(_Frozen):
    """Who gets which report, and when it is made."""

    default_period: Period = "month"
    exports: tuple[Literal["csv", "xlsx", "parquet", "json", "pdf"], ...] = ("csv", "xlsx")
    recipients: tuple[str, ...] = ()
    owner: str | None = None
    sender: str = "prism@localhost"
    base_url: str | None = None
    schedule: str = "30 1 * * *"

    @field_validator("recipients", "owner", "sender")
    @classmethod
    def _addresses(cls, value: Any) -> Any:
        for address in [value] if isinstance(value, str) else value or ():
            if not _ADDRESS.fullmatch(address):
                raise ValueError(f"{address!r} is not a mail address")
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
    prompt_texts: Literal["none", "full"] = "none"


class Config(_Frozen):
    """prism.yaml, key by key."""

    timezone: str = "UTC"
    start_date: date = date(2020, 1, 1)
    sources: tuple[Source, ...] = ()
    reports: Reports = Reports()
    alerts: Alerts = Alerts()
    privacy: Privacy = Privacy()

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


class Settings(_Frozen):
    """All settings in force. Paths are absolute; secrets never show in ``repr``."""

    home: Path
    config_path: Path
    config: Config
    warehouse_url: str | None = Field(default=None, repr=False)
    dagster_url: str | None = Field(default=None, repr=False)
    smtp_url: str | None = Field(default=None, repr=False)
    hmac_key_text: str | None = Field(default=None, repr=False)

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


_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def _expand(value: Any, environment: Mapping[str, str], path: str, where: str) -> Any:
    """Replaces ``${NAME}`` in every string; a missing variable is an error that names it."""
    if isinstance(value, Mapping):
        return {
            key: _expand(inner, environment, f"{path}.{key}" if path else str(key), where)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_expand(inner, environment, f"{path}[{n}]", where) for n, inner in enumerate(value)]
    if not isinstance(value, str):
        return value

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
            raise PrismError(
                f"this is not valid YAML: {' '.join(str(error).split())}", where=where
            ) from error
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
        hmac_key_text=variable("PRISM_HMAC_KEY"),
    )
