"""`python -m tests.serving.falling_worker ...`: the product's worker or forker, in which parts fall when told to.

The product has no switch for this. A file in a folder arms a point; whoever comes there takes the file away and falls:
a specialist that has just begun a step, the thread that writes the store, or the whole worker between an answer that
was paid and its record. Only the store that is meant counts: a spare that warms up has another. Neighbours:
`falling_front` starts it, `test_agent_chaos` arms.
"""

from __future__ import annotations

import os
import runpy
import signal
import time
from pathlib import Path
from typing import Any

FOLDER_VARIABLE = "VESPERA_FALLS"
DATABASE_VARIABLE = "VESPERA_FALLS_DATABASE"


def armed(point: str) -> bool:
    """Take the file that arms a point; False when there is none."""
    path = Path(os.environ[FOLDER_VARIABLE]) / point
    try:
        path.rename(path.with_suffix(".fired"))
    except FileNotFoundError:
        return False
    return True


def install() -> None:
    """Put the points into what the product uses."""
    from vespera_agents.specialists import sessions  # noqa: PLC0415 - as late as the product's worker would import it
    from vespera_agents.specialists.agent.journal import Journal  # noqa: PLC0415
    from vespera_agents.store import Store  # noqa: PLC0415

    begin, end, meant = Journal.begin, Journal.end, Path(os.environ[DATABASE_VARIABLE])

    async def begin_and_fall(journal: Journal, *arguments: Any, **more: Any) -> int:
        repeats = await begin(journal, *arguments, **more)
        if armed("specialist"):
            raise RuntimeError("this specialist was told to fall")
        return repeats

    async def end_or_be_killed(journal: Journal, *arguments: Any, **more: Any) -> None:
        if more.get("answer") is not None and armed("unrecorded"):
            os.kill(os.getpid(), signal.SIGKILL)
        await end(journal, *arguments, **more)

    def clock() -> float:
        if armed("store"):
            raise RuntimeError("this store was told to fall")
        return time.time()

    def store(database: Path, *arguments: Any, **more: Any) -> Store:
        return Store(database, *arguments, **more, **({"clock": clock} if database == meant else {}))

    changed: Any = Journal
    changed.begin, changed.end = begin_and_fall, end_or_be_killed
    module: Any = sessions
    module.Store = store


if __name__ == "__main__":
    module_name = "vespera_agents.serving.forker" if "VESPERA_FORKER" in os.environ else "vespera_agents.serving.worker"
    install()
    runpy.run_module(module_name, run_name="__main__", alter_sys=True)
