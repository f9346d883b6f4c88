"""The prompts: what a person picks in a client so that the model does a piece of our work well.

Each is filled with the state of the session as it is, and names the tools to call. Asking for one changes nothing: what
is to be claimed is claimed by the model's own call. Not here: completion of arguments (`completions`), the shapes of
the protocol (`requests`). Neighbours: `specialists.briefing` writes what a specialist is told.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

import trio

from vespera_agents.specialists.answers import TaskView
from vespera_agents.specialists.briefing import brief
from vespera_agents.specialists.gathering import surroundings_of
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.roles import Role
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.store import queries
from vespera_agents.work.errors import InvalidInput, NotFound
from vespera_agents.work.models import Artifact, Task, TaskStatus, role_name
from vespera_agents.work.plain import is_text

__all__ = ["PROMPTS", "Argument", "Prompt", "get_prompt"]

TOKENS_MAX: Final = 8_000
"""Context tokens of the part of a prompt that tells about a task; claiming it gives the whole briefing."""
TEXT_MAX: Final = 20_000
"""Characters in one argument."""
_SHOWN: Final = 10
_LINE_MAX: Final = 160

Completes = Literal["task", "session", "role"]
Arguments = Mapping[str, str]


@final
@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a prompt; every value is a text."""

    name: str
    title: str
    description: str
    required: bool = False
    completes: Completes | None = None
    """What its value names, so that it can be completed."""


