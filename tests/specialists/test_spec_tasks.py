"""The facade's tools on tasks as plans: plan, plan from a file, update, query, cancel, delete."""

from __future__ import annotations

import os
import time

import pytest
import trio

from vespera_agents.store.queries import TaskFilter
from vespera_agents.work.drafts import DependencyDraft
from vespera_agents.work.errors import (
    BadTransition,
    Conflict,
    Cycle,
    InvalidInput,
    NotFound,
    PlanError,
    Refusal,
    StaleVersion,
)
from vespera_agents.work.models import ArtifactKind, CommandLine, Complexity, DependencyKind, TaskStatus, TaskType
from vespera_agents.workspace import WorkspaceError

PLAN = """---
id: RELEASE
---
# Release
## Phase 1: Checks
### lint
```yaml
run: "true"
```
Some text.
### types
```yaml
depends: [lint, nowhere]
```
## Phase 2: Build
### build
```yaml
specialist: coder
gates: ["true"]
```
"""


async def everything(h) -> list[tuple]:
    """Read what a refused call must leave as it was."""
    page = await h.tasks.query(TaskFilter(), limit=200, detail="full")
    return [(task.id, task.version, task.status) for task in page.tasks]


# ---- plan


async def test_a_breakdown_is_created_whole_in_one_call_and_tells_its_tree_and_what_is_ready(house, draft):
    async with house() as h:
        session = await h.begin()
        answer = await h.tasks.plan(
            h.call(),
            [
                draft("design", specialist="architect"),
                draft("build", "design", subtasks=(draft("core", specialist="coder"), draft("shell", "core"))),
                draft("ship", "build"),
            ],
        )
        assert answer.session_id == session
        assert [(task.key, task.depth, task.ready) for task in answer.tasks] == [
            ("design", 0, True), ("build", 0, False), ("core", 1, False), ("shell", 1, False), ("ship", 0, False),
        ]  # fmt: skip
        ids = {task.key: task.id for task in answer.tasks}
        assert answer.root_task_ids == [ids["design"], ids["build"], ids["ship"]]
        assert answer.ready == [ids["design"]]
        assert ids["design"] in answer.next_action
        assert (await h.show(ids["core"])).specialist == "implementer", "`coder` means implementer"
        assert all(len(identifier) == len("task_") + 12 for identifier in ids.values())
        below = await h.tasks.plan(h.call(), [draft("extra")], parent_task_id=ids["build"])
        assert (below.tasks[0].parent_task_id, below.tasks[0].depth) == (ids["build"], 0)
        assert below.root_task_ids == [below.tasks[0].id]
        assert "Nothing is ready" in below.next_action


async def test_a_repeated_plan_creates_nothing_twice(house, draft):
    async with house() as h:
        await h.begin()
        first = await h.tasks.plan(h.call("wish"), [draft("a")])
        assert await h.tasks.plan(h.call("wish"), [draft("a")]) == first
        assert await h.found() == ["a"]


async def test_a_breakdown_with_anything_wrong_in_it_is_refused_and_nothing_is_written(house, draft):
    async with house() as h:
        await h.begin()
        done = (await h.plan(draft("done")))["done"]
        await h.do(done)
        before = await everything(h)
        wrong = [
            ([], None, InvalidInput, "at least one task"),
            ([draft("a"), draft("a")], None, InvalidInput, "stands twice"),
            ([draft("a", "b"), draft("b", "a")], None, Cycle, "a -> b -> a"),
            ([draft("a", "a")], None, Cycle, "a -> a"),
            ([draft("a", "nobody")], None, InvalidInput, "neither a key"),
            ([draft("box", subtasks=(draft("in", "box"),))], None, InvalidInput, "belongs to"),
            ([draft("a")], "task_nobody", NotFound, "orchestrator_query_tasks"),
            ([draft("a")], done, Conflict, "cannot get subtasks"),
        ]
        for drafts, parent, error, words in wrong:
            with pytest.raises(error, match=words):
                await h.tasks.plan(h.call(), drafts, parent_task_id=parent)
            assert await everything(h) == before
        with pytest.raises(NotFound):
            await h.tasks.plan(h.call(), [draft("a")], "session_000000000000")


