"""What a front answers who asks whether the server is well, also while no worker is there to say it.

The front is alive whatever its worker does, and replaces that by itself: so `/livez` is its own answer, and nobody has
to restart it because a worker is blocked. What only a worker knows is asked of it for a moment, not for as long as a
call may wait for the next worker. Neighbours: `connection` asks here, `exchange` goes to the worker.
"""

from __future__ import annotations

import json
from typing import Final

import trio

from vespera_agents.front.http.entrance import HEALTHZ, LIVEZ, PROBES
from vespera_agents.front.http.exchange import Client, Exchange, Request, Road

__all__ = ["PROBE_SECONDS", "answer_probe", "is_probe"]

PROBE_SECONDS: Final = 2.0
"""How long a worker may take for its answer; load balancers wait for 1 to 5 seconds."""
_TEXT: Final = ((b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store"))
_JSON: Final = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"), (b"retry-after", b"1"))
_NO_WORKER: Final = "no worker is ready; the front starts one"
_SILENT: Final = f"the worker did not answer within {PROBE_SECONDS:g} s; the front replaces it if that stays so"


def is_probe(request: Request) -> bool:
    """Say whether a request asks how the server is."""
    return request.method in {b"GET", b"HEAD"} and _path(request) in {*PROBES, HEALTHZ}


async def answer_probe(request: Request, exchange: Exchange, client: Client, road: Road) -> None:
    """Have such a request answered, by the worker where it must and can.

    Args:
        request: what was asked.
        exchange: the same, on its road to the worker.
        client: who asked.
        road: leads to workers.
    """
    path, ready = _path(request), road.workers.current() is not None
    if path == LIVEZ:
        await _say(client, request, 200, "ok" if ready else f"ok: the front lives; {_NO_WORKER}")
        return
    if ready:
        with trio.move_on_after(PROBE_SECONDS) as patience:
            await exchange.run()
        if not patience.cancelled_caught:
            return
    why = _SILENT if ready else _NO_WORKER
    if path == HEALTHZ:
        reason = {"grade": "unhealthy", "component": "front", "what": why}
        body = json.dumps({"grade": "unhealthy", "reasons": [reason]}).encode() + b"\n"
        await client.answer(503, _JSON, _whole(request, body))
    else:
        await _say(client, request, 503, f"not ready: {why}")


async def _say(client: Client, request: Request, status: int, words: str) -> None:
    await client.answer(status, _TEXT, _whole(request, words.encode() + b"\n"))


def _whole(request: Request, body: bytes) -> bytes:
    """Give the body of an answer, which HEAD does not have."""
    return b"" if request.method == b"HEAD" else body


def _path(request: Request) -> str:
    return request.target.partition(b"?")[0].decode("latin-1")
