"""Actors below supervisors of all sorts: restarts, group restarts, giving up, cutting off."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import (
    MaxRestartsExceeded,
    Restart,
    Shutdown,
    StartFailed,
    Strategy,
    Supervisor,
    supervisor_spec,
)
from vespera_agents.actors import (
    Actor,
    ActorCrashed,
    ActorState,
    ActorStopped,
    DeadLetterReason,
    NameTaken,
    Request,
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


async def test_an_actor_below_another_supervisor_is_its_child(autojump_clock: MockClock) -> None:
    async with open_system(name="root") as system:
        spec = supervisor_spec("sub", lambda: Supervisor([system.actor_spec(Worker, name="w")], name="sub"))
        await system.supervisor.start_child(spec)
        ref = system.whereis("w")
        assert ref is not None
        assert await ref.ask(Ping()) == 1
        [sub] = system.supervisor.snapshot().children
        [node] = sub.children
        assert (node.id, node.state) == ("w", "running")
        assert node.detail == {"kind": "Worker", "mailbox": 0, "handled": 1}
        with pytest.raises(ValueError, match="terminate_child"):
            await system.stop(ref)
        sub_supervisor = system.supervisor.child_value("sub")
        assert isinstance(sub_supervisor, Supervisor)
        assert sub_supervisor.child_value("w") is ref
        await sub_supervisor.terminate_child("w")
        with pytest.raises(ActorStopped):
            await ref.ask(Ping())
        await sub_supervisor.restart_child("w")
        assert await ref.ask(Ping()) == 1
        assert system.whereis("w") is ref


@pytest.mark.parametrize("restart", [Restart.PERMANENT, Restart.TEMPORARY])
async def test_a_supervisor_that_gives_up_fails_the_mail_at_once_and_its_successor_has_new_actors(
    restart: Restart, autojump_clock: MockClock
) -> None:
    async with open_system() as system:

        def sub() -> Supervisor:
            return Supervisor([system.actor_spec(Worker, name="w")], name="sub", intensity=0)

        await system.supervisor.start_child(supervisor_spec("sub", sub, restart=restart))
        old = system.whereis("w")
        assert old is not None
        old.tell(Crash())
        began = trio.current_time()
        with pytest.raises(ActorCrashed):
            await old.ask(Ping(), timeout_seconds=1000.0)
        assert trio.current_time() == began
        await wait_all_tasks_blocked()
        if restart is Restart.TEMPORARY:
            assert system.whereis("w") is None
            return
        new = system.whereis("w")
        assert new is not None
        assert new is not old
        assert await new.ask(Ping()) == 1


async def in_foreign_supervisor(
    children: list[object],
    test: Callable[[Supervisor], Awaitable[None]],
    strategy: Strategy = Strategy.ONE_FOR_ONE,
    intensity: int = 3,
) -> None:
    """Run a supervisor that the system knows nothing of."""
    supervisor = Supervisor(children, name="foreign", strategy=strategy, intensity=intensity)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        await test(supervisor)
        supervisor.stop()


async def test_mail_of_an_actor_that_is_never_restarted_fails_after_a_while(autojump_clock: MockClock) -> None:
    async with open_system(restart_grace_seconds=7.0) as system:

        async def test(_: Supervisor) -> None:
            ref = system.whereis("w")
            assert ref is not None
            ref.tell(Crash())
            began = trio.current_time()
            with trio.CancelScope(shield=True), pytest.raises(ActorCrashed):
                await ref.ask(Ping(), timeout_seconds=1000.0)
            assert trio.current_time() - began == pytest.approx(7.0)

        with pytest.RaisesGroup(MaxRestartsExceeded):
            await in_foreign_supervisor([system.actor_spec(Worker, name="w")], test, intensity=0)


async def test_the_wait_for_a_restart_begins_anew_with_each_crash(autojump_clock: MockClock) -> None:
    async with open_system(restart_grace_seconds=7.0) as system:

        async def test(_: Supervisor) -> None:
            ref = system.whereis("w")
            assert ref is not None
            began = trio.current_time()
            ref.tell(Crash())
            await trio.sleep(4)
            with trio.CancelScope(shield=True):
                ref.tell(Crash())
                with pytest.raises(ActorCrashed):
                    await ref.ask(Ping(), timeout_seconds=1000.0)
            assert trio.current_time() - began == pytest.approx(11.0)

        with pytest.RaisesGroup(MaxRestartsExceeded):
            await in_foreign_supervisor([system.actor_spec(Worker, name="w")], test, intensity=1)


@pytest.mark.parametrize("restart", list(Restart))
async def test_an_actor_that_its_supervisor_stops_refuses_mail_at_once(
    restart: Restart, autojump_clock: MockClock
) -> None:
    async with open_system() as system:

        async def test(supervisor: Supervisor) -> None:
            ref = system.whereis("w")
            assert ref is not None
            ref.tell(Crash())
            if restart is not Restart.TEMPORARY:
                assert await ref.ask(Ping()) == 1
                await supervisor.terminate_child("w")
            began = trio.current_time()
            with pytest.raises(ActorCrashed if restart is Restart.TEMPORARY else ActorStopped):
                await ref.ask(Ping(), timeout_seconds=1000.0)
            assert trio.current_time() == began

        await in_foreign_supervisor([system.actor_spec(Worker, name="w", restart=restart)], test)


async def test_an_old_crash_does_not_explain_a_later_stop(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        ref = await system.start(Worker)
        ref.tell(Crash())
        await ref.ask(Ping())
        ref.stop()
        with pytest.raises(ActorStopped):
            await ref.ask(Ping())


async def test_a_restart_in_time_ends_the_wait(autojump_clock: MockClock) -> None:
    async with open_system(restart_grace_seconds=7.0) as system:
        ref = await system.start(Worker)
        ref.tell(Crash())
        await trio.sleep(20)
        assert await ref.ask(Ping()) == 1


async def test_a_successor_takes_the_name_of_an_actor_that_waits_for_a_restart(autojump_clock: MockClock) -> None:
    async with open_system() as system:

        async def test(_: Supervisor) -> None:
            old = system.whereis("w")
            assert old is not None
            old.tell(Crash())
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
                assert old.statistics().state is ActorState.RESTARTING
                await in_foreign_supervisor([system.actor_spec(Worker, name="w")], check)
                with pytest.raises(ActorStopped, match="successor"):
                    await old.ask(Ping())

        async def check(_: Supervisor) -> None:
            new = system.whereis("w")
            assert new is not None
            assert await new.ask(Ping()) == 1

        with pytest.RaisesGroup(MaxRestartsExceeded):
            await in_foreign_supervisor([system.actor_spec(Worker, name="w")], test, intensity=0)


async def test_a_name_that_is_taken_fails_the_start_below_a_supervisor(autojump_clock: MockClock) -> None:
    async with open_system() as system:
        await system.start(Worker, name="w")
        with pytest.raises(NameTaken):
            await system.start(Worker, name="w")
        sub = Supervisor([system.actor_spec(Worker, name="w")], name="sub")
        with pytest.raises(StartFailed, match="NameTaken") as caught:
            await system.supervisor.start_child(supervisor_spec("sub", lambda: sub))
        assert caught.value.child_id == "sub"


class Stubborn(Worker):
    """Its handler does not let itself be cancelled."""

    @receives
    async def work(self, message: Work) -> str:
        with trio.CancelScope(shield=True):
            await trio.sleep(message.seconds)
        return "done"


@pytest.mark.parametrize("watched", [True, False])
async def test_an_actor_that_will_not_stop_is_stopped_by_force_and_its_successor_serves(
    watched: bool, autojump_clock: MockClock
) -> None:
    async with open_system() as system:
        spec = system.actor_spec(Stubborn, name="w", shutdown_seconds=1.0)

        async def test(supervisor: Supervisor) -> None:
            ref = system.whereis("w")
            assert ref is not None
            errors: list[str] = []

            async def ask() -> None:
                with pytest.raises(ActorStopped) as caught:
                    await ref.ask(Work(50.0), timeout_seconds=1000.0)
                errors.append(str(caught.value))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await wait_all_tasks_blocked()
                await supervisor.terminate_child("w")
                await supervisor.restart_child("w")
            assert "stopped in the middle of this request" in errors[0]
            assert await ref.ask(Ping()) == 1
            await trio.sleep(100)
            assert await ref.ask(Ping()) == 2
            assert system.statistics().kinds["Stubborn"].late_replies == 0

        if watched:
            sub = Supervisor([spec], name="sub")
            await system.supervisor.start_child(supervisor_spec("sub", lambda: sub))
            await test(sub)
        else:
            await in_foreign_supervisor([spec], test)


async def test_a_bystander_of_a_group_restart_keeps_its_mail_but_for_the_message_in_hand(
    autojump_clock: MockClock,
) -> None:
    async with open_system() as system:
        specs = [system.actor_spec(Worker, name=name) for name in ("first", "second")]

        async def test(_: Supervisor) -> None:
            first, second = system.whereis("first"), system.whereis("second")
            assert first is not None
            assert second is not None
            second.tell(Work(50.0))
            await wait_all_tasks_blocked()
            second.tell(Ping())
            first.tell(Crash())
            assert await first.ask(Ping()) == 1
            await wait_all_tasks_blocked()
            assert await second.ask(Ping()) == 2
            reasons = [d.reason for d in system.dead_letters if d.recipient == "second"]
            assert reasons == [DeadLetterReason.CANCELLED]
            assert second.statistics().incarnations == 2

        await in_foreign_supervisor(list(specs), test, Strategy.ONE_FOR_ALL)


async def test_a_fenced_mail_loop_that_fails_later_disturbs_nobody(autojump_clock: MockClock) -> None:
    class Exploding(Stubborn):
        @receives
        async def work(self, message: Work) -> str:
            with trio.CancelScope(shield=True):
                await trio.sleep(message.seconds)
            raise LookupError("too late")

    async with open_system() as system:
        sub = Supervisor([system.actor_spec(Exploding, name="w", shutdown_seconds=1.0)], name="sub")
        await system.supervisor.start_child(supervisor_spec("sub", lambda: sub))
        ref = system.whereis("w")
        assert ref is not None
        ref.tell(Work(50.0))
        await wait_all_tasks_blocked()
        await sub.terminate_child("w")
        assert ref.statistics().state is ActorState.STOPPED
        await sub.restart_child("w")
        await trio.sleep(100)
        assert await ref.ask(Ping()) == 1
        assert ref.statistics().state is ActorState.RUNNING
