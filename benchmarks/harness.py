"""One harness for every benchmark: measure ours and a reference in turns, and say honestly whether the goal is met.

A benchmark is a module beside this one with `run(options)`, sync or async, that returns its rows. The harness finds it
by that; it knows nothing of what is measured, and `document` writes what came of it for readers. Only ratios carry over
to other machines, so every row holds the reference that was measured in the same run, in turns with ours, and the
spread of the ratio as its noise.
"""

from __future__ import annotations

import ast
import dataclasses
import gc
import importlib
import inspect
import json
import os
import platform
import statistics
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal, cast

import rich.box
import trio
from rich.console import Console
from rich.table import Table

import benchmarks

Measure = Callable[[], float | Awaitable[float]]
"""Do the work once and return the measured value; sync or async."""

Clock = Literal["wall", "processor", "none"]
"""How time was taken: by the wall where more than one thread or process takes part, else as time of the processor."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller of a benchmark chose."""

    quick: bool = False
    """Less work and fewer rounds: enough to see that it runs, too little to judge by."""

    minutes: float = 1.0
    """How long what runs for a time runs: the soak."""

    @property
    def rounds(self) -> int:
        """How often each side is measured."""
        return 3 if self.quick else 7

    def scaled(self, count: int) -> int:
        """Return the amount of work for one round: a tenth when quick."""
        return max(1, count // 10) if self.quick else count


@dataclass(frozen=True, slots=True)
class Row:
    """One question with its answer: ours, the reference of the same run, and the ratio of the two."""

    name: str
    """What was measured."""
    value: float
    """Ours, the median of all rounds."""
    unit: str
    """The unit of both values, such as "tells/s"."""
    reference: str
    """The peer or the raw limit that ours is compared with."""
    reference_value: float | None
    """The reference, the median of all rounds of the same run; None where it could not be measured."""
    ratio: float | None
    """The median of ours divided by the reference, round by round."""
    ratio_min: float | None
    """The smallest ratio of any round."""
    ratio_max: float | None
    """The largest ratio of any round."""
    goal: float | None
    """What the ratio should reach or keep; None for a row that only informs."""
    goal_is: Literal["at least", "at most"]
    """Whether more is better, as for rates, or less, as for durations."""
    met: bool | None
    """Whether the ratio meets the goal; a ratio that could not be measured does not. None without a goal."""
    rounds: int
    """How often each side was measured."""
    clock: Clock = "wall"
    """How the time of both sides was taken."""


def row_of(
    name: str,
    *,
    unit: str,
    ours: Sequence[float],
    reference: str,
    references: Sequence[float],
    goal: float | None,
    goal_is: Literal["at least", "at most"] = "at least",
    clock: Clock = "wall",
) -> Row:
    """Make a row of values that were measured in turns: the n-th of ours right beside the n-th of the reference.

    Without any value of the reference, whose description then says why, the goal is not met.
    """
    assert ours, "a row needs at least one round"
    ratios = [mine / theirs for mine, theirs in zip(ours, references, strict=True)] if references else []
    ratio = statistics.median(ratios) if ratios else None
    met = ratio is not None and goal is not None and (ratio >= goal if goal_is == "at least" else ratio <= goal)
    return Row(
        name=name,
        value=statistics.median(ours),
        unit=unit,
        reference=reference,
        reference_value=statistics.median(references) if references else None,
        ratio=ratio,
        ratio_min=min(ratios, default=None),
        ratio_max=max(ratios, default=None),
        goal=goal,
        goal_is=goal_is,
        met=met if goal is not None else None,
        rounds=len(ours),
        clock=clock,
    )


async def compare(
    name: str,
    *,
    unit: str,
    ours: Measure,
    reference: str,
    measure_reference: Measure,
    goal: float | None,
    options: Options,
    goal_is: Literal["at least", "at most"] = "at least",
    clock: Clock = "wall",
) -> Row:
    """Measure ours and the reference in turns, after one round of each that warms up and is not counted."""
    await measured(ours)
    await measured(measure_reference)
    mine: list[float] = []
    theirs: list[float] = []
    for _ in range(options.rounds):
        mine.append(await measured(ours))
        theirs.append(await measured(measure_reference))
    return row_of(
        name,
        unit=unit,
        ours=mine,
        reference=reference,
        references=theirs,
        goal=goal,
        goal_is=goal_is,
        clock=clock,
    )


async def measured(measure: Measure) -> float:
    """Measure once, after collecting the rubbish."""
    # Rubbish of the other side must not be collected on this side's time.
    gc.collect()
    result = measure()
    return await result if inspect.isawaitable(result) else result


def found_benchmarks() -> dict[str, str]:
    """Return every benchmark by name, with the question that it answers: the first line of its docstring."""
    trees = {
        path.stem: ast.parse(path.read_text(encoding="utf-8"))
        for folder in benchmarks.__path__
        for path in sorted(Path(folder).glob("*.py"))
    }
    return {
        name: (ast.get_docstring(tree) or "").partition("\n")[0]
        for name, tree in sorted(trees.items())
        if any(isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == "run" for node in tree.body)
    }


def run_benchmark(name: str, options: Options) -> list[Row]:
    """Run one benchmark by its name, under trio when its `run` is async."""
    run = importlib.import_module(f"benchmarks.{name}").run
    rows = trio.run(run, options) if inspect.iscoroutinefunction(run) else run(options)
    return list(cast("Iterable[Row]", rows))


def show(name: str, rows: Iterable[Row], console: Console) -> None:
    """Print one benchmark's rows as a table."""
    table = Table(title=name, title_justify="left", box=rich.box.SIMPLE_HEAD)
    for column in ("measured", "ours", "reference", "its value", "ratio (min..max)", "goal", "verdict"):
        table.add_column(column, justify="right" if column in {"ours", "its value"} else "left", overflow="fold")
    for row in rows:
        table.add_row(
            row.name,
            f"{short(row.value)} {row.unit}",
            row.reference,
            *judged(row),
        )
    console.print(table)


def judged(row: Row) -> tuple[str, str, str, str]:
    """Write the reference's value, the ratio and its spread, the goal and the verdict; a dash for what is missing."""
    if row.reference_value is None or row.ratio is None:
        value = ratio = "-"
    else:
        value = f"{short(row.reference_value)} {row.unit}"
        ratio = f"{row.ratio:.2f} ({row.ratio_min:.2f}..{row.ratio_max:.2f})"
    verdict = {None: "-", True: "met", False: "not met"}[row.met]
    return value, ratio, "-" if row.goal is None else f"{row.goal_is} {row.goal:g}", verdict


def short(value: float) -> str:
    """Write a number with three digits that mean something."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def machine() -> dict[str, str | int]:
    """Describe what the numbers depend on; not which machine it was."""
    return {
        "python": platform.python_version(),
        "trio": version("trio"),
        "system": platform.system(),
        "architecture": platform.machine(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    }


def write_json(path: Path, results: dict[str, list[Row]], options: Options) -> None:
    """Write every row, with its benchmark and the machine, for a program to read."""
    rows = [{"benchmark": name, **dataclasses.asdict(row)} for name, found in results.items() for row in found]
    document = {"machine": machine(), "quick": options.quick, "rows": rows}
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
