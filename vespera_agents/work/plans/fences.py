"""Code fences as they were meant: closed by another opening, opened twice, never closed, the language a line below.

This pass works on lines because a Markdown parser, rightly, sees one endless code block in such a document. What comes
out is a list of fences and a mask; the rest of the document is then parsed without them. Broken headings (a `#` alone,
the heading on the next line) are mended in the same pass, because only it knows what is code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, final

from vespera_agents.work.plans.lines import LINE_CHARS_MAX

__all__ = ["Fence", "Unfenced", "find_fences"]

_MARK = re.compile(r"[ \t>]*(?:[-*+][ \t]+|\d{1,3}[.)][ \t]+)?(`{3,}+|~{3,}+)[ \t]*+([^`\s]*+)[^`]*+$")
_HASHES = re.compile(r"#{1,5}[ \t]*$")
_HEADING = re.compile(r"(#{1,6})[ \t]+(\S.*)$")
_TIGHT_HEADING = re.compile(r"(#{2,6})([A-Za-z].*)$")
_PHASE_HEADING = re.compile(r"#{1,6}[ \t]+\W{0,4}(?:phase|stage|step|task)[ \t]+\w+[ \t]*[:.\-(]", re.IGNORECASE)

_LANGUAGES: Final = frozenset(
    {
        "yaml",
        "yml",
        "json",
        "json5",
        "toml",
        "bash",
        "sh",
        "shell",
        "zsh",
        "console",
        "text",
        "txt",
        "plaintext",
        "python",
        "py",
        "sql",
        "mermaid",
        "markdown",
        "md",
        "javascript",
        "js",
        "typescript",
        "ts",
        "rust",
        "go",
        "java",
        "html",
        "css",
        "xml",
        "diff",
        "dockerfile",
        "ini",
        "directory",
        "makefile",
    }
)
_TEXT: Final = frozenset({"text", "txt", "plaintext"})
_MISTAKEN: Final = _TEXT | {"", "yaml", "yml"}
"""What stands beside a fence whose real language is on the line below."""
_STRUCTURED: Final = frozenset({"yaml", "yml", "mermaid", "json", "json5"})


@final
@dataclass(frozen=True, slots=True)
class Fence:
    """One fenced block."""

    language: str
    """Lower case; empty when nobody says."""
    first: int
    """The opening line."""
    body: range
    """The lines between the marks, a language line excluded."""
    stop: int
    """One past the closing line."""
    closed: bool


@final
@dataclass(frozen=True, slots=True)
class Unfenced:
    """The document with its fences taken out."""

    fences: tuple[Fence, ...]
    lines: tuple[str, ...]
    """As many lines as the source; fenced ones are blank, broken headings whole."""
    joined: frozenset[int]
    """Lines that hold only the first hashes of a heading."""
    stray: frozenset[int]
    """Lines that hold only hashes and no heading follows, and lines too long to look into."""


def find_fences(lines: list[str], start: int) -> Unfenced:
    """Find the fences from a line on, and give the rest without them."""
    fences: list[Fence] = []
    rest = [""] * len(lines)
    joined: set[int] = set()
    stray: set[int] = set()
    at = start
    while at < len(lines):
        line = lines[at]
        if len(line) > LINE_CHARS_MAX:
            stray.add(at)
            at += 1
        elif (mark := _MARK.match(line)) is not None:
            fence = _read_fence(lines, at, mark)
            fences.append(fence)
            at = fence.stop
        else:
            at = _read_line(lines, at, rest, joined, stray)
    return Unfenced(tuple(fences), tuple(rest), frozenset(joined), frozenset(stray))


def _read_line(lines: list[str], at: int, rest: list[str], joined: set[int], stray: set[int]) -> int:
    """Copy one line outside every fence, mending a heading that was broken in two; give the next line."""
    line = lines[at]
    if _HASHES.match(line):
        following = at + 1
        while following < min(at + 3, len(lines)) and not lines[following].strip():
            following += 1
        heading = _HEADING.match(lines[following]) if following < len(lines) else None
        if heading is None:
            stray.add(at)
            return at + 1
        hashes = min(6, len(line.strip()) + len(heading[1]))
        joined.add(at)
        rest[following] = f"{'#' * hashes} {heading[2]}"
        return following + 1
    tight = _TIGHT_HEADING.match(line)
    rest[at] = f"{tight[1]} {tight[2]}" if tight else line
    return at + 1


def _read_fence(lines: list[str], first: int, mark: re.Match[str]) -> Fence:
    tick, width, language = mark[1][0], len(mark[1]), _language(mark[2])
    body = first + 1
    body, language = _language_below(lines, body, language)
    at = body
    while at < len(lines):
        closing = _MARK.match(lines[at]) if len(lines[at]) <= LINE_CHARS_MAX else None
        if closing is not None and closing[1][0] == tick and len(closing[1]) >= width:
            verdict = _judge(lines, body, at, closing, language)
            if verdict == "again":
                body, language = _language_below(lines, at + 1, _language(closing[2]) or language)
                at = body
                continue
            if verdict == "open":
                stop = _cut(lines, body, at)
                return Fence(language, first, range(body, stop), stop, closed=False)
            if verdict == "close":
                cut = _cut_at_phase(lines, body, at) if language in _STRUCTURED else at
                if cut < at:
                    return Fence(language, first, range(body, cut), cut, closed=False)
                return Fence(language, first, range(body, at), at + 1, closed=True)
        at += 1
    stop = _cut(lines, body, len(lines))
    return Fence(language, first, range(body, stop), stop, closed=False)


def _judge(lines: list[str], body: int, at: int, mark: re.Match[str], language: str) -> str:
    """Say what a fence mark inside a fence is: its end, the start of the next one, the same start again, or text."""
    info = _language(mark[2])
    if not info:
        return "close"
    empty = not any(lines[line].strip() for line in range(body, at))
    if empty:
        return "again"
    if language in {"markdown", "md"} and info not in _TEXT:
        return "text"
    if info in _TEXT:
        _, below = _language_below(lines, at + 1, "")
        return "open" if below else "close"
    # A close that repeats the opening's language has nothing but a blank line or a heading after it.
    following = lines[at + 1].strip() if at + 1 < len(lines) else ""
    return "close" if info == language and (not following or following.startswith("#")) else "open"


def _language(info: str) -> str:
    return info.strip("{}.:,").lower()


def _language_below(lines: list[str], at: int, language: str) -> tuple[int, str]:
    """Take a line that is nothing but the name of a language as the fence's language."""
    below = at
    while below < min(at + 2, len(lines)) and not lines[below].strip():
        below += 1
    if below < len(lines):
        word = lines[below].strip().lower()
        if word in _LANGUAGES and (language in _MISTAKEN or language == word):
            return below + 1, word
    return at, language


def _cut(lines: list[str], body: int, end: int) -> int:
    """End a fence that nobody closed: before the first line that can only be the document going on."""
    for at in range(body + 1, end):
        line = lines[at]
        if not lines[at - 1].strip() and (line.startswith(("## ", "### ", "#### ", "**")) or _HASHES.match(line)):
            return at
    return end


def _cut_at_phase(lines: list[str], body: int, end: int) -> int:
    """End a structured fence before a phase heading: its close is missing, and what looks like it opens the next."""
    for at in range(body + 1, end):
        if lines[at].startswith("#") and not lines[at - 1].strip() and _PHASE_HEADING.match(lines[at]):
            return at
    return end
