"""`python -m tests.serving.fuzz --lines 100000 --bodies 30000 --calls 20000 --seed 7`: the long runs of the fuzzers.

Prints what came of each run, and every fault with what repeats it. Exit status 0 if there was none, 1 if there was.
"""

from __future__ import annotations

import argparse
import sys

import trio

from tests.serving.fuzz.bodies import fuzz_bodies
from tests.serving.fuzz.calls import fuzz_calls
from tests.serving.fuzz.lines import fuzz_lines
from tests.serving.kit import new_place

ERAS = ("legacy", "modern")


async def main(lines: int, bodies: int, calls: int, seed: int) -> int:
    """Make the runs: half of each count in either era."""
    failed = 0
    for name, fuzz, count in (
        ("lines", fuzz_lines, lines),
        ("bodies", fuzz_bodies, bodies),
        ("calls", fuzz_calls, calls),
    ):
        for era in ERAS if count else ():
            with new_place() as place:
                findings = await fuzz(place, era, count // 2, seed)
            print(f"{name}, {era}: {findings}", flush=True)
            for fault in findings.faults:
                print(f"  fault: {fault}", flush=True)
            failed += bool(findings.faults)
    return min(failed, 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Send mutated messages and generated calls to real servers.")
    for what in ("lines", "bodies", "calls"):
        parser.add_argument(f"--{what}", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    sys.exit(trio.run(main, given.lines, given.bodies, given.calls, given.seed))
