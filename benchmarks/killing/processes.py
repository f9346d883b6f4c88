"""Who is there: every process that carries a mark in its environment, found in /proc. Linux only.

A process in the middle of exec() shows no environment, and neither does a zombie, so a mark that was seen once is
remembered, and who shows nothing yet is asked again the next time. Nothing here kills anybody: see `killer`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

__all__ = ["MARK_VARIABLE", "Family", "Member"]

MARK_VARIABLE: Final = "VESPERA_CHAOS"
_PROC: Final = Path("/proc")


@final
@dataclass(frozen=True, slots=True)
class Member:
    """One process, as it was when it was looked at."""

    pid: int
    parent: int
    command: tuple[str, ...]
    ticks: int
    """Processor time that it took so far, in the kernel's ticks."""
    started: int
    """When it began, in ticks since the machine did: with the pid it names a process for good."""
    threads: int

    @property
    def python(self) -> bool:
        """Whether it is one of ours, and not a command that one of them runs."""
        return bool(self.command) and "python" in Path(self.command[0]).name

    def holds(self, file: Path) -> bool:
        """Say whether it has a file open."""
        try:
            links = list((_PROC / str(self.pid) / "fd").iterdir())
        except OSError:
            return False
        for link in links:
            try:
                if link.readlink() == file:
                    return True
            except OSError:
                continue
        return False

    def was_told(self, variable: str) -> bool:
        """Say whether its program began with a variable in its environment."""
        try:
            text = (_PROC / str(self.pid) / "environ").read_bytes()
        except OSError:
            return False
        return any(entry.startswith(f"{variable}=".encode()) for entry in text.split(b"\0"))

    def descriptors(self) -> int:
        """Count its open files; 0 when it is gone."""
        try:
            return len(list((_PROC / str(self.pid) / "fd").iterdir()))
        except OSError:
            return 0

    def resident_bytes(self) -> int:
        """Say how much memory it has; 0 when it is gone."""
        try:
            pages = int((_PROC / str(self.pid) / "statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")


@final
class Family:
    """All processes with one mark."""

    def __init__(self, mark: str, database: Path) -> None:
        """Say which mark, and which store they serve: a spare that warms up has one of its own."""
        self.database: Final = database
        self._entry = f"{MARK_VARIABLE}={mark}".encode()
        self._known: dict[tuple[int, int], bool] = {}

    def members(self) -> Sequence[Member]:
        """Look at all of them that live, zombies left out."""
        found: list[Member] = []
        alive: dict[tuple[int, int], bool] = {}
        for name in os.listdir(_PROC):  # noqa: PTH208 - called ten times a second: a Path for each entry costs more
            if not name.isdigit():
                continue
            seen = _look(int(name))
            if seen is None:
                continue
            member, state = seen
            key = (member.pid, member.started)
            marked = self._known.get(key)
            if marked is None:
                marked = self._marked(member.pid)
            if marked is None:
                continue
            alive[key] = marked
            if marked and state not in "ZX":
                found.append(_with_command(member))
        self._known = alive
        return found

    def front(self) -> Member | None:
        """Find the one that we, or a client in this process, started."""
        own = os.getpid()
        return next((one for one in self.members() if one.parent == own), None)

    def _marked(self, pid: int) -> bool | None:
        try:
            text = (_PROC / str(pid) / "environ").read_bytes()
        except PermissionError:
            return False
        except OSError:
            return None
        return self._entry in text.split(b"\0") if text else None


def _look(pid: int) -> tuple[Member, str] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The name of the program stands in parentheses and may hold anything.
    fields = text[text.rindex(")") + 2 :].split()
    member = Member(
        pid,
        parent=int(fields[1]),
        command=(),
        ticks=int(fields[11]) + int(fields[12]),
        started=int(fields[19]),
        threads=int(fields[17]),
    )
    return member, fields[0]


def _with_command(member: Member) -> Member:
    try:
        text = (_PROC / str(member.pid) / "cmdline").read_bytes()
    except OSError:
        text = b""
    words = tuple(word.decode(errors="replace") for word in text.rstrip(b"\0").split(b"\0"))
    return Member(member.pid, member.parent, words, member.ticks, member.started, member.threads)
