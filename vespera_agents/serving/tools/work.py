"""The three tools on work: claim a task, hand work in, gather results.

Each says what it takes and how its result reads; the work is the facade's. Neighbours: `catalogue` lists them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import Field

from vespera_agents.serving.tools import results, shaping
from vespera_agents.serving.tools.parameters import Listed, SessionRef, TaskRef, Word
from vespera_agents.serving.tools.schemas import TOLD
from vespera_agents.serving.tools.texts import counted, joined, one_line, shown, task_lines
from vespera_agents.serving.tools.tool import Effects, Parameters, Shape, Tool, make_tool
from vespera_agents.specialists.answers import ArtifactLink, ClaimAnswer, CompleteAnswer, SynthesisAnswer
from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.work.models import ArtifactKind

__all__ = ["WORK_TOOLS"]


class ExecuteParameters(Parameters):
    """Arguments of orchestrator_execute_task."""

    task_id: TaskRef
    mode: Annotated[Literal["client", "agent"], Word] = "client"
    session: SessionRef | None = None


class CompleteParameters(Parameters):
    """Arguments of orchestrator_complete_task."""

    task_id: TaskRef
    summary: Annotated[
        str,
        Field(
            min_length=1, max_length=4_000, description="What came of it; dependents read it", json_schema_extra=TOLD
        ),
    ]
    detailed_work: Annotated[str, Field(max_length=8_000_000, description="Kept as an artifact")] = ""
    next_action: Annotated[
        Literal["complete", "continue", "needs_revision", "blocked"],
        Word,
        Field(description="complete, continue: done; needs_revision: to review; blocked: summary says by what"),
    ]
    file_paths: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=4_096)], ...],
        Field(max_length=50, description="Files of the workspace to keep"),
        Listed,
    ] = ()
    artifact_type: Annotated[ArtifactKind, Word] = ArtifactKind.GENERAL
    session: SessionRef | None = None


class SynthesizeParameters(Parameters):
    """Arguments of orchestrator_synthesize_results."""

    parent_task_id: Annotated[TaskRef, Field(description="Default: the session")] | None = None
    session: SessionRef | None = None


async def _execute(orchestrator: Orchestrator, call: Call, given: ExecuteParameters) -> ClaimAnswer:
    if given.mode == "agent":
        return await orchestrator.agents.execute(call, given.task_id, given.session)
    return await orchestrator.work.execute(call, given.task_id, given.session)


async def _complete(orchestrator: Orchestrator, call: Call, given: CompleteParameters) -> CompleteAnswer:
    return await orchestrator.work.complete(
        call,
        given.task_id,
        summary=given.summary,
        detailed_work=given.detailed_work,
        next_action=given.next_action,
        file_paths=given.file_paths,
        artifact_type=given.artifact_type,
        session=given.session,
    )


async def _synthesize(orchestrator: Orchestrator, call: Call, given: SynthesizeParameters) -> SynthesisAnswer:
    return await orchestrator.work.synthesize(call, given.parent_task_id, given.session)


def _tell_claim(answer: ClaimAnswer) -> str:
    """Tell the briefing itself: a client that passes on only texts could not work without it."""
    if answer.outcome is not None:
        return joined(f"{answer.task.id} {one_line(answer.task.title)}: {answer.outcome}.", answer.next_action)
    return joined(
        f"{'Already yours' if answer.already_yours else 'Claimed'}: {answer.task.id} {one_line(answer.task.title)}.",
        f"Left out for the budget of {answer.context_tokens_max} tokens: {shown(answer.left_out)}."
        if answer.left_out
        else "",
        answer.next_action,
        f"\n{answer.prompt}",
    )


def _claim_links(answer: ClaimAnswer) -> Sequence[ArtifactLink]:
    return answer.dependency_artifacts


def _tell_complete(answer: CompleteAnswer) -> str:
    parent = (
        f"Parent {answer.parent_task_id} is {answer.parent_status}: {answer.parent_done} of {answer.parent_total} done."
        if answer.parent_status is not None
        else ""
    )
    return joined(
        f"{answer.task_id}: {answer.outcome}, version {answer.version}, "
        f"{counted(len(answer.artifacts), 'artifact')} kept.",
        parent,
        task_lines("Ready now", answer.ready),
        answer.next_action,
    )


def _complete_links(answer: CompleteAnswer) -> Sequence[ArtifactLink]:
    return answer.artifacts


def _tell_synthesis(answer: SynthesisAnswer) -> str:
    counts = ", ".join(f"{number} {status}" for status, number in answer.counts.items() if number)
    return joined(
        f"Outcome: {answer.outcome} ({counts or 'no tasks'}).",
        f"Open questions: {shown(answer.open_questions)}" if answer.open_questions else "",
        f"The whole text, {answer.artifact.size} bytes, is {answer.artifact.uri}.",
    )


def _synthesis_links(answer: SynthesisAnswer) -> Sequence[ArtifactLink]:
    return [answer.artifact]


WORK_TOOLS: Final[tuple[Tool, ...]] = (
    make_tool(
        "orchestrator_execute_task",
        "Claim a task",
        "Claim a task that is ready or in review, and get its briefing and gates. Use it before you work on one, or "
        "with mode=agent to have it done.",
        Effects(idempotent=True, open_world=True),
        parameters=ExecuteParameters,
        answer=ClaimAnswer,
        run=_execute,
        tell=_tell_claim,
        shape=Shape(results.Claimed, shaping.claimed),
        links=_claim_links,
        begins=True,
    ),
    make_tool(
        "orchestrator_complete_task",
        "Hand in work",
        "Hand in a claimed task's work: it is kept, the gates run, the status changes. Use it when done, stuck "
        "(blocked) or for a review (needs_revision).",
        Effects(open_world=True),
        parameters=CompleteParameters,
        answer=CompleteAnswer,
        run=_complete,
        tell=_tell_complete,
        shape=Shape(results.Completed, shaping.completed),
        links=_complete_links,
    ),
    make_tool(
        "orchestrator_synthesize_results",
        "Synthesize results",
        "Gather outcomes, failures and open questions of a task or the session into one Markdown artifact. "
        "Use it when work has ended.",
        Effects(),
        parameters=SynthesizeParameters,
        answer=SynthesisAnswer,
        run=_synthesize,
        tell=_tell_synthesis,
        shape=Shape(results.Synthesized, shaping.synthesized),
        links=_synthesis_links,
        long=True,
        begins=True,
    ),
)
