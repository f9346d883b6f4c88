"""What was called and what was answered, written down as a document that reads the same after every run.

Not a test. Whatever differs from run to run (ids, times, sizes, places) is replaced by a name that says what stood
there; the same id gets the same name everywhere. Neighbours: `players` call and write down, `story` tells.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping

WIDTH = 116
"""How long a line of prose may be."""

_IDS = re.compile(r"\b(session|task|artifact|job|srv)_[0-9a-f]{4,32}\b|(?<!#)\b([0-9a-f]{64}|[0-9a-f]{12})\b")
_CHANGING: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?( ?UTC|Z|[+-]\d\d:\d\d)?", "<time>"),
        (r"(?<=127\.0\.0\.1:)\d+", "<port>"),
        (r"(?<=#)[0-9a-f]{12}\b", "<client>"),
        (r"(?<=[a-z])-[0-9a-f]{6}\.\d+\b", "-<instance>"),
        (r"\bpid \d+", "pid <pid>"),
        (r"(\d+[dhm] ?)*[\d.,]+(e-\d+)?( ?)(ms|s|µs|us|seconds|minutes|hours)\b", r"<duration>"),
        (r"[\d.,]+( ?)(bytes|KB|MB|GB|TB|kB|KiB|MiB|GiB)\b", "<size>"),
        (r"[\d,]+ tokens\b", "<number> tokens"),
        (r"\bprocess \d+", "process <pid>"),
        (r"\b\d+ idle\b", "<number> idle"),
    )
)


class Transcript:
    """The document while it is being written."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._names: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self._places: list[tuple[str, str]] = []

    def place(self, path: object, name: str) -> None:
        """Give a directory of this run a name; longer paths first."""
        self._places.append((str(path), name))
        self._places.sort(key=lambda entry: -len(entry[0]))

    def heading(self, text: str, level: int = 2) -> None:
        self._lines += [f"{'#' * level} {text}", ""]

    def say(self, text: str) -> None:
        """Write paragraphs; a line that begins with a mark of a list or table stays as it is."""
        for paragraph in textwrap.dedent(text).strip().split("\n\n"):
            kept = paragraph.startswith(("- ", "|"))
            folded = paragraph if kept else textwrap.fill(" ".join(paragraph.split()), WIDTH, break_on_hyphens=False)
            self._lines += [*folded.splitlines(), ""]

    def block(self, language: str, text: str) -> None:
        """Write what was really called or answered, with names for what differs from run to run."""
        body = self.named(text).rstrip("\n")
        fence = "````" if "```" in body else "```"
        self._lines += [f"{fence}{language}", *(line.rstrip() for line in body.splitlines()), fence, ""]

    def call(self, who: str, tool: str, arguments: Mapping[str, object], how: str = "calls") -> None:
        """Write down a call: who, which tool, and its arguments as JSON."""
        self._lines += [f"{who} {how} `{tool}`:" if arguments else f"{who} {how} `{tool}` without arguments:", ""]
        if arguments:
            self.block("json", as_json(arguments))

    def named(self, text: str) -> str:
        """Replace what differs from run to run."""
        for path, name in self._places:
            text = text.replace(path, name)
        text = _IDS.sub(lambda found: self._name(found.group()), text)
        for pattern, name in _CHANGING:
            text = pattern.sub(name, text)
        return text

    def text(self) -> str:
        return "\n".join(self._lines).rstrip("\n") + "\n"

    def _name(self, identifier: str) -> str:
        """Give an id its name: what it is, numbered in the order of appearance; a prefix is the one that it begins."""
        known = next((self._names[one] for one in self._names if one.startswith(identifier)), None)
        if known is not None:
            return known
        kind = identifier.partition("_")[0] if "_" in identifier else "sha256"
        self._numbers[kind] = self._numbers.get(kind, 0) + 1
        name = "<server>" if kind == "srv" else f"<{kind} {self._numbers[kind]}>"
        self._names[identifier] = name
        return name


def as_json(value: object) -> str:
    """Write JSON for people: lists of objects an object a line, short things in one line."""

    def lines(one: object, indent: str) -> str:
        flat = json.dumps(one, ensure_ascii=False)
        if len(indent) + len(flat) <= 100 or not isinstance(one, dict | list):
            return flat
        deeper = indent + "  "
        if isinstance(one, dict):
            inside = [f"{deeper}{json.dumps(key)}: {lines(below, deeper)}" for key, below in one.items()]
            return "{\n" + ",\n".join(inside) + f"\n{indent}}}"
        return "[\n" + ",\n".join(f"{deeper}{lines(below, deeper)}" for below in one) + f"\n{indent}]"

    return lines(value, "")


def shortened(text: str, lines: int | None) -> str:
    """Keep the first lines of a long text and say how many more there were."""
    every = text.splitlines()
    if lines is None or len(every) <= lines:
        return text
    return "\n".join([*every[:lines], "[...]"])
