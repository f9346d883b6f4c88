"""How replacements of this worker stand, what there was before, and whether each part of the way to it answers.

Live from what the front says; the history is in the store. Neighbours: `standing` reads the front, `life` writes the
rows, `restarting` makes them.
"""

from __future__ import annotations

import time
from typing import Final

import trio

from vespera_agents.health.checks import FrontVital
from vespera_agents.serving.front_link import LinkClosed
from vespera_agents.serving.lifecycle.life import Life, life_of
from vespera_agents.serving.lifecycle.restarting import RestartFailed
from vespera_agents.serving.lifecycle.standing import Standing, standing_of
from vespera_agents.specialists.answers import Answer, iso
from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.store import StoreUnavailable
from vespera_agents.store import lifecycle as rows
from vespera_agents.store.commands import TouchStore

__all__ = ["Reached", "RestartState", "front_vital", "reconnect_test", "restart_state"]

HISTORY_MAX: Final = 50
LATELY_SECONDS: Final = 600.0
"""Crashes that count for the health of a server."""


class RestartState(Answer):
    """How replacements of this worker stand."""

    generation: int
    """0: there is no front, and no replacement."""
    phase: str
    """`serving`, `failed`, or the phase of the restart that is under way."""
    percent: float
    reason: str | None
    """Why it restarts, or did so last."""
    started: str | None
    """When that was asked for; without any restart, when this generation began."""
    phases: list[tuple[str, float]]
    """Rows of a phase and its seconds."""
    error: str | None
    """Why the last restart failed."""
    history: list[tuple[str | None, str]] | None
    """Rows of a time and what happened then, the newest first."""


class Reached(Answer):
    """Every part of the way to this server, and back."""

    generation: int
    hops: list[tuple[str, float]]
    """Rows of a part and the seconds of a round trip to it."""


async def restart_state(orchestrator: Orchestrator, *, include_history: bool) -> RestartState:
    """Say how replacements stand.

    Raises:
        StoreError: the history cannot be read.
    """
    opened = await orchestrator.home_workspace()
    life = await life_of(orchestrator)
    if life is not None:
        await life.written_down()
    history = await _history(orchestrator) if include_history else None
    if life is None:
        return RestartState(
            generation=0,
            phase="serving",
            percent=100.0,
            reason=None,
            started=None,
            phases=[],
            error=None,
            history=history,
        )
    front = life.front
    last = await opened.store.read(rows.last_restart, front.server)
    ours = await opened.store.read(rows.generation, front.server, front.generation)
    state = RestartState(
        generation=front.generation,
        phase="serving",
        percent=100.0,
        reason=life.told.reason if last is None else last.reason,
        started=iso(last.asked if last is not None else None if ours is None else ours.started),
        phases=[] if last is None else list(last.phases),
        error=None,
        history=history,
    )
    restarting = (await _live(life)).restarting
    if restarting is not None and restarting.error is None and not restarting.is_over:
        state.phases = [(phase.name, round(phase.seconds, 3)) for phase in restarting.phases]
        state.phase = restarting.phases[-1].name if restarting.phases else "asked"
        state.percent = restarting.phases[-1].percent if restarting.phases else 0.0
        state.reason = restarting.reason
        # One that no client asked for, by SIGHUP, is in no row.
        state.started = iso(time.time() - sum(phase.seconds for phase in restarting.phases))
    error = None if restarting is None else restarting.error
    if error is None and last is not None and front.generation in {last.generation, last.following}:
        error = last.error
    if error is not None:
        state.phase, state.error = "failed", error
    return state


async def _live(life: Life) -> Standing:
    """Ask the front how it fares at this moment: what it says by itself it says when something changes."""
    try:
        return standing_of(await life.front.ask({"ask": "standing"}))
    except LinkClosed:
        return life.standing


async def _history(orchestrator: Orchestrator) -> list[tuple[str | None, str]]:
    opened = await orchestrator.home_workspace()
    told: list[tuple[float, str]] = []
    for one in await opened.store.read(rows.generations, HISTORY_MAX):
        who = f"generation {one.number} of {one.front}"
        if one.started is not None:
            told.append((one.started, f"{who} began ({one.reason}): process {one.pid}, version {one.version}"))
        if one.ended is not None:
            told.append((one.ended, f"{who}, process {one.pid}, died: {one.ending}"))
    for one in await opened.store.read(rows.restarts, HISTORY_MAX):
        took = "" if one.ended is None else f" after {one.ended - one.asked:.2f} s"
        came = f", {one.status}{took}{'' if one.error is None else f': {one.error}'}"
        told.append(
            (one.asked, f"{one.mode} restart of generation {one.generation} by {one.actor}: {one.reason}{came}")
        )
    told.sort(reverse=True)
    return [(iso(at), what) for at, what in told[:HISTORY_MAX]]


async def reconnect_test(orchestrator: Orchestrator, call: Call, session_id: str | None) -> Reached:
    """Go once through every part of the way to this server, and back.

    Raises:
        NotFound: there is no such session.
        RestartFailed: the front does not answer.
        StoreError: the store does not.
    """
    hops: list[tuple[str, float]] = []
    opened = await orchestrator.home_workspace()
    if session_id is not None:
        begun = time.perf_counter()
        opened, _ = await orchestrator.lookup.session(session_id)
        hops.append(("session", time.perf_counter() - begun))
    life = await life_of(orchestrator)
    if life is not None:
        hops.append(("front", await _echo(life, call, "echo")))
        if life.front.brings_http:
            hops.append(("private HTTP socket", await _echo(life, call, "http")))
    begun = time.perf_counter()
    await trio.lowlevel.checkpoint()
    hops.append(("worker", time.perf_counter() - begun))
    key = call.step()
    begun = time.perf_counter()
    await opened.store.execute(TouchStore(call.by, key.key), key)
    hops.append(("store write", time.perf_counter() - begun))
    begun = time.perf_counter()
    if await opened.store.recorded(key) != key.key:
        raise StoreUnavailable(
            f"{opened.store.database} does not give back what was just committed. Restart the server."
        )
    hops.append(("store read", time.perf_counter() - begun))
    return Reached(
        generation=0 if life is None else life.front.generation,
        hops=[(name, round(seconds, 6)) for name, seconds in hops],
    )


async def _echo(life: Life, call: Call, way: str) -> float:
    begun = time.perf_counter()
    try:
        answer = await life.front.ask({"ask": way, "text": call.key.key})
    except LinkClosed as closed:
        raise RestartFailed(str(closed), "Start the server again.") from closed
    if answer.get("text") != call.key.key:
        raise RestartFailed(f"the front answered {str(answer)[:80]}", "Start the server again.")
    return time.perf_counter() - begun


async def front_vital(orchestrator: Orchestrator) -> FrontVital | None:
    """Give what of the front counts for the health of this server; None without a front."""
    life = await life_of(orchestrator)
    if life is None:
        return None
    standing = life.standing
    lately = [crash for crash in standing.crashes if time.time() - crash.at < LATELY_SECONDS]
    restarting = standing.restarting
    under_way = restarting is not None and restarting.error is None and not restarting.is_over
    return FrontVital(
        generation=life.front.generation,
        crashes_lately=len(lately),
        spare=standing.spare,
        restarting=restarting.phases[-1].name if under_way and restarting and restarting.phases else None,
        failed=None if restarting is None else restarting.error,
    )
