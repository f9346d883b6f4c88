"""`open_system`: the whole life of an actor system, as an `async with` block in a trio program.

What a system is, is `system`; for asyncio programs and sync code there is `embedding`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from supervisors.listeners import Listener
from vespera_agents.actors.system import ActorSystem
from vespera_agents.actors.tracing import Tracing

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider


@asynccontextmanager
async def open_system(
    *,
    name: str = "system",
    listener: Listener | None = None,
    intensity: int = 3,
    period_seconds: float = 5.0,
    dead_letters_max: int = 256,
    restart_grace_seconds: float = 30.0,
    snapshots: Mapping[str, object] | None = None,
    tracer_provider: TracerProvider | None = None,
) -> AsyncGenerator[ActorSystem, None]:
    """Open an actor system for the length of an `async with` block, and stop all its actors at the end of it.

    Args:
        name: What it is called in reports and in the tree.
        listener: Who is told of every event of supervision.
        intensity: Restarts that the root supervisor allows in `period_seconds`.
        period_seconds: Length of that window.
        dead_letters_max: How many of the last dead letters are kept to look at; all are counted.
        restart_grace_seconds: How long mail is kept for an actor that crashed and is not started again.
        snapshots: What actors of these names begin with, as `take_snapshots` of another system returned it.
        tracer_provider: What OpenTelemetry spans of messages are made with: each gets one. The one that OpenTelemetry
            is configured with by now unless given; if it is not configured, there are no spans, and no cost.

    Raises:
        supervisors.MaxRestartsExceeded: The root supervisor gave up; the block was cancelled.
    """
    alone: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            system = ActorSystem(
                nursery,
                name=name,
                listener=listener,
                intensity=intensity,
                period_seconds=period_seconds,
                dead_letters_max=dead_letters_max,
                restart_grace_seconds=restart_grace_seconds,
                snapshots=snapshots,
                tracing=Tracing.of(tracer_provider),
            )
            try:
                await nursery.start(system.live)
                yield system
            finally:
                system.supervisor.stop()
    except BaseExceptionGroup as group:
        # One error is raised as itself: that a nursery is in here is nobody's business.
        if len(group.exceptions) > 1:
            raise
        alone = next(iter(group.exceptions))
    if alone is not None:
        raise alone
