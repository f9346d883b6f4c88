"""From what was being built to the model: words become enums, roles and commands, with a note where they are none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, TypedDict, TypeVar

from pydantic import ValidationError

from vespera_agents.work.errors import InvalidInput
from vespera_agents.work.models import ROLE_NAMES, CommandLine, Complexity, Strategy, TaskType, role_name
from vespera_agents.work.plans.building import OpenCommand, OpenFacts, OpenItem, OpenPhase, Reading
from vespera_agents.work.plans.model import PlanItem, PlanPhase, TaskFacts
from vespera_agents.work.plans.names import canonical, is_identifier
from vespera_agents.work.plans.titles import is_done
from vespera_agents.work.strategies import check_strategy, strategy_said

__all__ = ["finish_facts", "finish_item", "finish_phase"]

_ROLE_WORDS_MAX: Final = 3
_SECONDS: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?) ?(s|sec|secs|seconds?|m|mins?|minutes?|h|hours?)?$")
_COMPLEXITIES: Final = {
    "low": Complexity.SIMPLE,
    "easy": Complexity.SIMPLE,
    "small": Complexity.SIMPLE,
    "medium": Complexity.MODERATE,
    "average": Complexity.MODERATE,
    "high": Complexity.COMPLEX,
    "hard": Complexity.COMPLEX,
    "large": Complexity.COMPLEX,
    "very high": Complexity.VERY_COMPLEX,
}
_Word = TypeVar("_Word", Complexity, TaskType)


class _Facts(TypedDict):
    title: str
    description: str
    complexity: Complexity | None
    task_type: TaskType | None
    specialist: str | None
    estimated_effort: str | None
    strategy: Strategy | None
    strategy_n: int | None
    context: str | None
    instructions: tuple[str, ...]
    artifacts: tuple[str, ...]
    criteria: tuple[str, ...]
    tools: tuple[str, ...]
    fields: dict[str, str]


def _facts(reading: Reading, facts: OpenFacts, title: str) -> _Facts:
    specialist = _specialist(reading, facts)
    strategy, number = _strategy(reading, facts)
    return _Facts(
        title=facts.title or title,
        description="\n\n".join(part for part in facts.description if part),
        complexity=_word(reading, facts, "complexity", facts.complexity, Complexity, _COMPLEXITIES),
        task_type=_word(reading, facts, "task type", facts.task_type, TaskType, {}),
        specialist=specialist,
        estimated_effort=facts.estimated_effort or None,
        strategy=strategy,
        strategy_n=number,
        context=facts.context or None,
        instructions=tuple(facts.instructions),
        artifacts=tuple(facts.artifacts),
        criteria=tuple(facts.criteria),
        tools=tuple(facts.tools),
        fields=facts.fields,
    )


def finish_facts(reading: Reading, facts: OpenFacts | None, title: str) -> TaskFacts | None:
    """Make the model of a task that stands for a phase or a plan."""
    if facts is None:
        return None
    if isinstance(facts, OpenItem):
        facts.tell_rest()
        if facts.run is not None or facts.gates or facts.when is not None:
            reading.note(facts.line, f"{facts.title or title!r} holds other tasks, so its commands are not run")
    return TaskFacts(**_facts(reading, facts, title))


def finish_item(reading: Reading, item: OpenItem) -> PlanItem:
    """Make the model of an item."""
    if item.run is None and item.when is None and not item.gates:
        for name, text in (("timeout", item.timeout), ("shell", item.shell)):
            if text:
                item.add_field(name, text)
    tagged_done = is_done(item.status) or (item.phase is not None and is_done(item.phase.status))
    return PlanItem(
        **_facts(reading, item, item.key),
        key=item.key,
        number=item.number,
        source=item.source,
        phase=item.phase.key if item.phase is not None else None,
        section=item.section,
        dependencies=tuple(item.depends),
        dependencies_explicit=item.explicit,
        done=item.done or tagged_done,
        status=item.status,
        group=item.group,
        run=_command(reading, item, "run", item.run),
        when=_command(reading, item, "when", item.when),
        gates=tuple(made for gate in item.gates if (made := _command(reading, item, "gates", gate)) is not None),
        line=item.line + 1,
    )


def finish_phase(reading: Reading, phase: OpenPhase, before: OpenPhase | None, items: Sequence[str]) -> PlanPhase:
    """Make the model of a phase; without other word it waits for the one before it."""
    task = finish_facts(reading, phase.facts, phase.title)
    told = (task.strategy, task.strategy_n) if task is not None and task.strategy else _strategy(reading, phase.said)
    depends = list(phase.depends) if phase.explicit or before is None else [before.key]
    return PlanPhase(
        key=phase.key,
        number=phase.number,
        title=phase.title,
        description="\n\n".join(phase.description),
        schedule=phase.schedule,
        status=phase.status,
        done=is_done(phase.status),
        items=tuple(items),
        dependencies=tuple(depends),
        dependencies_explicit=phase.explicit,
        workflow=tuple(phase.workflow),
        task=task,
        strategy=told[0],
        strategy_n=told[1],
        fields=phase.said.fields,
        line=phase.line + 1,
    )


def _specialist(reading: Reading, facts: OpenFacts) -> str | None:
    """Give the role; a whole sentence in its place says whom to be, so it is context."""
    if not facts.specialist:
        return None
    name = role_name(facts.specialist)
    if len(canonical(name).split()) > _ROLE_WORDS_MAX or not is_identifier(name):
        facts.add_field("specialist", facts.specialist)
        return None
    if name not in ROLE_NAMES:
        reading.note(facts.line, f"the specialist {name!r} is no packaged role; the workspace must define it")
    return name


def _strategy(reading: Reading, facts: OpenFacts) -> tuple[Strategy | None, int | None]:
    """Give the strategy and its number; a sentence in its place is told as a field, for plans speak of strategy."""
    if not facts.strategy:
        return None, None
    said = strategy_said(facts.strategy)
    if said is None:
        facts.add_field("strategy", facts.strategy)
        return None, None
    strategy, number = said
    try:
        check_strategy(facts.title, strategy, number)
    except InvalidInput as wrong:
        reading.note(facts.line, str(wrong), blocking=True)
        return strategy, None
    return strategy, number


def _word(
    reading: Reading, facts: OpenFacts, what: str, text: str, kind: type[_Word], also: dict[str, _Word]
) -> _Word | None:
    if not text:
        return None
    words = canonical(text)
    for member in kind:
        if member.value == words.replace(" ", "_"):
            return member
    if words in also:
        return also[words]
    facts.add_field(what, text)
    reading.note(facts.line, f"{text!r} is no {what}; known are: {', '.join(kind)}")
    return None


def _command(reading: Reading, item: OpenItem, what: str, command: OpenCommand | None) -> CommandLine | None:
    """Make a command; one that cannot be read blocks the plan, because leaving it out would pass unchecked work."""
    if command is None:
        return None
    timeout = command.timeout or item.timeout
    shell = canonical(command.shell or item.shell or "") in {"true", "yes", "on"}
    try:
        seconds = _seconds(timeout) if timeout else 600.0
        return CommandLine(text=command.text, shell=shell, timeout_seconds=seconds)
    except ValidationError as wrong:
        why = "; ".join(error["msg"] for error in wrong.errors())
    except ValueError as wrong:
        why = str(wrong)
    reading.note(
        command.line, f"{what}: {command.text!r} of {item.title!r} cannot be read as a command: {why}", blocking=True
    )
    return None


def _seconds(text: str) -> float:
    match = _SECONDS.match(text.strip().lower())
    if match is None:
        raise ValueError(f"the timeout {text!r} is no number of seconds")
    unit = {"m": 60.0, "h": 3600.0}.get((match[2] or "s")[0], 1.0)
    return float(match[1]) * unit
