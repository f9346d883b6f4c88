"""What runs without coverage: processes, by their environment, and tests that are marked `unmeasured`. Not a test.

Processes for what they import, for how long they take, or because they are killed: coverage imports sqlite3, pathlib
and dataclasses itself, doubles the time, and reports nothing from a process that was killed. Tests because they go over
the same lines thousands of times, or over none of ours in this process: measured they take 2.5 times as long.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from coverage import Coverage

__all__ = ["pausing_coverage", "unmeasured"]

_PREFIX = "COVERAGE_"


def unmeasured(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Give an environment without what has coverage begin in a process."""
    return {name: value for name, value in environment.items() if not name.startswith(_PREFIX)}


@contextmanager
def pausing_coverage() -> Iterator[None]:
    """Measure nothing for the length of a block, neither here nor in processes that are started in it."""
    measuring = Coverage.current()
    if measuring is None:
        yield
        return
    begun = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(_PREFIX)}
    measuring.stop()
    try:
        yield
    finally:
        measuring.start()
        os.environ |= begun
