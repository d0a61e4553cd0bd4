"""What a use cost, where nobody said: the list price of its model at that time, by genai-prices.

The prices are those that came with the installed package; none are fetched. What it can't know: tokens
that were read from a cache or counted in audio, discounts, and the provider where a model's name does
not tell it. An unknown model stays without a cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from genai_prices import Usage, types
from genai_prices.data_snapshot import get_snapshot

_MILLION = 1_000_000


def priced(rows: pa.Table) -> pa.Table:
    """Checked uses, with a cost where they have tokens and a known model but none was reported.

    A model's price is looked up once, or once a day where it changed over time, and once for each quarter
    of an hour where it depends on the time of day.
    """
    first, second = _tokens(rows)
    needed = (pc.is_null(rows.column("cost")), *map(pc.is_valid, (rows.column("model"), first, second)))
    mask = needed[0]
    for condition in needed[1:]:
        mask = pc.and_(mask, condition)
    at = np.flatnonzero(mask.to_numpy(zero_copy_only=False))
    if not at.size:
        return rows
    taken = pa.array(at)
    uses = pd.DataFrame(
        {
            "model": rows.column("model").take(taken).to_pandas(),
            "used_at": rows.column("used_at").take(taken).to_pandas(),
            "input": first.take(taken).to_numpy(),
            "output": second.take(taken).to_numpy(),
        }
    )
    costs = np.full(rows.num_rows, np.nan)
    for model, of_model in uses.groupby("model", sort=False):
        for moment, part in _by_price(str(model), of_model):
            costs[at[part.index]] = _costs(str(model), moment, part)
    known = pa.array(np.isfinite(costs))
    for name, values in (("cost", pa.array(costs)), ("cost_source", pa.scalar("priced"))):
        column = pc.if_else(known, values, rows.column(name))
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    return rows


def _tokens(rows: pa.Table) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Input and output; one of them may follow from the other and the total."""
    told_in, told_out, total = (
        rows.column(name) for name in ("input_tokens", "output_tokens", "total_tokens")
    )
    return _both(told_in, told_out, total), _both(told_out, told_in, total)


def _both(told: pa.ChunkedArray, other: pa.ChunkedArray, total: pa.ChunkedArray) -> pa.ChunkedArray:
    rest = pc.subtract(total, other)
    return pc.coalesce(told, pc.if_else(pc.less(rest, 0), pa.scalar(None, pa.int64()), rest))


@lru_cache(maxsize=4096)
def _found(model: str) -> tuple[types.Provider, types.ModelInfo] | None:
    """A model by its name, with or without a provider's before it (``azure/gpt-4o``)."""
    for provider in ("litellm", None) if "/" in model else (None,):
        try:
            return get_snapshot().find_provider_model(model, None, provider, None)
        except LookupError:
            continue
    return None


def _by_price(model: str, uses: pd.DataFrame) -> Iterator[tuple[datetime, pd.DataFrame]]:
    """The uses of one model, apart where its prices may differ, with a moment of each part."""
    found = _found(model)
    if found is None:
        return
    prices = found[1].prices
    if isinstance(prices, types.ModelPrice):
        yield uses["used_at"].iloc[0].to_pydatetime(), uses
        return
    hourly = any(isinstance(price.constraint, types.TimeOfDateConstraint) for price in prices)
    for moment, part in uses.groupby(uses["used_at"].dt.floor("15min" if hourly else "D"), sort=False):
        yield pd.Timestamp(str(moment)).to_pydatetime(), part


def _costs(model: str, at: datetime, uses: pd.DataFrame) -> pd.Series[float]:
    """Costs of uses of one model at one time: a rate a token, within each tier of the input's length."""
    costs = pd.Series(np.nan, index=uses.index)
    for above, up_to in _tiers(model, at):
        inside = (uses["input"] > above) & (uses["input"] <= up_to)
        if inside.any():
            each, of_input, of_output = _rates(model, at, above)
            costs[inside] = each + of_input * uses["input"] + of_output * uses["output"]
    return costs


def _tiers(model: str, at: datetime) -> Iterator[tuple[float, float]]:
    """The ranges of input tokens (above, up to) in which a token's price is the same; none without prices."""
    found = _found(model)
    assert found is not None
    prices = vars(found[1].get_prices(at))
    if prices.get("input_mtok") is None and prices.get("output_mtok") is None:
        return  # priced by the image or by the minute
    tiered = [price for price in prices.values() if isinstance(price, types.TieredPrices)]
    starts = sorted({tier.start for price in tiered for tier in price.tiers})
    yield from zip([-1.0, *starts], [*starts, float("inf")], strict=True)


def _rates(model: str, at: datetime, above: float) -> tuple[float, float, float]:
    """US dollars a request, an input token and an output token, for inputs longer than ``above``."""
    found = _found(model)
    assert found is not None
    provider, info = found
    length = max(int(above) + 1, 1)
    nothing, asked, answered = (
        info.calc_price(
            Usage(input_tokens=tokens_in, output_tokens=tokens_out), provider, genai_request_timestamp=at
        ).total_price
        for tokens_in, tokens_out in ((0, 0), (length, 0), (length, _MILLION))
    )
    return float(nothing), float((asked - nothing) / length), float((answered - asked) / _MILLION)
