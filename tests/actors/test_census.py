"""Added up in one pass, the living are the same as the pictures of each of them."""

from __future__ import annotations

import pytest
import trio

from vespera_agents.actors import Actor, ActorState, ActorSystem, MailboxSpec, Overflow, open_system, receives
from vespera_agents.actors.cell import Cell
from vespera_agents.actors.census import census


class Sleeper(Actor):
    @receives
    async def on_seconds(self, message: float) -> None:
        await trio.sleep(message)


class Late(Actor):
    async def on_start(self) -> None:
        await trio.sleep_forever()

    @receives
    def on_text(self, _: str) -> None: ...


class Doomed(Actor):
    @receives
    def on_text(self, _: str) -> None:
        raise RuntimeError("planned")


def compare(system: ActorSystem) -> None:
    """Hold what statistics say against the pictures of the actors, which are taken one by one."""
    living = system.living()
    for name, kind in system.statistics().kinds.items():
        each = [one for one in living if one.kind == name]
        mailboxes = [one.mailbox for one in each]
        states = {state: sum(one.state is state for one in each) for state in kind.actors}
        assert kind.actors == states
        assert ActorState.STOPPED not in kind.actors
        assert kind.mailbox_messages == sum(one.depth for one in mailboxes)
        assert kind.mailbox_fill_ratio_max == max((one.fill_ratio for one in mailboxes), default=0.0)
        oldest = max((one.oldest_age_seconds for one in mailboxes), default=0.0)
        assert kind.mailbox_oldest_age_seconds == pytest.approx(oldest)
        assert kind.busy_seconds_max == pytest.approx(max((one.busy_seconds for one in each), default=0.0))
        assert kind.occupied == sum(one.mailbox.depth > 0 or one.busy_seconds > 0 for one in each)


async def test_the_census_agrees_with_the_pictures_of_each_actor(autojump_clock: trio.testing.MockClock) -> None:
    async with open_system(restart_grace_seconds=1_000.0) as system:
        refs = [await system.start(Sleeper, mailbox=MailboxSpec(2 + n, urgent=(bytes,))) for n in range(6)]
        for number, ref in enumerate(refs[:4]):
            for _ in range(number):
                ref.tell(float(100 - number))
            await trio.sleep(1.0)
        refs[3].tell(b"urgent, and waits")
        system.spawn(Late).tell("waits")
        compare(system)
        doomed = await system.start(Doomed, mailbox=MailboxSpec(3, Overflow.REJECT))
        for _ in range(3):
            doomed.tell("crash")
        await system.stop(refs[5])
        await trio.sleep(0.5)
        compare(system)
        kinds = system.statistics().kinds
        assert kinds["Sleeper"].actors[ActorState.RUNNING] == 5
        assert (kinds["Sleeper"].occupied, kinds["Sleeper"].mailbox_messages) == (3, 4)
        assert kinds["Late"].actors[ActorState.STARTING] == 1
    assert [kind.mailbox_messages for kind in system.statistics().kinds.values()] == [0, 0, 0]


async def test_a_kind_whose_actors_have_ended_is_told_of_at_zero() -> None:
    async with open_system() as system:
        await system.stop(await system.start(Sleeper))
        kind = system.statistics().kinds["Sleeper"]
        assert (sum(kind.actors.values()), kind.starts, kind.mailbox_fill_ratio_max) == (0, 1, 0.0)


async def test_one_that_has_ended_and_still_has_its_name_is_not_among_the_living() -> None:
    async with open_system() as system:
        (cell,) = system.actor_spec(Sleeper).args
        assert isinstance(cell, Cell)
        counts = cell.endpoint.counts
        assert cell.endpoint.state is ActorState.STOPPED
        assert sum(census([cell], {counts.kind: counts}, 0.0)[counts.kind].actors.values()) == 0
