"""Asking the front for another worker, and answering when it has come.

The wish is written down first. Its own request is never answered by the worker that asked: the front repeats it to the
next one, which finds the row with an older generation, restarts nothing and tells what happened: also that a spare with
the code before took over. Where the front refuses, or the new worker does not become ready, the old one goes on and
answers itself. A worker whose database was migrated by a newer version can write nothing down and asks all the same: it
is what shall be replaced. Neighbours: `life` drains and takes over, `store.commands.lifecycle` holds the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn, final

import trio

from vespera_agents.serving.front_link import LinkClosed
from vespera_agents.serving.lifecycle.life import Life, life_of
from vespera_agents.specialists.answers import Answer
from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.store import SchemaTooNew
from vespera_agents.store import lifecycle as rows
from vespera_agents.store.commands import AskRestart, NoteRestart
from vespera_agents.work.errors import Conflict, Refusal

__all__ = ["RestartFailed", "RestartWish", "Restarted", "restart"]

GRACE_SECONDS: Final = 30.0
"""What a restart may take beyond its own timeout before we give it up: the front starts processes meanwhile."""
SETTLE_SECONDS: Final = 5.0
"""How long the answer waits for what specialists take over; it is told without that."""
PHASES_SECONDS: Final = 2.0
"""How long it waits for the front's last word on the phases."""

Mode = Literal["graceful", "immediate"]


@final
class RestartFailed(Refusal):
    """No worker with the code on disk took over: the old one goes on, or a spare does."""


@final
@dataclass(frozen=True, slots=True)
class RestartWish:
    """What somebody wants."""

    graceful: bool
    preserve_state: bool
    timeout_seconds: float
    reason: str

    @property
    def mode(self) -> Mode:
        """How the front calls it."""
        return "graceful" if self.graceful else "immediate"


class Restarted(Answer):
    """What a restart came to."""

    from_worker: str
    """`generation <n>, process <pid>, version <v>`."""
    to_worker: str
    phases: list[tuple[str, float]]
    """Rows of a phase and its seconds, in order."""
    handed_over: list[str]
    """What goes on as it was, what was made anew and why, what could not end in time."""


async def restart(orchestrator: Orchestrator, call: Call, wish: RestartWish) -> Restarted:
    """Have this worker replaced; only the next one returns from here.

    Raises:
        Conflict: there is no front that could, or another restart is under way.
        RestartFailed: the front refused, or the new worker did not become ready.
        KeyConflict: the call's key was used for another call.
        StoreError: it could not be written down, and nothing was restarted.
    """
    life = await life_of(orchestrator)
    if life is None:
        raise Conflict(
            "no front runs this server: it is one process, and nobody could start the next one",
            "End it and start it again: `vespera serve` without --in-process has a front, which can do this.",
        )
    opened, key = await orchestrator.home_workspace(), call.step()
    front = life.front
    # The next one tells from whom it took over.
    await life.written_down()
    if call.request is not None and call.request == life.told.asked and await opened.store.recorded(key) is None:
        # It came to this, and whoever asked could not write it down.
        return await _came_to(life, opened, front.generation - 1)
    command = AskRestart(
        call.by,
        front.server,
        front.generation,
        wish.reason,
        wish.mode,
        wish.preserve_state,
        wish.timeout_seconds,
    )
    try:
        asked = await opened.store.execute(command, key)
    except SchemaTooNew:
        await _carry_out(life, opened, call, wish, None)
    row = await _row(opened, asked["restart"])
    if asked["generation"] == front.generation:
        if row.status is rows.RestartStatus.FAILED:
            raise _failed(row.error or "no reason was given")
        await _carry_out(life, opened, call, wish, row)
    return await _outcome(life, opened, call, wish, row.seq)


async def _carry_out(
    life: Life, opened: OpenWorkspace, call: Call, wish: RestartWish, row: rows.Restart | None
) -> NoReturn:
    """Ask the front, and wait for our end; returns only by raising.

    Raises:
        RestartFailed: our end did not come.
    """
    life.about(row)
    before = life.front.standing
    question = {
        "ask": "restart",
        "mode": wish.mode,
        "timeout": wish.timeout_seconds,
        "reason": wish.reason,
        "seq": call.request,
    }
    try:
        answer = await life.front.ask(question)
        error = answer.get("error")
        problem = None if error is None else str(error)
        if problem is None:
            problem = await _failure(life, before, wish.timeout_seconds + GRACE_SECONDS)
    except LinkClosed as closed:
        problem = str(closed)
    life.resume()
    if row is None:
        raise _failed(problem)
    await _give_up(opened, row.seq, problem)


