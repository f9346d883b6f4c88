"""Tasks in YAML blocks: what a block says of its own section's task, of a list of tasks, of the whole phase or plan.

Plans nest these under wrappers of their own invention, so unknown mappings are walked through; a block in which nothing
is known stays text. Neighbours: `yaml_nodes` parses, `building` knows the names, `structure` places what is found.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from typing import Final, final

from vespera_agents.work.plans.building import OpenCommand, OpenItem, Wait, fact_name
from vespera_agents.work.plans.names import canonical, humanise, is_identifier
from vespera_agents.work.plans.yaml_tree import YamlList, YamlMap, YamlNode, YamlText, texts

__all__ = ["YamlFindings", "interpret"]

_OWN: Final = frozenset({"plan task", "task details", "task configuration", "task definition", "task"})
_PART: Final = frozenset(
    {
        "execute task",
        "execution context",
        "complete task",
        "task completion",
    }
)
_INSIDE: Final = _PART | _OWN | {"parameters", "details", "execution", "completion"}
"""Mappings inside a task that only group its facts."""
_MAIN: Final = frozenset({"main task creation", "main task", "parent task", "meta task creation", "meta task"})
_PHASE: Final = frozenset({"phase task", "phase task creation", "meta task creation", "meta task"})
"""The task that stands for its phase; outside a phase, for the plan."""
_SESSION: Final = frozenset(
    {"session initialization", "session", "session setup", "session management", "meta session"}
)
_HEADER: Final = frozenset({"prp id", "meta prp id", "plan id"})
_LIST: Final = re.compile(r"(?:.* )?(?:sub)?tasks$|(?:sub)?task (?:breakdown|list)$|work items$|breakdown$")
_FLOW: Final = re.compile(r"(?:.* )?(?:work)?flow$|(?:execution|implementation|task) (?:order|sequence)$")
_NUMBERED: Final = re.compile(r"(?:sub)?task \d+\b|step \d+\b")
_TELLING: Final = frozenset(
    {
        "run",
        "gates",
        "when",
        "waits",
        "specialist",
        "complexity",
        "task_type",
        "instructions",
        "estimated_effort",
        "strategy",
    }
)
_STEP: Final = re.compile(r"(?:^|\s)\d{1,3}\.\s")
_COMMANDS: Final = frozenset({"run", "when", "gates"})


@final
@dataclass(slots=True)
class YamlFindings:
    """What one block says."""

    own: list[OpenItem] = field(default_factory=list[OpenItem])
    """Tasks that the block describes without naming them: its section's."""
    listed: list[OpenItem] = field(default_factory=list[OpenItem])
    """Tasks that it names."""
    breakdown: bool = False
    """The listed ones are only names of tasks that may be described elsewhere."""
    main: OpenItem | None = None
    phase: OpenItem | None = None
    header: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    fields: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    workflow: list[str] = field(default_factory=list[str])
    commands: list[Wait] = field(default_factory=list[Wait])
    """Validation commands, to be proposed as gates."""
    lines: set[int] = field(default_factory=set[int])
    """The lines that went into any of these."""

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.own or self.listed or self.main or self.phase or self.header or self.fields or self.workflow)


def interpret(root: YamlNode | None) -> YamlFindings:
    """Find what a block says of tasks."""
    found = YamlFindings()
    if isinstance(root, YamlMap):
        _walk(found, root, top=True)
    elif isinstance(root, YamlList):
        for entry in root.entries:
            if isinstance(entry, YamlMap):
                _root_entry(found, entry)
    return found


def _root_entry(found: YamlFindings, entry: YamlMap) -> None:
    if _names_a_task(entry):
        found.listed.append(_listed(found, entry, "", entry.line))
        return
    key, value = entry.pairs[0] if len(entry.pairs) == 1 else (None, None)
    if key is not None and isinstance(value, YamlMap) and _facts_of(value) & _TELLING:
        found.listed.append(_listed(found, value, key.text, key.line))
        found.lines.add(key.line)


def _names_a_task(node: YamlMap) -> bool:
    facts = _facts_of(node)
    return any(canonical(key.text) in {"title", "task"} for key, _ in node.pairs) or (
        bool(facts & {"title", "key"}) and bool(facts & (_TELLING | {"description"}))
    )


