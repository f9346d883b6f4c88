"""Environments of processes whose coverage is not measured. Not a test.

For what a process imports, how long it takes, or that it is killed: coverage imports sqlite3, pathlib and dataclasses
itself, doubles the time, and reports nothing from a process that was killed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["unmeasured"]


def unmeasured(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Give an environment without what has coverage begin in a process."""
    return {name: value for name, value in environment.items() if not name.startswith("COVERAGE_")}
