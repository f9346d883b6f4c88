"""Pools as a whole: sharing, resizing under load, members that die, partitions, and their place in the tree."""

from __future__ import annotations

from collections import Counter, defaultdict
from random import Random

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import MaxRestartsExceeded, Report, ReportKind, Restart, StartFailed, SupervisorNotRunning
from vespera_agents.actors import (
    Actor,
    ActorStopped,
    DeadLetterReason,
    MailboxFull,
    MailboxSpec,
    NameTaken,
    Overflow,
    Request,
    open_system,
    receives,
)
from vespera_agents.actors.pools.opening import open_partitions, open_pool
from vespera_agents.actors.pools.pool import POOL_MEMBERS_MAX
from vespera_agents.actors.pools.routing import ConsistentHash, LeastBusy, RoundRobin


class Job:
    def __init__(self, number: int, seconds: float = 1.0, key: str = "") -> None:
        self.number = number
        self.seconds = seconds
        self.key = key


class Question(Request[tuple[str, int]]):
    """Answered with who handled it, and its own number."""

    def __init__(self, number: int = 0, seconds: float = 0.0, key: str = "") -> None:
        self.number = number
        self.seconds = seconds
        self.key = key


class Crash:
    key = ""


class Retire: ...


class Worker(Actor):
    def __init__(self, done: list[tuple[str, int]] | None = None) -> None:
        self.done = [] if done is None else done

    @receives
    async def job(self, message: Job) -> None:
        await trio.sleep(message.seconds)
        self.done.append((self.ref.name, message.number))

    @receives
    async def question(self, message: Question) -> tuple[str, int]:
        await trio.sleep(message.seconds)
        return self.ref.name, message.number

    @receives
    def crash(self, _message: Crash) -> None:
        raise LookupError("broken")

    @receives
    def retire(self, _message: Retire) -> None:
        self.stop()


def key_of(message: Job | Question | Crash) -> str:
    return message.key


# Sharing ----------------------------------------------------------------------------------------------------------


async def test_a_pool_is_used_like_a_reference(autojump_clock: MockClock) -> None:
    done: list[tuple[str, int]] = []
    async with open_system() as system:
        pool = await open_pool(system, Worker, done, size=2, name="work")
        assert (pool.name, pool.kind, repr(pool)) == ("work", "Worker", "<Pool 'work' of 2 Worker>")
        pool.tell(Job(1))
        await pool.send(Job(2))
        assert await pool.ask(Question(7)) == ("work-1", 7)
        assert await pool.ask(Question(8)) == ("work-2", 8)
        assert sorted(done) == [("work-1", 1), ("work-2", 2)]
        assert system.whereis("work-2") is pool.members[1]
        assert {member.name for member in pool.members} == {"work-1", "work-2"}


async def test_a_busy_member_gets_less(autojump_clock: MockClock) -> None:
    done: list[tuple[str, int]] = []
    async with open_system() as system:
        pool = await open_pool(system, Worker, done, size=3, routing=LeastBusy(), name="work")
        pool.tell(Job(0, 100.0))
        await wait_all_tasks_blocked()
        for number in range(1, 7):
            pool.tell(Job(number))
            await trio.sleep(1.5)
        assert Counter(name for name, _ in done) == {"work-2": 3, "work-3": 3}


