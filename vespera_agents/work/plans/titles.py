"""What a heading or a bullet says beside its title: number, schedule, status tag, file, effort, specialist.

Pure text in, small records out. Neighbours: `structure` asks about headings, `bullets` about list lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, final

from vespera_agents.work.plans.names import canonical, plain

__all__ = [
    "PHASE_REFERENCE",
    "FileName",
    "ItemTitle",
    "PhaseTitle",
    "file_name",
    "is_done",
    "item_title",
    "parse_phase",
    "phase_numbers",
    "split_tags",
]

_NUMBER_WORDS: Final = (
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
_ROMAN: Final = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii")
_STATUS: Final = frozenset(
    {
        "in progress",
        "completed",
        "complete",
        "done",
        "finished",
        "pending",
        "blocked",
        "not started",
        "todo",
        "to do",
        "planned",
        "active",
        "ready",
        "draft",
        "deferred",
        "cancelled",
        "canceled",
        "failed",
        "skipped",
        "needs validation",
        "wip",
        "on hold",
        "open",
        "closed",
        "ongoing",
        "current",
        "next",
        "queued",
        "under review",
        "review",
        "approved",
        "started",
        "partial",
        "partially complete",
    }
)
_DONE: Final = frozenset({"completed", "complete", "done", "finished", "closed"})
_MARKS: Final = {
    "✅": "COMPLETED",
    "☑": "COMPLETED",
    "✔": "COMPLETED",
    "🔄": "IN PROGRESS",
    "🚧": "IN PROGRESS",
    "⏳": "PENDING",
    "❌": "FAILED",
}
_WHEN = re.compile(
    r"\b(?:weeks?|days?|months?|hours?|hrs?|minutes?|mins?|sprints?|quarters?|q[1-4]|\d{4}-\d{2})\b|\b\d+\s?[hdwm]\b",
    re.IGNORECASE,
)
_PHASE = re.compile(
    r"(?:\d{1,3}(?:\.\d{1,3})*[.)]?\s+)?(?P<word>[A-Za-z]+)\s+(?:#\s?)?"
    rf"(?P<number>\d{{1,3}}|[ivx]{{1,4}}|[a-z]|{'|'.join(_NUMBER_WORDS)})(?![\w.]\w)(?!\w)\s*(?P<rest>.*)$",
    re.IGNORECASE | re.DOTALL,
)
PHASE_REFERENCE: Final = re.compile(r"\bphases?\s+(\d{1,3}(?:\s*(?:-|\u2013|to|,|and|&)\s*\d{1,3})*)", re.IGNORECASE)
_PAIR = re.compile(r"(\d{1,3})(?:\s*(?:-|\u2013|to)\s*(\d{1,3}))?", re.IGNORECASE)
_TASK_WORD = re.compile(
    r"(?P<word>task|sub-?task|step|work item|item|phase)\s+#?(?P<number>\d{1,3}(?:\.\d{1,3})*|[A-Z]\d{0,3})\s*"
    r"(?:[:.)]|\s[-\u2013\u2014])\s*(?P<title>\S.*)$",
    re.IGNORECASE | re.DOTALL,
)
_NUMBERED = re.compile(r"(?P<number>\d{1,3}(?:\.\d{1,3})+|\d{1,3}(?=[.):]))[.):]?\s+(?P<title>\S.*)$", re.DOTALL)
_FILE = re.compile(
    r"(?:\d{1,3}[.)]\s+)?(?P<path>[^\s:,;]{1,300}?\.(?:md|markdown|ya?ml|json5?))(?![\w.])(?P<rest>.*)$", re.DOTALL
)
_FILE_LINK = re.compile(
    r"(?:\*\*)?\[(?P<label>[^\[\]]{1,300})\]\((?P<path>[^()\s]{1,300}\.(?:md|markdown|ya?ml|json5?))\)(?:\*\*)?"
    r"[ :\u2013\u2014-]*(?P<rest>.*)$",
    re.DOTALL,
)
_LEADING_NUMBER = re.compile(r"(\d{1,3}(?:\.\d{1,3})*)(?=[-_. \[])")
_FRONT = re.compile(r"[^\w\[(`]+")


@final
@dataclass(frozen=True, slots=True)
class PhaseTitle:
    """A heading such as `Phase 3: Documentation (Week 4) - DONE`."""

    word: str
    number: int
    title: str
    schedule: str | None
    status: str | None
    separated: bool
    """A colon, dash, bracket or the end follows the number; without one it may be a sentence."""


@final
@dataclass(frozen=True, slots=True)
class FileName:
    """A file that a title names, and what is said behind it."""

    path: str
    stem: str
    number: str | None
    rest: str


@final
@dataclass(frozen=True, slots=True)
class ItemTitle:
    """A heading that may be an item."""

    title: str
    number: str | None
    word: str | None
    """`task`, `step` and so on, when the heading says what it is."""
    file: FileName | None
    status: str | None
    effort: str | None


def parse_phase(text: str, words: frozenset[str]) -> PhaseTitle | None:
    """Read a heading as a phase, when its first word is one of `words` and a number follows."""
    text, lead_status = _leading_status(plain(text))
    match = _PHASE.match(text[:500])
    if match is None or match["word"].lower() not in words:
        return None
    rest = match["rest"]
    if re.match(r"[-\u2013]\s?\d|(?:to|and|&|through)\s", rest):
        return None
    separated = not rest or rest[0] in ":.)-\u2013\u2014([|,"
    title, schedule, status = split_tags(rest.lstrip(":.)-\u2013\u2014|, "))
    return PhaseTitle(
        match["word"].lower(), _number(match["number"]), title, schedule, status or lead_status, separated
    )


def phase_numbers(text: str) -> list[int]:
    """Give the phases that a text names: `Phase 1`, `phases 2-4`, `Phases 1 and 3`."""
    found: list[int] = []
    for reference in PHASE_REFERENCE.finditer(text):
        for pair in _PAIR.finditer(reference[1]):
            first, last = int(pair[1]), int(pair[2] or pair[1])
            found.extend(range(first, min(last, first + 100) + 1))
    return found


def item_title(text: str) -> ItemTitle:
    """Read a heading as an item: its number, its file, its tags."""
    cleaned, lead_status = _leading_status(plain(text))
    file = file_name(text) or file_name(cleaned)
    if file is not None:
        return ItemTitle(file.rest, file.number, None, file, lead_status, None)
    title, effort, status = split_tags(cleaned)
    word = number = None
    match = _TASK_WORD.match(title) or _NUMBERED.match(title)
    if match is not None and not (
        (match.groupdict().get("word") or "").lower() == "phase" and "." not in match["number"]
    ):
        word = match.groupdict().get("word")
        number, title = match["number"], match["title"]
    if title.lower().endswith("(orchestrator task)"):
        title = title[: title.rindex("(")].rstrip()
    return ItemTitle(title, number, word.lower() if word else None, None, status or lead_status, effort)


def file_name(text: str) -> FileName | None:
    """Read a text that starts with the name of a plan file, or with a link to one."""
    link = _FILE_LINK.match(text[:2_000])
    match = _FILE.match(f"{link['path']} {link['rest'] or link['label']}" if link else plain(text[:2_000]))
    if match is None:
        return None
    base = match["path"].rsplit("/", 1)[-1]
    stem = base[: base.rindex(".")]
    number = _LEADING_NUMBER.match(stem + " ")
    return FileName(
        match["path"], stem, number[1] if number else None, match["rest"].lstrip(" :-\u2013\u2014\t").strip()
    )


def split_tags(text: str) -> tuple[str, str | None, str | None]:
    """Take schedule and status off the end of a title; give title, schedule, status."""
    schedule = status = None
    text = text.strip()
    while text:
        mark = next((mark for mark in _MARKS if text.endswith((mark, mark + "\ufe0f"))), None)
        head, tag = _last_tag(text)
        if mark is None and _is_decoration(text[-1]):
            text = text[:-1].rstrip()
        elif mark is not None:
            status = status or _MARKS[mark]
            text = text.removesuffix("\ufe0f").removesuffix(mark).rstrip(" -\u2013\u2014")
        elif tag is not None and is_status(tag):
            status = status or tag
            text = head
        elif tag is not None and schedule is None and text.endswith(")") and _WHEN.search(tag):
            schedule = tag
            text = head
        else:
            break
    return text, schedule, status


def _is_decoration(character: str) -> bool:
    """Whether a character is a pictogram: beyond letters, digits and the punctuation of any title."""
    return character > "\u2190" and not character.isalnum()


def is_status(text: str) -> bool:
    """Whether a text is nothing but a status."""
    return canonical(text) in _STATUS


def is_done(status: str | None) -> bool:
    """Whether a status says that the work is finished."""
    return status is not None and canonical(status) in _DONE


def _last_tag(text: str) -> tuple[str, str | None]:
    """Split `title (tag)`, `title [TAG]` and `title - TAG`."""
    for opening, closing in (("(", ")"), ("[", "]")):
        if text.endswith(closing) and (at := text.rfind(opening)) >= 0:
            return text[:at].rstrip(" -\u2013\u2014:"), text[at + 1 : -1].strip()
    for dash in (" - ", " \u2013 ", " \u2014 "):
        if (at := text.rfind(dash)) >= 0:
            return text[:at].rstrip(), text[at + len(dash) :].strip()
    return text, None


def _leading_status(text: str) -> tuple[str, str | None]:
    """Take a status and decoration off the front of a heading."""
    status = next((_MARKS[mark] for mark in _MARKS if text.startswith(mark)), None)
    front = _FRONT.match(text)
    if front is not None and front.end() < len(text):
        text = text[front.end() :]
    if text.startswith("[") and (end := text.find("]")) > 0 and is_status(text[1:end]):
        return text[end + 1 :].lstrip(" :-\u2013\u2014"), text[1:end]
    return text, status


def _number(text: str) -> int:
    lowered = text.lower()
    if lowered.isdigit():
        return int(lowered)
    for words in (_NUMBER_WORDS, _ROMAN):
        if lowered in words:
            return words.index(lowered) + 1
    return ord(lowered[0]) - ord("a") + 1
