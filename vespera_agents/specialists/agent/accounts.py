"""What models did and cost, in words: for the report of a run and for how a session stands. Pure.

Neighbours: `store.steps` reads the numbers, `synthesis` and `session_tools` show them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from vespera_agents.store.steps import ModelWork

__all__ = ["cost_text", "model_lines", "summed"]


def summed(works: Iterable[ModelWork]) -> list[ModelWork]:
    """Add up what each model did over all tasks, in the order in which it first worked."""
    totals: dict[tuple[str, str], ModelWork] = {}
    for work in works:
        before = totals.get((work.provider, work.model))
        totals[work.provider, work.model] = work if before is None else _added(before, work)
    return [replace(total, task_id="") for total in totals.values()]


def model_lines(works: Sequence[ModelWork]) -> list[str]:
    """Say of each model in a line what it did and what that cost."""
    return [
        f"{work.provider}/{work.model}: {_counted(work.calls, 'call')}, {work.repeats} repeated, "
        f"{work.input_tokens} + {work.output_tokens} tokens, {cost_text(work)}"
        for work in summed(works)
    ]


def cost_text(work: ModelWork) -> str:
    """Say what calls cost, and of how many that is not known."""
    if work.cost_usd is None:
        return "price unknown"
    known = f"${work.cost_usd:.4f}"
    return f"{known} and {_counted(work.unpriced, 'call')} of unknown price" if work.unpriced else known


def _added(one: ModelWork, other: ModelWork) -> ModelWork:
    costs = [cost for cost in (one.cost_usd, other.cost_usd) if cost is not None]
    return replace(
        one,
        calls=one.calls + other.calls,
        repeats=one.repeats + other.repeats,
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        cost_usd=sum(costs) if costs else None,
        unpriced=one.unpriced + other.unpriced,
    )


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