async def test_a_plan_file_becomes_one_container_with_its_notes(house, home):
    (home / "docs").mkdir()
    (home / "docs" / "plan.md").write_text(PLAN)
    async with house() as h:
        await h.begin()
        answer = await h.tasks.plan_file(h.call(), "docs/plan.md")
        assert len(answer.root_task_ids) == 1
        root = await h.show(answer.root_task_ids[0])
        assert (root.title, root.specialist, root.task_type) == ("Release", "coordinator", "breakdown")
        depths = {task.title: task.depth for task in answer.tasks}
        assert depths["lint"] == depths["build"] == 2
        assert [note for note in answer.notes if "nowhere" in note], "an unresolvable dependency is a listed note"
        assert [task.title for task in answer.tasks if task.ready] == ["lint"]
        lint = next(task.id for task in answer.tasks if task.title == "lint")
        assert (await h.show(lint)).run == "true"


async def test_a_plan_that_is_there_and_live_is_replaced_only_when_somebody_confirmed_it(house, home):
    (home / "plan.md").write_text(PLAN)
    async with house() as h:
        await h.begin()
        (first,) = (await h.tasks.plan_file(h.call(), "plan.md")).root_task_ids
        with pytest.raises(Conflict, match=f"already, as task {first}") as caught:
            await h.tasks.plan_file(h.call(), "plan.md")
        assert "orchestrator_delete_task" in caught.value.next_action
        confirmed = h.call("replace")
        confirmed.confirmed = True
        (second,) = (await h.tasks.plan_file(confirmed, "plan.md")).root_task_ids
        assert (await h.show(first)).status == "archived"
        assert (await h.show(second)).status == "pending"
        (again,) = (await h.tasks.plan_file(h.call("replace"), "plan.md")).root_task_ids
        assert again == second, "a repeated call replaces nothing"
        await h.tasks.delete(h.call(), second)
        (third,) = (await h.tasks.plan_file(h.call(), "plan.md")).root_task_ids
        assert third not in {first, second}, "what has ended is in nobody's way"


async def test_of_clients_that_plan_one_file_at_once_one_does(house, home):
    (home / "plan.md").write_text(PLAN)
    planned: list[str] = []
    refused: list[Conflict] = []
    async with house() as h:
        await h.begin()

        async def plan() -> None:
            try:
                planned.extend((await h.tasks.plan_file(h.call(), "plan.md")).root_task_ids)
            except Conflict as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(plan)
        assert (len(planned), len(refused)) == (1, 4)
        assert all(planned[0] in str(error) for error in refused)


async def test_a_plan_path_that_leads_outside_or_is_no_plan_is_refused_at_once(house, home, tmp_path):
    (tmp_path / "outside.md").write_text(PLAN)
    (home / "link.md").symlink_to(tmp_path / "outside.md")
    (home / "empty.md").touch()
    (home / "prose.md").write_text("Dear diary.\n")
    (home / "binary.md").write_bytes(bytes(range(256)) * 100)
    (home / "folder.md").mkdir()
    os.mkfifo(home / "pipe.md")
    with (home / "huge.md").open("wb") as file:
        file.truncate(50_000_000)
    async with house() as h:
        await h.begin()
        for path in (
            "../outside.md",
            str(tmp_path / "outside.md"),
            "link.md",
            "missing.md",
            "folder.md",
            "pipe.md",
            "",
        ):
            with pytest.raises(WorkspaceError) as refusal:
                await h.tasks.plan_file(h.call(), path)
            assert "Give" in str(refusal.value)
        for path in ("empty.md", "prose.md", "binary.md", "huge.md"):
            with pytest.raises(PlanError):
                await h.tasks.plan_file(h.call(), path)
        assert await h.found() == []


# ---- update


async def test_update_sets_every_editable_field_and_says_what_changed(house, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("a"), draft("b"))
        edit = {
            "title": "new", "description": "text", "task_type": TaskType.TESTING, "complexity": Complexity.TRIVIAL,
            "specialist": "tester", "estimated_effort": "1 day", "due": 1_900_000_000.0,
        }  # fmt: skip
        gates = (CommandLine(text="true"),)
        answer = await h.tasks.update(h.call(), ids["a"], expected_version=1, edit=edit, gates=gates)
        assert set(answer.changed) == {*edit, "gates"}
        assert answer.changed["title"] == ["a", "new"]
        task = answer.task
        assert (task.title, task.description, task.task_type, task.complexity) == ("new", "text", "testing", "trivial")
        assert (task.specialist, task.estimated_effort, task.gates) == ("tester", "1 day", ["true"])
        assert task.due == "2030-03-17T17:46:40.000Z"
        assert task.version == 2
        same = await h.tasks.update(h.call(), ids["a"], edit={"title": "new"})
        assert (same.changed, same.task.version) == ({}, 2)


