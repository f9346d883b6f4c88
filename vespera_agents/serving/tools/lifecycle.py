"""The four tools on the life of the server: prepare its shutdown, restart it, see how that stands, test the way to it.

Each says what it takes and how its result reads; the work is `serving.lifecycle`'s. Neighbours: `catalogue` lists them.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from vespera_agents.serving.lifecycle.preparing import Preparedness, prepare
from vespera_agents.serving.lifecycle.reporting import Reached, RestartState, reconnect_test, restart_state
from vespera_agents.serving.lifecycle.restarting import Restarted, RestartWish, restart
from vespera_agents.serving.tools.parameters import SessionRef
from vespera_agents.serving.tools.texts import joined, listed, one_line
from vespera_agents.serving.tools.tool import Effects, Parameters, Tool, make_tool
from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.orchestrator import Orchestrator

__all__ = ["LIFECYCLE_TOOLS", "RESTART"]

TIMEOUT_SECONDS: Final = 30.0
"""How long what is under way may take before it is cut off and repeated."""


class PrepareParameters(Parameters):
    """Arguments of orchestrator_shutdown_prepare."""

    undo: bool = False


class RestartParameters(Parameters):
    """Arguments of orchestrator_restart_server."""

    graceful: Annotated[bool, Field(description="false: what is under way is cut off and repeated")] = True
    preserve_state: Annotated[bool, Field(description="Hand specialists' contexts over")] = True
    timeout: Annotated[float, Field(ge=1, le=600, description="Seconds")] = TIMEOUT_SECONDS
    reason: Annotated[str, Field(min_length=1, max_length=500)] = "asked for"


class RestartStatusParameters(Parameters):
    """Arguments of orchestrator_restart_status."""

    include_history: bool = False


class ReconnectParameters(Parameters):
    """Arguments of orchestrator_reconnect_test."""

    session_id: SessionRef | None = None


async def _prepare(orchestrator: Orchestrator, call: Call, given: PrepareParameters) -> Preparedness:
    return await prepare(orchestrator, call, undo=given.undo)


async def _restart(orchestrator: Orchestrator, call: Call, given: RestartParameters) -> Restarted:
    wish = RestartWish(given.graceful, given.preserve_state, given.timeout, given.reason)
    return await restart(orchestrator, call, wish)


async def _restart_status(orchestrator: Orchestrator, _: Call, given: RestartStatusParameters) -> RestartState:
    return await restart_state(orchestrator, include_history=given.include_history)


async def _reconnect(orchestrator: Orchestrator, call: Call, given: ReconnectParameters) -> Reached:
    return await reconnect_test(orchestrator, call, given.session_id)


def _tell_prepared(answer: Preparedness) -> str:
    if answer.prepared_since is None:
        return joined("Not prepared any more.", answer.next_action)
    blockers = [f"{what}, {by}, since {since or 'some time'}" for what, by, since in answer.blockers]
    return joined(
        "Ready: nothing is under way, and nothing begins." if answer.ready else "Not ready yet; nothing new begins.",
        listed("Under way", blockers),
        answer.next_action,
    )


def _tell_restarted(answer: Restarted) -> str:
    return joined(
        f"Restarted: {answer.from_worker} -> {answer.to_worker}.",
        _phases(answer.phases),
        listed("Handed over", answer.handed_over),
    )


def _tell_state(answer: RestartState) -> str:
    if not answer.generation:
        now = "No front runs this process, so nothing can replace it."
    else:
        now = f"Generation {answer.generation}: {answer.phase}, {answer.percent:.0f} %."
    return joined(
        now,
        f"Because: {one_line(answer.reason)}, {answer.started}." if answer.reason else "",
        _phases(answer.phases),
        f"The last restart failed: {answer.error}" if answer.error else "",
        listed("Before", [f"{at}: {what}" for at, what in answer.history or ()]),
    )


def _tell_reached(answer: Reached) -> str:
    return joined(f"Generation {answer.generation} answers.", _phases(answer.hops))


def _phases(rows: list[tuple[str, float]]) -> str:
    return f"{', '.join(f'{name} {seconds * 1_000:.1f} ms' for name, seconds in rows)}." if rows else ""


RESTART: Final = make_tool(
    "orchestrator_restart_server",
    "Restart the server",
    "Replace the server's process by one from the code on disk; you stay connected, and the answer comes from the new "
    "one. Use it after an upgrade, or when the server is stuck.",
    Effects(),
    parameters=RestartParameters,
    answer=Restarted,
    run=_restart,
    tell=_tell_restarted,
    awaited=False,
)
LIFECYCLE_TOOLS: Final[tuple[Tool, ...]] = (
    make_tool(
        "orchestrator_shutdown_prepare",
        "Prepare a shutdown",
        "Begin nothing new, let what is under way end, and name what holds a shutdown up. Use it before you end the "
        "server; undo=true goes on.",
        Effects(idempotent=True),
        parameters=PrepareParameters,
        answer=Preparedness,
        run=_prepare,
        tell=_tell_prepared,
        awaited=False,
    ),
    RESTART,
    make_tool(
        "orchestrator_restart_status",
        "Restart status",
        "Show how far a restart is, or how the last one went. Use it while one runs, or to see crashes.",
        Effects(read_only=True, idempotent=True),
        parameters=RestartStatusParameters,
        answer=RestartState,
        run=_restart_status,
        tell=_tell_state,
    ),
    make_tool(
        "orchestrator_reconnect_test",
        "Test the connection",
        "Go once to the front, the worker and the store, and back. Use it when you doubt the connection.",
        Effects(idempotent=True),
        parameters=ReconnectParameters,
        answer=Reached,
        run=_reconnect,
        tell=_tell_reached,
    ),
)
