"""`vespera serve`: from its arguments to the MCP server. No click here: a client waits while this starts.

Neighbours: `__main__` asks `plain_serve` first; `vespera_agents.serving` serves.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from vespera_agents.cli.outcomes import EXIT_DONE
from vespera_agents.serving.wishes import GC_THRESHOLDS, ServeWish, imported, plain_serve

__all__ = ["GC_THRESHOLDS", "ServeWish", "plain_serve", "serve_workspace"]


def serve_workspace(wish: ServeWish) -> int:
    """Serve until the client closes its end, SIGTERM or SIGINT; give the exit status."""
    serving = imported(partial(_load, wish))
    serving()
    return EXIT_DONE


def _load(wish: ServeWish) -> Callable[[], None]:
    import trio  # noqa: PLC0415 - as below

    from vespera_agents.serving.serve import serve  # noqa: PLC0415 - loads mcp, which no other command needs

    return lambda: trio.run(serve, wish)
