"""A plan is run from its text to its report, with real commands: order, outcomes, retries, drain, resume, clients."""

from __future__ import annotations

import re

import pytest
import trio

from vespera_agents.specialists import RunEventKind
from vespera_agents.specialists.conductor import ATTEMPTS_MAX
from vespera_agents.store import queries
from vespera_agents.work.errors import NotFound
from vespera_agents.work.models import TaskStatus
from vespera_agents.work.plans import read_plan
from vespera_agents.workspace import WorkspaceError


def plan(*tasks: str, concurrency: int = 4) -> str:
    """Write a plan: each task is `name: yaml lines separated by ;`."""
    parts = [f"---\nid: DEMO\nconcurrency: {concurrency}\n---\n# Demo\n## Phase 1: All\n"]
    for task in tasks:
        name, _, rest = task.partition(":")
        lines = "\n".join(line.strip() for line in rest.split(";;") if line.strip())
        parts.append(f"### {name}\n```yaml\n{lines}\n```\n")
    return "\n".join(parts)


def shell(text: str) -> str:
    return f"run: {text!r};; shell: true"


def outcomes(result) -> dict[str, str]:
    return {task.title: task.outcome for task in result.tasks}


async def test_work_that_ends_while_the_conductor_looks_around_is_followed_up(house, monkeypatch):
    text = plan(f"first: {shell('true')}", f"second: depends: [first];; {shell('true')}")
    async with house() as h:
        read = h.opened.store.read

        async def slow_read(query, *arguments):
            found = await read(query, *arguments)
            if query is queries.ready_tasks and not found:
                # What it saw is old when it comes back: `first` has ended meanwhile and `second` is ready.
                await trio.sleep(0.5)
            return found

        monkeypatch.setattr(h.opened.store, "read", slow_read)
        result = await h.run(text)
        assert outcomes(result) == {"first": "completed", "second": "completed"}


async def test_a_plan_is_carried_out_in_order_and_ends_with_a_report(house, home):
    text = plan(
        f"first: {shell('echo first >> log')}",
        f"second: depends: [first];; {shell('echo second >> log; echo out')};; gates: ['test -e log']",
        f"skipped: when: 'test -e nowhere';; {shell('echo skipped >> log')}",
        f"after skipped: depends: [skipped];; {shell('echo after >> log')}",
    )
    async with house() as h:
        result = await h.run(text)
        assert result.outcome == "completed"
        assert outcomes(result) == {
            "first": "completed", "second": "completed", "skipped": "waived", "after skipped": "completed",
        }  # fmt: skip
        assert result.counts == {"completed": 3, "waived": 1}
        lines = (home / "log").read_text().split()
        assert sorted(lines) == ["after", "first", "second"]
        assert lines.index("first") < lines.index("second")
        by_title = {task.title: task for task in result.tasks}
        assert "its condition did not hold: `test -e nowhere`: exit status 1" in by_title["skipped"].reason
        assert by_title["second"].duration_seconds > 0
        artifact, _ = await h.orchestrator.artifact(by_title["second"].artifacts[0])
        output = await h.text_of(artifact.id)
        assert "out\n[exit status 0" in output
        assert "$ test -e log" in output
        second = await h.show(by_title["second"].id)
        assert re.fullmatch(r"`echo second .*`: exit status 0 after .* s, 1 gates passed", second.summary)
        waived_edge = (await h.show(by_title["after skipped"].id)).dependencies[0]
        assert (waived_edge.state, waived_edge.waived_by) == ("waived", "when")
        report = result.report.read_text()
        assert result.report.parent == home.resolve() / ".vespera" / "reports"
        assert report.startswith("# DEMO\n\n**Outcome: completed.** 3 completed, 1 waived.")
        link = re.search(r"\| second \|.*\]\((\.\./artifacts/[^)]+)\)", report).group(1)
        assert (result.report.parent / link).read_bytes().decode() == output
        assert (await h.sessions.status(result.session_id)).status == "closed"
        kinds = [kind for kind, title in h.heard(*RunEventKind) if title in {"", "first"}]
        assert kinds == ["planned", "claiming", "claimed", "exited", "finished", "reporting", "reported"]
        assert h.texts("line") == ["out"]


