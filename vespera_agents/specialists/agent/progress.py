"""What follows from the recorded steps of an attempt: the next step, decided from rows alone. Pure.

So it makes no difference whether the specialist that goes on is the one that has taken the last step, a fresh
incarnation, or one in another process. Neighbours: `loop` carries the next step out, `history` tells the steps to the
model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from vespera_agents.providers.exchange import ToolCall
from vespera_agents.specialists.agent.handing_in import HAND_IN, HandedOver, handed_over
from vespera_agents.store.steps import Step, StepKind

__all__ = [
    "CALLS_MAX",
    "Check",
    "Next",
    "Think",
    "UseTool",
    "WindUp",
    "failed_gates",
    "recorded",
    "tool_calls",
    "what_next",
]

CALLS_MAX: Final = 16
"""Tools that one answer of a model may ask for; of more it is told."""


@final
@dataclass(frozen=True, slots=True)
class Think:
    """Ask the model."""


@final
@dataclass(frozen=True, slots=True)
class UseTool:
    """Use a tool that the model asked for."""

    call: ToolCall


@final
@dataclass(frozen=True, slots=True)
class Check:
    """Run the gates on what was handed in."""

    work: HandedOver


@final
@dataclass(frozen=True, slots=True)
class WindUp:
    """Nothing is left to do but to tell what came of it."""

    work: HandedOver
    gates: Step | None = None
    """The gates that have succeeded."""


Next = Think | UseTool | Check | WindUp


def recorded(steps: Sequence[Step]) -> list[Step]:
    """Leave out the step that was begun and of which nothing is known: it is done once more."""
    return [step for step in steps if step.result is not None]


def what_next(steps: Sequence[Step], *, gated: bool) -> Next:
    """Decide the next step.

    Args:
        steps: those with a result, in order.
        gated: whether the task has gates.
    """
    place = next((n for n in range(len(steps) - 1, -1, -1) if steps[n].kind is StepKind.THINK), None)
    if place is None:
        return Think()
    answer = _result(steps[place])
    since = steps[place + 1 :]
    calls = tool_calls(answer)
    used = sum(step.kind is StepKind.TOOL for step in since)
    if used < len(calls):
        return UseTool(calls[used])
    work = handed_over(answer)
    if work is None:
        return Think()
    if work.next_action != "complete" or not gated:
        return WindUp(work)
    gates = next((step for step in reversed(since) if step.kind is StepKind.GATES), None)
    if gates is None:
        return Check(work)
    return WindUp(work, gates) if _result(gates).get("failure") is None else Think()


def failed_gates(steps: Sequence[Step]) -> int:
    """Count how often the gates refused what was handed in."""
    return sum(step.kind is StepKind.GATES and _result(step).get("failure") is not None for step in steps)


def tool_calls(answer: Mapping[str, Any]) -> list[ToolCall]:
    """Give the tools that a recorded answer asks for, without handing in."""
    calls: list[Mapping[str, Any]] = answer.get("calls", [])
    return [
        ToolCall(str(call["id"]), str(call["name"]), call["arguments"]) for call in calls if call["name"] != HAND_IN
    ][:CALLS_MAX]


def _result(step: Step) -> Mapping[str, Any]:
    return step.result or {}
