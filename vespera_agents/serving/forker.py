"""The process that workers are forked from: it has imported what they import, and opened nothing.

One thread, no loop of trio, no file, no store: what is forked from it begins as a process of its own that need not
import. It does what comes over its socket from the front, and nothing else:

    fork        with two descriptors: the worker's end of a link, and its standard error
    -> pid N            the worker's process

A worker is no child of its: one in between makes it and ends, so the kernel gives it to the front, which asked for
orphans. So the front learns how it ends, the kernel ends it with the front, and it outlives the forker. The end of the
socket is the forker's own end. Not the worker (`worker`). Neighbours: the front keeps one and asks it.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from collections.abc import Sequence
from functools import partial
from typing import Final, NoReturn, final

from vespera_agents.serving.faults import EXIT_BAD_INPUT, complain
from vespera_agents.serving.wishes import ServeWish, imported, plain_serve
from vespera_agents.serving.worker import Programs, die_with_parent, load, watch, work

__all__ = ["FORKER_VARIABLE", "Forker", "main"]

FORKER_VARIABLE: Final = "VESPERA_FORKER"
"""The environment variable that names the forker's end of its socket, a descriptor."""
_ORDER_BYTES_MAX: Final = 4_096
_DESCRIPTORS: Final = 2
_ORPHANED_SECONDS: Final = 0.0002
"""How often a worker looks whether it has its last parent; the one in between is ending already."""
_FORK: Final = b"fork"


@final
class Forker:
    """The loop of the forker."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._incoming = b""
        self._given: list[int] = []

    def run(self) -> tuple[int, int] | None:
        """Fork when told to; gives the link and standard error in a worker, None in the forker at its end."""
        while self._read():
            while len(self._given) >= _DESCRIPTORS and b"\n" in self._incoming:
                order, _, self._incoming = self._incoming.partition(b"\n")
                given, self._given = self._given[:_DESCRIPTORS], self._given[_DESCRIPTORS:]
                if order == _FORK and self._fork(given):
                    return given[0], given[1]
        return None

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
        between = os.fork()
        if not between:
            return self._fork_and_end()
        for descriptor in given:
            os.close(descriptor)
        if os.waitpid(between, 0)[1]:
            sys.exit("no process could be forked")
        return False

    def _fork_and_end(self) -> bool:
        """Make the worker and end, as the one in between; returns as the worker."""
        between = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            os._exit(1)
        if pid:
            try:
                self._end.sendall(f"pid {pid}\n".encode())
            except OSError:
                # The front is gone: nobody wants to know.
                os._exit(0)
            os._exit(0)
        # Whoever asks to die with its parent before that would die with the wrong one.
        while os.getppid() == between:
            select.select([], [], [], _ORPHANED_SECONDS)
        return True


def main() -> NoReturn:
    """Import, fork workers, and be each of them."""
    wish = plain_serve(["serve", *sys.argv[1:]])
    if wish is None:
        complain(f"{sys.argv[1:]} are no plain options of `vespera serve`. It starts this program itself.")
        sys.exit(EXIT_BAD_INPUT)
    wish = wish.told(os.environ)
    descriptor = int(os.environ.pop(FORKER_VARIABLE))
    os.set_inheritable(descriptor, False)
    programs = imported(partial(_load_all, wish))
    die_with_parent()
    with socket.socket(fileno=descriptor) as end:
        forked = Forker(end).run()
    if forked is not None:
        sys.exit(_be_worker(wish, programs, *forked))
    sys.exit(0)


def _load_all(wish: ServeWish) -> Programs:
    programs = load(wish)
    programs.complete()
    return programs


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
