"""What a viewer is told beside the tree and the curves: the server, its front, its loop, its contexts. Values for JSON.

Each is a pure function of what the server knows at this moment, so a section that is the same as a second ago is not
sent again. Nothing here waits. Neighbours: `telling` encodes them, `sessions` reads what lies in the store.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final, cast

import trio

from supervisors.exits import Exit
from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.health.observer.blanking import blanked
from vespera_agents.health.report_log import Reported
from vespera_agents.health.watchdog.figures import Stall

if TYPE_CHECKING:
    from vespera_agents.health.subtree import Health
    from vespera_agents.specialists.runtime import Runtime

__all__ = [
    "NAME_LETTERS_MAX",
    "REASON_LETTERS_MAX",
    "Section",
    "context_of",
    "context_section",
    "crash_entry",
    "cut",
    "health_section",
    "life_of",
    "log_entry",
    "loop_section",
    "models_section",
    "server_section",
    "stall_entry",
    "wedged_section",
]

NAME_LETTERS_MAX: Final = 1_000
"""Letters of a name that are told."""
REASON_LETTERS_MAX: Final = 1_000
"""Letters of a reason that are told."""
_CRASH_FACTS: Final = ("generation", "at", "pid", "status", "ready")

Section = dict[str, object]


def cut(name: str) -> str:
    """Give so much of a name as is told: it may be longer than any screen."""
    return name if len(name) <= NAME_LETTERS_MAX else f"{name[:NAME_LETTERS_MAX]}…"


def life_of(runtime: Runtime) -> str:
    """Name the life of the server that this process is: its id and its generation."""
    front = runtime.front
    if front is not None:
        return f"{front.server}/{front.generation}"
    opened = next(iter(runtime.workspaces.values()), None)
    return f"process-{os.getpid()}/1" if opened is None else f"{opened.server}/1"


def server_section(runtime: Runtime, health: Health) -> Section:
    """Say who serves, since when, and how its front fares."""
    front = runtime.front
    return {
        "id": life_of(runtime).rpartition("/")[0],
        "version": own_version(),
        "python": platform.python_version(),
        "trio": trio.__version__,
        "pid": os.getpid(),
        "started_at": health.supervision.started_at,
        "generation": 1 if front is None else front.generation,
        "workspaces": [str(directory) for directory in runtime.workspaces],
        "front": None if front is None else _front_section(front.standing),
    }


def _front_section(standing: Mapping[str, object]) -> Section:
    crashes = cast("Sequence[Mapping[str, object]]", standing.get("crashes") or ())
    return {
        "generation": standing.get("generation"),
        "since": standing.get("since"),
        "crashes": [{name: crash.get(name) for name in _CRASH_FACTS} for crash in crashes],
        "spare": standing.get("spare"),
        "processes": standing.get("processes"),
        "restarting": standing.get("restarting"),
    }


@lru_cache(maxsize=1)
def own_version() -> str:
    """Give the version of this program."""
    try:
        return version("vespera-agents")
    except PackageNotFoundError:
        return "unknown"


def health_section(health: Health) -> Section:
    """Say how well the server is, why, and what was done about it."""
    verdict = health.model.current()
    return {
        "grade": verdict.grade.value,
        "reasons": [
            {"grade": reason.grade.value, "component": reason.component, "what": blanked(reason.what)}
            for reason in verdict.reasons
        ],
        "recoveries": [asdict(note) for note in health.model.recoveries.notes],
    }


def loop_section(health: Health) -> Section:
    """Say how busy the loop is."""
    watchdog = health.watchdog
    return {
        "utilisation": round(watchdog.utilisation, 3),
        "lag_seconds": round(watchdog.lag_seconds, 4),
        "ticks": watchdog.figures.ticks,
        "stalls": watchdog.figures.stalls,
        "stall_seconds": round(watchdog.figures.stall_seconds, 3),
    }


def stall_entry(stall: Stall) -> Section:
    """Say what blocked the loop once."""
    return {
        "at": stall.at,
        "seconds": round(stall.seconds, 3),
        "task": None if stall.task is None else cut(stall.task),
        "actor": None if stall.actor is None else cut(stall.actor),
        "stack": list(stall.stack),
    }


def wedged_section(health: Health) -> list[Section]:
    """Say which actors do not get on."""
    return [
        {
            "actor": cut(one.actor),
            "kind": one.kind,
            "what": one.what,
            "since_seconds": round(one.since_seconds, 1),
            "limit_seconds": one.limit_seconds,
            "await_stack": list(one.await_stack),
        }
        for one in health.watchdog.wedged
    ]


def log_entry(reported: Reported) -> Section:
    """Say what a supervisor told."""
    told = reported.to_dict()
    told["reason"] = blanked(str(told["reason"]))[:REASON_LETTERS_MAX]
    told["supervisor"] = cut(reported.report.supervisor)
    offender = reported.report.offender
    if offender is not None:
        told["offender"] = {**cast("Section", told["offender"]), "id": cut(offender.id)}
    return told


def context_section(runtime: Runtime) -> list[Section]:
    """Say how full the contexts of the living specialists are."""
    found: list[Section] = []
    for opened in runtime.workspaces.values():
        for session in opened.sessions.values():
            if session.ended.is_set():
                continue
            for name, ref in session.running_specialists():
                if isinstance(ref, Endpoint):
                    found.append(context_of(name, ref.tree_detail()))
    return found


def models_section(runtime: Runtime) -> list[Section]:
    """Say how each provider stands, and what each of its models was asked and cost since this process began."""
    found: list[Section] = []
    for directory, opened in runtime.workspaces.items():
        models = opened.model_source.made
        if models is None:
            continue
        standings = {one.provider: one for one in models.statistics().providers}
        for (provider, model), figures in models.figures.by_model().items():
            standing = standings.get(provider)
            found.append(
                {
                    "workspace": cut(str(directory)),
                    "provider": provider,
                    "model": cut(model),
                    "circuit": "closed" if standing is None else standing.circuit.value,
                    "why": "" if standing is None else cut(blanked(standing.why)),
                    "in_flight": 0 if standing is None else standing.in_flight,
                    "waiting": 0 if standing is None else standing.waiting,
                    "outcomes": {outcome.value: number for outcome, number in figures.outcomes.items() if number},
                    "input_tokens": figures.input_tokens,
                    "output_tokens": figures.output_tokens,
                    "cost_usd": round(figures.cost_usd, 6),
                    "unpriced": figures.unpriced,
                }
            )
    return found


def context_of(actor: str, detail: Mapping[str, str | int | float]) -> Section:
    """Say how full a specialist's context is, from what it tells of itself."""
    return {
        "actor": cut(actor),
        "role": detail.get("role", ""),
        "used_tokens": detail.get("context_tokens", 0),
        "limit_tokens": detail.get("context_tokens_max", 0),
        "fill_ratio": detail.get("context_fill", 0.0),
    }


def crash_entry(exit_: Exit, now: float, wall: float) -> Section:
    """Say how a life ended that failed.

    Args:
        exit_: how.
        now: trio's clock, which `exit_` is told in.
        wall: seconds since the epoch at the same moment.
    """
    return {
        "at": wall - (now - exit_.at),
        "reason": blanked(exit_.reason)[:REASON_LETTERS_MAX],
        "traceback": blanked(exit_.reason if exit_.failure is None else exit_.failure.formatted()),
    }
