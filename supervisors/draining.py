"""Stopping a tree in two phases: `prepare` (no new work, finish the old, snapshots), then `stop`, or back by `resume`.

A child takes part by what its `started()` value can do: `Drains` for one that takes work, `Snapshots` for one that has
something to keep. `open_tree` runs a root supervisor with these verbs; `run_until_signalled` is the main loop of a
program: the first signal drains and stops, the second stops, the third kills. Phases of a larger shutdown, of which a
tree may be a part, are `supervisors.shutdown`.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol, final, runtime_checkable

import trio

from supervisors.any_supervisor import AnySupervisor
from supervisors.children import ChildState
from supervisors.exits import Failure, leaves
from supervisors.flags import SupervisorState
from supervisors.forcing import Killed, force_kill

LOOK_AGAIN_SECONDS: Final = 0.02
"""Pause between two looks at a tree that drains: children may restart meanwhile, so each look is a new one."""
FORCE_SECONDS: Final = 0.5
"""Pause between two rounds of force."""
FORCE_ROUNDS: Final = 3
"""After so many the tree is given up: its zombies are reported by their supervisors."""
DRAIN_SECONDS: Final = 30.0
STOP_SECONDS: Final = 10.0
_SETTLED: Final = frozenset({ChildState.RUNNING, ChildState.DOWN})


@final
@dataclass(frozen=True, slots=True)
class Unfinished:
    """Something that a child has begun and not finished."""

    since: float
    """When it began, on trio's clock."""
    why: str
    """One line: what it is."""


@runtime_checkable
class Drains(Protocol):
    """A child's `started()` value that takes work. None of it waits."""

    def close_admission(self) -> None:
        """Take no new work. Idempotent."""
        ...

    def open_admission(self) -> None:
        """Take work again. Idempotent."""
        ...

    def unfinished(self) -> Iterable[Unfinished]:
        """Return what is not finished yet; nothing once it is drained."""
        ...


@runtime_checkable
class Snapshots(Protocol):
    """A child's `started()` value that keeps something over a stop."""

    async def take_snapshot(self) -> object:
        """Keep it; called when the whole tree is drained."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Blocker:
    """Why a tree is not ready to be stopped."""

    child: str
    """Path of the child: supervisor names and ids, from the root."""
    since: float
    """Since when, on trio's clock."""
    why: str
    """One line."""


@final
@dataclass(frozen=True, slots=True)
class Prepared:
    """The answer of `prepare`."""

    ready: bool
    """Whether nothing is unfinished and everything is kept."""
    blockers: tuple[Blocker, ...]
    """What is in the way, exactly; empty when ready."""
    snapshots: int
    """How many children have kept what they have."""


@final
@dataclass(frozen=True, slots=True)
class Stopped:
    """The answer of `stop`."""

    forced: bool
    """Whether the deadline passed, and force was used."""
    left: bool
    """Whether tasks are left that not even force has stopped."""
    seconds: float
    """How long it took."""


