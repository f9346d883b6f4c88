"""What a front and its processes have to say, on its standard error and in a file of bounded size.

The file is `logs/<server id>.log` in the user's state directory: what the processes print as it comes, between the
lines of the front, which begin with a time. Nothing here may fail the front: without a disk or a reader, lines are
dropped and counted. Not the standard library's logging: a file that blocks or fails has to be our own affair.
"""

from __future__ import annotations

import json
import os
import select
import time
from contextlib import suppress
from typing import Final, final

import trio

__all__ = ["FILES_MAX", "Log"]

FILES_MAX: Final = 20
"""Logs that are kept in the directory, the newest."""
_READ_BYTES: Final = 1 << 16
_READS_MAX: Final = 16
"""Reads at once: a process that prints without end must not keep the front from everything else."""
_PIPE_BUF: Final = 4096
"""What a pipe takes without blocking when it says that it takes anything."""
_LOOK_SECONDS: Final = 1.0
"""How often the file is looked for under its name: somebody may have removed it, or its directory."""
_RECENT_BYTES: Final = 2048
_WORDS_CHARACTERS_MAX: Final = 200
_STDERR: Final = 2
_LAST_SECONDS: Final = 0.2
"""How long a reader of standard error may take for what is printed at the very end."""


@final
class Log:
    """The pipe into which the processes print, the file, and the standard error of the front."""

    def __init__(self, path: str, output: int, *, bytes_max: int, head: str = "", says_json: bool = False) -> None:
        """Say where everything goes.

        Args:
            path: the file; it and its directory are made with the first line.
            output: where the processes' prints are read.
            bytes_max: bytes in the file before it becomes the older one of two.
            head: the first event of each file, which says whose it is; none if empty.
            says_json: whether standard error gets events as JSON, as it gets them from the processes.
        """
        self.path = path
        """The file."""
        self.dropped = 0
        """Pieces that no file or reader took."""
        self._output = output
        self._bytes_max = bytes_max
        self._head = head
        self._says_json = says_json
        self._file: int | None = None
        self._size = 0
        self._looked = self._broken_until = 0.0
        self._recent = b""
        """The end of what the processes have printed since the last event."""
        self._line_open = False
        """Whether a process has begun a line and not ended it."""
        self._stderr = select.poll()
        self._stderr.register(_STDERR, select.POLLOUT)
        os.set_blocking(output, False)

    async def run(self, *, task_status: trio.TaskStatus[Log]) -> None:
        """Write down what the processes print: a child for a supervisor."""
        task_status.started(self)
        try:
            while True:
                await trio.lowlevel.wait_readable(self._output)
                self.take_printed()
        finally:
            self.take_printed(wait_seconds=_LAST_SECONDS)

    def take_printed(self, wait_seconds: float = 0.0) -> None:
        """Write down what was printed until now."""
        for _ in range(_READS_MAX):
            chunk = self._printed()
            if not chunk:
                return
            self._recent = (self._recent + chunk)[-_RECENT_BYTES:]
            self._tee(chunk, wait_seconds)
            self._write(chunk)

    def say(self, text: str) -> None:
        """Write down an event of the front's, after what the processes have printed until now."""
        # A traceback belongs before the death that it explains.
        self.take_printed()
        line = _event(text)
        self._write(b"\n" + line if self._line_open else line)
        self._recent = b""

    def tell(self, text: str) -> None:
        """Write down an event that whoever reads our standard error shall know of, too."""
        self.say(text)
        line = _json_event(text) if self._says_json else f"vespera: {text}\n".encode(errors="backslashreplace")
        self._tee(line, 0.0)

    def last_words(self) -> str:
        """Quote the last line that was printed since the last event, for whoever is told of a death; empty if none."""
        self.take_printed()
        lines = [line.strip() for line in self._recent.decode(errors="replace").splitlines() if line.strip()]
        return f" (printed last: {lines[-1][:_WORDS_CHARACTERS_MAX]})" if lines else ""

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        return {"log": self.path, "dropped": self.dropped}

    def _printed(self) -> bytes:
        try:
            return os.read(self._output, _READ_BYTES)
        except OSError:
            return b""

    def _tee(self, data: bytes, wait_seconds: float) -> None:
        """Pass on to our standard error what it takes at once.

        It is not made non-blocking, because it is not ours alone: other programs write to the same terminal or pipe.
        """
        for start in range(0, len(data), _PIPE_BUF):
            if not self._stderr_takes(wait_seconds):
                self.dropped += 1
                return
            try:
                os.write(_STDERR, data[start : start + _PIPE_BUF])
            except OSError:
                self.dropped += 1
                return

    def _stderr_takes(self, wait_seconds: float) -> bool:
        return any(events & select.POLLOUT for _, events in self._stderr.poll(wait_seconds * 1000))

    def _write(self, data: bytes) -> None:
        self._line_open = not data.endswith(b"\n")
        try:
            if self._file is not None and time.monotonic() >= self._looked + _LOOK_SECONDS and not self._has_its_name():
                self._close()
            if self._file is None:
                if time.monotonic() < self._broken_until:
                    self.dropped += 1
                    return
                self._open()
            elif self._size + len(data) > self._bytes_max:
                self._rotate()
            if self._file is not None:
                self._size += os.write(self._file, data)
        except OSError:
            self.dropped += 1
            self._close()
            # A full disk is not asked again for each line.
            self._broken_until = time.monotonic() + 1.0

    def _has_its_name(self) -> bool:
        """Say whether what is written can still be found."""
        self._looked = time.monotonic()
        assert self._file is not None, "only an open file is looked for"
        try:
            return os.path.samestat(os.lstat(self.path), os.fstat(self._file))
        except FileNotFoundError:
            return False

    def _open(self) -> None:
        directory = os.path.dirname(self.path)  # noqa: PTH120 - no path objects in the front
        os.makedirs(directory, mode=0o700, exist_ok=True)  # noqa: PTH103
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(self.path, flags, 0o600)
        self._size = os.fstat(self._file).st_size
        if not self._size and self._head:
            self._size = os.write(self._file, _event(self._head))
        _prune(directory)

    def _rotate(self) -> None:
        self._close()
        os.replace(self.path, f"{self.path}.1")  # noqa: PTH105
        self._open()

    def _close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = None


def _event(text: str) -> bytes:
    return f"{_moment()} front: {text}\n".encode(errors="backslashreplace")


def _json_event(text: str) -> bytes:
    """Write an event as the processes write theirs: see `vespera_agents.logs.formats`, which would cost a start."""
    line = {"at": _moment(), "level": "warning", "logger": "vespera_agents.front", "event": text}
    return f"{json.dumps(line)}\n".encode()


def _moment() -> str:
    now = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}Z"


def _prune(directory: str) -> None:
    """Remove all but the newest logs."""
    found: list[tuple[float, str]] = []
    for name in os.listdir(directory):  # noqa: PTH208
        if name.startswith("srv_") and name.endswith(".log"):
            path = f"{directory}/{name}"
            with suppress(OSError):
                found.append((os.stat(path).st_mtime, path))  # noqa: PTH116
    for _, path in sorted(found)[:-FILES_MAX]:
        for old in (path, f"{path}.1"):
            with suppress(OSError):
                os.unlink(old)  # noqa: PTH108
