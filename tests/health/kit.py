"""A real runtime with real workspaces, a real scrape over HTTP, and the numbers in it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from vespera_agents.health import Health, MetricsEndpoint
from vespera_agents.health.checks import Thresholds
from vespera_agents.health.metrics import windows
from vespera_agents.health.settings import HealthSettings
from vespera_agents.specialists.runtime import Runtime, open_runtime
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.store.commands import OpenSession, PlanTasks
from vespera_agents.work.drafts import TaskDraft
from vespera_agents.workspace import Registry

CALM = HealthSettings(Thresholds(loop_lag_seconds=(5, 10), stall_seconds=(5, 10), commit_seconds=(30, 60)))
"""This machine may be slow for reasons of its own."""


@dataclass
class Watched:
    """A runtime whose metrics are served."""

    runtime: Runtime
    health: Health
    endpoint: MetricsEndpoint
    place: Path

    async def workspace(self, name: str = "project") -> OpenWorkspace:
        directory = self.place / name
        await trio.to_thread.run_sync(lambda: directory.mkdir(exist_ok=True))
        return await self.runtime.workspace(directory)

    async def scrape(self) -> str:
        return (await trio.to_thread.run_sync(fetch, self.endpoint.url))[1]

    async def numbers(self) -> dict[str, float]:
        return numbers(await self.scrape())


@asynccontextmanager
async def watched_runtime(place: Path) -> AsyncGenerator[Watched]:
    health = Health()
    async with open_runtime("serve", registry=Registry(place / "state"), listener=health) as runtime:
        await health.start(runtime, "127.0.0.1:0")
        assert health.metrics is not None
        yield Watched(runtime, health, health.metrics, place)


@contextmanager
def patient_scrapes() -> Generator[None]:
    """Have scrapes wait for the loop: where the machine is busy with others they would be told of the last time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "ANSWER_SECONDS", 20.0)
        yield


def fetch(url: str, accept: str = "*/*") -> tuple[int, str]:
    """Give status and text of an answer, whatever the status; without proxies and without redirects."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=20)
    try:
        connection.request("GET", urlunsplit(("", "", parts.path, parts.query, "")), headers={"Accept": accept})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def numbers(text: str) -> dict[str, float]:
    """Read an exposition: every series, written as a query would name it, with its value."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


async def open_session(opened: OpenWorkspace, name: str = "work") -> str:
    command = OpenSession("tester", str(opened.workspace.directory), name=name)
    return (await opened.store.execute(command, opened.key()))["session_id"]


async def plan(opened: OpenWorkspace, session_id: str, drafts: list[TaskDraft]) -> dict[str, str]:
    return (await opened.store.execute(PlanTasks("tester", session_id, tuple(drafts)), opened.key()))["ids"]
