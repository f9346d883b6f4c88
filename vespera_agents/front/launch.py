"""The first steps of a front, before it imports trio: the first worker starts, and imports what it needs meanwhile.

A worker imports for half a second and more, the front for a tenth of that: whatever comes before the first spawn is
waited for by the client. So there is no subprocess, no dataclass, no JSON library and no path object here. Neighbours:
`front` goes on from here; `processes` starts later workers by the same `spawn`.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from _json import encode_basestring_ascii as quoted
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, final

from vespera_agents.front.framing import ACTIVATE, END_OF_REPLAY, LINK_VARIABLE
from vespera_agents.front.places import log_path

__all__ = ["Launch", "Launched", "fill_gaps", "launch", "module_command", "spawn", "spawn_linked"]

_STDERR: Final = 2


@final
class Launched:
    """A process that was started, and our end of the socket to it."""

    __slots__ = ("link", "pid", "since_seconds")

    def __init__(self, pid: int, link: socket.socket, since_seconds: float) -> None:
        self.pid = pid
        """Its process id, and that of its group."""
        self.link = link
        """Our end."""
        self.since_seconds = since_seconds
        """When, on the monotonic clock."""


@final
class Launch:
    """A front that has begun: who it is, and its first worker."""

    __slots__ = ("first", "log", "output", "server")

    def __init__(self, server: str, log: str, output: tuple[int, int], first: Launched) -> None:
        self.server = server
        """Its id: `srv_` and 12 hex digits, the same for all of its workers."""
        self.log = log
        """The path of its log."""
        self.output = output
        """The pipe into which all of its processes print: where it is read, where it is written."""
        self.first = first
        """The first worker, which has been told to work."""


def launch(command: Sequence[str]) -> Launch:
    """Start the first worker of a new front.

    Args:
        command: the worker's program and arguments.
    """
    fill_gaps()
    server = f"srv_{os.urandom(6).hex()}"
    log = log_path(server)
    output = os.pipe()
    first = spawn_linked(command, LINK_VARIABLE, output[1])
    activation = f'{{"server": "{server}", "generation": 1, "reason": "start", "restart": null, "log": {quoted(log)}}}'
    # A new socket has room for this, so it cannot block; a worker that is gone already is noticed soon enough.
    with suppress(OSError):
        first.link.send(b"%s 1 %s\n%s\n" % (ACTIVATE, activation.encode(), END_OF_REPLAY))
    return Launch(server, log, output, first)


def fill_gaps() -> None:
    """Open what is closed of the descriptors 0 to 2: else the next file would get such a number."""
    nothing = os.open(os.devnull, os.O_RDWR)
    while nothing <= _STDERR:
        nothing = os.open(os.devnull, os.O_RDWR)
    os.close(nothing)


def module_command(module: str, words: Sequence[str]) -> list[str]:
    """Give the command that runs a module in an interpreter like this one."""
    command = [sys.executable, *_options(sys.orig_argv[1:])]
    # The console script does not look for modules in the current directory, which is somebody's project: nor shall
    # what it starts. `python -m` does, and so shall its workers.
    if sys.flags.safe_path or sys.path[0] not in {"", os.getcwd()}:  # noqa: PTH109 - no path objects here
        command.append("-P")
    return [*command, "-m", module, *words]


def _options(words: Sequence[str]) -> list[str]:
    """Give the interpreter's own options out of its command line."""
    options: list[str] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word in {"-", "--"}:
            break
        if word in {"-W", "-X", "--check-hash-based-pycs"}:
            options += [word, next(rest, "")]
        elif word[1] in "WX-":
            options.append(word)
        else:
            # Letters may stand together, and what follows m or c is no option any more.
            before = word.partition("m")[0].partition("c")[0]
            if before != "-":
                options.append(before)
            if before != word:
                break
    return options


def spawn_linked(command: Sequence[str], variable: str, output: int) -> Launched:
    """Start a process with one end of a new socket, whose number it finds in the environment."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        theirs.set_inheritable(True)
        pid = spawn([*command], {**os.environ, variable: str(theirs.fileno())}, output)
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return Launched(pid, ours, time.monotonic())


def spawn(command: list[str], environment: dict[str, str], output: int) -> int:
    """Start a process that reads nothing and prints into `output`, in a session of its own; give its id."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2),
    ]
    try:
        return os.posix_spawn(command[0], command, environment, file_actions=actions, setsid=True)
    except NotImplementedError:
        return os.posix_spawn(command[0], command, environment, file_actions=actions, setpgroup=0)
