"""All processes of a front: counted against a ceiling, destroyed for certain, accounted for to the last.

Neighbours: `processes` is one of them; `workers`, `spares` and `restarting` have them started and destroyed here.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final, final

import trio

from vespera_agents.front.framing import LINK_VARIABLE
from vespera_agents.front.launch import Launch, Launched, spawn_linked
from vespera_agents.front.log import Log
from vespera_agents.front.processes import FrontProcess, adopt_orphans
from vespera_agents.front.settings import Settings
from vespera_agents.front.standing import Standing

__all__ = ["Fleet", "WorkerFailed", "shown_status"]

_DEAD_SECONDS: Final = 10.0
"""How often the log says that a process does not die."""


class WorkerFailed(Exception):
    """A worker did not become ready, or may not be started."""


@final
class Fleet:
    """The processes of one front."""

    def __init__(self, settings: Settings, launched: Launch, log: Log, standing: Standing) -> None:
        """Begin with the first worker."""
        self._settings = settings
        self._launched = launched
        self._log = log
        self._standing = standing
        self._processes: dict[int, FrontProcess] = {}
        self._adopts_orphans = False
        self.first = self.adopt(FrontProcess(launched.first, ours=True, what="worker"))
        """The worker that was started before anything else."""

    def __len__(self) -> int:
        """Count those that live."""
        return len(self._processes)

    def check_room(self) -> None:
        """Refuse a process above the ceiling.

        Raises:
            WorkerFailed: no more may live at once.
        """
        if len(self._processes) >= self._settings.processes_max:
            raise WorkerFailed(f"{len(self._processes)} processes of this server live, and no more may")

    def spawn(self, what: str) -> FrontProcess:
        """Start a worker from what is on disk now; it is told nothing yet.

        Raises:
            WorkerFailed: no more may live at once.
            OSError: the machine has no room for one.
        """
        return self.start(self._settings.worker, LINK_VARIABLE, what)

    def start(self, command: tuple[str, ...], variable: str, what: str) -> FrontProcess:
        """Start a process that finds its end of the link by a variable of its environment.

        Raises:
            WorkerFailed: no more may live at once.
            OSError: the machine has no room for one.
        """
        self.check_room()
        launched = spawn_linked(command, variable, self._launched.output[1])
        return self.adopt(FrontProcess(launched, ours=True, what=what))

    def adopt(self, process: FrontProcess) -> FrontProcess:
        """Count a process as one of the front's, until it is destroyed."""
        self._processes[process.pid] = process
        self._standing.processes = len(self._processes)
        return process

    def adopt_forked(self, launched: Launched, what: str) -> FrontProcess:
        """Count a process that was forked for us; it is our child if the kernel gives us orphans."""
        return self.adopt(FrontProcess(launched, ours=self._adopts_orphans, what=what))

    def adopt_orphans(self) -> None:
        """Ask the kernel for what is orphaned among our processes; who forks for us need not live then."""
        self._adopts_orphans = self._adopts_orphans or adopt_orphans()

    def forget_orphans(self) -> None:
        """Let the kernel forget orphans that have ended: commands whose worker died before them."""
        # The kernel shows one of them. One of our own may be first; those are forgotten when they are buried.
        with suppress(ChildProcessError):
            while self._adopts_orphans:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if ended is None or ended.si_pid in self._processes:
                    return
                os.waitpid(ended.si_pid, os.WNOHANG)

    async def kill(self, process: FrontProcess) -> None:
        """Kill a process with its group and return when the kernel has confirmed its death, cancelled or not."""
        with trio.CancelScope(shield=True):
            process.kill()
            while not await process.wait_dead(_DEAD_SECONDS):
                self._log.tell(f"{process.what} {process.pid} does not die; it may wait for a disk. Still waiting.")
                process.kill()

    def bury(self, process: FrontProcess) -> None:
        """Forget a process that is dead."""
        process.bury()
        if self._processes.get(process.pid) is process:
            del self._processes[process.pid]
        self._standing.processes = len(self._processes)
        self.forget_orphans()

    async def destroy(self, process: FrontProcess) -> None:
        """Kill and forget a process."""
        await self.kill(process)
        self.bury(process)

    def kill_all(self) -> None:
        """Kill every process at once, without waiting."""
        for process in [*self._processes.values()]:
            process.kill()


def shown_status(status: int | None) -> str:
    """Say how a process has ended."""
    if status is None:
        return "its status not known"
    return f"status {status}" if status >= 0 else f"signal {-status}"
