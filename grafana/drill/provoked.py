"""A program that embeds the runtime with its health, and does wrong when it is told to: one word a line.

`block 2.5` keeps the event loop for so many seconds, `fill` sends an actor more mail than it works off, `drain` lets it
work again. At the end of its standard input it ends. It says `ready` when its metrics are served at the address that it
was started with. `vespera serve` has no such words: there only the outside world does wrong.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import trio

from vespera_agents.actors import Actor, MailboxSpec, receives
from vespera_agents.health import Health
from vespera_agents.specialists import open_runtime
from vespera_agents.workspace import Registry

CAPACITY: Final = 100
FILLED: Final = 95
_READ_BYTES: Final = 4_096


@final
@dataclass(frozen=True, slots=True)
class Block:
    """Keep the loop."""

    seconds: float


@final
@dataclass(frozen=True, slots=True)
class Wait:
    """Wait until somebody opens the gate."""

    gate: trio.Event


@final
class Greedy(Actor):
    """Computes without ever giving the loop back."""

    @receives
    def block(self, message: Block) -> None:
        """Compute for so long."""
        end = time.monotonic() + message.seconds
        while time.monotonic() < end:
            sum(range(1_000))


@final
class Slow(Actor):
    """Does not get on with its mail."""

    @receives
    async def wait(self, message: Wait) -> None:
        """Wait with this message in hand."""
        await message.gate.wait()


async def words() -> AsyncIterator[list[str]]:
    """Give the words of each line of standard input."""
    rest = b""
    async with trio.lowlevel.FdStream(os.dup(0)) as stream:
        while chunk := await stream.receive_some(_READ_BYTES):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield line.decode().split()


async def main(address: str, state: Path) -> None:
    """Serve metrics at the address and do as told."""
    health = Health()
    async with open_runtime("serve", registry=Registry(state), listener=health) as runtime:
        await health.start(runtime, address)
        greedy = await runtime.system.start(Greedy, name="greedy")
        slow = await runtime.system.start(Slow, name="slow", mailbox=MailboxSpec(CAPACITY))
        gate = trio.Event()
        print("ready", flush=True)
        async for word, *arguments in words():
            if word == "block":
                greedy.tell(Block(float(arguments[0])))
            elif word == "fill":
                gate = trio.Event()
                for _ in range(FILLED):
                    slow.tell(Wait(gate))
            elif word == "drain":
                gate.set()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], Path(sys.argv[2]))
