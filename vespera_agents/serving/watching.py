"""What a server answers over its private socket to who watches it: `observe`, `actor`, `stacks`, `session`.

Neighbours: `control` reads the questions and writes the lines, `health.observer` knows the answers.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping

from vespera_agents.health.errors import FeedRefused
from vespera_agents.health.subtree import health_of
from vespera_agents.specialists.runtime import Runtime

__all__ = ["observed", "watch"]


async def observed(runtime: Runtime, request: Mapping[str, object]) -> bytes | None:
    """Answer a question about one thing; None where that is not there, or it is another question."""
    health = health_of(runtime)
    if health is None:
        return None
    match request:
        case {"ask": "actor", "key": int(key)}:
            return await health.answers.actor(key)
        case {"ask": "stacks"}:
            return await health.answers.stacks()
        case {"ask": "session", "id": str(session_id)}:
            return await health.answers.session(session_id)
        case _:
            return None


async def watch(runtime: Runtime, request: Mapping[str, object], send_line: Callable[[bytes], Awaitable[None]]) -> None:
    """Tell a whole picture and then each change, until cancelled; where that cannot be, why.

    Args:
        runtime: whose.
        request: may say as `last` which change the viewer has already.
        send_line: sends a line; what it raises ends this.
    """
    health, last = health_of(runtime), request.get("last")
    if health is None:
        await send_line(json.dumps({"error": "only a `vespera serve` has an observer."}).encode())
        return
    try:
        async with health.feed.watch(last if isinstance(last, str) else None) as viewer:
            while True:
                await send_line((await viewer.next()).data)
    except FeedRefused as refused:
        await send_line(json.dumps({"error": str(refused)}).encode())
