"""How a command ends: its exit status, and the message where a user caused the end.

What a user can cause (a missing file, a refused directory, a session that somebody else runs) ends in one sentence on
standard error and exit status 2, without a traceback; everything else is a fault of ours and keeps its traceback.
Neighbours: `__main__` runs every command through `ended`.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Final, cast

__all__ = [
    "EXIT_BAD_INPUT",
    "EXIT_DONE",
    "EXIT_FAILED",
    "EXIT_INTERNAL",
    "EXIT_INTERRUPTED",
    "caused_by_users",
    "complain",
    "ended",
]

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
"""The command was carried out, and what it looked at is not well."""
EXIT_BAD_INPUT: Final = 2
"""The command was not carried out; the message says what to do next."""
EXIT_INTERNAL: Final = 70
"""A fault of ours. BSD's EX_SOFTWARE."""
EXIT_INTERRUPTED: Final = 130
"""128 and SIGINT, as shells report it."""


def ended(command: Callable[[], int]) -> int:
    """Carry out a command and give its exit status, whatever it raises."""
    try:
        return command()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the outermost boundary: whatever it is becomes an exit status.
        causes = list(_leaves(error))
        if all(isinstance(cause, caused_by_users()) for cause in causes):
            complain(str(causes[0]))
            return EXIT_BAD_INPUT
        traceback.print_exception(error)
        complain("this is a fault of Vespera Agents. Please report it with the lines above.")
        return EXIT_INTERNAL


def caused_by_users() -> tuple[type[Exception], ...]:
    """Give what a person can put right; each message says how."""
    # Only now, when something was raised: most commands end well, and some begin and end in a tenth of a second.
    from supervisors.guardian import GuardianError  # noqa: PLC0415
    from vespera_agents.front.http.errors import HttpError  # noqa: PLC0415
    from vespera_agents.store.errors import StoreError  # noqa: PLC0415
    from vespera_agents.work.errors import WorkError  # noqa: PLC0415
    from vespera_agents.workspace.errors import WorkspaceError  # noqa: PLC0415

    return (WorkError, WorkspaceError, StoreError, GuardianError, HttpError)


def complain(message: str) -> None:
    """Print an error on standard error, as click does."""
    sys.stderr.write(f"Error: {message}\n")
    sys.stderr.flush()


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Give what a nursery has wrapped; a single error is its own leaf."""
    if isinstance(error, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _leaves(inner)
    else:
        yield error
