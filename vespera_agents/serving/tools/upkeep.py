"""The three tools that keep the house: put sessions away, look after a workspace, tell the server's health.

Each says what it takes and how its result reads; the work is the facade's, the health is measured by `health`.
Neighbours: `catalogue` lists them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field

from vespera_agents.health.checks import FrontVital, Grade
from vespera_agents.serving.judging import model_for
from vespera_agents.serving.tools.parameters import SessionRef, Word
from vespera_agents.serving.tools.texts import LINES_MAX, counted, joined, listed
from vespera_agents.serving.tools.tool import Effects, Parameters, Tool, make_tool
from vespera_agents.specialists.answers import Answer
from vespera_agents.specialists.calls import Call
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.upkeep.answers import Action, CleanupAnswer, MaintenanceAnswer
from vespera_agents.specialists.upkeep.tools import OLDER_DAYS, OLDER_DAYS_MAX, Which

__all__ = ["UPKEEP_TOOLS"]

_MAILBOXES_SHOWN: Final = 5
_SUPERVISORS_SHOWN: Final = 10


class CleanupParameters(Parameters):
    """Arguments of orchestrator_cleanup_sessions."""

    which: Annotated[Which, Word, Field(description="orphaned: empty or directory gone; completed: all ended")]
    older_than_days: Annotated[int, Field(ge=1, le=OLDER_DAYS_MAX)] = OLDER_DAYS
    dry_run: bool = True
    session: Annotated[SessionRef, Field(description="Only this one")] | None = None


class MaintenanceParameters(Parameters):
    """Arguments of orchestrator_maintenance_coordinator."""

    action: Annotated[Action, Word, Field(description="scan_cleanup: stale claims, orphans, stray files")]
    scope: Annotated[Literal["session", "workspace"], Word] = "workspace"
    validation_level: Annotated[Literal["basic", "full"], Word, Field(description="full: read every byte")] = "basic"
    dry_run: Annotated[bool, Field(description="Default: true for scan_cleanup only")] | None = None
    session: SessionRef | None = None


class HealthParameters(Parameters):
    """Arguments of orchestrator_health_check."""


class HealthAnswer(Answer):
    """How well the server is, measured now."""

    status: Grade
    reasons: list[str]
    """Each names the component to blame, the worst first."""
    loop_lag_seconds: float
    commit_seconds: list[tuple[str, float]]
    """Rows of an open workspace and what a synced commit took there just now."""
    queue_depth: int
    """Commands that wait for the disk."""
    store_errors: int
    """Since the server began."""
    mailboxes: list[tuple[str, float]]
    """Rows of an actor and how full its mailbox is, 0 to 1, the fullest first."""
    restarts_left: list[tuple[str, int]]
    """Rows of a supervisor and how often it may restart yet, nearest to giving up first."""
    disk_free_bytes: list[tuple[str, int]]
    """Rows of a workspace and what its disk has left."""
    providers: list[tuple[str, str]]
    """Rows of a model provider and the state of its circuit."""
    front: list[tuple[str, str | int]] | None
    """Rows of a fact about the process that replaces this one when it must, and how it stands."""
    recoveries: list[str]
    """What was done about reasons lately, the newest last."""


async def _cleanup(orchestrator: Orchestrator, call: Call, given: CleanupParameters) -> CleanupAnswer:
    return await orchestrator.upkeep.cleanup(
        call, given.which, given.older_than_days, dry_run=given.dry_run, session=given.session
    )


async def _maintain(orchestrator: Orchestrator, call: Call, given: MaintenanceParameters) -> MaintenanceAnswer:
    return await orchestrator.upkeep.maintain(
        call, given.action, given.scope, given.validation_level, dry_run=given.dry_run, session=given.session
    )


async def _check_health(orchestrator: Orchestrator, _: Call, __: HealthParameters) -> HealthAnswer:
    await orchestrator.home_workspace()
    model = model_for(orchestrator)
    verdict = await model.examine()
    measured = model.measured
    return HealthAnswer(
        status=verdict.grade,
        reasons=[f"{one.component}: {one.what} ({one.grade})" for one in verdict.reasons[:LINES_MAX]],
        loop_lag_seconds=round(measured.loop_lag_seconds, 6),
        commit_seconds=[
            (one.workspace, round(one.commit_seconds, 6)) for one in measured.stores if one.commit_seconds is not None
        ],
        queue_depth=sum(one.queue_depth for one in measured.stores),
        store_errors=sum(one.errors for one in measured.stores),
        mailboxes=[(one.actor, round(one.fill_ratio, 3)) for one in measured.mailboxes[:_MAILBOXES_SHOWN]],
        restarts_left=[(one.supervisor, one.restarts_left) for one in measured.supervisors[:_SUPERVISORS_SHOWN]],
        disk_free_bytes=[(one.workspace, one.free_bytes) for one in measured.disks],
        providers=list(measured.providers.items()),
        front=None if measured.front is None else list(_front_rows(measured.front)),
        recoveries=[str(one) for one in model.recoveries.notes[-LINES_MAX:]],
    )


def _front_rows(front: FrontVital) -> Iterator[tuple[str, str | int]]:
    yield "generation", front.generation
    yield "crashes lately", front.crashes_lately
    if front.spare is not None:
        yield "spare", "ready" if front.spare else "not ready"
    if front.restarting is not None:
        yield "restarting", front.restarting


def _tell_cleanup(answer: CleanupAnswer) -> str:
    verb = "Would close" if answer.dry_run else "Closed"
    return joined(
        f"{verb} {counted(answer.sessions, 'session')}, archive{'' if answer.dry_run else 'd'} "
        f"{counted(answer.tasks, 'task')}, remove{'' if answer.dry_run else 'd'} "
        f"{counted(answer.artifacts, 'artifact')}.",
        listed("Sessions", answer.changes),
        listed("Left alone", answer.skipped),
        answer.next_action,
    )


def _tell_maintenance(answer: MaintenanceAnswer) -> str:
    return joined(
        f"{answer.action}: {counted(len(answer.findings), 'finding')}.",
        listed("Found", answer.findings),
        listed("Would change" if answer.dry_run else "Changed", answer.changes),
        answer.next_action,
    )


def _tell_health(answer: HealthAnswer) -> str:
    commits = max((seconds for _, seconds in answer.commit_seconds), default=0.0)
    return joined(
        f"{answer.status.capitalize()}: loop {answer.loop_lag_seconds * 1_000:.1f} ms late, commit "
        f"{commits * 1_000:.1f} ms, {answer.queue_depth} waiting for the disk.",
        listed("Because", answer.reasons),
        listed("Done about it", answer.recoveries),
    )


UPKEEP_TOOLS: Final[tuple[Tool, ...]] = (
    make_tool(
        "orchestrator_cleanup_sessions",
        "Clean up sessions",
        "Close sessions that are over in every known workspace, and archive finished tasks of old ones. Use it when "
        "they are many; it only tells unless dry_run=false.",
        Effects(destructive=True, idempotent=True),
        parameters=CleanupParameters,
        answer=CleanupAnswer,
        run=_cleanup,
        tell=_tell_cleanup,
    ),
    make_tool(
        "orchestrator_maintenance_coordinator",
        "Maintain a workspace",
        "Clean a workspace up, check its rows and files, write its status documents or prepare a hand-over. Use it to "
        "tidy up or before you leave.",
        Effects(destructive=True),
        parameters=MaintenanceParameters,
        answer=MaintenanceAnswer,
        run=_maintain,
        tell=_tell_maintenance,
    ),
    make_tool(
        "orchestrator_health_check",
        "Health check",
        "Measure event loop, commits, mailboxes, supervisors and disk now. Use it when calls are slow or fail.",
        Effects(read_only=True, idempotent=True),
        parameters=HealthParameters,
        answer=HealthAnswer,
        run=_check_health,
        tell=_tell_health,
    ),
)
