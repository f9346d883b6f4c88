"""A whole runtime on a workspace below tmp_path, as a server or a run has it; nothing in it is a stand-in."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from vespera_agents.specialists import Call, Holder, Orchestrator, PlanRun, RunEvent, RunOptions, RunResult, Runtime
from vespera_agents.specialists.claims import LEASE_SECONDS
from vespera_agents.specialists.front import Front
from vespera_agents.specialists.runtime import open_runtime
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.store import CommandKey
from vespera_agents.store.commands import OpenSession
from vespera_agents.store.queries import TaskFilter
from vespera_agents.work.drafts import DependencyDraft, TaskDraft
from vespera_agents.work.models import CommandLine, Task
from vespera_agents.work.plans import read_plan

KEYS = itertools.count(1)


@dataclass
class House:
    """A running server: the facade, and short ways to use it."""

    runtime: Runtime
    orchestrator: Orchestrator
    opened: OpenWorkspace
    home: Path
    events: list[RunEvent] = field(default_factory=list)

    @property
    def sessions(self):
        return self.orchestrator.sessions

    @property
    def tasks(self):
        return self.orchestrator.tasks

    @property
    def work(self):
        return self.orchestrator.work

    def call(self, key: str | None = None, holder: Holder | None = None) -> Call:
        # Without a key it is a new one, as a front knows it of most.
        name = CommandKey("test", key or f"key-{next(KEYS)}")
        return Call("mcp:test", name, holder=holder, repeated=key is not None)

    async def begin(self, name: str | None = None) -> str:
        return (await self.sessions.initialize(self.call(), None, name)).id

    async def plan(self, *drafts: TaskDraft, session: str | None = None) -> dict[str, str]:
        answer = await self.tasks.plan(self.call(), drafts, session)
        return {task.key: task.id for task in answer.tasks}

    async def claim(self, task_id: str):
        return await self.work.execute(self.call(), task_id)

    async def hand_in(self, task_id: str, **more):
        given = {"summary": "done", "detailed_work": "", "next_action": "complete"} | more
        return await self.work.complete(self.call(), task_id, **given)

    async def do(self, task_id: str, **more):
        await self.claim(task_id)
        return await self.hand_in(task_id, **more)

    async def show(self, task_id: str):
        return await self.tasks.show(task_id)

    async def found(self, **wanted) -> list[str]:
        return [task.title for task in (await self.tasks.query(TaskFilter(**wanted))).tasks]

    async def text_of(self, reference: str) -> str:
        artifact, opened = await self.orchestrator.artifact(reference)
        return (await opened.store.artifacts.read(artifact.sha256)).decode()

    def reopen(self) -> OpenSession:
        """Give a command that writes something harmless."""
        return OpenSession("test", str(self.home), "harmless")

    def hear(self, event: RunEvent) -> None:
        self.events.append(event)

    def runner(self) -> PlanRun:
        return PlanRun(self.opened, self.hear)

    async def run(self, plan_text: str, **options) -> RunResult:
        return await self.runner().run(read_plan(plan_text, name="plan.md"), RunOptions(**options))

    def heard(self, *kinds: str) -> list[tuple[str, str]]:
        return [(event.kind, event.task.title if event.task else "") for event in self.events if event.kind in kinds]

    def texts(self, *kinds: str) -> list[str]:
        return [event.text for event in self.events if event.kind in kinds]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    directory = tmp_path / "project"
    directory.mkdir()
    return directory


@pytest.fixture
def house(home: Path) -> Callable[..., AbstractAsyncContextManager[House]]:
    @asynccontextmanager
    async def opened(
        directory: Path = home, lease_seconds: float = LEASE_SECONDS, front: Front | None = None, **options
    ) -> AsyncIterator[House]:
        async with open_runtime("serve", lease_seconds=lease_seconds, front=front) as runtime:
            workspace = await runtime.workspace(directory)
            yield House(runtime, Orchestrator(runtime, workspace.workspace.directory, **options), workspace, directory)

    return opened


def _draft(key: str, *depends: str, title: str | None = None, **more) -> TaskDraft:
    dependencies = tuple(DependencyDraft(on=on) for on in depends)
    return TaskDraft(key=key, title=title or key, dependencies=dependencies, **more)


def _shell(text: str, timeout_seconds: float = 60.0) -> CommandLine:
    return CommandLine.model_validate({"text": text, "shell": True, "timeout_seconds": timeout_seconds})


@pytest.fixture
def draft() -> Callable[..., TaskDraft]:
    return _draft


@pytest.fixture
def sh() -> Callable[..., CommandLine]:
    return _shell


@pytest.fixture
def allow(home: Path) -> Callable[..., None]:
    """Let clients cause these commands, as the owner does with config.toml and `vespera trust`."""

    def write(*beginnings: str, shells: bool = False, trusted: bool = True) -> None:
        from vespera_agents.workspace import Registry, Workspace, load_settings  # noqa: PLC0415

        workspace = Workspace(home.resolve())
        workspace.make()
        workspace.config.write_text(
            f"[commands]\nallow = {json.dumps(list(beginnings))}\nshell = {json.dumps(shells)}\n"
        )
        fingerprint = load_settings(workspace, Registry()).fingerprint
        if trusted and fingerprint is not None:
            Registry().trust(workspace.directory, fingerprint)

    return write


@pytest.fixture
def still_clock() -> MockClock:
    """Time that stands still until the test moves it; what is done in threads and processes is done all the same."""
    return MockClock()


@pytest.fixture
def eventually() -> Callable[..., object]:
    """Wait on real processes with a bound: until a condition holds, and give what it gave."""

    async def wait(condition, seconds: float = 10.0):
        with trio.fail_after(seconds):
            while True:
                found = condition()
                if hasattr(found, "__await__"):
                    found = await found
                if found:
                    return found
                await trio.sleep(0.02)

    return wait


@pytest.fixture
def by_key() -> Callable[[list[Task]], dict[str, Task]]:
    return lambda tasks: {str(task.key): task for task in tasks}
