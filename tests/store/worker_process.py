"""Not a test: a process that writes to a store as one generation of a front's workers, told what to do by its input.

Usage: `python -m tests.store.worker_process DIRECTORY FRONT GENERATION`. It says `ready`, then does one line after the
other and answers each with one line. `open NAME` opens a session; `stop NAME` does, and stops the process (SIGSTOP)
inside the transaction; `read` counts the sessions. A worker that is fenced says `fenced` and ends with status 7.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import trio

from vespera_agents.store import Command, CommandKey, Owner, Store, StoreError, queries
from vespera_agents.store.commands import OpenSession
from vespera_agents.store.transaction import Transaction

FENCED = 7


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def end() -> None:
    say("fenced")
    os._exit(FENCED)


@dataclass(frozen=True)
class Stopping:
    """Opens a session, and stops its process before the commit."""

    name: str
    by: str = "test"

    def fingerprint(self) -> bytes:
        return self.name.encode()

    def apply(self, transaction: Transaction) -> object:
        result = OpenSession(self.by, "/somewhere", self.name, fresh=True).apply(transaction)
        say("stopping")
        # This thread, and all others with it: sent to the process, it may reach this one only after the commit.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        return result


async def obey(store: Store, front: str, line: str) -> str:
    word, _, name = line.strip().partition(" ")
    try:
        if word == "read":
            return str(len(await store.read(queries.sessions)))
        fresh = OpenSession("test", "/somewhere", name, fresh=True)
        command: Command[object] = Stopping(name) if word == "stop" else fresh
        await store.execute(command, CommandKey(front, name))
    except StoreError as error:
        return f"{type(error).__name__}: {error}"
    return "done"


async def main(directory: Path, front: str, generation: int) -> None:
    owner = Owner(front, generation, end)
    store = Store(directory / "vespera.db", directory / "artifacts", owner=owner if generation else None)
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        say("ready")
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            say(await obey(store, front, line))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
