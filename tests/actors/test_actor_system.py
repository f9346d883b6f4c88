"""The system as a whole: opening and closing, names, numbers, and what it loads."""

from __future__ import annotations

import subprocess
import sys

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import vespera_agents
import vespera_agents.actors as package
from supervisors import ChildSpec, Report, ReportKind, StartFailed, Supervisor, supervisor_spec
from vespera_agents.actors import (
    Actor,
    ActorState,
    DeadLetterReason,
    MailboxSpec,
    MessageOutcome,
    Request,
    StopReason,
    embedding,
    errors,
    open_system,
    receives,
)


class Ping(Request[int]): ...


class Sleep(Request[None]):
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Alpha(Actor):
    def __init__(self, answer: int = 1) -> None:
        self.answer = answer

    @receives
    def ping(self, _message: Ping) -> int:
        return self.answer

    @receives
    async def sleep(self, message: Sleep) -> None:
        await trio.sleep(message.seconds)


class Beta(Alpha): ...


async def test_actors_are_found_by_name_and_get_one_when_they_have_none(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        named = await system.start(Alpha, 7, name="seven")
        unnamed = await system.start(Beta)
        assert system.whereis("seven") is named
        assert system.whereis("nobody") is None
        assert (named.kind, unnamed.name) == ("Alpha", "Beta-1")
        assert await named.ask(Ping()) == 7
        assert repr(named) == "<ActorRef 'seven' of Alpha, running>"
    assert system.whereis("seven") is None
    assert repr(named) == "<ActorRef 'seven' of Alpha, stopped>"


async def test_only_actor_classes_can_be_started(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        for wrong in (Alpha(), int, lambda: 1):
            with pytest.raises(TypeError, match="class derived from Actor"):
                await system.start(wrong)  # type: ignore[arg-type, type-var]


async def test_a_mailbox_that_is_no_spec_is_refused_with_what_to_write(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        with pytest.raises(TypeError, match=r"MailboxSpec\(capacity, overflow\), not 100"):
            await system.start(Alpha, mailbox=100)  # type: ignore[arg-type]


async def test_an_error_in_the_block_comes_out_as_it_is_and_everything_is_stopped(autojump_clock: MockClock) -> None:
    error = LookupError("mine")
    with pytest.raises(LookupError) as caught:
        async with open_system() as system:
            ref = await system.start(Alpha)
            raise error
    assert caught.value is error
    assert ref.statistics().state is ActorState.STOPPED


async def test_several_errors_stay_a_group(autojump_clock: MockClock) -> None:
    async def fail() -> None:
        raise OSError("one")

    with pytest.RaisesGroup(OSError, OSError):
        async with open_system(), trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            nursery.start_soon(fail)
            await trio.sleep_forever()


async def test_a_group_of_two_from_the_system_itself_is_not_taken_apart(autojump_clock: MockClock) -> None:
    class Interrupted(Alpha):
        @receives
        def ping(self, _message: Ping) -> int:
            raise KeyboardInterrupt

    with pytest.RaisesGroup(KeyboardInterrupt, LookupError):
        async with open_system() as system:
            ref = await system.start(Interrupted)
            ref.tell(Ping())
            try:
                await trio.sleep_forever()
            finally:
                raise LookupError("mine too")


async def test_a_cancelled_block_stops_its_actors_and_answers_asks_from_outside(autojump_clock: MockClock) -> None:
    outcome: list[str] = []

    async def ask(ref: package.ActorRef[Alpha]) -> None:
        with pytest.raises(package.ActorStopped):
            await ref.ask(Sleep(1000), timeout_seconds=2000)
        outcome.append("stopped")

    async with trio.open_nursery() as outside:
        with trio.move_on_after(5) as scope:
            async with open_system() as system:
                outside.start_soon(ask, await system.start(Alpha))
                await trio.sleep_forever()
        assert scope.cancelled_caught
    assert outcome == ["stopped"]


async def test_asks_time_out_also_while_the_system_is_closing(autojump_clock: MockClock) -> None:
    seen: list[str] = []

    class Asking(Alpha):
        def __init__(self, other: package.ActorRef[Alpha]) -> None:
            super().__init__()
            self.other = other

        async def on_stop(self) -> None:
            try:
                await self.other.ask(Sleep(100), timeout_seconds=1.0)
            except package.AskTimeout:
                seen.append("timeout")

    with trio.move_on_after(5):
        async with open_system() as system:
            await system.start(Asking, await system.start(Alpha))
            await trio.sleep_forever()
    assert seen == ["timeout"]


async def test_the_listener_hears_of_every_event(autojump_clock: MockClock) -> None:
    reports: list[Report] = []

    class Listener:
        def on_report(self, report: Report) -> None:
            reports.append(report)

    async with open_system(name="s", listener=Listener()) as system:
        await system.start(Alpha, name="a")
    heard = [(report.kind, report.offender.id if report.offender else None) for report in reports]
    assert heard == [
        (ReportKind.SUPERVISOR_STARTED, None),
        (ReportKind.CHILD_STARTED, "a"),
        (ReportKind.CHILD_ENDED, "a"),
        (ReportKind.SUPERVISOR_STOPPED, None),
    ]


async def test_a_child_that_is_no_actor_may_have_an_actors_name(autojump_clock: MockClock) -> None:
    async def plain(*, task_status: trio.TaskStatus[object]) -> None:
        task_status.started("plain")
        with trio.CancelScope(shield=True):
            await trio.sleep(10)

    async with open_system() as system:
        ref = await system.start(Alpha, name="a")
        sub = Supervisor([ChildSpec("a", plain, shutdown_seconds=1.0)], name="sub")
        await system.supervisor.start_child(supervisor_spec("sub", lambda: sub))
        await sub.terminate_child("a")
        assert await ref.ask(Ping()) == 1


async def test_an_actor_below_a_supervisor_that_outlives_the_system_takes_no_mail_and_no_restart(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        async with open_system() as system:
            supervisor = Supervisor([system.actor_spec(Alpha, name="a")], name="outside")
            await nursery.start(supervisor.run)
            ref = system.whereis("a")
            assert ref is not None
            assert await ref.ask(Ping()) == 1
        with pytest.raises(package.ActorStopped, match="system 'system' was closed"):
            await ref.ask(Ping())
        await supervisor.terminate_child("a")
        with pytest.raises(StartFailed, match="is closed"):
            await supervisor.restart_child("a")
        supervisor.stop()


async def test_numbers_are_kept_per_kind_and_add_up(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        first = await system.start(Alpha)
        second = await system.start(Alpha, mailbox=MailboxSpec(4))
        await system.start(Beta)
        for _ in range(3):
            await first.ask(Ping())
        second.tell(Sleep(10))
        await wait_all_tasks_blocked()
        await trio.sleep(2)
        second.tell(Ping())
        await trio.sleep(3)
        second.tell(Ping())

        picture = system.statistics()
        assert list(picture.kinds) == ["Alpha", "Beta"]
        alpha = picture.kinds["Alpha"]
        assert alpha.actors[ActorState.RUNNING] == 2
        assert alpha.starts == 2
        assert alpha.messages[MessageOutcome.HANDLED] == 3
        assert alpha.asks == 3
        assert alpha.mailbox_messages == 2
        assert alpha.mailbox_fill_ratio_max == 0.5
        assert alpha.mailbox_oldest_age_seconds == pytest.approx(3.0)
        assert alpha.busy_seconds_max == pytest.approx(5.0)
        assert alpha.init_duration.count == 1  # of those that have no on_start, one in seven is timed
        assert alpha.message_duration.count == 1  # one turn in eight is timed, and each handler that waited
        assert alpha.unhandled == 0
        assert second.statistics().mailbox.depth == 2
        assert second.statistics().busy_seconds == pytest.approx(5.0)
        assert picture.kinds["Beta"].messages[MessageOutcome.HANDLED] == 0
        await system.stop(second, timeout_seconds=100.0)
        stopped = system.statistics().kinds["Alpha"]
        assert stopped.actors[ActorState.RUNNING] == 1
        assert stopped.stops[StopReason.NORMAL] == 1
        assert stopped.dead_letters[DeadLetterReason.STOPPED] == 2
        assert stopped.mailbox_messages == 0


async def test_every_counter_is_there_from_the_start(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        await system.start(Alpha)
        alpha = system.statistics().kinds["Alpha"]
    assert set(alpha.stops) == set(StopReason)
    assert set(alpha.messages) == set(MessageOutcome)
    assert set(alpha.dead_letters) == set(DeadLetterReason)
    assert set(alpha.drops) == set(package.DropReason)
    assert set(alpha.actors) == set(ActorState) - {ActorState.STOPPED}


async def test_dead_letters_are_bounded_and_all_are_counted(autojump_clock: MockClock) -> None:
    async with open_system(dead_letters_max=3) as system:
        ref = await system.start(Alpha)
        await system.stop(ref)
        for number in range(5):
            ref.tell(number)
        assert [dead.message for dead in system.dead_letters] == [2, 3, 4]
        assert system.statistics().dead_letters == 5


async def test_a_thousand_actors_make_one_kind(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        refs = [await system.start(Alpha) for _ in range(1000)]
        assert sum([await ref.ask(Ping()) for ref in refs]) == 1000
        assert list(system.statistics().kinds) == ["Alpha"]


def test_the_package_exports_what_it_names() -> None:
    assert package.__all__ == sorted(package.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name))
    assert all(hasattr(package, name) for name in package.__all__)


def test_the_root_package_loads_each_name_that_it_offers() -> None:
    assert all(getattr(vespera_agents, name).__name__ == name for name in vespera_agents.__all__)


def test_every_error_is_exported_where_it_can_happen() -> None:
    found = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert "SystemCrashed" in found
    assert found <= {*package.__all__, *embedding.__all__}


def test_importing_the_actors_loads_neither_mcp_nor_pydantic() -> None:
    program = "import sys, vespera_agents.actors; print([m for m in ('mcp', 'pydantic', 'anyio') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == "[]"


async def test_a_crash_is_logged_where_nobody_listens_and_only_there(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Fragile(Actor):
        @receives
        def crash(self, _message: str) -> None:
            raise LookupError("broken")

    class Silent:
        def on_report(self, report: object) -> None: ...

    for listener, logged in ((None, ["f crashed: LookupError: broken"]), (Silent(), [])):
        caplog.clear()
        async with open_system(listener=listener) as system:
            (await system.start(Fragile, name="f")).tell("now")
            await wait_all_tasks_blocked()
        assert [record.getMessage() for record in caplog.records] == logged


async def test_stop_refuses_what_is_no_single_actor(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        with pytest.raises(TypeError, match=r"Close a pool with its close\(\)"):
            await system.stop("w")  # type: ignore[arg-type]