async def test_equal_keys_have_one_member_and_all_members_have_keys(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        pool = await open_pool(system, Worker, size=4, routing=ConsistentHash(key_of))
        chosen: dict[str, set[str]] = defaultdict(set)
        for number in range(200):
            name, _ = await pool.ask(Question(number, key=f"k{number % 50}"))
            chosen[f"k{number % 50}"].add(name)
        assert all(len(names) == 1 for names in chosen.values())
        assert len(set.union(*chosen.values())) == 4


@pytest.mark.parametrize("routing", [RoundRobin(), LeastBusy()])
async def test_a_full_member_is_passed_over_until_all_are_full(
    autojump_clock: MockClock, routing: RoundRobin | LeastBusy
) -> None:
    async with open_system() as system:
        pool = await open_pool(system, Worker, size=3, routing=routing, mailbox=MailboxSpec(2))
        first = pool.members[0]
        first.tell(Job(0))
        first.tell(Job(1))
        for number in range(4):
            pool.tell(Job(number))
        with pytest.raises(MailboxFull):
            pool.tell(Job(9))
        # Those passed over were asked for room, not tried: only the one that raised is counted.
        assert sum(system.statistics().kinds["Worker"].drops.values()) == 1
        assert [member.mailbox.depth for member in pool.statistics().members] == [2, 2, 2]
        assert pool.statistics().routed == 5


async def test_with_consistent_hash_a_full_member_is_full(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        pool = await open_pool(
            system, Worker, size=3, routing=ConsistentHash(key_of), mailbox=MailboxSpec(1, Overflow.REJECT)
        )
        pool.tell(Job(1, key="a"))
        with pytest.raises(MailboxFull):
            pool.tell(Job(2, key="a"))
        assert pool.statistics().diverted == 0


async def test_a_sender_waits_for_room_when_nobody_has_any(autojump_clock: MockClock) -> None:
    done: list[tuple[str, int]] = []
    async with open_system() as system:
        pool = await open_pool(system, Worker, done, size=2, mailbox=MailboxSpec(1))
        began = trio.current_time()
        for number in range(6):
            await pool.send(Job(number))
        assert trio.current_time() == began + 1.0
        await trio.sleep(10.0)
        assert sorted(number for _, number in done) == list(range(6))


# Resizing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("routing", [RoundRobin(), LeastBusy(), ConsistentHash(key_of)])
@pytest.mark.parametrize("seed", range(5))
async def test_resizing_under_load_loses_nothing(
    autojump_clock: MockClock, routing: RoundRobin | LeastBusy | ConsistentHash, seed: int
) -> None:
    """Every message told is handled once, every ask is answered, by members that come and go all the time."""
    done: list[tuple[str, int]] = []
    chance = Random(seed)
    answers: list[int] = []

    async with open_system() as system:
        pool = await open_pool(system, Worker, done, size=4, routing=routing, mailbox=MailboxSpec(500))

        async def tell() -> None:
            for number in range(400):
                pool.tell(Job(number, chance.random(), key=str(number)))
                await trio.sleep(chance.random() / 5)

        async def ask(caller: int) -> None:
            for number in range(20):
                question = Question(caller * 1000 + number, chance.random(), key=str(number))
                answers.append((await pool.ask(question, timeout_seconds=10_000))[1])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tell)
            for caller in range(10):
                nursery.start_soon(ask, caller)
            for size in [chance.randint(1, 9) for _ in range(15)]:
                await pool.resize(size, drain_seconds=10_000)
                assert len(pool.members) == size
                await trio.sleep(2 * chance.random())
        await pool.close(drain_seconds=10_000)
        assert sorted(number for _, number in done) == list(range(400))
        assert sorted(answers) == sorted(caller * 1000 + number for caller in range(10) for number in range(20))
        assert system.statistics().dead_letters == 0
        statistics = pool.statistics()
        assert (statistics.routed, statistics.handled, statistics.size) == (600, 600, 0)


async def test_who_leaves_gets_no_new_mail_and_handles_what_it_has(autojump_clock: MockClock) -> None:
    done: list[tuple[str, int]] = []
    async with open_system() as system:
        pool = await open_pool(system, Worker, done, size=3, name="work")
        for number in range(6):
            pool.tell(Job(number))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.resize, 1)
            await trio.sleep(0.5)
            assert [member.name for member in pool.members] == ["work-1"]
            assert (pool.statistics().size, pool.statistics().leaving) == (1, 2)
            for number in range(10, 14):
                pool.tell(Job(number))
        assert trio.current_time() < 3.0
        assert sorted(done) == [(f"work-{who}", number) for who in (1, 2, 3) for number in (who - 1, who + 2)]
        await trio.sleep(10.0)
        assert [number for name, number in done if name == "work-1"] == [0, 3, 10, 11, 12, 13]
        assert system.whereis("work-3") is None
        assert [child.id for child in system.supervisor.snapshot().children[0].children] == ["work-1"]


