"""What a front is told: which programs to start, and how long it waits for what.

The defaults are the product's; tests and benchmarks give shorter times and workers of their own. A named tuple, as all
plain facts of the front: to make a dataclass takes 0.8 ms, and a client waits. Neighbours: `front` takes it, everybody
else reads it.
"""

from __future__ import annotations

from typing import NamedTuple, final

from supervisors import Backoff

__all__ = ["Settings"]


@final
class Settings(NamedTuple):
    """One front."""

    worker: tuple[str, ...]
    """The command of a worker, which finds its end of the link by `VESPERA_LINK`."""
    forker: tuple[str, ...] | None = None
    """The command of the process that forks spares, which finds its socket by `VESPERA_FORKER`; None: a spare is a
    waiting worker of its own."""
    spare: bool = True
    """Whether a spare waits for the worker's death."""
    spare_delay_seconds: float = 0.3
    """How long the connection must be idle before the first spare is made: the client's first calls go before."""
    start_seconds: float = 45.0
    """How long a worker may take to become ready; less than `wait_seconds`."""
    wait_seconds: float = 50.0
    """How long a request waits while there is no worker; clients give up after 60 s."""
    ping_seconds: float = 2.0
    """How long after an answer to a ping the next one is sent."""
    pong_seconds: float = 10.0
    """How long a worker may take to answer a ping, before it counts as wedged."""
    dump_seconds: float = 0.5
    """How long a wedged worker has to write down where its threads are."""
    end_seconds: float = 1.5
    """How long a worker may take to end once the client has gone."""
    stop_seconds: float = 1.0
    """How long a worker that was drained may take to end, before another one takes over."""
    backoff: Backoff = Backoff(0.2, 10.0, reset_seconds=20.0)
    """How long to wait after a worker, or a spare, that died before it was of use."""
    processes_max: int = 8
    """How many processes of its own may live at once; in order there are at most five."""
    requests_max: int = 1_000
    """Lines in flight; beyond, no further line is read."""
    bytes_max: int = 64_000_000
    """Bytes of lines in flight; beyond, no further line is read."""
    line_bytes_max: int = 16 * 1024 * 1024
    """Bytes in one line; longer ones are refused."""
    log_bytes_max: int = 1 << 20
    """Bytes in the log before it becomes the older one of two."""
    says_json: bool = False
    """Whether what goes to standard error is written as JSON."""
    serves: str = ""
    """What the log says that it serves: the path of the workspace."""
