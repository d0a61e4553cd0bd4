"""The uses of the sample: drawn from the prompts' lives, whole blocks of days at once, as Arrow tables.

Knows the columns of the application's ``prompt_usage``, nothing of a database. The same arguments
give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orchestration.sample.catalogue import ID_PREFIX, Agent, Prompt
from orchestration.sample.stories import Life, tell

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_HOUR = 3_600_000_000  # microseconds
_DAY = 24 * _HOUR
_BLOCK_ROWS = 50_000

# weight of each weekday, Monday first, and of each hour (UTC)
_WEEKDAYS = {
    "office": [1.0, 1.08, 1.1, 1.06, 0.86, 0.12, 0.08],
    "automation": [1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.7],
}
_HOURS = {
    "office": [1, 1, 1, 1, 1, 3, 10, 34, 78, 98, 100, 88, 60, 74, 92, 90, 70, 40, 18, 9, 6, 4, 2, 1],
    "automation": [
        40,
        60,
        90,
        90,
        60,
        40,
        35,
        35,
        40,
        42,
        42,
        40,
        38,
        38,
        40,
        40,
        38,
        36,
        34,
        32,
        32,
        32,
        34,
        36,
    ],
}


@dataclass(frozen=True)
class _Model:
    name: str
    prices: (
        tuple[int, int] | None
    )  # billionths of a USD for a token in, a token out; None: self-hosted, unpriced
    pace: float  # its response time against the prompt's median


_MODELS = (
    _Model("gpt-4.1", (2_000, 8_000), 1.0),
    _Model("gpt-4.1-mini", (400, 1_600), 0.85),
    _Model("claude-sonnet-4", (3_000, 15_000), 1.12),
    _Model("claude-3-5-haiku", (800, 4_000), 0.95),
    _Model("claude-opus-4", (15_000, 75_000), 1.1),
    _Model("llama-3.3-70b", None, 1.15),
)
# how often a prompt of each tier is called with each of the models
_TIERS = {
    "small": [0.0, 0.62, 0.0, 0.23, 0.0, 0.15],
    "standard": [0.58, 0.08, 0.34, 0.0, 0.0, 0.0],
    "large": [0.25, 0.0, 0.05, 0.0, 0.7, 0.0],
}
_OUTAGE_MODEL = 0

# kinds of failure: error type (None: no error, but the answer was no use), share, whether tokens were spent
_FAILURES: tuple[tuple[str | None, float, bool], ...] = (
    ("timeout", 0.16, False),
    ("rate_limited", 0.24, False),
    ("provider_error", 0.17, False),
    ("connection_error", 0.06, False),
    ("invalid_output", 0.22, True),
    ("content_filter", 0.08, True),
    (None, 0.07, True),
)
_TIMEOUT, _RATE_LIMITED, _PROVIDER_ERROR, _CONNECTION_ERROR = range(4)
_TIMEOUT_MS = 30_000

_USER_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/17.4 Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0",
)
_SERVICE_AGENT = "prism-client/1.4 (python-httpx/0.27)"


class UsageGenerator:
    """Draws ``rows`` uses of ``prompts`` by ``agents`` over the ``days`` before ``until`` (exclusive)."""

    def __init__(
        self,
        prompts: Sequence[Prompt],
        agents: Sequence[Agent],
        *,
        days: int,
        rows: int,
        seed: int,
        until: datetime,
    ) -> None:
        self.prompts = prompts
        self.days = days
        self.seed = seed
        self.start = until - timedelta(days=days)
        self._start_us = _microseconds(self.start)
        self._random = np.random.default_rng(np.random.SeedSequence([seed, 1]))
        self.lives = [self._life(prompt) for prompt in prompts]
        self._versions = np.array([life.version() for life in self.lives])
        self._success = np.clip([life.success for life in self.lives], 0.02, 0.995)
        self._rating = np.array([life.rating for life in self.lives])
        self._response_ms = np.array([life.response_ms for life in self.lives])
        self._hours = {rhythm: self._hour_weights(rhythm) for rhythm in _WEEKDAYS}
        self._counts = self._draw_counts(rows)
        self._users = max(60, min(20_000, rows // 250))
        self._library = _LibraryColumns(prompts, agents)

    def blocks(self) -> Iterator[pa.Table]:
        """The uses in order of time, in tables of whole days and some ten thousand rows."""
        first_row = 0
        for first, last in self._spans():
            counts = self._counts[:, first:last]
            total = int(counts.sum())
            if total:
                yield self._block(first, counts, first_row)
            first_row += total

    # -- what is expected

    def _life(self, prompt: Prompt) -> Life:
        """The prompt's expectations by day: its own level, day-to-day noise, then its story."""
        ones = np.ones(self.days)
        life = Life(
            volume=prompt.volume * self._random.lognormal(0, 0.12, self.days),
            success=self._random.uniform(0.93, 0.975) * ones,
            rating=self._random.uniform(4.2, 4.75) * ones,
            response_ms=prompt.response_ms * ones,
        )
        tell(prompt.story, life)
        if prompt.status == "draft":
            life.volume[:] = 0
        return life

    def _hour_weights(self, rhythm: str) -> Floats:
        """days x 24: how busy each hour is. A day here is 24 hours that end at ``until``'s time of day."""
        hours = self._start_us // _HOUR + np.arange(self.days * 24)
        weekday = (hours // 24 + 3) % 7  # 1970-01-01 was a Thursday
        weights: Floats = (
            np.array(_WEEKDAYS[rhythm])[weekday] * np.array(_HOURS[rhythm], dtype=float)[hours % 24]
        )
        weights /= weights.mean()
        return weights.reshape(self.days, 24)

    def _draw_counts(self, rows: int) -> Ints:
        """prompts x days: how many uses; they sum up to ``rows``."""
        growth = 1 + 0.25 * np.linspace(0, 1, self.days)
        weights = np.array(
            [
                life.volume * growth * self._hours[prompt.rhythm].sum(axis=1)
                for prompt, life in zip(self.prompts, self.lives, strict=True)
            ]
        )
        counts = np.zeros(weights.shape, dtype=np.int64)
        # only where something can be: multinomial gives what rounding leaves to the last cell
        busy = weights > 0
        counts[busy] = self._random.multinomial(rows, weights[busy] / weights[busy].sum())
        return counts

    def _spans(self) -> Iterator[tuple[int, int]]:
        """Consecutive days, as many as make about a block."""
        blocks = np.cumsum(self._counts.sum(axis=0)) // _BLOCK_ROWS
        edges = [0, *(np.flatnonzero(np.diff(blocks)) + 1).tolist(), self.days]
        yield from pairwise(edges)

    def _outage(self, times: Ints) -> NDArray[np.bool_]:
        """Office hours of one working day in the middle: a provider is down for most of it."""
        middle = self._start_us // _DAY + self.days // 2
        day = middle - max((middle + 3) % 7 - 4, 0)  # a weekend goes back to Friday
        return (times >= day * _DAY + 9 * _HOUR) & (times < day * _DAY + 14 * _HOUR)

    # -- what happens

    def _block(self, first_day: int, counts: Ints, first_row: int) -> pa.Table:
        random = np.random.default_rng(np.random.SeedSequence([self.seed, 2, first_day]))
        rows = int(counts.sum())
        cells = np.repeat(np.arange(counts.size), counts.ravel())
        prompt, day = np.divmod(cells, counts.shape[1])
        day += first_day
        offset = self._time_of_day(prompt, day, random)
        order = np.argsort(day * _DAY + offset, kind="stable")
        prompt, day = prompt[order], day[order]
        used_at = self._start_us + day * _DAY + offset[order]

        library = self._library
        automatic = library.automatic[prompt]
        user = self._draw_users(prompt, random)
        has_user = ~automatic | (random.random(rows) < 0.1)
        model = _choose(library.model_shares[prompt], random)
        success, unknown, failure = self._draw_outcomes(prompt, day, used_at, model, random)

        input_tokens = _lognormal(library.input_tokens[prompt], 0.45, random)
        output_tokens = _lognormal(library.output_tokens[prompt], 0.5, random)
        response_ms = (
            self._response_ms[prompt, day] * library.pace[model] * random.lognormal(-0.05, 0.42, rows)
        )
        spent = np.ones(rows, dtype=bool)
        spent[failure >= 0] = np.array([tokens for _, _, tokens in _FAILURES])[failure[failure >= 0]]
        response_ms[failure == _TIMEOUT] = _TIMEOUT_MS + random.random(rows)[failure == _TIMEOUT] * 40
        response_ms[failure == _RATE_LIMITED] *= 0.25

        rating, rated_at = self._draw_ratings(prompt, day, used_at, success, automatic | unknown, random)
        nano_usd = library.prices[model, 0] * input_tokens + library.prices[model, 1] * output_tokens
        priced = spent & library.priced[model]
        number = pa.array(random.integers(100_000, 999_999, rows)).cast(pa.string())
        case = pc.binary_join_element_wise(_take(library.openings, prompt), number, "")
        session = user * (2 * self.days + 3) + (used_at - self._start_us) // (12 * _HOUR)
        return pa.table(
            {
                "id": _row_ids(np.arange(first_row, first_row + rows), 3 * self.seed),
                "prompt_id": _take(library.prompt_ids, prompt),
                "prompt_version": pa.array(self._versions[prompt, day]),
                "agent_id": _take(library.agent_ids, *library.draw_agents(prompt, random)),
                "user_id": _nulls(_uuids(_noise(user, 3 * self.seed + 1)), ~has_user),
                "session_id": _nulls(_uuids(_noise(session, 3 * self.seed + 2)), ~has_user),
                "user_prompt": case,
                "enhanced_prompt": pc.binary_join_element_wise(
                    _take(library.system_prompts, prompt), case, "\n\n"
                ),
                # a call that never reached the provider does not know its model
                "model": _take(library.model_names, model, failure == _CONNECTION_ERROR),
                "response_time_ms": pa.array(response_ms.astype(np.int64), mask=failure == _CONNECTION_ERROR),
                "success": pa.array(success, mask=unknown),
                "error_type": _take(library.error_types, failure, failure < 0),
                "rating": pa.array(rating, mask=rated_at == 0),
                "tokens_used": pa.array(input_tokens + output_tokens, mask=~spent),
                "input_tokens": pa.array(input_tokens, mask=~spent),
                "output_tokens": pa.array(output_tokens, mask=~spent),
                "cost": pa.array(nano_usd / 1e9, mask=~priced),
                "ip_address": pc.if_else(pa.array(has_user), _addresses(user), "192.0.2.10"),
                "user_agent": pc.if_else(
                    pa.array(has_user),
                    _take(pa.array(_USER_AGENTS), user % len(_USER_AGENTS)),
                    _SERVICE_AGENT,
                ),
                "created_at": _times(used_at),
                # a rating changes its row when it comes
                "updated_at": _times(np.maximum(used_at, rated_at)),
            }
        )

    def _time_of_day(self, prompt: Ints, day: Ints, random: np.random.Generator) -> Ints:
        offset = np.empty(len(prompt), dtype=np.int64)
        automatic = self._library.automatic[prompt]
        for rhythm, rows in (("office", ~automatic), ("automation", automatic)):
            hour = _choose(self._hours[rhythm][day[rows]], random)
            offset[rows] = hour * _HOUR + random.integers(0, _HOUR, len(hour))
        return offset

    def _draw_users(self, prompt: Ints, random: np.random.Generator) -> Ints:
        """A person of the prompt's domain mostly, some far more active than others; sometimes anyone."""
        domains = self._library.domains
        own = self._users // (domains.max() + 1)
        within = (own * random.random(len(prompt)) ** 2).astype(np.int64)
        anyone = random.integers(0, self._users, len(prompt))
        return np.where(random.random(len(prompt)) < 0.9, domains[prompt] * own + within, anyone)

    def _draw_outcomes(
        self, prompt: Ints, day: Ints, used_at: Ints, model: Ints, random: np.random.Generator
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Ints]:
        """Success, whether the outcome is unknown, and the kind of failure (-1: none)."""
        rows = len(prompt)
        outage = self._outage(used_at) & (model == _OUTAGE_MODEL)
        down = outage & (random.random(rows) < 0.6)
        success = (random.random(rows) < self._success[prompt, day]) & ~down
        shares = np.array([share for _, share, _ in _FAILURES])
        failure = np.where(success, -1, random.choice(len(shares), rows, p=shares))
        failure[down] = _PROVIDER_ERROR
        unknown = success & (random.random(rows) < 0.012)  # the client went away before it could tell
        return success, unknown, failure

    def _draw_ratings(
        self,
        prompt: Ints,
        day: Ints,
        used_at: Ints,
        success: NDArray[np.bool_],
        seldom: NDArray[np.bool_],
        random: np.random.Generator,
    ) -> tuple[Ints, Ints]:
        """Ratings from 1 to 5, and when each came (0: none did): some at once, most days later."""
        rows = len(prompt)
        mean = self._rating[prompt, day] - np.where(success, 0.0, 1.3)
        rating = np.clip(np.rint(random.normal(mean, 0.85)), 1, 5).astype(np.int64)
        at_once = random.random(rows) < 0.35
        delay = np.where(at_once, random.exponential(_HOUR / 6, rows), random.exponential(3.2 * _DAY, rows))
        rated_at = used_at + delay.astype(np.int64) + 5_000_000
        rated = random.random(rows) < np.where(seldom, 0.03, 0.15)
        arrived = rated & (rated_at < self._start_us + self.days * _DAY)
        return rating, np.where(arrived, rated_at, 0)


class _LibraryColumns:
    """Prompts, agents and models as arrays, to be picked from by place."""

    def __init__(self, prompts: Sequence[Prompt], agents: Sequence[Agent]) -> None:
        self.prompt_ids = pa.array([str(prompt.id) for prompt in prompts])
        self.system_prompts = pa.array([prompt.system_prompt for prompt in prompts])
        self.openings = pa.array(
            [(prompt.prompt_starter or f"{prompt.display_name}: ") + "case " for prompt in prompts]
        )
        self.automatic = np.array([prompt.rhythm == "automation" for prompt in prompts])
        self.input_tokens = np.array([prompt.input_tokens for prompt in prompts])
        self.output_tokens = np.array([prompt.output_tokens for prompt in prompts])
        self.model_shares = np.array([_TIERS[prompt.tier] for prompt in prompts])
        names = sorted({prompt.domain for prompt in prompts})
        self.domains = np.array([names.index(prompt.domain) for prompt in prompts])
        self.model_names = pa.array([model.name for model in _MODELS])
        self.pace = np.array([model.pace for model in _MODELS])
        self.prices = np.array([model.prices or (0, 0) for model in _MODELS])
        self.priced = np.array([model.prices is not None for model in _MODELS])
        self.error_types = pa.array([name for name, _, _ in _FAILURES])
        self.agent_ids = pa.array([str(agent.id) for agent in agents], type=pa.string())
        users: list[list[int]] = [[] for _ in prompts]
        for place, agent in enumerate(agents):
            for prompt in agent.prompts:
                users[prompt].append(place)
        self._agent_counts = np.array([len(places) for places in users])
        self._agent_places = np.zeros((len(prompts), max(1, self._agent_counts.max())), dtype=np.int64)
        for place, of_prompt in enumerate(users):
            self._agent_places[place, : len(of_prompt)] = of_prompt

    def draw_agents(self, prompt: Ints, random: np.random.Generator) -> tuple[Ints, NDArray[np.bool_]]:
        """Places of agents that may use each prompt, and where none did (a person called it directly)."""
        counts = self._agent_counts[prompt]
        places = self._agent_places[prompt, (counts * random.random(len(prompt))).astype(np.int64)]
        return places, (counts == 0) | (random.random(len(prompt)) < 0.15)


# -- columns


def _choose(weights: Floats, random: np.random.Generator) -> Ints:
    """For each row of ``weights`` one place, as often as its weight says."""
    sums = np.cumsum(weights, axis=1)
    places: Ints = (random.random(len(weights))[:, None] * sums[:, -1:] >= sums).sum(axis=1)
    return places


def _lognormal(median: Ints, sigma: float, random: np.random.Generator) -> Ints:
    return np.maximum(1, median * random.lognormal(0, sigma, len(median))).astype(np.int64)


def _take(values: pa.Array, places: Ints, mask: NDArray[np.bool_] | None = None) -> pa.Array:
    return values.take(pa.array(places, mask=mask))


def _nulls(values: pa.Array, mask: NDArray[np.bool_]) -> pa.Array:
    return pc.if_else(pa.array(mask), None, values)


def _times(microseconds: Ints) -> pa.Array:
    return pa.array(microseconds, type=pa.int64()).cast(pa.timestamp("us", tz="UTC"))


def _addresses(user: Ints) -> pa.Array:
    """One address a person, from the ranges that are kept free for documentation."""
    prefixes = pa.array(["192.0.2.", "198.51.100.", "203.0.113.", "2001:db8::"])
    host = pa.array(user // 4 % 250 + 1).cast(pa.string())
    return pc.binary_join_element_wise(_take(prefixes, user % 4), host, "")


_HEX = np.array([list(f"{byte:02x}".encode()) for byte in range(256)], dtype=np.uint8)
_DASHES = (8, 13, 18, 23)
_DIGITS = [place for place in range(36) if place not in _DASHES]


def _row_ids(numbers: Ints, seed: int) -> pa.Array:
    """The sample's prefix and the row's number, then noise: ids that come in order are quick to index."""
    raw = _noise(numbers, seed)
    raw[:, :4] = list(ID_PREFIX)
    # 28 bits of the number around the four of the UUID's version
    raw[:, 4:8] = ((numbers >> 12 << 16) | (numbers & 0xFFF)).astype(">u4").view(np.uint8).reshape(-1, 4)
    return _uuids(raw)


def _noise(numbers: Ints, stream: int) -> NDArray[np.uint8]:
    """For each number 16 bytes; equal numbers have equal ones, within a stream."""
    low = _mix(numbers.astype(np.uint64) + _mix(np.array([stream], dtype=np.uint64)))
    return np.stack([_mix(low), low], axis=1).astype(">u8").view(np.uint8).reshape(-1, 16)


def _uuids(raw: NDArray[np.uint8]) -> pa.Array:
    """The text of UUIDs of version 8 with the given 16 bytes each."""
    rows = len(raw)
    raw[:, 6] = raw[:, 6] & 0x0F | 0x80
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80
    text = np.full((rows, 36), ord("-"), dtype=np.uint8)
    text[:, _DIGITS] = _HEX[raw].reshape(rows, 32)
    offsets = np.arange(0, 36 * (rows + 1), 36, dtype=np.int32)
    return pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(text))


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64: a one-to-one shuffle of 64-bit numbers (Steele, Lea, Flood 2014)."""
    mixed: NDArray[np.uint64] = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
