"""The process whose instructions are counted: it forks once for each run of a loop, so that all share one start-up.

    python -P measured.py LOOPS_FILE check [NAME...]      which loops run on these packages, and how long each takes
    python -P measured.py LOOPS_FILE count NAME:COUNT...  run them; which process was which is printed as JSON

It runs alone, with PYTHONPATH set to the tree in question: it imports nothing of this package. Its children all begin
as the same image, so that the difference of a long and a short run is what the further messages cost, and nothing else.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

TIMED_RUNS = 3
"""Of which the quickest counts; the clock only informs."""


def main(arguments: list[str]) -> int:
    """Do what the command line says."""
    path, verb, *items = arguments
    loops = load(Path(path))
    if unknown := [item for item in items if item.partition(":")[0] not in loops.LOOPS]:
        raise SystemExit(f"There is no loop {', '.join(unknown)}; there are: {', '.join(loops.LOOPS)}.")
    refuse_strangers(loops)
    # What is here stays: no collection looks at it again, and none happens by itself at a moment that may move.
    gc.collect()
    gc.freeze()
    gc.disable()
    answers = {"check": check, "count": count}[verb](loops, items)
    print(json.dumps(answers))
    return 0


def load(path: Path) -> ModuleType:
    """Import the loops from their file."""
    spec = importlib.util.spec_from_file_location("loops", path)
    assert spec is not None, path
    assert spec.loader is not None, path
    module = sys.modules["loops"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def refuse_strangers(loops: ModuleType) -> None:
    """End here if a package that is to be measured came from another place than the tree."""
    tree = os.environ["PYTHONPATH"] + os.sep
    for name, module in sys.modules.items():
        file = getattr(module, "__file__", None) or tree
        if name.partition(".")[0] in loops.PACKAGES and not file.startswith(tree):
            raise SystemExit(f"{name} was imported from {file} and not from {tree}: these counts would say nothing.")


def check(loops: ModuleType, names: list[str]) -> dict[str, dict[str, object]]:
    """Try each loop in a process of its own, uncounted; this also warms the cache of compiled modules."""
    answers: dict[str, dict[str, object]] = {}
    for name in names or loops.LOOPS:
        read_end, write_end = os.pipe()
        process = forked(lambda name=name, write_end=write_end: os.write(write_end, tried(loops.LOOPS[name])))
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            answers[name] = json.loads(pipe.read() or '{"error": "it ended without a word"}')
        os.waitpid(process, 0)
        answers[name] |= {"few": loops.LOOPS[name].few, "many": loops.LOOPS[name].many}
    return answers


def tried(loop: Any) -> bytes:
    """Run a loop at both lengths, warmed, and say what a message costs by the clock, or what went wrong."""
    try:
        loop.run(loop.few)
        few = min(seconds_of(loop, loop.few) for _ in range(TIMED_RUNS))
        many = min(seconds_of(loop, loop.many) for _ in range(TIMED_RUNS))
    except Exception as error:  # noqa: BLE001 - whatever an older commit lacks
        return json.dumps({"error": traceback.format_exception_only(error)[-1].strip()}).encode()
    return json.dumps({"seconds": (many - few) / (loop.many - loop.few)}).encode()


def seconds_of(loop: Any, messages: int) -> float:
    """Run a loop and return how long it took."""
    begun = time.perf_counter()
    loop.run(messages)
    return time.perf_counter() - begun


def count(loops: ModuleType, items: list[str]) -> dict[str, str]:
    """Run each item in a process of its own, one after the other; return the items by process id."""
    answers: dict[str, str] = {}
    for item in items:
        name, _, messages = item.partition(":")
        process = forked(lambda name=name, messages=int(messages): loops.LOOPS[name].run(messages))
        _, status = os.waitpid(process, 0)
        if status != 0:
            raise SystemExit(f"{item} ended with wait status {status}.")
        answers[str(process)] = item
    return answers


def forked(work: Callable[[], object]) -> int:
    """Do some work in a child that then ends at once; return its process id."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        work()
        status = 0
    except BaseException:  # noqa: BLE001 - the child must not go on as its parent, whatever happened
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
