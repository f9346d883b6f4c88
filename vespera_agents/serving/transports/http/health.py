"""The pages of health beside MCP: `/livez`, `/readyz` and `/healthz` of a server that serves HTTP.

The entrance has let the request in: the first two without a token, the third only with one where one is asked for.
Neighbours: `door` has the pages, `vespera_agents.health.pages` says what stands on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from vespera_agents.health.model import HealthModel
from vespera_agents.health.pages import PATHS, page_of
from vespera_agents.serving.transports.http.guard import Inner, Receive, Scope, Send, refuse

__all__ = ["health_pages"]


def health_pages(model: HealthModel) -> Mapping[str, Inner]:
    """Give the pages by their paths."""
    return dict.fromkeys(PATHS, partial(_answer, model))


async def _answer(model: HealthModel, scope: Scope, _: Receive, send: Send) -> None:
    method = scope["method"]
    if method not in {"GET", "HEAD"}:
        await refuse(send, 405, "health is only read. Send GET.", (b"allow", b"GET, HEAD"))
        return
    page = page_of(model, str(scope["path"]), names=True)
    if page is None:
        await refuse(send, 404, f"there is nothing here. Ask for one of {', '.join(PATHS)}.")
        return
    headers = [
        (b"content-type", page.content_type.encode()),
        (b"content-length", str(len(page.body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": page.status, "headers": headers})
    body = b"" if method == "HEAD" else page.body
    await send({"type": "http.response.body", "body": body, "more_body": False})