async def _failure(life: Life, before: Mapping[str, Any], seconds: float) -> str:
    """Wait for what goes wrong; what goes right ends this process.

    Args:
        life: our own.
        before: what the front said of itself before it was asked, which may tell of another restart.
        seconds: how long to wait.
    """
    seen = False
    with trio.move_on_after(seconds):
        while True:
            restarting = life.standing.restarting
            if restarting is not None and restarting.error is None:
                seen = True
            elif restarting is not None and life.front.standing is not before:
                return restarting.error or "no reason was given"
            elif seen:
                return "the front gave it up"
            await life.standing_changed()
    return f"no new worker was ready within {seconds:g} s"


async def _give_up(opened: OpenWorkspace, seq: int, problem: str) -> NoReturn:
    await opened.store.execute(NoteRestart("supervision", seq, error=problem), opened.key())
    raise _failed(problem)


async def _outcome(life: Life, opened: OpenWorkspace, call: Call, wish: RestartWish, seq: int) -> Restarted:
    """Tell what a restart came to that an earlier generation was asked for."""
    await _settled(life)
    row = await _row(opened, seq)
    if row.status is rows.RestartStatus.ASKED:
        # The worker that was asked died meanwhile, and the restart goes on: our end is its outcome, too.
        if call.request is not None:
            life.front.answered_later(call.request)
        problem = await _failure(life, {}, wish.timeout_seconds + GRACE_SECONDS)
        await _give_up(opened, seq, problem)
    if row.status is rows.RestartStatus.FAILED:
        raise _failed(row.error or "no reason was given", row.following)
    return await _came_to(life, opened, row.generation, row)


async def _settled(life: Life) -> None:
    with trio.move_on_after(SETTLE_SECONDS):
        await life.settled.wait()
    with trio.move_on_after(PHASES_SECONDS):
        while not life.restart_is_over:
            await life.standing_changed()


async def _came_to(life: Life, opened: OpenWorkspace, before: int, row: rows.Restart | None = None) -> Restarted:
    if row is None:
        await _settled(life)
    after = life.front.generation if row is None or row.following is None else row.following
    kept: Mapping[str, Any] = {} if row is None else row.handed_over
    left: Mapping[str, Any] = {} if row is None else row.left_behind
    return Restarted(
        from_worker=_worker(before, await opened.store.read(rows.generation, life.front.server, before)),
        to_worker=_worker(after, await opened.store.read(rows.generation, life.front.server, after)),
        phases=[(name, round(seconds, 3)) for name, seconds in life.phases or (() if row is None else row.phases)],
        handed_over=[
            *(f"context of {one}: goes on" for one in kept.get("taken_over", ())),
            *(f"context of {one}; made anew" for one in kept.get("rebuilt", ())),
            *map(str, (*kept.get("problems", ()), *left.get("problems", ()))),
            *(f"repeated: {one}" for one in left.get("calls", ())),
            *(f"cut off: {one}" for one in left.get("work", ())),
        ],
    )


async def _row(opened: OpenWorkspace, seq: int) -> rows.Restart:
    row = await opened.store.read(rows.restart, seq)
    if row is None:
        raise Conflict(
            "what that restart came to is not known any more", "See orchestrator_restart_status, or call as a new call."
        )
    return row


def _worker(number: int, found: rows.Generation | None) -> str:
    if found is None or found.pid is None:
        return f"generation {number}"
    return f"generation {number}, process {found.pid}, version {found.version}"


def _failed(problem: str, following: int | None = None) -> RestartFailed:
    serves = "the old one goes on" if following is None else f"generation {following} took over as after a crash"
    return RestartFailed(
        f"no new worker took over, and {serves}: {problem.rstrip('.')}",
        "Correct that and call again; orchestrator_restart_status(include_history=true) and `vespera logs` tell more.",
    )
