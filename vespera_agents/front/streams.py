"""A process's standard input and output, taken for a wire: two descriptors of their own, which do not block.

From then on what is printed goes to standard error: a line that some library prints at its very end must not reach the
client either. Neighbours: `stdio` here and the worker's transport (`vespera_agents.serving.transports.stdio`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final

from vespera_agents.front.launch import fill_gaps

__all__ = ["taken_streams"]

_STDERR: Final = 2


@contextmanager
def taken_streams() -> Generator[tuple[int, int]]:
    """Take standard input and output while the block lasts; gives where to read and where to write."""
    # Without a descriptor 1 there is no such object either.
    with suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    fill_gaps()
    read_fd, write_fd = os.dup(0), os.dup(1)
    blocking = os.get_blocking(read_fd), os.get_blocking(write_fd)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(_STDERR, 1)
    os.close(nothing)
    try:
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)
        yield read_fd, write_fd
    finally:
        # The descriptors may be a terminal that the shell goes on with.
        os.set_blocking(read_fd, blocking[0])
        os.set_blocking(write_fd, blocking[1])
        os.close(read_fd)
        os.close(write_fd)
