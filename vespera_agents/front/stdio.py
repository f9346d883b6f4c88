"""The door of one client over standard input and output: its lines to the worker, the worker's to it.

Nothing waits for anything here: a client that does not read holds up neither pings nor the replacement of a worker, it
only gets no further line read. Neighbours: `relay` knows what is unanswered, `streams` takes the descriptors.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from typing import Final, NamedTuple, final

import trio

from vespera_agents.front.framing import PROGRESS, WRITTEN, Lines
from vespera_agents.front.relay import INVALID_REQUEST, Relay, error_line
from vespera_agents.front.settings import Settings
from vespera_agents.front.workers import Workers

__all__ = ["StdioDoor", "StdioStatistics"]

_READ_BYTES: Final = 1 << 16
"""A pipe holds no more, and a buffer of 256 KB comes from the kernel page by page, each time."""
_AHEAD_BYTES: Final = 1 << 20
"""Bytes of lines that are read although there is no room for them in flight: behind them may be the client's end."""
_STUCK_SECONDS: Final = 0.5
"""How long a client that has closed its end may leave everything unread that keeps its last lines from being told."""
_SLOW_BYTES: Final = 1 << 20
"""Bytes that wait for the client, above which no worker is told more of it, and it hears of no progress."""
_STUFFED_BYTES: Final = 1 << 25
"""Bytes that wait for the client, above which no worker is listened to."""
_WRITTEN_SECONDS: Final = 0.2
"""How long a worker may wait to hear that its answers were written."""
_LAST_SECONDS: Final = 0.1
"""How long a client that has closed its end may take to read the last answers."""


@final
class StdioStatistics(NamedTuple):
    """What a door has done."""

    lines: int
    """Lines of the client."""
    refused_lines: int
    """Lines that were too long."""
    in_flight: int
    """Lines without an answer."""
    in_flight_bytes: int
    """Bytes of them."""
    kept: int
    """Lines that every new worker hears."""
    answered: int
    """Answers that were passed on."""
    repeated: int
    """Lines that were said to more than one worker."""
    dropped: int
    """What workers said that the client must not hear."""
    unread_bytes: int
    """Bytes that wait for the client to read them."""