async def test_update_refuses_a_lost_update_a_bad_transition_and_an_empty_change(house, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("a"), draft("box", subtasks=(draft("in"),)))
        await h.tasks.update(h.call(), ids["a"], edit={"title": "first"})
        before = await everything(h)
        with pytest.raises(StaleVersion, match="expected_version=2"):
            await h.tasks.update(h.call(), ids["a"], expected_version=1, edit={"title": "second"})
        with pytest.raises(InvalidInput, match="at least one field"):
            await h.tasks.update(h.call(), ids["a"])
        for status, error, words in [
            (TaskStatus.COMPLETED, InvalidInput, "orchestrator_complete_task"),
            (TaskStatus.ARCHIVED, InvalidInput, "orchestrator_delete_task"),
            (TaskStatus.FAILED, BadTransition, "in_progress, blocked, cancelled"),
            (TaskStatus.REVIEW, BadTransition, "cannot become review"),
            (TaskStatus.BLOCKED, InvalidInput, "reason"),
        ]:
            with pytest.raises(error, match=words):
                await h.tasks.update(h.call(), ids["a"], status=status)
        with pytest.raises(Conflict, match="follows them"):
            await h.tasks.update(h.call(), ids["box"], status=TaskStatus.IN_PROGRESS)
        with pytest.raises(NotFound):
            await h.tasks.update(h.call(), "task_ffffffffffff", edit={"title": "x"})
        assert await everything(h) == before


async def test_update_adds_removes_and_waives_dependencies_and_names_what_became_ready(house, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("a"), draft("b", "a"), draft("c", "b"), draft("d"))
        with pytest.raises(Cycle, match="a -> "):
            await h.tasks.update(h.call(), ids["a"], add=(DependencyDraft(on=ids["c"]),))
        with pytest.raises(InvalidInput, match="reason"):
            await h.tasks.update(h.call(), ids["b"], waive=(ids["a"],))
        with pytest.raises(NotFound, match="does not depend"):
            await h.tasks.update(h.call(), ids["d"], remove=(ids["a"],))
        waived = await h.tasks.update(h.call(), ids["b"], waive=(ids["a"],), reason="not needed")
        assert waived.ready == [ids["b"]]
        (dependency,) = waived.task.dependencies
        assert (dependency.state, dependency.waived_by, dependency.waived_why) == ("waived", "mcp:test", "not needed")
        removed = await h.tasks.update(h.call(), ids["c"], remove=(ids["b"],))
        assert removed.ready == [ids["c"]]
        added = await h.tasks.update(
            h.call(), ids["c"], add=(DependencyDraft(on=ids["d"], kind=DependencyKind.APPROVAL),)
        )
        assert (added.task.ready, added.task.dependencies[0].kind) == (False, "approval")


async def test_a_task_is_blocked_released_failed_retried_and_reopened_by_updates(house, draft):
    async with house() as h:
        await h.begin()
        a = (await h.plan(draft("a")))["a"]

        async def becomes(status: TaskStatus, reason: str | None = None) -> str:
            return (await h.tasks.update(h.call(), a, status=status, reason=reason)).task.status

        assert await becomes(TaskStatus.BLOCKED, "no key") == "blocked"
        assert await becomes(TaskStatus.PENDING) == "pending"
        assert await becomes(TaskStatus.IN_PROGRESS) == "in_progress"
        assert (await h.show(a)).claimed_by == h.opened.record.id
        assert await becomes(TaskStatus.FAILED, "broken") == "failed"
        assert await becomes(TaskStatus.PENDING) == "pending"
        await h.do(a)
        with pytest.raises(InvalidInput, match="reason"):
            await becomes(TaskStatus.IN_PROGRESS)
        assert await becomes(TaskStatus.IN_PROGRESS, "one thing was missing") == "in_progress"


# ---- query


