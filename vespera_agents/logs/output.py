"""Where the log of a process goes: its standard error, which must never make the event loop wait.

Whoever started us may not read what we say: a pipe that is full would stop the loop in the middle of a line. So
nothing is written that is not taken at once, or nearly; what was not is counted, and told as soon as there is room.
"""

from __future__ import annotations

import logging
import math
import os
import select
import sys
import time
from typing import TYPE_CHECKING, Final, final

from vespera_agents.logs.formats import LogFormat, formatter_for

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Output", "configure_logs"]

_OURS: Final = ("vespera_agents", "supervisors")
_PIPE_BUF: Final = 4096
"""What a pipe takes without blocking when it says that it takes anything."""
_PATIENCE_SECONDS: Final = 0.02
"""How long a reader that was quick until now may take for one record, however long that is."""
_SULK_SECONDS: Final = 1.0
"""For how long we do not wait for one that was not."""


@final
class Output(logging.Handler):
    """Writes records to a descriptor as far as it takes them."""

    def __init__(self, log_format: LogFormat, file: int) -> None:
        """Say how to write to which descriptor; it is not ours alone, so it stays open and as blocking as it is."""
        super().__init__()
        self.dropped = 0
        """Records that nobody took."""
        self.setFormatter(formatter_for(log_format))
        self._file = file
        self._told = 0
        self._is_cut = False
        self._quiet_until = 0.0
        self._is_taken = _poller(file)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record down, or count it."""
        try:
            text = self.format(record) + "\n"
            if self.dropped > self._told:
                dropped = self.dropped - self._told
                note = logging.makeLogRecord(
                    {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING"}
                    | {"msg": "%d lines of the log were not taken by its reader", "args": (dropped,)}
                )
                text = f"{self.format(note)}\n{text}"
            if self._is_cut:
                # What is left of a record that its reader did not take whole must not hide this one.
                text = "\n" + text
            if self._write(text.encode(errors="backslashreplace")):
                self._told = self.dropped
            else:
                self.dropped += 1
        except Exception:  # noqa: BLE001 - a value that cannot be told must not end who wanted to log it.
            self.handleError(record)

    def _write(self, data: bytes) -> bool:
        until = time.monotonic() + _PATIENCE_SECONDS
        for start in range(0, len(data), _PIPE_BUF):
            if not self._takes(until):
                return False
            try:
                os.write(self._file, data[start : start + _PIPE_BUF])
            except OSError:
                return False
            self._is_cut = start + _PIPE_BUF < len(data)
        return True

    def _takes(self, until: float) -> bool:
        if self._is_taken(0):
            return True
        now = time.monotonic()
        if now < self._quiet_until:
            return False
        if now < until and self._is_taken(math.ceil((until - now) * 1_000)):
            return True
        self._quiet_until = time.monotonic() + _SULK_SECONDS
        return False


def configure_logs(log_format: LogFormat, level: str) -> None:
    """Send the log of this process to its standard error, unless somebody has configured logging already.

    Of libraries only warnings and errors: what they say below may hold the bodies of messages.

    Args:
        log_format: how it is written.
        level: from which on: info, warning or error.
    """
    if logging.getLogger().handlers:
        return
    ours = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(handlers=[Output(log_format, _standard_error())], level=max(ours, logging.WARNING))
    for name in _OURS:
        logging.getLogger(name).setLevel(ours)


def _standard_error() -> int:
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return 2


def _poller(file: int) -> Callable[[int], bool]:
    """Make what says whether a descriptor takes something within so many milliseconds."""
    if not hasattr(select, "poll"):
        return lambda _: True
    poll = select.poll()
    poll.register(file, select.POLLOUT)
    return lambda milliseconds: any(events & select.POLLOUT for _, events in poll.poll(milliseconds))
