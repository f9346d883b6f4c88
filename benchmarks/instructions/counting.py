"""Counting the instructions of one tree: which counter there is, how it is run, and how its output is read.

`measured` is what runs under the counter. A message costs the difference of a long and a short run of a loop, divided
by the difference of their lengths: start-up and imports are in both, and cancel out.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, cast, final

import trio

MEASURED = Path(__file__).with_name("measured.py")
RUN_SECONDS_MAX = 900
"""For all loops of one tree under callgrind, which takes 15 s where nothing else runs."""
INSTALL = (
    "Instructions are counted by callgrind or by perf, and here is neither. Install valgrind (on Debian: apt-get "
    "install valgrind), or linux-perf where the processor's counters can be read (perf stat -e instructions:u true)."
)


class CannotMeasureError(Exception):
    """There is nothing to judge by; the text says what to do."""


@final
@dataclass(frozen=True, slots=True)
class Checked:
    """One loop as it ran uncounted on one tree."""

    few: int
    """Messages in its short run."""
    many: int
    """Messages in its long run."""
    seconds: float | None
    """What a message took by the clock; None where the loop failed."""
    error: str
    """Why it failed; empty where it ran."""


class Counter(Protocol):
    """A tool that counts the instructions of a process."""

    name: str
    """What it is called."""

    def groups(self, items: Sequence[str]) -> list[list[str]]:
        """Divide the items, each LOOP:MESSAGES, among processes."""
        ...

    def prefix(self, place: Path) -> list[str]:
        """Return the command that runs another and leaves its counts in this folder."""
        ...

    def totals(self, place: Path, items_by_process: Mapping[str, str]) -> dict[str, int]:
        """Read the instructions of each item."""
        ...


@final
class Callgrind:
    """Valgrind's callgrind: simulates the processor, and writes a file for each process, forked ones included."""

    name = "callgrind"

    def groups(self, items: Sequence[str]) -> list[list[str]]:
        """Give all items to one process, whose start-up takes longer than they do."""
        return [list(items)]

    def prefix(self, place: Path) -> list[str]:
        """Return the command."""
        return ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={place}/%p"]

    def totals(self, place: Path, items_by_process: Mapping[str, str]) -> dict[str, int]:
        """Read the file of each process."""
        return {item: callgrind_total((place / process).read_text()) for process, item in items_by_process.items()}


@final
class PerfStat:
    """`perf stat`: reads the processor's own counter, of a process and all its children together."""

    name = "perf stat"

    def groups(self, items: Sequence[str]) -> list[list[str]]:
        """Give each item a process of its own, because their counts cannot be told apart."""
        return [[item] for item in items]

    def prefix(self, place: Path) -> list[str]:
        """Return the command."""
        return ["perf", "stat", "-x,", "-e", "instructions:u", "-o", str(place / "perf"), "--"]

    def totals(self, place: Path, items_by_process: Mapping[str, str]) -> dict[str, int]:
        """Read the one file."""
        (item,) = items_by_process.values()
        return {item: perf_total((place / "perf").read_text())}


def callgrind_total(text: str) -> int:
    """Return the instructions that a callgrind file counts in all.

    Raises:
        CannotMeasureError: It holds no total: callgrind was cut off.
    """
    found = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
    if found is None:
        raise CannotMeasureError("callgrind wrote a file without its total: was it killed, or is the disk full?")
    return int(found[1])


def perf_total(text: str) -> int:
    """Return the instructions that `perf stat -x,` counted.

    Raises:
        CannotMeasureError: It counted none: this processor, or its hypervisor, does not let it.
    """
    found = re.search(r"^(\d+),[^,]*,instructions", text, re.MULTILINE)
    if found is None:
        raise CannotMeasureError(f"perf cannot count instructions here. {INSTALL}")
    return int(found[1])


def find_counter() -> Counter:
    """Return the counter to use: callgrind, else perf where it can count.

    Raises:
        CannotMeasureError: There is neither.
    """
    if shutil.which("valgrind"):
        return Callgrind()
    if shutil.which("perf"):
        command = ["perf", "stat", "-x,", "-e", "instructions:u", "--", sys.executable, "-I", "-S", "-c", ""]
        perf_total(subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stderr)
        return PerfStat()
    raise CannotMeasureError(INSTALL)


@cache
def without_randomized_addresses() -> tuple[str, ...]:
    """Return the command that keeps the kernel from placing memory by chance; empty where it is not allowed."""
    command = ("setarch", "-R")
    try:
        done = subprocess.run([*command, "true"], capture_output=True, timeout=60, check=False)
    except OSError:
        return ()
    return command if done.returncode == 0 else ()


async def check(tree: Path, loops: Path, names: Sequence[str]) -> dict[str, Checked]:
    """Run loops uncounted on a tree; all that its file holds unless some are named.

    Raises:
        CannotMeasureError: The file could not even be imported on these packages.
    """
    said = await _run([], tree, [str(loops), "check", *names])
    answers = cast("dict[str, dict[str, object]]", json.loads(said))
    return {
        name: Checked(
            few=cast("int", answer["few"]),
            many=cast("int", answer["many"]),
            seconds=cast("float | None", answer.get("seconds")),
            error=str(answer.get("error", "")),
        )
        for name, answer in answers.items()
    }


async def count(counter: Counter, tree: Path, loops: Path, lengths: Mapping[str, Checked]) -> dict[str, float]:
    """Count the instructions of a message in each of these loops on a tree.

    Raises:
        CannotMeasureError: A run failed.
    """
    items = [f"{name}:{messages}" for name, loop in lengths.items() for messages in (loop.few, loop.many)]
    totals: dict[str, int] = {}
    for group in counter.groups(items):
        with TemporaryDirectory(prefix="counts-") as folder:
            place = Path(folder)
            prefix = [*without_randomized_addresses(), *counter.prefix(place)]
            said = await _run(prefix, tree, [str(loops), "count", *group])
            totals |= counter.totals(place, json.loads(said))
    return {
        name: per_message(totals[f"{name}:{loop.few}"], totals[f"{name}:{loop.many}"], loop.many - loop.few)
        for name, loop in lengths.items()
    }


def per_message(short_run: int, long_run: int, further: int) -> float:
    """Return the instructions of one message from those of two runs, the longer with so many further messages."""
    return (long_run - short_run) / further


async def _run(prefix: Sequence[str], tree: Path, arguments: Sequence[str]) -> str:
    """Run `measured` with an environment that is the same everywhere; return what it printed."""
    environment = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONHASHSEED": "0", "PYTHONPATH": str(tree)}
    command = [*prefix, sys.executable, "-P", str(MEASURED), *arguments]
    with trio.move_on_after(RUN_SECONDS_MAX):
        done = await trio.run_process(command, env=environment, capture_stdout=True, capture_stderr=True, check=False)
        if done.returncode == 0:
            return done.stdout.decode()
        said = done.stderr.decode(errors="replace").strip()
        raise CannotMeasureError(f"{' '.join(command)} ended with status {done.returncode}:\n{said}")
    raise CannotMeasureError(f"{' '.join(command)} took longer than {RUN_SECONDS_MAX} s.")
