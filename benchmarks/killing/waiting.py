"""Waits for what other processes do: there is no event for it, so it is looked at again and again."""

from __future__ import annotations

from collections.abc import Callable

import trio

__all__ = ["until"]


async def until(condition: Callable[[], bool], look_seconds: float = 0.01) -> None:
    """Wait until a condition holds; whoever calls this bounds it."""
    while True:
        if condition():
            return
        await trio.sleep(look_seconds)