async def test_a_failure_blocks_its_dependents_and_nothing_else(house, home):
    text = plan(
        f"bad: {shell('echo what went wrong; exit 3')}",
        f"behind: depends: [bad];; {shell('touch behind')}",
        f"far behind: depends: [behind];; {shell('touch behind')}",
        "gated: run: 'true';; gates: ['false']",
        "missing: run: no-such-program",
        f"slow: {shell('sleep 60')};; timeout: 0.2",
        f"good: {shell('echo fine')}",
    )
    async with house() as h:
        result = await h.run(text)
        assert result.outcome == "failed"
        assert outcomes(result) == {
            "bad": "failed", "behind": "blocked", "far behind": "blocked", "gated": "failed", "missing": "failed",
            "slow": "failed", "good": "completed",
        }  # fmt: skip
        reasons = {task.title: task.reason for task in result.tasks}
        assert re.search(r"exit status 3 .*: what went wrong", reasons["bad"])
        assert reasons["behind"] == reasons["far behind"]
        assert reasons["behind"].endswith("bad: failed")
        assert reasons["gated"].startswith("the gate `false`")
        assert "not found: no-such-program" in reasons["missing"]
        assert "timed out after 0.2 s" in reasons["slow"]
        assert not (home / "behind").exists()
        assert (await h.sessions.status(result.session_id)).status == "open", "it can be resumed"
        assert {(await h.show(task.id)).attempts for task in result.tasks if task.outcome == "failed"} == {1}


async def test_never_more_tasks_are_at_work_than_the_plan_allows(house, home):
    # Each waits until three have begun, so that three at once are really seen.
    meet = "echo >> begun; until test $(wc -l < begun) -ge 3; do sleep 0.02; done"
    body = f"mkdir run.$$; {meet}; ls -d run.* | wc -l >> seen; sleep 0.05; rmdir run.$$"
    text = plan(*(f"t{number}: {shell(body)}" for number in range(8)), concurrency=3)
    async with house() as h:
        result = await h.run(text)
        assert result.counts == {"completed": 8}
        seen = [int(line) for line in (home / "seen").read_text().split()]
        assert max(seen) == 3
        again = await h.run(text, concurrency=1)
        assert again.counts == {"completed": 8}
        assert [int(line) for line in (home / "seen").read_text().split()][8:] == [1] * 8


async def test_resume_tries_failed_tasks_again_and_repeats_nothing_that_was_done(house, home):
    text = plan(f"once: {shell('echo once >> log')}", f"flaky: {shell('echo flaky >> log; test -e fixed')}")
    async with house() as h:
        with pytest.raises(NotFound, match="without --resume"):
            await h.run(text, resume=True)
        first = await h.run(text)
        assert first.outcome == "failed"
    (home / "fixed").touch()
    async with house() as h:
        second = await h.run(text, resume=True)
        assert (second.outcome, second.session_id) == ("completed", first.session_id)
        assert sorted((home / "log").read_text().split()) == ["flaky", "flaky", "once"]
        third = await h.run(text)
        assert third.session_id != first.session_id, "without --resume it is another run"
        assert [line.status for line in (await h.sessions.list()).sessions] == ["closed", "closed"]


async def test_a_drained_run_ends_what_is_at_work_begins_nothing_and_can_be_resumed(house, home, eventually):
    text = plan(
        f"now: {shell('touch begun; until test -e go; do sleep 0.02; done')}",
        f"next: depends: [now];; {shell('touch next')}",
    )
    async with house() as h:
        runner = h.runner()

        async def drain() -> None:
            await eventually((home / "begun").exists)
            runner.drain()
            (home / "go").touch()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain)
            from vespera_agents.specialists import RunOptions  # noqa: PLC0415

            result = await runner.run(read_plan(text, name="plan.md"), RunOptions())
        assert result.outcome == "interrupted"
        assert outcomes(result) == {"now": "completed", "next": "pending"}
        assert not (home / "next").exists()
        assert "draining" in [event.kind for event in h.events]
        assert (await h.run(text, resume=True)).outcome == "completed"