@final
class RunningTree:
    """A root supervisor that runs, and how it is stopped; made by `open_tree`."""

    def __init__(self, supervisor: AnySupervisor) -> None:
        self.supervisor = supervisor
        """The root."""
        self.error: Exception | None = None
        """What the root raised."""
        self.up = trio.Event()
        """Set when all static children are ready, or it is over."""
        self.over = trio.Event()
        """Set when the root has ended."""
        self._task: trio.lowlevel.Task | None = None
        self._closed: list[Drains] = []
        self._unsettled: dict[str, float] = {}

    async def run(self, on_over: Callable[[], None]) -> None:
        """Run the root to its end; called by `open_tree`."""
        self._task = trio.lowlevel.current_task()
        try:
            await self.supervisor.run(task_status=_Announce(self.up))
        except Exception as error:  # noqa: BLE001 - kept, and raised by open_tree when its block is left.
            self.error = error
        except (Killed, BaseExceptionGroup) as error:
            # `stop` has killed it in its last round; anything else goes up.
            if not all(isinstance(leaf, Killed) for leaf in leaves(error)):
                raise
        finally:
            self._task = None
            self.over.set()
            self.up.set()
            on_over()

    # ---- the first phase, and the way back

    async def prepare(self, within_seconds: float = DRAIN_SECONDS) -> Prepared:
        """Close admission everywhere, wait until all is finished, have everything kept; give up after `within_seconds`.

        Admission stays closed, also where the answer is not ready: `resume` opens it again.
        """
        give_up_at = trio.current_time() + within_seconds
        self._unsettled.clear()
        while blockers := self._look():
            if trio.current_time() >= give_up_at:
                return Prepared(ready=False, blockers=tuple(blockers), snapshots=0)
            await trio.sleep(min(LOOK_AGAIN_SECONDS, give_up_at - trio.current_time()))
        kept = 0
        for path, value in list(_values(self.supervisor)):
            if isinstance(value, Snapshots):
                began = trio.current_time()
                problem = await _keep(value, give_up_at)
                if problem:
                    blockers.append(Blocker(path, began, problem))
                kept += not problem
        return Prepared(ready=not blockers, blockers=tuple(blockers), snapshots=kept)

    def resume(self) -> None:
        """Undo `prepare`: open admission again, wherever it was closed and the child still lives. Idempotent."""
        living = [value for _, value in _values(self.supervisor)]
        for value in reversed(self._closed):
            if any(value is other for other in living):
                value.open_admission()
        self._closed.clear()

    def _look(self) -> list[Blocker]:
        """Close what is open, also in children that are new; return what is not finished."""
        now = trio.current_time()
        blockers: list[Blocker] = []
        unsettled: dict[str, float] = {}
        for path, state in _states(self.supervisor):
            if state not in _SETTLED:
                unsettled[path] = self._unsettled.get(path, now)
                blockers.append(Blocker(path, unsettled[path], f"is {state.value}: its next life could take work"))
        self._unsettled = unsettled
        for path, value in _values(self.supervisor):
            if isinstance(value, Drains):
                if not any(value is closed for closed in self._closed):
                    value.close_admission()
                    self._closed.append(value)
                blockers.extend(Blocker(path, each.since, each.why) for each in value.unfinished())
        return blockers

    # ---- the second phase

    async def stop(self, deadline: float) -> Stopped:
        """Stop the tree in order; at `deadline` (trio's clock) stop by force whatever is left of it."""
        began = trio.current_time()
        self.supervisor.stop()
        forced = False
        with trio.move_on_at(deadline):
            await self.over.wait()
        for number in range(1, FORCE_ROUNDS + 1):
            if self._ended():
                break
            forced = True
            if number < FORCE_ROUNDS:
                self.supervisor.kill()
            elif self._task is not None:
                force_kill(self._task)
            with trio.move_on_after(FORCE_SECONDS):
                await self.over.wait()
        left = not self.over.is_set()
        return Stopped(forced=forced, left=left, seconds=trio.current_time() - began)

    def _ended(self) -> bool:
        # A root that has stopped waits for tasks that were cut off: nothing more can be done about those.
        return self.over.is_set() or self.supervisor.state is SupervisorState.STOPPED


@asynccontextmanager
async def open_tree(supervisor: AnySupervisor) -> AsyncGenerator[RunningTree, None]:
    """Run a root supervisor around a block, which begins when all static children are ready.

    Leaving the block stops the tree in order. If the tree ends by itself, the block is cancelled.

    Raises:
        StartFailed, MaxRestartsExceeded: as `Supervisor.run`.
    """
    tree = RunningTree(supervisor)
    async with trio.open_nursery() as nursery:
        block = trio.CancelScope()
        nursery.start_soon(tree.run, block.cancel, name=f"{supervisor.name} (root)")
        try:
            with block:
                await tree.up.wait()
                if not tree.over.is_set():
                    yield tree
        finally:
            supervisor.stop()
    if tree.error is not None:
        raise tree.error


@final
@dataclass(frozen=True, slots=True)
class Ending:
    """How `run_until_signalled` came to its end."""

    signals: tuple[str, ...]
    """The signals that came, by name; empty where the tree ended by itself."""
    prepared: Prepared | None
    """What `prepare` answered, where it came so far."""
    stopped: Stopped | None
    """What `stop` answered, where it was asked."""


