"""Every mutating tool twice under one number, by a worker and by the one after it: one effect, one answer."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.serving.kit import Place, new_place
from tests.serving.worker_kit import Worker, calling, started_worker
from vespera_agents.serving.tools.catalogue import TOOLS

REPEATED = 50
"""What the number of a call that is repeated has beyond that of its ground."""


@dataclass
class Ground:
    """What a call is about."""

    session: str
    tasks: dict[str, str]


def lay(worker: Worker, name: str, number: int) -> Ground:
    """Make a session with tasks in every state that a call may be about; the calls have numbers from that one on."""
    numbers = itertools.count(number)

    def call(tool: str, **arguments: object) -> Any:
        answer = worker.call(next(numbers), tool, **arguments)
        assert not answer["isError"], answer
        return answer["structuredContent"]

    session = call("initialize_session", name=f"ground of {name}")["id"]
    tasks: dict[str, str] = {}
    for title in ("ready", "claimed", "gated", "waits", "empty", "done"):
        more: dict[str, object] = {"gates": ["true"]} if title == "gated" else {}
        if title == "waits":
            more["dependencies"] = [tasks["ready"]]
        tasks[title] = call("plan_task", title=title, session=session, **more)["tasks"][0]["id"]
    for title in ("claimed", "gated", "done"):
        call("execute_task", task_id=tasks[title])
    call("complete_task", task_id=tasks["done"], summary="done", next_action="complete")
    call("update_task", task_id=tasks["ready"], status="blocked", reason="it rains")
    call("update_task", task_id=tasks["ready"], status="pending", reason="the sun shines")
    return Ground(session, tasks)


Arguments = Callable[[Ground], dict[str, Any]]
CALLS: dict[str, tuple[str, Arguments]] = {
    "open another session": ("initialize_session", lambda _: {"name": "another"}),
    "open the same session": ("initialize_session", lambda g: {"session_id": g.session}),
    "plan": (
        "plan_task",
        lambda g: {"session": g.session, "title": "new", "subtasks": [{"title": "a"}, {"title": "b"}]},
    ),
    "plan a file": ("plan_task", lambda g: {"plan_path": "plan.md", "session": g.session}),
    "update": ("update_task", lambda g: {"task_id": g.tasks["ready"], "title": "other", "expected_version": 3}),
    "claim by update": ("update_task", lambda g: {"task_id": g.tasks["ready"], "status": "in_progress"}),
    "cancel": ("cancel_task", lambda g: {"task_id": g.tasks["claimed"], "reason": "no need"}),
    "archive": ("delete_task", lambda g: {"task_id": g.tasks["done"]}),
    "delete": ("delete_task", lambda g: {"task_id": g.tasks["empty"], "mode": "delete", "force": True}),
    "claim": ("execute_task", lambda g: {"task_id": g.tasks["ready"]}),
    "claim again": ("execute_task", lambda g: {"task_id": g.tasks["claimed"]}),
    "complete": (
        "complete_task",
        lambda g: {
            "task_id": g.tasks["claimed"],
            "summary": "done",
            "detailed_work": "# All of it",
            "file_paths": ["work.txt"],
            "next_action": "complete",
        },
    ),
    "complete with gates": (
        "complete_task",
        lambda g: {"task_id": g.tasks["gated"], "summary": "done", "next_action": "complete"},
    ),
    "hand in for review": (
        "complete_task",
        lambda g: {"task_id": g.tasks["gated"], "summary": "look", "next_action": "needs_revision"},
    ),
    "synthesize": ("synthesize_results", lambda g: {"session": g.session}),
    "clean up": ("cleanup_sessions", lambda g: {"which": "completed", "dry_run": False, "session": g.session}),
    "scan": ("maintenance_coordinator", lambda _: {"action": "scan_cleanup", "dry_run": False}),
    "hand over": ("maintenance_coordinator", lambda g: {"action": "prepare_handover", "session": g.session}),
    "document": ("maintenance_coordinator", lambda g: {"action": "update_documentation", "session": g.session}),
    "reach": ("reconnect_test", lambda g: {"session_id": g.session}),
}


def test_every_tool_that_changes_something_is_repeated_here() -> None:
    mutating = {name.removeprefix("orchestrator_") for name, tool in TOOLS.items() if not tool.effects.read_only}
    # A shutdown is prepared below: it would keep the others from beginning. A restart needs a front that carries it
    # out, and the worker after it always hears it as something repeated (test_lifecycle).
    assert {tool for tool, _ in CALLS.values()} == mutating - {"restart_server", "shutdown_prepare"}


def test_what_was_done_before_a_shutdown_was_prepared_is_answered_after_it_and_so_is_that() -> None:
    with new_place() as place, started_worker(place) as first:
        place.workspace.make()
        first.activate()
        assert not first.call(1, "initialize_session")["isError"]
        lines = [
            calling(2, "plan_task", title="planned"),
            calling(3, "shutdown_prepare"),
            calling(4, "shutdown_prepare", undo=True),
            calling(5, "shutdown_prepare"),
        ]
        answers: list[Any] = []
        for number, line in enumerate(lines, 2):
            first.send(line)
            answers.append(first.answer(number))
        assert [answer["isError"] for answer in answers] == [False] * 4
        before = effects(place)
        first.kill()
        with started_worker(place) as second:
            second.activate(2, *lines, reason="crash")
            arrived = answers_to(second, len(lines))
            assert [told_by(arrived[number]) for number in range(2, 6)] == [told_by(answer) for answer in answers]
            assert effects(place) == before
            assert "is prepared for its shutdown" in second.call(6, "plan_task", title="late")["content"][0]["text"]
            assert not second.call(7, "shutdown_prepare", undo=True)["isError"]
            assert not second.call(8, "plan_task", title="early")["isError"]


def test_repeated_calls_have_one_effect_and_one_answer_each() -> None:
    """All of them are repeated at once, and each comes after everything that came after it the first time."""
    with new_place() as place, started_worker(place) as first:
        place.workspace.make()
        place.trust('[commands]\nallow = ["true"]\n')
        (place.project / "plan.md").write_text("# A plan\n\n- [ ] first\n- [ ] second\n")
        (place.project / "work.txt").write_text("what was done")
        first.activate()
        lines: dict[str, str] = {}
        answers: dict[str, Any] = {}
        for number, (name, (tool, arguments)) in enumerate(CALLS.items(), 1):
            ground = lay(first, name, number * 100)
            lines[name] = calling(number * 100 + REPEATED, tool, **arguments(ground))
            first.send(lines[name])
            (answers[name],) = answers_to(first, 1).values()
            assert not answers[name]["isError"], (name, answers[name])
        before = effects(place)
        first.kill()
        with started_worker(place) as second:
            second.activate(2, *lines.values(), reason="crash")
            arrived = answers_to(second, len(lines))
            for number, name in enumerate(CALLS, 1):
                if name == "document":
                    # It writes a file that has changed, and finds now that it has not.
                    continue
                assert told_by(arrived[number * 100 + REPEATED]) == told_by(answers[name]), name
            assert effects(place) == before


GONE: dict[str, tuple[str, dict[str, Any]]] = {
    "cancel": ("cancel_task", {"reason": "no need"}),
    "complete": ("complete_task", {"summary": "done", "detailed_work": "# All of it", "next_action": "complete"}),
    "delete": ("delete_task", {"mode": "delete", "force": True}),
}
"""Calls whose own record says all of their answer."""
SHOWING: dict[str, tuple[str, dict[str, Any]]] = {
    "update": ("update_task", {"title": "other"}),
    "claim": ("execute_task", {}),
}
"""Calls whose answer shows a task."""


@pytest.mark.parametrize("name", [*GONE, *SHOWING])
def test_a_call_is_answered_from_its_record_though_a_later_call_deleted_its_task(name: str) -> None:
    tool, arguments = (GONE | SHOWING)[name]
    with new_place() as place, started_worker(place) as first:
        first.activate()
        first.call(1, "initialize_session")
        planned = first.call(2, "plan_task", title="short-lived")
        task = planned["structuredContent"]["tasks"][0]["id"]
        if name == "complete":
            first.call(3, "execute_task", task_id=task)
        line = calling(4, tool, task_id=task, **arguments)
        first.send(line)
        answer = first.answer(4)
        assert not answer["isError"], answer
        other = calling(6, tool, task_id=task, **arguments)
        gone = calling(5, "delete_task", task_id=task, mode="delete", force=True)
        first.send(gone)
        assert name == "delete" or not first.answer(5)["isError"]
        first.kill()
        with started_worker(place) as second:
            second.activate(2, line, gone, reason="crash")
            told = second.answer(4)
            if name in GONE:
                empty = {"artifacts", "next_action"}
                told, answer = (one["structuredContent"] for one in (told, answer))
                assert without(told_by(told), empty) == without(told_by(answer), empty)
            else:
                assert told["isError"]
                assert "was carried out when it came first" in told["content"][0]["text"]
                assert "deleted since" in told["content"][0]["text"]
            # A new call is told that there is no such task, and nothing more.
            second.send(other)
            told = second.answer(6)
            assert told["isError"]
            assert "carried out" not in told["content"][0]["text"]


def answers_to(worker: Worker, count: int) -> dict[int, Any]:
    """Wait for so many answers; what the worker asks its front meanwhile is answered with the same, as an echo is."""
    arrived: dict[int, Any] = {}
    while len(arrived) < count:
        line = worker.until("R ", "@ ")[-1]
        if line.startswith("@ "):
            worker.send(line)
            continue
        _, number, told = line.split(" ", 2)
        arrived[int(number)] = json.loads(told)["result"]
    return arrived


def told_by(answer: Any) -> Any:
    """Give what an answer tells, without what is of the moment."""
    of_now = {"updated", "text", "released", "counts", "preview", "open_questions", "outcome", "findings", "version"}
    of_the_worker = {"generation", "hops"}
    return without(answer, of_now | of_the_worker)


def without(value: Any, names: set[str]) -> Any:
    if isinstance(value, dict):
        return {name: without(one, names) for name, one in value.items() if name not in names}
    return [without(one, names) for one in value] if isinstance(value, list) else value


def effects(place: Place) -> list[list[tuple[Any, ...]]]:
    """Give what the store holds, but for what a process does on its own."""
    return [
        *(
            place.rows(f"SELECT * FROM {table} ORDER BY 1, 2")  # noqa: S608 - our own names
            for table in ("session", "task", "dependency", "artifact", "job")
        ),
        place.rows("SELECT * FROM event WHERE what != 'worker_replaced' ORDER BY 1, 2"),
        place.rows("SELECT * FROM command WHERE key NOT LIKE 'own/%' AND key NOT LIKE 'generation/%' ORDER BY 1, 2"),
    ]