def _facts_of(node: YamlMap) -> set[str]:
    return {fact for key, _ in node.pairs if (fact := _fact(key)) is not None}


def _fact(key: YamlText) -> str | None:
    """Give the fact that a key stands for. `RUN:` is a word of PRPs and only proposes; `run:` is work."""
    fact = fact_name(key.text)
    return None if fact in _COMMANDS and not key.text.islower() else fact


def _name(key: YamlText) -> str:
    return canonical(key.text).removeprefix("orchestrator ")


def _walk(found: YamlFindings, node: YamlMap, *, top: bool) -> None:
    if top and any(_name(key) in _HEADER for key, _ in node.pairs):
        _take_header(found, node)
    elif top and _is_flat_task(node):
        item = OpenItem(line=node.line, flat=True)
        found.own.append(item)
        _take(found, item, node)
        return
    for key, value in node.pairs:
        before = len(found.lines)
        _take_pair(found, key, value)
        if len(found.lines) > before:
            found.lines.add(key.line)


def _is_flat_task(node: YamlMap) -> bool:
    """Whether a block's top keys are themselves those of one task."""
    facts = _facts_of(node)
    names = {_name(key) for key, _ in node.pairs}
    if names & (_OWN | _MAIN | _PART) - {"task"}:
        return False
    described = bool(facts & _TELLING) or {"title", "description"} <= facts
    return described or ("action" in names and bool(names & {"file", "files", "changes", "validation"}))


def _take_header(found: YamlFindings, node: YamlMap) -> None:
    for key, value in node.pairs:
        if isinstance(value, YamlText):
            found.header.append((key.text, value.text))
            _claim(found, key, value)


def _take_pair(found: YamlFindings, key: YamlText, value: YamlNode) -> None:
    """Place one key of a wrapper or of a block's top."""
    name = _name(key)
    if isinstance(value, YamlMap) and name in _OWN:
        found.own.append(item := OpenItem(line=key.line))
        _take(found, item, value)
    elif isinstance(value, YamlMap) and name in _PHASE | _MAIN:
        facts = OpenItem(line=key.line)
        _take(found, facts, value)
        if name in _PHASE and found.phase is None:
            found.phase = facts
        elif found.main is None:
            found.main = facts
        else:
            found.listed.append(facts)
    elif name in _PART or (fact_name(key.text) in {"criteria", "artifacts", "instructions"} and found.own):
        _take_part(found, key, value)
    elif isinstance(value, YamlMap) and name in _SESSION:
        for inner, said in value.pairs:
            found.fields.append((inner.text, "; ".join(texts(said))))
            _claim(found, inner, said)
    else:
        _take_collection(found, name, key, value)


def _take_collection(found: YamlFindings, name: str, key: YamlText, value: YamlNode) -> None:
    """Place a key that holds several tasks or steps, or a wrapper around more keys."""
    if _LIST.match(name) and not isinstance(value, YamlText):
        _take_list(found, name, value)
    elif _FLOW.match(name) and not isinstance(value, YamlMap):
        found.workflow.extend(step for text in texts(value) for step in _STEP.split(text) if step)
        _claim(found, key, value)
    elif _NUMBERED.match(name):
        _take_numbered(found, key, value)
    elif isinstance(value, YamlMap):
        _walk(found, value, top=False)


def _take_part(found: YamlFindings, key: YamlText, value: YamlNode) -> None:
    """A part of the block's own task that stands beside it: how to do it, what to deliver, what to check."""
    if not found.own:
        found.own.append(OpenItem(line=key.line))
    if isinstance(value, YamlMap):
        _take(found, found.own[-1], value)
    else:
        found.own[-1].put(fact_name(key.text) or "instructions", key.text, texts(value), key.line)
        _claim(found, key, value)


def _take_list(found: YamlFindings, name: str, value: YamlNode) -> None:
    """A list of tasks: names, mappings, or names with mappings below them."""
    if isinstance(value, YamlMap):
        for key, said in value.pairs:
            found.listed.append(_listed(found, said, key.text, key.line))
            found.lines.add(key.line)
    elif isinstance(value, YamlList):
        found.breakdown = found.breakdown or name.endswith("breakdown") or name.startswith("subtask")
        for entry in value.entries:
            _take_entry(found, entry)


