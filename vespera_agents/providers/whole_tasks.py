"""Whole tasks, for providers that work by themselves in a directory (`Capabilities.acts_alone`).

Such a provider is not asked step by step: it gets the task as text, a working copy and a budget, and comes back when
it is done. Its run has an id that the asker chose and wrote down before; after a kill the same task with `begun`
goes on where it was. Values and one protocol only. Neighbours: `claude_code` carries them out, the agent gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol, final

from vespera_agents.providers.exchange import Completion, Provider, Usage

__all__ = ["ActsAlone", "Carried", "Denial", "Ended", "Hear", "WholeTask", "WorkFacts"]

TURNS_DEFAULT = 60
TIMEOUT_SECONDS_DEFAULT = 1_800.0


@final
@dataclass(frozen=True, slots=True)
class WholeTask:
    """A task to be carried out."""

    name: str
    """Its own among all: 1 to 100 letters, digits, `-`, `_`. What a run keeps for the next is kept under it."""
    run_id: str
    """A UUID that the asker chose and wrote down before: a run that was killed goes on under the same id."""
    text: str
    """What to do, with all that is needed to know for it."""
    directory: Path
    """The working copy: an absolute path."""
    system: str = ""
    """The role and its rules."""
    model: str = ""
    """The vendor's name of it; empty: the provider's default."""
    tools: tuple[str, ...] = ()
    """What the role allows, by our names: list_files, read_file, search, edit_file, write_file, run_command."""
    commands: tuple[str, ...] = ()
    """With run_command: how the commands begin that may be run."""
    begun: bool = False
    """Whether an earlier run may have begun it; whether it has, is found out."""
    forked_from: str | None = None
    """The id of a run of the same name and directory to begin as a copy of; that run stays as it is."""
    turns_max: int = TURNS_DEFAULT
    spend_usd_max: float | None = None
    """What it may cost; None: as much as its provider's owner allows a task."""
    timeout_seconds: float = TIMEOUT_SECONDS_DEFAULT
    """For all of it; past it, it is interrupted and ends with `TimedOut`."""


class Ended(StrEnum):
    """How a run came to its end."""

    DONE = "done"
    TURNS = "turns"
    """It reached the limit of its turns."""
    BUDGET = "budget"
    """It reached the limit of what it may spend."""
    INTERRUPTED = "interrupted"
    """Somebody wanted it to stop; it can be gone on with."""


@final
@dataclass(frozen=True, slots=True)
class Denial:
    """A tool that it wanted and was not allowed."""

    tool: str
    about: str
    """The command, file or pattern, shortened."""


@final
@dataclass(frozen=True, slots=True)
class WorkFacts:
    """What is known of a run, now or at its end; what it counts never goes back."""

    run_id: str
    """Under which it can be gone on with."""
    turns: int = 0
    usage: Usage = field(default_factory=lambda: Usage(0, 0))
    """Of this run alone, without the runs before it."""
    cost_usd: float | None = None
    """Of this run alone; None: not told yet."""
    models: Mapping[str, Usage] = field(default_factory=dict[str, Usage])
    """The same by model: it may have used several."""
    denials: tuple[Denial, ...] = ()
    ended: Ended | None = None
    """None: it goes on, or broke off."""
    resumed: bool = False
    """Whether it went on with an earlier run."""


@final
@dataclass(frozen=True, slots=True)
class Carried:
    """What came of a whole task."""

    completion: Completion
    facts: WorkFacts


Hear = Callable[[WorkFacts], None]
"""Hears how a run stands each time that it has told what it cost, also before it fails or is cancelled."""


class ActsAlone(Provider, Protocol):
    """A provider that carries out whole tasks."""

    async def carry_out(self, whole: WholeTask, hear: Hear = ...) -> Carried:
        """Carry one out.

        Cancelled: it is interrupted, told to end, and killed after a bounded time; it can be gone on with.

        Raises:
            ProviderError: it could not be begun, broke off, or took too long; `hear` has heard what it cost.
        """
        ...

    def most_usd(self, whole: WholeTask) -> float:
        """Say what a task can cost at most."""
        ...

    async def interrupt(self, name: str) -> bool:
        """Have the run of that name stop at the next moment, and say whether there was one; `carry_out` returns."""
        ...