async def run_until_signalled(
    supervisor: AnySupervisor,
    *,
    drain_seconds: float = DRAIN_SECONDS,
    stop_seconds: float = STOP_SECONDS,
    signals: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM),
    on_signal: Callable[[signal.Signals], None] = lambda _: None,
) -> Ending:
    """Run a root supervisor until it ends or is told to by a signal. From the main thread only.

    The first signal drains for at most `drain_seconds` and then stops; the second stops without draining any longer;
    both stop within `stop_seconds`. A third uses force at once. `on_signal` is told of each.

    Raises:
        StartFailed, MaxRestartsExceeded: as `Supervisor.run`.
    """
    steps = _Steps(drain_seconds, stop_seconds, on_signal)
    with trio.open_signal_receiver(*signals) as arriving:
        async with open_tree(supervisor) as tree, trio.open_nursery() as nursery:
            nursery.start_soon(steps.follow, arriving, tree, nursery)
            await tree.over.wait()
    return Ending(tuple(steps.came), steps.prepared, steps.stopped)


@final
class _Steps:
    """What the signals of one run have led to."""

    def __init__(self, drain_seconds: float, stop_seconds: float, on_signal: Callable[[signal.Signals], None]) -> None:
        self.came: list[str] = []
        self.prepared: Prepared | None = None
        self.stopped: Stopped | None = None
        self._drain_seconds = drain_seconds
        self._stop_seconds = stop_seconds
        self._on_signal = on_signal
        self._draining = trio.CancelScope()
        self._stopping = trio.CancelScope()

    async def follow(self, arriving: AsyncIterator[int], tree: RunningTree, nursery: trio.Nursery) -> None:
        async for number in arriving:
            self.came.append(signal.Signals(number).name)
            self._on_signal(signal.Signals(number))
            match len(self.came):
                case 1:
                    nursery.start_soon(self._drain_and_stop, tree)
                case 2:
                    self._draining.cancel(reason="a second signal came")
                case _:
                    self._stopping.cancel(reason="a third signal came")

    async def _drain_and_stop(self, tree: RunningTree) -> None:
        with self._draining:
            self.prepared = await tree.prepare(self._drain_seconds)
        with self._stopping:
            self.stopped = await tree.stop(trio.current_time() + self._stop_seconds)
        if self._stopping.cancelled_caught:
            self.stopped = await tree.stop(trio.current_time())


@final
class _Announce:
    """A task status that sets an event."""

    def __init__(self, event: trio.Event) -> None:
        self._event = event

    def started(self, value: object = None) -> None:
        """Set the event, whatever the value: it is the supervisor, and known."""
        del value
        self._event.set()


async def _keep(value: Snapshots, give_up_at: float) -> str:
    """Have a child keep what it has; return what went wrong."""
    with trio.move_on_at(give_up_at) as patience:
        try:
            await value.take_snapshot()
        except Exception as error:  # noqa: BLE001 - a child's own code: its failure is an answer here, not a crash.
            return f"its snapshot failed: {Failure.of(error)}"
    return "its snapshot is not done in time" if patience.cancelled_caught else ""


def _states(supervisor: AnySupervisor, path: str = "") -> Iterator[tuple[str, ChildState]]:
    """Go through all children below `supervisor`."""
    path = path or supervisor.name
    for info in supervisor.which_children():
        yield f"{path}/{info.id}", info.state
        if isinstance(info.value, AnySupervisor):
            yield from _states(info.value, f"{path}/{info.id}")


def _values(supervisor: AnySupervisor, path: str = "") -> Iterator[tuple[str, object]]:
    """Go through the values of all running children, those first that were started last: they face the outside."""
    path = path or supervisor.name
    for info in reversed(supervisor.which_children()):
        if isinstance(info.value, AnySupervisor):
            yield from _values(info.value, f"{path}/{info.id}")
        elif info.value is not None:
            yield f"{path}/{info.id}", info.value
    yield path, supervisor
