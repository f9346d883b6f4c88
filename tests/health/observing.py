"""A runtime with a feed, and a viewer that keeps what it is told: what the tests of the observer share."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vespera_agents.health import Health
from vespera_agents.health.observer import feed as feed_module
from vespera_agents.health.observer.feed import Viewer
from vespera_agents.specialists.runtime import Runtime, open_runtime
from vespera_agents.workspace import Registry

TIMES = ("lived_seconds", "oldest_seconds", "busy_seconds")
"""Columns that go on by themselves."""


@asynccontextmanager
async def fed_runtime(place: Path) -> AsyncGenerator[tuple[Runtime, Health]]:
    health = Health()
    async with open_runtime("serve", registry=Registry(place / "state"), listener=health) as runtime:
        await health.start(runtime)
        yield runtime, health


def even_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each piece of a feed's work take 1 us by its clock.

    It rests 82 times as long as it has worked, and rests in virtual time: 10 ms that the machine gives to others within
    a piece would be a second's rest.
    """
    looks = itertools.count()
    clock = SimpleNamespace(perf_counter=lambda: next(looks) * 1e-6, time=time.time)
    monkeypatch.setattr(feed_module, "time", clock)


class Watcher:
    """A viewer that keeps up."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.nodes: dict[int, dict[str, Any]] = {}
        self.log: list[dict[str, Any]] = []
        self.history: list[list[float]] = []
        self.told: dict[str, Any] = {}
        self.columns: list[str] = []
        self.pictures = 0

    async def hear(self) -> dict[str, Any]:
        """Take in what comes next, and give it."""
        frame = await self.viewer.next()
        told: dict[str, Any] = json.loads(frame.data)
        assert told["seq"] == frame.seq
        if "v" in told:
            self.pictures += 1
            self.columns = told["tree"]["columns"]
            self.nodes, self.log, self.history = {}, [], []
        for row in told.get("tree", {}).get("rows", []):
            self.nodes[row[0]] = dict(zip(self.columns, row, strict=True))
        for key in told.get("tree", {}).get("gone", []):
            self.nodes.pop(key, None)
        self.log += told.get("log", [])
        self.history += told.get("history", {}).get("rows", [])
        self.told |= told
        return told

    def named(self, name: str) -> dict[str, Any]:
        (found,) = [node for node in self.nodes.values() if node["name"] == name]
        return found

    def lasting(self) -> dict[int, dict[str, Any]]:
        """What is known of the tree, without what changes by itself."""
        return {
            key: {name: value for name, value in node.items() if name not in {*TIMES, "detail"}}
            for key, node in self.nodes.items()
        }

    def paths(self) -> set[tuple[str, ...]]:
        """Every node by the names from the top down."""
        return {self._path(key) for key in self.nodes}

    def _path(self, key: int) -> tuple[str, ...]:
        node = self.nodes[key]
        above = () if node["parent"] is None else self._path(node["parent"])
        return (*above, node["name"])
