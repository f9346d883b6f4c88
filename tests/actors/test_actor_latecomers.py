"""What comes too late: incarnations that return after they were replaced, callers that leave, timers of the dead."""

from __future__ import annotations

import math

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import Restart, Strategy, Supervisor, supervisor_spec
from vespera_agents.actors import (
    Actor,
    ActorRef,
    ActorState,
    ActorSystem,
    ActorTerminated,
    LinkBroken,
    NameTaken,
    Request,
    open_system,
    receives,
)
from vespera_agents.actors.endpoint import Endpoint


class Ping(Request[int]):
    """Answered with the number of the incarnation."""


class Crash: ...


class Tick: ...


class Plain(Actor):
    def __init__(self, log: list[str] | None = None) -> None:
        self.log = [] if log is None else log
        self.log.append("made")
        self.number = self.log.count("made")

    @receives
    def ping(self, _message: Ping) -> int:
        return self.number

    @receives
    def crash(self, _message: Crash) -> None:
        raise ValueError("told to")

    @receives
    def tick(self, _message: Tick) -> None: ...


async def sleep_through_anything(seconds: float) -> None:
    """Hear neither of cancellation nor of force, as a call into a thread does."""
    over = trio.current_time() + seconds
    while (left := over - trio.current_time()) > 0.0:
        try:
            with trio.CancelScope(shield=True):
                await trio.sleep(left)
        except BaseException:  # noqa: S112 - that is what it is for.
            continue


async def start_beside_a_neighbour(
    system: ActorSystem, actor: type[Plain], log: list[str]
) -> tuple[ActorRef[Actor], ActorRef[Actor]]:
    """Start an actor below a supervisor that replaces it when its neighbour crashes."""
    specs = [
        system.actor_spec(Plain, name="neighbour"),
        system.actor_spec(actor, log, name="victim", shutdown_seconds=2.0),
    ]
    below = Supervisor(specs, name="below", strategy=Strategy.ONE_FOR_ALL, listener=system)
    await system.supervisor.start_child(supervisor_spec("below", lambda: below))
    neighbour, victim = system.whereis("neighbour"), system.whereis("victim")
    assert neighbour is not None
    assert victim is not None
    return neighbour, victim


class SlowToStop(Plain):
    stop_timeout_seconds = 100.0

    async def on_stop(self) -> None:
        if self.number == 1:
            await sleep_through_anything(30.0)


async def test_an_on_stop_that_returns_too_late_does_not_end_the_successor(autojump_clock: MockClock) -> None:
    async with open_system(restart_grace_seconds=5.0) as system:
        neighbour, victim = await start_beside_a_neighbour(system, SlowToStop, [])
        neighbour.tell(Crash())
        await trio.sleep(10.0)
        assert await victim.ask(Ping()) == 2
        await trio.sleep(60.0)
        assert victim.statistics().state is ActorState.RUNNING
        assert await victim.ask(Ping()) == 2


class SlowToBeIdle(Plain):
    def __init__(self, log: list[str]) -> None:
        super().__init__(log)
        # Its successor is never idle: nothing but mail will wake that.
        type(self).idle_timeout_seconds = 1.0 if self.number == 1 else math.inf

    async def on_idle(self) -> None:
        if self.number == 1:
            await sleep_through_anything(30.0)


