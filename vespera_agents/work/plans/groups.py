"""Execution groups: a title such as `Group A (Weeks 1-2): Core Features (01-06)` and the shell block below it.

Numbers in the title say who belongs to it, else the numbers and files in the commands; the commands say how it runs.
Neighbours: `texts` finds the titles, `links` turns names into keys.
"""

from __future__ import annotations

import re
from typing import Final

from vespera_agents.work.plans.building import OpenGroup
from vespera_agents.work.plans.names import plain
from vespera_agents.work.plans.titles import split_tags

__all__ = ["group_title", "member_names"]

_GROUP: Final = re.compile(
    r"(?P<lead>(?:(?:parallel|sequential|execution|concurrent)\s+){0,2})(?P<word>group|batch|track)\s+"
    r"#?(?P<name>[A-Za-z]|\d{1,3}|[A-Z][\w-]{1,30})(?!\w)\s*(?P<rest>.*)$",
    re.IGNORECASE | re.DOTALL,
)
_SCHEDULE: Final = re.compile(r"\(([^()]*\b(?:week|day|month|sprint|hour)[^()]*)\)\s*:?\s*", re.IGNORECASE)
_RANGE: Final = re.compile(r"(?<![\w.-])#?(\d{1,3})\s*(?:-|\u2013|\.\.|to)\s*#?(\d{1,3})(?![\w.])(?!-\w)")
_FILE: Final = re.compile(r"[^\s/]{1,200}\.(?:md|ya?ml|json5?)\b")
_LOOP_WORDS: Final = re.compile(r"for\s+\w+\s+in\s+([^;]{1,2000}?)\s*(?:;|\bdo\b|$)")
_BRACES: Final = re.compile(r"\{(\d{1,3})\.\.(\d{1,3})\}")
_WIDTH_MAX: Final = 200


def group_title(text: str, line: int) -> OpenGroup | None:
    """Read a line as the title of an execution group."""
    match = _GROUP.match(plain(text)[:1_000])
    if match is None:
        return None
    rest = match["rest"].strip()
    schedule = _SCHEDULE.search(rest)
    if schedule is not None:
        rest = f"{rest[: schedule.start()]} {rest[schedule.end() :]}"
    elif rest and rest[0] not in ":-\u2013\u2014(":
        return None
    rest = rest.strip().lstrip(":-\u2013\u2014 ").strip()
    title, _, status = split_tags(rest)
    name = f"{match['lead']}{match['word']} {match['name']}"
    return OpenGroup(
        line,
        name,
        rest if status is None else title,
        schedule[1] if schedule is not None else None,
        members_text=rest,
        parallel_words=f"{match['lead']} {rest}",
    )


def member_names(group: OpenGroup) -> list[str]:
    """Give the names of a group's members as they were written: numbers, files, keys."""
    text = group.members_text
    bracketed = [part for piece in text.split("(")[1:] for part in piece.split(")")[0].split(",")]
    numbers = _expand(",".join(bracketed)) or _ranges(text)[0] or (_expand(text) if text[:1].isdigit() else [])
    if numbers:
        return numbers
    listed = [part.strip() for part in (bracketed or text.split(","))]
    return _from_commands(group.commands) or [part for part in listed if part]


def _from_commands(commands: list[str]) -> list[str]:
    found: list[str] = []
    for command in commands:
        loop = _LOOP_WORDS.match(command)
        if loop is not None:
            found.extend(_expand(_BRACES.sub(r"\1-\2", loop[1])) or loop[1].split())
        else:
            found.extend(file[0] for file in _FILE.finditer(command[:4_000]))
    return found


def _expand(text: str) -> list[str]:
    """Expand `01-03, 7` into `1 2 3 7`; nothing when the text has no numbers standing for themselves."""
    found, rest = _ranges(text)
    for word in re.split(r"[\s,;()&]+", rest):
        bare = word.lstrip("#")
        if bare.isdecimal() and len(bare) <= 3:  # noqa: PLR2004 - item numbers have at most three digits
            found.append(str(int(bare)))
    return found


def _ranges(text: str) -> tuple[list[str], str]:
    """Expand `01-03`; give the numbers, and the text without them."""
    found: list[str] = []
    rest = text
    for pair in _RANGE.finditer(text):
        first, last = int(pair[1]), int(pair[2])
        if first <= last <= first + _WIDTH_MAX:
            found.extend(str(number) for number in range(first, last + 1))
            rest = rest.replace(pair[0], " ")
    return found, rest
