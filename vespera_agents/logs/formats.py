"""How a log record is written down: as one JSON object on one line, or as a line for people.

Whatever a value holds, it can neither end a line nor steer a terminal nor fill a disk: JSON is ASCII, the console shows
what is not printable as escapes, and both cut what is long. A traceback is part of the object in JSON, and follows
the line on the console.
"""

from __future__ import annotations

import json
import logging
import re
import time
import traceback
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Final, cast, final

from vespera_agents.logs.correlation import correlation
from vespera_agents.logs.events import ERROR, FIELDS

if TYPE_CHECKING:
    from vespera_agents.logs.events import KeptError

__all__ = [
    "STRING_MAX",
    "ConsoleFormatter",
    "JsonFormatter",
    "LogFormat",
    "console_lines",
    "formatter_for",
    "json_line",
    "plain",
    "shown",
]

STRING_MAX: Final = 2_000
"""Characters of one value."""
ITEMS_MAX: Final = 64
"""Items of one list or mapping."""
TRACEBACK_LINES_MAX: Final = 120
"""Lines of a traceback: half of them from its beginning, half from its end."""
LINE_MAX: Final = 262_144
"""Characters of a line of JSON; one that would be longer keeps its words and its error, and loses its values."""
_DEPTH_MAX: Final = 4
_INTEGER_BITS_MAX: Final = 64
_BARE: Final = re.compile(r"[\w./:@+-]+", re.ASCII)
_BEARER: Final = re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{8,}")


class LogFormat(StrEnum):
    """How a server writes its log."""

    CONSOLE = "console"
    """Lines for people."""
    JSON = "json"
    """One JSON object on each line."""


@final
class JsonFormatter(logging.Formatter):
    """One object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record down, without the end of the line."""
        return json_line(_line_of(record))


@final
class ConsoleFormatter(logging.Formatter):
    """A line for people, with `name=value` after the words; a traceback follows it."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record down, without the end of the last line."""
        return "\n".join(console_lines(_line_of(record)))


def formatter_for(log_format: LogFormat) -> logging.Formatter:
    """Make what writes records down in a format."""
    return JsonFormatter() if log_format is LogFormat.JSON else ConsoleFormatter()


def console_lines(line: Mapping[str, object]) -> list[str]:
    """Write down for people what is, or was read from, a line of JSON."""
    at, level, logger, event = (str(line.get(name, "")) for name in ("at", "level", "logger", "event"))
    head = _printable(f"{at} {level.upper()} {logger}: {event}")
    values = "".join(f" {_printable(name)}={shown(value)}" for name, value in line.items() if name not in _OWN)
    error = line.get("error")
    told = cast("Mapping[str, object]", error).get("traceback") if isinstance(error, Mapping) else None
    lines = cast("list[object]", told) if isinstance(told, list) else []
    return [head + values, *(_printable(str(each)) for each in lines)]


def moment(at: float) -> str:
    """Write a time of day down, in UTC, to the millisecond."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at))}.{int(at % 1 * 1000):03d}Z"


def json_line(line: Mapping[str, object]) -> str:
    """Write an object down on one line of ASCII."""
    return json.dumps(line, separators=(",", ":"), allow_nan=False)


def plain(value: object, depth: int = 0) -> object:
    """Make a value one that JSON can say, and that has a bounded length."""
    if value is None or isinstance(value, bool | int | float):
        return _number(value)
    if depth < _DEPTH_MAX and isinstance(value, Mapping):
        pairs = list(cast("Mapping[object, object]", value).items())[:ITEMS_MAX]
        return {_cut(_said(name)): plain(each, depth + 1) for name, each in pairs}
    if depth < _DEPTH_MAX and isinstance(value, list | tuple):
        return [plain(each, depth + 1) for each in cast("Iterable[object]", value[:ITEMS_MAX])]
    return _cut(_said(value))


def _number(value: float | None) -> object:
    if isinstance(value, float):
        return value if abs(value) < float("inf") else str(value)
    if isinstance(value, int) and value.bit_length() > _INTEGER_BITS_MAX:
        return f"an integer of {value.bit_length()} bits"
    return value


_OWN: Final = frozenset({"at", "level", "logger", "event", "error"})
"""What every line has; a field of that name would hide it."""


def _line_of(record: logging.LogRecord) -> dict[str, object]:
    fields = cast("Mapping[str, object]", getattr(record, FIELDS, {}))
    line: dict[str, object] = {
        "at": moment(record.created),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": _cut(record.getMessage()),
    }
    for name, value in {**correlation().fields(), **fields}.items():
        line.setdefault(name, plain(value))
    error = _error(record)
    if error is not None:
        line["error"] = {"type": error[0], "message": _cut(error[1]), "traceback": error[2]}
    if len(json_line(line)) > LINE_MAX:
        return {name: value for name, value in line.items() if name in _OWN} | {"left_out": sorted(line.keys() - _OWN)}
    return line


def _cut(text: str) -> str:
    if len(text) > STRING_MAX:
        text = f"{text[:STRING_MAX]}... ({len(text)} characters)"
    return _BEARER.sub(r"\1[hidden]", text)


def _said(value: object) -> str:
    try:
        return str(value)
    except Exception as mistake:  # noqa: BLE001 - its own __str__ runs here, and may be what is broken.
        return f"({type(value).__name__}, whose text cannot be told: {type(mistake).__name__})"


def _error(record: logging.LogRecord) -> tuple[str, str, list[str]] | None:
    """Give an error's class, words and traceback, if the record is about one."""
    kept = cast("KeptError | None", getattr(record, ERROR, None))
    if kept is not None:
        return kept.type_name, kept.message, _shortened(kept.formatted().rstrip("\n").split("\n"))
    if not record.exc_info or record.exc_info[1] is None:
        return None
    error = record.exc_info[1]
    lines = [line for part in traceback.format_exception(error) for line in part.rstrip("\n").split("\n")]
    return type(error).__qualname__, _said(error), _shortened(lines)


def _shortened(lines: list[str]) -> list[str]:
    """Leave the middle of a traceback out where it is long."""
    if len(lines) > TRACEBACK_LINES_MAX:
        half = TRACEBACK_LINES_MAX // 2
        lines = [*lines[:half], f"  ... {len(lines) - 2 * half} lines ...", *lines[-half:]]
    return [_cut(line) for line in lines]


def shown(value: object) -> str:
    """Write a value down for people: bare where nobody could mistake it."""
    if isinstance(value, str):
        return value if _BARE.fullmatch(value) else _printable(json.dumps(value, ensure_ascii=False))
    return _printable(json.dumps(value, ensure_ascii=False))


def _printable(text: str) -> str:
    """Show what is not printable as an escape: it must neither end a line nor steer a terminal."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
