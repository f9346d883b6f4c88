"""`Outcome`: what came of one simulated run, and how to see it again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol, Self, final

from supervisors.testing.choices import Schedule
from supervisors.testing.runs import Note, Run, Strike


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run."""

    seed: int
    """What determined it."""
    violation: str | None
    """What went wrong; None where nothing did."""
    digest: str
    """A short name of its trace."""
    trace: tuple[Note, ...] = field(repr=False)
    """Everything that was observed: when, supervisor, what, child, life, how."""
    strikes: tuple[Strike, ...] = field(repr=False)
    """The faults that struck: when, whom, which."""
    schedule: Schedule = field(repr=False)
    """What was decided by chance, by actor."""
    melted: bool
    """Whether the root gave up."""
    quiet_points: int
    """How often nothing could run, and the invariants were checked."""
    calls: int
    """How many calls, or messages, came to their end."""
    seconds: float
    """How long it lasted, in virtual time."""

    @classmethod
    def of(cls, run: Run, *, melted: bool, calls: int) -> Self:
        """Return what came of a run that is over."""
        return cls(
            seed=run.choices.seed,
            violation=None if run.violation is None else str(run.violation),
            digest=run.digest(),
            trace=tuple(run.trace),
            strikes=tuple(run.strikes),
            schedule=run.choices.schedule(),
            melted=melted,
            quiet_points=run.quiet_points,
            calls=calls,
            seconds=run.now,
        )

    @property
    def struck(self) -> dict[str, int]:
        """How often each fault struck."""
        return dict(Counter(fault for _, _, fault in self.strikes))

    def story(self) -> str:
        """Return what happened as text: faults and events in one sequence, and the violation at its end."""
        lines = [(at, 0, f"{at:7.2f}  {who}: FAULT {fault}") for at, who, fault in self.strikes]
        for at, supervisor, what, child, number, how in self.trace:
            life = f" {child}" + (f"#{number}" if number else "") if child else ""
            lines.append((at, 1, f"{at:7.2f}  {supervisor or 'model'}: {what}{life}{' ' + how if how else ''}"))
        return "\n".join(line for _, _, line in sorted(lines, key=lambda line: line[:2]))


class Simulator(Protocol):
    """Whatever makes a run from a seed."""

    def __call__(self, *, seed: int, schedule: Schedule | None = None) -> Outcome:
        """Run once; `schedule` is what is decided by chance, instead of drawing it from the seed."""
        ...
