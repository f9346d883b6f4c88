"""The synthesis: what came of a piece of work, as one Markdown text. Pure.

Outcomes in dependency order, artifacts, failures, what is blocked and by what, timeline, open questions. It is the
report of `vespera run` and the artifact of orchestrator_synthesize_results alike. Neighbours: `work_tools` and
`running` read the rows and keep the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, final

from vespera_agents.specialists.agent.accounts import cost_text, summed
from vespera_agents.specialists.answers import BlockedTask, iso
from vespera_agents.specialists.standing import blocked_tasks, counts_of, inherited_edges, outcome_of
from vespera_agents.store.steps import ModelWork
from vespera_agents.work.graph import topological_order
from vespera_agents.work.models import Artifact, Dependency, DependencyKind, Task, TaskStatus
from vespera_agents.work.plain import printable

__all__ = ["Synthesis", "WorkRows", "bullet", "cell", "open_questions", "outcome_word", "synthesize"]

_CELL_MAX: Final = 160
_SPECIAL: Final = re.compile(r"[\\|<\[\]`*]")
_CODE: Final = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)")


@final
@dataclass(frozen=True, slots=True)
class WorkRows:
    """Everything a synthesis reads."""

    title: str
    tasks: Sequence[Task]
    """In tree order, containers before their contents."""
    dependencies: Sequence[Dependency] = ()
    artifacts: Sequence[Artifact] = ()
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    """Where an artifact's bytes lie, by content hash, as a link from the text."""
    models: Sequence[ModelWork] = ()
    """Which models worked on these tasks."""
    blocked: Sequence[BlockedTask] | None = None
    """Who is blocked by whom, where tasks outside of these play a part; else it is found among these."""

    def blame(self) -> dict[str, str]:
        """Give, for each task that cannot go on, those at the root of it."""
        blocked = blocked_tasks(self.tasks, self.dependencies) if self.blocked is None else self.blocked
        return {entry.id: ", ".join(entry.blocked_by) for entry in blocked}


@final
@dataclass(frozen=True, slots=True)
class Synthesis:
    """The gathered results."""

    text: str
    """Markdown."""
    outcome: str
    counts: dict[str, int]
    open_questions: list[str]


def synthesize(rows: WorkRows) -> Synthesis:
    """Gather what came of the tasks."""
    leaves = [task for task in rows.tasks if not task.is_container]
    counts = counts_of(rows.tasks)
    outcome = outcome_of(counts)
    by_task: dict[str, list[Artifact]] = {}
    for artifact in rows.artifacts:
        if artifact.task_id is not None:
            by_task.setdefault(artifact.task_id, []).append(artifact)
    order = topological_order(_all_edges(rows), [task.id for task in rows.tasks])
    known = {task.id: task for task in leaves}
    ordered = [known[identifier] for identifier in order if identifier in known]
    blame = rows.blame()
    questions = open_questions(leaves)
    told = ", ".join(f"{number} {name}" for name, number in counts.items())
    parts = [
        f"# {cell(rows.title)}",
        f"**Outcome: {outcome}.** {told or 'no tasks'}.",
        _outcome_table(ordered, by_task, blame, rows.files),
        _failures(ordered, blame),
        _summaries(ordered),
        _models(ordered, rows.models),
        _timeline(ordered),
        "## Open questions\n\n" + "\n".join(bullet("", question) for question in questions) if questions else "",
    ]
    return Synthesis("\n\n".join(part for part in parts if part) + "\n", outcome, counts, questions)


def open_questions(leaves: Sequence[Task]) -> list[str]:
    """List what somebody still has to decide or do."""
    questions: list[str] = []
    for task in leaves:
        if task.status is TaskStatus.PENDING and task.run is None and not task.open_dependencies:
            questions.append(f"{task.title} ({task.id}) is prepared and waits for a client to carry it out.")
        elif task.status is TaskStatus.REVIEW:
            questions.append(f"{task.title} ({task.id}) waits for a review: {task.status_reason or 'no reason given'}")
        elif task.status is TaskStatus.BLOCKED:
            questions.append(f"{task.title} ({task.id}) is blocked: {task.status_reason or 'no reason given'}")
        elif task.status is TaskStatus.IN_PROGRESS:
            questions.append(f"{task.title} ({task.id}) is still being worked on by {task.claimed_by or 'somebody'}.")
    return questions


def _all_edges(rows: WorkRows) -> dict[str, list[str]]:
    """Give what each task waited for, met or not, its containers' dependencies included: the order of the work."""
    own: dict[str, list[str]] = {}
    for dependency in rows.dependencies:
        # Related tasks do not wait for each other, and may even relate in a circle.
        if dependency.kind is not DependencyKind.RELATED:
            own.setdefault(dependency.task_id, []).append(dependency.on_task_id)
    return inherited_edges(rows.tasks, own)


