"""What a plan says of itself: front matter, and header lines such as `**Priority**: High` in any order.

Neighbours: `reader` says which lines may be a header; labels inside phases and items are read with `label_of` too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, final

from vespera_agents.work.plans.model import PlanHeader
from vespera_agents.work.plans.names import canonical, plain
from vespera_agents.work.plans.yaml_nodes import BracketBudget, read_yaml
from vespera_agents.work.plans.yaml_tree import YamlMap, texts

__all__ = ["OpenHeader", "front_matter", "label_of", "split_names"]

_FRONT_LINES_MAX: Final = 400
_LABEL: Final = re.compile(
    r"[ \t>]*(?:[-*+][ \t]+)?\*\*(?P<name>[^*]{1,80}?)[ \t]{0,3}(?::\*\*|\*\*[ \t]{0,3}:)[ \t]*(?P<text>.*)$", re.DOTALL
)
_BARE_LABEL: Final = re.compile(
    r"(?P<name>[A-Z][\w-]{0,30}(?: [\w-]{1,30}){0,3})[ \t]{0,3}:[ \t]+(?P<text>\S.*)$", re.DOTALL
)
_NAMES: Final[dict[str, str]] = {
    name: field_name
    for field_name, names in {
        "id": "id, prp id, meta prp id, plan id, task id",
        "title": "title, name",
        "type": "type, task type",
        "priority": "priority",
        "category": "category",
        "status": "status",
        "estimated_effort": "estimated effort, estimated total effort, effort, estimated duration, total effort, "
        "estimated time, duration, timeline",
        "dependencies": "dependencies, depends on, depends, dependency, prerequisites",
        "parent": "parent, parent prp, parent task id, parent task, parent id, parent plan",
        "phase": "phase",
        "created": "created, created date, date created, date, created at",
        "updated": "last updated, updated, updated date, last modified, modified",
        "concurrency": "concurrency, max concurrency",
    }.items()
    for name in names.split(", ")
}
_AND: Final = re.compile(r" ?(?:[,;]| (?:and|&) ) ?")
_CONCURRENCY_MAX: Final = 64


@final
@dataclass(slots=True)
class OpenHeader:
    """The header while it is being read."""

    said: dict[str, str] = field(default_factory=dict[str, str])
    dependencies: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    fields: dict[str, str] = field(default_factory=dict[str, str])

    def put(self, name: str, text: str, line: int) -> None:
        """Store one header line; the first one of a name wins, a second one is kept beside it."""
        text = plain(text)
        known = _NAMES.get(canonical(name))
        if known == "dependencies":
            self.dependencies.extend((part, line) for part in split_names(text))
        elif known is not None and known not in self.said:
            self.said[known] = text.strip("[]") if known == "status" else text
        else:
            self.put_field(name, text)

    def put_field(self, name: str, text: str) -> None:
        """Store something that has no place of its own."""
        before = self.fields.get(plain(name))
        self.fields[plain(name)] = f"{before}; {text}" if before else text

    def concurrency(self) -> int | None:
        """Give how many tasks may run at once, if the plan says it in a usable way."""
        text = self.said.get("concurrency", "")
        return int(text) if text.isdecimal() and 1 <= int(text) <= _CONCURRENCY_MAX else None

    def finish(self) -> PlanHeader:
        """Make the model."""
        said = {name: text for name, text in self.said.items() if name not in {"title", "concurrency"}}
        return PlanHeader(
            **said,
            dependencies=tuple(text for text, _ in self.dependencies),
            concurrency=self.concurrency(),
            fields=self.fields,
        )


def front_matter(lines: list[str]) -> tuple[range, range]:
    """Find the front matter; give the lines of its text, and all its lines with the marks (none when there is none)."""
    first = next((at for at, line in enumerate(lines) if line.strip()), 0)
    if lines[first].rstrip() != "---":
        return range(0), range(0)
    for at in range(first + 1, min(len(lines), first + _FRONT_LINES_MAX)):
        if lines[at].rstrip() in {"---", "..."}:
            told = [line for line in lines[first + 1 : at] if line.strip() and not line.lstrip().startswith("#")]
            if any(":" in line for line in told) and not any(line.startswith("**") for line in told):
                return range(first + 1, at), range(first, at + 1)
            break
    return range(0), range(0)


def read_front_matter(lines: list[str], body: range, header: OpenHeader, budget: BracketBudget) -> list[int]:
    """Put front matter into the header; give the lines that could not be placed."""
    root, left = read_yaml(lines, body, budget)
    if not isinstance(root, YamlMap):
        return list(body)
    for key, value in root.pairs:
        for text in texts(value) if _NAMES.get(canonical(key.text)) == "dependencies" else ["; ".join(texts(value))]:
            header.put(key.text, text, key.line)
    return left


def label_of(text: str, *, bare: bool = False) -> tuple[str, str] | None:
    """Read `**Name**: text` (or `**Name:** text`), with `bare` also `Name: text`; give name and text."""
    match = _LABEL.match(text) or (_BARE_LABEL.match(text.strip()) if bare else None)
    return (match["name"].strip(), match["text"].strip()) if match is not None else None


def split_names(text: str) -> list[str]:
    """Split `a, b and c` into names; `none` is no name."""
    text = " ".join(text.split())
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    names = [plain(part).strip(" .") for part in _AND.split(text)]
    return [name for name in names if name and canonical(name) not in {"none", "n a", "nothing", "na", "no", ""}]
