"""Many asks at once: order, limits, errors, cancellation and circles."""

from __future__ import annotations

import gc
import weakref

import pytest
import trio
from trio.lowlevel import current_task
from trio.testing import MockClock, wait_all_tasks_blocked

from vespera_agents.actors import (
    Actor,
    ActorCrashed,
    ActorRef,
    ActorStopped,
    AskCycle,
    AskTimeout,
    MailboxSpec,
    MessageOutcome,
    Overflow,
    Request,
    Unhandled,
    open_system,
    receives,
)
from vespera_agents.actors.gathering import ask_many, gather_answers
from vespera_agents.actors.pools.opening import open_pool
from vespera_agents.actors.pools.routing import ConsistentHash
from vespera_agents.actors.waits import CALLERS, waiting_for


class Wait(Request[str]):
    """Answered with its label after some seconds."""

    def __init__(self, label: str, seconds: float = 1.0) -> None:
        self.label = label
        self.seconds = seconds


class Fail(Request[str]): ...


class Unknown(Request[str]): ...


class AskAll(Request[list[str]]):
    """Answered with what the given others answer to `What`, asked as many at once as given."""

    def __init__(self, others: list[ActorRef[Actor]], concurrency: int = 10, *, keep: bool = False) -> None:
        self.others = others
        self.concurrency = concurrency
        self.keep = keep


class AskBack(Request[str]):
    def __init__(self, other: ActorRef[Actor]) -> None:
        self.other = other


class Worker(Actor):
    def __init__(self, log: list[str] | None = None) -> None:
        self.log = [] if log is None else log

    @receives
    async def wait(self, message: Wait) -> str:
        self.log.append(message.label)
        await trio.sleep(message.seconds)
        return message.label

    @receives
    def fail(self, _message: Fail) -> str:
        raise LookupError("broken")

    @receives
    async def ask_all(self, message: AskAll) -> list[str]:
        request = AskBack(self.ref)
        if message.keep:
            answers = await gather_answers(message.others, request, concurrency=message.concurrency)
            return [type(answer).__name__ for answer in answers]
        return await ask_many(message.others, request, concurrency=message.concurrency)

    @receives
    async def ask_back(self, message: AskBack) -> str:
        return await message.other.ask(Wait("back", 0.0))