async def test_an_on_idle_that_returns_too_late_does_not_make_the_successor_deaf(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        neighbour, victim = await start_beside_a_neighbour(system, SlowToBeIdle, [])
        await trio.sleep(2.0)
        neighbour.tell(Crash())
        await trio.sleep(60.0)
        assert await victim.ask(Ping()) == 2


class SlowToRestart(Plain):
    async def on_restart(self, cause: BaseException | None) -> None:  # noqa: ARG002
        if self.number == 2:
            await sleep_through_anything(30.0)

    async def on_start(self) -> None:
        self.log.append(f"start {self.number}")


async def test_an_on_restart_that_returns_too_late_is_not_followed_by_on_start(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(
            SlowToRestart, log, name="slow", shutdown_seconds=1.0, start_timeout_seconds=2.0, restart=Restart.PERMANENT
        )
        ref.tell(Crash())
        await trio.sleep(60.0)
    assert log == ["made", "start 1", "made", "made", "start 3"], "the second one had been replaced by then"


class Relinking(Plain):
    other: ActorRef[Actor]
    broken = 0

    def __init__(self, other: ActorRef[Actor]) -> None:
        super().__init__()
        self.other = other

    async def on_start(self) -> None:
        self.link(self.other)

    async def on_link_broken(self, broken: LinkBroken) -> None:  # noqa: ARG002
        type(self).broken += 1
        if type(self).broken < 1000:
            self.link(self.other)


async def test_errands_that_bring_about_errands_leave_others_their_turn(autojump_clock: MockClock) -> None:
    Relinking.broken = 0
    async with open_system() as system:
        other = await system.start(Plain, restart=Restart.TEMPORARY)
        await system.start(Relinking, other)
        other.tell(Crash())
        turns = 0
        while Relinking.broken < 1000:
            await trio.lowlevel.checkpoint()
            turns += 1
        assert turns > 500


class StashesWhenIdle(Plain):
    idle_timeout_seconds = 1.0

    async def on_idle(self) -> None:
        if self.number == 1:
            self.stash()


async def test_a_stash_in_an_errand_is_an_error_that_says_so_and_the_actor_is_restarted(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_system() as system:
        ref = await system.start(StashesWhenIdle, [])
        await trio.sleep(1.5)
        assert ref.statistics().incarnations == 2
    assert "no message in hand" in caplog.text


class Slow(Plain):
    @receives
    async def work(self, seconds: float) -> None:
        await trio.sleep(seconds)


async def test_a_stop_whose_caller_was_cancelled_is_carried_through(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        for restart in (Restart.TRANSIENT, Restart.PERMANENT):
            ref = await system.start(Slow, name="slow", restart=restart)
            ref.tell(3.0)
            await wait_all_tasks_blocked()
            with trio.move_on_after(1.0) as scope:
                await system.stop(ref)
            assert scope.cancelled_caught
            await trio.sleep(3.0)
            assert ref.statistics().state is ActorState.STOPPED
            assert [child.id for child in system.supervisor.which_children()] == []


async def test_a_watch_that_raises_keeps_nobody_from_learning_of_the_end(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[ActorTerminated] = []

    def broken(terminated: ActorTerminated) -> None:
        raise ValueError(terminated.name)

    async with open_system() as system:
        ref = await system.start(Plain, name="watched", restart=Restart.TEMPORARY)
        ref.watch(broken)
        ref.watch(told.append)
        ref.tell(Crash())
        await wait_all_tasks_blocked()
        assert [each.name for each in told] == ["watched"]
        assert system.whereis("watched") is None
        again = await system.start(Plain, name="watched")
        assert await again.ask(Ping()) == 1
    assert "a watch of actor 'watched' raised" in caplog.text


class Leaky(Plain):
    def __init__(self, known: list[Leaky]) -> None:
        super().__init__()
        known.append(self)


async def test_a_timer_that_a_dead_incarnation_sets_never_ticks(autojump_clock: MockClock) -> None:
    known: list[Leaky] = []
    async with open_system() as system:
        ref = await system.start(Leaky, known)
        await system.stop(ref)
        timers = [known[0].tell_every(1.0, Tick()), known[0].tell_after(1.0, Tick())]
        assert [timer.active for timer in timers] == [False, False]
        await trio.sleep(10.5)
        assert system.dead_letters == ()
        assert isinstance(ref, Endpoint)
        assert not ref.belongings


class TakesItsTime(Plain):
    async def on_stop(self) -> None:
        await trio.sleep(3.0)


class CrashesInTheEnd(Plain):
    async def on_stop(self) -> None:
        raise ValueError("in the end")


async def test_stopping_an_actor_does_not_stop_its_namesake(autojump_clock: MockClock) -> None:
    async with open_system() as system, trio.open_nursery() as nursery:
        first = await system.start(CrashesInTheEnd, name="same", restart=Restart.TEMPORARY)
        await system.start(TakesItsTime, name="slow")
        nursery.start_soon(system.supervisor.terminate_child, "slow")
        await trio.sleep(1.0)
        # The root is busy with the slow one: it takes up neither the end nor the stop before that is over.
        nursery.start_soon(system.stop, first)
        await trio.sleep(1.0)
        assert system.whereis("same") is None
        with pytest.raises(NameTaken):
            system.spawn(Plain, name="same")
        await trio.sleep(2.0)
        assert await system.spawn(Plain, name="same").ask(Ping()) == 1
