"""A system held by an asyncio program: real loop, real thread. Every wait is bounded; nothing measures real time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import pytest
import trio

from supervisors import MaxRestartsExceeded
from vespera_agents.actors import (
    Actor,
    ActorCrashed,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    MailboxSpec,
    Overflow,
    Request,
    open_system,
    receives,
)
from vespera_agents.actors.embedding.asyncio_edge import AsyncioEdge
from vespera_agents.actors.embedding.asyncio_host import AsyncioHost, open_system_from_asyncio
from vespera_agents.actors.embedding.outside import ActorHandle
from vespera_agents.actors.errors import SystemCrashed, SystemUnresponsive, TooManyCalls, WrongThread

Result = TypeVar("Result")
COLOUR: ContextVar[str] = ContextVar("colour", default="none")


@dataclass
class Note:
    text: str


@dataclass
class Double(Request[int]):
    number: int


class Heard(Request[list[str]]): ...


class Crash(Request[None]): ...


class Hold(Request[str]):
    """Is answered once `let_go` is set."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.let_go = threading.Event()
        self.cancelled = threading.Event()


class Colour(Request[str]): ...


class Worker(Actor):
    def __init__(self, log: list[str] | None = None) -> None:
        self.log = [] if log is None else log

    @receives
    def note(self, message: Note) -> None:
        self.log.append(message.text)

    @receives
    def double(self, message: Double) -> int:
        self.log.append(f"double {message.number}")
        return 2 * message.number

    @receives
    def heard(self, _message: Heard) -> list[str]:
        return list(self.log)

    @receives
    def crash(self, _message: Crash) -> None:
        raise ValueError("broken")

    @receives
    async def hold(self, message: Hold) -> str:
        message.begun.set()
        try:
            while not message.let_go.is_set():  # noqa: ASYNC110 - set by another thread
                await trio.sleep(0.005)
        except trio.Cancelled:
            message.cancelled.set()
            raise
        return "let go"

    @receives
    def colour(self, _message: Colour) -> str:
        return COLOUR.get()