async def test_answers_come_in_the_order_of_the_questions(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        refs = [await system.start(Worker) for _ in range(3)]
        requests = [Wait("slow", 3.0), Wait("quick", 1.0), Wait("middle", 2.0)]
        began = trio.current_time()
        assert await ask_many(refs, requests) == ["slow", "quick", "middle"]
        assert trio.current_time() - began == 3.0
        assert await gather_answers(iter(refs), iter(requests)) == ["slow", "quick", "middle"]


async def test_one_request_goes_to_many_and_many_to_one(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        refs = [await system.start(Worker) for _ in range(3)]
        assert await ask_many(refs, Wait("all")) == ["all"] * 3
        assert await ask_many(refs[0], [Wait("a"), Wait("b")]) == ["a", "b"]
        assert await ask_many(refs[0], Wait("alone")) == ["alone"]
        assert await ask_many([], Wait("nobody")) == []
        assert await ask_many(refs[0], []) == []


async def test_no_more_asks_and_tasks_than_allowed_are_under_way(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        refs = [await system.start(Worker) for _ in range(100)]
        before = trio.lowlevel.current_statistics().tasks_living
        seen: list[int] = []
        async with trio.open_nursery() as nursery:

            async def look() -> None:
                for _ in range(10):
                    await trio.sleep(0.9)
                    seen.append(sum(ref.load for ref in refs))
                    assert trio.lowlevel.current_statistics().tasks_living <= before + 1 + 7

            nursery.start_soon(look)
            began = trio.current_time()
            assert await ask_many(refs, Wait("x"), concurrency=7, timeout_seconds=2.0) == ["x"] * 100
        assert set(seen) == {7}
        assert trio.current_time() - began == 15.0


async def test_the_first_error_withdraws_the_rest_and_is_raised_itself(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        busy = await system.start(Worker, log)
        broken = await system.start(Worker)
        requests = [Wait("begun", 5.0), Wait("queued"), Fail(), Wait("never sent")]
        began = trio.current_time()
        with pytest.raises(ActorCrashed) as caught:
            await ask_many([busy, busy, broken, busy], requests, concurrency=3)
        assert isinstance(caught.value.cause, LookupError)
        assert trio.current_time() == began
        await trio.sleep(10.0)
        assert log == ["begun"]
        counts = system.statistics().kinds["Worker"]
        assert counts.messages[MessageOutcome.WITHDRAWN] == 1
        assert counts.late_replies == 1
        assert counts.asks == 3


@pytest.mark.parametrize("concurrency", [1, 2, 50])
async def test_errors_may_be_collected_beside_the_answers(autojump_clock: MockClock, concurrency: int) -> None:
    async with open_system() as system:
        good, slow, full, gone = [await system.start(Worker) for _ in range(4)]
        rejecting = await system.start(Worker, mailbox=MailboxSpec(1, Overflow.REJECT))
        await system.stop(gone)
        answers = await gather_answers(
            [good, slow, full, gone, good, rejecting],
            [Wait("yes"), Wait("late", 9.0), Unknown(), Wait("x"), Fail(), Wait("last")],
            timeout_seconds=4.0, concurrency=concurrency,
        )  # fmt: skip
        kinds = [answer if isinstance(answer, str) else type(answer) for answer in answers]
        assert kinds == ["yes", AskTimeout, Unhandled, ActorStopped, ActorCrashed, "last"]


async def test_a_collected_error_keeps_no_frames_alive(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        refs = [await system.start(Worker) for _ in range(2)]
        gc.collect()
        gc.disable()
        try:
            request = Unknown()
            kept = weakref.ref(request)
            answers = await gather_answers(refs, request)
            assert [type(answer) for answer in answers] == [Unhandled, Unhandled]
            del request
            assert kept() is None
        finally:
            gc.enable()


async def test_whoever_is_cancelled_withdraws_what_was_not_begun(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Worker, log)
        with trio.move_on_after(0.5) as scope:
            await ask_many(ref, [Wait("a"), Wait("b"), Wait("c")], concurrency=2)
        assert scope.cancelled_caught
        await trio.sleep(10.0)
        assert log == ["a"]


async def test_a_pool_is_asked_like_a_reference(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        pool = await open_pool(system, Worker, size=4)
        began = trio.current_time()
        assert await ask_many(pool, [Wait(str(number)) for number in range(8)]) == list("01234567")
        assert trio.current_time() - began == 2.0
        assert await ask_many(pool.members, Wait("each")) == ["each"] * 4


async def test_what_is_no_error_of_an_actor_comes_out_as_itself(autojump_clock: MockClock) -> None:
    def key(message: object) -> str:
        raise KeyError("no key")

    async with open_system() as system:
        pool = await open_pool(system, Worker, size=2, routing=ConsistentHash(key))
        ref = await system.start(Worker)
        for ask in (ask_many, gather_answers):
            with pytest.raises(KeyError, match="no key"):
                await ask([ref, pool, ref], Wait("x"))


async def test_wrong_arguments_are_refused_before_anything_is_asked(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(Worker)
        with pytest.raises(ValueError, match="argument 2"):
            await ask_many([ref, ref], [Wait("a")])
        with pytest.raises(ValueError, match="At least 1 ask"):
            await ask_many(ref, Wait("a"), concurrency=0)
        with pytest.raises(ValueError, match="more than 0 seconds"):
            await ask_many(ref, Wait("a"), timeout_seconds=0.0)
        with pytest.raises(TypeError, match="str is not a Request"):
            await ask_many(ref, [Wait("a"), "b"])  # type: ignore[list-item]
        assert system.statistics().kinds["Worker"].asks == 0


@pytest.mark.parametrize("concurrency", [1, 10])
async def test_a_circle_through_those_who_are_asked_is_refused_at_its_last_step(
    autojump_clock: MockClock, concurrency: int
) -> None:
    """The last step is made by the one that was asked: it learns it, and its crash is what the first one gets."""
    async with open_system(intensity=100) as system:
        one = await system.start(Worker, name="one")
        others = [await system.start(Worker, name=name) for name in ("two", "three")]
        began = trio.current_time()
        with pytest.raises(ActorCrashed) as caught:
            await one.ask(AskAll(others, concurrency), timeout_seconds=1.0)
        assert trio.current_time() == began
        inner = caught.value.cause
        assert isinstance(inner, ActorCrashed)
        assert isinstance(inner.cause, AskCycle)
        assert inner.cause.path in {("two", "one", "two"), ("three", "one", "three")}


@pytest.mark.parametrize("concurrency", [1, 10])
async def test_a_circle_is_refused_when_asking_many_is_its_last_step(
    autojump_clock: MockClock, concurrency: int
) -> None:
    class Start(Request[list[str]]):
        def __init__(self, other: ActorRef[Actor], all_of: list[ActorRef[Actor]]) -> None:
            self.other = other
            self.all_of = all_of

    class First(Worker):
        @receives
        async def begin(self, message: Start) -> list[str]:
            return await message.other.ask(AskAll(message.all_of, concurrency, keep=True))

    async with open_system() as system:
        first = await system.start(First, name="first")
        second = await system.start(Worker, name="second")
        third = await system.start(Worker, name="third")
        answer = await first.ask(Start(second, [first, second, third]), timeout_seconds=1.0)
        assert answer == ["AskCycle", "AskCycle", "ActorCrashed"]


async def test_asking_many_leaves_nothing_behind_that_looks_like_waiting(autojump_clock: MockClock) -> None:
    class Plain(Request[list[str]]):
        def __init__(self, others: list[ActorRef[Actor]]) -> None:
            self.others = others

    class Asker(Worker):
        @receives
        async def plain(self, message: Plain) -> list[str]:
            return await ask_many(message.others, Wait("x", 0.5))

    async with open_system() as system:
        asker = await system.start(Asker)
        other = await system.start(Worker)
        friend = await system.start(Worker)
        assert await asker.ask(Plain([other, friend])) == ["x", "x"]
        assert await other.ask(AskBack(asker)) == "back"
        with trio.move_on_after(0.2):
            await asker.ask(Plain([other, friend]))
        await trio.sleep(1.0)
        assert await friend.ask(AskBack(asker)) == "back"


async def test_a_task_that_waits_for_another_is_forgotten_when_it_ends() -> None:
    class Plain(Request[list[str]]): ...

    class Waiter(Actor):
        @receives
        async def wait(self, _message: Plain) -> list[str]:
            caller = current_task()
            found: list[str] = []

            async def stand_in() -> None:
                with waiting_for(caller):
                    found.append(f"{CALLERS[current_task()].name}, {len(CALLERS[caller].branches or ())}")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(stand_in)
            return [*found, f"then {CALLERS[caller].branches}"]

    before = len(CALLERS)
    async with open_system() as system:
        waiter = await system.start(Waiter, name="w")
        assert await waiter.ask(Plain()) == ["w, 1", "then None"]
    assert len(CALLERS) == before


async def test_two_actors_may_ask_the_same_many_at_once(autojump_clock: MockClock) -> None:
    class Plain(Request[list[str]]):
        def __init__(self, others: list[ActorRef[Actor]]) -> None:
            self.others = others

    class Asker(Worker):
        @receives
        async def plain(self, message: Plain) -> list[str]:
            return await ask_many(message.others, Wait("x"))

    async with open_system() as system:
        askers = [await system.start(Asker) for _ in range(3)]
        others = [await system.start(Worker) for _ in range(3)]
        assert await ask_many(askers, Plain(list(others))) == [["x"] * 3] * 3
        await wait_all_tasks_blocked()
