"""Reading a page of a file, and replacing an exact piece of one: pure functions over bytes.

Neighbours: `files` reads and writes the bytes; `toolbox` words the outcome.
"""

from __future__ import annotations

from typing import Final, final

__all__ = ["EditRefused", "page_of", "replaced"]

PAGE_BYTES_MAX: Final = 48 * 1024
"""The most that one page of a file holds."""


@final
class EditRefused(Exception):
    """A piece cannot be replaced; the message says why and what to do."""


def page_of(path: str, data: bytes, from_line: int, lines: int) -> str:
    """Give a page of a text with a line above that says what it is and how to go on.

    Raises:
        EditRefused: it is no text, or it ends before that line.
    """
    if b"\0" in data:
        raise EditRefused(f"{path} is no text ({len(data)} bytes). Look at it with a command.")
    every = data.split(b"\n")
    if not every[-1]:
        every.pop()
    if not every:
        return f"{path} is empty"
    if from_line > len(every):
        raise EditRefused(f"{path} has {len(every)} lines. Read from an earlier one.")
    taken, cut = _taken(every[from_line - 1 : from_line - 1 + lines])
    last = from_line - 1 + len(taken)
    text = b"\n".join(taken).decode(errors="replace")
    notes = [
        *([f"of its {cut} bytes the first {PAGE_BYTES_MAX} are shown"] if cut else []),
        *(["what is not UTF-8 is shown as \ufffd"] if "\ufffd" in text else []),
        *(["its lines end with CR LF"] if b"\r\n" in data else []),
        *([f"go on with from_line={last + 1}"] if last < len(every) else []),
    ]
    head = f"{path}: lines {from_line} to {last} of {len(every)}"
    return "\n".join([f"{head} ({'; '.join(notes)})" if notes else head, text])


def _taken(lines: list[bytes]) -> tuple[list[bytes], int]:
    """Give the lines that fit on a page; one that is longer than a page is cut, and its length given."""
    taken: list[bytes] = []
    size = 0
    for line in lines:
        size += len(line) + 1
        if size > PAGE_BYTES_MAX:
            return (taken, 0) if taken else ([line[:PAGE_BYTES_MAX]], len(line))
        taken.append(line)
    return taken, 0


def replaced(path: str, data: bytes, old: str, new: str, *, every: bool, again: bool) -> tuple[bytes, int]:
    """Replace an exact piece; give the whole text and how many were replaced, 0 where that had been done before.

    Args:
        path: for what is said.
        data: the whole file.
        old: the piece, which must occur once unless `every`.
        new: what takes its place.
        every: replace each occurrence.
        again: this may have been done before, and its outcome was lost.

    Raises:
        EditRefused: it does not occur, or more than once.
    """
    had, has = old.encode(), new.encode()
    if had == has:
        raise EditRefused("old and new are the same. Nothing was changed.")
    count = data.count(had)
    if not count and b"\r\n" in data and b"\r" not in had:
        # A model does not see how lines end; the file keeps what it has.
        had, has = had.replace(b"\n", b"\r\n"), has.replace(b"\n", b"\r\n")
        count = data.count(had)
    # Where the new holds the old, what was done before would be done on top of itself.
    done = (
        bool(has)
        and has in data
        and (not count or (again and had in has and count == data.count(has) * has.count(had)))
    )
    if done:
        return data, 0
    if not count:
        raise EditRefused(f"{path} does not hold that text: {_near(data, old)}. Nothing was changed.")
    if count > 1 and not every:
        raise EditRefused(
            f"{path} holds that text {count} times. Give more of what is around the one that you mean, or set all."
        )
    return data.replace(had, has), count


def _near(data: bytes, old: str) -> str:
    """Say where something like it is, because what is wrong is most often the whitespace."""
    lines = data.decode(errors="replace").split("\n")
    first = next((line.strip() for line in old.split("\n") if line.strip()), "")
    for number, line in enumerate(lines, 1):
        if first and first in line:
            return f"line {number} holds its first line, so the whitespace or what follows differs; read it again"
    return "read it again"
