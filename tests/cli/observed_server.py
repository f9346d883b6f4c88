"""A real server for the tests of `vespera top`: actors that crash, block and fall behind when they are told to.

    python observed_server.py DIRECTORY STATE

It serves the workspace DIRECTORY with its health and its private socket, as `vespera serve` does, and obeys one JSON
list on each line of its standard input; it answers each with the same line, and ends with its input.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import trio

from supervisors import Restart
from vespera_agents.actors import Actor, ActorRef, MailboxSpec, receives
from vespera_agents.health import Health
from vespera_agents.health.checks import Thresholds
from vespera_agents.health.settings import HealthSettings
from vespera_agents.serving.control import control_spec
from vespera_agents.specialists.runtime import Runtime, open_runtime
from vespera_agents.workspace import Registry


@dataclass
class Crash:
    why: str


@dataclass
class Block:
    seconds: float


class Hang: ...


class Note: ...


class Clerk(Actor):
    """Does as it is told."""

    @receives
    def crash(self, message: Crash) -> None:
        raise ValueError(message.why)

    @receives
    def block(self, message: Block) -> None:
        end = time.perf_counter() + message.seconds
        while time.perf_counter() < end:
            pass

    @receives
    async def hang(self, _: Hang) -> None:
        await trio.sleep_forever()

    @receives
    def note(self, _: Note) -> None:
        pass


class Server:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._clerks: dict[str, ActorRef[Clerk]] = {}

    def obey(self, what: str, *words) -> None:
        if what == "spawn":
            for name in words:
                self._clerks[name] = self._runtime.system.spawn(
                    Clerk, name=name, mailbox=MailboxSpec(100), restart=Restart.PERMANENT
                )
        elif what == "crowd":
            for number in range(words[0]):
                self._runtime.system.spawn(Clerk, name=f"crowd-{number:05}", mailbox=MailboxSpec(100))
        else:
            name, *rest = words
            message = {"crash": Crash, "block": Block, "hang": Hang, "note": Note}[what]
            self._clerks[name].tell(message(*rest))


LENIENT = Thresholds(loop_lag_seconds=(60, 120), stall_seconds=(60, 120), commit_seconds=(60, 120))
"""A machine that is busy with other tests shall not make it look ill."""


async def serve(directory: Path, state: Path) -> None:
    health = Health()
    health.model.settings = HealthSettings(LENIENT)
    async with open_runtime("serve", registry=Registry(state), listener=health) as runtime:
        await health.start(runtime)
        opened = await runtime.workspace(directory)
        await runtime.doors.start_child(control_spec(runtime, opened))
        server = Server(runtime)
        print(json.dumps(["up"]), flush=True)
        rest = b""
        stdin = trio.lowlevel.FdStream(0)
        while chunk := await stdin.receive_some(65_536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                server.obey(*json.loads(line))
                print(line.decode(), flush=True)


if __name__ == "__main__":
    trio.run(serve, Path(sys.argv[1]), Path(sys.argv[2]))
