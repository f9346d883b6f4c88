"""The program `vespera`, also `python -m vespera_agents`.

The first worker of a plain `serve` starts before anything else is imported, because an MCP client waits for its first
answer; a `serve` with more options is at least read without the library for commands. Everything else goes through
`cli.commands`.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from vespera_agents.front.words import NO_SPARE, quick_words

if TYPE_CHECKING:
    from vespera_agents.front.launch import Launch

__all__ = ["main"]


def main() -> NoReturn:
    """Carry out the command of the process's arguments and end the process with its status."""
    words = quick_words(sys.argv[1:]) if hasattr(os, "posix_spawn") else None
    launched = None if words is None else _launch(words)
    from vespera_agents.cli.outcomes import ended  # noqa: PLC0415 - see above

    sys.exit(ended(partial(_command, words, launched)))


def _launch(words: list[str]) -> Launch:
    from vespera_agents.front.launch import launch, module_command  # noqa: PLC0415 - other commands need no socket

    return launch(module_command("vespera_agents.serving.worker", words))


def _command(words: list[str] | None, launched: Launch | None) -> int:
    if words is not None:
        from vespera_agents.cli.serving import serve_behind_front  # noqa: PLC0415 - as above

        return serve_behind_front(words, spare=NO_SPARE not in sys.argv[1:], launched=launched)
    from vespera_agents.serving.wishes import plain_serve  # noqa: PLC0415 - loads more than a plain `serve` needs

    wish = plain_serve(sys.argv[1:])
    if wish is not None:
        from vespera_agents.cli.serving import serve_workspace  # noqa: PLC0415 - as above

        return serve_workspace(wish)
    from vespera_agents.cli.commands import run_app  # noqa: PLC0415 - loads click

    return run_app()


if __name__ == "__main__":
    main()
