"""Texts that are one, and that cannot steer a terminal: of escape sequences only the visible rest stays.

Output of commands, titles of plans and what clients write come from anywhere. Pure. Neighbours: the documents that
`specialists` writes for people, every command that prints, and the requests that `serving` answers.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["is_text", "printable"]

_ESCAPES: Final = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC: titles and links
    r"|\x1b[PX^_].*?(?:\x1b\\|$)"  # DCS and its kin
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters but tab and newline, and those that turn the direction of writing."""
_HALVES: Final = re.compile("[\ud800-\udfff]")


def is_text(value: str) -> bool:
    """Say whether it is text: JSON can say half a surrogate pair, which no file, database or answer takes."""
    return _HALVES.search(value) is None


def printable(text: str) -> str:
    """Take out everything that would steer a terminal; newlines and tabs stay."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n")))
