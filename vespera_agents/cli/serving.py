"""`vespera serve`: from its arguments to the MCP server. No click here: a client waits while this starts.

Whatever these few lines do not understand, `--help` and mistakes included, goes the long way through `commands`.
Neighbours: `__main__` asks `plain_serve` first; `vespera_agents.serving` serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, final

from vespera_agents.cli.outcomes import EXIT_BAD_INPUT, EXIT_DONE, complain

__all__ = ["ServeWish", "plain_serve", "serve_workspace"]

_OPTIONS: Final = ("--workspace", "--metrics", "--tools")


@final
@dataclass(frozen=True, slots=True)
class ServeWish:
    """What to serve."""

    workspace: Path
    metrics: str | None = None
    """HOST:PORT."""
    tools: str = "core"
    """`core`, `full`, or names between commas."""


def plain_serve(words: Sequence[str]) -> ServeWish | None:
    """Read the arguments of the process when they are a plain `serve`; None sends them the long way."""
    if not words or words[0] != "serve":
        return None
    given: dict[str, str] = {}
    rest = iter(words[1:])
    for word in rest:
        name, equals, value = word.partition("=")
        text = value if equals else next(rest, "")
        if name not in _OPTIONS or name in given or not text or text.startswith("-"):
            return None
        given[name] = text
    return ServeWish(Path(given.get("--workspace", ".")), given.get("--metrics"), given.get("--tools", "core"))


def serve_workspace(wish: ServeWish) -> int:
    """Serve until the client closes its end, SIGTERM or SIGINT; give the exit status."""
    import trio  # noqa: PLC0415 - as below

    from vespera_agents.serving.serve import serve  # noqa: PLC0415 - loads mcp, which no other command needs

    if wish.metrics is None:
        trio.run(partial(serve, wish.workspace, tools=wish.tools))
        return EXIT_DONE
    from vespera_agents.health.errors import HealthError  # noqa: PLC0415 - loads prometheus_client

    try:
        trio.run(partial(serve, wish.workspace, metrics=wish.metrics, tools=wish.tools))
    except HealthError as error:
        complain(str(error))
        return EXIT_BAD_INPUT
    return EXIT_DONE
