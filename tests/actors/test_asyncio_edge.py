"""asyncio code awaited from trio: results, cancellation, contexts, stubborn code, and loops that end or break."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vespera_agents.actors import Actor, ActorError, Request, open_system, receives
from vespera_agents.actors.embedding.asyncio_edge import AsyncioEdge
from vespera_agents.actors.embedding.asyncio_loop import load_trio_asyncio
from vespera_agents.actors.errors import AsyncioLoopEnded, AsyncioMissing, AsyncioTaskCancelled

COLOUR: ContextVar[str] = ContextVar("colour", default="none")


@asynccontextmanager
async def open_edge(cancel_seconds: float = 5.0) -> AsyncGenerator[AsyncioEdge, None]:
    """Open an edge in a nursery of its own, and close it as a system would."""
    with trio.fail_after(1000):
        async with trio.open_nursery() as nursery:
            edge = AsyncioEdge(nursery, cancel_seconds=cancel_seconds)
            try:
                yield edge
            finally:
                edge.close()


async def double(number: int) -> int:
    await asyncio.sleep(0.01)
    return 2 * number


async def test_a_unit_runs_in_asyncio_and_its_result_comes_back(autojump_clock: MockClock) -> None:
    async with open_edge() as edge:
        assert not edge.statistics().is_open
        assert await edge.run(double, 21) == 42
        assert edge.statistics().is_open


async def test_the_usual_asyncio_building_blocks_work_in_it(autojump_clock: MockClock) -> None:
    async def blocks() -> list[int]:
        assert isinstance(asyncio.get_running_loop(), asyncio.AbstractEventLoop)
        assert asyncio.current_task() is not None
        queue: asyncio.Queue[int] = asyncio.Queue()
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            group.create_task(queue.put(1))
            second = group.create_task(double(1))
        await anyio.sleep(0.01)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 5)
        return [await queue.get(), second.result()]

    async with open_edge() as edge:
        assert await edge.run(blocks) == [1, 2]


async def test_blocking_work_goes_to_a_thread() -> None:
    async def in_a_thread() -> int:
        return await asyncio.to_thread(lambda: 3)

    async with open_edge() as edge:
        assert await edge.run(in_a_thread) == 3


async def test_a_real_socket_is_served_and_asked() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()
        await writer.wait_closed()

    async def over_a_socket() -> bytes:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello\n")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer

    async with open_edge() as edge:
        assert await edge.run(over_a_socket) == b"hello\n"


async def test_its_own_error_comes_back(autojump_clock: MockClock) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError("lost")

    async with open_edge() as edge:
        with pytest.raises(KeyError, match="lost"):
            await edge.run(fail)
        assert await edge.run(double, 1) == 2
        assert edge.statistics().loops == 1


async def test_a_system_exit_inside_comes_back_and_leaves_the_loop_alone(autojump_clock: MockClock) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    async with open_edge() as edge:
        with pytest.raises(SystemExit):
            await edge.run(leave)
        assert await edge.run(double, 1) == 2
        assert edge.statistics().loops == 1


async def test_many_callers_are_in_it_at_once_and_share_one_loop(autojump_clock: MockClock) -> None:
    together = 0
    most = 0

    async def one(number: int) -> int:
        nonlocal together, most
        together += 1
        most = max(most, together)
        await asyncio.sleep(1)
        together -= 1
        return number

    answers: list[int] = []

    async def call(edge: AsyncioEdge, number: int) -> None:
        answers.append(await edge.run(one, number))

    async with open_edge() as edge:
        async with trio.open_nursery() as callers:
            for number in range(100):
                callers.start_soon(call, edge, number)
        statistics = edge.statistics()
    assert sorted(answers) == list(range(100))
    assert most == 100
    assert (statistics.loops, statistics.units, statistics.running) == (1, 100, 0)


async def test_cancelling_the_caller_cancels_the_asyncio_task_and_waits_for_it(autojump_clock: MockClock) -> None:
    story: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            story.append("cancelled")
            await asyncio.sleep(2)
            story.append("cleaned up")
            raise

    async with open_edge() as edge:
        started = trio.current_time()
        with trio.move_on_after(1) as scope:
            await edge.run(work)
        story.append("gone on")
        assert scope.cancelled_caught
        assert trio.current_time() - started == pytest.approx(3)
        assert edge.statistics().cancelled == 1
    assert story == ["cancelled", "cleaned up", "gone on"]


async def test_a_result_that_comes_in_spite_of_the_cancellation_is_kept(autojump_clock: MockClock) -> None:
    async def insist() -> str:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            return "done anyway"
        return "late"

    async with open_edge() as edge:
        with trio.move_on_after(1):
            assert await edge.run(insist) == "done anyway"


async def test_code_that_swallows_its_cancellation_is_closed_after_a_bound(autojump_clock: MockClock) -> None:
    async def stubborn() -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(1000)

    async with open_edge(cancel_seconds=5) as edge:
        started = trio.current_time()
        with trio.move_on_after(1) as scope:
            await edge.run(stubborn)
        assert scope.cancelled_caught
        assert trio.current_time() - started == pytest.approx(6)
        assert edge.statistics().forced == 1
        assert await edge.run(double, 1) == 2


async def test_a_cancellation_made_inside_asyncio_is_an_error_of_ours(autojump_clock: MockClock) -> None:
    async def give_up() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    async def raise_it() -> None:
        raise asyncio.CancelledError

    async with open_edge() as edge:
        for function in (give_up, raise_it):
            with pytest.raises(AsyncioTaskCancelled, match=function.__name__):
                await edge.run(function)
        assert edge.statistics().running == 0


async def test_the_callers_context_is_seen_and_changes_stay_inside(autojump_clock: MockClock) -> None:
    async def look(new: str) -> str:
        seen = COLOUR.get()
        COLOUR.set(new)
        await asyncio.sleep(1)
        assert COLOUR.get() == new
        return seen

    async with open_edge() as edge:
        COLOUR.set("red")
        assert await edge.run(look, "blue") == "red"
        assert COLOUR.get() == "red"
        COLOUR.set("green")
        assert await edge.run(look, "blue") == "green"


async def test_the_loop_keeps_nothing_of_the_context_of_its_first_caller(autojump_clock: MockClock) -> None:
    """A callback from a transport or a thread runs in the loop's own context, long after the first caller has gone."""

    async def from_the_loops_own_task() -> None:
        await asyncio.sleep(0)

    async with open_edge() as edge:
        COLOUR.set("of the first caller")
        await edge.run(from_the_loops_own_task)
        tasks = trio.lowlevel.current_task().child_nurseries[0].child_tasks
        ambient = [task.context.get(COLOUR, "none") for task in tasks]
    assert ambient
    assert set(ambient) == {"none"}


