"""Whether a worker is still there: it must become ready in time, answer each ping in time, and end when it shall.

One that does not answer is first told to write down where its threads are, by SIGUSR2. It is killed here and replaced
by `workers`, as any that dies. Neighbours: `lives` is what is known of the one worker.
"""

from __future__ import annotations

import signal
from typing import final

import trio

from vespera_agents.front.framing import PING
from vespera_agents.front.lives import Life
from vespera_agents.front.log import Log
from vespera_agents.front.settings import Settings

__all__ = ["Vigil"]


@final
class Vigil:
    """Watches one worker after the other."""

    def __init__(self, settings: Settings, log: Log) -> None:
        """Watch with the deadlines of these settings."""
        self.wedged = 0
        """Workers that did not answer and were killed."""
        self.late = 0
        """Times that a worker answered after it had been told to write down where it is."""
        self._settings = settings
        self._log = log
        self._number = 0
        self._pong = trio.Event()

    def answered(self, number: int) -> None:
        """Hear the answer to a ping."""
        if number == self._number:
            self._pong.set()

    async def watch(self, life: Life) -> None:
        """Kill a worker that starts for too long, or does not answer: a task as long as it lives."""
        process, settings = life.process, self._settings
        with trio.move_on_after(settings.start_seconds):
            await process.became_ready.wait()
        if not process.became_ready.is_set():
            self._log.tell(f"worker {process.pid} is not ready after {settings.start_seconds:g} s: it is replaced")
            process.kill()
            return
        while True:
            self._number += 1
            self._pong = trio.Event()
            process.tell(b"%s %d\n" % (PING, self._number))
            if not await self._answers(life):
                self.wedged += 1
                life.wedged = True
                process.kill()
                return
            await trio.sleep(settings.ping_seconds)

    async def _answers(self, life: Life) -> bool:
        """Wait for the answer to a ping; say whether it came, at the latest after a dump."""
        process, settings = life.process, self._settings
        while not await self._came(settings.pong_seconds):
            if life.unheard:
                # Its answer may lie behind what the client does not take.
                continue
            self._log.tell(
                f"worker {process.pid} did not answer within {settings.pong_seconds:g} s: where its threads are follows"
            )
            process.signal(signal.SIGUSR2)
            if not await self._came(settings.dump_seconds):
                self._log.tell(f"worker {process.pid} is replaced")
                return False
            self.late += 1
            self._log.tell(f"worker {process.pid} has answered after all and stays")
            break
        return True

    async def _came(self, seconds: float) -> bool:
        with trio.move_on_after(seconds):
            await self._pong.wait()
        # A front that was stopped itself finds the deadline passed and the answer unread. After a stop the first look
        # at what is readable finds nothing, so it takes two rounds of the loop, and one more for who comes last.
        for _ in range(3):
            await trio.lowlevel.checkpoint()
        return self._pong.is_set()
