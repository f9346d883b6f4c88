"""`/livez`, `/readyz` and `/healthz`: what HTTP is answered, whoever serves it, from any thread.

`/livez` and `/readyz` are 200 or 503 with a few words that name nobody. `/healthz` is JSON, and 503 when unhealthy; who
is to blame, and why, stands there only for those who may know it. Neighbours: `metrics.endpoint` serves these pages
from a thread, `vespera_agents.serving.transports.http.health` beside MCP.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final, final

from vespera_agents.front.http.entrance import HEALTHZ, LIVEZ, READYZ
from vespera_agents.health.checks import Grade, Verdict
from vespera_agents.health.model import HealthModel, Probe

__all__ = ["PATHS", "Page", "health_document", "page_of"]

PATHS: Final = (LIVEZ, READYZ, HEALTHZ)


@final
@dataclass(frozen=True, slots=True)
class Page:
    """What is answered."""

    status: int
    content_type: str
    body: bytes


def page_of(model: HealthModel, path: str, *, names: bool) -> Page | None:
    """Give one of the pages; None for another path.

    Args:
        model: whose health it is.
        path: which page.
        names: whether who asks may know the names of actors and directories.
    """
    if path == LIVEZ:
        return _probe(model.liveness())
    if path == READYZ:
        return _probe(model.readiness())
    if path == HEALTHZ:
        verdict = model.current()
        status = 503 if verdict.grade is Grade.UNHEALTHY else 200
        document = health_document(model, verdict) if names else _without_names(verdict)
        return Page(status, "application/json", json.dumps(document).encode() + b"\n")
    return None


def health_document(model: HealthModel, verdict: Verdict) -> dict[str, object]:
    """Give everything that is known of a server's health, as JSON can carry it."""
    return {
        "grade": verdict.grade.value,
        "at": verdict.at,
        "since": verdict.since,
        "reasons": [asdict(one) for one in verdict.reasons],
        "recoveries": [asdict(one) for one in model.recoveries.notes],
        "changes": [{"at": one.at, "grade": one.grade.value} for one in model.changes],
    }


def _without_names(verdict: Verdict) -> dict[str, object]:
    """Give what may be known beyond this machine without a token: the grade, and what kinds of things are ill."""
    kinds = {(one.grade.value, one.kind): None for one in verdict.reasons}
    return {
        "grade": verdict.grade.value,
        "at": verdict.at,
        "since": verdict.since,
        "reasons": [{"grade": grade, "component": kind} for grade, kind in kinds],
    }


def _probe(probe: Probe) -> Page:
    return Page(200 if probe.ok else 503, "text/plain; charset=utf-8", probe.words.encode() + b"\n")
