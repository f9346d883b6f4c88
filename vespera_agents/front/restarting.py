"""Restarts that somebody asked for: a fresh process from the code on disk takes over, or the old one goes on.

start      a new process imports, warms up and waits
drain      the old worker ends what is under way (graceful only)
stop       the old worker ends; the kernel confirms it
activate   the new one takes over and says that it works

Until the old one is told to stop, a failure leaves it at work. After that the spare takes over, which was forked from
the code before: so the process that forks is replaced only when the new worker works. Neighbours: `workers` activates,
`standing` tells the workers.
"""

from __future__ import annotations

import math
import time
from typing import Final, final

import trio

from vespera_agents.front.fleet import WorkerFailed
from vespera_agents.front.framing import DRAIN, RESUME
from vespera_agents.front.parking import NEVER_TAKEN, Parked
from vespera_agents.front.processes import FrontProcess
from vespera_agents.front.workers import Workers

__all__ = ["Restart", "Restarts"]

_START_SECONDS: Final = 1.5
"""How long it takes, as a rule, until a new process waits to take over."""
_ACTIVATE_SECONDS: Final = 0.5
_TIMEOUT_SECONDS: Final = 30.0
_TIMEOUT_SECONDS_MAX: Final = 600.0
_DRAIN_GRACE_SECONDS: Final = 2.0
"""How much later than it was told a worker may say that it is drained."""
_MODES: Final = ("graceful", "immediate")
_REASON_CHARACTERS_MAX: Final = 500
_ALMOST_PERCENT: Final = 99


class _Failed(Exception):
    """The restart ends here."""


@final
class Restart:
    """One restart and its phases."""

    def __init__(self, key: str, mode: str, timeout_seconds: float, reason: str) -> None:
        """Describe a restart that has not begun."""
        self.key = key
        """What names it to whoever asked for it."""
        self.mode = mode
        """`graceful` or `immediate`."""
        self.timeout_seconds = timeout_seconds
        """How long the old worker may take to end what is under way."""
        self.reason = reason
        """Why, as it was given."""
        self.error: str | None = None
        """Why it failed."""
        self.instead = ""
        """Who serves since it failed."""
        self.process: FrontProcess | None = None
        """The fresh one."""
        self._phases: list[tuple[str, float]] = []
        """The phases that are over, and how long they took."""
        self._phase = ""
        self._since = 0.0
        self._expected_seconds = math.inf

    def begin(self, phase: str, expected_seconds: float) -> None:
        """Go on to the next phase.

        Args:
            phase: its name.
            expected_seconds: how long it will take, as far as one can tell.
        """
        self.end()
        self._phase, self._since, self._expected_seconds = phase, time.monotonic(), expected_seconds

    def end(self) -> None:
        """End the phase that is under way."""
        if self._phase:
            self._phases.append((self._phase, time.monotonic() - self._since))
        self._phase = ""

    @property
    def decided(self) -> bool:
        """Whether a worker works that nobody will replace for it: that one may ask for the next."""
        return self.error is not None or (self.process is not None and self.process.became_ready.is_set())

    def fail(self, why: str) -> None:
        """Take in that it has failed."""
        self.error = self.error or why

    def served_by(self, generation: int, *, old_code: bool) -> None:
        """Take in who works, once it has failed."""
        if self.error is not None:
            code = "from before the restart" if old_code else "that is on disk"
            self.instead = f"; worker {generation} serves, with the code {code}"

    def facts(self) -> dict[str, object]:
        """Give what workers are told of it."""
        phases: list[dict[str, object]] = [
            {"name": name, "seconds": round(seconds, 4), "percent": 100} for name, seconds in self._phases
        ]
        if self._phase:
            seconds = time.monotonic() - self._since
            share = min(_ALMOST_PERCENT, int(100 * seconds / max(0.001, self._expected_seconds)))
            phases.append({"name": self._phase, "seconds": round(seconds, 4), "percent": share})
        error = None if self.error is None else f"{self.error}{self.instead}"
        return {"key": self.key, "reason": self.reason, "mode": self.mode, "phases": phases, "error": error}

    def told(self) -> str:
        """Say how long each phase took, for the log."""
        return ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in self._phases)