@final
class StdioDoor:
    """One client's pipe."""

    def __init__(self, workers: Workers, settings: Settings, read_fd: int, write_fd: int) -> None:
        """Stand between two descriptors, which must not block, and the workers."""
        self._workers = workers
        self._settings = settings
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._relay = Relay()
        self._incoming = Lines()
        self._skipping = False
        """Whether the rest of a line that is too long still has to be thrown away."""
        self._lines: deque[bytes] = deque()
        """Lines that were read and for which there was no room in flight."""
        self._held_bytes = 0
        """Bytes of them."""
        self._room = trio.Event()
        self._unread: deque[tuple[bytes, int]] = deque()
        """What the client has not read, and which of its lines that answers, or 0."""
        self._unread_bytes = 0
        self._stuffing = trio.Event()
        self._written: list[int] = []
        self._reporting = trio.Event()
        """Set, while somebody waits for it, when there is something to report."""
        self._writing = trio.Event()
        self._client_gone = False
        self._count = 0
        self._refused = 0

    # ---- as a child of the tree

    async def run(self, *, task_status: trio.TaskStatus[StdioDoor]) -> None:
        """Move lines until the client closes its end or the front ends."""
        task_status.started(self)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_writing)
            nursery.start_soon(self._keep_reporting)
            nursery.start_soon(self._keep_reading)
            await self._workers.gone.wait()
            with trio.move_on_after(_LAST_SECONDS):
                while self._unread and not self._client_gone:
                    await self.wait_taken()
            nursery.cancel_scope.cancel()

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        return {"lines": self._count, "in_flight": self._relay.waiting, "unread_bytes": self._unread_bytes}

    def statistics(self) -> StdioStatistics:
        """Give its numbers as they are now."""
        relay = self._relay
        return StdioStatistics(
            lines=self._count,
            refused_lines=self._refused,
            in_flight=relay.waiting,
            in_flight_bytes=relay.bytes,
            kept=relay.kept,
            answered=relay.answered,
            repeated=relay.repeated,
            dropped=relay.dropped,
            unread_bytes=self._unread_bytes,
        )

    # ---- for the workers

    def repeat(self) -> list[bytes]:
        """Give what a new worker hears first."""
        return self._relay.repeat()

    def hear(self, line: bytes) -> None:
        """Pass on what the worker says.

        Raises:
            ValueError: it is nothing that a worker says.
        """
        if line[:1] == PROGRESS and self._unread_bytes > _SLOW_BYTES:
            return
        answer, seq = self._relay.hear(line)
        if answer is not None:
            self._write(answer, seq)
        if line[:1] != PROGRESS:
            suspect = self._relay.next_suspect()
            if suspect is not None:
                self._workers.tell(suspect)
            self._made_room()

    def lose(self, *, blamed: bool, why: str) -> None:
        """Take in that the worker is dead."""
        # What it was told of answers that were written may not have reached it; the store forgets them some day.
        self._write_all(self._relay.lose(blamed=blamed, why=why))

    def expire(self, before_seconds: float, why: str) -> None:
        """Answer what has waited for too long."""
        self._write_all(self._relay.expire(before_seconds, why))

    def busy(self) -> bool:
        """Say whether the client waits for an answer."""
        return self._relay.waiting > 0

    def stuffed(self) -> bool:
        """Say whether the client has left too much unread."""
        return self._unread_bytes > _STUFFED_BYTES

    async def wait_taken(self) -> None:
        """Wait until the client has read something."""
        self._stuffing = trio.Event()
        await self._stuffing.wait()

    # ---- from the client

    async def _keep_reading(self) -> None:
        while not self._client_gone:
            if self._held_bytes >= _AHEAD_BYTES:
                self._room = trio.Event()
                await self._room.wait()
                continue
            chunk = await self._chunk()
            if chunk is None:
                continue
            if not chunk:
                break
            self._take(self._incoming.feed(chunk))
            self._pass_on()
        if not self._skipping and not self._client_gone:
            # What it has not ended with a newline is a line, too: it will not be longer.
            self._take([self._incoming.forget()])
            self._pass_on()
        stuck = False
        while self._lines and not stuck and not self._client_gone:
            self._room = trio.Event()
            with trio.move_on_after(_STUCK_SECONDS) as patience:
                await self._room.wait()
            stuck = patience.cancelled_caught
        self._workers.end("the client has closed its end", patient=not self._client_gone)

    def _full(self) -> bool:
        relay, settings = self._relay, self._settings
        return (
            relay.waiting >= settings.requests_max
            or relay.bytes >= settings.bytes_max
            or self._unread_bytes > _SLOW_BYTES
        )

    async def _chunk(self) -> bytes | None:
        """Wait for bytes of the client and read them: none at its end, None if there were none after all."""
        try:
            await trio.lowlevel.wait_readable(self._read_fd)
        except PermissionError:
            # A file is always readable, and the kernel refuses to wait for it.
            await trio.lowlevel.checkpoint()
        try:
            return os.read(self._read_fd, _READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _take(self, lines: list[bytes]) -> None:
        for line in lines:
            if self._skipping:
                self._skipping = False
            elif len(line) > self._settings.line_bytes_max:
                self._refuse()
            elif line.strip():
                self._lines.append(line)
                self._held_bytes += len(line)
        if self._skipping or self._incoming.waiting_bytes > self._settings.line_bytes_max:
            self._incoming.forget()
            if not self._skipping:
                self._skipping = True
                self._refuse()

    def _refuse(self) -> None:
        self._refused += 1
        most = self._settings.line_bytes_max
        self._write(error_line(None, INVALID_REQUEST, f"a line has more than {most} bytes: send less"), 0)

    def _made_room(self) -> None:
        """Tell the worker what had to wait, now that something was answered or read."""
        if self._lines:
            self._pass_on()
        self._room.set()

    def _pass_on(self) -> None:
        """Tell the worker what there is room for."""
        told = self._workers.active is not None
        batch: list[bytes] = []
        now = trio.current_time()
        while self._lines and not self._full():
            self._count += 1
            line = self._lines.popleft()
            self._held_bytes -= len(line)
            batch.append(self._relay.take(line, now, told=told))
        if batch:
            self._workers.tell(b"".join(batch))

    # ---- to the client

    def _write_all(self, lines: list[bytes]) -> None:
        for line in lines:
            self._write(line, 0)
        self._made_room()

    def _write(self, line: bytes, seq: int) -> None:
        if self._client_gone:
            return
        data = line + b"\n"
        if not self._unread:
            data = data[self._write_some(data) :]
            if not data:
                self._took(seq)
                return
        self._unread.append((data, seq))
        self._unread_bytes += len(data)
        self._writing.set()

    def _write_some(self, data: bytes) -> int:
        """Write what the pipe takes now."""
        try:
            return os.write(self._write_fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            # Who no longer reads says nothing that matters either.
            self._client_gone = True
            self._workers.end("the client reads no more", patient=False)
            return len(data)

    async def _keep_writing(self) -> None:
        while True:
            while self._unread and not self._client_gone:
                with suppress(OSError):
                    await trio.lowlevel.wait_writable(self._write_fd)
                data, seq = self._unread[0]
                sent = self._write_some(data)
                self._unread_bytes -= sent
                if sent < len(data):
                    self._unread[0] = data[sent:], seq
                else:
                    self._unread.popleft()
                    self._took(seq)
                self._stuffing.set()
                self._made_room()
            self._writing = trio.Event()
            await self._writing.wait()

    # ---- to the worker, of what was written

    def _took(self, seq: int) -> None:
        """Take in that the client has taken the answer to one of its lines."""
        if seq:
            if not self._written:
                self._reporting.set()
            self._written.append(seq)

    async def _keep_reporting(self) -> None:
        # Not with each line: the worker would look into it before the request, and this task would wake for each.
        while True:
            await self._reporting.wait()
            await trio.sleep(_WRITTEN_SECONDS)
            if self._written and self._workers.active is not None:
                self._workers.tell(b"%s %s\n" % (WRITTEN, b" ".join(map(b"%d".__mod__, self._written))))
                self._written.clear()
                self._reporting = trio.Event()
