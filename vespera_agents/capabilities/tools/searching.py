"""Finding lines that hold a text or match an expression, bounded in time whatever the expression is.

Python's own engine cannot be stopped once it backtracks, and holds every other task up meanwhile; `regex` takes a time
limit and lets go of the interpreter while it matches. Neighbours: `files` gives the files.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib import import_module
from typing import Final, Protocol, cast, final

from vespera_agents.capabilities.tools.files import Confined, FileRefused, shown

__all__ = ["SearchRefused", "find"]

SECONDS_MAX: Final = 5.0
"""For one search."""
BYTES_MAX: Final = 256 * 1024 * 1024
"""Bytes that one search reads."""
MATCHES_MAX: Final = 200
LINE_CHARACTERS_MAX: Final = 400
"""What is shown of a line."""
_DEPTH_MAX: Final = 100
_RECURSION: Final = re.compile(r"\(\?(?:R|&|P>|[0-9+-]*[0-9])|\{[^}]*[a-z][^}]*\}")
"""What of `regex` takes memory without bounds, or time for each character: recursion and likeness."""


@final
class SearchRefused(Exception):
    """A search cannot be made; the message says why and what to do."""


class _Matches(Protocol):
    def __call__(self, text: str, /, *, timeout: float, concurrent: bool) -> object | None: ...


class _Expression(Protocol):
    search: _Matches


class _Engine(Protocol):
    error: type[Exception]
    IGNORECASE: int

    def compile(self, pattern: str, flags: int) -> _Expression: ...


@final
@dataclass(slots=True)
class _Found:
    lines: list[str] = field(default_factory=list[str])
    files: int = 0
    read: int = 0
    skipped: int = 0
    stopped: str | None = None


def find(confined: Confined, pattern: str, path: str, *, regex: bool, ignore_case: bool, files: str) -> str:
    """Search below a path; runs in a thread, and ends by itself.

    Raises:
        SearchRefused: the expression is none, or takes too long.
        FileRefused: there is no such path.
    """
    ends_at = time.monotonic() + SECONDS_MAX
    matches = _expression(pattern, ignore_case=ignore_case) if regex else _literal(pattern, ignore_case=ignore_case)
    found = _Found()
    for entry in confined.walk(path, _DEPTH_MAX):
        if entry.is_directory or entry.link_to is not None:
            continue
        name = entry.path.rpartition("/")[2]
        if files and not fnmatchcase(name, files) and not fnmatchcase(entry.path, files):
            continue
        if time.monotonic() > ends_at:
            found.stopped = f"it has taken {SECONDS_MAX:g} s"
        elif found.read + entry.size > BYTES_MAX:
            found.stopped = f"it has read {BYTES_MAX} bytes"
        if found.stopped is None:
            _look(confined, entry.path, matches, ends_at, found)
        if found.stopped is not None:
            break
    return _tell(found)


def _look(confined: Confined, path: str, matches: Callable[[str, float], bool], ends_at: float, found: _Found) -> None:
    """Look through one file."""
    try:
        data = confined.read(path)
    except FileRefused:
        found.skipped += 1
        return
    found.read += len(data)
    if b"\0" in data:
        found.skipped += 1
        return
    found.files += 1
    for number, line in enumerate(data.decode(errors="replace").split("\n"), 1):
        left = ends_at - time.monotonic()
        if left <= 0:
            found.stopped = f"it has taken {SECONDS_MAX:g} s"
            return
        try:
            if not matches(line, left):
                continue
        except TimeoutError as error:
            raise SearchRefused(
                f"the expression takes too long on line {number} of {shown(path)}. Write it with less repetition."
            ) from error
        cut = line.rstrip("\r")[:LINE_CHARACTERS_MAX]
        found.lines.append(f"{shown(path)}:{number}: {cut}{'...' if len(line) > LINE_CHARACTERS_MAX else ''}")
        if len(found.lines) >= MATCHES_MAX:
            found.stopped = f"it has found {MATCHES_MAX} lines"
            return


def _literal(pattern: str, *, ignore_case: bool) -> Callable[[str, float], bool]:
    if not ignore_case:
        return lambda line, _: pattern in line
    folded = pattern.casefold()
    return lambda line, _: folded in line.casefold()


def _expression(pattern: str, *, ignore_case: bool) -> Callable[[str, float], bool]:
    if _RECURSION.search(pattern) is not None:
        raise SearchRefused("an expression may not refer to itself or match by likeness. Write it without that.")
    engine = cast("_Engine", import_module("regex"))
    try:
        compiled = engine.compile(pattern, engine.IGNORECASE if ignore_case else 0)
    except (engine.error, ValueError, OverflowError, RecursionError) as error:
        raise SearchRefused(f"{pattern!r:.200} is no regular expression: {error}. Correct it.") from error
    return lambda line, left: compiled.search(line, timeout=left, concurrent=True) is not None


def _tell(found: _Found) -> str:
    read = f"{found.files} files were read" + (f", {found.skipped} were no text or too large" if found.skipped else "")
    if found.stopped is not None:
        end = f"The search stopped because {found.stopped}; {read}. Narrow it with path, files or a longer pattern."
    else:
        end = f"{len(found.lines)} lines found; {read}."
    return "\n".join([*found.lines, end])
