"""Pages of lists that do not change while the server runs. Pure.

Neighbours: `reading` cuts its lists with it, `resources` has a list of its own that does change; `work.cursors` writes
where a page begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

from vespera_agents.work.cursors import cursor_of, place_of, unknown_cursor

__all__ = ["PAGE_ENTRIES", "page_of"]

PAGE_ENTRIES: Final = 100
"""Entries on one page of a list."""

Entry = TypeVar("Entry")


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
    begin = 0
    if cursor is not None:
        match place_of(kind, cursor):
            case [int() as begin] if 0 < begin < len(entries):
                pass
            case _:
                raise unknown_cursor(cursor)
    end = begin + size
    return entries[begin:end], cursor_of(kind, end) if end < len(entries) else None
