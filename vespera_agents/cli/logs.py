"""`vespera logs`: what a server's front has written down, shown so that it cannot steer a terminal.

A log is read where the front keeps it, in the user's state directory: two files of bounded size, the older one first.
Nothing is asked of the server, which may be dead. Neighbours: `vespera_agents.front.log` writes the files, `crashes`
finds the deaths in them.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, cast, final

import trio

from vespera_agents.cli.crashes import find_crashes
from vespera_agents.cli.entries import Sieve, wanted_values
from vespera_agents.cli.outcomes import EXIT_DONE
from vespera_agents.cli.printing import Printer
from vespera_agents.front.places import logs_directory
from vespera_agents.work.errors import InvalidInput, NotFound
from vespera_agents.work.plain import printable
from vespera_agents.workspace import Workspace, open_workspace, server_alive

__all__ = ["LogsWish", "ServerLog", "find_logs", "show_logs"]

_HEAD: Final = re.compile(rb'\S+ front: server srv_[0-9a-f]{12} \(pid (\d{1,10})\) serves ("(?:[^"\\]|\\.)*")$')
_NAME: Final = re.compile(r"(srv_[0-9a-f]{12})\.log")
_HEAD_BYTES_MAX: Final = 16_384
_READ_BYTES_MAX: Final = 16 * 1024 * 1024
"""How much of the end of a file is read; a front keeps files a tenth as long."""
_CHUNK_BYTES: Final = 1 << 16
_EVERY_LEVEL: Final = "info"
_POLL_SECONDS: Final = 0.25
"""How often a file that is followed is looked at."""


@final
@dataclass(frozen=True, slots=True)
class LogsWish:
    """What to show."""

    workspace: Path
    server: str | None = None
    """The id of a server or the first letters of one; the newest of the workspace unless given."""
    lines: int = 100
    """How many of the last lines; with `crashes`, how many before each death."""
    follow: bool = False
    crashes: bool = False
    listing: bool = False
    level: str = _EVERY_LEVEL
    """From which level on."""
    where: tuple[str, ...] = ()
    """KEY=VALUE words: values that the entries of structured logs have."""


@final
@dataclass(frozen=True, slots=True)
class ServerLog:
    """One server's log."""

    id: str
    """The server's."""
    path: Path
    """The newer one of its two files."""
    written: float
    """When something was last written, in seconds of the wall clock."""
    workspace: Path | None
    """What it served; None where the file does not say it."""
    pid: int
    """The process id of its front, 0 where the file does not say it."""

    @property
    def alive(self) -> bool:
        """Whether the server still runs."""
        return self.workspace is not None and server_alive(Workspace(self.workspace), self.id)

    @property
    def files(self) -> tuple[Path, Path]:
        """Both files, the older one first."""
        return self.path.with_name(f"{self.path.name}.1"), self.path


def show_logs(wish: LogsWish) -> int:
    """Print what was wished for; give the exit status.

    Raises:
        InvalidInput: the wishes do not go together.
        NotFound: there is no such log.
        WorkspaceError: the directory cannot be a workspace.
    """
    if wish.follow and (wish.crashes or wish.listing):
        raise InvalidInput("--follow shows what is written from now on", "Leave out --crashes and --list.")
    printer = Printer(sys.stdout)
    if (wish.crashes or wish.listing) and (wish.where or wish.level != _EVERY_LEVEL):
        raise InvalidInput("--level and --where choose entries", "Leave out --crashes and --list.")
    sieve = Sieve(wish.level, wanted_values(wish.where))
    if wish.listing:
        return _list(find_logs(), printer)
    log = _choose(wish)
    if wish.crashes:
        return _show_crashes(log, wish.lines, printer)
    follower = _show_end(log, wish.lines, sieve, printer)
    if wish.follow:
        trio.run(_follow, follower, sieve, printer)
    return EXIT_DONE


def find_logs() -> list[ServerLog]:
    """Find the logs of all servers of this user, the newest first."""
    directory = Path(logs_directory())
    found: list[ServerLog] = []
    try:
        paths = [*directory.iterdir()]
    except OSError:
        return found
    for path in paths:
        match = _NAME.fullmatch(path.name)
        # The oldest ones are removed when a server begins, which may be now.
        with suppress(OSError):
            status = path.lstat()
            if match is not None and stat.S_ISREG(status.st_mode):
                found.append(ServerLog(match[1], path, status.st_mtime, *_whose(path)))
    return sorted(found, key=lambda log: (log.written, log.id), reverse=True)


def _choose(wish: LogsWish) -> ServerLog:
    logs = find_logs()
    if wish.server is not None:
        named = [log for log in logs if log.id.startswith(wish.server)] if wish.server else []
        if len(named) == 1:
            return named[0]
        if named:
            some = ", ".join(log.id for log in named[:5])
            raise NotFound(f"{wish.server!r} is the beginning of {len(named)} servers: {some}", "Give more letters.")
        raise NotFound(f"no server {wish.server!r} has left a log", "`vespera logs --list` shows who has.")
    workspace = open_workspace(wish.workspace, make=False)
    for log in logs:
        if log.workspace == workspace.directory:
            return log
    raise NotFound(
        f"no server of {workspace.directory} has left a log in {logs_directory()}",
        "`vespera serve` keeps one, unless it runs with --in-process; `vespera logs --list` shows those of all "
        "workspaces, and --workspace names another.",
    )


