"""A front: its tree, its signals, its end.

    front              one_for_one
    ├─ log             what the processes print
    ├─ patience        answers requests that have waited for a worker for too long
    ├─ worker          the one that works
    ├─ spare           one that waits, and the process that forks it
    ├─ restarts        those that somebody asks for
    └─ door            the client; its end is the end of the program

Neighbours: `launch` comes before, `cli.serving` calls `run_front`.
"""

from __future__ import annotations

import gc
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from functools import partial
from typing import Final, final

import trio

from supervisors import AutoShutdown, ChildSpec, Report, ReportKind, Restart, Supervisor
from vespera_agents.front.doors import Door
from vespera_agents.front.fleet import WorkerFailed
from vespera_agents.front.launch import Launch, launch
from vespera_agents.front.log import Log
from vespera_agents.front.restarting import Restarts
from vespera_agents.front.settings import Settings
from vespera_agents.front.spares import SpareFailed, Spares
from vespera_agents.front.stdio import StdioDoor
from vespera_agents.front.streams import taken_streams
from vespera_agents.front.workers import Workers

__all__ = ["MakeDoor", "Settings", "run_front"]

MakeDoor = Callable[[Workers, Settings, ExitStack], Door]
"""Makes what stands between the workers and the clients; what it opens, the stack closes."""
_EXPECTED: Final = (WorkerFailed.__name__, SpareFailed.__name__)
"""Crashes of parts whose processes have died, and not of the parts themselves."""
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_RESTARTS: Final = 1_000_000
"""The tree never gives up: each child that may fail again and again waits longer each time."""


def stdio_door(workers: Workers, settings: Settings, stack: ExitStack) -> Door:
    """Make the door of the client whose pipe we have."""
    return StdioDoor(workers, settings, *stack.enter_context(taken_streams()))


def run_front(settings: Settings, launched: Launch | None = None, make_door: MakeDoor = stdio_door) -> int:
    """Serve through workers until the client has gone, SIGTERM or SIGINT; give the exit status.

    SIGHUP restarts, or ends if its terminal has ended; where it is ignored at the start, as under nohup, it stays so.

    Args:
        settings: which workers, and how long to wait for what.
        launched: the front's first worker, if it runs already.
        make_door: what clients see.
    """
    if launched is None:
        launched = launch(settings.worker)
    try:
        return trio.run(_front, settings, launched, make_door)
    finally:
        # Whoever started us waits for our end, and garbage needs no collecting any more.
        gc.freeze()


async def _front(settings: Settings, launched: Launch, make_door: MakeDoor) -> int:
    head = f"server {launched.server} (pid {os.getpid()}) serves {json.dumps(settings.serves)}"
    log = Log(
        launched.log, launched.output[0], bytes_max=settings.log_bytes_max, head=head, says_json=settings.says_json
    )
    workers = Workers(settings, launched, log)
    heeded = set(_SIGNALS)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        # Under nohup a terminal that ends is nobody's wish, whoever else sends the signal.
        heeded.discard(signal.SIGHUP)
    attached = _has_terminal()
    with ExitStack() as stack, trio.open_signal_receiver(*heeded) as signals:
        stack.callback(workers.fleet.kill_all)
        door = make_door(workers, settings, stack)
        workers.serve(door)
        children = [
            ChildSpec("log", log.run),
            ChildSpec("patience", workers.keep_expiring),
            ChildSpec("worker", workers.run, backoff=settings.backoff),
            *([ChildSpec("spare", Spares(workers).run, backoff=settings.backoff)] if settings.spare else []),
            ChildSpec("restarts", Restarts(workers).run, backoff=settings.backoff),
            ChildSpec("door", door.run, restart=Restart.TRANSIENT, significant=True),
        ]
        tree = Supervisor(
            children,
            name="front",
            intensity=_RESTARTS,
            auto_shutdown=AutoShutdown.ANY_SIGNIFICANT,
            listener=_Crashes(log),
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(_obey, signals, workers, attached=attached))
            await tree.run()
            nursery.cancel_scope.cancel()
    return workers.exit_status


@final
class _Crashes:
    """Writes down the crashes of the front's own parts."""

    hears_starts = False

    def __init__(self, log: Log) -> None:
        self._log = log

    def on_report(self, report: Report) -> None:
        """Write down what is not in order."""
        failure = None if report.exit is None else report.exit.failure
        if failure is None or report.kind is ReportKind.RESTART_DELAYED:
            return
        part = "" if report.offender is None else report.offender.id
        if failure.type_name.endswith(_EXPECTED):
            self._log.say(f"{part} is started anew: {failure.message}")
        else:
            self._log.tell(f"{part} of the front has crashed and is started anew\n{failure.formatted()}")


async def _obey(signals: AsyncIterator[int], workers: Workers, *, attached: bool) -> None:
    async for number in signals:
        if number == signal.SIGCHLD:
            workers.fleet.forget_orphans()
            continue
        if number == signal.SIGHUP and not (attached and not _has_terminal()):
            _restart(workers)
            continue
        if workers.ending.is_set():
            workers.fleet.kill_all()
        workers.end(signal.Signals(number).name, patient=False)


def _restart(workers: Workers) -> None:
    """Restart in order, as servers do at SIGHUP."""
    if workers.ready:
        answer = workers.questions.restart({"mode": "graceful", "reason": signal.SIGHUP.name})
    else:
        answer = {"error": "no worker is ready yet. Wait until one is, and send it again."}
    if "error" in answer:
        workers.log.tell(f"{signal.SIGHUP.name} restarts nothing: {answer['error']}")


def _has_terminal() -> bool:
    """Say whether there is a terminal whose end would be ours: the kernel sends SIGHUP for that, too."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
