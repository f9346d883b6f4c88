"""Cursors: where the next page of a list begins, opaque to the client that carries it from one call to the next. Pure.

A cursor says which list it goes on with, and after what; one that was not given out for this list is refused.
Neighbours: whoever gives out a list in pages.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Final, cast

from vespera_agents.work.errors import InvalidInput

__all__ = ["cursor_of", "place_of", "unknown_cursor"]

_CURSOR_MAX: Final = 2_000
_NUMBER_MAX: Final = 1 << 62
"""Sure to fit SQLite's integers."""

Place = list[str | float]


def cursor_of(kind: str, *place: str | float) -> str:
    """Write down where the next page of a kind of list begins."""
    return base64.urlsafe_b64encode(json.dumps([kind, *place]).encode()).decode()


def place_of(kind: str, cursor: str) -> Place:
    """Read where a page begins: texts and numbers, which may be others than were given out.

    Raises:
        InvalidInput: the cursor was not given out for this kind of list.
    """
    try:
        # Anything may come here, also what is no JSON of ours.
        found = cast("object", json.loads(base64.b64decode(cursor[:_CURSOR_MAX].encode(), b"-_", validate=True)))
    except (ValueError, binascii.Error, RecursionError):
        found = None
    entries = cast("list[object]", found) if isinstance(found, list) else []
    if not entries or entries[0] != kind or not all(map(_is_place, entries)):
        raise unknown_cursor(cursor)
    return cast("Place", entries[1:])


def unknown_cursor(cursor: str) -> InvalidInput:
    """Say that a cursor leads nowhere."""
    return InvalidInput(
        f"the cursor {cursor[:80]!r} was not given out for this list", "Leave it out to begin at the first page."
    )


def _is_place(value: object) -> bool:
    if isinstance(value, str):
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and -_NUMBER_MAX <= value <= _NUMBER_MAX
