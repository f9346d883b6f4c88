"""The outbox: free where nobody is registered, written with the change, one due row for each task, held by one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from vespera_agents.store.callbacks import (
    callback_backlog,
    callbacks,
    deadlines_near,
    due_callbacks,
    held_by_others,
    next_due,
)
from vespera_agents.store.commands import ClaimTask, FinishTask, NewArtifact, OpenSession, PlanTasks
from vespera_agents.store.commands import callbacks as commands
from vespera_agents.store.commands.callbacks import (
    CallbackEnd,
    EndCallbacks,
    FreeCallbacks,
    PruneCallbacks,
    RegisterTargets,
    ReplayCallbacks,
    TakeCallbacks,
    TellDeadlines,
    TellTargets,
)
from vespera_agents.store.outbox import CallbackEvent, CallbackStatus
from vespera_agents.store.store import Store
from vespera_agents.store.transaction import CommandKey
from vespera_agents.work.errors import Conflict
from vespera_agents.work.models import ArtifactKind, TaskStatus

ALL = tuple(CallbackEvent)
DELIVERED, DEAD, PENDING = CallbackStatus.DELIVERED, CallbackStatus.DEAD, CallbackStatus.PENDING


def register(bench, **targets: tuple[str, ...]) -> None:
    bench.apply(RegisterTargets("test", tuple(targets.items())))


def work(bench, task: str, status: TaskStatus = TaskStatus.COMPLETED, **more) -> None:
    bench.apply(ClaimTask("test", task, "me"))
    bench.apply(FinishTask("test", task, "me", status, **more))


def take(bench, target: str = "chat", holder: str = "srv/1", limit: int = 100):
    rows = due_callbacks(bench.connection, target, bench.now + 1, limit)
    bench.now += 1
    taken = bench.apply(TakeCallbacks("test", "own", holder, tuple(row.seq for row in rows)))
    return [row for row in rows if row.seq in taken]


def end(bench, row, status: CallbackStatus, holder: str = "srv/1", **more) -> None:
    bench.apply(EndCallbacks("test", "own", holder, (CallbackEnd(row.seq, status, **more),)))


def everything(bench):
    return sorted(callbacks(bench.connection, list(CallbackStatus), None, 1_000), key=lambda row: row.seq)


def frames(bench, task) -> int:
    """Count the pages that planning, claiming and completing a task put into the log."""
    bench.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (planned,) = bench.plan(task)
    work(bench, planned)
    log = Path(bench.connection.execute("PRAGMA database_list").fetchone()[2] + "-wal")
    return (log.stat().st_size - 32) // (24 + 4096)


def test_where_nobody_is_registered_no_statement_and_no_page_is_for_callbacks(new_bench, draft) -> None:
    bench, without = new_bench(), new_bench()
    # The same database, but for everything that callbacks brought into it.
    without.connection.execute("DROP INDEX task_due")
    for table in ("callback", "callback_target", "callback_once"):
        without.connection.execute(f"DROP TABLE {table}")
    for one in (bench, without):
        one.numbers.__next__()
        frames(one, draft("first"))
    statements: list[str] = []
    bench.connection.set_trace_callback(statements.append)
    with_callbacks = frames(bench, draft("one"))
    bench.connection.set_trace_callback(None)
    assert [one for one in statements if "callback" in one] == []
    assert with_callbacks == frames(without, draft("one"))


def test_a_row_is_there_with_the_change_and_not_without_it(bench, draft) -> None:
    register(bench, chat=ALL)
    one, other = bench.plan(draft("one"), draft("other", "one"))
    with pytest.raises(Conflict):
        bench.apply(ClaimTask("test", other, "me"))
    assert everything(bench) == []
    work(bench, one)
    work(bench, other, TaskStatus.FAILED, reason="it broke")
    assert [(row.event, row.task_id) for row in everything(bench)] == [
        ("on_task_start", one),
        ("on_task_complete", one),
        ("on_task_start", other),
        ("on_error", other),
    ]


def test_each_target_gets_its_own_events_and_nobody_gets_what_nobody_wants(bench, draft) -> None:
    register(bench, chat=("on_task_complete",), pager=("on_error", "on_task_complete"))
    one, other = bench.plan(draft("one"), draft("other"))
    work(bench, one)
    work(bench, other, TaskStatus.BLOCKED, reason="stuck")
    assert [(row.target, row.event) for row in everything(bench)] == [
        ("chat", "on_task_complete"),
        ("pager", "on_task_complete"),
    ]


def test_a_body_names_the_task_and_quotes_nothing_that_could_hold_a_secret(bench, draft) -> None:
    register(bench, chat=ALL)
    (one,) = bench.plan(draft("one", description="CANARY"))
    artifact = NewArtifact(ArtifactKind.GENERAL, "CANARY", "text/plain", 6, "0" * 64)
    work(bench, one, TaskStatus.FAILED, reason="CANARY", summary="CANARY", artifacts=(artifact,))
    bodies = [row.body for row in everything(bench)]
    assert "CANARY" not in "".join(bodies)
    told = json.loads(bodies[1])
    assert told["task"] == {
        "id": one, "title": "one", "type": "standard", "specialist": "generic", "container": False
    }  # fmt: skip
    assert (told["event"], told["status"], told["before"], told["attempt"]) == ("on_error", "failed", "in_progress", 1)
    assert told["id"] == everything(bench)[1].id


def test_only_the_first_of_a_task_is_due_and_others_go_on_meanwhile(bench, draft) -> None:
    register(bench, chat=ALL)
    one, other = bench.plan(draft("one"), draft("other"))
    work(bench, one)
    work(bench, other)
    first, second = take(bench)
    assert [first.task_id, second.task_id] == [one, other]
    assert take(bench) == []
    end(bench, first, PENDING, due=bench.now + 1_000, problem="refused", failed=True)
    end(bench, second, DELIVERED)
    (third,) = take(bench)
    assert (third.task_id, third.event) == (other, "on_task_complete")
    assert next_due(bench.connection, "chat") == pytest.approx(bench.now, abs=1_010)
    bench.now += 2_000
    (again,) = take(bench)
    assert (again.id, again.failures, again.attempts, again.problem) == (first.id, 1, 1, "refused")
    end(bench, again, DEAD, problem="refused", failed=True)
    (last,) = take(bench)
    assert (last.task_id, last.event) == (one, "on_task_complete")


def test_what_is_held_is_nobody_elses_until_it_is_freed(bench, draft) -> None:
    register(bench, chat=ALL)
    work(bench, *bench.plan(draft("one")))
    (row,) = take(bench, holder="srv/1")
    assert take(bench, holder="srv/2") == []
    # Whoever has read it before it was taken does not get it either.
    assert bench.apply(TakeCallbacks("test", "own", "srv/2", (row.seq,))) == []
    end(bench, row, DELIVERED, holder="srv/2")
    assert held_by_others(bench.connection, "chat", "srv/2")
    assert bench.apply(FreeCallbacks("test", "own", "chat", "srv/2")) == 1
    (again,) = take(bench, holder="srv/2")
    assert (again.id, again.attempts) == (row.id, 1)
    # The one that was thought dead comes back: it ends nothing any more.
    end(bench, row, DEAD, holder="srv/1", problem="late")
    assert everything(bench)[0].status is PENDING
    end(bench, again, DELIVERED, holder="srv/2")
    assert everything(bench)[0].attempts == 2


def test_what_was_not_sent_after_all_counts_as_no_attempt(bench, draft) -> None:
    register(bench, chat=ALL)
    work(bench, *bench.plan(draft("one")))
    (row,) = take(bench)
    end(bench, row, PENDING, due=bench.now)
    assert (everything(bench)[0].attempts, everything(bench)[0].failures) == (0, 0)


def test_dead_ones_are_replayed_under_their_old_ids_and_in_their_order(bench, draft) -> None:
    register(bench, chat=ALL, pager=ALL)
    (one,) = bench.plan(draft("one"))
    work(bench, one)
    for _ in range(2):
        (row,) = take(bench)
        end(bench, row, DEAD, problem="gone", failed=True)
    ids = [row.id for row in everything(bench) if row.target == "chat"]
    assert bench.apply(ReplayCallbacks("test", target="pager")) == 0
    assert bench.apply(ReplayCallbacks("test", target="chat")) == 2
    (first,) = take(bench)
    assert (first.id, first.failures) == (ids[0], 0)
    end(bench, first, DELIVERED)
    (second,) = take(bench)
    assert second.id == ids[1]
    end(bench, second, DELIVERED)
    assert bench.apply(ReplayCallbacks("test", (ids[0],))) == 1


def test_old_and_surplus_ones_are_removed_a_bounded_number_at_a_time(bench, draft, monkeypatch) -> None:
    monkeypatch.setattr(commands, "DELIVERED_KEPT_MAX", 3)
    monkeypatch.setattr(commands, "PRUNED_MAX", 4)
    register(bench, chat=("on_task_complete",))
    for task in bench.plan(*(draft(f"t{number}") for number in range(10))):
        work(bench, task)
    for row in take(bench):
        end(bench, row, DELIVERED)
    prune = PruneCallbacks("test", "own")
    assert [bench.apply(prune) for _ in range(3)] == [4, 3, 0]
    (late,) = bench.plan(draft("late"))
    work(bench, late)
    bench.now += 31 * 86_400
    assert bench.apply(prune) == 3
    assert [(row.status, row.problem) for row in everything(bench)] == [(DEAD, "nobody could send it for 30 days")]
    assert callback_backlog(bench.connection) == (0, None)


def test_what_is_no_change_of_a_task_is_told_once_under_a_name(bench, draft) -> None:
    register(bench, chat=ALL)
    told = TellTargets("test", CallbackEvent.BUDGET_LOW, bench.session_id, facts={"left_usd": 0.5}, once="spend/80")
    assert [bench.apply(told)["told"] for _ in range(2)] == [True, False]
    (row,) = everything(bench)
    assert (row.event, row.session_id, json.loads(row.body)["left_usd"]) == ("on_budget_low", bench.session_id, 0.5)


def test_deadlines_are_told_once_for_each_time_that_a_task_is_due_at(bench, draft) -> None:
    register(bench, chat=ALL)
    soon, later, over = bench.plan(draft("soon", due=2_000.0), draft("later", due=9_000.0), draft("over", due=1_500.0))
    work(bench, over)
    tell = TellDeadlines("test", "own", 1_500.0)
    assert bench.apply(tell)["tasks"] == [(bench.session_id, soon)]
    assert bench.apply(tell)["tasks"] == []
    bench.connection.execute("UPDATE task SET due=? WHERE id=?", (2_100.0, soon))
    assert [task for _, task in bench.apply(tell)["tasks"]] == [soon]
    assert deadlines_near(bench.connection, 10_000.0, 10) == [later]
    near = [json.loads(row.body) for row in everything(bench) if row.event == "on_deadline_near"]
    assert [told["due"] for told in near] == [2_000.0, 2_100.0]


def test_looking_for_what_is_due_reads_no_row_that_is_not(bench) -> None:
    def plan(sql: str) -> str:
        return " ".join(str(row[3]) for row in bench.connection.execute(f"EXPLAIN QUERY PLAN {sql}"))

    statements: list[str] = []
    bench.connection.set_trace_callback(statements.append)
    due_callbacks(bench.connection, "chat", 1.0, 5)
    next_due(bench.connection, "chat")
    deadlines_near(bench.connection, 1.0, 5)
    held_by_others(bench.connection, "chat", "me")
    bench.connection.set_trace_callback(None)
    used = [plan(statement) for statement in statements]
    for text, index in zip(used, ("callback_due", "callback_due", "task_due", "callback_held"), strict=True):
        assert index in text
        assert "SCAN" not in text


async def test_a_store_hears_of_targets_that_another_process_registers(running, database) -> None:
    """Its writer asks who is registered only when others have written."""
    other = Store(database, database.parent / "artifacts")
    async with running() as store, running(other) as theirs:
        opened = await store.execute(OpenSession("test", "/nowhere"), CommandKey("t", "open"))
        await theirs.execute(RegisterTargets("test", (("chat", ALL),)), CommandKey("t", "register"))
        from vespera_agents.work.drafts import TaskDraft  # noqa: PLC0415 - once, here

        plan = PlanTasks("test", opened["session_id"], (TaskDraft(key="a", title="a"),))
        planned = await store.execute(plan, CommandKey("t", "plan"))
        await store.execute(ClaimTask("test", planned["ids"]["a"], "me"), CommandKey("t", "claim"))
        with trio.fail_after(5):
            assert len(await store.read(due_callbacks, "chat", 1e12, 5)) == 1
        await store.execute(RegisterTargets("test", ()), CommandKey("t", "unregister"))
        finish = FinishTask("test", planned["ids"]["a"], "me", TaskStatus.COMPLETED)
        await theirs.execute(finish, CommandKey("t", "finish"))
        assert [row.event for row in await store.read(callbacks, list(CallbackStatus), None, 10)] == ["on_task_start"]


async def test_a_registration_that_is_rolled_back_with_its_batch_registers_nobody(running, draft) -> None:
    async with running() as store:
        opened = await store.execute(OpenSession("test", "/nowhere"), CommandKey("t", "open"))
        session = opened["session_id"]
        async with trio.open_nursery() as nursery:
            # The second one fails after it has written, so both are applied anew, each by itself.
            register = RegisterTargets("test", (("chat", ALL),))
            nursery.start_soon(store.execute, register, CommandKey("t", "register"))
            nursery.start_soon(
                _refused, store, PlanTasks("test", session, (draft("a"), draft("b")), parent="task_none")
            )
        plan = PlanTasks("test", session, (draft("c"),))
        planned = await store.execute(plan, CommandKey("t", "plan"))
        await store.execute(ClaimTask("test", planned["ids"]["c"], "me"), CommandKey("t", "claim"))
        assert len(await store.read(due_callbacks, "chat", 1e12, 5)) == 1


async def _refused(store, command) -> None:
    with pytest.raises(Exception, match="task_none"):
        await store.execute(command, CommandKey("t", "refused"))