async def test_the_loop_is_the_systems_own_whatever_loop_the_context_names(autojump_clock: MockClock) -> None:
    """Contexts travel with messages, so the ambient loop may be another system's, closed long ago."""
    library = load_trio_asyncio()

    async def which() -> tuple[asyncio.AbstractEventLoop, Any]:
        return asyncio.get_running_loop(), library.current_loop.get()

    async with open_edge() as edge:
        expected, _ = await edge.run(which)
        async with library.open_loop() as other:
            library.current_loop.set(other)
            running, ambient = await edge.run(which)
            library.current_loop.set(None)
        assert running is ambient is expected
        library.current_loop.set(other)
        running, ambient = await edge.run(which)
        library.current_loop.set(None)
        assert running is ambient is expected


async def test_an_error_in_a_callback_is_logged_and_hurts_nobody(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def careless() -> None:
        asyncio.get_running_loop().call_soon(int, "no number")
        await asyncio.sleep(1)

    async with open_edge() as edge:
        with caplog.at_level(logging.ERROR, logger="asyncio"):
            await edge.run(careless)
        assert "no number" in caplog.text
        assert await edge.run(double, 1) == 2
        statistics = edge.statistics()
    assert (statistics.loop_errors, statistics.crashes, statistics.loops) == (1, 0, 1)


async def test_nobody_may_stop_the_shared_loop(autojump_clock: MockClock) -> None:
    async def stop() -> None:
        asyncio.get_running_loop().stop()

    async with open_edge() as edge:
        with pytest.raises(RuntimeError, match="shared by all actors"):
            await edge.run(stop)
        assert await edge.run(double, 1) == 2


async def break_the_loop() -> None:
    """End the loop as trio-asyncio's own errors do: nothing that asyncio code may call does it any more."""

    async def break_it() -> None:
        raise OSError("the loop is broken")

    loop: Any = asyncio.get_running_loop()
    loop._nursery.start_soon(break_it)
    await asyncio.sleep(1000)


async def test_a_broken_loop_fails_all_callers_and_the_next_use_opens_another(autojump_clock: MockClock) -> None:
    failures: list[AsyncioLoopEnded] = []

    async def wait_in_it(edge: AsyncioEdge) -> None:
        with pytest.raises(AsyncioLoopEnded, match="next use opens a new one") as failure:
            await edge.run(asyncio.sleep, 1000)
        failures.append(failure.value)

    async with open_edge() as edge:
        async with trio.open_nursery() as callers:
            for _ in range(3):
                callers.start_soon(wait_in_it, edge)
            await wait_all_tasks_blocked()
            with pytest.raises(AsyncioLoopEnded):
                await edge.run(break_the_loop)
        assert len(failures) == 3
        assert "the loop is broken" in repr(failures[0].cause)
        assert await edge.run(double, 2) == 4
        statistics = edge.statistics()
    assert (statistics.loops, statistics.crashes, statistics.running) == (2, 1, 0)


async def test_a_system_exit_in_a_background_task_ends_the_program_and_leaves_no_caller_waiting(
    autojump_clock: MockClock,
) -> None:
    """trio-asyncio would wait for ever for the tasks of a loop that ended so."""

    async def leave() -> None:
        raise SystemExit(3)

    async def careless() -> None:
        task = asyncio.ensure_future(leave())
        await asyncio.sleep(1000)
        task.cancel()

    with pytest.raises(BaseExceptionGroup) as ended:
        async with open_edge() as edge:
            with trio.CancelScope(shield=True), pytest.raises(AsyncioLoopEnded):
                await edge.run(careless)
    assert ended.group_contains(SystemExit)
    gc.collect()


async def test_closing_cancels_what_runs_and_refuses_what_comes(autojump_clock: MockClock) -> None:
    story: list[str] = []

    async def background() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            story.append("background ended")

    async def work() -> None:
        task = asyncio.ensure_future(background())
        await asyncio.sleep(1000)
        await task

    async with open_edge() as edge, trio.open_nursery() as callers:

        async def call() -> None:
            with pytest.raises(AsyncioLoopEnded, match="was closed"):
                await edge.run(work)
            story.append("caller heard")

        callers.start_soon(call)
        await wait_all_tasks_blocked()
        edge.close()
        edge.close()
        with pytest.raises(AsyncioLoopEnded, match="was closed"):
            await edge.run(double, 1)
    assert sorted(story) == ["background ended", "caller heard"]


async def test_closing_is_bounded_when_a_task_will_not_end(autojump_clock: MockClock) -> None:
    async def stubborn() -> None:
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(1000)

    async def leave_it_behind() -> None:
        keep.append(asyncio.ensure_future(stubborn()))
        await asyncio.sleep(0.1)

    keep: list[asyncio.Future[None]] = []
    async with open_edge(cancel_seconds=5) as edge:
        await edge.run(leave_it_behind)
        started = trio.current_time()
    assert trio.current_time() - started == pytest.approx(5)
    assert edge.statistics().forced == 1
    keep.clear()
    gc.collect()


async def test_cancelling_the_whole_nursery_ends_the_loop(autojump_clock: MockClock) -> None:
    with trio.move_on_after(1) as scope:
        async with trio.open_nursery() as nursery:
            edge = AsyncioEdge(nursery)
            await edge.run(asyncio.sleep, 1000)
    assert scope.cancelled_caught
    assert edge.statistics().running == 0
    assert edge.statistics().crashes == 0


async def test_a_caller_that_is_cancelled_while_the_loop_opens_leaves_it_to_the_others(
    autojump_clock: MockClock,
) -> None:
    async with open_edge() as edge, trio.open_nursery() as callers:
        answers: list[int] = []

        async def second() -> None:
            answers.append(await edge.run(double, 4))

        with trio.CancelScope() as scope:
            callers.start_soon(second)
            scope.cancel()
            await edge.run(double, 1)
        callers.start_soon(second)
        await wait_all_tasks_blocked()
        await trio.sleep(1)
        assert answers == [8, 8]


async def test_an_actor_awaits_asyncio_work_with_the_context_of_its_own_code(autojump_clock: MockClock) -> None:
    class Fetch(Request[str]): ...

    class Fetcher(Actor):
        def __init__(self, edge: AsyncioEdge) -> None:
            self.edge = edge

        @receives
        async def fetch(self, _message: Fetch) -> str:
            COLOUR.set("of the actor")
            return await self.edge.run(self.get)

        async def get(self) -> str:
            await asyncio.sleep(0.01)
            return COLOUR.get()

    async with open_edge() as edge, open_system() as system:
        fetcher = await system.start(Fetcher, edge)
        assert await fetcher.ask(Fetch()) == "of the actor"


async def test_asyncio_code_tells_actors(autojump_clock: MockClock) -> None:
    class Note: ...

    class Seen(Request[int]): ...

    class Counter(Actor):
        def __init__(self) -> None:
            self.seen = 0

        @receives
        def note(self, _message: Note) -> None:
            self.seen += 1

        @receives
        def how_many(self, _message: Seen) -> int:
            return self.seen

    async def tell_it() -> None:
        for _ in range(3):
            counter.tell(Note())
            await asyncio.sleep(0.01)

    async with open_edge() as edge, open_system() as system:
        counter = await system.start(Counter)
        await edge.run(tell_it)
        assert await counter.ask(Seen()) == 3


async def test_without_the_library_the_error_says_what_to_install(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trio_asyncio", None)
    async with open_edge() as edge:
        with pytest.raises(AsyncioMissing, match=r"pip install 'vespera-agents\[asyncio\]'") as missing:
            await edge.run(double, 1)
    assert isinstance(missing.value, (ActorError, ImportError))


def test_asyncio_elsewhere_in_the_program_stays_what_it_was() -> None:
    """trio-asyncio makes asyncio.run in other threads a trio loop; in a process of its own, because imports stay."""
    program = (
        "import asyncio\n"
        "from vespera_agents.actors.embedding.asyncio_loop import load_trio_asyncio\n"
        "load_trio_asyncio()\n"
        "async def main():\n"
        "    process = await asyncio.create_subprocess_exec('true')\n"
        "    assert await process.wait() == 0\n"
        "    return type(asyncio.get_running_loop()).__module__\n"
        "assert asyncio.run(main()) == 'asyncio.unix_events'\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
