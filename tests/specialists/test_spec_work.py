"""The facade's tools on work: a task is claimed, its work handed in, the results gathered."""

from __future__ import annotations

import os
import re

import pytest
import trio

from vespera_agents.context import count_tokens, estimate_tokens
from vespera_agents.specialists import Call
from vespera_agents.store import KeyConflict
from vespera_agents.work.errors import BadTransition, Conflict, InvalidInput, NotFound
from vespera_agents.work.models import ArtifactKind, CommandLine, TaskStatus
from vespera_agents.workspace import WorkspaceError

# ---- execute


async def test_a_claim_gives_the_prompt_the_task_what_it_builds_on_and_its_gates(house, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(
            draft("first", title="Look around"),
            draft(
                "box",
                "first",
                title="The larger thing",
                description="why all this",
                subtasks=(
                    draft("prior", title="Prior work"),
                    draft(
                        "task", "prior", title="Do it", description="with care", specialist="tester",
                        gates=(CommandLine(text="true"), CommandLine(text="echo hello", timeout_seconds=5)),
                    ),
                ),
            ),
        )  # fmt: skip
        await h.do(ids["first"], summary="nothing there")
        prior = await h.do(ids["prior"], summary="it is green", detailed_work="the proof")
        claim = await h.claim(ids["task"])
        assert (claim.task.status, claim.already_yours) == ("in_progress", False)
        assert claim.gates == ["true", "echo hello"]
        for said in (
            "You are the tester.", "Do it", "with care", "`echo hello` (within 5 s)", "Prior work", "it is green",
            "Look around", "nothing there", "The larger thing", "why all this", prior.artifacts[0].uri,
            f"orchestrator_complete_task(task_id='{ids['task']}'",
        ):  # fmt: skip
            assert said in claim.prompt
        assert [link.name for link in claim.dependency_artifacts] == ["work on Prior work"]
        assert claim.left_out == []
        assert claim.context_tokens == estimate_tokens(claim.prompt) <= claim.context_tokens_max
        again = await h.claim(ids["task"])
        assert (again.already_yours, again.prompt) == (True, claim.prompt)
        assert (await h.show(ids["task"])).attempts == 1


async def test_a_repeated_execute_gives_the_first_answer(house, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("a"))
        first = await h.work.execute(h.call("wish"), ids["a"])
        assert await h.work.execute(h.call("wish"), ids["a"]) == first


async def test_only_what_is_ready_or_in_review_can_be_claimed(house, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(
            draft("a"), draft("b", "a"), draft("box", subtasks=(draft("in"),)), draft("stuck"), draft("gone")
        )
        await h.tasks.update(h.call(), ids["stuck"], status=TaskStatus.BLOCKED, reason="no key")
        await h.tasks.cancel(h.call(), ids["gone"], "no")
        for key, words in {
            "b": f"waits for {ids['a']}",
            "box": "subtasks",
            "stuck": "blocked: no key",
            "gone": "cancelled and cannot become",
        }.items():
            with pytest.raises((Conflict, BadTransition), match=words):
                await h.claim(ids[key])
        with pytest.raises(NotFound):
            await h.claim("task_ffffffffffff")
        await h.tasks.update(h.call(), ids["stuck"], status=TaskStatus.PENDING, reason="here is the key")
        assert "It comes back to you because: here is the key" in (await h.claim(ids["stuck"])).prompt
        await h.do(ids["a"], next_action="needs_revision", summary="please look")
        claim = await h.claim(ids["a"])
        assert "Handed in before: please look" in claim.prompt
        await h.hand_in(ids["a"])
        with pytest.raises(Conflict, match="completed already"):
            await h.claim(ids["a"])


async def test_of_many_callers_at_once_each_task_is_claimed_by_exactly_one_server(house, draft):
    async with house() as h, house() as other:
        assert h.opened.record.id != other.opened.record.id
        await h.begin()
        ids = await h.plan(*(draft(f"t{number}") for number in range(10)))
        won: dict[str, list[str]] = {task: [] for task in ids.values()}

        async def claim(who, task: str) -> None:
            try:
                await who.claim(task)
            except Conflict as refusal:
                assert "already being worked on" in str(refusal)  # noqa: PT017 - both ends are looked at
            else:
                won[task].append(who.opened.record.id)

        async with trio.open_nursery() as nursery:
            for task in ids.values():
                nursery.start_soon(claim, h, task)
                nursery.start_soon(claim, other, task)
        assert [len(winners) for winners in won.values()] == [1] * 10
        for task, (winner,) in won.items():
            assert (await h.show(task)).claimed_by == winner


async def test_a_prompt_keeps_within_the_budget_of_its_role_and_says_what_was_left_out(house, home, draft):
    (home / ".vespera" / "roles").mkdir(parents=True)
    (home / ".vespera" / "roles" / "small.yaml").write_text(
        "small: {role_definition: You are small., context_tokens_max: 1000}\n"
    )
    async with house() as h:
        await h.begin()
        ids = await h.plan(
            draft("a"),
            draft(
                "box", description="background " * 1_000,
                subtasks=(draft("task", "a", description="word " * 100, specialist="small"),
                          draft("huge", "a", description="word " * 3_900, specialist="small")),
            ),
        )  # fmt: skip
        await h.do(ids["a"], summary="what came of it " * 400)
        claim = await h.claim(ids["task"])
        assert claim.context_tokens == count_tokens(claim.prompt) <= claim.context_tokens_max == 1_000
        names = [re.sub(r" \(.*", "", entry) for entry in claim.left_out]
        assert names == ["The larger piece of work", "What this builds on"]
        assert "did not fit into the context: The larger piece of work, What this builds on." in claim.prompt
        huge = await h.claim(ids["huge"])
        assert 900 < count_tokens(huge.prompt) <= 1_000
        assert "the end of Your task" in " ".join(huge.left_out)
        assert "orchestrator_complete_task" in huge.prompt, "how to report is never what is cut off"


# ---- complete


@pytest.mark.parametrize(
    ("next_action", "status", "outcome"),
    [
        ("complete", "completed", "completed"),
        ("continue", "completed", "completed"),
        ("needs_revision", "review", "review"),
        ("blocked", "blocked", "blocked"),
    ],
)
async def test_handed_in_work_is_kept_as_artifacts_and_the_status_follows(
    house, home, draft, next_action, status, outcome
):
    (home / "result.json").write_text('{"ok": true}')
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("a"), draft("b", "a"))
        answer = await h.do(
            ids["a"],
            summary="what I did",
            detailed_work="# All of it",
            next_action=next_action,
            file_paths=["result.json"],
            artifact_type=ArtifactKind.ANALYSIS,
        )
        assert answer.outcome == outcome
        task = await h.show(ids["a"])
        assert (task.status, task.summary, task.claimed_by) == (status, "what I did", None)
        assert [(link.name, link.kind, link.mime_type) for link in answer.artifacts] == [
            ("work on a", "analysis", "text/markdown"),
            ("result.json", "analysis", "application/json"),
        ]
        assert [await h.text_of(link.id) for link in answer.artifacts] == ["# All of it", '{"ok": true}']
        assert [one.title for one in answer.ready] == (["b"] if status == "completed" else [])
        assert answer.version == task.version


async def test_what_cannot_be_handed_in_is_refused_and_the_task_stays_as_it_is(house, home, draft, tmp_path):
    (tmp_path / "secret").write_text("x")
    (home / "folder").mkdir()
    os.mkfifo(home / "pipe")
    with (home / "huge").open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("a"), draft("b"), draft("done"), draft("box", subtasks=(draft("in"),)))
        await h.do(ids["done"])
        await h.claim(ids["a"])
        before = await h.show(ids["a"])
        for path in ("../secret", str(tmp_path / "secret"), "missing", "folder", "pipe", "huge"):
            with pytest.raises(WorkspaceError):
                await h.hand_in(ids["a"], file_paths=[path], detailed_work="x")
        for more in ({"summary": " "}, {"file_paths": ["x"] * 51}):
            with pytest.raises(InvalidInput):
                await h.hand_in(ids["a"], **more)
        with pytest.raises(Conflict, match="orchestrator_execute_task first"):
            await h.hand_in(ids["b"])
        with pytest.raises(BadTransition):
            await h.hand_in(ids["done"])
        with pytest.raises(NotFound):
            await h.hand_in("task_ffffffffffff")
        assert await h.show(ids["a"]) == before


