"""Strategies carried out: by commands without a model, by clients, and through kills of whoever runs them."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
import trio

from vespera_agents.specialists import PlanRun, RunOptions, RunResult
from vespera_agents.specialists.runtime import open_runtime
from vespera_agents.specialists.standing import counts_of
from vespera_agents.store import queries
from vespera_agents.work.models import Strategy
from vespera_agents.work.plans import read_plan


def plan(strategy: str, *tasks: tuple[str, str]) -> str:
    parts = [f"---\nid: DEMO\n---\n# Demo\n## Phase 1: All\nStrategy: {strategy}\n"]
    parts += [f"### {name}\n```yaml\nrun: {command!r}\nshell: true\n```\n" for name, command in tasks]
    return "\n".join(parts)


def outcomes(result: RunResult) -> dict[str, str]:
    return {task.title: task.outcome for task in result.tasks}


def lines(path: Path) -> list[str]:
    return path.read_text().split()


@pytest.mark.parametrize("strategy", ["sequential", "pipeline"])
async def test_tasks_run_one_after_another(house, home, strategy):
    names = ["c", "a", "b"]
    text = plan(strategy, *((name, f"echo {name} >> log; sleep 0.01; echo {name} >> log") for name in names))
    async with house() as h:
        result = await h.run(text)
        assert result.outcome == "completed"
    assert lines(home / "log") == ["c", "c", "a", "a", "b", "b"]


async def test_work_is_revised_until_its_review_is_content(house, home):
    text = plan("review 3", ("work", "echo x >> log"), ("check", "test $(wc -l < log) -ge 3"))
    async with house() as h:
        result = await h.run(text)
        assert (result.outcome, outcomes(result)) == ("completed", {"work": "completed", "check": "completed"})
        told = h.texts("finished")
        assert sum("`test $(wc -l < log) -ge 3`: exit status 1" in text for text in told) == 2
        (top,) = await h.opened.store.read(
            lambda c: c.execute("SELECT rounds FROM task WHERE strategy='review'").fetchall()
        )
        assert top == (2,)
    assert lines(home / "log") == ["x", "x", "x"]


async def test_work_that_is_never_approved_fails_after_its_rounds(house, home):
    async with house() as h:
        result = await h.run(plan("review 2", ("work", "echo x >> log"), ("check", "false")))
        assert (result.outcome, outcomes(result)) == ("failed", {"work": "completed", "check": "failed"})
    assert lines(home / "log") == ["x", "x", "x"]


async def test_the_majority_of_commands_decides(house, home):
    async with house() as h:
        result = await h.run(plan("consensus", ("a", "true"), ("b", "false"), ("c", "true")))
        assert (result.outcome, outcomes(result)["b"]) == ("completed", "waived")
        result = await h.run(plan("consensus", ("a", "true"), ("b", "false"), ("c", "false")))
        assert (result.outcome, outcomes(result)["b"]) == ("failed", "failed")


async def test_execute_task_on_a_container_follows_its_strategy(house, home, draft, sh, allow):
    command, check = "echo x >> log", "test $(wc -l < log) -ge 2"
    allow(command, check, shells=True)
    async with house() as h:
        await h.begin()
        drafts = (draft("work", run=sh(command)), draft("check", run=sh(check)))
        ids = await h.plan(draft("top", subtasks=drafts, strategy=Strategy.REVIEW))
        over = threading.Event()
        await h.orchestrator.agents.execute(h.call(), ids["top"])
        with trio.fail_after(60):
            while h.opened.jobs.working_on("orchestrator_execute_task", ids["top"]) is not None:
                await trio.to_thread.run_sync(over.wait, 0.05, abandon_on_cancel=True)
        shown = await h.show(ids["top"])
        assert (shown.status, shown.strategy) == ("completed", "review 2, sent back 1 times")


async def test_a_client_that_works_itself_reviews_with_its_hand_in(house, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("top", strategy=Strategy.REVIEW, description="Write it."))
        work, review = ids["top-work"], ids["top-review"]
        await h.do(work, summary="first try")
        answer = await h.claim(review)
        assert "first try" in answer.prompt
        assert "Asked for was:\n\nWrite it." in answer.prompt
        await h.hand_in(review, next_action="needs_revision", summary="a word is missing")
        assert (await h.show(review)).status == "pending"
        again = await h.claim(work)
        assert (
            "It comes back to you because: revision 1 of 2, because the review says: a word is missing" in again.prompt
        )
        await h.hand_in(work, summary="second try")
        await h.do(review, summary="good")
        assert (await h.show(ids["top"])).status == "completed"


async def test_a_consensus_of_clients_is_decided_by_what_they_say(house, draft):
    async with house() as h:
        await h.begin()
        ids = await h.plan(draft("ask", strategy=Strategy.CONSENSUS, strategy_n=3))
        voters = [task_id for key, task_id in ids.items() if key != "ask"]
        assert len(voters) == 3
        for task_id, said in zip(voters, ("Looked.\nVote: safe", "Vote: unsafe", "vote: SAFE"), strict=True):
            await h.do(task_id, summary=said)
        shown = await h.show(ids["ask"])
        assert (shown.status, shown.summary) == ("completed", "2 of 3 agree: Looked.\nVote: safe")
        split = await h.plan(draft("split", strategy=Strategy.CONSENSUS, strategy_n=2))
        for key in ("split-work", "split-work-2"):
            await h.do(split[key], summary=key)
        shown = await h.show(split["split"])
        assert (shown.status, shown.status_reason) == (
            "failed",
            "no majority of 2: 1 x 'split-work', 1 x 'split-work-2'",
        )
        # Nobody failed, and yet it came to nothing.
        assert counts_of(await h.opened.store.read(queries.session_tasks, shown.session_id))["failed"] == 1


def run_in_a_process(home: Path, text: str, *, resume: bool) -> int:
    """Run a plan in a process of its own; give the signal that ended it, 0 where it came to its end."""
    child = os.fork()
    if child == 0:
        os.setsid()
        (home / "pid").write_text(str(os.getpid()))

        async def work() -> None:
            async with open_runtime("run") as runtime:
                opened = await runtime.workspace(home)
                await PlanRun(opened, lambda _: None).run(read_plan(text, name="plan.md"), RunOptions(resume=resume))

        try:
            trio.run(work)
        finally:
            os._exit(0)
    timer = threading.Timer(60, os.kill, (child, signal.SIGKILL))
    timer.start()
    _, status = os.waitpid(child, 0)
    timer.cancel()
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def test_a_review_goes_on_where_a_kill_left_it_and_no_round_is_lost_or_done_twice(home: Path) -> None:
    """The review itself kills whoever runs it, each time it is about to refuse: the work is not done over for that."""
    kill = "n=$(wc -l < log); test $n -ge 3 && exit 0; test -e k$n && exit 1; touch k$n; kill -9 $(cat pid); sleep 60"
    text = plan("review 3", ("work", "echo x >> log"), ("check", kill))
    ends = [run_in_a_process(home, text, resume=False)]
    while ends[-1] and len(ends) < 10:
        ends.append(run_in_a_process(home, text, resume=True))
    assert ends == [signal.SIGKILL, signal.SIGKILL, 0]
    assert lines(home / "log") == ["x", "x", "x"]
    report = (home / ".vespera" / "reports" / "DEMO.md").read_text()
    assert "**Outcome: completed.** 2 completed." in report
