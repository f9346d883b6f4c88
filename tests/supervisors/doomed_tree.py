"""A supervision tree of programs, killed by a test with SIGKILL: `python doomed_tree.py MOMENT`; prints `at` first."""

from __future__ import annotations

import sys

import trio

from supervisors import Supervisor
from supervisors.guardian import open_guardian
from supervisors.process import Program, Ready, process_spec

STUBBORN = "trap '' TERM HUP INT; (trap '' TERM HUP INT; sleep 300) & echo up; wait; sleep 300"
CRASHING = "trap '' TERM HUP INT; (trap '' TERM HUP INT; sleep 300) & echo up; sleep 0.02; exit 1"
STARTING = "trap '' TERM HUP INT; sleep 300"


def announce(line: bytes) -> None:
    print("at", line, flush=True)


async def main(moment: str) -> None:
    script = {"running": STUBBORN, "crashing": CRASHING, "starting": STUBBORN}[moment]
    async with open_guardian(None) as guardian:
        first = Program(argv=("/bin/sh", "-c", script), ready=Ready.LINE, on_stdout=announce)
        specs = [process_spec("first", first, guardian=guardian)]
        if moment == "starting":
            late = Program(argv=("/bin/sh", "-c", STARTING), ready=Ready.LINE)
            specs.append(process_spec("late", late, guardian=guardian))
        await Supervisor(specs, name="doomed", intensity=10_000, period_seconds=1.0).run()


trio.run(main, *sys.argv[1:])