async def test_work_is_refused_once_the_claim_was_taken_over(house, draft):
    async with house() as h, house() as other:
        await h.begin()
        ids = await h.plan(draft("a"))
        await h.claim(ids["a"])
        with pytest.raises(Conflict, match="held by srv_"):
            await other.hand_in(ids["a"])
        await h.tasks.update(h.call(), ids["a"], status=TaskStatus.PENDING, reason="given back")
        await other.claim(ids["a"])
        with pytest.raises(Conflict, match=f"held by {other.opened.record.id}"):
            await h.hand_in(ids["a"], detailed_work="too late")
        assert (await h.show(ids["a"])).artifacts == []
        assert (await other.hand_in(ids["a"])).outcome == "completed"


@pytest.mark.parametrize(("work", "words"), [("", r"came to wait for task_.* \(b: pending\)"), ("x", "wait for other")])
async def test_work_is_refused_when_the_task_came_to_wait_for_another_meanwhile(house, draft, work, words):
    from vespera_agents.work.drafts import DependencyDraft  # noqa: PLC0415

    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("a"), draft("b"))
        await h.claim(ids["a"])
        await h.tasks.update(h.call(), ids["a"], add=(DependencyDraft(on=ids["b"]),))
        with pytest.raises(Conflict, match=words):
            await h.hand_in(ids["a"], detailed_work=work)
        await h.do(ids["b"])
        assert (await h.hand_in(ids["a"])).outcome == "completed"