def _outcome_table(
    tasks: Sequence[Task], artifacts: Mapping[str, list[Artifact]], blame: Mapping[str, str], files: Mapping[str, str]
) -> str:
    lines = ["| Task | Outcome | Duration | Specialist | Artifacts |", "|---|---|---|---|---|"]
    for task in tasks:
        links = ", ".join(_link(artifact, files) for artifact in artifacts.get(task.id, ()))
        word = outcome_word(task, blame)
        outcome = "waits for a client" if word == "waiting" else word
        lines.append(f"| {cell(task.title)} | {outcome} | {_duration(task)} | {cell(task.specialist)} | {links} |")
    return "\n".join(lines)


def outcome_word(task: Task, blame: Mapping[str, str]) -> str:
    """Say in a word what came of a task: its status, or waived, blocked, or waiting (for a client to carry it out)."""
    if task.waived:
        return "waived"
    if task.id in blame:
        return "blocked"
    if task.status is TaskStatus.PENDING and task.run is None and not task.open_dependencies:
        return "waiting"
    return str(task.status)


def _failures(tasks: Sequence[Task], blame: Mapping[str, str]) -> str:
    lines: list[str] = []
    for task in tasks:
        reason = task.status_reason or "no reason was recorded"
        if task.status is TaskStatus.FAILED:
            lines.append(bullet(f"**{cell(task.title)}** failed: ", reason))
        elif task.waived or task.status is TaskStatus.CANCELLED:
            word = "waived" if task.waived else "cancelled"
            lines.append(bullet(f"**{cell(task.title)}** was {word}: ", reason))
        elif task.id in blame:
            lines.append(bullet(f"**{cell(task.title)}** is blocked by: ", blame[task.id]))
    return "## Failed, blocked and waived\n\n" + "\n".join(lines) if lines else ""


def _summaries(tasks: Sequence[Task]) -> str:
    # What a task said that then got stuck or was cancelled is a reason or a question, and nothing that was done.
    done = [task for task in tasks if task.status not in {TaskStatus.BLOCKED, TaskStatus.CANCELLED}]
    lines = [bullet(f"**{cell(task.title)}**: ", task.summary) for task in done if task.summary]
    return "## What was done\n\n" + "\n".join(lines) if lines else ""


def _models(tasks: Sequence[Task], models: Sequence[ModelWork]) -> str:
    """Say which model did what at what cost, and how many calls were made twice."""
    if not models:
        return ""
    titles = {task.id: task.title for task in tasks}
    lines = ["| Task | Model | Calls | Repeated | Tokens in + out | Cost |", "|---|---|---|---|---|---|"]
    told = [(titles.get(one.task_id, one.task_id), one) for one in models]
    told += [("**all**", one) for one in summed(models)]
    for title, one in told:
        tokens = f"{one.input_tokens} + {one.output_tokens}"
        name = title if title == "**all**" else cell(title)
        model = cell(f"{one.provider}/{one.model}")
        lines.append(f"| {name} | {model} | {one.calls} | {one.repeats} | {tokens} | {cell(cost_text(one))} |")
    return "## Models\n\n" + "\n".join(lines)


def _timeline(tasks: Sequence[Task]) -> str:
    moments = sorted(
        [(task.started, 0, f"{task.title} began") for task in tasks if task.started is not None]
        + [(task.finished, 1, f"{task.title}: {task.status}") for task in tasks if task.finished is not None]
    )
    lines = [f"- {iso(at)} {cell(text)}" for at, _, text in moments]
    return "## Timeline\n\n" + "\n".join(lines) if lines else ""


def _link(artifact: Artifact, files: Mapping[str, str]) -> str:
    target = files.get(artifact.sha256, f"vespera://artifact/{artifact.sha256}")
    return f"[{cell(artifact.name)}]({target}) `{artifact.sha256[:12]}`"


def _duration(task: Task) -> str:
    if task.started is None or task.finished is None:
        return ""
    return f"{task.finished - task.started:.1f} s"


def bullet(head: str, text: str) -> str:
    """Write a list item; what a client wrote stays inside of it, whatever Markdown it is."""
    first, *more = printable(text).strip().splitlines() or [""]
    beginning = f"{head}{_line(first)}" if head else _inert(_line(first))
    quoted = (f"  > {_inert(_line(line.strip()))}" for line in more if line.strip())
    return "\n".join([f"- {beginning}", *quoted])


def _line(text: str) -> str:
    """Write a line of text; its whole `code` stays as it is, and means nothing but itself."""
    parts: list[str] = []
    end = 0
    for code in _CODE.finditer(text):
        parts += [_escaped(text[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, _escaped(text[end:])])


def cell(text: str) -> str:
    """Write a text as a part of one line: a cell, a heading, the text of a link."""
    flat = " ".join(printable(text).split())
    return _escaped(flat if len(flat) <= _CELL_MAX else f"{flat[: _CELL_MAX - 1]}…")


def _escaped(text: str) -> str:
    """Take the meaning from the characters that open a cell, a link, an element, code or emphasis."""
    return _SPECIAL.sub(r"\\\g<0>", text)


def _inert(line: str) -> str:
    """Take the meaning from what makes a heading, a list, a quotation, code or a rule at the beginning of a line."""
    return f"\\{line}" if line[:1] in set("#>=~+-_`") else line
