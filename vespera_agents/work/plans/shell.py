"""Shell text, read and never run: its commands, and whether they run side by side or one after the other."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Final, Literal

__all__ = ["SHELLS", "commands_of", "mode_of"]

SHELLS: Final = frozenset({"bash", "sh", "shell", "zsh", "console"})
"""Languages of a fence that holds commands."""

_LOOP: Final = re.compile(r"(?:for|while|until)\s.*\bdo\b|(?:for|while|until)\s", re.DOTALL)
_BACKGROUND: Final = re.compile(r"(?<![&>|\\])&(?:\s*+(?:$|;|done\b)|(?<=\s&)\s)")
_SIDE_BY_SIDE: Final = re.compile(r"\bparallel\b|\bconcurrent|\bxargs\b.*\s-P|simultaneous", re.IGNORECASE)
_LOOK_MAX: Final = 4_000
"""Characters of a command that are looked into; a loop may be as long as its document."""
_OPENING: Final = frozenset({"for", "while", "until", "if", "case"})
_CLOSING: Final = frozenset({"done", "fi", "esac"})
_GOES_ON: Final = ("do", "then", ";", "&", "in", "else", "{", "|")
_IN_ORDER: Final = re.compile(r"\bsequen|\bone after (?:the other|another)\b|\bin order\b|\bserial", re.IGNORECASE)


def commands_of(lines: Iterable[tuple[int, str]]) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """Split shell lines into commands and comments; continued lines and loops become one command each.

    Args:
        lines: line numbers and texts.

    Returns:
        Commands and comments, each with the number of its first line.
    """
    commands: list[tuple[int, str]] = []
    comments: list[tuple[int, str]] = []
    pending: list[str] = []
    started = depth = 0
    for number, line in lines:
        text = line.strip()
        if not text:
            continue
        if text.startswith("#") and not pending:
            comments.append((number, text.lstrip("#! ").strip()))
            continue
        if not pending:
            started = number
        pending.append(text.removeprefix("$ ").removesuffix("\\").rstrip())
        words = text.replace(";", " ").split()
        depth += int(bool(words) and words[0] in _OPENING) - any(word in _CLOSING for word in {*words[:1], *words[-1:]})
        if depth <= 0 and not text.endswith("\\"):
            depth = 0
            commands.append((started, _join(pending)))
            pending = []
    if pending:
        commands.append((started, _join(pending)))
    return commands, comments


def mode_of(commands: Iterable[str], words: str) -> Literal["parallel", "sequential"]:
    """Say how a group runs: by its commands first, then by the words around it.

    Args:
        commands: what the group's shell block would run.
        words: its title, comments and headings.
    """
    said = [
        command if len(command) <= _LOOK_MAX else command[:_LOOK_MAX] + command[-_LOOK_MAX:] for command in commands
    ]
    if any(_BACKGROUND.search(command) for command in said):
        return "parallel"
    if any(_LOOP.match(command) for command in said):
        return "sequential"
    if any(_SIDE_BY_SIDE.search(command) for command in said):
        return "parallel"
    in_order, side_by_side = _IN_ORDER.search(words), _SIDE_BY_SIDE.search(words)
    if in_order is not None and (side_by_side is None or in_order.start() < side_by_side.start()):
        return "sequential"
    if side_by_side is not None:
        return "parallel"
    return "sequential" if len(said) > 1 else "parallel"


def _join(parts: list[str]) -> str:
    """Put the lines of one command on one line, as a shell would read them."""
    block = parts[0].split(maxsplit=1)[:1] and parts[0].split(maxsplit=1)[0] in _OPENING
    joined = [parts[0]]
    for before, part in pairwise(parts):
        joined += [" " if not block or before.endswith(_GOES_ON) else "; ", part]
    return "".join(joined)