def run(main: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run an asyncio program, bounded, and see that it leaves no thread behind."""

    async def bounded() -> Result:
        async with asyncio.timeout(60):
            return await main()

    before = set(threading.enumerate())
    result = asyncio.run(bounded())
    ours = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("system")]
    assert ours == []
    return result


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - another thread makes it true
            await asyncio.sleep(0.005)


def test_an_asyncio_program_asks_tells_sends_and_stops() -> None:
    async def main() -> None:
        async with open_system_from_asyncio() as host:
            worker = await host.start(Worker, name="worker")
            assert (worker.name, worker.kind) == ("worker", "Worker")
            assert await host.ask(worker, Double(21)) == 42
            host.tell(worker, Note("told"))
            await host.send(worker, Note("sent"))
            assert await host.ask(worker, Heard()) == ["double 21", "told", "sent"]
            assert await host.whereis("worker") == worker
            await host.stop(worker)
            assert await host.whereis("worker") is None
            with pytest.raises(ActorStopped, match="worker"):
                await host.ask(worker, Double(1))

    run(main)


def test_what_set_up_has_started_is_found() -> None:
    async def set_up(system: ActorSystem) -> None:
        await system.start(Worker, ["from the start"], name="first")

    async def main() -> None:
        async with open_system_from_asyncio(set_up) as host:
            first = await host.whereis("first")
            assert first is not None
            assert await host.ask(first, Heard()) == ["from the start"]

    run(main)


def test_messages_of_one_task_keep_their_order() -> None:
    async def main() -> None:
        async with open_system_from_asyncio() as host:
            worker = await host.start(Worker)
            for number in range(200):
                host.tell(worker, Note(f"{number}"))
                if number % 10 == 0:
                    await host.send(worker, Note(f"{number} sent"))
            expected = [text for n in range(200) for text in ([f"{n}", f"{n} sent"] if n % 10 == 0 else [f"{n}"])]
            assert await host.ask(worker, Heard()) == expected

    run(main)


def test_many_callers_share_wake_ups() -> None:
    async def main() -> None:
        async with open_system_from_asyncio() as host:
            worker = await host.start(Worker)
            before = host.statistics()
            answers = await asyncio.gather(*(host.ask(worker, Double(n)) for n in range(500)))
            after = host.statistics()
        assert answers == [2 * n for n in range(500)]
        assert after.calls - before.calls == 500
        assert after.pending == 0
        # All 500 were submitted before the loop gave way, so few wake-ups carry them.
        assert after.batches - before.batches < 100

    run(main)


def test_the_errors_of_an_ask_come_through() -> None:
    async def main() -> None:
        async with open_system_from_asyncio() as host:
            worker = await host.start(Worker)
            with pytest.raises(ActorCrashed) as crashed:
                await host.ask(worker, Crash())
            assert isinstance(crashed.value.cause, ValueError)
            with pytest.raises(TypeError, match="Request"):
                await host.ask(worker, Note("no request"))  # type: ignore[arg-type]
            hold = Hold()
            with pytest.raises(AskTimeout):
                await host.ask(worker, hold, timeout_seconds=0.02)
            hold.let_go.set()
            assert await host.ask(worker, Double(1)) == 2

    run(main)


def test_cancelling_the_caller_withdraws_its_request() -> None:
    async def main() -> None:
        log: list[str] = []
        async with open_system_from_asyncio() as host:
            worker = await host.start(Worker, log)
            hold = Hold()
            holding = asyncio.create_task(host.ask(worker, hold))
            await eventually(hold.begun.is_set)
            behind = asyncio.create_task(host.ask(worker, Double(7)))
            await eventually(lambda: host.statistics().pending == 2)
            await eventually(lambda: worker.ref.statistics().mailbox.depth == 1)
            behind.cancel()
            with pytest.raises(asyncio.CancelledError):
                await behind
            assert host.statistics().withdrawn == 1
            # Calls and withdrawals are taken in order, so this one comes after it.
            await host.run(trio.sleep, 0)
            hold.let_go.set()
            assert await holding == "let go"
            assert await host.ask(worker, Double(1)) == 2
            assert host.statistics().pending == 0
        assert log == ["double 1"]

    run(main)


def test_a_call_that_is_cancelled_before_the_thread_has_seen_it_is_never_made() -> None:
    async def main() -> None:
        async with open_system_from_asyncio() as host:
            begun: list[int] = []

            async def call() -> None:
                begun.append(1)

            entered, go_on = threading.Event(), threading.Event()

            async def block() -> None:
                entered.set()
                assert go_on.wait(30)

            blocking = asyncio.create_task(host.run(block))
            await eventually(entered.is_set)
            waiting = asyncio.create_task(host.run(call))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            go_on.set()
            await blocking
            await host.run(trio.sleep, 0)
            assert begun == []

    run(main)


def test_an_asyncio_timeout_cancels_a_trio_function_that_is_run() -> None:
    async def main() -> None:
        loop, ended = asyncio.get_running_loop(), threading.Event()

        async with open_system_from_asyncio() as host:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(None) as limit:

                    async def long() -> None:
                        try:
                            # The time is over only now: a call that is withdrawn before it has begun never does.
                            loop.call_soon_threadsafe(limit.reschedule, loop.time())
                            await trio.sleep_forever()
                        finally:
                            ended.set()

                    await host.run(long)
            await eventually(ended.is_set)

    run(main)


def test_the_callers_context_goes_along_and_stays_apart() -> None:
    async def look(new: str) -> tuple[str, str]:
        seen = COLOUR.get()
        COLOUR.set(new)
        await trio.lowlevel.checkpoint()
        return seen, COLOUR.get()

    async def main() -> None:
        async with open_system_from_asyncio() as host:

            async def caller(colour: str) -> None:
                COLOUR.set(colour)
                for _ in range(5):
                    assert await host.run(look, "changed") == (colour, "changed")
                    assert COLOUR.get() == colour

            await asyncio.gather(*(caller(colour) for colour in ("red", "green", "blue")))
            assert await host.run(look, "changed") == ("none", "changed")

    run(main)


def test_what_a_full_mailbox_refuses_is_counted() -> None:
    async def main() -> None:
        async with open_system_from_asyncio() as host:
            worker = await host.start(Worker, mailbox=MailboxSpec(1, Overflow.REJECT))
            hold = Hold()
            holding = asyncio.create_task(host.ask(worker, hold))
            await eventually(hold.begun.is_set)
            for number in range(3):
                host.tell(worker, Note(f"{number}"))
            await eventually(lambda: host.statistics().tells_refused == 2)
            assert "MailboxFull" in host.statistics().last_refusal
            hold.let_go.set()
            await holding

    run(main)


def test_the_calls_under_way_are_limited() -> None:
    async def main() -> None:
        async with open_system_from_asyncio(calls_max=3) as host:
            worker = await host.start(Worker)
            hold = Hold()
            asks = [asyncio.create_task(host.ask(worker, hold)) for _ in range(3)]
            await eventually(lambda: host.statistics().pending == 3)
            with pytest.raises(TooManyCalls, match="calls_max"):
                await host.ask(worker, hold)
            hold.let_go.set()
            assert await asyncio.gather(*asks) == ["let go"] * 3

    run(main)


def test_closing_answers_who_waits_and_refuses_who_comes_later() -> None:
    async def main() -> None:
        async with open_system_from_asyncio() as host:
            worker = await host.start(Worker)
            hold = Hold()
            waiting = asyncio.create_task(host.ask(worker, hold, timeout_seconds=1000))
            await eventually(hold.begun.is_set)
        with pytest.raises(ActorStopped, match="was closed"):
            await waiting
        assert hold.cancelled.is_set()
        for call in (partial(host.ask, worker, Double(1)), partial(host.send, worker, Note("late"))):
            late: Callable[[], Awaitable[object]] = call
            with pytest.raises(ActorStopped, match="was closed"):
                await late()
        with pytest.raises(ActorStopped, match="was closed"):
            host.tell(worker, Note("late"))
        assert not host.statistics().is_open

    run(main)


def test_an_error_of_the_block_is_not_replaced() -> None:
    async def main() -> None:
        with pytest.raises(KeyError, match="mine"):
            async with open_system_from_asyncio() as host:
                await host.start(Worker)
                raise KeyError("mine")

    run(main)


def test_everybody_hears_that_the_system_broke() -> None:
    async def main() -> None:
        heard: list[SystemCrashed] = []

        async def wait_for(host: AsyncioHost) -> None:
            with pytest.raises(SystemCrashed, match="MaxRestartsExceeded") as crashed:
                await host.run(trio.sleep_forever)
            heard.append(crashed.value)

        async def wait_for_actor(host: AsyncioHost, worker: ActorHandle[Worker], hold: Hold) -> None:
            # The actor may be stopped before its system is found to have broken.
            with pytest.raises((ActorStopped, SystemCrashed)):
                await host.ask(worker, hold, timeout_seconds=1000)

        with pytest.raises(MaxRestartsExceeded):
            async with open_system_from_asyncio(open_it=partial(open_system, intensity=0)) as host:
                held, broken = await host.start(Worker), await host.start(Worker)
                hold = Hold()
                waiting = [asyncio.create_task(wait_for(host)) for _ in range(3)]
                waiting += [asyncio.create_task(wait_for_actor(host, held, hold)) for _ in range(3)]
                await eventually(hold.begun.is_set)
                host.tell(broken, Crash())
                await asyncio.gather(*waiting)
                with pytest.raises(SystemCrashed):
                    await host.ask(held, Double(1))
        assert len({id(error) for error in heard}) == 3

    run(main)


def test_an_error_in_set_up_is_raised_where_it_was_opened() -> None:
    async def set_up(_system: ActorSystem) -> None:
        raise LookupError("no such thing")

    async def main() -> None:
        with pytest.raises(LookupError, match="no such thing"):
            async with open_system_from_asyncio(set_up):
                pytest.fail("it opened")

    run(main)


def test_a_set_up_that_takes_too_long_is_given_up() -> None:
    async def set_up(_system: ActorSystem) -> None:
        await trio.sleep_forever()

    async def main() -> None:
        with pytest.raises(SystemUnresponsive, match="did not open"):
            async with open_system_from_asyncio(set_up, open_timeout_seconds=0.05):
                pytest.fail("it opened")

    run(main)


def test_cancelling_while_it_opens_leaves_nothing_behind() -> None:
    begun = threading.Event()

    async def set_up(_system: ActorSystem) -> None:
        begun.set()
        await trio.sleep_forever()

    async def main() -> None:
        async def use() -> None:
            async with open_system_from_asyncio(set_up):
                pytest.fail("it opened")

        using = asyncio.create_task(use())
        await eventually(begun.is_set)
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await using

    run(main)


class Slow(Actor):
    """Takes for ever to stop, unless it is cancelled."""

    stop_timeout_seconds = 1000.0

    @receives
    def note(self, _message: Note) -> None:
        """Do nothing."""

    async def on_stop(self) -> None:
        await trio.sleep(1000)


def test_cancelling_while_it_closes_cuts_the_closing_short() -> None:
    async def main() -> None:
        closing = asyncio.Event()

        async def use() -> None:
            async with open_system_from_asyncio() as host:
                await host.start(Slow, shutdown_seconds=10_000)
                closing.set()

        using = asyncio.create_task(use())
        await closing.wait()
        await asyncio.sleep(0.05)
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await using

    run(main)


def test_a_close_that_takes_too_long_is_cut_short() -> None:
    async def main() -> None:
        async with open_system_from_asyncio(close_timeout_seconds=0.05) as host:
            await host.start(Slow, shutdown_seconds=10_000)

    run(main)


def test_another_thread_is_refused() -> None:
    async def main() -> None:
        async with open_system_from_asyncio() as host:
            worker = await host.start(Worker)
            for call in (lambda: host.tell(worker, Note("x")), lambda: asyncio.run(host.ask(worker, Double(1)))):
                with pytest.raises(WrongThread, match="run_coroutine_threadsafe"):
                    await asyncio.to_thread(call)

    run(main)


def test_a_loop_that_is_closed_without_leaving_the_block_ends_the_system() -> None:
    """There is nobody any more whom it could answer."""
    loop = asyncio.new_event_loop()

    async def open_host() -> AsyncioHost:
        host = AsyncioHost(open_system, None, name="system", calls_max=10)
        await host.open(30)
        return host

    host = loop.run_until_complete(open_host())
    worker = loop.run_until_complete(host.start(Worker))
    hold = Hold()
    asking = loop.create_task(host.ask(worker, hold, timeout_seconds=1000))
    loop.run_until_complete(eventually(hold.begun.is_set))
    loop.close()
    hold.let_go.set()
    assert host._thread.ended.result(30) is None
    host._thread.join()
    assert not host.statistics().is_open
    asking._log_destroy_pending = False  # type: ignore[attr-defined]


def test_leaving_asyncio_run_early_closes_the_system() -> None:
    """A generator that is left open is closed by asyncio.run itself."""

    async def main() -> Any:
        opened = open_system_from_asyncio()
        host = await opened.__aenter__()
        await host.start(Worker)
        return opened

    run(main)


def test_no_result_is_lost_when_callers_and_their_cancellations_race() -> None:
    async def main() -> None:
        async with open_system_from_asyncio() as host:
            worker = await host.start(Worker)

            async def caller(number: int) -> int:
                right = 0
                for turn in range(20):
                    ask = asyncio.create_task(host.ask(worker, Double(turn)))
                    for _ in range((number + turn) % 4):
                        await asyncio.sleep(0)
                    if (number + turn) % 3 == 0:
                        ask.cancel()
                    try:
                        right += await ask == 2 * turn
                    except asyncio.CancelledError:
                        right += 1
                return right

            assert await asyncio.gather(*(caller(number) for number in range(50))) == [20] * 50
            await eventually(lambda: host.statistics().pending == 0)
            assert host.statistics().is_open

    run(main)


def test_asyncio_inside_a_system_inside_asyncio() -> None:
    """Both directions at once: the edge's loop lives in the system's thread, beside the program's own."""

    async def inner() -> int:
        await asyncio.sleep(0.001)
        return threading.get_ident()

    async def through_the_edge() -> int:
        async with trio.open_nursery() as nursery:
            edge = AsyncioEdge(nursery)
            there = await edge.run(inner)
            edge.close()
        return there

    async def main() -> None:
        async with open_system_from_asyncio() as host:
            there, *_ = await asyncio.gather(host.run(through_the_edge), asyncio.sleep(0.001))
            assert there != threading.get_ident()
        assert asyncio.get_running_loop().is_running()

    run(main)
