"""Whose fault it is that a program ended: what a person can put right, and what is a fault of ours.

Neighbours: `cli.outcomes` makes the exit status of every command of it, `worker` that of a worker.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final, cast

__all__ = ["EXIT_BAD_INPUT", "EXIT_INTERNAL", "caused_by_users", "causes_of", "complain"]

EXIT_BAD_INPUT: Final = 2
"""The command was not carried out; the message says what to do next."""
EXIT_INTERNAL: Final = 70
"""A fault of ours. BSD's EX_SOFTWARE."""


def caused_by_users() -> tuple[type[Exception], ...]:
    """Give what a person can put right; each message says how."""
    # Only now, when something was raised: most commands end well, and some begin and end in a tenth of a second.
    from supervisors.guardian import GuardianError  # noqa: PLC0415
    from vespera_agents.front.http.errors import HttpError  # noqa: PLC0415
    from vespera_agents.providers.errors import ProviderError  # noqa: PLC0415
    from vespera_agents.store.errors import StoreError  # noqa: PLC0415
    from vespera_agents.work.errors import WorkError  # noqa: PLC0415
    from vespera_agents.workspace.errors import WorkspaceError  # noqa: PLC0415

    causes = (WorkError, WorkspaceError, StoreError, ProviderError, GuardianError, HttpError)
    if "vespera_agents.health.errors" not in sys.modules:
        # Its package loads the library for metrics; what was not loaded was not raised either.
        return causes
    from vespera_agents.health.errors import HealthError  # noqa: PLC0415

    return (*causes, HealthError)


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """Give what a nursery has wrapped; a single error is its own cause."""
    if isinstance(error, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from causes_of(inner)
    else:
        yield error


def complain(message: str) -> None:
    """Print an error on standard error, as click does."""
    sys.stderr.write(f"Error: {message}\n")
    sys.stderr.flush()