async def test_every_filter_works_alone_and_with_the_others(house, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(
            draft("alpha", specialist="tester", task_type=TaskType.TESTING, complexity=Complexity.SIMPLE),
            draft("beta", "alpha", specialist="reviewer", description="Straße, 100% of_it"),
            draft("box", subtasks=(draft("gamma", specialist="tester"), draft("inner", subtasks=(draft("delta"),)))),
        )
        middle = time.time()
        later = await h.plan(draft("epsilon", complexity=Complexity.SIMPLE))
        await h.do(later["epsilon"], summary="found the needle", detailed_work="x")
        names = ["alpha", "beta", "box", "gamma", "inner", "delta", "epsilon"]
        cases = [
            ({}, names),
            ({"status": ("completed",)}, ["epsilon"]),
            ({"status": ("completed", "pending")}, names),
            ({"status": ("failed",)}, []),
            ({"task_type": ("testing",)}, ["alpha"]),
            ({"specialist": ("tester", "reviewer")}, ["alpha", "beta", "gamma"]),
            ({"complexity": ("simple",)}, ["alpha", "epsilon"]),
            ({"parent_id": ids["box"]}, ["gamma", "inner"]),
            ({"parent_id": ids["box"][:10]}, ["gamma", "inner"]),
            ({"parent_id": ids["box"], "include_children": True}, ["gamma", "inner", "delta"]),
            ({"ready": True}, ["alpha", "gamma", "delta"]),
            ({"ready": False}, ["beta", "box", "inner", "epsilon"]),
            ({"text": "NEEDLE"}, ["epsilon"]),
            ({"text": "STRASSE"}, ["beta"]),
            ({"text": "100% of_it"}, ["beta"]),
            ({"text": "1000"}, []),
            ({"created_before": middle}, names[:-1]),
            ({"created_after": middle}, ["epsilon"]),
            ({"updated_after": middle}, ["epsilon"]),
            ({"updated_before": middle}, names[:-1]),
            ({"specialist": ("tester",), "ready": True, "parent_id": ids["box"]}, ["gamma"]),
            ({"complexity": ("simple",), "status": ("pending",), "text": "alp*", "created_before": middle}, ["alpha"]),
        ]
        for wanted, expected in cases:
            assert await h.found(**wanted) == expected, wanted
        with pytest.raises(NotFound):
            await h.found(parent_id="task_ffffffffffff")


async def test_pages_are_stable_and_complete_while_tasks_come_and_detail_and_artifacts_come_when_asked_for(
    house, draft
):
    async with house() as h:
        await h.begin()
        ids = await h.plan(*(draft(f"t{number}") for number in range(5)))
        await h.do(ids["t0"], detailed_work="text")
        seen, cursor = [], None
        while True:
            page = await h.tasks.query(TaskFilter(), limit=2, cursor=cursor)
            seen += [task.title for task in page.tasks]
            await h.plan(draft(f"late {len(seen)}")) if len(seen) == 2 else None
            cursor = page.next_cursor
            assert page.has_more == (cursor is not None)
            if cursor is None:
                break
        assert seen == ["t0", "t1", "t2", "t3", "t4", "late 2"]
        assert (page.total, page.total_is_exact) == (6, True)
        concise = (await h.tasks.query(TaskFilter(), include_artifacts=True)).tasks[0]
        assert concise.description is None
        assert [artifact.name for artifact in concise.artifacts] == ["work on t0"]
        full = (await h.tasks.query(TaskFilter(), detail="full")).tasks[0]
        assert (full.description, full.attempts, full.artifacts) == ("", 1, None)
        with pytest.raises(InvalidInput, match="first page"):
            await h.tasks.query(TaskFilter(), cursor="nonsense")


async def test_an_unknown_or_ambiguous_task_is_refused_with_what_is_near(house, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(*(draft(f"t{number}") for number in range(40)))
        one = ids["t0"]
        assert (await h.show(one[:14])).id == one, "a unique prefix is enough"
        assert (await h.show(one.removeprefix("task_"))).id == one
        with pytest.raises(NotFound, match="several task ids"):
            digits = [identifier[5] for identifier in ids.values()]
            await h.show("task_" + max(digits, key=digits.count))
        with pytest.raises(NotFound, match="Near it"):
            await h.show(one[:8] + "zzzz")


# ---- cancel


async def test_cancel_ends_a_task_from_every_live_status_and_says_who_is_blocked(house, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("p"), draft("i"), draft("b"), draft("r"), draft("x", "i"), draft("y", "x"))
        await h.claim(ids["i"])
        await h.tasks.update(h.call(), ids["b"], status=TaskStatus.BLOCKED, reason="x")
        await h.do(ids["r"], next_action="needs_revision", detailed_work="kept")
        for key in ("p", "i", "b", "r"):
            answer = await h.tasks.cancel(h.call(), ids[key], "not wanted")
            assert answer.cancelled == [ids[key]]
            assert answer.blocked_dependents == ([ids["x"]] if key == "i" else [])
            task = await h.show(ids[key])
            assert (task.status, task.status_reason, task.claimed_by) == ("cancelled", "not wanted", None)
        assert len((await h.show(ids["r"])).artifacts) == 1
        with pytest.raises(BadTransition):
            await h.tasks.cancel(h.call(), ids["p"], "again")
        with pytest.raises(InvalidInput, match="reason"):
            await h.tasks.cancel(h.call(), ids["x"], "  ")


async def test_cancel_cascades_only_on_request_and_drops_the_work_only_when_told(house, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("box", subtasks=(draft("a"), draft("b"), draft("done"))), draft("after", "box"))
        await h.do(ids["done"], detailed_work="stays")
        await h.do(ids["a"], detailed_work="goes", next_action="needs_revision")
        before = await everything(h)
        with pytest.raises(Conflict, match="cascade=true"):
            await h.tasks.cancel(h.call(), ids["box"], "no")
        assert await everything(h) == before
        answer = await h.tasks.cancel(h.call(), ids["box"], "no", cascade=True, preserve_work=False)
        assert answer.cancelled == [ids["a"], ids["b"]]
        assert answer.dropped_artifacts == 1
        assert (await h.show(ids["done"])).status == "completed", "what was completed stays so"
        assert len((await h.show(ids["done"])).artifacts) == 1
        assert (await h.show(ids["box"])).status == "completed"
        assert answer.blocked_dependents == []


# ---- delete


async def test_delete_archives_by_default_and_cancels_live_work_first(house, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("box", subtasks=(draft("a"), draft("b"))))
        await h.claim(ids["a"])
        answer = await h.tasks.delete(h.call(), ids["box"])
        assert answer.archived == [ids["box"], ids["a"], ids["b"]]
        assert answer.cancelled == [ids["a"], ids["b"]]
        assert {(await h.show(each)).status for each in ids.values()} == {"archived"}
        with pytest.raises(Conflict, match="archived already"):
            await h.tasks.delete(h.call(), ids["box"])


async def test_delete_refuses_while_live_tasks_depend_and_deletes_only_by_force(house, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("a"), draft("b", "a"))
        before = await everything(h)
        with pytest.raises(Conflict, match=ids["b"]):
            await h.tasks.delete(h.call(), ids["a"])
        with pytest.raises(InvalidInput, match="force=true"):
            await h.tasks.delete(h.call(), ids["a"], mode="delete")
        assert await everything(h) == before
        first = await h.tasks.delete(h.call("wish"), ids["a"], mode="delete", force=True)
        assert (first.deleted, first.released_dependents) == ([ids["a"]], [ids["b"]])
        assert await h.found() == ["b"]
        assert await h.found(ready=True) == ["b"]
        again = await h.tasks.delete(h.call("wish"), ids["a"], mode="delete", force=True)
        assert again == first, "a repeated call gets the first one's answer"
        with pytest.raises(NotFound):
            await h.tasks.delete(h.call(), ids["a"], mode="delete", force=True)


async def test_containers_follow_their_subtasks(house, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("box", subtasks=(draft("a"), draft("b", "a"))), draft("after", "box"))

        async def box() -> str:
            return (await h.show(ids["box"])).status

        seen = [await box()]
        with pytest.raises(Conflict, match="subtasks"):
            await h.claim(ids["box"])
        await h.claim(ids["a"])
        seen.append(await box())
        answer = await h.hand_in(ids["a"])
        assert (answer.parent_task_id, answer.parent_status) == (ids["box"], "in_progress")
        assert (answer.parent_done, answer.parent_total) == (1, 2)
        assert [task.id for task in answer.ready] == [ids["b"]]
        last = await h.do(ids["b"])
        seen.append(await box())
        assert (last.parent_status, last.parent_done) == ("completed", 2)
        assert [task.id for task in last.ready] == [ids["after"]]
        assert seen == ["pending", "in_progress", "completed"]
        with pytest.raises(Refusal, match="subtasks"):
            await h.hand_in(ids["box"])


async def test_artifacts_are_found_by_id_hash_and_prefix(house, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("a"))
        answer = await h.do(ids["a"], detailed_work="one", artifact_type=ArtifactKind.DESIGN)
        (link,) = answer.artifacts
        sha256 = link.uri.removeprefix("vespera://artifact/")
        for reference in (link.id, link.id[:16], sha256, sha256[:10]):
            artifact, opened = await h.orchestrator.artifact(reference)
            assert (artifact.id, artifact.kind, opened) == (link.id, "design", h.opened)
        for reference in ("abc", "artifact_000000000000", "f" * 64):
            with pytest.raises(NotFound):
                await h.orchestrator.artifact(reference)
