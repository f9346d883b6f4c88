"""What may be spent: a reservation before each call, settled after it, so that a limit holds before it is passed.

Whoever keeps the books is a `Ledger`; in a workspace it is the store, so that all of its workers and servers share one
limit and a killed worker's call stays counted. Money is whole millionths of a US dollar there, rounded up. Values and
rules only. Neighbours: `models` reserves and settles, `specialists.spending` keeps the books of a workspace.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Protocol, final

from vespera_agents.providers.exchange import ModelRequest, Price, Usage

__all__ = ["Charge", "Ledger", "input_tokens_bound", "micro_usd", "most_usd"]

_MILLION: Final = 1_000_000
FRAMING_TOKENS: Final = 1_000
"""What a vendor puts around a request: marks of turns and tools."""
FACTOR_MAX: Final = 2.0
"""The most tokens that a vendor is taken to make of one of o200k, until its learned factor says more."""


@final
@dataclass(frozen=True, slots=True)
class Charge:
    """What a call came to."""

    purpose: str
    """Under which it was reserved."""
    session_id: str | None
    provider: str
    model: str
    usage: Usage
    usd: float | None
    """None: the price is not known, and it counts as nothing."""


class Ledger(Protocol):
    """The books.

    A reservation counts until it is settled or released, whoever made it and whether or not he lives. One purpose has
    one reservation; made again while it is open, it also keeps what the call before may have cost.
    """

    async def reserve(self, purpose: str, session_id: str | None, usd_max: float) -> None:
        """Set aside what a call can cost at most, durably, before it is made.

        Raises:
            SpendLimitReached: with what is spent and set aside already that would be more than may be.
        """
        ...

    async def settle(self, charge: Charge) -> None:
        """Put what a call really cost in the place of its reservation, if there is one."""
        ...

    async def release(self, purpose: str) -> None:
        """Give a reservation back: its call cost nothing for certain."""
        ...


def micro_usd(usd: float) -> int:
    """Give an amount in millionths, rounded up so that no sum of them is too small."""
    # What is a whole number but for the last bits of the float is that number.
    return math.ceil(round(usd * _MILLION, 4))


def input_tokens_bound(request: ModelRequest, context_tokens: int, factor: float) -> int:
    """Say how many input tokens a request has at most.

    Args:
        request: what is sent.
        context_tokens: what it was counted to be in o200k tokens; 0 where nobody counted.
        factor: what the vendor made of one of them so far.
    """
    # No tokenizer makes more tokens than there are bytes.
    size = len(request.system.encode()) + sum(
        len(message.text.encode())
        + sum(len(result.text.encode()) for result in message.results)
        + sum(len(repr(call.arguments).encode()) + len(call.name) for call in message.calls)
        for message in request.messages
    )
    size += sum(len(tool.name) + len(tool.description.encode()) + len(repr(tool.parameters)) for tool in request.tools)
    counted = math.ceil(context_tokens * max(FACTOR_MAX, factor * 1.25)) if context_tokens else size
    return min(size, counted) + FRAMING_TOKENS


def most_usd(price: Price, input_tokens: int, output_tokens: int) -> float:
    """Say what an exchange with so many tokens can cost at most: all of the input could be written to a cache."""
    dearest = max(price.input_usd, price.cache_write_usd or 0.0)
    return (input_tokens * dearest + output_tokens * price.output_usd) / _MILLION
