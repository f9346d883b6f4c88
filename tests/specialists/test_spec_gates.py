"""Gates between handed-in work and a completed task: allowed, run, refused, slow, interrupted. Real commands."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from vespera_agents.work.errors import Conflict
from vespera_agents.work.models import CommandLine, TaskStatus
from vespera_agents.workspace import WorkspaceError

FAST = CommandLine(text="true")


async def claimed(h, draft, *gates: CommandLine, **more) -> str:
    await h.begin()
    task = (await h.plan(draft("a", gates=gates, **more)))["a"]
    await h.claim(task)
    return task


async def test_gates_run_only_if_the_owner_allowed_and_trusted_them(house, home, draft, allow):
    async with house() as h:
        task = await claimed(h, draft, FAST)

        async def refused(words: str, error: type[Exception] = Conflict) -> None:
            with pytest.raises(error, match=words):
                await h.hand_in(task, detailed_work="text")
            assert (await h.show(task)).artifacts == []

        await refused("vespera trust")
        allow("true", trusted=False)
        await refused("vespera trust")
        allow("false")
        await refused("'true' is not allowed")
        (home / ".vespera" / "config.toml").write_text("allow = ")
        await refused("not valid TOML", WorkspaceError)
        allow("true")
        (home / ".vespera" / "config.toml").write_text('[commands]\nallow = ["true", "rm"]\n')
        await refused("vespera trust")
        allow("true")
        assert (await h.hand_in(task, detailed_work="text")).outcome == "completed"


async def test_a_shell_gate_needs_the_shell_and_its_exact_line(house, draft, allow, sh):
    async with house() as h:
        task = await claimed(h, draft, sh("true && true"))
        allow("true && true")
        with pytest.raises(Conflict, match="shell = true"):
            await h.hand_in(task)
        allow("true", shells=True)
        with pytest.raises(Conflict, match="not allowed"):
            await h.hand_in(task)
        allow("true && true", shells=True)
        assert (await h.hand_in(task)).outcome == "completed"


async def test_work_that_is_not_called_complete_needs_no_gates(house, draft):
    async with house() as h:
        task = await claimed(h, draft, CommandLine(text="false"))
        assert (await h.hand_in(task, next_action="needs_revision", detailed_work="x")).outcome == "review"


async def test_a_passed_gate_leaves_its_output_as_an_artifact(house, home, draft, allow):
    allow("echo", "pwd")
    async with house() as h:
        task = await claimed(h, draft, CommandLine(text="echo all is well"), CommandLine(text="pwd"))
        answer = await h.hand_in(task, detailed_work="text")
        assert [(link.name, link.kind) for link in answer.artifacts] == [
            ("work on a", "general"),
            ("gates of a", "test"),
        ]
        output = await h.text_of(answer.artifacts[1].id)
        assert "$ echo all is well\nall is well\n[exit status 0" in output
        assert str(home.resolve()) in output, "gates run in the workspace"


async def test_a_failed_gate_refuses_notes_it_on_the_task_and_keeps_work_and_output(house, home, draft, allow, sh):
    gate = sh("echo 3 tests failed; test -e fixed")
    allow(gate.text, "echo", shells=True)
    async with house() as h:
        task = await claimed(h, draft, gate, CommandLine(text="echo not reached"))
        given = {"summary": "done", "detailed_work": "my work", "next_action": "complete"}
        with pytest.raises(Conflict, match=r"did not complete: the gate .* exit status 1 .*3 tests failed"):
            await h.work.complete(h.call("wish"), task, **given)
        now = await h.show(task)
        assert now.status == "in_progress"
        assert now.claimed_by == h.opened.record.id
        assert "3 tests failed" in now.status_reason
        assert [artifact.name for artifact in now.artifacts] == ["work on a", "gates of a"]
        output = await h.text_of(now.artifacts[1].id)
        assert "3 tests failed" in output
        assert "not reached" not in output.replace("echo not reached", ""), "the gates after it do not run"
        (home / "fixed").touch()
        with pytest.raises(Conflict, match="3 tests failed"):
            await h.work.complete(h.call("wish"), task, **given)
        assert "It comes back to you because" in (await h.claim(task)).prompt
        assert (await h.hand_in(task)).outcome == "completed"
        assert (await h.show(task)).status_reason is None


async def test_a_gate_that_cannot_run_or_takes_too_long_is_a_failed_gate(house, draft, allow):
    allow("no-such-program", "sleep")
    async with house() as h:
        task = await claimed(h, draft, CommandLine(text="no-such-program --now"))
        with pytest.raises(Conflict, match="not found: no-such-program"):
            await h.hand_in(task)
        await h.tasks.update(h.call(), task, gates=(CommandLine(text="sleep 30", timeout_seconds=0.1),))
        with pytest.raises(Conflict, match=r"timed out after 0\.1 s"):
            await h.hand_in(task)


async def test_slow_gates_answer_gating_and_their_success_is_stored(house, home, draft, allow, sh, eventually):
    gate = sh("touch begun; until test -e go; do sleep 0.02; done")
    allow(gate.text, shells=True)
    async with house(gates_wait_seconds=0.1) as h:
        task = await claimed(h, draft, gate)
        answer = await h.hand_in(task, detailed_work="first")
        assert (answer.outcome, answer.artifacts) == ("gating", [])
        assert "orchestrator_query_tasks" in answer.next_action
        second = await h.hand_in(task, detailed_work="second")
        assert second.outcome == "gating"
        assert "recorded nothing" in second.next_action
        with pytest.raises(Conflict, match="still run"):
            await h.hand_in(task, next_action="needs_revision")
        # "gating" is answered as soon as the row of their job is written, a moment before a specialist runs them.
        await eventually((home / "begun").exists)
        specialist = next(one for one in (await h.sessions.get_status()).specialists if one.task_id)
        assert (specialist.state, specialist.task_id) == ("working", task)
        (home / "go").touch()

        async def completed() -> bool:
            return (await h.show(task)).status == "completed"

        await eventually(completed)
        artifacts = (await h.show(task)).artifacts
        assert [artifact.name for artifact in artifacts] == ["work on a", "gates of a"]
        assert await h.text_of(artifacts[0].id) == "first"
        live = await h.opened.session((await h.show(task)).session_id)
        await eventually(lambda: [info.id for info in live.supervisor.which_children()] == ["specialists"])


async def test_of_two_hand_ins_at_the_same_moment_one_counts_and_the_other_is_told_so(
    house, home, draft, allow, sh, eventually
):
    gate = sh("until test -e go; do sleep 0.02; done")
    allow(gate.text, shells=True)
    async with house(gates_wait_seconds=0.1) as h:
        task = await claimed(h, draft, gate)
        answers = {}

        async def hand_in(work: str) -> None:
            answers[work] = await h.hand_in(task, detailed_work=work)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hand_in, "one")
            nursery.start_soon(hand_in, "other")
        assert {answer.outcome for answer in answers.values()} == {"gating"}
        assert sorted("recorded nothing" in answer.next_action for answer in answers.values()) == [False, True]
        (home / "go").touch()
        await eventually(lambda: h.opened.jobs.working_on("orchestrator_complete_task", task) is None)
        kept = (await h.show(task)).artifacts[0]
        (counted,) = [work for work, answer in answers.items() if "recorded nothing" not in answer.next_action]
        assert await h.text_of(kept.id) == counted


async def test_slow_gates_that_fail_are_noted_on_the_task_which_can_be_handed_in_again(
    house, home, draft, allow, sh, eventually
):
    gate = sh("until test -e go; do sleep 0.02; done; test -e fixed")
    allow(gate.text, shells=True)
    async with house(gates_wait_seconds=0.1) as h:
        task = await claimed(h, draft, gate)
        assert (await h.hand_in(task)).outcome == "gating"
        (home / "go").touch()

        async def noted() -> bool:
            return (await h.show(task)).status_reason is not None

        await eventually(noted)
        now = await h.show(task)
        assert now.status == "in_progress"
        assert "exit status 1" in now.status_reason
        # It is noted a moment before these gates are over, and until then another hand-in does not count.
        await eventually(lambda: task not in h.opened.worked_on())
        (home / "fixed").touch()
        # They have nothing to wait for now, and may end before anybody is told that they are slow.
        assert (await h.hand_in(task)).outcome in {"gating", "completed"}

        async def completed() -> bool:
            return (await h.show(task)).status == "completed"

        await eventually(completed)


async def test_two_that_hand_in_at_the_same_moment_run_the_gates_once(house, home, draft, allow, sh):
    gate = sh("echo ran >> log; until test -e go; do sleep 0.02; done")
    allow(gate.text, shells=True)
    async with house() as h:
        task = await claimed(h, draft, gate)
        outcomes = []

        async def hand_in() -> None:
            outcomes.append((await h.hand_in(task)).outcome)
            # Whoever came second was told so while they ran.
            if outcomes[-1] == "gating":
                (home / "go").touch()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hand_in)
            nursery.start_soon(hand_in)
        assert sorted(outcomes) == ["completed", "gating"]
        assert (home / "log").read_text() == "ran\n"


@pytest.mark.parametrize("how", ["cancel", "release", "delete"])
async def test_gates_are_killed_when_the_task_is_cancelled_or_taken_away(
    house, home, draft, allow, sh, eventually, how
):
    gate = sh("echo $$ > pid; sleep 60")
    allow(gate.text, shells=True)
    async with house(gates_wait_seconds=0.1) as h:
        task = await claimed(h, draft, gate)
        assert (await h.hand_in(task)).outcome == "gating"
        pid = await eventually(lambda: (home / "pid").exists() and (home / "pid").read_text().strip())
        if how == "cancel":
            await h.tasks.cancel(h.call(), task, "not wanted")
        elif how == "release":
            await h.tasks.update(h.call(), task, status=TaskStatus.PENDING, reason="given back")
        else:
            await h.tasks.delete(h.call(), task, mode="delete", force=True)
        await eventually(lambda: not _lives(pid), seconds=15)
        if how == "cancel":
            now = await h.show(task)
            assert (now.status, now.status_reason) == ("cancelled", "not wanted")


async def test_whoever_waits_for_gates_hears_that_the_task_was_cancelled(house, home, draft, allow, sh, eventually):
    gate = sh("touch begun; sleep 60")
    allow(gate.text, shells=True)
    async with house() as h:
        task = await claimed(h, draft, gate)
        async with trio.open_nursery() as nursery:

            async def cancel() -> None:
                await eventually((home / "begun").exists)
                await h.tasks.cancel(h.call(), task, "not wanted")

            nursery.start_soon(cancel)
            with trio.fail_after(20), pytest.raises(Conflict, match="cancelled, changed or taken over"):
                await h.hand_in(task)


async def test_a_caller_that_is_cancelled_leaves_its_gates_running_to_their_end(
    house, home, draft, allow, sh, eventually
):
    gate = sh("touch begun; until test -e go; do sleep 0.02; done")
    allow(gate.text, shells=True)
    async with house() as h:
        task = await claimed(h, draft, gate)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(h.hand_in, task)
            await eventually((home / "begun").exists)
            nursery.cancel_scope.cancel()
        (home / "go").touch()

        async def completed() -> bool:
            return (await h.show(task)).status == "completed"

        await eventually(completed)


async def test_gates_whose_specialist_is_lost_are_told_and_noted_not_left_hanging(
    house, home, draft, allow, sh, eventually
):
    gate = sh("touch begun; sleep 60")
    allow(gate.text, shells=True)
    async with house() as h:
        task = await claimed(h, draft, gate)
        session = (await h.show(task)).session_id
        async with trio.open_nursery() as nursery:

            async def lose() -> None:
                await eventually((home / "begun").exists)
                live = await h.opened.session(session)
                for info in live.specialists.which_children():
                    await live.specialists.terminate_child(info.id)

            nursery.start_soon(lose)
            with trio.fail_after(10), pytest.raises(Conflict, match="gates could not be run"):
                await h.hand_in(task)
        assert "could not be run" in (await h.show(task)).status_reason


async def test_gates_that_go_down_with_their_session_are_told_at_once(house, home, draft, allow, sh, eventually):
    gate = sh("touch begun; sleep 60")
    allow(gate.text, shells=True)
    async with house() as h:
        task = await claimed(h, draft, gate)
        session = (await h.show(task)).session_id
        async with trio.open_nursery() as nursery:

            async def end() -> None:
                await eventually((home / "begun").exists)
                (await h.opened.session(session)).supervisor.stop()

            nursery.start_soon(end)
            with trio.fail_after(10), pytest.raises(Conflict, match="interrupted"):
                await h.hand_in(task)
        assert (await h.show(task)).status == "in_progress"
        assert (await h.claim(task)).already_yours, "the session is started anew when it is needed"


def _lives(pid: str) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
