"""The simulation of supervision from the command line: `python -m supervisors.testing --seeds 20000`; see `command`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from supervisors.testing.command import Command
from supervisors.testing.faults import Fault
from supervisors.testing.running import simulate

COMMAND: Final = Command(
    program="python -m supervisors.testing",
    description="Simulate supervision.",
    simulate=simulate,
    faults=Fault,
    calls="calls answered",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run seeds, or show one; return the exit status."""
    return COMMAND.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