async def test_what_is_not_handled_in_time_is_answered_or_a_dead_letter(autojump_clock: MockClock) -> None:
    done: list[tuple[str, int]] = []
    outcomes: list[str] = []
    async with open_system() as system:
        pool = await open_pool(system, Worker, done, size=2, name="work", mailbox=MailboxSpec(3))
        leaver = pool.members[1]
        leaver.tell(Job(1, 3.0))
        leaver.tell(Job(2, 100.0))
        leaver.tell(Job(3))

        async def ask() -> None:
            try:
                await leaver.ask(Question(), timeout_seconds=1000)
            except ActorStopped:
                outcomes.append("asked")

        async def send(number: int) -> None:
            try:
                await leaver.send(Job(number))
            except ActorStopped:
                outcomes.append("sent")

        async with trio.open_nursery() as nursery:
            await wait_all_tasks_blocked()
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            for number in (4, 5):
                nursery.start_soon(send, number)
                await wait_all_tasks_blocked()
            began = trio.current_time()
            await pool.resize(1, drain_seconds=4.0)
            assert trio.current_time() == began + 4.0
        assert sorted(outcomes) == ["asked", "sent"]
        assert done == [("work-2", 1)]
        assert [(letter.message.number, letter.reason) for letter in system.dead_letters] == [
            (2, DeadLetterReason.CANCELLED),
            (3, DeadLetterReason.STOPPED),
            (4, DeadLetterReason.STOPPED),
        ]