def _take_entry(found: YamlFindings, entry: YamlNode) -> None:
    if isinstance(entry, YamlMap) and entry.pairs and not _names_a_task(entry):
        # `- integration_testing:` with its facts below, at whatever indentation its author gave them.
        (key, first), rest = entry.pairs[0], entry.pairs[1:]
        item = _listed(found, first, key.text, key.line)
        _take(found, item, YamlMap(key.line, entry.stop, rest))
        found.listed.append(item)
        found.lines.add(key.line)
    elif texts(entry):
        found.listed.append(_listed(found, entry, "", entry.line))


def _take_numbered(found: YamlFindings, key: YamlText, value: YamlNode) -> None:
    """`Task 1:` with whatever stands below it."""
    number = next(word for word in canonical(key.text).split() if word.isdigit())
    item = _listed(found, value, "", key.line)
    item.number, item.name = item.number or number, key.text
    if not item.title:
        item.title = item.description.pop(0) if item.description else [*item.instructions, *item.fields, key.text][0]
    found.listed.append(item)
    _claim(found, key, value)


def _listed(found: YamlFindings, node: YamlNode, name: str, line: int) -> OpenItem:
    """Read one task of a list."""
    item = OpenItem(line=line, wanted_key=name if is_identifier(name) else "", name=name)
    if isinstance(node, YamlMap):
        _take(found, item, node)
    elif name:
        item.description.extend(texts(node))
        found.lines.update(range(node.line, node.stop))
    else:
        item.name = " ".join(texts(node))
        item.wanted_key = item.name if is_identifier(item.name) else ""
        found.lines.update(range(node.line, node.stop))
    if not item.title:
        name = item.name or item.wanted_key
        item.title = humanise(name) if is_identifier(name) else name
    return item


def _take(found: YamlFindings, item: OpenItem, node: YamlMap) -> None:
    """Read every key of a task's mapping."""
    for key, value in node.pairs:
        name, fact = _name(key), _fact(key)
        if isinstance(value, YamlMap) and name in _INSIDE:
            _take(found, item, value)
        elif fact in _COMMANDS:
            _take_commands(item, fact, value)
        elif name == "validation":
            _take_validation(found, item, value)
        elif fact is not None and isinstance(value, YamlText | YamlList):
            item.put(fact, key.text, texts(value), key.line)
        else:
            item.add_field(key.text, "; ".join(texts(value)))
        _claim(found, key, value)


def _take_commands(item: OpenItem, fact: str, value: YamlNode) -> None:
    """Read `run`, `when` or `gates`: a text, an argument list, or a mapping with its own timeout and shell."""
    entries = value.entries if isinstance(value, YamlList) and fact == "gates" else [value]
    for entry in entries:
        if isinstance(entry, YamlList):
            command = OpenCommand(shlex.join(texts(entry)), entry.line)
        elif isinstance(entry, YamlMap):
            said = {name: entry.get(*names) for name, names in _COMMAND_KEYS.items()}
            text, timeout, shell = (" ".join(texts(node)) if node else "" for node in said.values())
            command = OpenCommand(text, entry.line, timeout or None, shell or None)
        else:
            command = OpenCommand(entry.text, entry.line)
        item.command(fact, command)


_COMMAND_KEYS: Final = {
    "text": ("run", "command", "cmd"),
    "timeout": ("timeout", "timeout_seconds"),
    "shell": ("shell",),
}


def _take_validation(found: YamlFindings, item: OpenItem, value: YamlNode) -> None:
    """Read `validation:`; a `command` in it is only ever proposed."""
    for node in value.entries if isinstance(value, YamlList) else [value]:
        command = node.get("command", "run") if isinstance(node, YamlMap) else None
        if isinstance(command, YamlText):
            found.commands.append(Wait(command.text, command.line))
    item.criteria.extend(texts(value))


def _claim(found: YamlFindings, key: YamlText, value: YamlNode) -> None:
    found.lines.update(range(key.line, max(key.stop, value.stop)))
