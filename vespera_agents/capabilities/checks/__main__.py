"""`python -m vespera_agents.capabilities.checks NAME [ARGUMENT]... [--directory DIR]`: a check without the CLI library.

The same as `vespera check`; it only reads its arguments.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vespera_agents.capabilities.checks.catalogue import CHECKS, run_check

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check that the arguments name and give its exit status."""
    lines = [f"  {check.name:12} {check.arguments:9} {check.summary}" for check in CHECKS.values()]
    parser = argparse.ArgumentParser(
        prog="python -m vespera_agents.capabilities.checks",
        description="Look at one side of a project's readiness. Status: 0 clean, 1 findings, 2 cannot check.",
        epilog="checks:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", help="the check")
    parser.add_argument("arguments", nargs="*", help="what the check takes")
    parser.add_argument("--directory", type=Path, default=Path(), help="the project (default: here)")
    given = parser.parse_args(arguments)
    return run_check(given.name, given.directory, given.arguments)


if __name__ == "__main__":
    sys.exit(main())