async def test_a_resize_that_is_cancelled_keeps_who_was_not_stopped_yet(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        pool = await open_pool(system, Worker, size=3, name="work")
        pool.members[1].tell(Job(1, 50.0))
        await wait_all_tasks_blocked()
        with trio.move_on_after(1.0) as scope:
            await pool.resize(1, drain_seconds=1000)
        assert scope.cancelled_caught
        assert [member.name for member in pool.members] == ["work-1", "work-2"]
        assert (pool.statistics().leaving, pool.statistics().size) == (0, 2)
        await pool.resize(3)
        assert [member.name for member in pool.members] == ["work-1", "work-2", "work-3"]
        assert {(await pool.ask(Question()))[0] for _ in range(3) if not pool.members[1].load} <= {"work-1", "work-3"}


async def test_a_member_that_was_starting_when_its_resize_was_cancelled_joins(autojump_clock: MockClock) -> None:
    class Slow(Worker):
        async def on_start(self) -> None:
            await trio.sleep(1.0)

    async with open_system() as system:
        pool = await open_pool(system, Slow, size=1)
        with trio.move_on_after(0.5):
            await pool.resize(4)
        assert len(pool.members) == 1
        await trio.sleep(1.0)
        assert len(pool.members) == 2
        await pool.resize(3)
        assert len(pool.members) == 3


async def test_resizes_take_turns(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        pool = await open_pool(system, Worker, size=2)
        async with trio.open_nursery() as nursery:
            for size in (7, 1, 5, 3, 4):
                nursery.start_soon(pool.resize, size)
        assert len(pool.members) in {1, 3, 4, 5, 7}
        assert len(system.supervisor.snapshot().children[0].children) == len(pool.members)


async def test_a_member_that_cannot_start_leaves_the_pool_as_it_was(autojump_clock: MockClock) -> None:
    allowed = [True, True, False, True]

    class Picky(Worker):
        async def on_start(self) -> None:
            if not allowed.pop(0):
                raise LookupError("not today")

    async with open_system() as system:
        pool = await open_pool(system, Picky, size=1)
        with pytest.raises(StartFailed):
            await pool.resize(5)
        assert len(pool.members) == 2
        await pool.resize(3)
        assert len(pool.members) == 3
        allowed.append(False)
        with pytest.raises(StartFailed):
            await open_pool(system, Picky, size=2, name="second")
        assert system.whereis("second-1") is None


@pytest.mark.parametrize("size", [0, -1, POOL_MEMBERS_MAX + 1])
async def test_a_pool_has_members_and_not_too_many(autojump_clock: MockClock, size: int) -> None:
    async with open_system() as system:
        with pytest.raises(ValueError, match="from 1 to 10000 members"):
            await open_pool(system, Worker, size=size)
        pool = await open_pool(system, Worker, size=1)
        with pytest.raises(ValueError, match="from 1 to 10000 members"):
            await pool.resize(size)
        with pytest.raises(ValueError, match="drain_seconds"):
            await pool.resize(1, drain_seconds=-1.0)


# Members that die -------------------------------------------------------------------------------------------------


async def test_a_member_that_crashes_comes_back_with_its_mail(autojump_clock: MockClock) -> None:
    done: list[tuple[str, int]] = []
    async with open_system() as system:
        pool = await open_pool(system, Worker, done, size=2, name="work")
        members = pool.members
        pool.tell(Crash())
        pool.tell(Job(1))
        for number in range(2, 8):
            pool.tell(Job(number))
        assert pool.members == members
        await trio.sleep(10.0)
        assert sorted(number for _, number in done) == list(range(1, 8))
        assert pool.members == members
        assert [member.incarnations for member in pool.statistics().members] == [2, 1]


async def test_a_member_that_ends_by_itself_leaves_and_resize_fills_up(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        pool = await open_pool(system, Worker, size=3, name="work")
        pool.members[1].tell(Retire())
        await wait_all_tasks_blocked()
        assert [member.name for member in pool.members] == ["work-1", "work-3"]
        assert {(await pool.ask(Question()))[0] for _ in range(4)} == {"work-1", "work-3"}
        await pool.resize(4)
        assert [member.name for member in pool.members] == ["work-1", "work-2", "work-3", "work-4"]
        assert (await pool.members[1].ask(Question()))[0] == "work-2"
        assert pool.statistics().handled == 6


@pytest.mark.parametrize(("restart", "left"), [(Restart.TEMPORARY, 0), (Restart.TRANSIENT, 2), (Restart.PERMANENT, 2)])
async def test_who_stays_after_a_crash_is_a_matter_of_the_restart_type(
    autojump_clock: MockClock, restart: Restart, left: int
) -> None:
    async with open_system() as system:
        pool = await open_pool(system, Worker, size=2, restart=restart)
        for _ in range(2):
            pool.tell(Crash())
        await wait_all_tasks_blocked()
        assert len(pool.members) == left


async def test_when_nobody_is_left_mail_fails_as_for_an_ended_actor(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        pool = await open_pool(system, Worker, size=2)
        pool.stop()
        await wait_all_tasks_blocked()
        assert pool.members == ()
        pool.tell(Job(1))
        assert [letter.reason for letter in system.dead_letters] == [DeadLetterReason.STOPPED]
        for attempt in (pool.ask(Question()), pool.send(Job(2))):
            with pytest.raises(ActorStopped):
                await attempt
        await pool.resize(2)
        assert (await pool.ask(Question(5)))[1] == 5


async def test_a_pool_that_crashes_too_often_is_restarted_by_the_root_with_the_same_references(
    autojump_clock: MockClock,
) -> None:
    done: list[tuple[str, int]] = []
    async with open_system(intensity=1) as system:
        pool = await open_pool(system, Worker, done, size=3, intensity=1)
        pool.tell(Job(1, 5.0))
        members = pool.members

        async def expect_stopped() -> None:
            with pytest.raises(ActorStopped):
                await members[2].ask(Question(1, 99.0), timeout_seconds=1000)

        await wait_all_tasks_blocked()
        members[1].tell(Crash())
        await wait_all_tasks_blocked()
        members[1].tell(Job(2))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_stopped)
            await wait_all_tasks_blocked()
            members[1].tell(Crash())
            members[1].tell(Job(3))
        await wait_all_tasks_blocked()
        assert [letter.message.number for letter in system.dead_letters if isinstance(letter.message, Job)] == [1, 3]
        assert pool.members == members
        assert sorted([(await pool.ask(Question()))[0] for _ in range(3)]) == [member.name for member in members]
        await pool.resize(4)
        assert len(pool.members) == 4
        assert (await pool.members[3].ask(Question(3)))[1] == 3


async def test_what_happens_in_a_pool_reaches_the_listener_of_its_system(autojump_clock: MockClock) -> None:
    class Notebook:
        def __init__(self) -> None:
            self.reports: list[Report] = []

        def on_report(self, report: Report) -> None:
            self.reports.append(report)

    notebook = Notebook()
    async with open_system(listener=notebook) as system:
        pool = await open_pool(system, Worker, size=1, name="work")
        pool.tell(Crash())
        await wait_all_tasks_blocked()
        heard = [report.kind for report in notebook.reports if report.offender and report.offender.id == "work-1"]
        assert heard == [ReportKind.CHILD_STARTED, ReportKind.CHILD_CRASHED, ReportKind.CHILD_RESTARTED]


async def test_a_pool_that_goes_on_crashing_takes_the_system_down(autojump_clock: MockClock) -> None:
    with pytest.raises(MaxRestartsExceeded):
        async with open_system(intensity=1) as system:
            pool = await open_pool(system, Worker, size=2, intensity=0)
            for _ in range(5):
                pool.tell(Crash())
                await trio.sleep(0.1)
    pool.tell(Job(1))
    with pytest.raises(ActorStopped):
        await pool.ask(Question())
    with pytest.raises(SupervisorNotRunning):
        await pool.resize(5)
    await pool.close()


# Opening and closing ----------------------------------------------------------------------------------------------


async def test_close_handles_what_there_is_and_leaves_nothing(autojump_clock: MockClock) -> None:
    done: list[tuple[str, int]] = []
    async with open_system() as system:
        pool = await open_pool(system, Worker, done, size=2, name="work")
        for number in range(6):
            pool.tell(Job(number))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.close)
            await wait_all_tasks_blocked()
            with pytest.raises(ActorStopped):
                await pool.ask(Question())
            with pytest.raises(ActorStopped):
                await pool.send(Job(9))
        assert len(done) == 6
        assert system.supervisor.snapshot().children == ()
        assert (pool.members, pool.statistics().size, pool.statistics().handled) == ((), 0, 6)
        pool.tell(Job(10))
        assert [letter.message.number for letter in system.dead_letters] == [10]
        with pytest.raises(ActorStopped):
            await pool.resize(3)
        await pool.close()
        again = await open_pool(system, Worker, done, size=1, name="work")
        assert (await again.ask(Question()))[0] == "work-1"


async def test_a_close_that_is_cancelled_leaves_the_pool_open(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        pool = await open_pool(system, Worker, size=1)
        pool.tell(Job(1, 10.0))
        await wait_all_tasks_blocked()
        with trio.move_on_after(1.0):
            await pool.close(drain_seconds=1000)
        assert (await pool.ask(Question(4), timeout_seconds=60))[1] == 4


async def test_names_are_unique_and_given_where_there_is_none(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        await open_pool(system, Worker, size=1, name="work")
        await system.start(Worker, name="actor")
        for taken in ("work", "actor"):
            with pytest.raises(NameTaken):
                await open_pool(system, Worker, size=1, name=taken)
        opened: list[str] = []

        async def open_one() -> None:
            opened.append((await open_pool(system, Worker, size=1)).name)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(open_one)
        assert sorted(opened) == ["Worker-pool-1", "Worker-pool-2", "Worker-pool-3"]


async def test_a_pool_whose_opening_is_cancelled_does_not_live_on(autojump_clock: MockClock) -> None:
    class Slow(Worker):
        async def on_start(self) -> None:
            await trio.sleep(1.0)

    async with open_system() as system:
        with trio.move_on_after(1.5):
            await open_pool(system, Slow, size=3, name="work")
        await trio.sleep(10.0)
        assert system.whereis("work-1") is None
        pool = await open_pool(system, Slow, size=2, name="work")
        assert len(pool.members) == 2


async def test_the_members_of_a_pool_are_actors(autojump_clock: MockClock) -> None:
    class Plain: ...

    async with open_system() as system:
        with pytest.raises(TypeError, match="derived from Actor"):
            await open_pool(system, Plain, size=1)  # type: ignore[type-var]


# Partitions -------------------------------------------------------------------------------------------------------


class Step:
    """One of many messages of one key; some crash their handler, before or in the middle of it."""

    def __init__(self, key: str, number: int, fault: str = "") -> None:
        self.key = key
        self.number = number
        self.fault = fault


class Ledger(Actor):
    def __init__(self, seen: dict[str, list[int]], at_once: Counter[str], worst: list[int]) -> None:
        self.seen = seen
        self.at_once = at_once
        self.worst = worst

    @receives
    async def step(self, message: Step) -> None:
        if message.fault == "first":
            raise LookupError("at once")
        self.at_once[message.key] += 1
        self.worst.append(self.at_once[message.key])
        try:
            await trio.sleep(0.1)
            if message.fault == "middle":
                raise LookupError("in the middle")
            await trio.sleep(0.1)
        finally:
            self.at_once[message.key] -= 1
        self.seen[message.key].append(message.number)
        if message.fault == "stop":
            self.stop()


STEPS = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from(["", "", "", "", "first", "middle", "stop"])), min_size=1, max_size=60
)


@given(steps=STEPS, partitions=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_messages_of_one_key_are_handled_in_order_and_one_at_a_time_also_under_crashes(
    steps: list[tuple[int, str]], partitions: int
) -> None:
    seen: dict[str, list[int]] = defaultdict(list)
    worst: list[int] = []

    async def run() -> None:
        async with open_system() as system:
            pool = await open_partitions(
                system, Ledger, seen, Counter[str](), worst,
                partitions=partitions, key=key_of, intensity=1000, mailbox=MailboxSpec(100),
            )  # fmt: skip
            for number, (key, fault) in enumerate(steps):
                pool.tell(Step(f"key {key}", number, fault))
                if number % 7 == 0:
                    await trio.sleep(0.15)
            await trio.sleep(100.0)
            assert pool.statistics().routed == len(steps)

    trio.run(run, clock=MockClock(autojump_threshold=0))
    expected: dict[str, list[int]] = defaultdict(list)
    for number, (key, fault) in enumerate(steps):
        if fault not in {"first", "middle"}:
            expected[f"key {key}"].append(number)
    assert seen == expected
    assert set(worst) <= {1}


async def test_a_partition_that_ends_by_itself_is_started_again_with_its_mail(autojump_clock: MockClock) -> None:
    done: list[tuple[str, int]] = []
    async with open_system() as system:
        pool = await open_partitions(system, Worker, done, partitions=4, key=key_of, name="parts")
        home = pool.member_for(Job(0, key="a"))
        home.tell(Retire())
        for number in range(3):
            pool.tell(Job(number, key="a"))
        await trio.sleep(10.0)
        assert done == [(home.name, number) for number in range(3)]
        assert (pool.partitions, len(pool.members), repr(pool)) == (4, 4, "<PartitionedPool 'parts' of 4 Worker>")
        assert not hasattr(pool, "resize")
