"""`/metrics` beside MCP, on a server that serves HTTP: behind the same guard, and with a token where one is asked for.

Rendered in a thread, because the loop has clients to serve; one that is blocked answers nobody here, as it does the
endpoint of `--metrics`. Neighbours: `door` has the page, `vespera_agents.health.metrics` has the numbers.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from functools import partial
from typing import Final, cast
from urllib.parse import parse_qs

import trio

from vespera_agents.front.http.entrance import METRICS
from vespera_agents.health.metrics.measured import Measured
from vespera_agents.serving.transports.http.guard import Inner, Receive, Scope, Send, headers_of, refuse

__all__ = ["SCRAPES_MAX", "metrics_pages"]

SCRAPES_MAX: Final = 2
"""Scrapes that are rendered at once; the others wait for their turn."""
_LEVEL: Final = 1
"""Of compression: ten times smaller in a millisecond; twenty times would take ten."""


def metrics_pages(measured: Measured) -> Mapping[str, Inner]:
    """Give the page by its path."""
    return {METRICS: partial(_answer, measured, trio.CapacityLimiter(SCRAPES_MAX))}


async def _answer(measured: Measured, limiter: trio.CapacityLimiter, scope: Scope, _: Receive, send: Send) -> None:
    method, path = scope["method"], str(scope["path"])
    if path != METRICS:
        await refuse(send, 404, f"there is nothing here. Metrics are at {METRICS}.")
        return
    if method not in {"GET", "HEAD"}:
        await refuse(send, 405, "metrics are only read. Send GET.", (b"allow", b"GET, HEAD"))
        return
    headers = headers_of(scope)
    names = parse_qs(cast("bytes", scope["query_string"]).decode("latin-1")).get("name[]", [])
    zipped = "gzip" in headers.get(b"accept-encoding", "")
    work = partial(_render, measured, headers.get(b"accept", ""), names, zipped=zipped)
    content_type, body = await trio.to_thread.run_sync(work, limiter=limiter)
    about = [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *([(b"content-encoding", b"gzip")] if zipped else []),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": about})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body, "more_body": False})


def _render(measured: Measured, accept: str, names: list[str], *, zipped: bool) -> tuple[str, bytes]:
    found = measured.scrape(accept, names)
    return found.content_type, gzip.compress(found.body, _LEVEL) if zipped else found.body