async def test_a_run_that_is_cancelled_kills_its_commands_and_gives_the_tasks_back(house, home, eventually):
    text = plan(f"now: {shell('echo $$ > pid; test -e again || sleep 60')}")
    async with house() as h:
        with trio.CancelScope() as scope:

            async def cancel() -> None:
                await eventually(lambda: (home / "pid").exists() and (home / "pid").read_text().strip())
                scope.cancel()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel)
                await h.run(text)
        assert scope.cancelled_caught
        assert not _lives((home / "pid").read_text().strip())
        (session,) = h.opened.sessions.values()
        assert [info.id for info in session.supervisor.which_children()] == ["specialists"]
        assert await h.found(ready=True) == ["now"]
        (home / "again").touch()
        assert (await h.run(text, resume=True)).outcome == "completed"


async def test_a_running_task_that_is_cancelled_is_killed_and_the_run_goes_on(house, home, eventually):
    text = plan(f"long: {shell('echo $$ > pid; sleep 60')}", f"short: {shell('true')}")
    async with house() as h:

        async def cancel() -> None:
            await eventually(lambda: (home / "pid").exists() and (home / "pid").read_text().strip())
            long = next(event.task.id for event in h.events if event.task and event.task.title == "long")
            await h.tasks.cancel(h.call(), long, "not wanted")

        # Less than the command would take by itself.
        with trio.fail_after(50):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel)
                result = await h.run(text)
        assert outcomes(result) == {"long": "cancelled", "short": "completed"}
        assert not _lives((home / "pid").read_text().strip())
        (ended,) = [event for event in h.events if event.kind == "finished" and event.task.title == "long"]
        assert (ended.status, ended.text) == (TaskStatus.CANCELLED, "not wanted")


@pytest.mark.parametrize("how", ["cancel", "delete", "release", "release by its own server"])
async def test_a_running_task_is_ended_long_before_its_end_and_before_it_begins_anew(house, home, eventually, how):
    text = plan(f"long: {shell('echo $$ >> pids; test -e second && exit; sleep 60')}", f"other: {shell('true')}")
    async with house() as h, house() as other:

        async def end() -> None:
            pid = await eventually(lambda: (home / "pids").exists() and (home / "pids").read_text().strip())
            (home / "second").touch()
            long = next(event.task.id for event in h.events if event.task and event.task.title == "long")
            if how == "cancel":
                await other.tasks.cancel(other.call(), long, "not wanted")
            elif how == "delete":
                await other.tasks.delete(other.call(), long, mode="delete", force=True)
            else:
                by = other if how == "release" else h
                await by.tasks.update(by.call(), long, status=TaskStatus.PENDING, reason="try again")
            await eventually(lambda: not _lives(pid), seconds=15)

        with trio.fail_after(40):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(end)
                result = await h.run(text)
        ends: dict[str, dict[str, str]] = {"cancel": {"long": "cancelled"}, "delete": {}}
        assert outcomes(result) == {**ends.get(how, {"long": "completed"}), "other": "completed"}
        assert len((home / "pids").read_text().split()) == (1 if how in ends else 2)


async def test_a_task_without_a_command_is_prepared_once_however_often_the_plan_is_run(house):
    text = plan("think: specialist: architect", f"do: depends: [think];; {shell('true')}", f"other: {shell('true')}")
    async with house() as h:
        results = [await h.run(text)]
        results.extend([await h.run(text, resume=True) for _ in range(2)])
        assert {result.outcome for result in results} == {"waiting"}
        assert outcomes(results[0])["other"] == "completed"
        think = next(task for task in results[0].tasks if task.title == "think")
        artifacts = (await h.show(think.id)).artifacts
        assert [artifact.name for artifact in artifacts] == ["briefing"]
        assert "You are the architect." in await h.text_of(artifacts[0].id)
        assert ("prepared", "think") in h.heard("prepared")
        assert "think" in results[0].report.read_text().partition("## Open questions")[2]
        claim = await h.claim(think.id)
        assert claim.dependency_artifacts == [], "its own briefing is no input"
        await h.hand_in(think.id, summary="thought")
        done = await h.run(text, resume=True)
        assert done.outcome == "completed"


