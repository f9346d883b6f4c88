"""How a front fares, as it tells its worker: the workers before this one, a restart under way, whether a spare waits.

What a front says is read kindly, because it may be of another version than its worker. Pure. Neighbours: the transport
brings it, `life` writes it down, `reporting` tells clients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast, final

from vespera_agents.specialists.front import Front

__all__ = ["Crash", "Phase", "Restarting", "Standing", "predecessor_ended", "standing_of"]

Told = Mapping[str, Any]
_ALL_PERCENT: Final = 100.0


@final
@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a restart."""

    name: str
    seconds: float
    """How long it took, or takes by now."""
    percent: float
    """How far it is, 0 to 100."""


@final
@dataclass(frozen=True, slots=True)
class Restarting:
    """A restart that was asked for: under way, or failed."""

    reason: str
    mode: str
    phases: tuple[Phase, ...]
    error: str | None
    """Why it failed; None while it is under way."""

    @property
    def is_over(self) -> bool:
        """Whether the new worker works, and this is the last that is said of it."""
        return bool(self.phases) and self.phases[-1].percent >= _ALL_PERCENT


@final
@dataclass(frozen=True, slots=True)
class Crash:
    """A worker that ended without being asked to."""

    generation: int
    at: float
    """Seconds since the epoch."""
    pid: int | None
    ending: str
    """What it ended with, in words."""
    ready: bool
    """Whether it had worked before."""


@final
@dataclass(frozen=True, slots=True)
class Standing:
    """How a front fares."""

    restarting: Restarting | None = None
    crashes: tuple[Crash, ...] = ()
    """The newest last."""
    spare: bool | None = None
    """Whether a process waits to take over; None where the front did not say."""
    processes: int = 0


def standing_of(told: Told) -> Standing:
    """Read what a front says of itself; what is missing or of another kind is left out."""
    restarting = told.get("restarting")
    return Standing(
        _restarting(cast("Told", restarting)) if isinstance(restarting, Mapping) else None,
        tuple(_crash(one) for one in _objects(told.get("crashes"))),
        spare if isinstance(spare := told.get("spare"), bool) else None,
        int(_number(told.get("processes"))),
    )


def predecessor_ended(front: Front) -> float | None:
    """Say when the worker before this one died, in seconds since the epoch; None where none did, as far as is known."""
    before = front.generation - 1
    return next((crash.at for crash in standing_of(front.standing).crashes if crash.generation == before), None)


def _restarting(told: Told) -> Restarting:
    phases = tuple(
        Phase(str(one.get("name", "")), _number(one.get("seconds")), _number(one.get("percent")))
        for one in _objects(told.get("phases"))
    )
    error = told.get("error")
    return Restarting(
        str(told.get("reason") or ""), str(told.get("mode") or ""), phases, None if error is None else str(error)
    )


def _crash(told: Told) -> Crash:
    pid = told.get("pid")
    return Crash(
        int(_number(told.get("generation"))),
        _number(told.get("at")),
        pid if isinstance(pid, int) else None,
        _ending(told.get("status")),
        bool(told.get("ready")),
    )


def _ending(status: object) -> str:
    """Say how a process ended: a negative number is that of a signal, as the standard library has it."""
    if not isinstance(status, int):
        return "how is not known"
    return f"exit status {status}" if status >= 0 else f"signal {-status}"


def _objects(told: object) -> Sequence[Told]:
    if not isinstance(told, Sequence) or isinstance(told, str):
        return ()
    return [cast("Told", one) for one in cast("Sequence[object]", told) if isinstance(one, Mapping)]


def _number(told: object) -> float:
    return float(told) if isinstance(told, int | float) and not isinstance(told, bool) else 0.0
