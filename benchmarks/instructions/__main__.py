"""The command: `python -m benchmarks.instructions [LOOP...]`, which is `make bench-check`.

It counts the instructions of a message in each loop on this tree and on its base, both now and by the same interpreter,
and compares. Exit status 0: nothing costs over 2 % more. 1: something does. 2: it could not be measured. How long a
message took by the clock is said as well, and judges nothing.
"""

from __future__ import annotations

import argparse
import platform
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import trio

from benchmarks.instructions.counting import CannotMeasureError, Checked, Counter, check, count, find_counter
from benchmarks.instructions.trees import choose, laid_out
from benchmarks.instructions.verdicts import TOLERANCE, Compared, Verdict, spread, table

ROOT = Path(__file__).resolve().parents[2]
LOOPS = "benchmarks/instructions/loops.py"


Side = tuple[Path, dict[str, Checked]]
"""A tree, and how the loops ran on it uncounted."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.instructions",
        description="Compare the instruction counts of this tree with those of its parent; beyond 2 % is status 1.",
    )
    parser.add_argument("names", nargs="*", metavar="LOOP", help="which loops; all of them without a name")
    parser.add_argument("--base", help="the commit to compare with; else the parent, or HEAD if there are changes")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="count N times and say how well it repeats")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository; else the one of this file")
    chosen = parser.parse_args(arguments)
    if chosen.repeat < 1:
        parser.error("--repeat takes 1 or more")
    try:
        return trio.run(_until_interrupted, chosen.root.resolve(), chosen.names, chosen.base or None, chosen.repeat)
    except BaseExceptionGroup as group:
        # Both trees may have failed at once; the first failure is what there is to say.
        failed, other = group.split(CannotMeasureError)
        if failed is None or other is not None:
            raise
        return _not_measured(str(_first(failed)))


def _not_measured(why: str) -> int:
    print(f"Not measured: {why}", file=sys.stderr)
    return 2


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _until_interrupted(root: Path, names: Sequence[str], base: str | None, repeat: int) -> int:
    """Compare; at SIGINT or SIGTERM end the processes and remove the folders, and say that nothing was found."""
    status: int | None = None
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(listen)
            status = await _compare(root, names, base, repeat)
            nursery.cancel_scope.cancel()
    return _not_measured("it was interrupted.") if status is None else status


async def _compare(root: Path, names: Sequence[str], base: str | None, repeat: int) -> int:
    counter = find_counter()
    comparison = choose(root, base)
    if comparison is None:
        print("This is the first commit: there is no parent to compare it with. Name another with BASE=<commit>.")
        return 0
    print(f"{counter.name}, python {platform.python_version()}, trio {version('trio')}: instructions of one message")
    print(f"this: {comparison.this_title}")
    print(f"base: {comparison.base_title}", flush=True)
    with laid_out(root, comparison) as (base_tree, this_tree):
        loops = this_tree / LOOPS
        ours = await check(this_tree, loops, names)
        theirs = await check(base_tree, loops, names)
        if lost := [f"{name}: {loop.error}" for name, loop in ours.items() if loop.error and not theirs[name].error]:
            raise CannotMeasureError("these loops run on the base, and not on this tree:\n" + "\n".join(lost))
        if all(loop.error for loop in theirs.values()):
            errors = "\n".join(sorted({loop.error for loop in theirs.values()}))
            raise CannotMeasureError(f"no loop runs on the base, so there is nothing to compare with:\n{errors}")
        old, new = await _count_both(counter, loops, (base_tree, theirs), (this_tree, ours), repeat=repeat)
    rows = [
        Compared(
            name=name,
            base=min(old[name]) if name in old else None,
            this=min(counts),
            base_seconds=theirs[name].seconds,
            this_seconds=ours[name].seconds,
            why_new=theirs[name].error,
        )
        for name, counts in new.items()
    ]
    for name in ours.keys() - new.keys():
        print(f"{name} runs on neither tree: {ours[name].error}")
    return _report(rows, max(map(spread, [*old.values(), *new.values()])) if repeat > 1 else None)


async def _count_both(counter: Counter, loops: Path, *sides: Side, repeat: int) -> list[dict[str, list[float]]]:
    """Count both sides at once, for a count does not mind what else the machine does; again for each repetition."""
    found: list[dict[str, list[float]]] = [{} for _ in sides]

    async def count_side(number: int) -> None:
        tree, checked = sides[number]
        lengths = {name: loop for name, loop in checked.items() if not loop.error}
        for name, instructions in (await count(counter, tree, loops, lengths)).items():
            found[number].setdefault(name, []).append(instructions)

    for _ in range(repeat):
        async with trio.open_nursery() as nursery:
            for number in range(len(sides)):
                nursery.start_soon(count_side, number)
    return found


def _report(rows: Sequence[Compared], repeats: float | None) -> int:
    print(table(rows))
    if repeats is not None:
        print(f"counts of the same tree lie {repeats:.1e} apart")
    slower = [row.name for row in rows if row.verdict is Verdict.SLOWER]
    print(f"more than {TOLERANCE:.0%} slower: {', '.join(slower) or 'none'}")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
