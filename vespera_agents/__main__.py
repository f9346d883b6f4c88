"""The program `vespera`, also `python -m vespera_agents`.

Hands a plain `serve` over before the library for commands is imported, because an MCP client waits for its first
answer; everything else goes through `cli.commands`.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from vespera_agents.cli.outcomes import ended
from vespera_agents.cli.serving import plain_serve, serve_workspace

__all__ = ["main"]


def main() -> NoReturn:
    """Carry out the command of the process's arguments and end the process with its status."""
    sys.exit(ended(_command))


def _command() -> int:
    wish = plain_serve(sys.argv[1:])
    if wish is not None:
        return serve_workspace(wish)
    from vespera_agents.cli.commands import run_app  # noqa: PLC0415 - loads click

    return run_app()


if __name__ == "__main__":
    main()
