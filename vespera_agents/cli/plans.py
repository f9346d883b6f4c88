"""`vespera plan show`: what the reader understood of a plan, before anybody carries it out.

Also how a plan's file is read: never more of it than a plan may have. Not the reader itself (`work.plans`).
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from vespera_agents.cli.outcomes import EXIT_DONE, EXIT_FAILED, complain
from vespera_agents.cli.wording import one_line
from vespera_agents.work.drafts import TaskDraft
from vespera_agents.work.errors import PlanError
from vespera_agents.work.plain import printable
from vespera_agents.work.plans import PLAN_BYTES_MAX, Plan, plan_drafts, read_plan_bytes
from vespera_agents.work.plans.lines import too_large

__all__ = ["read_plan_path", "show_plan"]


def read_plan_path(path: Path) -> Plan:
    """Read the plan in a file.

    Raises:
        PlanError: there is no such file, it cannot be read, or it is no plan.
    """
    try:
        # Not open() first: a pipe or a device would wait for ever, or never end.
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise PlanError(f"{path} is {kind}. Give the path of a Markdown file.")
        if status.st_size > PLAN_BYTES_MAX:
            raise too_large(path.name, status.st_size)
        with path.open("rb") as file:
            data = file.read(PLAN_BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise PlanError(f"there is no file {path}. Give the path of a Markdown file.") from error
    except OSError as error:
        raise PlanError(f"{path} cannot be read ({error.strerror}). Give the path of a Markdown file.") from error
    return read_plan_bytes(data, name=path.name)


def show_plan(path: Path, *, as_json: bool) -> int:
    """Print a plan; give the exit status: 1 where it was understood but cannot be carried out.

    Raises:
        PlanError: it is no plan.
    """
    plan = read_plan_path(path)
    problem: str | None = None
    drafts: list[TaskDraft] = []
    try:
        drafts = plan_drafts(plan)
    except PlanError as error:
        problem = str(error)
    if as_json:
        document = plan.model_dump(mode="json") | {
            "drafts": [draft.model_dump(mode="json") for draft in drafts],
            "problem": problem,
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        click.echo("\n".join(_lines(plan, drafts)))
    if problem is not None:
        complain(problem)
        return EXIT_FAILED
    return EXIT_DONE


def _lines(plan: Plan, drafts: Sequence[TaskDraft]) -> Iterator[str]:
    yield one_line(plan.title)
    header = plan.header
    facts = [
        f"{name} {one_line(str(value))}"
        for name, value in (
            ("id", plan.id),
            ("type", header.type),
            ("status", header.status),
            ("priority", header.priority),
            ("effort", header.estimated_effort),
            ("concurrency", plan.concurrency),
        )
        if value is not None
    ]
    yield f"  {', '.join(facts)}"
    yield f"  {len(plan.items)} items in {len(plan.phases)} phases"
    if drafts:
        yield from ("", "Tasks")
        yield from _tree(drafts, "  ")
    if plan.graph:
        yield from ("", "Graph")
        for edge in plan.graph:
            label = f"  ({one_line(edge.label)})" if edge.label else ""
            yield f"  {one_line(edge.before)} -> {one_line(edge.after)}{label}"
    if plan.groups:
        yield from ("", "Execution groups")
        for group in plan.groups:
            yield f"  {one_line(group.title)} ({group.mode}): {', '.join(group.members)}"
    if plan.proposed_gates:
        yield from ("", "Proposed gates (never executed)")
        yield from (f"  line {gate.line}: {one_line(gate.text)}" for gate in plan.proposed_gates)
    if plan.notes:
        yield from ("", "Notes")
        for note in plan.notes:
            place = f"line {note.line}: " if note.line is not None else ""
            yield f"  {place}{one_line(note.text)}"
    yield ""
    if plan.unplaced:
        yield "Unplaced lines"
        yield from (f"  line {line.line}: {printable(line.text).rstrip()}" for line in plan.unplaced)
        yield ""
    count = plan.lines
    yield (
        f"{count.total} lines: {count.understood} understood, {count.kept} kept as text, "
        f"{count.blank} blank, {count.unplaced} unplaced"
    )


def _tree(drafts: Sequence[TaskDraft], indent: str) -> Iterator[str]:
    """Give a line for each task, containers before their contents; a plan's tree is a few levels deep."""
    for draft in drafts:
        title = one_line(draft.title)
        name = f"{title} [{draft.key}]" if draft.key != title else title
        facts = (
            []
            if draft.subtasks
            else [draft.specialist or "no specialist named", str(draft.complexity).replace("_", " ")]
        )
        if draft.done:
            facts.append("done")
        if draft.dependencies:
            facts.append(f"after {', '.join(dependency.on for dependency in draft.dependencies)}")
        yield f"{indent}{name}" + (f"  ({'; '.join(facts)})" if facts else "")
        commands = [("when", draft.when), ("run", draft.run), *(("gate", gate) for gate in draft.gates)]
        for word, command in commands:
            if command is not None:
                shell = " (shell)" if command.shell else ""
                yield f"{indent}    {word}{shell}: {one_line(command.text)}"
        yield from _tree(draft.subtasks, f"{indent}  ")
