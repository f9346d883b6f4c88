"""Lists in pages: opaque cursors, and slices of what is there as a whole.

A cursor says which list it goes on with, and after what; one that was not given out for this list is refused. Pure.
Neighbours: `reading` and `resources` cut their lists with it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Final, TypeVar, cast

from vespera_agents.work.errors import InvalidInput

__all__ = ["PAGE_ENTRIES", "cursor_of", "page_of", "place_of"]

PAGE_ENTRIES: Final = 100
"""Entries on one page of a list."""
_CURSOR_MAX: Final = 400
_NUMBER_MAX: Final = 1 << 62

Entry = TypeVar("Entry")
Place = tuple[str, int | str]
"""Where a page begins: a part of the list, and its last entry that was given out."""


def cursor_of(kind: str, part: str, last: int | str) -> str:
    """Write down where the next page of a list begins."""
    return base64.urlsafe_b64encode(json.dumps([kind, part, last]).encode()).decode()


def place_of(kind: str, cursor: str | None) -> Place | None:
    """Read where a page of a list begins, None for the first one.

    Raises:
        InvalidInput: the cursor was not given out for this list.
    """
    if cursor is None:
        return None
    try:
        # Anything may come here, also what is no JSON of ours.
        found = cast("object", json.loads(base64.b64decode(cursor[:_CURSOR_MAX].encode(), b"-_", validate=True)))
    except (ValueError, binascii.Error, RecursionError):
        found = None
    match found:
        case [str() as written, str() as part, str() | int() as last] if written == kind:
            if isinstance(last, str) or 0 <= last <= _NUMBER_MAX:
                return part, last
        case _:
            pass
    raise InvalidInput(
        f"the cursor {cursor[:80]!r} was not given out for this list", "Leave it out to begin at the first page."
    )


def page_of(kind: str, entries: Sequence[Entry], cursor: str | None, size: int) -> tuple[Sequence[Entry], str | None]:
    """Cut a page out of a list that does not change while the server runs.

    Args:
        kind: the name of the list.
        entries: all of it.
        cursor: the one that came with the page before.
        size: entries on the page.

    Returns:
        the page, and the cursor of the next one, None at the end.

    Raises:
        InvalidInput: the cursor was not given out for this list.
    """
    place = place_of(kind, cursor)
    if place is None:
        begin = 0
    else:
        part, last = place
        if part or not isinstance(last, int) or not 0 < last < len(entries):
            raise InvalidInput(
                f"the cursor {cursor!r:.80} leads beyond the list", "Leave it out to begin at the first page."
            )
        begin = last
    end = begin + size
    return entries[begin:end], cursor_of(kind, "", end) if end < len(entries) else None
