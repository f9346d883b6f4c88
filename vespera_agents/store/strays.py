"""Artifact files that no row names: finding them, and removing them although somebody may be about to name one.

A file is durable before its row, so a file without a row is either left over or on its way. Left over it is when it is
more than an hour old *and* older than every piece of work that has begun, for what waits for the gates of a task was
written after that task was claimed; after a month no gates run any more. A file on its way in is locked by its writer.
That is judged again inside the transaction that removes it: meanwhile no process can commit a row. A writer can still
put the same bytes there at that very moment, so a file is first moved aside, looked at, and moved back if it is new.
Neighbours: `artifacts` writes the files, `commands.upkeep` removes strays.
"""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from vespera_agents.store.artifacts import INCOMING

__all__ = ["STRAYS_MAX", "Stray", "find_strays", "remove_stray", "restore_aside", "safe_before"]

STRAYS_MAX: Final = 500
"""Strays that are found at once, and so removed in one transaction."""
_AGE_SECONDS: Final = 3_600.0
_AGE_OF_ANY_SECONDS: Final = 30 * 24 * 3_600.0
"""From this age on a file is left over whatever work has begun; the gates of one task take 20 days at most."""
_ASIDE: Final = "removing-"
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_PREFIXES: Final = tuple(f"{number:02x}" for number in range(256))


@final
@dataclass(frozen=True, slots=True)
class Stray:
    """A file that no row names."""

    name: str
    """A content hash, or the name of a file that never arrived."""
    size: int
    """Bytes."""


def find_strays(
    connection: sqlite3.Connection,
    directory: Path,
    now: float,
    report: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Stray]:
    """Find what is left over, at most STRAYS_MAX; nothing is changed.

    Args:
        connection: where the rows are.
        directory: where the files are.
        now: seconds since the epoch.
        report: hears how many of how many folders are done.
    """
    before = safe_before(connection, now)
    found = [Stray(name, size) for name, size, _ in _left_over(directory, now)]
    for number, prefix in enumerate(_PREFIXES, 1):
        named = {
            str(row[0])
            for row in connection.execute(
                "SELECT sha256 FROM artifact WHERE sha256 >= ? AND sha256 < ?"
                " UNION SELECT file FROM command WHERE file >= ? AND file < ?"
                " UNION SELECT file FROM step WHERE file >= ? AND file < ?"
                " UNION SELECT sha256 FROM note WHERE sha256 >= ? AND sha256 < ?",
                (prefix, f"{prefix}g") * 4,
            )
        }
        for name, size, written in _files(directory / prefix):
            if _HASH.fullmatch(name) and name.startswith(prefix) and name not in named and _old(written, before, now):
                found.append(Stray(name, size))
        report(number, len(_PREFIXES))
        if len(found) >= STRAYS_MAX:
            break
    return found[:STRAYS_MAX]


def safe_before(connection: sqlite3.Connection, now: float) -> float:
    """Give the time before which a file must have been written to belong to no work that has begun."""
    begun = connection.execute(
        "SELECT min(started) FROM task WHERE status IN ('in_progress', 'review', 'blocked') AND children=0"
    ).fetchone()[0]
    return min(now - _AGE_SECONDS, now if begun is None else float(begun))


def remove_stray(connection: sqlite3.Connection, directory: Path, name: str, now: float) -> int | None:
    """Remove one file if it still is left over; gives its bytes, None if it stays. Only inside a writing transaction.

    Raises:
        OSError: it cannot be removed.
    """
    if not _HASH.fullmatch(name):
        return _remove_leftover(directory, name, now)
    if _named(connection, name):
        return None
    before = safe_before(connection, now)
    path, aside = directory / name[:2] / name, directory / f"{_ASIDE}{name}"
    if path.parent.is_symlink():
        return None
    try:
        path.rename(aside)
    except FileNotFoundError:
        return None
    status = aside.lstat()
    if not _old(status.st_mtime, before, now):
        # Somebody has just written the same bytes; those that are there by now are the same, too.
        aside.rename(path)
        return None
    aside.unlink()
    return status.st_size


def restore_aside(connection: sqlite3.Connection, directory: Path) -> list[str]:
    """Bring back what a removal that was cut off had moved aside, where a row names it; gives the hashes."""
    restored: list[str] = []
    for name, _, _ in _files(directory):
        sha256 = name.removeprefix(_ASIDE)
        if name == sha256 or not _HASH.fullmatch(sha256):
            continue
        if _named(connection, sha256):
            (directory / sha256[:2]).mkdir(exist_ok=True)
            (directory / name).rename(directory / sha256[:2] / sha256)
            restored.append(sha256)
    return restored


def _named(connection: sqlite3.Connection, sha256: str) -> bool:
    """Say whether a row names a file: an artifact, a shared note, or the large result of a command or a step."""
    return bool(
        connection.execute(
            "SELECT EXISTS (SELECT 1 FROM artifact WHERE sha256=?1) OR EXISTS (SELECT 1 FROM command WHERE file=?1)"
            " OR EXISTS (SELECT 1 FROM step WHERE file=?1) OR EXISTS (SELECT 1 FROM note WHERE sha256=?1)",
            (sha256,),
        ).fetchone()[0]
    )


def _old(written: float, before: float, now: float) -> bool:
    return written < before or written < now - _AGE_OF_ANY_SECONDS


def _left_over(directory: Path, now: float) -> Iterator[tuple[str, int, float]]:
    """Give the files that never arrived, and those that a removal had moved aside."""
    for name, size, written in _files(directory):
        if name.startswith((INCOMING, _ASIDE)) and written < now - _AGE_SECONDS:
            yield name, size, written


def _remove_leftover(directory: Path, name: str, now: float) -> int | None:
    found = {one: size for one, size, _ in _left_over(directory, now)}
    size = found.get(name)
    if size is None:
        return None
    with (directory / name).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # Its writer lives.
            return None
        (directory / name).unlink(missing_ok=True)
    return size


def _files(directory: Path) -> Iterator[tuple[str, int, float]]:
    """Give name, bytes and time of each regular file of a folder that is one itself."""
    if directory.is_symlink():
        return
    try:
        entries = os.scandir(directory)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                yield entry.name, status.st_size, status.st_mtime