def _list(logs: Sequence[ServerLog], printer: Printer) -> int:
    if not logs:
        raise NotFound(f"no server has left a log in {logs_directory()}", "`vespera serve` keeps one.")
    for log in logs:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(log.written))
        place = "?" if log.workspace is None else printable(json.dumps(str(log.workspace), ensure_ascii=False)[1:-1])
        state = f"process {log.pid}" if log.alive else "ended"
        printer.line(f"{log.id}  {moment}  {state:<15}  {place}")
    return EXIT_DONE


def _show_end(log: ServerLog, lines: int, sieve: Sieve, printer: Printer) -> Follower:
    """Print the last lines; give the place from which to go on."""
    older, newer = _read_both(log)
    known = [line for raw in (*_lines(older), *_lines(newer)) for line in sieve.take(raw)]
    for line in known[max(0, len(known) - lines) :]:
        printer.line(line)
    return Follower(log.path, newer)


def _show_crashes(log: ServerLog, lines: int, printer: Printer) -> int:
    sieve = Sieve()
    known = [line for read in _read_both(log) for raw in _lines(read) for line in sieve.take(raw)]
    crashes = find_crashes(known, lines)
    if not crashes:
        printer.line(f"No process of {log.id} has crashed, as far as its log goes back ({log.path}).")
    for number, crash in enumerate(crashes):
        if number:
            printer.line()
        printer.line(crash.headline)
        if crash.left_out:
            printer.line(f"  ({crash.left_out} earlier lines; --lines N shows more)")
        for line in crash.lines:
            printer.line(f"  {line}")
    return EXIT_DONE


async def _follow(follower: Follower, sieve: Sieve, printer: Printer) -> None:
    """Print what is written from now on, also after the file was replaced, until Ctrl-C or nobody reads any more."""
    while not printer.gone:
        for raw in follower.read():
            for line in sieve.take(raw):
                printer.line(line)
        await trio.sleep(_POLL_SECONDS)


@final
class Follower:
    """The place in a growing file up to which it was read; goes on in the file that takes its name."""

    def __init__(self, path: Path, read: _End | None) -> None:
        """Begin where the file that had the name was read to, whoever has it now; None: at the beginning."""
        self._path = path
        self._position, self._identity = (0, None) if read is None else (read.position, read.identity)
        self._rest = b""

    def read(self) -> Iterator[bytes]:
        """Give the lines that have become whole since the last time."""
        now = _identity(self._path)
        if now != self._identity:
            # The old file has the older name now; what was written to it last is not lost.
            older = self._path.with_name(f"{self._path.name}.1")
            if _identity(older) == self._identity:
                yield from self._grown(older)
            self._identity = now
            self._position = 0
        yield from self._grown(self._path)

    def _grown(self, path: Path) -> Iterator[bytes]:
        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self._position:
                    self._position = 0
                file.seek(self._position)
                while chunk := file.read(_CHUNK_BYTES):
                    self._position += len(chunk)
                    *lines, self._rest = (self._rest + chunk).split(b"\n")
                    yield from lines
                    if len(self._rest) > _READ_BYTES_MAX:
                        yield self._rest
                        self._rest = b""
        except OSError:
            return  # It is between two names, or gone; the next look tells.


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _whose(path: Path) -> tuple[Path | None, int]:
    """Read from a log's first line what was served, and by which process."""
    with path.open("rb") as file:
        match = _HEAD.match(file.readline(_HEAD_BYTES_MAX).rstrip(b"\n"))
    if match is not None:
        with suppress(ValueError):
            return Path(cast("str", json.loads(match[2]))), int(match[1])
    return None, 0


@final
class _End(NamedTuple):
    """The end of a file, as it was read."""

    data: bytes
    position: int
    """How far it was read."""
    identity: tuple[int, int]
    """Which file it was."""


def _read_both(log: ServerLog) -> tuple[_End | None, _End | None]:
    """Read the ends of both files, the older one first."""
    older, newer = log.files
    # In this order: a file that gets the older name between the two looks is read twice, and not left out.
    end = _read(newer)
    before = _read(older)
    return None if before and end and before.identity == end.identity else before, end


def _read(path: Path) -> _End | None:
    """Read the end of a file, None if there is no such file."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            begin = max(0, status.st_size - _READ_BYTES_MAX)
            file.seek(begin)
            data = file.read(_READ_BYTES_MAX)
    except OSError:
        return None
    return _End(data, begin + len(data), (status.st_dev, status.st_ino))


def _lines(end: _End | None) -> list[bytes]:
    """Cut what was read into lines; the last one may not be ended yet."""
    lines = [] if end is None else end.data.split(b"\n")
    return lines[:-1] if lines and not lines[-1] else lines
