"""A supervising process that a test kills with SIGKILL: `python doomed.py MOMENT LOCK MARK DIRECTORY`.

It prints `at GUARDIAN_PID` when it has reached the moment, and then stays there.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import trio

from supervisors.guarded_process import GuardedProcess, start_guarded
from supervisors.guardian import Guardian, open_guardian

STUBBORN = "trap '' TERM HUP INT; touch ran; sleep 300 & (trap '' TERM; sleep 300) & echo up; wait; sleep 300"
LEAVES_ONE_BEHIND = "touch ran; sleep 300 & echo up"


def start(guardian: Guardian, script: str, mark: str, directory: Path, output: int) -> GuardedProcess:
    environment = {"PATH": os.environ["PATH"], "VESPERA_TEST_MARK": mark}
    return start_guarded(
        guardian, ["/bin/sh", "-c", script], directory=directory, environment=environment, output=output
    )


def stay(guardian: Guardian) -> None:
    print("at", guardian.statistics().pid, flush=True)
    time.sleep(60)


async def started(guardian: Guardian, script: str, mark: str, directory: Path) -> GuardedProcess:
    reading, writing = os.pipe()
    process = start(guardian, script, mark, directory, writing)
    os.close(writing)
    stream = trio.lowlevel.FdStream(reading)
    while b"up" not in await stream.receive_some(100):
        pass
    return process


async def storm(guardian: Guardian, mark: str, directory: Path) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    while True:
        process = start(guardian, "sleep 300 & sleep 0.01", mark, directory, null)
        await process.wait()
        await process.finish()


async def main(moment: str, lock: str, mark: str, where: str) -> None:
    directory = Path(where)
    register = Guardian.register
    async with open_guardian(Path(lock)) as guardian:
        if moment == "before the registration":
            Guardian.register = lambda self, _: stay(self)
            start(guardian, STUBBORN, mark, directory, 2)
        elif moment == "between registration and go":
            Guardian.register = lambda self, group: (register(self, group), stay(self))
            start(guardian, STUBBORN, mark, directory, 2)
        elif moment == "while commands run":
            for _ in range(3):
                await started(guardian, STUBBORN, mark, directory)
            stay(guardian)
        elif moment == "after the leader's exit":
            await (await started(guardian, LEAVES_ONE_BEHIND, mark, directory)).wait()
            stay(guardian)
        elif moment == "in a storm":
            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(storm, guardian, mark, directory)
                print("at", guardian.statistics().pid, flush=True)


trio.run(main, *sys.argv[1:])
