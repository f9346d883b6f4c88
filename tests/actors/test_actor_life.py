"""The life of an actor: start, restart with its mail, stop."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import (
    MaxRestartsExceeded,
    Report,
    ReportKind,
    Restart,
    Shutdown,
    StartFailed,
)
from vespera_agents.actors import (
    Actor,
    ActorCrashed,
    ActorRef,
    ActorState,
    ActorStopped,
    ActorTerminated,
    DeadLetterReason,
    MessageOutcome,
    Request,
    StopReason,
    open_system,
    receives,
)


class Ping(Request[int]):
    """Answered with the number of pings this incarnation has had."""


class Work(Request[str]):
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Crash: ...


class Retire: ...


class Leave: ...


class Worker(Actor):
    def __init__(self, log: list[str] | None = None) -> None:
        self.log = [] if log is None else log
        self.pings = 0

    async def on_start(self) -> None:
        self.log.append(f"start {self.ref.name}")

    async def on_stop(self) -> None:
        self.log.append("stop")

    @receives
    def ping(self, _message: Ping) -> int:
        self.pings += 1
        return self.pings

    @receives
    async def work(self, message: Work) -> str:
        await trio.sleep(message.seconds)
        return "done"

    @receives
    def crash(self, _message: Crash) -> None:
        raise LookupError("broken")

    @receives
    def retire(self, _message: Retire) -> None:
        self.stop()

    @receives
    def leave(self, _message: Leave) -> None:
        raise Shutdown


async def test_hooks_run_around_the_mail_and_a_restart_makes_a_new_object(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Worker, log, name="w")
        assert log == ["start w"]
        assert [await ref.ask(Ping()), await ref.ask(Ping())] == [1, 2]
        ref.tell(Crash())
        assert await ref.ask(Ping()) == 1
        assert log == ["start w", "stop", "start w"]
    assert log == ["start w", "stop", "start w", "stop"]


async def test_there_is_no_reference_before_the_start() -> None:
    with pytest.raises(RuntimeError, match="not in __init__"):
        _ = Worker().ref


async def test_mail_is_kept_while_a_restart_takes_its_time(autojump_clock: MockClock) -> None:
    class SlowStart(Worker):
        starts = 0

        async def on_start(self) -> None:
            SlowStart.starts += 1
            await trio.sleep(3 * (SlowStart.starts - 1))

    async with open_system() as system:
        ref = await system.start(SlowStart)
        ref.tell(Crash())
        await wait_all_tasks_blocked()
        assert ref.statistics().state is ActorState.STARTING
        assert await ref.ask(Ping()) == 1


async def test_an_actor_stops_itself_after_the_message_in_hand(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Worker, log, name="w")
        ref.tell(Retire())
        with pytest.raises(ActorStopped, match="it stopped"):
            await ref.ask(Ping())
        assert log == ["start w", "stop"]
        assert system.whereis("w") is None
        await wait_all_tasks_blocked()
        assert system.supervisor.count_children().specs == 0
        assert await (await system.start(Worker, name="w")).ask(Ping()) == 1


async def test_a_name_can_be_used_again_at_once(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        for _ in range(3):
            ref = await system.start(Worker, name="w")
            ref.tell(Retire())
            while system.whereis("w") is not None:
                await trio.lowlevel.checkpoint()


async def test_shutdown_raised_by_a_handler_is_a_clean_end(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(Worker)
        ref.tell(Leave())
        with pytest.raises(ActorStopped):
            await ref.ask(Ping())
        assert system.statistics().kinds["Worker"].stops[StopReason.NORMAL] == 1


async def test_a_permanent_actor_that_stops_is_started_again_with_its_mail(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(Worker, restart=Restart.PERMANENT)
        ref.tell(Retire())
        assert await ref.ask(Ping()) == 1
        assert ref.statistics().incarnations == 2


async def test_a_permanent_actor_can_be_stopped_for_good(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(Worker, restart=Restart.PERMANENT, name="w")
        ref.tell(Work(1.0))
        await wait_all_tasks_blocked()
        began = trio.current_time()
        await system.stop(ref)
        assert trio.current_time() - began == pytest.approx(1.0)
        await system.stop(ref)
        await trio.sleep(1)
        assert system.whereis("w") is None
        assert system.supervisor.count_children().specs == 0
        assert system.statistics().kinds["Worker"].starts == 1


async def test_a_temporary_actor_is_not_restarted_and_its_mail_fails_with_the_cause(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(Worker, restart=Restart.TEMPORARY, name="w")
        ref.tell(Crash())
        ref.tell(Retire())
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(Ping())
        assert isinstance(caught.value.cause, LookupError)
        with pytest.raises(ActorStopped, match="crashed with LookupError"):
            await ref.ask(Ping())
        assert [d.reason for d in system.dead_letters] == [DeadLetterReason.CRASHED, DeadLetterReason.STOPPED]
        await wait_all_tasks_blocked()
        assert await (await system.start(Worker, name="w")).ask(Ping()) == 1


async def test_stopping_a_busy_actor_waits_and_then_cancels_its_handler(autojump_clock: MockClock) -> None:
    log: list[str] = []
    async with open_system() as system:
        ref = await system.start(Worker, log, name="w")
        errors: list[BaseException] = []

        async def ask() -> None:
            with pytest.raises(ActorStopped) as caught:
                await ref.ask(Work(1000.0), timeout_seconds=100.0)
            errors.append(caught.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            began = trio.current_time()
            await system.stop(ref, timeout_seconds=2.0)
            assert trio.current_time() - began == pytest.approx(2.0)
        assert "middle of this request" in str(errors[0])
        assert log == ["start w", "stop"]
        kind = system.statistics().kinds["Worker"]
        assert kind.messages[MessageOutcome.CANCELLED] == 1
        assert kind.stops[StopReason.SHUTDOWN] == 1


async def test_a_tell_that_is_cut_off_by_the_end_of_the_system_is_a_dead_letter(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(Worker)
        ref.tell(Work(1000.0))
        await wait_all_tasks_blocked()
        ref.tell(Crash())
    assert [d.reason for d in system.dead_letters] == [DeadLetterReason.CANCELLED, DeadLetterReason.STOPPED]


async def test_on_stop_is_bounded(autojump_clock: MockClock) -> None:
    class Lingering(Worker):
        async def on_stop(self) -> None:
            await trio.sleep(1000)

    class Short(Lingering):
        stop_timeout_seconds = 1.0

    for actor, seconds in ((Lingering, 4.0), (Short, 1.0)):
        async with open_system() as system:
            await system.start(actor)
            began = trio.current_time()
        assert trio.current_time() - began == pytest.approx(seconds)
        assert system.statistics().kinds[actor.__name__].stop_timeouts == 1


async def test_an_error_in_on_stop_is_noted_on_the_crash_that_came_first(autojump_clock: MockClock) -> None:
    class Fragile(Worker):
        async def on_stop(self) -> None:
            raise OSError("cannot clean up")

    async with open_system() as system:
        ref = await system.start(Fragile, restart=Restart.TEMPORARY)
        ref.tell(Crash())
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(Ping())
        assert caught.value.cause.__notes__ == ["on_stop failed as well: OSError: cannot clean up"]


async def test_an_error_in_on_stop_of_a_clean_end_is_a_crash_and_during_shutdown_an_error(
    autojump_clock: MockClock,
) -> None:
    class Fragile(Worker):
        async def on_stop(self) -> None:
            raise OSError("cannot clean up")

    reports: list[Report] = []

    class Listener:
        def on_report(self, report: Report) -> None:
            reports.append(report)

    async with open_system(listener=Listener()) as system:
        ref = await system.start(Fragile)
        ref.tell(Retire())
        assert await ref.ask(Ping()) == 1
    kinds = [report.kind for report in reports]
    assert ReportKind.CHILD_CRASHED in kinds
    assert ReportKind.SHUTDOWN_ERROR in kinds


async def test_a_start_that_fails_raises_frees_the_name_and_leaves_nothing(autojump_clock: MockClock) -> None:
    class Broken(Worker):
        async def on_start(self) -> None:
            raise OSError("no disk")

    async with open_system() as system:
        with pytest.raises(StartFailed, match="no disk"):
            await system.start(Broken, name="w")
        assert system.whereis("w") is None
        assert system.supervisor.count_children().specs == 0
        assert system.statistics().kinds["Broken"].stops[StopReason.START_FAILED] == 1
        await system.start(Worker, name="w")


async def test_a_start_that_hangs_in_spite_of_everything_is_cut_off_and_the_name_is_free(
    autojump_clock: MockClock,
) -> None:
    class Hanging(Worker):
        async def on_start(self) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(100)

    async with open_system() as system:
        with pytest.raises(StartFailed):
            await system.start(Hanging, name="w", start_timeout_seconds=1.0)
        ref = await system.start(Worker, name="w")
        await trio.sleep(200)
        assert await ref.ask(Ping()) == 1
        assert system.statistics().kinds["Hanging"].starts == 0


async def test_a_start_that_is_cancelled_before_it_began_frees_the_name(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        with trio.move_on_after(0):
            await system.start(Worker, name="w")
        assert system.whereis("w") is None
        await system.start(Worker, name="w")


async def test_a_failing_restart_keeps_the_mail_until_the_supervisor_gives_up(autojump_clock: MockClock) -> None:
    class Unlucky(Worker):
        starts = 0

        async def on_start(self) -> None:
            Unlucky.starts += 1
            if Unlucky.starts in (2, 3):
                raise OSError("not yet")

    async with open_system() as system:
        ref = await system.start(Unlucky)
        ref.tell(Crash())
        assert await ref.ask(Ping()) == 1
        assert Unlucky.starts == 4


async def test_a_system_whose_root_gives_up_answers_everybody_and_raises(autojump_clock: MockClock) -> None:
    async def ask(ref: ActorRef[Worker], failures: list[BaseException]) -> None:
        with pytest.raises(ActorCrashed) as caught:
            await ref.ask(Ping(), timeout_seconds=1000.0)
        failures.append(caught.value)

    failures: list[BaseException] = []
    async with trio.open_nursery() as outside:
        with pytest.raises(MaxRestartsExceeded):
            async with open_system(intensity=0) as system:
                ref = await system.start(Worker)
                ref.tell(Crash())
                outside.start_soon(ask, ref, failures)
                await trio.sleep_forever()
    assert len(failures) == 1


async def test_keyboard_interrupt_in_a_handler_ends_the_system(autojump_clock: MockClock) -> None:
    class Interrupted(Worker):
        @receives
        def crash(self, _message: Crash) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        async with open_system() as system:
            ref = await system.start(Interrupted)
            ref.tell(Crash())
            await trio.sleep_forever()
    assert ref.statistics().state is ActorState.STOPPED


async def test_a_watch_is_told_once_of_the_end_and_never_of_a_restart(autojump_clock: MockClock) -> None:
    told: list[ActorTerminated] = []
    async with open_system() as system:
        ref = await system.start(Worker, name="w")
        kept, withdrawn = ref.watch(told.append), ref.watch(told.append)
        withdrawn.cancel()
        ref.tell(Crash())
        await wait_all_tasks_blocked()
        assert (told, kept.pending, withdrawn.pending) == ([], True, False)
        await system.stop(ref)
        assert (told, kept.pending) == ([ActorTerminated("w", "it stopped", None)], False)
        assert not ref.watch(told.append).pending
        assert told == [ActorTerminated("w", "it stopped", None)] * 2


async def test_a_wish_to_stop_outlives_a_crash(autojump_clock: MockClock) -> None:
    class Doomed(Worker):
        @receives
        async def work(self, message: Work) -> str:
            await trio.sleep(message.seconds)
            raise LookupError("broken")

    async with open_system() as system:
        ref = await system.start(Doomed)
        ref.tell(Work(1.0))
        await wait_all_tasks_blocked()
        ref.stop()
        await trio.sleep(2)
        assert ref.statistics().state is ActorState.STOPPED
