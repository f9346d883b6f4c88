"""Claims of several clients of one server, and of people at a shell: who gets a task, who may end it, who loses it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import trio

from vespera_agents.specialists import Holder
from vespera_agents.specialists.claims import LEASE_SECONDS
from vespera_agents.store import queries
from vespera_agents.store.commands import RenewLease
from vespera_agents.work.errors import Conflict
from vespera_agents.work.models import TaskStatus
from vespera_agents.workspace import machine_time

ANNA, BEN = Holder("anna#1"), Holder("ben#1")
WINDOWS = Holder("claude", certain=False)
SHELL = Holder("cli:anna", durable=True)


async def hand_in(h, holder, task):
    given = {"summary": "done", "detailed_work": "", "next_action": "complete"}
    return await h.work.complete(h.call(holder=holder), task, **given)


async def trail(h, session: str, task: str) -> list[tuple[str, str | None, str | None]]:
    events = await h.opened.store.read(queries.events_of, session)
    return [(e.actor, e.after, e.detail) for e in events if e.task_id == task and e.what == "status"]


async def released(h, *tasks: str) -> None:
    """Wait until these are given back: by this look or by that of the workspace itself, which may be under way."""
    for _ in range(1_000):
        await h.opened.release_dead_claims()
        if {(await h.show(task)).status for task in tasks} == {"pending"}:
            return
    pytest.fail("they were not given back")


def wait_for(path: Path) -> bool:
    """Wait for a file in a thread: the clock of the test stands still."""
    pause = threading.Event()
    return any(path.exists() or pause.wait(0.02) for _ in range(1_000))


async def test_of_two_clients_of_one_server_one_gets_the_task_and_the_other_cannot_complete_it(house, draft):
    async with house() as h:
        session = await h.begin()
        task = (await h.plan(draft("a")))["a"]
        name = f"{h.opened.record.id}/anna#1"
        assert not (await h.work.execute(h.call(holder=ANNA), task)).already_yours
        assert (await h.show(task)).claimed_by == name
        with pytest.raises(Conflict, match=r"already being worked on by srv_.*/anna#1"):
            await h.work.execute(h.call(holder=BEN), task)
        for other in (BEN, WINDOWS, SHELL, None):
            with pytest.raises(Conflict, match=r"held by srv_.*/anna#1"):
                await hand_in(h, other, task)
        assert (await h.work.execute(h.call(holder=ANNA), task)).already_yours
        assert (await hand_in(h, ANNA, task)).outcome == "completed"
        assert await trail(h, session, task) == [
            ("mcp:test", "in_progress", f"claimed by {name}"),
            ("mcp:test", "completed", None),
        ]


async def test_many_clients_at_once_get_each_task_once(house, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(*(draft(f"t{number}") for number in range(5)))
        won: dict[str, list[str]] = {task: [] for task in ids.values()}

        async def grab(holder: Holder, task: str) -> None:
            try:
                await h.work.execute(h.call(holder=holder), task)
            except Conflict:
                return
            won[task].append(holder.name)

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for number in range(10):
                    for task in ids.values():
                        nursery.start_soon(grab, Holder(f"client#{number}"), task)
        assert [len(names) for names in won.values()] == [1] * 5
        for task, (winner,) in won.items():
            assert (await h.show(task)).claimed_by == f"{h.opened.record.id}/{winner}"


async def test_a_client_that_may_be_two_is_never_told_that_a_claim_is_its_own_but_may_complete_it(house, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("a"), draft("b"))
        first = h.call(holder=WINDOWS)
        await h.work.execute(first, ids["a"])
        with pytest.raises(Conflict, match="client of your name") as refusal:
            await h.work.execute(h.call(holder=WINDOWS), ids["a"])
        assert "go on and complete it" in refusal.value.next_action
        assert "orchestrator_update_task" in refusal.value.next_action
        again = h.call(first.key.key, WINDOWS)
        assert not (await h.work.execute(again, ids["a"])).already_yours, "the same call again has its first answer"
        assert (await hand_in(h, WINDOWS, ids["a"])).outcome == "completed"
        await h.work.execute(h.call(holder=WINDOWS), ids["b"])
        await h.tasks.update(h.call(holder=WINDOWS), ids["b"], status=TaskStatus.PENDING)
        assert not (await h.work.execute(h.call(holder=WINDOWS), ids["b"])).already_yours


async def test_a_task_set_to_in_progress_is_held_by_the_client_that_did_it(house, draft):
    async with house() as h:
        await h.begin()
        task = (await h.plan(draft("a")))["a"]
        await h.tasks.update(h.call(holder=ANNA), task, status=TaskStatus.IN_PROGRESS)
        with pytest.raises(Conflict, match="anna#1"):
            await hand_in(h, BEN, task)
        assert h.opened.claims.statistics().clients == 1
        again = await h.tasks.update(h.call(holder=ANNA), task, status=TaskStatus.IN_PROGRESS)
        assert again.changed == {}
        before = await h.show(task)
        with pytest.raises(Conflict, match=r"worked on by srv_.*/anna#1"):
            await h.tasks.update(h.call(holder=BEN), task, status=TaskStatus.IN_PROGRESS, edit={"title": "mine"})
        assert await h.show(task) == before
        await hand_in(h, ANNA, task)


async def test_a_client_that_is_not_heard_of_for_a_lease_loses_its_claims_and_one_that_is_keeps_them(
    house, draft, still_clock
):
    async with house() as h:
        session = await h.begin()
        ids = await h.plan(draft("a"), draft("b"), draft("server"))
        await h.work.execute(h.call(holder=ANNA), ids["a"])
        await h.work.execute(h.call(holder=BEN), ids["b"])
        await h.claim(ids["server"])
        still_clock.jump(LEASE_SECONDS - 1)
        assert await h.opened.release_dead_claims() == []
        await h.orchestrator.heard(BEN)
        still_clock.jump(1)
        await released(h, ids["a"])
        assert (await h.show(ids["b"])).status == "in_progress"
        assert (await trail(h, session, ids["a"]))[-1] == (
            "supervision",
            "pending",
            f"released from {h.opened.record.id}/anna#1: not heard of for 60 minutes",
        )
        with pytest.raises(Conflict, match="was given back"):
            await hand_in(h, ANNA, ids["a"])
        assert not (await h.work.execute(h.call(holder=BEN), ids["a"])).already_yours
        with pytest.raises(Conflict, match=r"held by srv_.*/ben#1"):
            await hand_in(h, ANNA, ids["a"])
        still_clock.jump(LEASE_SECONDS * 10)
        await released(h, ids["a"], ids["b"])
        assert (await h.show(ids["server"])).status == "in_progress", "a live server's own claims need no lease"
        assert h.opened.claims.statistics().clients == 0


async def test_what_a_silent_client_claims_when_it_comes_back_is_not_taken_with_the_rest(house, draft, still_clock):
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("old"), draft("new"))
        await h.work.execute(h.call(holder=ANNA), ids["old"])
        still_clock.jump(LEASE_SECONDS)
        await h.work.execute(h.call(holder=ANNA), ids["new"])
        assert (await h.show(ids["new"])).status == "in_progress"
        still_clock.jump(LEASE_SECONDS)
        await released(h, *ids.values())


async def test_a_client_that_is_heard_of_while_another_loses_its_claims_keeps_its_own(house, draft, still_clock):
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("a"), draft("b"))
        await h.work.execute(h.call(holder=ANNA), ids["a"])
        await h.work.execute(h.call(holder=BEN), ids["b"])

        def ben_asks(_: object) -> None:
            # As a request of his would that comes now; it waits for nothing, so it can be run from here.
            with pytest.raises(StopIteration):
                h.opened.claims.heard(BEN).send(None)

        # One look alone: another one at the same moment would find him silent before he asks.
        workspaces = h.runtime.root.child_value("workspaces")
        await workspaces.child_value(str(h.opened.workspace.directory)).terminate_child("claims")
        h.opened.store.subscribe(ben_asks)
        still_clock.jump(LEASE_SECONDS)
        assert await h.opened.release_dead_claims() == [ids["a"]]
        assert (await h.show(ids["b"])).status == "in_progress"


async def test_nobody_needs_to_ask_the_workspace_looks_by_itself(house, draft, still_clock):
    async with house() as h:
        await h.begin()
        task = (await h.plan(draft("a")))["a"]
        await h.work.execute(h.call(holder=ANNA), task)
        released = threading.Event()
        h.opened.store.subscribe(lambda changes: released.set() if changes[0].after is TaskStatus.PENDING else None)
        still_clock.jump(LEASE_SECONDS)
        assert await trio.to_thread.run_sync(released.wait, 20)
        assert (await h.show(task)).status == "pending"
        assert h.opened.claims.statistics().released == 1


async def test_a_claim_whose_gates_run_is_kept_however_long_nobody_asks(house, home, draft, sh, allow, still_clock):
    command = "touch begun; until test -e go; do sleep 0.02; done"
    allow(command, shells=True)
    async with house() as h:
        await h.begin()
        task = (await h.plan(draft("a", gates=(sh(command, LEASE_SECONDS * 10),))))["a"]
        await h.work.execute(h.call(holder=ANNA), task)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hand_in, h, ANNA, task)
            assert await trio.to_thread.run_sync(wait_for, home / "begun")
            still_clock.jump(LEASE_SECONDS * 2)
            await h.opened.release_dead_claims()
            standing = (await h.show(task)).status
            ended = threading.Event()
            h.opened.store.subscribe(lambda _: ended.set())
            (home / "go").touch()
            assert await trio.to_thread.run_sync(ended.wait, 20)
        assert (standing, (await h.show(task)).status) == ("in_progress", "completed")


async def test_a_claim_from_a_shell_outlives_its_process_and_lapses_without_activity(house, home, draft):
    async with house() as h:
        session = await h.begin()
        ids = await h.plan(draft("a"), draft("b"))
        await h.work.execute(h.call(holder=SHELL), ids["a"])
        assert (await h.show(ids["a"])).claimed_by == "cli:anna"
    async with house() as h:
        assert (await h.show(ids["a"])).status == "in_progress"
        assert (await h.work.execute(h.call(holder=SHELL), ids["a"])).already_yours
        assert (await hand_in(h, SHELL, ids["a"])).outcome == "completed"
        await h.work.execute(h.call(holder=SHELL), ids["b"])
        await expire(h, LEASE_SECONDS)
        assert (await h.opened.release_dead_claims()) == [ids["b"]]
        assert (await trail(h, session, ids["b"]))[-1] == (
            "supervision",
            "pending",
            "released from cli:anna: not heard of for 60 minutes",
        )
        assert await h.opened.store.read(queries.leases) == []


async def expire(h, seconds: float) -> None:
    """Make every lease as old as if nobody had been heard of for so long."""

    class Older:
        by = "test"

        def fingerprint(self) -> bytes:
            return b"older"

        def apply(self, transaction) -> None:
            transaction.execute("UPDATE lease SET renewed=renewed-?, expires=expires-?", (seconds, seconds))

    await h.opened.store.execute(Older(), h.opened.key())


async def test_activity_renews_a_durable_lease_at_most_once_a_minute_and_a_lapsed_one_never(house, draft):
    async def renewed(h) -> float:
        (lease,) = await h.opened.store.read(queries.leases)
        return lease.renewed

    async with house() as h:
        await h.begin()
        task = (await h.plan(draft("a")))["a"]
        await h.orchestrator.heard(SHELL)
        assert await h.opened.store.read(queries.leases) == [], "who holds nothing costs no row"
        await h.work.execute(h.call(holder=SHELL), task)
        first = await renewed(h)
        await h.orchestrator.heard(SHELL)
        assert await renewed(h) == first
        await expire(h, 61)
        await h.orchestrator.heard(SHELL)
        assert await renewed(h) >= first
        await expire(h, LEASE_SECONDS)
        await h.orchestrator.heard(SHELL)
        assert await h.opened.release_dead_claims() == [task]


async def test_a_lease_of_an_earlier_start_of_the_machine_is_over(house, draft):
    async with house() as h:
        session = await h.begin()
        task = (await h.plan(draft("a")))["a"]
        await h.work.execute(h.call(holder=SHELL), task)
        earlier = RenewLease("cli:anna", "cli:anna", "another start", machine_time().seconds, LEASE_SECONDS)
        await h.opened.store.execute(earlier, h.opened.key())
        assert await h.opened.release_dead_claims() == [task]
        assert "started anew" in str((await trail(h, session, task))[-1])
