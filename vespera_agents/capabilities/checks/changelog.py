"""The changelog check: whoever updates can read what this release changes.

It reads Markdown and reStructuredText headings with their levels; it does not judge the words below them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from vespera_agents.capabilities.checks.findings import CannotCheck, Finding
from vespera_agents.capabilities.checks.project import git, pyproject, read_text, table

__all__ = ["find_changelog_faults"]

_NAME: Final = re.compile(
    r"(?:changelog|changes|history|news|release[-_]?notes)(?:\.(?:md|markdown|rst|txt))?", re.IGNORECASE
)
_UNRELEASED: Final = re.compile(r"\b(?:unreleased|upcoming|in development)\b", re.IGNORECASE)
_UNDERLINE: Final = re.compile(r"([=\-~^\"'`*+#.:_])\1{2,}\s*")
_ATX: Final = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*$")
_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)
_LINK_DEFINITION: Final = re.compile(r"\s*\[[^\]]+\]:\s")
_NOTHING: Final = re.compile(r"[-*\s]*(?:nothing|none|no changes|tbd|n/a)(?: yet| so far)?[.!]*\s*", re.IGNORECASE)
_LITERAL_VERSION: Final = re.compile(
    r"^(?:__version__|VERSION|version)\s*(?::\s*\w+\s*)?=\s*[\"']([^\"']+)[\"']", re.MULTILINE
)


@final
@dataclass(frozen=True, slots=True)
class _Section:
    title: str
    line: int
    level: int
    entries: int
    """Lines below it that say something, those of its subsections included."""


def find_changelog_faults(root: Path) -> list[Finding]:
    """Find out whether the changelog has an entry for what is about to be released.

    An entry stands under a heading that says Unreleased, or under the heading of the current version while no git tag
    says that this version is out. Fragments in towncrier's directory count too.
    """
    if _has_fragments(root):
        return []
    files = sorted(
        path
        for folder in (root, root / "docs")
        if folder.is_dir()
        for path in folder.iterdir()
        if _NAME.fullmatch(path.name) and path.is_file()
    )
    if not files:
        return [Finding("CHANGELOG.md", None, "there is none; write one with a section Unreleased: keepachangelog.com")]
    path = min(files, key=lambda path: (path.parent != root, path.name))
    name = path.relative_to(root).as_posix()
    sections = _sections((read_text(path) or "").splitlines())
    version = _version(root)
    return _judge(name, sections, version, released=version is not None and _is_released(root, version))


def _judge(name: str, sections: Sequence[_Section], version: str | None, *, released: bool) -> list[Finding]:
    coming = [section for section in sections if _UNRELEASED.search(section.title)]
    current = [section for section in sections if version is not None and _names(section.title, version)]
    wanted = coming if released else [*coming, *current]
    if any(section.entries for section in wanted):
        return []
    if wanted:
        section = wanted[0]
        return [Finding(name, section.line, f"nothing stands under {section.title!r}; say what this release changes")]
    if released and current:
        return [
            Finding(
                name,
                current[0].line,
                f"version {version} is tagged already; add a section Unreleased with what changed since",
            )
        ]
    this = "" if version is None else f" and none for version {version}"
    return [Finding(name, 1, f"there is no section Unreleased{this}; add one that says what this release changes")]


def _names(title: str, version: str) -> bool:
    return re.search(rf"(?<![\w.])v?{re.escape(version)}(?![\w.]*\d)", title) is not None


def _sections(lines: list[str]) -> list[_Section]:
    text = _COMMENT.sub(lambda found: "\n" * found[0].count("\n"), "\n".join(lines))
    lines = text.split("\n")
    headings: list[tuple[int, int, int, str]] = []
    underlines: list[str] = []
    fenced = False
    for number, line in enumerate(lines):
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        atx = None if fenced else _ATX.fullmatch(line)
        underline = _UNDERLINE.fullmatch(line)
        above = lines[number - 1].strip() if number else ""
        if atx is not None:
            headings.append((number, number + 1, len(atx[1]), atx[2]))
        elif underline is not None and not fenced and _is_title(above, line):
            if underline[1] not in underlines:
                underlines.append(underline[1])
            headings.append((number - 1, number + 1, underlines.index(underline[1]) + 1, above))
    marks = {line for first, stop, _, _ in headings for line in range(first, stop)}
    saying = [number for number, line in enumerate(lines) if number not in marks and _says_something(line)]
    sections: list[_Section] = []
    for index, (first, _, level, title) in enumerate(headings):
        end = next((start for start, _, other, _ in headings[index + 1 :] if other <= level), len(lines))
        sections.append(_Section(title, first + 1, level, sum(first < number < end for number in saying)))
    return sections


def _is_title(text: str, underline: str) -> bool:
    # Markdown's underlines may be shorter than what stands above them; reStructuredText's other characters may not.
    return bool(text) and not text.startswith(("-", "*", "#")) and (underline[0] in "=-" or len(text) <= len(underline))


def _says_something(line: str) -> bool:
    return re.search(r"\w", line) is not None and not _LINK_DEFINITION.match(line) and not _NOTHING.fullmatch(line)


def _has_fragments(root: Path) -> bool:
    settings = table(pyproject(root), "tool", "towncrier")
    if settings is None:
        return False
    folder = settings.get("directory", "newsfragments")
    fragments = root / folder if isinstance(folder, str) else root
    return fragments.is_dir() and any(
        path.is_file() and not path.name.startswith((".", "_")) and path.stem.lower() not in {"readme", "template"}
        for path in fragments.iterdir()
    )


def _version(root: Path) -> str | None:
    """Give the current version where the project writes it down."""
    document = pyproject(root)
    for keys in (("project",), ("tool", "poetry")):
        version = (table(document, *keys) or {}).get("version")
        if isinstance(version, str):
            return version
    place = (table(document, "tool", "hatch", "version") or {}).get("path")
    found = _LITERAL_VERSION.search(read_text(root / place) or "") if isinstance(place, str) else None
    return None if found is None else found[1]


def _is_released(root: Path, version: str) -> bool:
    """Whether a tag of this version stands on an earlier commit; a tag here means that it is being released now."""
    try:
        tags = set(git(root, "tag", "--list", version, f"v{version}").split())
        here = set(git(root, "tag", "--points-at", "HEAD").split())
    except CannotCheck:
        return False
    return bool(tags) and not tags & here
