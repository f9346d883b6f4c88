"""The process that workers are forked from: it has imported what they import, and opened nothing.

One thread, no loop of trio, no file, no store: what is forked from it begins as a process of its own that need not
import. It does what comes over its socket from the front, and nothing else:

    fork        with two descriptors: the worker's end of a link, and its standard error
    -> pid N            the worker's process
    -> exit N STATUS    it has ended, with what `os.waitstatus_to_exitcode` makes of its status

The end of the socket is its own end, as soon as its last worker is gone. Not the worker (`worker`). Neighbours: the
front keeps one and asks it.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial
from types import FrameType
from typing import Final, NoReturn, final

from vespera_agents.serving.faults import EXIT_BAD_INPUT, complain
from vespera_agents.serving.wishes import ServeWish, imported, plain_serve
from vespera_agents.serving.worker import Programs, die_with_parent, load, watch, work

__all__ = ["FORKER_VARIABLE", "Forker", "main"]

FORKER_VARIABLE: Final = "VESPERA_FORKER"
"""The environment variable that names the forker's end of its socket, a descriptor."""
_ORDER_BYTES_MAX: Final = 4_096
_DESCRIPTORS: Final = 2
_REAP_MILLISECONDS: Final = 50
"""How often ended workers are looked for once there is no front any more."""
_FORK: Final = b"fork"


@final
class Forker:
    """The loop of the forker."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._workers: set[int] = set()
        self._incoming = b""
        self._given: list[int] = []

    def run(self) -> tuple[int, int] | None:
        """Fork when told to; gives the link and standard error in a worker, None in the forker at its end."""
        woken, wakes = os.pipe()
        os.set_blocking(wakes, False)
        os.set_blocking(woken, False)
        # A worker that ends must be reaped at once: the signal comes through this pipe, so that none is missed.
        before = signal.signal(signal.SIGCHLD, _heard)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        try:
            while True:
                readable = select.select([self._end, woken], [], [])[0]
                if woken in readable:
                    os.read(woken, _ORDER_BYTES_MAX)
                    self._reap()
                if self._end in readable and not self._read():
                    self._wait_for_workers()
                    return None
                while len(self._given) >= _DESCRIPTORS and b"\n" in self._incoming:
                    order, _, self._incoming = self._incoming.partition(b"\n")
                    given, self._given = self._given[:_DESCRIPTORS], self._given[_DESCRIPTORS:]
                    if order == _FORK and self._fork(given):
                        return given[0], given[1]
        finally:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, before)
            os.close(woken)
            os.close(wakes)

    def _read(self) -> bool:
        """Take what the front says; say whether it is still there."""
        try:
            data, given, _, _ = socket.recv_fds(self._end, _ORDER_BYTES_MAX, 2 * _DESCRIPTORS)
        except OSError:
            return False
        self._incoming += data
        self._given += given
        return bool(data)

    def _fork(self, given: Sequence[int]) -> bool:
        """Fork; say whether this is the worker."""
        pid = os.fork()
        if not pid:
            return True
        self._workers.add(pid)
        for descriptor in given:
            os.close(descriptor)
        self._tell(f"pid {pid}")
        return False

    def _reap(self) -> None:
        for pid in tuple(self._workers):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._workers.discard(pid)
                self._tell(f"exit {pid} {os.waitstatus_to_exitcode(status)}")

    def _wait_for_workers(self) -> None:
        """Stay until the last worker is gone: it dies with us, and may be at work."""
        while self._workers:
            select.select([], [], [], _REAP_MILLISECONDS / 1_000)
            self._reap()

    def _tell(self, line: str) -> None:
        try:
            self._end.sendall(line.encode() + b"\n")
        except OSError:
            # The front is gone: nobody wants to know.
            return


def _heard(_number: int, _frame: FrameType | None) -> None:
    """Let the signal be noticed: the pipe says that it came."""


def main() -> NoReturn:
    """Import, fork workers, and be each of them."""
    wish = plain_serve(["serve", *sys.argv[1:]])
    if wish is None:
        complain(f"{sys.argv[1:]} are no plain options of `vespera serve`. It starts this program itself.")
        sys.exit(EXIT_BAD_INPUT)
    wish = wish.told(os.environ)
    descriptor = int(os.environ.pop(FORKER_VARIABLE))
    os.set_inheritable(descriptor, False)
    programs = imported(partial(load, wish))
    die_with_parent()
    with socket.socket(fileno=descriptor) as end:
        forked = Forker(end).run()
    if forked is not None:
        sys.exit(_be_worker(wish, programs, *forked))
    sys.exit(0)


def _be_worker(wish: ServeWish, programs: Programs, link: int, errors: int) -> int:
    """Go on as the worker program at its first line."""
    os.setsid()
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    os.close(errors)
    watch(link)
    return work(wish, link, programs)


if __name__ == "__main__":
    main()
