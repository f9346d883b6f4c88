"""One process of the front's, behind its end of a link: what is said to it, what it says, and that it is dead.

It knows lines and death, and no meaning of either: `workers` and `spares` do. A process is dead when the kernel says
so, not when its link is silent: whoever comes after it must be the only one that writes to the store.
"""

from __future__ import annotations

import array
import ctypes
import math
import os
import select
import signal
import socket
import sys
from collections import deque
from contextlib import suppress
from typing import Final, final

import trio

from vespera_agents.front.framing import Lines
from vespera_agents.front.launch import Launched

__all__ = ["FrontProcess", "adopt_orphans"]

_READ_BYTES: Final = 1 << 16
"""A buffer of 256 KB comes from the kernel page by page, each time."""
_DESCRIPTORS_MAX: Final = 16
"""Descriptors in one message."""
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(_DESCRIPTORS_MAX * array.array("i").itemsize)
_CLOSE_ON_EXEC: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_TAKE_ORPHANS: Final = 36
"""PR_SET_CHILD_SUBREAPER."""
_POLL_SECONDS: Final = 0.005
"""How often a process is asked for its end where the kernel tells of none."""


@final
class FrontProcess:
    """A process that was started, or forked for us."""

    def __init__(self, launched: Launched, *, ours: bool, what: str) -> None:
        """Take over a process.

        Args:
            launched: the process.
            ours: whether it is our child, which only we can let the kernel forget.
            what: what the log calls it.
        """
        self.pid = launched.pid
        """Its process id."""
        self.what = what
        """What the log calls it."""
        self.since_seconds = launched.since_seconds
        """When it was started, on the monotonic clock."""
        self.status: int | None = None
        """How it ended: its exit status, or a signal's number below 0; None while that is not known."""
        self.descriptors: deque[int] = deque()
        """Descriptors that it sent and nobody has taken yet."""
        self.ended = trio.Event()
        """Set when it has ended, or says that it has nothing more to say."""
        self.activated = trio.Event()
        """Set when it is the one that works, or was told to."""
        self.became_ready = trio.Event()
        """Set when it has said that it works."""
        self.buried = trio.Event()
        """Set when nothing of it is left."""
        self._link = launched.link
        self._link.setblocking(False)
        self._lines = Lines()
        self._unsent: deque[bytes] = deque()
        self._more = trio.Event()
        self._closing = False
        self._ours = ours
        self._dead = False
        self._pidfd = _open_pidfd(launched.pid)

    @property
    def dead(self) -> bool:
        """Whether the kernel has confirmed its end."""
        return self._dead

    @property
    def unsent_bytes(self) -> int:
        """How much was said to it that its socket had no room for yet."""
        return sum(map(len, self._unsent))

    def tell(self, data: bytes) -> None:
        """Say whole lines to it, without waiting; what is said to the dead is lost."""
        if self._closing or self._dead:
            return
        if not self._unsent:
            data = data[self._send(data) :]
        if data:
            self._unsent.append(data)
            self._more.set()

    def hand_over(self, data: bytes, descriptors: list[int]) -> None:
        """Say a line to it that comes with descriptors.

        Raises:
            OSError: it cannot be said now.
        """
        socket.send_fds(self._link, [data], descriptors)

    def alive(self) -> bool:
        """Ask the kernel whether it still lives, without waiting."""
        if self._dead or self.ended.is_set():
            return False
        if self._pidfd is None:
            return True
        ready = select.poll()
        ready.register(self._pidfd, select.POLLIN)
        return not ready.poll(0)

    def close(self) -> None:
        """Say nothing more to it, once everything is sent: for a worker the sign to end."""
        self._closing = True
        if not self._unsent:
            self._shut()
        self._more.set()

    async def keep_sending(self) -> None:
        """Send what its socket had no room for, as soon as it has: a task while somebody talks to it."""
        while True:
            while self._unsent:
                with suppress(OSError):
                    await trio.lowlevel.wait_writable(self._link)
                data = self._unsent[0]
                sent = self._send(data)
                if sent == len(data):
                    self._unsent.popleft()
                else:
                    self._unsent[0] = data[sent:]
            if self._closing:
                self._shut()
            self._more = trio.Event()
            await self._more.wait()

    async def lines(self) -> list[bytes] | None:
        """Wait for lines from it, None when there will be none any more. A torn last line is no line."""
        try:
            await trio.lowlevel.wait_readable(self._link)
        except OSError:
            return None
        chunk = self._receive()
        if chunk == b"":
            self.ended.set()
            return None
        return self._lines.feed(chunk) if chunk else []

    def rest(self) -> list[bytes]:
        """Read everything that it said before it died."""
        lines: list[bytes] = []
        while chunk := self._receive():
            lines += self._lines.feed(chunk)
        return lines

    def _receive(self) -> bytes | None:
        """Read what is there: None if nothing is, and nothing at the end."""
        try:
            data, ancillary, _, _ = self._link.recvmsg(_READ_BYTES, _ANCILLARY_BYTES, _CLOSE_ON_EXEC)
        except BlockingIOError:
            return None
        except OSError:
            return b""
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers = array.array("i")
                numbers.frombytes(payload[: len(payload) - len(payload) % numbers.itemsize])
                self.descriptors.extend(numbers)
        return data

    async def wait_ended(self) -> None:
        """Wait until it has ended, or its link has: a task while somebody depends on it."""
        if self._pidfd is None:
            # Whoever reads its link hears of its end.
            await self.ended.wait()
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wait_pidfd, self._pidfd)
            await self.ended.wait()
            nursery.cancel_scope.cancel()

    def signal(self, number: int) -> None:
        """Send it a signal, if it lives."""
        if not self._dead:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)

    def schedule_behind(self) -> None:
        """Let others go before it, where the kernel knows how."""
        self._schedule("SCHED_BATCH")

    def schedule_normally(self) -> None:
        """Take that back, which the processes that it forks inherit."""
        self._schedule("SCHED_OTHER")

    def _schedule(self, policy: str) -> None:
        # Not a nice value, which only the superuser may take back.
        if hasattr(os, policy):
            with suppress(OSError):
                os.sched_setscheduler(self.pid, getattr(os, policy), os.sched_param(0))

    def kill(self) -> None:
        """Kill it and its whole group by force, also if it has ended but is not buried yet."""
        if self._dead:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        # A process that was forked this moment has no group of its own yet.
        self.signal(signal.SIGKILL)

    async def wait_dead(self, timeout_seconds: float = math.inf) -> bool:
        """Wait until the kernel confirms that it is dead; say whether it did in time."""
        with trio.move_on_after(timeout_seconds):
            while not self._dead:
                if self._pidfd is None:
                    self._dead = self._reap()
                    await trio.sleep(0 if self._dead else _POLL_SECONDS)
                    continue
                await trio.lowlevel.wait_readable(self._pidfd)
                self._dead = True
                self._reap()
        return self._dead

    def bury(self) -> None:
        """Close what is left of it; it must be dead or never be heard of again."""
        self._link.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        while self.descriptors:
            os.close(self.descriptors.popleft())
        self.buried.set()

    async def _wait_pidfd(self, pidfd: int) -> None:
        await trio.lowlevel.wait_readable(pidfd)
        self.ended.set()

    def _send(self, data: bytes) -> int:
        try:
            return self._link.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            # It is gone, which `wait_ended` tells; what is said to the dead is lost.
            return len(data)

    def _shut(self) -> None:
        with suppress(OSError):
            self._link.shutdown(socket.SHUT_WR)

    def _reap(self) -> bool:
        """Ask whether it has ended, and let the kernel forget it where that is ours to do."""
        if not self._ours:
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                return True
            return False
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return True
        if pid:
            self._ours = False
            self.status = os.waitstatus_to_exitcode(status)
        return bool(pid)


def adopt_orphans() -> bool:
    """Become the parent of all orphans among the processes below us (Linux); say whether the kernel agrees."""
    if not sys.platform.startswith("linux"):
        return False
    # Trio has loaded this library already.
    return ctypes.CDLL(None).prctl(_TAKE_ORPHANS, 1, 0, 0, 0) == 0


def _open_pidfd(pid: int) -> int | None:
    """Get what becomes readable at a process's end; None where there is no such thing."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        # It was forked, has died and was buried by its parent.
        return None
    except OSError:
        return None