async def test_what_a_client_completes_while_the_plan_runs_is_gone_on_with(house, home, eventually):
    text = plan(
        "think: specialist: architect",
        f"do: depends: [think];; {shell('touch did')}",
        f"long: {shell('until test -e did; do sleep 0.02; done')}",
    )
    async with house() as h:

        async def client() -> None:
            await eventually(lambda: h.heard("prepared"))
            think = next(event.task.id for event in h.events if event.kind == "prepared")
            await h.do(think, summary="thought")

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client)
                result = await h.run(text)
        assert result.counts == {"completed": 3}


async def test_many_tasks_that_wait_for_clients_do_not_keep_a_command_from_being_run(house, monkeypatch):
    from vespera_agents.specialists import conductor  # noqa: PLC0415

    monkeypatch.setattr(conductor, "_READY_READ", 3)
    text = plan(*(f"think {number}: specialist: analyst" for number in range(9)), f"do: {shell('true')}")
    async with house() as h:
        result = await h.run(text)
        assert outcomes(result)["do"] == "completed"
        assert len(h.heard("prepared")) == 9


async def test_one_session_is_run_by_one_process_at_a_time(house, home, eventually):
    text = plan(f"long: {shell('touch begun; until test -e go; do sleep 0.02; done')}")
    async with house() as h, house() as other:

        async def try_too() -> None:
            await eventually((home / "begun").exists)
            for resume in (True, False):
                with pytest.raises(WorkspaceError, match="already being run by process"):
                    await other.run(text, resume=resume)
            (home / "go").touch()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(try_too)
            assert (await h.run(text)).outcome == "completed"


async def test_a_listener_that_fails_costs_its_task_three_tries_and_not_the_run(house, home):
    text = plan(f"loud: {shell('echo try >> tries; echo out')}", f"quiet: {shell('touch quiet')}")
    async with house() as h:

        def hear(event) -> None:
            h.hear(event)
            if event.kind == "line":
                raise RuntimeError("nobody can print this")

        from vespera_agents.specialists import PlanRun, RunOptions  # noqa: PLC0415

        result = await PlanRun(h.opened, hear).run(read_plan(text, name="plan.md"), RunOptions())
        assert outcomes(result) == {"loud": "failed", "quiet": "completed"}
        assert len((home / "tries").read_text().split()) == ATTEMPTS_MAX == 3
        loud = next(task for task in result.tasks if task.title == "loud")
        assert loud.reason == "tried 3 times, and each time its specialist crashed: nobody can print this"
        live = h.opened.sessions[result.session_id]
        restarts = {node.id: node.restarts for node in live.specialists.snapshot().children}
        assert sum(restarts.values()) == 3, "each crash is a supervised restart that the tree shows"


async def test_a_role_file_that_turns_bad_fails_the_task_with_the_reason_and_spares_the_others(house, home):
    roles = home / ".vespera" / "roles"
    roles.mkdir(parents=True)
    spoil = "echo 'tester: {role_definition: 7, nonsense: true}' > .vespera/roles/bad.yaml"
    text = plan(
        f"spoil: {shell(spoil)}",
        f"after: depends: [spoil];; {shell('true')}",
        "think: depends: [spoil];; specialist: architect",
    )
    async with house() as h:
        result = await h.run(text)
        assert outcomes(result) == {"spoil": "completed", "after": "failed", "think": "waiting"}
        after = next(task for task in result.tasks if task.title == "after")
        assert "the role 'tester' in bad.yaml is not valid" in after.reason
        assert "bad.yaml" in h.texts("prepared")[0]
        (roles / "bad.yaml").unlink()
        again = await h.run(text, resume=True)
        assert outcomes(again)["after"] == "completed"


async def test_two_sessions_are_run_at_once(house, home):
    text = plan(f"one: {shell('touch one; until test -e two; do sleep 0.02; done')}")
    other = plan(f"two: {shell('until test -e one; do sleep 0.02; done; touch two')}")
    async with house() as h:
        results = []

        async def run(text: str, name: str) -> None:
            results.append(await h.run(text, session_name=name))

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, text, "a")
                nursery.start_soon(run, other, "b")
        assert {result.outcome for result in results} == {"completed"}
        assert {result.report.name for result in results} == {"a.md", "b.md"}


def _lives(pid: str) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - one look
            return "Z" not in file.read().rpartition(")")[2].split()[0]
    except OSError:
        return False
