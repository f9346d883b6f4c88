"""Death watch and links: who hears of an actor's end, and who goes down with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import Restart
from vespera_agents.actors import (
    Actor,
    ActorCrashed,
    ActorRef,
    ActorState,
    ActorStopped,
    ActorTerminated,
    MailboxSpec,
    Request,
    Watch,
    open_system,
    receives,
)
from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.actors.errors import LinkBroken


class Crash: ...


class Retire: ...


class Unwatch: ...


class Ping(Request[str]): ...


@dataclass
class WatchThis:
    ref: ActorRef[Any]


@dataclass
class LinkWith:
    ref: ActorRef[Any]


@dataclass
class Unlink:
    ref: ActorRef[Any]


class Member(Actor):
    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.watches: list[Watch] = []

    async def on_restart(self, cause: BaseException | None) -> None:
        self.log.append(f"{self.ref.name} restarts after {type(cause).__name__}")

    @receives
    def watch_this(self, message: WatchThis) -> None:
        self.watches.append(self.watch(message.ref))

    @receives
    def unwatch(self, _message: Unwatch) -> None:
        for watch in self.watches:
            watch.cancel()

    @receives
    def terminated(self, message: ActorTerminated) -> None:
        self.log.append(f"{self.ref.name}: {message.name} ended, {message.reason}, {type(message.cause).__name__}")

    @receives
    def link_with(self, message: LinkWith) -> None:
        self.link(message.ref)

    @receives
    def unlink_from(self, message: Unlink) -> None:
        self.unlink(message.ref)
        self.unlink(message.ref)

    @receives
    def crash(self, _message: Crash) -> None:
        raise LookupError("broken")

    @receives
    def retire(self, _message: Retire) -> None:
        self.stop()

    @receives
    async def ping(self, _message: Ping) -> str:
        await trio.sleep(1)
        return "pong"


# Death watch ---------------------------------------------------------------------------------------------------------


async def test_an_actor_is_told_of_the_final_end_of_another_and_not_of_a_restart(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        watcher = await system.start(Member, log, name="watcher")
        other = await system.start(Member, log, name="other")
        watcher.tell(WatchThis(other))
        await wait_all_tasks_blocked()
        other.tell(Crash())
        await wait_all_tasks_blocked()
        assert log == ["other restarts after LookupError"]
        other.tell(Retire())
        await wait_all_tasks_blocked()
    assert log[1:] == ["watcher: other ended, it stopped, NoneType"]


async def test_a_watcher_is_told_what_the_other_died_of(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        watcher = await system.start(Member, log, name="watcher")
        other = await system.start(Member, log, name="other", restart=Restart.TEMPORARY)
        watcher.tell(WatchThis(other))
        await wait_all_tasks_blocked()
        other.tell(Crash())
        await wait_all_tasks_blocked()
    assert log == ["watcher: other ended, it crashed with LookupError: broken, LookupError"]


async def test_whoever_watches_an_actor_that_has_ended_is_told_at_once(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        watcher = await system.start(Member, log, name="watcher")
        other = await system.start(Member, log, name="other")
        await system.stop(other)
        watcher.tell(WatchThis(other))
        await wait_all_tasks_blocked()
        assert log == ["watcher: other ended, it stopped, NoneType"]


async def test_the_end_of_another_gets_into_a_full_mailbox(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        watcher = await system.start(Member, log, name="watcher", mailbox=MailboxSpec(1))
        other = await system.start(Member, log, name="other")
        watcher.tell(WatchThis(other))
        await wait_all_tasks_blocked()
        watcher.tell(Ping())
        await wait_all_tasks_blocked()
        watcher.tell(Unwatch())
        other.tell(Retire())
        await wait_all_tasks_blocked()
        assert watcher.statistics().mailbox.depth == 2
        await trio.sleep(2)
    assert log == ["watcher: other ended, it stopped, NoneType"]


async def test_a_watch_that_was_withdrawn_tells_nothing(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        watcher = await system.start(Member, log, name="watcher")
        other = await system.start(Member, log, name="other")
        watcher.tell(WatchThis(other))
        watcher.tell(Unwatch())
        watcher.tell(Unwatch())
        await wait_all_tasks_blocked()
        other.tell(Retire())
        await wait_all_tasks_blocked()
        assert system.dead_letters == ()
    assert log == []


@pytest.mark.parametrize("end", [Crash(), Retire()], ids=["restarted", "stopped"])
async def test_a_watch_ends_with_the_incarnation_that_watches(end: object, autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        watcher = await system.start(Member, log, name="watcher")
        other = await system.start(Member, log, name="other")
        watcher.tell(WatchThis(other))
        watcher.tell(end)
        await wait_all_tasks_blocked()
        log.clear()
        await system.stop(other)
        await wait_all_tasks_blocked()
        assert system.dead_letters[1:] == ()
    assert log == []


async def test_watches_that_are_over_are_not_kept(autojump_clock: MockClock) -> None:
    """A pool that watches its workers, or a session that watches its requests, would grow for ever."""
    async with open_system() as system:
        watcher = await system.start(Member, [], name="watcher")
        assert isinstance(watcher, Endpoint)
        for _ in range(50):
            other = await system.start(Member, [])
            watcher.tell(WatchThis(other))
            await wait_all_tasks_blocked()
            await system.stop(other)
        assert not watcher.belongings
        other = await system.start(Member, [])
        assert isinstance(other, Endpoint)
        watcher.tell(WatchThis(other))
        watcher.tell(Unwatch())
        await wait_all_tasks_blocked()
        assert not watcher.belongings
        assert not other.watches


async def test_the_end_of_the_system_tells_nobody_twice(autojump_clock: MockClock) -> None:
    told: list[ActorTerminated] = []
    async with open_system() as system:
        ref = await system.start(Member, [])
        watch = ref.watch(told.append)
    assert len(told) == 1
    assert not watch.pending


# Links ---------------------------------------------------------------------------------------------------------------


async def test_a_crash_brings_the_linked_actor_down_and_both_start_anew(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system(intensity=10) as system:
        a, b = [await system.start(Member, log, name=name) for name in "ab"]
        a.tell(LinkWith(b))
        await wait_all_tasks_blocked()
        a.tell(Crash())
        await wait_all_tasks_blocked()
        assert sorted(log) == ["a restarts after LookupError", "b restarts after LinkBroken"]
        assert [ref.statistics().incarnations for ref in (a, b)] == [2, 2]
        # The link belonged to those incarnations.
        b.tell(Crash())
        await wait_all_tasks_blocked()
        assert [ref.statistics().incarnations for ref in (a, b)] == [2, 3]


async def test_a_link_works_in_both_directions_and_says_what_broke(autojump_clock: MockClock) -> None:
    causes: list[BaseException | None] = []

    class Noting(Member):
        async def on_restart(self, cause: BaseException | None) -> None:
            causes.append(cause)

    async with open_system(intensity=10) as system:
        a = await system.start(Noting, [], name="a")
        b = await system.start(Member, [], name="b", restart=Restart.TEMPORARY)
        a.tell(LinkWith(b))
        await wait_all_tasks_blocked()
        b.tell(Crash())
        await wait_all_tasks_blocked()
    [cause] = causes
    assert isinstance(cause, LinkBroken)
    assert cause.name == "b"
    assert isinstance(cause.cause, LookupError)
    assert cause.__cause__ is cause.cause
    assert "Override on_link_broken" in str(cause)


async def test_a_link_breaks_between_two_messages_and_the_mail_is_kept(autojump_clock: MockClock) -> None:
    async with open_system(intensity=10) as system:
        a, b = [await system.start(Member, [], name=name) for name in "ab"]
        a.tell(LinkWith(b))
        await wait_all_tasks_blocked()
        answers: list[str] = []

        async def ask() -> None:
            answers.append(await b.ask(Ping()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            a.tell(Crash())
        assert answers == ["pong", "pong"]
        assert b.statistics().incarnations == 2


@pytest.mark.parametrize("how", ["stop", "self.stop", "system.stop"])
async def test_an_end_in_order_breaks_nothing_and_ends_the_link(how: str, autojump_clock: MockClock) -> None:
    async with open_system(intensity=10) as system:
        a, b = [await system.start(Member, [], name=name) for name in "ab"]
        a.tell(LinkWith(b))
        await wait_all_tasks_blocked()
        if how == "stop":
            a.stop()
        elif how == "self.stop":
            a.tell(Retire())
        else:
            await system.stop(a)
        await wait_all_tasks_blocked()
        assert a.statistics().state is ActorState.STOPPED
        assert b.statistics().incarnations == 1
        assert isinstance(b, Endpoint)
        assert not b.links


async def test_a_link_that_was_undone_breaks_no_more_from_either_side(autojump_clock: MockClock) -> None:
    async with open_system(intensity=10) as system:
        a, b = [await system.start(Member, [], name=name) for name in "ab"]
        a.tell(LinkWith(b))
        await wait_all_tasks_blocked()
        b.tell(Unlink(a))
        await wait_all_tasks_blocked()
        a.tell(Crash())
        await wait_all_tasks_blocked()
        b.tell(Crash())
        await wait_all_tasks_blocked()
        assert [ref.statistics().incarnations for ref in (a, b)] == [2, 2]


async def test_a_link_with_an_actor_that_has_ended_is_a_broken_one(autojump_clock: MockClock) -> None:
    causes: list[BaseException | None] = []

    class Noting(Member):
        async def on_restart(self, cause: BaseException | None) -> None:
            causes.append(cause)

    async with open_system() as system:
        a = await system.start(Noting, [], name="a")
        b = await system.start(Member, [], name="b")
        await system.stop(b)
        a.tell(LinkWith(b))
        await wait_all_tasks_blocked()
    [cause] = causes
    assert isinstance(cause, LinkBroken)
    assert isinstance(cause.cause, ActorStopped)


async def test_a_link_with_an_actor_that_waits_for_a_restart_holds_for_its_next_incarnation_or_breaks(
    autojump_clock: MockClock,
) -> None:
    class Fragile(Member):
        starts = 0

        async def on_start(self) -> None:
            Fragile.starts += 1
            if Fragile.starts > 1:
                await trio.sleep(3)

    async with open_system(intensity=10) as system:
        a = await system.start(Member, [], name="a")
        b = await system.start(Fragile, [], name="b")
        b.tell(Crash())
        await trio.sleep(1)
        assert b.statistics().state is ActorState.STARTING
        a.tell(LinkWith(b))
        await trio.sleep(5)
        assert a.statistics().incarnations == 1
        b.tell(Crash())
        await trio.sleep(5)
        assert a.statistics().incarnations == 2


async def test_a_link_with_oneself_is_none(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system(intensity=10) as system:
        a = await system.start(Member, log, name="a")
        a.tell(LinkWith(a))
        a.tell(Crash())
        await wait_all_tasks_blocked()
    assert log == ["a restarts after LookupError"]


async def test_an_actor_may_go_on_without_the_other(autojump_clock: MockClock) -> None:
    broken: list[LinkBroken] = []

    class Tough(Member):
        async def on_link_broken(self, broken_link: LinkBroken) -> None:
            await trio.lowlevel.checkpoint()
            broken.append(broken_link)

    async with open_system(intensity=10) as system:
        a = await system.start(Member, [], name="a")
        b = await system.start(Tough, [], name="b")
        b.tell(LinkWith(a))
        await wait_all_tasks_blocked()
        a.tell(Crash())
        await wait_all_tasks_blocked()
        assert b.statistics().incarnations == 1
        assert await b.ask(Ping()) == "pong"
    assert [each.name for each in broken] == ["a"]


async def test_a_crash_goes_along_a_chain_of_links(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system(intensity=10) as system:
        a, b, c = [await system.start(Member, log, name=name) for name in "abc"]
        a.tell(LinkWith(b))
        b.tell(LinkWith(c))
        await wait_all_tasks_blocked()
        a.tell(Crash())
        await wait_all_tasks_blocked()
    assert sorted(log) == [
        "a restarts after LookupError",
        "b restarts after LinkBroken",
        "c restarts after LinkBroken",
    ]


async def test_a_circle_of_links_brings_each_down_once(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system(intensity=10) as system:
        refs = [await system.start(Member, log, name=name) for name in "abc"]
        for one, other in zip(refs, refs[1:] + refs[:1], strict=True):
            one.tell(LinkWith(other))
        await wait_all_tasks_blocked()
        refs[0].tell(Crash())
        await trio.sleep(1)
        assert [ref.statistics().incarnations for ref in refs] == [2, 2, 2]
    assert len(log) == 3


async def test_a_linked_actor_that_is_not_restarted_fails_its_mail_with_the_broken_link(
    autojump_clock: MockClock,
) -> None:
    async with open_system(intensity=10) as system:
        a = await system.start(Member, [], name="a")
        b = await system.start(Member, [], name="b", restart=Restart.TEMPORARY)
        a.tell(LinkWith(b))
        await wait_all_tasks_blocked()
        b.tell(Ping())
        await wait_all_tasks_blocked()
        a.tell(Crash())
        await wait_all_tasks_blocked()
        with pytest.raises(ActorCrashed) as caught:
            await b.ask(Ping())
        assert isinstance(caught.value.cause, LinkBroken)


async def test_only_single_actors_can_be_linked(autojump_clock: MockClock) -> None:
    class Several(Member):
        @receives
        def ping(self, _message: Ping) -> str:  # type: ignore[override]
            with pytest.raises(TypeError, match="Only single actors can be linked"):
                self.link("a pool")  # type: ignore[arg-type]
            return "refused"

    async with open_system() as system:
        ref = await system.start(Several, [])
        assert await ref.ask(Ping()) == "refused"
