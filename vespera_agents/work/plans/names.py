"""Names: plain text out of inline Markdown, keys out of titles, and the spelling by which names are compared."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

__all__ = ["KEY_MAX", "canonical", "humanise", "is_identifier", "plain", "shorten", "slug", "unique_key"]

KEY_MAX: Final = 120
"""Characters in a key that is made here."""

_LINK = re.compile(r"\[([^\[\]]{1,500})\]\([^()\s]{0,1000}\)")
_NOT_KEY = re.compile(r"[^\w.]+")
_NOT_WORD = re.compile(r"[\W_]+")
_IDENTIFIER = re.compile(r"[A-Za-z0-9][\w.\-]*$")


def plain(text: str) -> str:
    """Take emphasis, code marks and link targets off a piece of inline Markdown."""
    if "](" in text:
        text = _LINK.sub(r"\1", text)
    text = " ".join(text.replace("**", "").replace("`", "").split())
    if len(text) > 1 and text[0] == text[-1] and text[0] in "*_":
        text = text[1:-1].strip()
    return text


def canonical(text: str) -> str:
    """Give the spelling by which two names are compared: lower-case words."""
    return _NOT_WORD.sub(" ", text.lower()).strip()


def slug(text: str) -> str:
    """Make a key of a title; a text that is a key already stays as it is, in lower case."""
    return _NOT_KEY.sub("-", text.lower().replace("-", " ")).strip("-.")[:KEY_MAX].strip("-.")


def is_identifier(text: str) -> bool:
    """Whether a text is one word such as `release_notes` or `TEST-1`."""
    return len(text) <= KEY_MAX and _IDENTIFIER.match(text) is not None


def humanise(identifier: str) -> str:
    """Make a title of an identifier."""
    return " ".join(word[:1].upper() + word[1:] for word in canonical(identifier).split())


def shorten(text: str, limit: int) -> str:
    """Cut a text at a limit, with an ellipsis where it was cut."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def unique_key(wanted: str, taken: Collection[str]) -> str:
    """Give the wanted key, with a number behind it when it is taken."""
    if wanted not in taken:
        return wanted
    number = 2
    while f"{wanted}-{number}" in taken:
        number += 1
    return f"{wanted}-{number}"
