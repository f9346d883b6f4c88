"""The link check: relative links and anchors of the README and the documents lead somewhere. Nothing is fetched.

Anchors are those that GitHub makes of headings, and those that HTML in the document names. What a link's text says is
not judged, and links with a scheme are left alone.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final, final
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

from vespera_agents.capabilities.checks.findings import CannotCheck, Finding
from vespera_agents.capabilities.checks.project import MARKDOWN, documents, offered_files, read_text

__all__ = ["find_dead_links", "heading_anchors"]

_HTML_LINK: Final = re.compile(r"<(?:a|img|source)\b[^>]*?\b(?:href|src)\s*=\s*[\"']([^\"']+)[\"']", re.IGNORECASE)
_HTML_ANCHOR: Final = re.compile(r"<[a-z][^>]*?\b(?:id|name)\s*=\s*[\"']([^\"']+)[\"']", re.IGNORECASE)
_NAMED_HEADING: Final = re.compile(r"\{[^}]*#([\w.:-]+)[^}]*\}\s*$")
_HOST_PAGES: Final = re.compile(
    r"(?:\.\./)+(?:issues|pulls?|releases|wiki|discussions|actions|tree|blob|commits?|compare)\b"
)
"""Pages that a repository's host shows beside the files, linked from a file by going up."""


@final
@dataclass(frozen=True, slots=True)
class _Link:
    target: str
    line: int


@final
@dataclass(slots=True)
class _Tree:
    """The files of the project, and the anchors of its documents once they are read."""

    root: Path
    files: frozenset[str]
    folders: frozenset[str]
    anchors: dict[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])

    def anchors_of(self, name: str) -> frozenset[str]:
        """Give the anchors of one document."""
        if name not in self.anchors:
            self.anchors[name] = frozenset(heading_anchors(read_text(self.root / name) or ""))
        return self.anchors[name]


def find_dead_links(root: Path) -> list[Finding]:
    """Find the relative links and anchors that lead nowhere for a reader of the repository."""
    files = frozenset(offered_files(root))
    folders = frozenset(parent.as_posix() for name in files for parent in PurePosixPath(name).parents)
    tree = _Tree(root, files, folders)
    names = documents(root)
    if not names:
        raise CannotCheck("there is neither a Markdown file in the root nor one below docs; write a README.md")
    findings: list[Finding] = []
    for name in names:
        for link in _links(read_text(root / name) or ""):
            fault = _fault(tree, name, link.target)
            if fault is not None:
                findings.append(Finding(name, link.line, f"{link.target}: {fault}"))
    return findings


def _fault(tree: _Tree, document: str, target: str) -> str | None:
    try:
        parts = urlsplit(target)
    except ValueError:
        return "this is no address; correct it"
    if parts.scheme or parts.netloc or _HOST_PAGES.match(target):
        return None
    path = unquote(parts.path)
    name = document if not path else _resolve(tree, document, path)
    if name is None:
        return "leads out of the project; link the address where readers find it"
    if name in tree.files | tree.folders:
        return _anchor_fault(tree, name, unquote(parts.fragment))
    if (tree.root / name).exists():
        return "exists here, but git ignores it, so readers do not have it; link something that is committed"
    return "no such file; correct the link or restore the file"


def _anchor_fault(tree: _Tree, name: str, anchor: str) -> str | None:
    is_document = name in tree.files and name.lower().endswith(MARKDOWN)
    # `#L10` and `#:~:text=` are the browser's business.
    if not anchor or not is_document or re.match(r":~:|L\d+(?:-L\d+)?$", anchor):
        return None
    if anchor in tree.anchors_of(name):
        return None
    if anchor.lower() in tree.anchors_of(name):
        return f"anchors are in lower case; write #{anchor.lower()}"
    return f"{name} has no heading for #{anchor}; correct the anchor"


def _resolve(tree: _Tree, document: str, path: str) -> str | None:
    """Give the path of a link below the root, None when it leads out of it."""
    if path.startswith("/"):
        # In documents that become a site, the site's root is the folder of the documents.
        inside = path.strip("/") or "."
        site = PurePosixPath(document).parts[0] + "/" + inside
        return site if site in tree.files | tree.folders else inside
    parts: list[str] = list(PurePosixPath(document).parts[:-1])
    for part in path.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts) or "."


def heading_anchors(text: str) -> set[str]:
    """Give the anchors of a document: GitHub's, of its headings, and those that its HTML names."""
    anchors: set[str] = set()
    for token, after in itertools.pairwise([*_parse(text), Token("end", "", 0)]):
        if token.type == "heading_open":
            _add_heading(anchors, after)
        elif token.type == "html_block":
            anchors.update(_HTML_ANCHOR.findall(token.content))
        elif token.type == "inline":
            html = "".join(child.content for child in token.children or () if child.type == "html_inline")
            anchors.update(_HTML_ANCHOR.findall(html))
    return anchors


def _add_heading(anchors: set[str], inline: Token) -> None:
    title = "".join(child.content for child in inline.children or () if child.type in {"text", "code_inline"})
    named = _NAMED_HEADING.search(title)
    if named is not None:
        anchors.add(named[1])
        title = title[: named.start()].rstrip()
    slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
    numbered = (f"{slug}-{number}" for number in itertools.count(1))
    anchors.add(next(name for name in itertools.chain([slug], numbered) if name not in anchors))


def _links(text: str) -> Iterator[_Link]:
    for token in _parse(text):
        line = (token.map or [0])[0] + 1
        if token.type == "html_block":
            for found in _HTML_LINK.finditer(token.content):
                yield _Link(found[1], line + token.content.count("\n", 0, found.start()))
        for child in token.children or ():
            if child.type in {"softbreak", "hardbreak"}:
                line += 1
            elif child.type == "html_inline":
                yield from (_Link(found[1], line) for found in _HTML_LINK.finditer(child.content))
            target = child.attrGet("href") or child.attrGet("src")
            if isinstance(target, str) and target:
                yield _Link(target, line)


def _parse(text: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(text)