@final
@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt."""

    name: str
    title: str
    description: str
    arguments: tuple[Argument, ...]
    write: Callable[[Orchestrator, Arguments], Awaitable[str]]
    """Fill it with the state of things. Raises what the facade raises."""
    likely: tuple[str, ...] = ()
    """Statuses of the tasks that are likely meant, the likeliest first; `ready` for what can be claimed now."""


async def get_prompt(orchestrator: Orchestrator, name: str, arguments: Arguments) -> tuple[Prompt, str]:
    """Write a prompt with these arguments.

    Raises:
        NotFound: there is no such prompt, or an argument names nothing.
        InvalidInput: an argument is missing, unknown, or too long.
    """
    prompt = prompt_named(name)
    known = {one.name: one for one in prompt.arguments}
    for given, value in arguments.items():
        if given not in known:
            near = difflib.get_close_matches(given, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(known)}"
            raise InvalidInput(f"the prompt {name} has no argument {given[:80]!r}: {hint}", f"Ask for {name} again.")
        if len(value) > TEXT_MAX:
            raise InvalidInput(f"`{given}` has {len(value)} characters; {TEXT_MAX} are allowed", "Give a shorter text.")
        if not is_text(value):
            raise InvalidInput(f"`{given}` must be a valid Unicode text", f"Ask for {name} again with one.")
    # An argument that a client leaves empty in its form is one that was not given.
    filled = {given: value.strip() for given, value in arguments.items() if value.strip()}
    missing = [one for one in prompt.arguments if one.required and one.name not in filled]
    if missing:
        wanted = "; ".join(f"`{one.name}`: {one.description}" for one in missing)
        raise InvalidInput(f"the prompt {name} needs {wanted}", f"Ask for {name} again with it.")
    return prompt, await prompt.write(orchestrator, filled)


def prompt_named(name: str) -> Prompt:
    """Find a prompt.

    Raises:
        NotFound: there is none of that name.
    """
    found = next((one for one in PROMPTS if one.name == name), None)
    if found is None:
        names = [one.name for one in PROMPTS]
        near = difflib.get_close_matches(name, names, 3, 0.5) or names
        raise NotFound(f"there is no prompt {name[:80]!r}", f"Ask for one of: {', '.join(near)}.")
    return found


async def _plan_work(orchestrator: Orchestrator, given: Arguments) -> str:
    opened = await orchestrator.home_workspace()
    roles = await trio.to_thread.run_sync(opened.roles)
    parts = ["# Plan a piece of work", f"## The goal\n\n{given['goal']}"]
    try:
        status = await orchestrator.sessions.get_status(given.get("session"), _SHOWN)
    except NotFound:
        if "session" in given:
            raise
        session = ""
        parts.append("## The session\n\nNo session is open yet: begin with orchestrator_initialize_session.")
    else:
        session = f", session={status.session.id!r}"
        parts.append(
            f"## The session\n\n{status.session.name} ({status.session.id}) in {status.session.working_directory}; "
            f"tasks: {_counts(status.session.counts)}."
            + _section("Already under way or waiting; do not plan it twice:", [*status.in_progress, *status.ready])
        )
    parts.append("## The specialists\n\n" + "\n".join(f"- {name}: {_sentence(roles[name])}" for name in sorted(roles)))
    parts.append(
        "## What to do\n\n"
        "1. Read what the goal touches, and look for earlier work with orchestrator_query_tasks"
        f"(text=...{session}).\n"
        "2. Break the goal into tasks that one specialist can finish in one go. Each has a title, a description that "
        "says when it is done, a specialist of the list above, a task_type and a complexity. Let a task depend on "
        "another one only where it needs its result, so that the rest can go on side by side. Where a command proves "
        "that a task is done, make it one of its gates.\n"
        "3. Write all of it with one call of orchestrator_plan_task(title=..., description=..., "
        f"subtasks=[...]{session}): nested subtasks, each with a key that the dependencies of the others name. It is "
        "written as a whole or not at all; correct what it refuses and call again.\n"
        "4. Show the person the tree, what is ready now, what waits for what, and the questions that are open. Carry "
        "nothing out before they agree; then claim the first ready task with orchestrator_execute_task."
    )
    return "\n\n".join(parts)


async def _execute_task(orchestrator: Orchestrator, given: Arguments) -> str:
    opened, task = await orchestrator.lookup.task(given["task_id"], given.get("session"))
    roles = await trio.to_thread.run_sync(opened.roles)
    wanted = role_name(given.get("specialist", task.specialist))
    if "specialist" in given and wanted not in roles:
        near = difflib.get_close_matches(wanted, roles, 3, 0.5) or sorted(roles)
        raise NotFound(f"there is no role {given['specialist'][:80]!r}", f"Name one of: {', '.join(near)}.")
    role = roles.get(wanted) or roles["generic"]
    ready = task.ready or task.status is TaskStatus.REVIEW
    if ready:
        claim = (
            f"Claim it with orchestrator_execute_task(task_id={task.id!r}); what it answers counts, should it "
            "differ from what stands here. When it is refused, somebody else has the task: do not work on it."
        )
    else:
        claim = (
            f"{_why_not(task)} orchestrator_execute_task(task_id={task.id!r}) says more; what can be claimed is listed "
            f"by orchestrator_query_tasks(ready=true, session={task.session_id!r}). Tell the person before you go on."
        )
    return "\n\n".join(
        (
            f"# Carry out {task.title} as its {role.name}",
            (
                "## How\n\n"
                f"1. {claim}\n"
                "2. Do the work as the briefing below says. Read the artifacts that it names.\n"
                f"3. {_gates_step(task)}\n"
                f"4. Hand it in with orchestrator_complete_task(task_id={task.id!r}, summary=..., detailed_work=..., "
                "next_action='complete'): the summary is what those read who build on it. Use 'needs_revision' when "
                "somebody should look at it first, and 'blocked' when you cannot go on, with what stops you as the "
                "summary.\n"
                "5. Go on with the tasks that its answer calls ready, or stop if the person asked for this one only."
            ),
            await _briefing(opened, task, role),
        )
    )


async def _review_task(orchestrator: Orchestrator, given: Arguments) -> str:
    opened, task = await orchestrator.lookup.task(given["task_id"], given.get("session"))
    roles = await trio.to_thread.run_sync(opened.roles)
    reviewer = roles.get("reviewer") or roles["generic"]
    artifacts = await opened.store.read(queries.artifacts_of, [task.id])
    if task.status is TaskStatus.REVIEW:
        begin = f"Claim it with orchestrator_execute_task(task_id={task.id!r}): nobody else changes it meanwhile then."
        back = (
            f"send it back: orchestrator_update_task(task_id={task.id!r}, status='pending', reason=...) with the "
            "findings as the reason"
        )
        accept = f"accept it: orchestrator_complete_task(task_id={task.id!r}, summary=..., next_action='complete')"
    elif task.status is TaskStatus.COMPLETED:
        begin = "It counts as completed; you look at it once more. Claim nothing."
        back = (
            f"reopen it: orchestrator_update_task(task_id={task.id!r}, status='in_progress', reason=...) with the "
            "findings as the reason"
        )
        accept = "leave it as it is, and say so"
    else:
        begin = f"It is {_standing(task)}: nothing was handed in for review. Tell the person, and change nothing."
        back = "say what would have to change"
        accept = "say that what is there looks right so far"
    return "\n\n".join(
        (
            f"# Review {task.title}",
            (
                "## How\n\n"
                f"1. {begin}\n"
                f"2. Read what was asked for, what was handed in, and each artifact: {_artifacts(artifacts)}.\n"
                f"3. {_gates_step(task)}\n"
                "4. Judge against what was asked for, not against what you would have done. For each finding: the "
                "place, what is wrong, what remedies it, and whether it must change.\n"
                f"5. When something must change, {back}. Otherwise {accept}."
            ),
            await _briefing(opened, task, reviewer),
        )
    )


async def _hand_over_session(orchestrator: Orchestrator, given: Arguments) -> str:
    status = await orchestrator.sessions.get_status(given.get("session"), _SHOWN)
    session = status.session
    review = await orchestrator.tasks.query(
        queries.TaskFilter(status=(TaskStatus.REVIEW,)), session=session.id, limit=_SHOWN
    )
    opened, _ = await orchestrator.lookup.session(session.id)
    artifacts = await opened.store.read(queries.latest_artifacts, session.id, _SHOWN)
    blocked = [f"- {one.title} ({one.id}): waits for {'; '.join(one.blocked_by)}"[:_LINE_MAX] for one in status.blocked]
    purpose = f" It goes to: {given['to']}." if "to" in given else ""
    return "\n\n".join(
        (
            f"# Hand over {session.name}",
            f"## How it stands\n\nSession {session.id} in {session.working_directory}; tasks: "
            f"{_counts(session.counts)}."
            + _section("In progress:", status.in_progress)
            + _section("In review:", review.tasks)
            + _section("Ready:", status.ready)
            + ("\n\nBlocked:\n" + "\n".join(blocked[:_SHOWN]) if blocked else "")
            + f"\n\nNewest artifacts: {_artifacts(artifacts)}.",
            (
                "## What to do\n\n"
                f"1. Look again with orchestrator_get_status(session={session.id!r}): it may have changed since.\n"
                "2. Finish what is nearly done, and hand it in with orchestrator_complete_task. Give the rest of your "
                "own work back with orchestrator_update_task(task_id=..., status='pending', reason=...): the reason "
                "is what the next one reads, so say how far you came and what you would try next.\n"
                f"3. Gather what came of it with orchestrator_synthesize_results(session={session.id!r}).\n"
                f"4. Write the hand-over for somebody who was not there.{purpose} What the goal is; what is done, with "
                "its artifacts; what is under way; what is blocked, by what, and who could unblock it; decisions and "
                "their reasons; risks; the next three steps. Only what the tasks and artifacts show: no guesses.\n"
                f"5. End it with how to go on: orchestrator_resume_session(session={session.id!r})."
            ),
        )
    )


async def _briefing(opened: OpenWorkspace, task: Task, role: Role) -> str:
    """Write what a specialist is told of a task, as far as there is room in a prompt."""
    task, around = await opened.store.read(surroundings_of, task.id)
    small = role.model_copy(update={"context_tokens_max": min(role.context_tokens_max, TOKENS_MAX)})
    return (await brief(small, task, around)).prompt


def _why_not(task: Task) -> str:
    if task.is_container:
        return "It has subtasks, and nobody claims it: its status follows them."
    if task.status is TaskStatus.PENDING:
        return "It cannot be claimed yet: it waits for other tasks."
    if task.status is TaskStatus.IN_PROGRESS:
        return "It is in progress already: go on with it only if it is yours."
    return f"It is {_standing(task)} and cannot be claimed."


def _standing(task: Task) -> str:
    return str(task.status) + (f" ({task.status_reason[:_LINE_MAX]})" if task.status_reason else "")


def _gates_step(task: Task) -> str:
    if not task.gates:
        return "Check the result yourself before you hand it on: no command does it for you."
    return f"These commands must succeed: {'; '.join(f'`{gate.text}`' for gate in task.gates)}."


def _section(heading: str, tasks: Sequence[TaskView]) -> str:
    lines = [f"- {one.title} ({one.id}, {one.specialist}, {one.status})"[:_LINE_MAX] for one in tasks[:_SHOWN]]
    return "\n\n" + "\n".join([heading, *lines]) if lines else ""


def _artifacts(artifacts: Sequence[Artifact]) -> str:
    shown = [f"{one.name[:_LINE_MAX]} (vespera://artifact/{one.sha256})" for one in artifacts[:_SHOWN]]
    return ", ".join(shown) or "there is none"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {status}" for status, number in sorted(counts.items()) if number) or "none yet"


def _sentence(role: Role) -> str:
    return " ".join(role.role_definition.split())[:_LINE_MAX]


_SESSION_ARGUMENT: Final = Argument(
    "session", "Session", "The id of the session; the only open one of this workspace if left out", completes="session"
)

PROMPTS: Final = (
    Prompt(
        "plan_work",
        "Plan a piece of work",
        "Break a goal into tasks for specialists, with dependencies and gates, and write them as one plan.",
        (
            Argument("goal", "Goal", "What shall be achieved, and how one sees that it is", required=True),
            _SESSION_ARGUMENT,
        ),
        _plan_work,
    ),
    Prompt(
        "execute_task",
        "Carry out a task",
        "Claim a task, work on it as its specialist with the briefing that belongs to it, and hand the work in.",
        (
            Argument("task_id", "Task", "The id of the task or the beginning of it", required=True, completes="task"),
            Argument("specialist", "Specialist", "The role to work as; that of the task if left out", completes="role"),
            _SESSION_ARGUMENT,
        ),
        _execute_task,
        ("ready", "in_progress", "review"),
    ),
    Prompt(
        "review_task",
        "Review a task",
        "Judge the work that was handed in for a task, and accept it or send it back with findings.",
        (
            Argument("task_id", "Task", "The id of the task or the beginning of it", required=True, completes="task"),
            _SESSION_ARGUMENT,
        ),
        _review_task,
        ("review", "completed", "in_progress"),
    ),
    Prompt(
        "hand_over_session",
        "Hand over a session",
        "Bring a session into a state that somebody else can take over, and write the hand-over.",
        (Argument("to", "For whom", "Who takes over, and what they know already"), _SESSION_ARGUMENT),
        _hand_over_session,
    ),
)
"""Every prompt, in the order in which clients see them."""
