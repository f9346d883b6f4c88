"""A specialist works by itself on the scripted model: steps, tools, gates, revisions, ends, going on after crashes."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import trio

from vespera_agents.context import count_tokens
from vespera_agents.health.metrics.measuring import context_values
from vespera_agents.providers.exchange import Finish, Price
from vespera_agents.providers.scripted import ScriptedProvider
from vespera_agents.providers.scripts import Answer, Failure, FailureKind, Rule, Script, ScriptedCall
from vespera_agents.providers.settings import Kind
from vespera_agents.providers.testing import Reply, open_vendor_server
from vespera_agents.specialists.agent.history import specs_text
from vespera_agents.store import steps
from vespera_agents.store.steps import StepKind

PLAN = """---
id: ALONE
concurrency: {concurrency}
---
# Work
## Phase 1: All
"""


def plan(*tasks: str, concurrency: int = 2) -> str:
    """Write a plan: each task is `name: yaml lines separated by ;; | description`."""
    parts = [PLAN.format(concurrency=concurrency)]
    for task in tasks:
        name, _, rest = task.partition(":")
        lines, _, description = rest.partition("|")
        yaml = "\n".join(line.strip() for line in lines.split(";;") if line.strip())
        parts.append(f"### {name}\n```yaml\n{yaml or 'specialist: generic'}\n```\n{description.strip()}\n")
    return "\n".join(parts)


def call(name: str, **arguments: object) -> ScriptedCall:
    return ScriptedCall(name, arguments)


def done(summary: str = "done", work: str = "the work", action: str = "complete", **more: object) -> ScriptedCall:
    return call("hand_in", summary=summary, detailed_work=work, next_action=action, **more)


PROSE = "as it was gathered from its tasks"
"""Stands in the request for the prose of a report, and nowhere else."""
NO_PROSE = Rule(Answer(fails=Failure(FailureKind.BAD_REQUEST)), contains=(PROSE,))


def answers(*given: Answer, **more: object) -> ScriptedProvider:
    return ScriptedProvider(Script(rules=(NO_PROSE,), answers=given, **more))


def rules(*given: Rule, **more: object) -> ScriptedProvider:
    return ScriptedProvider(
        Script(rules=(*given, NO_PROSE) if given[0].contains == (PROSE,) else (NO_PROSE, *given), **more)
    )


def write_role(home: Path, name: str = "maker", **fields: object) -> None:
    told = {"role_definition": "You make things.", "tools": ["read_file", "write_file"], **fields}
    directory = home / ".vespera" / "roles"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.yaml").write_text(json.dumps({name: told}))


def sent(provider: ScriptedProvider) -> list[str]:
    return [request.messages[0].text for request in provider.asked if PROSE not in request.system]


async def recorded(h, task_id: str, attempt: int = 1) -> list[steps.Step]:
    return list(await h.opened.store.read(steps.steps_of, task_id, attempt, h.opened.store.artifacts))


def kinds(found: list[steps.Step]) -> list[str]:
    return [step.kind.value for step in found]


def outcomes(result) -> dict[str, str]:
    return {task.title: task.outcome for task in result.tasks}


def reason(result, title: str) -> str:
    return next(task.reason for task in result.tasks if task.title == title) or ""


async def test_tasks_without_a_command_are_worked_on_and_the_report_says_by_which_model_at_what_cost(house):
    provider = rules(
        Rule(Answer(calls=(done("A boat.", "# The boat"),)), contains=("first (",), lacks=("second (task",)),
        Rule(Answer("The second, as text."), contains=("second (task", "A boat.")),
        price=Price(1.0, 2.0),
    )
    async with house() as h:
        h.opened.model_source.add(provider)
        result = await h.run(plan("first: | Draw a boat.", "second: depends: [first]"))
        assert outcomes(result) == {"first": "completed", "second": "completed"}
        first, second = result.tasks
        shown = await h.show(first.id)
        assert shown.summary == "A boat."
        assert "Draw a boat." in sent(provider)[0]
        assert await h.text_of(shown.artifacts[0].id) == "# The boat"
        assert kinds(await recorded(h, first.id)) == ["think", "end"]
        assert "A boat." in sent(provider)[1], "it sees what it builds on"
        report = result.report.read_text()
        assert "| first | scripted/scripted-1 | 1 | 0 |" in report
        assert f"**all** | scripted/scripted-1 | 2 | 0 | {provider.figures.input_tokens} + " in report
        assert f"${provider.figures.cost_usd:.4f}" in report
        (line,) = (await h.sessions.get_status(result.session_id)).models
        assert line.startswith("scripted/scripted-1: 2 calls, 0 repeated, ")
        assert (await h.show(second.id)).summary == "The second, as text."


async def test_files_are_changed_in_a_copy_where_the_gates_run_and_come_out_as_a_patch(house, home):
    write_role(home)
    (home / "old.txt").write_text("as it was\n")
    provider = answers(
        Answer(calls=(call("read_file", path="old.txt"), call("write_file", path="new.txt", text="made\n"))),
        Answer(calls=(done(),)),
    )
    async with house() as h:
        h.opened.model_source.add(provider)
        result = await h.run(plan("make: specialist: maker;; gates: ['test -e new.txt']"))
        assert outcomes(result) == {"make": "completed"}
        (task,) = result.tasks
        assert kinds(await recorded(h, task.id)) == ["think", "tool", "tool", "think", "gates", "end"]
        assert "as it was" in sent(provider)[1]
        assert not (home / "new.txt").exists(), "the owner's files are as they were"
        named = {one.name: one for one in (await h.show(task.id)).artifacts}
        (patch,) = [one for name, one in named.items() if name.endswith(".patch")]
        assert "+made" in await h.text_of(patch.id)
        assert not list((home / ".vespera" / "worktrees").glob(f"*{task.id}*/new.txt")), "it is tidied away"


async def test_work_that_the_gates_refuse_is_revised_so_often_and_no_more(house, home):
    write_role(home, revisions_max=2)
    provider = rules(
        Rule(
            Answer(calls=(call("write_file", path="right", text="x"), done("second try"))),
            contains=("good (", "Your work was refused: the gate `test -e right`"),
        ),
        Rule(Answer(calls=(done("a try"),))),
    )
    async with house() as h:
        h.opened.model_source.add(provider)
        result = await h.run(
            plan(
                "good: specialist: maker;; gates: ['test -e right']",
                "bad: specialist: maker;; gates: ['test -e nowhere']",
            )
        )
        assert outcomes(result) == {"good": "completed", "bad": "failed"}
        assert reason(result, "bad").endswith("after 2 revisions")
        assert "`test -e nowhere`" in reason(result, "bad")
        ids = {task.title: task.id for task in result.tasks}
        assert kinds(await recorded(h, ids["bad"])) == ["think", "gates"] * 3 + ["end"]
        assert kinds(await recorded(h, ids["good"])) == ["think", "gates", "think", "tool", "gates", "end"]


async def test_what_a_model_asks_for_next_is_honoured(house):
    provider = rules(
        Rule(Answer(calls=(done(action="blocked", reason="who has the key?"),)), contains=("stuck (",)),
        Rule(Answer(calls=(done("half", action="needs_revision", reason="please look"),)), contains=("unsure (",)),
    )
    async with house() as h:
        h.opened.model_source.add(provider)
        result = await h.run(plan("stuck:", "unsure:"))
        assert outcomes(result) == {"stuck": "blocked", "unsure": "review"}
        ids = {task.title: task.id for task in result.tasks}
        assert (await h.show(ids["stuck"])).status_reason == "who has the key?"
        assert (await h.show(ids["unsure"])).status_reason == "please look"
        # Another attempt begins anew, and hears why.
        provider.answer_next(Answer(calls=(done("whole"),)))
        await h.run(plan("stuck:", "unsure:"), resume=True)
        assert (await h.show(ids["stuck"])).summary == "whole"
        assert kinds(await recorded(h, ids["stuck"], 2)) == ["think", "end"]


async def test_a_specialist_that_crashes_goes_on_at_the_step_and_no_recorded_one_is_paid_again(
    house, home, monkeypatch
):
    write_role(home)
    provider = rules(
        Rule(Answer(calls=(done(),)), contains=("b: written",)),
        Rule(Answer(calls=(call("write_file", path="b", text="2"),)), contains=("a: written",)),
        Rule(Answer(calls=(call("write_file", path="a", text="1"),))),
    )
    crashes = iter([1, 3])
    due = [next(crashes)]
    complete = ScriptedProvider.complete

    async def fall_sometimes(self, request):
        if self.figures.asked >= due[0]:
            due[0] = next(crashes, 10**9)
            await complete(self, request)
            raise RuntimeError("nobody foresaw this")
        return await complete(self, request)

    monkeypatch.setattr(ScriptedProvider, "complete", fall_sometimes)
    async with house() as h:
        h.opened.model_source.add(provider)
        result = await h.run(plan("it: specialist: maker;; gates: ['test -e a', 'test -e b']"))
        assert outcomes(result) == {"it": "completed"}
        (task,) = result.tasks
        found = await recorded(h, task.id)
        assert kinds(found) == ["think", "tool", "think", "tool", "think", "gates", "end"]
        thoughts = [step for step in found if step.kind is StepKind.THINK]
        repeats = sum(step.repeats for step in thoughts)
        assert provider.figures.answered == len(thoughts) + repeats
        assert repeats == 2
        assert f"| 3 | {repeats} |" in result.report.read_text()


async def test_another_process_goes_on_where_one_was_cut_off(house, home, eventually):
    write_role(home)
    script = Script(
        rules=(
            # The prose of the report is no step.
            Rule(Answer(fails=Failure(FailureKind.BAD_REQUEST)), contains=("You are the coordinator",)),
            Rule(Answer(calls=(done(),)), contains=("a: written",)),
            Rule(Answer(calls=(call("write_file", path="a", text="1"),))),
        )
    )
    text = plan("it: specialist: maker;; gates: ['test -e a']")
    first = ScriptedProvider(script)
    async with house() as h, trio.open_nursery() as nursery:
        h.opened.model_source.add(first)
        nursery.start_soon(partial(h.run, text))
        await eventually(lambda: any("step 3" in line for line in h.texts("line")))
        nursery.cancel_scope.cancel()
    second = ScriptedProvider(script)
    async with house() as h:
        h.opened.model_source.add(second)
        result = await h.run(text, resume=True)
        assert outcomes(result) == {"it": "completed"}
        found = await recorded(h, result.tasks[0].id)
        thoughts = [step for step in found if step.kind is StepKind.THINK]
        assert len(thoughts) == 2
        assert second.figures.answered <= 1
        paid = first.figures.answered + second.figures.answered
        assert paid - len(thoughts) <= sum(step.repeats for step in thoughts) <= 1


async def test_without_an_answering_provider_a_task_waits_for_its_owner_and_then_goes_on(house, home, monkeypatch):
    write_role(home)
    monkeypatch.setattr("vespera_agents.specialists.agent.loop.PROVIDER_TRIES", 1)
    provider = answers(Answer(calls=(call("write_file", path="a", text="1"),)), Answer(calls=(done(),)))
    provider.answer_next(provider.script.answers[0])
    provider.fail_next(FailureKind.ACCESS_DENIED, times=1)
    async with house() as h:
        h.opened.model_source.add(provider)
        result = await h.run(plan("it: specialist: maker"))
        assert outcomes(result) == {"it": "blocked"}
        (task,) = result.tasks
        assert "no model could be asked: scripted" in (await h.show(task.id)).status_reason
        provider.answer_next(provider.script.answers[1])
        again = await h.run(plan("it: specialist: maker"), resume=True)
        assert outcomes(again) == {"it": "completed"}
        assert kinds(await recorded(h, task.id)) == ["think", "tool", "think", "end"], "it is the same attempt"
        assert provider.figures.answered == 2


async def test_a_full_context_is_handed_over_to_a_fresh_incarnation_and_no_request_exceeds_the_limit(house, home):
    limit = 4_000
    write_role(home, context_tokens_max=limit)
    for number in range(6):
        (home / f"f{number}").write_text(f"CONTENT{number} " + "word " * 1_800)
    provider = rules(
        *[
            Rule(Answer(calls=(call("read_file", path=f"f{number + 1}"),)), contains=(f"CONTENT{number}",), times_max=1)
            for number in range(5)
        ],
        Rule(Answer(calls=(done(),)), contains=("CONTENT5",)),
        Rule(Answer(calls=(call("read_file", path="f0"),)), times_max=1),
        otherwise=Answer(calls=(done("lost"),)),
    )
    async with house() as h:
        h.opened.model_source.add(provider)
        result = await h.run(plan("it: specialist: maker"))
        assert outcomes(result) == {"it": "completed"}
        (task,) = result.tasks
        assert (await h.show(task.id)).summary == "done"
        for request in provider.asked:
            sizes = (request.system, specs_text(request.tools), request.messages[0].text)
            assert sum(map(count_tokens, sizes)) <= limit
        found = await recorded(h, task.id)
        notes = [step for step in found if step.kind is StepKind.NOTE]
        assert notes
        assert any("Hand-over note" in text for text in sent(provider))
        (counts,) = [one for one in h.opened.context_figures.statistics() if one.role == "maker"]
        assert counts.respawns == len(notes)
        assert counts.reclaimed_tokens > 0
        measured = context_values([], {}, [counts])
        assert measured["vespera_context_compactions_total"]["other", "succeeded"] == counts.compactions + len(notes)
        assert measured["vespera_context_tokens_reclaimed_total"] == {("other",): counts.reclaimed_tokens}
        assert h.runtime.system.statistics().kinds["Specialist"].starts > len(notes), "each is a fresh incarnation"
        told = await h.opened.store.read(_events, task.id)
        assert told.count("respawn") == len(notes)


async def test_a_task_that_is_longer_than_the_limit_is_cut_and_the_request_says_so(house, home):
    limit = 3_500
    write_role(home, context_tokens_max=limit)
    provider = answers(Answer(calls=(done(),)))
    async with house() as h:
        h.opened.model_source.add(provider)
        result = await h.run(plan("it: specialist: maker | " + f"{'word ' * 14}.\n" * 250))
        assert outcomes(result) == {"it": "completed"}
        (request,) = [one for one in provider.asked if PROSE not in one.system]
        sizes = (request.system, specs_text(request.tools), request.messages[0].text)
        assert limit * 0.9 < sum(map(count_tokens, sizes)) <= limit
        assert "the end of Your task." in request.messages[0].text
        assert "context_dropped" in await h.opened.store.read(_events, result.tasks[0].id)


async def test_a_summary_is_paid_for_once_and_stays(house, home):
    write_role(home, context_tokens_max=20_000, tools=[])
    provider = rules(
        Rule(Answer("It was a long story."), contains=("You shorten the account",)),
        *[
            Rule(
                Answer(f"Chapter{n} " + "and so on " * 900, finish=Finish.LENGTH), lacks=(f"Chapter{n} ",), times_max=1
            )
            for n in range(12)
        ],
        Rule(Answer(calls=(done(),))),
    )
    async with house() as h:
        h.opened.model_source.add(provider)
        result = await h.run(plan("it: specialist: maker"))
        (task,) = result.tasks
        found = await recorded(h, task.id)
        compactions = [step for step in found if step.kind is StepKind.COMPACTION]
        assert outcomes(result) == {"it": "completed"}
        assert compactions
        asked = [request for request in provider.asked if "You shorten the account" in request.system]
        assert len(asked) == sum(step.provider is not None for step in compactions)
        assert provider.figures.answered == sum(step.provider is not None for step in found)
        assert "It was a long story." in sent(provider)[-1]
        told = await h.opened.store.read(_events, task.id)
        assert "context_summarized" in told


async def test_reservations_keep_the_limit_of_spending(house, home, monkeypatch):
    monkeypatch.setenv("VESPERA_SPEND_USD_PER_SESSION", "1.0")
    provider = rules(
        Rule(Answer("and more " * 50, finish=Finish.LENGTH, seconds=0.01)),
        price=Price(100.0, 20.0),
    )
    async with house() as h:
        h.opened.model_source.add(provider)
        result = await h.run(plan("one:", "two:", "three:", concurrency=3))
        assert set(outcomes(result).values()) == {"blocked"}
        assert "spen" in (await h.show(result.tasks[0].id)).status_reason
        assert 0 < provider.figures.cost_usd <= 1.0


async def test_steps_are_limited_and_the_next_attempt_begins_anew(house, home):
    write_role(home, steps_max=5)
    provider = rules(Rule(Answer("hm", finish=Finish.LENGTH)))
    async with house() as h:
        h.opened.model_source.add(provider)
        result = await h.run(plan("it: specialist: maker"))
        assert reason(result, "it") == "it was not done within 5 steps"
        assert provider.figures.answered == 5
        provider.answer_next(Answer(calls=(done(),)))
        again = await h.run(plan("it: specialist: maker"), resume=True)
        assert outcomes(again) == {"it": "completed"}


async def test_a_cancelled_task_is_left_and_its_request_with_it(house, eventually):
    provider = rules(Rule(Answer("slow", seconds=600.0)))
    async with house() as h:
        h.opened.model_source.add(provider)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(h.run, plan("it:")))
            await eventually(lambda: provider.figures.in_flight)
            (task,) = [event.task for event in h.events if event.kind == "claimed"]
            await h.tasks.cancel(h.call(), task.id, "not any more")
        assert (await h.show(task.id)).status == "cancelled"
        assert provider.figures.cancelled == 1


async def test_a_synthesis_begins_with_prose_of_a_specialist_and_is_paid_for_once(house):
    provider = rules(
        Rule(Answer("The boat was built.\n\nNothing is left."), contains=(PROSE,)),
        Rule(Answer(calls=(done("A boat."),))),
    )
    async with house() as h:
        h.opened.model_source.add(provider)
        report = (await h.run(plan("build:"))).report.read_text()
        assert report.startswith("# ALONE\n\nThe boat was built.")
        assert "| this text | scripted/scripted-1 | 1 | 0 |" in report
        made = await h.work.synthesize(h.call("once"), None, (await h.sessions.list()).sessions[0].id)
        assert made.preview.startswith("# ALONE\n\nThe boat was built.\n\nNothing is left.\n\n**Outcome: completed.**")
        assert "A boat." in provider.asked[-1].messages[0].text
        paid = provider.figures.answered
        again = await h.work.synthesize(h.call("once"), None, (await h.sessions.list()).sessions[0].id)
        assert again == made
        assert provider.figures.answered == paid


async def test_the_same_plan_uses_a_model_that_the_environment_names_and_waits_for_a_client_without(house, monkeypatch):
    text = plan("think: | What is the answer?")
    async with house() as h:
        assert outcomes(await h.run(text)) == {"think": "waiting"}
    async with open_vendor_server(Kind.OLLAMA, Reply(text="The answer is 42.")) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.address.removeprefix("http://").removesuffix("/v1"))
        async with house() as h:
            result = await h.run(text)
            assert outcomes(result) == {"think": "completed"}
            assert (await h.show(result.tasks[0].id)).summary == "The answer is 42."
            assert "| think | ollama/" in result.report.read_text()
            assert "What is the answer?" in str(server.seen)


def _events(connection, task_id):
    rows = connection.execute("SELECT what FROM event WHERE task_id=? ORDER BY seq", (task_id,))
    return [row[0] for row in rows]
