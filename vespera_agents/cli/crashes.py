"""The deaths in a server's log, each with what was printed before it. Pure.

Not every end is a crash: who was asked to end, and who was replaced by a restart, is none. Neighbours: `logs` shows
them; the words are those of `vespera_agents.front.workers` and `spares`, and a test with a real server compares.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, final

__all__ = ["Crash", "find_crashes"]

_EVENT: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) front: (.*)", re.DOTALL)
_DEATH: Final = re.compile(r"(worker \d+|spare) \(?(?:pid )?(\d+)\)? (?:is dead, |died while it waited)(.*)")
_ENDED: Final = re.compile(r"process (\d+) has ended with (.*)")
_UNKNOWN: Final = "its status not known"
_ROUTINE: Final = re.compile(
    r"server srv_|worker \d+ \(pid \d+(?:, \w+)?\) (?:starts|is ready|takes over)|spare \d+ waits|forker \(pid \d+\)"
    r"|process \d+ has ended"
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
    pid: str
    """Of the dead."""
    lines: list[str]
    """What was printed before it, the last of it."""
    left_out: int
    """How many lines more there were."""
    status: str | None = None
    """How it ended, where that was learned after its death."""

    @property
    def headline(self) -> str:
        """Say it in one line."""
        event = self.event if self.status is None else self.event.replace(_UNKNOWN, self.status)
        return f"{self.at} {event}"


def find_crashes(lines: Iterable[str], lines_max: int) -> list[Crash]:
    """Find the crashes in the lines of a log, the oldest first.

    Args:
        lines: the log.
        lines_max: how many of the lines before each are kept.
    """
    crashes: list[Crash] = []
    before: deque[str] = deque(maxlen=lines_max)
    count = 0
    ending = False
    for line in lines:
        event = _EVENT.fullmatch(line)
        if event is None:
            before.append(line)
            count += 1
            continue
        text = event[2]
        ending = ending or text.startswith("ends: ")
        death = _DEATH.fullmatch(text)
        if death is not None and not ending:
            crashes.append(Crash(event[1], text, death[2], [*before], count - len(before)))
        if death is not None:
            before.clear()
            count = 0
        elif not _ROUTINE.match(text):
            before.append(line)
            count += 1
        _learn(crashes, text)
    return crashes


def _learn(crashes: Iterable[Crash], text: str) -> None:
    """Fill in how a process has ended, which the log tells a moment later."""
    ended = _ENDED.fullmatch(text)
    if ended is not None:
        for crash in crashes:
            if crash.pid == ended[1] and crash.status is None:
                crash.status = ended[2]