@final
class Restarts:
    """The child of the tree that carries out restarts, one at a time."""

    def __init__(self, workers: Workers) -> None:
        """Carry out what these workers ask for."""
        self._workers = workers
        self._wish: Restart | None = None
        self._under_way: Restart | None = None
        self._wished = trio.Event()
        self._done = self._failed = 0
        workers.questions.restart = self.ask

    async def run(self, *, task_status: trio.TaskStatus[Restarts]) -> None:
        """Wait for wishes and carry them out: a child for a supervisor."""
        task_status.started(self)
        while True:
            await self._wished.wait()
            self._wished = trio.Event()
            self._under_way, self._wish = self._wish, None
            try:
                if self._under_way is not None:
                    await self._restart(self._under_way)
            finally:
                self._under_way = None

    def ask(self, asked: dict[str, object]) -> dict[str, object]:
        """Take a worker's wish, and give the answer to it."""
        if self._wish is not None or (self._under_way is not None and not self._under_way.decided):
            return {"error": "a restart is under way already. Wait until it has ended."}
        mode, timeout = asked.get("mode", "graceful"), asked.get("timeout", _TIMEOUT_SECONDS)
        if mode not in _MODES:
            return {"error": f"the mode of a restart is one of {', '.join(_MODES)}, not {mode!r}"}
        if isinstance(timeout, bool) or not isinstance(timeout, int | float):
            return {"error": f"timeout is a number of seconds, not {timeout!r}"}
        if not 0 <= timeout <= _TIMEOUT_SECONDS_MAX:
            return {"error": f"timeout is a number of seconds between 0 and {_TIMEOUT_SECONDS_MAX:g}, not {timeout!r}"}
        key = str(asked.get("key", asked.get("seq", "")))
        # One line: a client wrote it, and the log tells events by their lines.
        reason = " ".join(str(asked.get("reason") or "").split())[:_REASON_CHARACTERS_MAX]
        self._wish = Restart(key, str(mode), float(timeout), reason)
        self._wished.set()
        return {"accepted": True, "key": key, "mode": mode, "timeout": timeout}

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        return {"done": self._done, "failed": self._failed, "under_way": int(self._under_way is not None)}

    async def _restart(self, restart: Restart) -> None:
        workers = self._workers
        workers.log.tell(f"restart ({restart.mode}) begins: {restart.reason or 'no reason given'}")
        workers.standing.restarting = restart
        try:
            await self._replace(restart)
        except _Failed as failure:
            restart.end()
            restart.fail(str(failure))
            self._failed += 1
            workers.log.tell(f"restart failed: {restart.error}")
            workers.announce()
            return
        restart.end()
        self._done += 1
        workers.log.tell(f"restart is done: {restart.told()}")
        # Once whole, with how long everything took; then there is none any more.
        workers.announce()
        workers.standing.restarting = None
        workers.announce()

    async def _replace(self, restart: Restart) -> None:
        """Start a process, and let it take over."""
        workers = self._workers
        self._begin(restart, "start", _START_SECONDS)
        try:
            process = workers.fleet.spawn("fresh worker")
        except (WorkerFailed, OSError) as error:
            raise _Failed(f"no new process can be started: {error}") from error
        restart.process = process
        parked = Parked(process)
        failure: _Failed | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(parked.keep)
                try:
                    await self._hand_over(restart, parked)
                except _Failed as error:
                    # Raised out of a nursery it would be a group. Said at once: until the process is destroyed another
                    # one may have taken over, which is told of the restart then.
                    failure = error
                    restart.fail(str(error))
                nursery.cancel_scope.cancel()
        finally:
            if workers.heir is parked:
                workers.heir = None
            if not parked.taken:
                await workers.fleet.destroy(process)
        if failure is not None:
            raise failure

    async def _hand_over(self, restart: Restart, parked: Parked) -> None:
        workers, process = self._workers, parked.process
        if not await _first(workers.settings.start_seconds, parked.warm, parked.over):
            raise _Failed(f"the new process was not ready to take over within {workers.settings.start_seconds:g} s")
        self._check(parked)
        # From here on a death of the old worker is only an early end of it.
        workers.heir = parked
        old = workers.active
        if restart.mode == "graceful" and old is not None:
            self._begin(restart, "drain", restart.timeout_seconds)
            workers.drained = trio.Event()
            old.tell(b"%s %g\n" % (DRAIN, restart.timeout_seconds))
            seconds = restart.timeout_seconds + _DRAIN_GRACE_SECONDS
            await _first(seconds, workers.drained, old.ended, parked.over)
            if parked.lost and old.alive():
                workers.heir = None
                restart.fail("the new process ended while the old worker was drained; the old one goes on")
                workers.announce()
                old.tell(RESUME + b"\n")
            self._check(parked)
        self._begin(restart, "stop", workers.settings.stop_seconds)
        if not parked.taken:
            await workers.replace_active(kill=restart.mode == "immediate")
        await _first(workers.settings.start_seconds, process.activated, parked.over)
        # Nobody buries what nobody has taken.
        self._check(parked)
        self._begin(restart, "activate", _ACTIVATE_SECONDS)
        await _first(workers.settings.start_seconds, process.became_ready, process.buried)
        if not process.became_ready.is_set():
            raise _Failed("the new worker did not become ready")

    def _check(self, parked: Parked) -> None:
        if parked.lost:
            raise _Failed(f"{NEVER_TAKEN}{self._workers.log.last_words()}; the log says more")

    def _begin(self, restart: Restart, phase: str, expected_seconds: float) -> None:
        restart.begin(phase, expected_seconds)
        self._workers.log.say(f"restart: {phase}")
        self._workers.announce()


async def _first(timeout_seconds: float, *events: trio.Event) -> bool:
    """Wait for the first of several events; say whether one came in time."""
    with trio.move_on_after(timeout_seconds):
        async with trio.open_nursery() as nursery:
            for event in events:
                nursery.start_soon(_cancel_after, event, nursery.cancel_scope)
    return any(event.is_set() for event in events)


async def _cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