@pytest.mark.parametrize("work", ["text", ""])
async def test_a_repeated_complete_gives_the_first_answer_and_records_nothing_twice(house, draft, work):
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("a"), draft("b", "a"))
        await h.claim(ids["a"])
        given = {"summary": "done", "detailed_work": work, "next_action": "complete"}
        new = h.call()
        first = await h.work.complete(new, ids["a"], **given)
        assert [one.id for one in first.ready] == [ids["b"]]
        assert await h.work.complete(Call(new.by, new.key), ids["a"], **given) == first
        assert len((await h.show(ids["a"])).artifacts) == bool(work)
        with pytest.raises(KeyConflict):
            await h.work.complete(Call(new.by, new.key), ids["a"], **given | {"summary": "something else"})
        with pytest.raises(BadTransition):
            await h.work.complete(h.call("another wish"), ids["a"], **given)


@pytest.mark.parametrize("several", [False, True])
async def test_a_few_letters_of_an_id_are_enough_to_claim_and_hand_in(house, home, draft, tmp_path, several):
    async with house() as h:
        session = await h.begin()
        if several:
            (tmp_path / "elsewhere").mkdir()
            await h.runtime.workspace(tmp_path / "elsewhere")
        ids = await h.plan(draft("a"), draft("b"))
        short = {key: task[:-4] for key, task in ids.items()}
        assert (await h.claim(short["a"])).task.id == ids["a"]
        answer = await h.work.complete(
            h.call(), short["a"], summary="done", detailed_work="", next_action="complete", session=session
        )
        assert (answer.task_id, answer.outcome) == (ids["a"], "completed")
        other = await h.begin("another")
        with pytest.raises(NotFound, match="belongs to another session"):
            await h.work.execute(h.call(), ids["b"], other)
        with pytest.raises(NotFound, match="there is no session"):
            await h.work.execute(h.call(), ids["b"], "session_000000000000")
        with pytest.raises(NotFound, match="there is no task"):
            await h.claim("task_ffffffffffff")
        assert (await h.show(ids["b"])).status == TaskStatus.PENDING


# ---- synthesize


async def test_a_synthesis_is_one_artifact_that_says_the_same_each_time(house, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("box", subtasks=(draft("b", "a"), draft("a"), draft("open"))), draft("outside"))
        await h.do(ids["a"], summary="first", detailed_work="proof")
        await h.do(ids["b"], summary="second")
        first = await h.work.synthesize(h.call("wish"), ids["box"])
        assert (first.task_id, first.outcome) == (ids["box"], "waiting")
        assert first.counts == {"completed": 2, "pending": 1}
        text = await h.text_of(first.artifact.id)
        assert text.startswith(first.preview[:100])
        assert text.index("| a |") < text.index("| b |") < text.index("| open |")
        assert "outside" not in text
        assert "vespera://artifact/" in text
        assert first.open_questions == [f"open ({ids['open']}) is prepared and waits for a client to carry it out."]
        second = await h.work.synthesize(h.call(), ids["box"])
        assert second.artifact.uri == first.artifact.uri, "what was gathered before is no result of the work"
        assert (await h.work.synthesize(h.call("wish"), ids["box"])).artifact.id == first.artifact.id
        leaf = [await h.work.synthesize(h.call(), ids["a"]) for _ in range(2)]
        assert leaf[0].artifact.uri == leaf[1].artifact.uri
        whole = await h.work.synthesize(h.call())
        assert (whole.task_id, whole.counts) == (None, {"completed": 2, "pending": 2})
        with pytest.raises(NotFound):
            await h.work.synthesize(h.call(), "task_ffffffffffff")


async def test_a_synthesis_of_a_part_names_what_blocks_it_from_outside(house, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("bad"), draft("box", "bad", subtasks=(draft("in"),)))
        await h.tasks.cancel(h.call(), ids["bad"], "no")
        for part in (ids["box"], ids["in"]):
            text = (await h.work.synthesize(h.call(), part)).preview
            assert f"**in** is blocked by: {ids['bad']} bad: cancelled" in text


async def test_a_session_without_tasks_can_be_gathered(house):
    async with house() as h:
        await h.begin("empty")
        answer = await h.work.synthesize(h.call())
        assert (answer.outcome, answer.counts) == ("waiting", {})
        assert "no tasks" in answer.preview
