"""How long a cold worker takes: from the start of its process until it says that it works. No front, no spare."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time

from benchmarks.killing.places import Place
from vespera_agents.front.framing import ACTIVATE, END_OF_REPLAY, LINK_VARIABLE, READY, Lines

__all__ = ["cold_start_seconds"]

_WAIT_SECONDS = 60.0
_ACTIVATION = b'{"server": "srv_0123456789ab", "generation": 1, "reason": "start", "restart": null, "log": "-"}'


def cold_start_seconds(place: Place) -> float:
    """Start a worker with nothing ready for it, and end it.

    Raises:
        RuntimeError: it did not come to work.
    """
    command = [sys.executable, "-m", "vespera_agents.serving.worker", *place.command[4:]]
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(b"%s 1 %s\n%s\n" % (ACTIVATE, _ACTIVATION, END_OF_REPLAY))
        environment = {**place.environment, LINK_VARIABLE: str(theirs.fileno())}
        began = time.perf_counter()
        with subprocess.Popen(
            command,
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as worker:
            theirs.close()
            try:
                _wait_until_ready(ours)
                return time.perf_counter() - began
            finally:
                os.killpg(worker.pid, signal.SIGKILL)


def _wait_until_ready(link: socket.socket) -> None:
    lines = Lines()
    while select.select([link], [], [], _WAIT_SECONDS)[0]:
        chunk = link.recv(1 << 16)
        if not chunk:
            break
        if any(line.startswith(READY) for line in lines.feed(chunk)):
            return
    raise RuntimeError("a cold worker did not come to work")
