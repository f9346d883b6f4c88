"""What models cost, out of a table that is part of the installation: no network, and an unknown model is unknown.

The table (genai-prices) is 1.6 MB of Python that takes half a second to read: `read_table` does that in a thread, so
that no event loop waits for it. Where a vendor asks for more beyond a length of input, this is the price below it:
contexts end at 100,000 tokens unless their owner says otherwise. Not what is configured: a `price` of the owner's comes
before this. Neighbours: adapters ask here.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from vespera_agents.providers.exchange import Price, Usage
from vespera_agents.providers.settings import Kind

__all__ = ["cost_usd", "needs_table", "price_of", "read_table", "table_is_read"]

_VENDORS: Final = {
    Kind.OPENAI: "openai",
    Kind.OPENAI_RESPONSES: "openai",
    Kind.ANTHROPIC: "anthropic",
    Kind.GOOGLE: "google",
    Kind.GROQ: "groq",
    Kind.COHERE: "cohere",
    Kind.MISTRAL: "mistral",
    Kind.DEEPSEEK: "deepseek",
    Kind.OPENROUTER: "openrouter",
}
"""What the table calls a vendor. An address of the owner's choice sells at prices that nobody here knows."""
_MODELS_MAX: Final = 1_024
_read: Final = threading.Event()
"""Set once there is no table to wait for any more."""
_ANY: Final = "gpt-5-mini"
_MILLION: Final = 1_000_000


def needs_table(kind: Kind) -> bool:
    """Say whether the prices of a kind of provider stand in the table."""
    return kind in _VENDORS


def table_is_read() -> bool:
    """Say whether a price can be looked up without waiting for the table."""
    return _read.is_set()


def read_table() -> None:
    """Read the table, in any thread but the event loop's; who asks for a price meanwhile waits for it."""
    price_of(Kind.OPENAI, _ANY)


@lru_cache(_MODELS_MAX)
def price_of(kind: Kind, model: str) -> Price | None:
    """Look up what a model costs; None where the table does not have it."""
    vendor = _VENDORS.get(kind)
    if vendor is None or not model:
        return None
    try:
        from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - it takes its time, and is for vendors only
    except ImportError:
        # Who asks no vendor has no table, and a vendor's library that is missing says so itself.
        _read.set()
        return None
    table = get_snapshot()
    _read.set()
    try:
        _, found = table.find_provider_model(model, None, vendor, None)
    except LookupError:
        return None
    prices = found.get_prices(datetime.now(tz=UTC))
    input_usd, output_usd = _base(prices.input_mtok), _base(prices.output_mtok)
    if input_usd is None or output_usd is None:
        return None
    return Price(input_usd, output_usd, _base(prices.cache_read_mtok), _base(prices.cache_write_mtok))


def cost_usd(price: Price, usage: Usage) -> float:
    """Say what an exchange cost. Tokens from and for a cache are among the input tokens, at prices of their own."""
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    read_usd = price.input_usd if price.cache_read_usd is None else price.cache_read_usd
    write_usd = price.input_usd if price.cache_write_usd is None else price.cache_write_usd
    total = (
        max(0, usage.input_tokens - cached) * price.input_usd
        + usage.cache_read_tokens * read_usd
        + usage.cache_write_tokens * write_usd
        + usage.output_tokens * price.output_usd
    )
    return total / _MILLION


def _base(price: object) -> float | None:
    """Give the price before any tier, in US dollars for a million tokens."""
    if price is None:
        return None
    return float(str(getattr(price, "base", price)))
