"""How a command ends: its exit status, and the message where a user caused the end.

What a user can cause (a missing file, a refused directory, a session that somebody else runs) ends in one sentence on
standard error and exit status 2, without a traceback; everything else is a fault of ours and keeps its traceback.
Neighbours: `__main__` runs every command through `ended`.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Final

from vespera_agents.serving.faults import EXIT_BAD_INPUT, EXIT_INTERNAL, caused_by_users, causes_of, complain

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
EXIT_INTERRUPTED: Final = 130
"""128 and SIGINT, as shells report it."""


def ended(command: Callable[[], int]) -> int:
    """Carry out a command and give its exit status, whatever it raises."""
    try:
        return command()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the outermost boundary: whatever it is becomes an exit status.
        causes = list(causes_of(error))
        if all(isinstance(cause, caused_by_users()) for cause in causes):
            complain(str(causes[0]))
            return EXIT_BAD_INPUT
        traceback.print_exception(error)
        complain("this is a fault of Vespera Agents. Please report it with the lines above.")
        return EXIT_INTERNAL
