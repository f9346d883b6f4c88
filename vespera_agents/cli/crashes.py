"""The deaths in a server's log, each with what was printed before it. Pure.

Not every end is a crash: who was asked to end, and who was replaced by a restart, is none. Neighbours: `logs` shows
them; the words are those that `vespera_agents.front` writes down, and tests with real servers hold them to it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, final

__all__ = ["Crash", "event_level", "find_crashes"]

_EVENT: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) front: (.*)", re.DOTALL)
_DEATH: Final = re.compile(
    r"worker \d+ \(pid (\d+)\) ended with .*|spare (\d+) died while it waited.*|restart failed: .*", re.DOTALL
)
"""A restart that failed has ended the process which was to take over."""
_PART: Final = re.compile(r"\w+ of the front has crashed .*")
"""Its traceback comes after it."""
_ROUTINE: Final = re.compile(
    r"server srv_|worker \d+ \(pid \d+(?:, [\w ]+)?\) (?:starts|is ready|takes over)|a spare waits|forker \(pid \d+\)"
    r"|worker is started anew: worker|restart"
)
"""What happens to every process, and explains no death."""


@final
@dataclass(slots=True)
class Crash:
    """One death that nobody had asked for."""

    at: str
    """When, as the log has it."""
    event: str
    """What the front wrote down."""
    pid: str | None
    """Of the dead; None where the log does not say it."""
    lines: list[str] = field(default_factory=list[str])
    """What was printed before it, the last of it."""
    left_out: int = 0
    """How many lines more there were."""

    @property
    def headline(self) -> str:
        """Say it in one line."""
        return f"{self.at} {self.event}"


@final
class _Search:
    """What was read of a log so far."""

    def __init__(self, lines_max: int) -> None:
        self.crashes: list[Crash] = []
        self._lines_max = lines_max
        self._before: deque[str] = deque(maxlen=lines_max)
        self._count = 0
        self._asked = False
        """Whether the next end of a worker was asked for."""
        self._part: Crash | None = None
        """The crash that the lines belong to, because they come after it."""

    def take(self, line: str) -> None:
        """Read the next line."""
        event = _EVENT.fullmatch(line)
        if event is None:
            self._printed(line)
            return
        self._part = None
        at, text = event.groups()
        if text.startswith("restart"):
            # Between this word and the next a worker ends because it shall.
            self._asked = text == "restart: stop"
        if _PART.fullmatch(text):
            self._part = Crash(at, text, None)
            self.crashes.append(self._part)
        elif (death := _DEATH.fullmatch(text)) is not None:
            if not self._asked:
                pid = death[1] or death[2]
                self.crashes.append(Crash(at, text, pid, [*self._before], self._count - len(self._before)))
            self._before.clear()
            self._count = 0
        elif text.startswith("ends: "):
            self._asked = True
        elif not _ROUTINE.match(text):
            self._printed(line)

    def _printed(self, line: str) -> None:
        if self._part is None:
            self._before.append(line)
            self._count += 1
        elif len(self._part.lines) < self._lines_max:
            self._part.lines.append(line)


def event_level(event: str) -> str:
    """Say how grave an event of the front is."""
    if _DEATH.fullmatch(event) or _PART.fullmatch(event):
        return "error"
    return "info" if _ROUTINE.match(event) or event.startswith("ends: ") else "warning"


def find_crashes(lines: Iterable[str], lines_max: int) -> list[Crash]:
    """Find the crashes in the lines of a log, the oldest first.

    Args:
        lines: the log.
        lines_max: how many of the lines of each are kept.
    """
    search = _Search(lines_max)
    for line in lines:
        search.take(line)
    return search.crashes
