"""List prices: those of the library to the last digit; nothing reported is touched, nothing guessed."""

from __future__ import annotations

import socket
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from genai_prices import Usage, calc_price, types
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.loading import prices
from orchestration.loading.prices import priced

AT = datetime(2025, 3, 4, 5, 6, tzinfo=UTC)
FROM, UNTIL = datetime.fromisoformat("2024-01-01"), datetime.fromisoformat("2026-06-01")
SCHEMA = pa.schema(
    [("usage_id", pa.string()), ("model", pa.string()), ("used_at", pa.timestamp("us", "UTC")),
     ("input_tokens", pa.int64()), ("output_tokens", pa.int64()), ("total_tokens", pa.int64()),
     ("cost", pa.float64()), ("cost_source", pa.string())]
)  # fmt: skip


def use(model: str | None = "gpt-4o", into: int | None = 1000, out: int | None = 100, **changes: Any) -> Any:
    plain = {"usage_id": "1", "total_tokens": None, "cost": None, "cost_source": None, "used_at": AT}
    return {**plain, "model": model, "input_tokens": into, "output_tokens": out, **changes}


def costs(*uses: Any) -> list[tuple[float | None, str | None]]:
    rows = priced(pa.Table.from_pylist(list(uses), SCHEMA))
    assert rows.schema == SCHEMA
    return list(zip(*(rows.column(name).to_pylist() for name in ("cost", "cost_source")), strict=True))


def listed(model: str, into: int, out: int, at: datetime = AT) -> float:
    usage = Usage(input_tokens=into, output_tokens=out)
    return float(calc_price(usage, model, genai_request_timestamp=at).total_price)


def test_a_use_without_a_cost_gets_the_list_price() -> None:
    assert costs(use()) == [(pytest.approx(listed("gpt-4o", 1000, 100)), "priced")]
    assert listed("gpt-4o", 1000, 100) > 0


def test_a_reported_cost_is_never_overwritten_not_even_zero() -> None:
    reported = {"cost_source": "reported"}
    found = costs(use(cost=0.0, **reported), use(cost=9990.0, **reported), use())
    assert found[:2] == [(0.0, "reported"), (9990.0, "reported")]
    assert found[2][1] == "priced"


@pytest.mark.parametrize(
    "unknown",
    [use("in-house-7b"), use(None), use(""), use(into=None), use(out=None), use(out=None, total_tokens=10),
     use(into=None, out=None, total_tokens=10), use("REDACTED/x")],
)  # fmt: skip
def test_what_is_not_known_stays_unknown(unknown: Any) -> None:
    assert costs(unknown) == [(None, None)]


def test_tokens_may_follow_from_the_total() -> None:
    expected = pytest.approx(listed("gpt-4o", 1000, 100))
    found = costs(use(out=None, total_tokens=1100), use(into=None, total_tokens=1100))
    assert found == [(expected, "priced"), (expected, "priced")]


def test_a_provider_before_the_name_is_understood() -> None:
    plain = costs(use("claude-3-5-sonnet-20241022"))
    assert costs(use("anthropic/claude-3-5-sonnet-20241022")) == plain
    assert plain[0][1] == "priced"


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert costs(use())[0][1] == "priced"


MODELS = [
    "gpt-4o",
    "gpt-4",
    "claude-3-5-sonnet-20241022",
    "gemini-1.5-pro",
    "gemini-2.5-pro",
    "deepseek-chat",
]


@settings(max_examples=60, deadline=None)
@given(
    uses=st.lists(
        st.tuples(
            st.sampled_from(MODELS),
            st.one_of(st.integers(0, 2_000_000), st.sampled_from([0, 128_000, 128_001, 200_000, 200_001])),
            st.integers(0, 100_000),
            st.datetimes(FROM, UNTIL),
        ),
        max_size=12,
    )
)  # fmt: skip
def test_every_cost_is_the_librarys_own(uses: list[tuple[str, int, int, datetime]]) -> None:
    rows = [use(model, into, out, used_at=at.replace(tzinfo=UTC)) for model, into, out, at in uses]
    expected = [
        (pytest.approx(listed(model, into, out, at.replace(tzinfo=UTC)), rel=1e-9, abs=1e-12), "priced")
        for model, into, out, at in uses
    ]
    assert costs(*rows) == expected


def model_of(monkeypatch: pytest.MonkeyPatch, given_prices: Any) -> types.ModelInfo:
    info = types.ModelInfo(id="made-up", match=types.ClauseEquals(equals="made-up"), prices=given_prices)
    provider = types.Provider(id="maker", name="Maker", api_pattern="x", models=[info])
    monkeypatch.setattr(prices, "_found", lambda model: (provider, info) if model == "made-up" else None)
    return info


def test_long_inputs_may_have_another_price(monkeypatch: pytest.MonkeyPatch) -> None:
    tiered = types.TieredPrices(base=Decimal(1), tiers=[types.Tier(start=1000, price=Decimal(2))])
    model_of(monkeypatch, types.ModelPrice(input_mtok=tiered, output_mtok=Decimal(10)))
    found = [
        cost for cost, _ in costs(use("made-up", 1000, 0), use("made-up", 1001, 0), use("made-up", 0, 5))
    ]
    assert found == [pytest.approx(0.001), pytest.approx(0.002002), pytest.approx(0.00005)]


def test_prices_change_on_their_day_and_by_the_time_of_day(monkeypatch: pytest.MonkeyPatch) -> None:
    def price(of: int) -> types.ModelPrice:
        return types.ModelPrice(input_mtok=Decimal(of), output_mtok=Decimal(of))

    changed = types.StartDateConstraint(start_date=date(2025, 3, 4))
    night = types.TimeOfDateConstraint(start_time=time(0, 30), end_time=time(8, 15))
    model_of(
        monkeypatch,
        [
            types.ConditionalPrice(prices=price(1)),
            types.ConditionalPrice(constraint=changed, prices=price(2)),
            types.ConditionalPrice(constraint=night, prices=price(3)),
        ],
    )
    moments = [(3, 23, 59), (4, 0, 29), (4, 0, 30), (4, 8, 14), (4, 8, 15)]
    uses = [
        use("made-up", 1_000_000, 0, used_at=datetime(2025, 3, day, hour, minute, tzinfo=UTC))
        for day, hour, minute in moments
    ]
    assert [cost for cost, _ in costs(*uses)] == [1.0, 2.0, 3.0, 3.0, 2.0]


def test_a_model_that_is_not_priced_by_the_token_stays_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    model_of(monkeypatch, types.ModelPrice())
    assert costs(use("made-up")) == [(None, None)]


def test_a_price_is_looked_up_once_a_model_not_once_a_use(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    honest = prices._rates
    monkeypatch.setattr(prices, "_rates", lambda *of: asked.append(of) or honest(*of))
    costs(*(use(model, n, n) for n in range(500) for model in ("gpt-4", "claude-3-opus-20240229")))
    assert len(asked) == 2
