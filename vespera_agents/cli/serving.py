"""`vespera serve`: from its arguments to the MCP server. No click here: a client waits while this starts.

Whatever these few lines do not understand, `--help` and mistakes included, goes the long way through `commands`.
Neighbours: `__main__` asks `plain_serve` first; `vespera_agents.serving` serves.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, final

from vespera_agents.cli.outcomes import EXIT_BAD_INPUT, EXIT_DONE, complain
from vespera_agents.front.http.wishes import HttpWish

__all__ = ["GC_THRESHOLDS", "ServeWish", "plain_serve", "serve_workspace"]

_OPTIONS: Final = (
    "--workspace",
    "--metrics",
    "--tools",
    "--http",
    "--token-file",
    "--tls-cert",
    "--tls-key",
    "--allowed-host",
)
_REPEATED: Final = "--allowed-host"
_ONLY_HTTP: Final = ("--token-file", "--tls-cert", "--tls-key", "--allowed-host")
GC_THRESHOLDS: Final = (20_000, 20, 50)
"""What `gc.set_threshold` takes: 20,000 new objects, some megabytes, between two collections of the youngest ones.
A call makes some hundreds, nearly none of which only a collection would find; with the default of 700 nearly every call
paid for one."""


@final
@dataclass(frozen=True, slots=True)
class ServeWish:
    """What to serve."""

    workspace: Path
    metrics: str | None = None
    """HOST:PORT."""
    tools: str = "core"
    """`core`, `full`, or names between commas."""
    http: HttpWish | None = None
    """Serve HTTP instead of standard input and output."""
    lease_minutes: float = 60.0
    """How long one of several clients that is not heard of keeps its claims."""


def plain_serve(words: Sequence[str]) -> ServeWish | None:
    """Read the arguments of the process when they are a plain `serve`; None sends them the long way."""
    if not words or words[0] != "serve":
        return None
    given: dict[str, str] = {}
    hosts: list[str] = []
    rest = iter(words[1:])
    for word in rest:
        name, equals, value = word.partition("=")
        text = value if equals else next(rest, "")
        repeated = name in given and name != _REPEATED
        if name not in _OPTIONS or repeated or not text or text.startswith("-"):
            return None
        given[name] = text
        if name == _REPEATED:
            hosts.append(text)
    address = given.get("--http")
    if address is None and any(name in given for name in _ONLY_HTTP):
        return None
    certificate, key, tokens = (_path(given.get(name)) for name in ("--tls-cert", "--tls-key", "--token-file"))
    http = None if address is None else HttpWish(address, tokens, certificate, key, tuple(hosts))
    return ServeWish(Path(given.get("--workspace", ".")), given.get("--metrics"), given.get("--tools", "core"), http)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def serve_workspace(wish: ServeWish) -> int:
    """Serve until the client closes its end, SIGTERM or SIGINT; give the exit status."""
    # What is imported stays for ever: looking through it for garbage, now and later, took a tenth of the start.
    gc.disable()
    import trio  # noqa: PLC0415 - as below

    from vespera_agents.serving.serve import serve  # noqa: PLC0415 - loads mcp, which no other command needs

    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()
    run = partial(
        serve,
        wish.workspace,
        metrics=wish.metrics,
        tools=wish.tools,
        http=wish.http,
        lease_seconds=wish.lease_minutes * 60,
    )
    if wish.metrics is None:
        trio.run(run)
        return EXIT_DONE
    from vespera_agents.health.errors import HealthError  # noqa: PLC0415 - loads prometheus_client

    try:
        trio.run(run)
    except HealthError as error:
        complain(str(error))
        return EXIT_BAD_INPUT
    return EXIT_DONE
