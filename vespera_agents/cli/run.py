"""`vespera run`: a plan carried out in a tree of its own, watched, stopped by signals, and told at the end.

The first SIGINT or SIGTERM begins nothing new and lets what runs end; the second kills the commands and gives their
tasks back. Either leaves a session that `--resume` goes on with. Not what a run does (`specialists.running`), not how
it looks (`screens`, `results`).
"""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import trio

from supervisors import Report, ReportKind, StartFailed
from vespera_agents.cli.outcomes import EXIT_INTERRUPTED, caused_by_users
from vespera_agents.cli.picture import Camera
from vespera_agents.cli.plans import read_plan_path
from vespera_agents.cli.printing import Printer
from vespera_agents.cli.results import exit_status, report_line, run_document, summary
from vespera_agents.cli.screens import Screen, choose_screen
from vespera_agents.serving.control import control_spec
from vespera_agents.specialists.conductor import RunEvent, RunListener
from vespera_agents.specialists.running import PlanRun, RunOptions, RunResult
from vespera_agents.specialists.runtime import open_runtime
from vespera_agents.work.plans import Plan, plan_drafts

__all__ = ["RunWish", "carry_out"]

_CALLBACKS_SECONDS: Final = 5.0
"""How long a run that is over waits for callbacks to be delivered."""
_SWITCH_INTERVAL_SECONDS: Final = 5e-5
"""How long a thread may keep the interpreter: with the default of 5 ms a commit waits for the loop again and again."""
_ALARMING: Final = frozenset(
    {
        ReportKind.CHILD_CRASHED,
        ReportKind.START_FAILED,
        ReportKind.SHUTDOWN_ERROR,
        ReportKind.CHILD_FENCED,
        ReportKind.MAX_RESTARTS_EXCEEDED,
    }
)


@final
@dataclass(frozen=True, slots=True)
class RunWish:
    """What to run, and how to tell about it."""

    plan: Path
    workspace: Path
    """The directory in which commands run."""
    options: RunOptions
    as_json: bool = False
    """One JSON document on standard output, and nothing else there."""
    picture: Path | None = None
    """An SVG file to write at the end."""


def carry_out(wish: RunWish, *, extra: RunListener | None = None) -> int:
    """Run a plan and tell about it; give the exit status.

    Args:
        wish: what to run.
        extra: hears every event after the screen does.

    Raises:
        PlanError, WorkspaceError, Refusal, StoreError: what a user can put right.
    """
    plan = read_plan_path(wish.plan)
    # A plan that cannot be carried out is refused before the workspace gets a `.vespera` directory.
    plan_drafts(plan)
    # The store writes in a thread: it and the loop take turns.
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    printer = Printer(sys.stdout)
    watched = _Watched(
        choose_screen(printer, plan.title, silent=wish.as_json),
        Camera(plan.title, f"vespera run {wish.plan}") if wish.picture is not None else None,
        extra,
    )
    result = trio.run(_run, plan, wish, watched)
    if result is not None:
        if wish.as_json:
            document = run_document(result, wish.workspace.resolve())
            printer.line(json.dumps(document, ensure_ascii=False, indent=2))
        else:
            printer.line()
            printer.render(summary(result))
            printer.line(report_line(result))
        if watched.camera is not None and wish.picture is not None:
            watched.camera.save(wish.picture, result)
    status = EXIT_INTERRUPTED if result is None else exit_status(result)
    if status == EXIT_INTERRUPTED:
        sys.stderr.write(f"Go on with: {_resume_command(wish)}\n")
    return status


@final
class _Watched:
    """Everybody who watches a run; also the listener of its supervisors."""

    def __init__(self, screen: Screen, camera: Camera | None, extra: RunListener | None) -> None:
        self.screen = screen
        self.camera = camera
        self._extra = extra

    def hear(self, event: RunEvent) -> None:
        self.screen.hear(event)
        if self.camera is not None:
            self.camera.hear(event)
        if self._extra is not None:
            self._extra(event)

    def on_report(self, report: Report) -> None:
        """Tell of what broke; the tree repairs it, but a person may want to know why a run took longer."""
        if report.kind in _ALARMING:
            who = report.offender.id if report.offender is not None else report.supervisor
            self.screen.notice(f"supervision: {who}: {report.kind.value.replace('_', ' ')}: {report.reason}")


async def _run(plan: Plan, wish: RunWish, watched: _Watched) -> RunResult | None:
    """Run the plan in a tree of its own; None when it was killed before there was a result."""
    result: RunResult | None = None
    refusal: Exception | None = None
    stop = _Stop(watched.screen)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watched.screen.keep_fresh)
            nursery.start_soon(stop.obey, signals)
            async with open_runtime("run", listener=watched) as runtime:
                # Neither a kill nor a refusal leaves this block by force: the tree stops in order and gives back the
                # tasks at work.
                try:
                    with stop.scope:
                        opened = await runtime.workspace(wish.workspace)
                        # Not every file system has sockets: then nobody can ask for the tree, and `on_report` says so.
                        with contextlib.suppress(StartFailed):
                            await runtime.doors.start_child(control_spec(runtime, opened))
                        stop.run = PlanRun(opened, watched.hear)
                        result = await stop.run.run(plan, wish.options)
                        await opened.callbacks.drain(_CALLBACKS_SECONDS)
                except caused_by_users() as error:
                    refusal = error
            nursery.cancel_scope.cancel()
    if refusal is not None:
        raise refusal
    return result


@final
class _Stop:
    """What signals do to a run."""

    def __init__(self, screen: Screen) -> None:
        self.run: PlanRun | None = None
        """What is drained; nothing before the workspace is open."""
        self.scope = trio.CancelScope()
        """Around the run: cancelling it kills what is at work."""
        self._screen = screen

    async def obey(self, signals: AsyncIterator[int]) -> None:
        """Drain at the first signal, kill at the second."""
        draining = False
        async for _ in signals:
            if self.run is None or draining:
                self._screen.notice("Killing what is at work; its tasks are given back.")
                self.scope.cancel("a second signal")
            else:
                draining = True
                self._screen.notice("Stopping: nothing new begins, what is at work ends first. Once more kills it.")
                self.run.drain()


def _resume_command(wish: RunWish) -> str:
    """Write what to type to go on."""
    words = ["vespera", "run", str(wish.plan), "--resume"]
    if wish.workspace != Path():
        words += ["--workspace", str(wish.workspace)]
    if wish.options.session_name is not None:
        words += ["--session", wish.options.session_name]
    return shlex.join(words)
