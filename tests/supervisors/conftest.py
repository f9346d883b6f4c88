"""Children that write down what happens to them and do what a test tells them: the supervisor tests' fixtures."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import ChildSpec, Report, ReportKind, Restart, Shutdown, Supervisor


class Theatre:
    """A cast of children: `log` has "+id" for each start and "-id" for each end, in order."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.starts: dict[str, deque[BaseException | None]] = defaultdict(deque)
        self._cues: dict[str, trio.Event] = {}
        self._ends: dict[str, BaseException] = {}

    def spec(self, name: str, restart: Restart = Restart.PERMANENT, **options: object) -> ChildSpec:
        return ChildSpec(name, self.play, args=(name,), restart=restart, **options)

    async def play(self, name: str, *, task_status: trio.TaskStatus[object]) -> None:
        failure = self.starts[name].popleft() if self.starts[name] else None
        if failure is not None:
            self.log.append(f"!{name}")
            raise failure
        self.log.append(f"+{name}")
        cue = self._cues[name] = trio.Event()
        try:
            task_status.started(f"value of {name}")
            await cue.wait()
            if name in self._ends:
                # Not through a local variable: a frame that holds its own error would be garbage of the test's making.
                raise self._ends.pop(name)
        finally:
            self.log.append(f"-{name}")

    def cue(self, name: str, end: BaseException | None) -> None:
        """Let the child end, now, without waiting for anything."""
        if end is not None:
            self._ends[name] = end
        self._cues[name].set()

    async def crash(self, name: str) -> None:
        self.cue(name, ValueError(f"{name} crashed"))
        await wait_all_tasks_blocked()

    async def finish(self, name: str) -> None:
        self.cue(name, None)
        await wait_all_tasks_blocked()

    async def shut_down(self, name: str) -> None:
        self.cue(name, Shutdown())
        await wait_all_tasks_blocked()

    def taken(self) -> list[str]:
        """Return the log and begin a new one."""
        log, self.log = self.log, []
        return log


class Recorder:
    """A listener that keeps every report."""

    def __init__(self) -> None:
        self.reports: list[Report] = []

    def on_report(self, report: Report) -> None:
        self.reports.append(report)

    def of(self, kind: ReportKind) -> list[Report]:
        return [report for report in self.reports if report.kind is kind]

    def kinds(self) -> list[str]:
        return [report.kind.value for report in self.reports]


class Run:
    """One run of a supervisor in the background; `error` is what it raised, once `over` is set."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.over = trio.Event()


@asynccontextmanager
async def run_around(supervisor: Supervisor) -> AsyncIterator[Run]:
    """Run `supervisor` around the block; it is stopped at the end if it still runs."""
    run = Run()

    async def capture(*, task_status: trio.TaskStatus[object]) -> None:
        try:
            await supervisor.run(task_status=task_status)
        except Exception as error:
            run.error = error
        finally:
            run.over.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(capture)
        yield run
        supervisor.stop()


async def run_to_the_end(supervisor: Supervisor) -> BaseException | None:
    """Run `supervisor` to its end and return what it raised."""
    try:
        await supervisor.run()
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        return error
    return None


async def play_stubborn(seconds: float, *, task_status: trio.TaskStatus[object]) -> None:
    """Be ready at once, and do not listen to cancellation for `seconds`."""
    with trio.CancelScope(shield=True):
        task_status.started()
        await trio.sleep(seconds)


async def play_undying(seconds: float, *, task_status: trio.TaskStatus[object]) -> None:
    """Be ready at once, and listen neither to cancellation nor to force for `seconds`."""
    task_status.started()
    until = trio.current_time() + seconds
    while trio.current_time() < until:
        with suppress(BaseException), trio.CancelScope(shield=True):
            await trio.sleep_until(until)


@pytest.fixture
def undying() -> Callable[..., Awaitable[None]]:
    """A child's start function, args (seconds,): ready at once, and nothing ends it for that long."""
    return play_undying


@pytest.fixture
def theatre() -> Theatre:
    """A cast of children."""
    return Theatre()


@pytest.fixture
def recorder() -> Recorder:
    """A listener."""
    return Recorder()


@pytest.fixture
def running() -> Callable[[Supervisor], AbstractAsyncContextManager[Run]]:
    """Run a supervisor around a block: `async with running(supervisor) as run`."""
    return run_around


@pytest.fixture
def outcome() -> Callable[[Supervisor], Awaitable[BaseException | None]]:
    """Run a supervisor to its end: `error = await outcome(supervisor)`."""
    return run_to_the_end


@pytest.fixture
def stubborn() -> Callable[..., Awaitable[None]]:
    """A child's start function, args (seconds,): ready at once, deaf to cancellation for that long."""
    return play_stubborn
