"""The difference of two directories as a patch that `git apply` takes, where there is no git to ask.

Pure apart from reading. Text is compared by lines where that is quick, and else replaced as a whole; bytes that are no
text go as git's binary literals. Neighbours: `plain` has the two directories.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import os
import stat
import string
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from vespera_agents.capabilities.working_copies.places import PART_PREFIX

__all__ = ["Entry", "difference", "paths_below", "read_entry"]

LINES_MAX: Final = 4_000
"""Lines of a file that are compared; comparing takes the square of it at worst."""
_CONTEXT_LINES: Final = 3
_LITERAL_BYTES: Final = 52
"""Of packed data in a line of a literal."""
_LETTERS: Final = 26
_PLAIN: Final = frozenset(string.ascii_letters + string.digits + string.punctuation + " ") - frozenset('"\\')
"""What a path may hold without being quoted."""
_REGULAR: Final = 0o100644
_PROGRAM: Final = 0o100755
_LINK: Final = 0o120000

Entry = tuple[int, bytes]
"""A file's mode as git has it, and what it holds; of a link where it points to."""


def paths_below(top: Path, left_out: frozenset[str]) -> Iterator[str]:
    """Give the paths of all files and links below a directory, in order, without those named so."""
    folders = [top]
    while folders:
        folder = folders.pop()
        below: list[Path] = []
        with os.scandir(folder) as found:
            for entry in sorted(found, key=lambda one: one.name):
                if entry.name in left_out or entry.name.startswith(PART_PREFIX):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    below.append(folder / entry.name)
                elif entry.is_symlink() or entry.is_file(follow_symlinks=False):
                    yield str((folder / entry.name).relative_to(top))
        folders.extend(reversed(below))


def read_entry(path: Path) -> Entry | None:
    """Read one file or link; None where there is none."""
    try:
        if path.is_symlink():
            return _LINK, os.fsencode(path.readlink())
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        return (_PROGRAM if mode & stat.S_IXUSR else _REGULAR), file.read()


def difference(path: str, before: Entry | None, after: Entry | None) -> bytes:
    """Give the patch of one file, empty where nothing has changed."""
    if before == after:
        return b""
    if before is not None and after is not None and (before[0] == _LINK) != (after[0] == _LINK):
        return difference(path, before, None) + difference(path, None, after)
    old, new = _quoted("a/" + path), _quoted("b/" + path)
    lines = [b"diff --git " + old + b" " + new]
    if before is None and after is not None:
        lines.append(b"new file mode %o" % after[0])
    elif after is None and before is not None:
        lines.append(b"deleted file mode %o" % before[0])
    elif before is not None and after is not None and before[0] != after[0]:
        lines += [b"old mode %o" % before[0], b"new mode %o" % after[0]]
    had, has = (entry[1] if entry is not None else b"" for entry in (before, after))
    if had == has:
        # Empty files, and those of which only the mode has changed.
        names = (_object(before), _object(after))
        return b"\n".join([*lines, *([b"index %s..%s" % names] if before is None or after is None else [])]) + b"\n"
    lines.append(b"index %s..%s" % (_object(before), _object(after)))
    if b"\0" in had or b"\0" in has:
        body = b"GIT binary patch\n" + _literal(has) + b"\n" + _literal(had) + b"\n"
        return b"\n".join(lines) + b"\n" + body
    # A name with a blank is ended by a tab, as git does it.
    end = b"\t" if " " in path else b""
    lines.append(b"--- " + (old + end if before is not None else b"/dev/null"))
    lines.append(b"+++ " + (new + end if after is not None else b"/dev/null"))
    return b"\n".join(lines) + b"\n" + b"".join(_hunks(_lines(had), _lines(has)))


def _hunks(had: Sequence[bytes], has: Sequence[bytes]) -> Iterator[bytes]:
    if len(had) > LINES_MAX or len(has) > LINES_MAX:
        groups = [[("replace", 0, len(had), 0, len(has))]]
    else:
        groups = difflib.SequenceMatcher(None, had, has, autojunk=False).get_grouped_opcodes(_CONTEXT_LINES)
    for group in groups:
        _, first, _, beginning, _ = group[0]
        _, _, last, _, end = group[-1]
        yield b"@@ -%s +%s @@\n" % (_range(first, last), _range(beginning, end))
        for what, i, j, k, m in group:
            if what == "equal":
                yield from (_line(b" ", line) for line in had[i:j])
                continue
            yield from (_line(b"-", line) for line in had[i:j])
            yield from (_line(b"+", line) for line in has[k:m])


def _lines(text: bytes) -> list[bytes]:
    """Split at line feeds only: Python would also split at carriage returns, which belong to a line."""
    *lines, rest = text.split(b"\n")
    return [line + b"\n" for line in lines] + ([rest] if rest else [])


def _range(first: int, last: int) -> bytes:
    number = last - first
    # An empty range names the line before it.
    return b"%d,%d" % (first + 1 if number else first, number)


def _line(mark: bytes, line: bytes) -> bytes:
    return mark + line if line.endswith(b"\n") else mark + line + b"\n\\ No newline at end of file\n"


def _literal(data: bytes) -> bytes:
    packed = zlib.compress(data)
    lines = [b"literal %d" % len(data)]
    for start in range(0, len(packed), _LITERAL_BYTES):
        piece = packed[start : start + _LITERAL_BYTES]
        # How many bytes a line holds, as A to Z and a to z.
        number = len(piece)
        mark = number + (ord("A") - 1 if number <= _LETTERS else ord("a") - 1 - _LETTERS)
        lines.append(bytes([mark]) + base64.b85encode(piece, pad=True))
    return b"\n".join(lines) + b"\n"


def _object(entry: Entry | None) -> bytes:
    """Name an entry as git would."""
    if entry is None:
        return b"0" * 40
    return hashlib.sha1(b"blob %d\0" % len(entry[1]) + entry[1], usedforsecurity=False).hexdigest().encode()


def _quoted(path: str) -> bytes:
    """Write a path as git does: quoted as in C where it holds what a line cannot."""
    data = os.fsencode(path)
    if all(_plain(byte) for byte in data):
        return data
    return b'"' + b"".join(bytes([byte]) if _plain(byte) else b"\\%03o" % byte for byte in data) + b'"'


def _plain(byte: int) -> bool:
    return chr(byte) in _PLAIN
