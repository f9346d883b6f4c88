"""The entries of a server's log, line by line: which are wanted, and how a structured one is shown to people. Pure.

An entry is a line of JSON, a line of the console format with the traceback that follows it, an event of the front, or
what a process has printed by itself. Neighbours: `logs` reads the files, `crashes` finds the deaths.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Final, cast, final

from vespera_agents.cli.crashes import event_level
from vespera_agents.logs.formats import LINE_MAX, console_lines, shown
from vespera_agents.serving.wishes import LOG_LEVELS
from vespera_agents.work.errors import InvalidInput
from vespera_agents.work.plain import printable

__all__ = ["LINE_CHARACTERS_MAX", "Sieve", "harmless", "wanted_values"]

LINE_CHARACTERS_MAX: Final = 2_000
"""Characters of a line that are shown."""
_LEVELS: Final = {"critical": len(LOG_LEVELS), **{level: place for place, level in enumerate(LOG_LEVELS)}}
_HEAD: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?:front: (?P<event>.*)|(?P<level>[A-Z]+) (?P<logger>\S+): .*)"
)


@final
class Sieve:
    """Takes lines in their order and gives those to show."""

    def __init__(self, level: str = LOG_LEVELS[0], where: Mapping[str, str] | None = None) -> None:
        """Say what is wanted.

        Args:
            level: entries of this level and above; what a process printed by itself has that of the entry before it.
            where: values that an entry has, by name; that of something inside is named with dots.
        """
        self._level = _LEVELS[level]
        self._where = dict(where or {})
        self._wanted = not self._where

    def take(self, raw: bytes) -> list[str]:
        """Give what is shown of the next line: nothing, or the lines of one entry."""
        line = _structured(raw)
        if line is not None:
            self._wanted = self._is_wanted(str(line.get("level")), lambda name, value: _has(line, name, value))
            return [_shortened(each) for each in console_lines(line)] if self._wanted else []
        text = harmless(raw)
        head = _HEAD.fullmatch(text)
        if head is not None:
            level = head["level"].lower() if head["event"] is None else event_level(head["event"])
            self._wanted = self._is_wanted(level, lambda name, value: _says(text, head["logger"], name, value))
        return [text] if self._wanted else []

    def _is_wanted(self, level: str, has: Callable[[str, str], bool]) -> bool:
        grave = _LEVELS.get(level, _LEVELS["info"]) >= self._level
        return grave and all(has(name, value) for name, value in self._where.items())


def wanted_values(pairs: tuple[str, ...]) -> dict[str, str]:
    """Read KEY=VALUE words.

    Raises:
        InvalidInput: one is none.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise InvalidInput(f"{pair!r} is no KEY=VALUE", "Write for example --where session=session_0123456789ab.")
        found[name] = value
    return found


def harmless(line: bytes) -> str:
    """Make a line of a log one that shows what it can and steers nothing."""
    # Ten times as much as is shown: what is taken out of it may be most of it.
    text = printable(line[: 10 * LINE_CHARACTERS_MAX].decode(errors="replace"))
    if len(line) <= LINE_CHARACTERS_MAX:
        return text
    return f"{text[:LINE_CHARACTERS_MAX]} [... of {len(line)} bytes]"


def _structured(raw: bytes) -> Mapping[str, object] | None:
    """Read a line of JSON that a process of ours wrote; None if it is none."""
    if not raw.startswith(b"{") or len(raw) > LINE_MAX:
        return None
    try:
        line = cast("object", json.loads(raw))
    except ValueError:
        return None
    if not isinstance(line, dict):
        return None
    found = cast("Mapping[str, object]", line)
    return found if {"at", "level", "logger", "event"} <= found.keys() else None


def _has(line: Mapping[str, object], name: str, value: str) -> bool:
    within, _, rest = name.partition(".")
    found = line.get(within)
    if rest:
        return isinstance(found, dict) and _has(cast("Mapping[str, object]", found), rest, value)
    return found is not None and str(found) == value


def _says(text: str, logger: str | None, name: str, value: str) -> bool:
    """Say whether a line for people has a value; other lines may only mention it."""
    return logger == value if name == "logger" else f" {name}={shown(value)} " in f"{text} "


def _shortened(text: str) -> str:
    if len(text) <= LINE_CHARACTERS_MAX:
        return text
    return f"{text[:LINE_CHARACTERS_MAX]} [... of {len(text)} characters]"
