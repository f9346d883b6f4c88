"""The desk of a specialist that works by itself: everything that the loop needs from outside, passed in.

Neighbours: `loop` works at it, `specialists.specialist` sets it up; a test sets up its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, final

from vespera_agents.context.compaction import Offload
from vespera_agents.providers.exchange import Completion, ModelRequest, Need, ToolCall, ToolSpec
from vespera_agents.providers.whole_tasks import Carried, WholeTask
from vespera_agents.specialists.agent.figures import ContextFigures
from vespera_agents.specialists.agent.journal import Journal
from vespera_agents.specialists.briefing import Surroundings
from vespera_agents.specialists.outcomes import GateReport
from vespera_agents.specialists.roles import Role
from vespera_agents.store.commands import NewArtifact, StepPlace
from vespera_agents.work.models import Task

__all__ = ["Desk", "Thinks", "ToolAnswer", "Tools"]


class Thinks(Protocol):
    """Whoever has requests answered: `providers.models.Models`."""

    async def complete(self, request: ModelRequest, need: Need) -> Completion:
        """Have one request answered, within the limits of what may be spent.

        Raises:
            ProviderError: nobody could answer it.
        """
        ...

    def carries_out(self, need: Need) -> bool:
        """Say whether the need names a model that is given whole tasks."""
        ...

    async def carry_out(self, whole: WholeTask, need: Need) -> Carried:
        """Have a whole task carried out by it.

        Raises:
            ProviderError: it could not be begun, or broke off.
        """
        ...


class ToolAnswer(Protocol):
    """What a tool gave."""

    @property
    def text(self) -> str:
        """For the model; bounded."""
        ...

    @property
    def is_error(self) -> bool:
        """Whether it could not do it."""
        ...


class Tools(Protocol):
    """The tools that a role may use on its task."""

    def specs(self) -> Sequence[ToolSpec]:
        """List them."""
        ...

    async def call(self, call: ToolCall, place: StepPlace, *, again: bool) -> ToolAnswer:
        """Use one; an unknown name or wrong arguments are an answer too.

        Args:
            call: what the model asked for.
            place: the step that does it; the same when it is done once more after a crash.
            again: it was begun before, and what came of it is not known.
        """
        ...


async def _nothing_shared() -> Sequence[tuple[str, str]]:
    return ()


async def _no_files() -> tuple[NewArtifact, ...]:
    return ()


async def _no_gates() -> GateReport:
    return GateReport()


@final
@dataclass(frozen=True, slots=True)
class Desk:
    """What one specialist works with on one task."""

    role: Role
    task: Task
    around: Surroundings
    models: Thinks
    tools: Tools
    journal: Journal
    keep: Callable[[bytes, str], Awaitable[NewArtifact]]
    """Makes a text durable under a name."""
    offload: Offload
    """Keeps a part of the context that is too long for it, and gives the link to it."""
    directory: Path
    """Where the work is, and the gates run."""
    commands: tuple[str, ...] = ()
    """How commands begin that a model which works alone may run."""
    shared: Callable[[], Awaitable[Sequence[tuple[str, str]]]] = _nothing_shared
    """Gives the notes of the session that the role may see."""
    changes: Callable[[], Awaitable[tuple[NewArtifact, ...]]] = _no_files
    """Gives what was changed in files, at the end."""
    goes_on: Callable[[], bool] = lambda: True
    """Says whether another step may begin; not when the server is about to stop."""
    say: Callable[[str], None] = lambda _: None
    """Hears in a line what is being done."""
    check: Callable[[], Awaitable[GateReport]] = _no_gates
    """Runs the gates; the specialist itself does."""
    fills: Callable[[int], None] = lambda _: None
    """Hears how many tokens the context of the next request has."""
    begins: Callable[[float], None] = lambda _: None
    """Hears how many seconds the step that begins may take."""
    figures: ContextFigures = field(default_factory=ContextFigures)
