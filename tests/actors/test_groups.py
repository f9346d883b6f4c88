"""Groups: who is in them, whom they tell, and members that end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import Restart
from vespera_agents.actors import Actor, ActorRef, ActorSystem, MailboxSpec, Overflow, open_system, receives
from vespera_agents.actors.deathwatch import ActorTerminated, Watch
from vespera_agents.actors.errors import LimitReached
from vespera_agents.actors.events.bus import EventBus
from vespera_agents.actors.groups import Groups, MemberJoined, MemberLeft


@dataclass(frozen=True)
class Note:
    text: str


class Crash: ...


class Hold: ...


class Member(Actor):
    def __init__(self, log: list[object]) -> None:
        self.log = log

    @receives
    def note(self, note: Note) -> None:
        self.log.append((self.ref.name, note.text))

    @receives
    async def hold(self, _message: Hold) -> None:
        await trio.sleep(10)

    @receives
    def crash(self, _message: Crash) -> None:
        raise LookupError("broken")


async def start(
    system: ActorSystem,
    name: str,
    log: list[object],
    mailbox: MailboxSpec | None = None,
    restart: Restart = Restart.TRANSIENT,
) -> ActorRef[Member]:
    return await system.start(Member, log, name=name, mailbox=mailbox or MailboxSpec(10), restart=restart)


async def test_members_are_in_join_order_each_once_and_may_be_in_many_groups(autojump_clock: MockClock) -> None:
    groups = Groups()
    async with open_system() as system:
        a, b, c = [await start(system, name, []) for name in "abc"]
        assert groups.join("red", b)
        assert groups.join("red", a)
        assert not groups.join("red", b)
        assert groups.group("blue").join(b)
        assert groups.members("red") == (b, a)
        assert groups.group("blue").members == (b,)
        assert groups.groups_of(b) == ("red", "blue")
        assert groups.names == ("red", "blue")
        assert not groups.leave("red", c)
        assert not groups.leave("blue", a)
        assert groups.leave("red", b)
        assert groups.join("red", b)
        assert groups.members("red") == (a, b), "who joins again is the last"
        groups.leave_all(b)
        assert groups.names == ("red",)
        assert groups.groups_of(b) == ()


async def test_a_group_without_members_is_gone_and_telling_it_is_no_error() -> None:
    groups = Groups()
    view = groups.group("empty")
    assert view.tell(Note("hello")) == ()
    assert (view.members, groups.names, repr(view)) == ((), (), "<Group 'empty' of 0>")
    assert groups.statistics().groups == {}
    assert groups.statistics().told == 1


async def test_a_message_reaches_all_and_a_full_member_does_not_keep_it_from_the_others(
    autojump_clock: MockClock,
) -> None:
    groups = Groups()
    log: list[object] = []
    async with open_system() as system:
        first, full, last = [await start(system, name, log, MailboxSpec(1)) for name in ("first", "full", "last")]
        dropping = await start(system, "dropping", log, MailboxSpec(1, Overflow.DROP_OLDEST))
        for ref in (first, full, last, dropping):
            groups.join("all", ref)
        for ref in (full, dropping):
            ref.tell(Hold())
            await wait_all_tasks_blocked()
            ref.tell(Note("mine"))
        assert groups.group("all").tell(Note("ours")) == (full,)
        await trio.sleep(60)
        assert sorted(map(str, log)) == sorted(
            map(str, [("first", "ours"), ("full", "mine"), ("last", "ours"), ("dropping", "ours")])
        )
        seen = groups.statistics()
        assert (seen.groups["all"].told, seen.groups["all"].refused, seen.told, seen.refused) == (1, 1, 1, 1)


async def test_members_that_end_leave_all_their_groups_by_themselves(autojump_clock: MockClock) -> None:
    groups = Groups()
    log: list[object] = []
    async with open_system() as system:
        stays, stops, dies = [
            await start(system, name, log, restart=Restart.TEMPORARY) for name in ("stays", "stops", "dies")
        ]
        for ref in (stays, stops, dies):
            groups.join("red", ref)
        groups.join("blue", dies)
        stops.stop()
        dies.tell(Crash())
        await trio.sleep(1)
        assert groups.members("red") == (stays,)
        assert groups.names == ("red",)
        dead_letters = len(system.dead_letters)
        groups.group("red").tell(Note("hello"))
        await trio.sleep(1)
        assert log == [("stays", "hello")]
        assert len(system.dead_letters) == dead_letters
        assert not groups.join("red", dies), "who has ended cannot join"
        assert groups.groups_of(dies) == ()
        seen = groups.statistics()
        assert (seen.memberships, seen.joined, seen.left, seen.died) == (1, 4, 0, 3)


async def test_a_member_that_is_restarted_stays_and_gets_what_was_told_meanwhile(autojump_clock: MockClock) -> None:
    groups = Groups()
    log: list[object] = []
    async with open_system() as system:
        ref = await start(system, "phoenix", log)
        groups.join("red", ref)
        ref.tell(Crash())
        groups.group("red").tell(Note("still there"))
        await trio.sleep(60)
        assert groups.members("red") == (ref,)
        assert log == [("phoenix", "still there")]
        assert ref.statistics().incarnations == 2


async def test_a_successor_of_the_same_name_is_another_member(autojump_clock: MockClock) -> None:
    groups = Groups()
    async with open_system() as system:
        old = await start(system, "one", [])
        groups.join("red", old)
        await system.stop(old)
        new = await start(system, "one", [])
        assert groups.members("red") == ()
        groups.join("red", new)
        assert not groups.leave("red", old)
        assert groups.members("red") == (new,)


async def test_changes_are_events_where_the_bus_is_told_them(autojump_clock: MockClock) -> None:
    bus = EventBus()
    groups = Groups(on_change=bus.publish)
    async with open_system() as system:
        a, b = [await start(system, name, []) for name in "ab"]
        with bus.subscribe((MemberJoined, MemberLeft)) as changes:
            for name, ref in (("red", a), ("blue", a), ("red", b), ("red", b)):
                groups.join(name, ref)
            groups.leave("red", b)
            groups.leave("red", b)
            await system.stop(a)
            seen = changes.take_all()
    assert seen[:4] == [
        MemberJoined("red", a),
        MemberJoined("blue", a),
        MemberJoined("red", b),
        MemberLeft("red", b, None),
    ]
    assert [(each.group, each.member, each.terminated.name) for each in seen[4:]] == [("red", a, "a"), ("blue", a, "a")]


async def test_who_hears_of_an_end_finds_the_actor_in_no_group_and_may_change_groups(
    autojump_clock: MockClock,
) -> None:
    found: list[object] = []

    def react(change: object) -> None:
        if isinstance(change, MemberLeft):
            found.append((change.group, groups.groups_of(change.member), groups.members("blue")))
            groups.join("blue", spare)

    groups = Groups(on_change=react)
    async with open_system() as system:
        ref, spare = [await start(system, name, []) for name in ("a", "spare")]
        groups.join("red", ref)
        groups.join("blue", ref)
        await system.stop(ref)
        assert found == [("red", (), ()), ("blue", (), (spare,))]
        assert groups.members("blue") == (spare,)


class Mortal:
    """A reference whose watches can be counted."""

    def __init__(self) -> None:
        self.name = "mortal"
        self.watches: list[Watch] = []

    def watch(self, tell: Callable[[ActorTerminated], None]) -> Watch:
        watch = Watch(tell, self.watches)
        self.watches.append(watch)
        return watch


async def test_an_actor_is_watched_once_while_it_is_in_any_group_and_not_longer() -> None:
    groups = Groups()
    ref = Mortal()
    for name in ("red", "blue"):
        groups.join(name, ref)
    assert len(ref.watches) == 1
    groups.leave("red", ref)
    assert len(ref.watches) == 1
    groups.leave("blue", ref)
    assert ref.watches == []


async def test_there_is_a_limit_of_memberships(autojump_clock: MockClock) -> None:
    groups = Groups(memberships_max=1)
    async with open_system() as system:
        ref = await start(system, "a", [])
        groups.join("red", ref)
        with pytest.raises(LimitReached, match="memberships_max"):
            groups.join("blue", ref)
        groups.leave("red", ref)
        assert groups.join("blue", ref)
    with pytest.raises(ValueError, match="allow 1 or more"):
        Groups(memberships_max=0)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["join", "join", "leave", "stop", "crash", "tell"]), st.integers(0, 3), st.sampled_from("xyz")
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_groups_are_what_a_model_says_whatever_joins_leaves_and_dies(steps: list[tuple[str, int, str]]) -> None:
    async def main() -> None:
        groups = Groups()
        log: list[object] = []
        model: dict[str, list[int]] = {}
        dead: set[int] = set()
        told: list[object] = []
        async with open_system() as system:
            refs = [await start(system, str(n), log, restart=Restart.TEMPORARY) for n in range(4)]
            for number, (step, who, name) in enumerate(steps):
                members = model.setdefault(name, [])
                if step == "join":
                    wanted = who not in dead and who not in members
                    assert groups.join(name, refs[who]) == wanted
                    if wanted:
                        members.append(who)
                elif step == "leave":
                    assert groups.leave(name, refs[who]) == (who in members)
                    model[name] = [each for each in members if each != who]
                elif step == "tell":
                    assert groups.group(name).tell(Note(str(number))) == ()
                    told += [(str(each), str(number)) for each in members]
                else:
                    if who not in dead:
                        await refs[who].send(Crash()) if step == "crash" else refs[who].stop()
                    dead.add(who)
                    model = {each: [n for n in list_ if n != who] for each, list_ in model.items()}
                await trio.sleep(1)
                for each, list_ in model.items():
                    assert groups.members(each) == tuple(refs[n] for n in list_)
                assert set(groups.names) == {each for each, list_ in model.items() if list_}
                seen = groups.statistics()
                assert seen.memberships == seen.joined - seen.left - seen.died == sum(map(len, model.values()))
        assert sorted(map(str, log)) == sorted(map(str, told))
        assert groups.names == ()

    trio.run(main, clock=MockClock(autojump_threshold=0))
