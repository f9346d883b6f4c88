"""The simulation of actors from the command line: `python -m vespera_agents.actors.testing --seeds 2000`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from supervisors.testing.command import Command
from vespera_agents.actors.testing.faults import ActorFault
from vespera_agents.actors.testing.running import simulate

COMMAND: Final = Command(
    program="python -m vespera_agents.actors.testing",
    description="Simulate actor systems.",
    simulate=simulate,
    faults=ActorFault,
    calls="messages followed",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run seeds, or show one; return the exit status."""
    return COMMAND.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
