"""`python -m tests.serving.calm_front ...`: the front of `benchmarks.killing`, which has patience with slow workers.

Where tests stop workers, the front shall find that out within a second. A machine that keeps a healthy worker waiting
for as long would have it killed as well: nobody books such a death, and a call that meets three is refused. So here it
waits until the worker has answered, as it will, or is stopped, and only then judges, as it always does. Neighbours:
`test_chaos` starts it, `test_http_front_process` takes the patience for a front of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import trio

from vespera_agents.front.lives import Life
from vespera_agents.front.vigil import Vigil

LOOK_SECONDS = 0.05


def judge_only_the_stopped() -> None:
    """Put the patience into the front of this process."""
    answers = Vigil._answers

    async def answers_or_is_stopped(vigil: Vigil, life: Life) -> bool:
        while not vigil._pong.is_set() and not _stopped(life.process.pid):
            with trio.move_on_after(LOOK_SECONDS):
                await vigil._pong.wait()
        return await answers(vigil, life)

    changed: Any = Vigil
    changed._answers = answers_or_is_stopped


def _stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


if __name__ == "__main__":
    from benchmarks.killing.faulty_front import main

    judge_only_the_stopped()
    sys.exit(main())
