"""Faults on purpose: planned by number or by chance, around an actor that knows nothing of them."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from supervisors import Restart, StartFailed
from vespera_agents.actors import (
    Actor,
    ActorCrashed,
    ActorState,
    ActorStopped,
    AskTimeout,
    MailboxSpec,
    Overflow,
    Request,
    open_system,
    receives,
)
from vespera_agents.actors.testing import ActorFault, FaultPlan, InjectedCrash, faulty, fill_mailbox
from vespera_agents.actors.testing.wrapping import MARK


class Say(Request[str]):
    """Answered by an async handler that waits."""


class Shout(Request[str]):
    """Answered by a sync handler."""


class Nod:
    """Told, to a handler that does not wait."""


class Speaker(Actor):
    log: list[str]

    def __init__(self, log: list[str]) -> None:
        self.log = log

    async def on_start(self) -> None:
        self.log.append("start")

    async def on_stop(self) -> None:
        self.log.append("stop")

    @receives
    async def say(self, _message: Say) -> str:
        self.log.append("say")
        await trio.sleep(1.0)
        self.log.append("said")
        return "words"

    @receives
    def shout(self, _message: Shout) -> str:
        self.log.append("shout")
        return "WORDS"

    @receives
    async def nod(self, _message: Nod) -> None:
        self.log.append("nod")


class LoudSpeaker(Speaker):
    @receives
    def shout(self, message: Shout) -> str:
        return super().shout(message) + "!"


CRASHES = [
    (ActorFault.CRASH_BEFORE_HANDLER, Say, ["start", "stop", "start"], 0.0),
    (ActorFault.CRASH_IN_HANDLER, Say, ["start", "say", "stop", "start"], 1.0),
    (ActorFault.CRASH_AFTER_HANDLER, Say, ["start", "say", "said", "stop", "start"], 1.0),
    (ActorFault.CRASH_BEFORE_HANDLER, Shout, ["start", "stop", "start"], 0.0),
    (ActorFault.CRASH_AFTER_HANDLER, Shout, ["start", "shout", "stop", "start"], 0.0),
]


@pytest.mark.parametrize(("fault", "request_type", "story", "at"), CRASHES)
async def test_a_handler_crashes_where_it_is_planned(autojump_clock: MockClock, fault, request_type, story, at) -> None:
    log: list[str] = []
    plan = FaultPlan({fault: [1]})
    async with open_system() as system:
        ref = await system.start(faulty(Speaker, plan), log)
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(request_type())
        assert isinstance(caught.value.cause, InjectedCrash)
        assert trio.current_time() == at
        assert (await ref.ask(request_type())).lower() == "words"
        assert log[: len(story)] == story
        assert plan.struck == {fault: 1}
        assert ref.kind == "Speaker"


async def test_the_second_opportunity_is_counted_across_restarts(autojump_clock: MockClock) -> None:
    plan = FaultPlan({ActorFault.CRASH_BEFORE_HANDLER: [2, 3]})
    async with open_system() as system:
        ref = await system.start(faulty(Speaker, plan), [])
        ends = []
        for _ in range(4):
            try:
                ends.append(await ref.ask(Shout()))
            except ActorCrashed:
                ends.append("crash")
        assert ends == ["WORDS", "crash", "crash", "WORDS"]


async def test_a_crash_in_a_handler_that_waits_for_nothing_comes_at_its_end(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(faulty(Speaker, FaultPlan({ActorFault.CRASH_IN_HANDLER: [1]})), log)
        ref.tell(Nod())
        await ref.ask(Shout())
        assert log == ["start", "nod", "stop", "start", "shout"]


async def test_on_start_crashes_dawdles_and_hangs(autojump_clock: MockClock) -> None:
    plan = FaultPlan({ActorFault.CRASH_IN_START: [1], ActorFault.SLOW_START: [2], ActorFault.HANG_IN_START: [3]})
    async with open_system() as system:
        with pytest.raises(StartFailed, match="crash in on_start"):
            await system.start(faulty(Speaker, plan), [])
        await system.start(faulty(Speaker, plan), [])
        assert trio.current_time() == 0.5
        with pytest.raises(StartFailed):
            await system.start(faulty(Speaker, plan), [], start_timeout_seconds=10.0)
        assert trio.current_time() == 10.5


async def test_the_first_starts_are_spared_where_a_test_wants_its_actors_to_run(autojump_clock: MockClock) -> None:
    plan = FaultPlan(permille={ActorFault.CRASH_IN_START: 1_000}, starts_spared=1)
    async with open_system() as system:
        await system.start(faulty(Speaker, plan), [])
        with pytest.raises(StartFailed):
            await system.start(faulty(Speaker, plan), [])


async def test_on_stop_hangs_and_is_cut_short(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(faulty(Speaker, FaultPlan({ActorFault.HANG_IN_STOP: [1]})), log)
        await system.stop(ref, timeout_seconds=30.0)
        assert trio.current_time() == 4.0
        assert log == ["start", "stop"]
        assert system.statistics().kinds["Speaker"].stop_timeouts == 1


async def test_a_hanging_handler_lets_an_ask_time_out(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(faulty(Speaker, FaultPlan({ActorFault.HANG_IN_HANDLER: [1]}, hang_seconds=9.0)), [])
        with pytest.raises(AskTimeout):
            await ref.ask(Say(), timeout_seconds=2.0)
        assert await ref.ask(Say(), timeout_seconds=20.0) == "words"
        assert trio.current_time() == 11.0


STUBBORN = [
    (ActorFault.SWALLOW_CANCELLED, 2.0),
    (ActorFault.HIDE, 4.0),
    (ActorFault.IMMORTAL, 5.0),
]


@pytest.mark.parametrize(("fault", "seconds_min"), STUBBORN)
async def test_a_stubborn_handler_outlives_what_is_to_end_it(autojump_clock: MockClock, fault, seconds_min) -> None:
    async with open_system() as system:
        plan = FaultPlan({fault: [1]}, slow_seconds=50.0)
        ref = await system.start(faulty(Speaker, plan), [], shutdown_seconds=2.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_is_stopped, ref)
            await trio.testing.wait_all_tasks_blocked()
            await system.stop(ref, timeout_seconds=2.0)
        assert trio.current_time() >= seconds_min
        assert ref.statistics().state is ActorState.STOPPED


async def _is_stopped(ref) -> None:
    with pytest.raises((ActorStopped, ActorCrashed)):
        await ref.ask(Say(), timeout_seconds=100.0)


async def test_chance_is_repeatable_and_can_be_switched_off(autojump_clock: MockClock) -> None:
    async def ends(seed: int, *, enabled: bool) -> list[str]:
        told: list[str] = []
        plan = FaultPlan(
            permille={ActorFault.CRASH_BEFORE_HANDLER: 300},
            stream=seed,
            on_strike=lambda name, fault: told.append(f"{name}: {fault}"),
        )
        plan.enabled = enabled
        async with open_system(intensity=1_000) as system:
            ref = await system.start(faulty(Speaker, plan), [], name="s")
            for _ in range(40):
                ref.tell(Shout())
                await trio.testing.wait_all_tasks_blocked()
            handled = ref.statistics().handled
        assert handled + len(told) == 40
        assert sum(plan.struck.values()) == len(told)
        return [*told, str(handled)]

    first = await ends(1, enabled=True)
    assert len(first) > 5
    assert await ends(1, enabled=True) == first
    assert await ends(2, enabled=True) != first
    assert await ends(1, enabled=False) == ["40"]


async def test_handlers_that_are_overridden_are_struck_once(autojump_clock: MockClock) -> None:
    plan = FaultPlan({ActorFault.CRASH_BEFORE_HANDLER: [2]})
    async with open_system() as system:
        ref = await system.start(faulty(LoudSpeaker, plan), [])
        assert await ref.ask(Shout()) == "WORDS!"
        with pytest.raises(ActorCrashed):
            await ref.ask(Shout())


async def test_a_mailbox_is_filled(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        for overflow in Overflow:
            ref = await system.start(Speaker, [], mailbox=MailboxSpec(3, overflow), restart=Restart.TEMPORARY)
            assert fill_mailbox(ref, Nod()) == 3
            assert ref.statistics().mailbox.fill_ratio == 1.0
            assert fill_mailbox(ref, Nod()) == 0
            await system.stop(ref)
            assert fill_mailbox(ref, Nod()) == 0


def test_the_mark_of_a_handler_is_what_it_was() -> None:
    assert hasattr(Speaker.say, MARK)
    assert not hasattr(Speaker.on_start, MARK)
