"""`python -m benchmarks.killing.faulty_worker ...`: the product's worker or forker, which dies where it is told.

The product has no switch for this. Here its modules run unchanged, over a connection to SQLite and an `os.write` that
look into a folder at the points below, and only on the store that is meant: a spare that warms up has another. A file
in that folder arms one point; the process that comes there takes the file away and kills or stops itself. For the
control run the store forgets every command key. Neighbours: `faults` arms, `faulty_front` starts it.
"""

from __future__ import annotations

import os
import re
import runpy
import signal
import sqlite3
import threading
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final, final

__all__ = ["DATABASE_VARIABLE", "FOLDER_VARIABLE", "FORGETFUL_VARIABLE", "POINTS"]

FOLDER_VARIABLE: Final = "VESPERA_CHAOS_FAULTS"
DATABASE_VARIABLE: Final = "VESPERA_CHAOS_DATABASE"
FORGETFUL_VARIABLE: Final = "VESPERA_CHAOS_FORGETFUL"
RESTARTS_VARIABLE: Final = "VESPERA_CHAOS_RESTARTS"
POINTS: Final = {
    "before-commit": signal.SIGKILL,
    "after-commit": signal.SIGKILL,
    "torn-answer": signal.SIGKILL,
    "stopped-in-transaction": signal.SIGSTOP,
}
"""Where a worker ends at any time, and by which signal."""
_WRITES: Final = {
    "commit": "INTO event",
    "plan": "INTO task(",
    "ownership": "INTO owner",
    "wish": "INTO restart(",
    "outcome": "UPDATE restart ",
}
"""What tells the transactions apart that have points: an effect, a plan, a worker's first word, a restart's two."""
RESTART_POINTS: Final = tuple(
    f"{when}-{what}"
    for what in (*_WRITES, "hand-over", "take-over")
    if what not in {"commit", "plan"}
    for when in ("before", "after")
)
"""Where a worker that takes part in a restart ends, by SIGKILL."""
_FORKER_VARIABLE: Final = "VESPERA_FORKER"
"""Told to the forker, and to nobody else."""
_ANSWER: Final = re.compile(rb"[RK] \d+ ")
_FOLDER: Final = os.environ.get(FOLDER_VARIABLE, "")
_DATABASE: Final = os.environ.get(DATABASE_VARIABLE, "")


def armed(point: str) -> bool:
    """Take the file that arms a point; False when there is none."""
    try:
        # One system call for a point that is not armed, and only one process can take it.
        os.rename(f"{_FOLDER}/{point}", f"{_FOLDER}/{point}.fired")  # noqa: PTH104 - called for every commit
    except OSError:
        return False
    return True


def fall(point: str) -> None:
    """Be killed, or stopped, if that is wished here."""
    if armed(point):
        # This thread first: sent to the process, a stop may reach it only after what it was meant to keep from.
        signal.pthread_kill(threading.get_ident(), POINTS.get(point, signal.SIGKILL))


@final
class FaultyConnection(sqlite3.Connection):
    """A connection that may not come back from a COMMIT that has an effect."""

    _meant = False

    def __init__(self, database: str, *arguments: Any, **options: Any) -> None:
        super().__init__(database, *arguments, **options)
        self._meant = _DATABASE in database
        self._written: set[str] = set()

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """Execute, and fall before or after the end of a transaction that is told apart."""
        if not self._meant:
            return super().execute(sql, *parameters)
        if sql != "COMMIT":
            self._written |= {what for what, words in _WRITES.items() if words in sql}
            if sql == "ROLLBACK":
                self._written.clear()
            return super().execute(sql, *parameters)
        written, self._written = self._written, set()
        for what in written:
            fall(f"before-{what}")
        if "commit" in written:
            fall("stopped-in-transaction")
        cursor = super().execute(sql)
        for what in written:
            fall(f"after-{what}")
        return cursor


def install() -> None:
    """Put the points into what the product uses."""
    connect, write = sqlite3.connect, os.write

    def connect_faulty(database: Any, *arguments: Any, **options: Any) -> sqlite3.Connection:
        return connect(database, *arguments, **{"factory": FaultyConnection, **options})

    def write_torn(descriptor: int, data: Any) -> int:
        if _ANSWER.match(data) and armed("torn-answer"):
            write(descriptor, bytes(data)[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write(descriptor, data)

    sqlite3.connect = connect_faulty
    os.write = write_torn
    if os.environ.get(FORGETFUL_VARIABLE):
        forget_keys()
    if os.environ.get(RESTARTS_VARIABLE):
        break_hand_over()


def forget_keys() -> None:
    """Have the store record each command under a key that nobody will ever name again."""
    from vespera_agents.store import writer  # noqa: PLC0415 - as late as the product's worker would import it
    from vespera_agents.store.transaction import Command, CommandKey, Transaction  # noqa: PLC0415

    apply_once = writer.apply_once

    def forgetful(transaction: Transaction, command: Command[object], _: CommandKey, files: Any) -> object:
        return apply_once(transaction, command, CommandKey("forgotten", uuid.uuid4().hex), files)

    writer.apply_once = forgetful


def break_hand_over() -> None:
    """Put points around the file that a worker leaves to the next one."""
    from vespera_agents.specialists import handing_over  # noqa: PLC0415 - as above

    hand_over, take_over = handing_over.hand_over, handing_over.take_over

    def around(what: str, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def faulty(*arguments: Any) -> Any:
            fall(f"before-{what}")
            result = await original(*arguments)
            fall(f"after-{what}")
            return result

        return faulty

    for name, original in (("hand_over", hand_over), ("take_over", take_over)):
        setattr(handing_over, name, around(name.replace("_", "-"), original))


if __name__ == "__main__":
    module = "vespera_agents.serving.forker" if _FORKER_VARIABLE in os.environ else "vespera_agents.serving.worker"
    install()
    runpy.run_module(module, run_name="__main__", alter_sys=True)
