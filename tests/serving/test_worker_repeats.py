"""Every mutating tool twice under one number, by a worker and by the one after it: one effect, one answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.serving.kit import Place, new_place
from tests.serving.worker_kit import Worker, calling, started_worker
from vespera_agents.serving.tools.catalogue import TOOLS

NUMBER = 90
"""That of the call that is repeated."""


@dataclass
class Ground:
    """What the calls are about."""

    place: Place
    worker: Worker
    session: str
    tasks: dict[str, str]


def lay(place: Place, worker: Worker) -> Ground:
    """Make a session with tasks in every state that a call may be about."""
    worker.activate()
    session = worker.call(1, "initialize_session", name="ground")["structuredContent"]["id"]
    titles = ("ready", "claimed", "gated", "waits", "empty", "done")
    tasks: dict[str, str] = {}
    for number, title in enumerate(titles, 2):
        more: dict[str, object] = {"gates": ["true"]} if title == "gated" else {}
        if title == "waits":
            more["dependencies"] = [tasks["ready"]]
        made = worker.call(number, "plan_task", title=title, session=session, **more)
        tasks[title] = made["structuredContent"]["tasks"][0]["id"]
    for number, title in enumerate(("claimed", "gated", "done"), 20):
        assert "isError" not in worker.call(number, "execute_task", task_id=tasks[title])
    worker.call(30, "complete_task", task_id=tasks["done"], summary="done", next_action="complete")
    worker.call(31, "update_task", task_id=tasks["ready"], status="blocked", reason="it rains")
    worker.call(32, "update_task", task_id=tasks["ready"], status="pending", reason="the sun shines")
    (place.project / "plan.md").write_text("# A plan\n\n- [ ] first\n- [ ] second\n")
    (place.project / "work.txt").write_text("what was done")
    return Ground(place, worker, session, tasks)


Arguments = Callable[[Ground], dict[str, Any]]
CALLS: dict[str, tuple[str, Arguments]] = {
    "open another session": ("initialize_session", lambda g: {"name": "another"}),
    "open the same session": ("initialize_session", lambda g: {"session_id": g.session}),
    "plan": ("plan_task", lambda g: {"title": "new", "subtasks": [{"title": "a"}, {"title": "b"}]}),
    "plan a file": ("plan_task", lambda g: {"plan_path": "plan.md"}),
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
    "scan": ("maintenance_coordinator", lambda g: {"action": "scan_cleanup", "dry_run": False}),
    "hand over": ("maintenance_coordinator", lambda g: {"action": "prepare_handover"}),
    "document": ("maintenance_coordinator", lambda g: {"action": "update_documentation"}),
}


def test_every_tool_that_changes_something_is_repeated_here() -> None:
    mutating = {name.removeprefix("orchestrator_") for name, tool in TOOLS.items() if not tool.effects.read_only}
    assert {tool for tool, _ in CALLS.values()} >= mutating - {"restart_server", "shutdown_prepare"}


@pytest.mark.parametrize("name", CALLS)
def test_a_repeated_call_has_one_effect_and_one_answer(name: str) -> None:
    """Beside the time at which something is said to be, which is now."""
    tool, arguments = CALLS[name]
    with new_place() as place, started_worker(place) as first:
        place.workspace.make()
        place.trust('[commands]\nallow = ["*"]\n')
        ground = lay(place, first)
        line = calling(NUMBER, tool, **arguments(ground))
        first.send(line)
        answer = first.answer(NUMBER)
        assert "isError" not in answer, answer
        rows = effects(place)
        # What comes between the two, and must not come between them.
        first.call(95, "plan_task", title="in between", session=ground.session)
        between = effects(place)
        first.kill()
        with started_worker(place) as second:
            second.activate(2, line, reason="crash")
            assert told(second.answer(NUMBER)) == told(answer)
            assert effects(place) == between
            assert between != rows, "the call in between has an effect"


def told(answer: Any) -> Any:
    """Give what an answer tells, without what is of the moment."""
    return without(answer, {"updated", "created_now", "text", "released", "counts", "preview"})


def without(value: Any, names: set[str]) -> Any:
    if isinstance(value, dict):
        return {name: without(one, names) for name, one in value.items() if name not in names}
    return [without(one, names) for one in value] if isinstance(value, list) else value


def effects(place: Place) -> list[list[tuple[Any, ...]]]:
    """Give what the store holds, but for what a process does on its own."""
    return [
        place.rows(f"SELECT * FROM {table} ORDER BY 1, 2")  # noqa: S608 - our own names
        for table in ("session", "task", "dependency", "artifact", "event", "job")
    ] + [place.rows("SELECT * FROM command WHERE key NOT LIKE 'own/%' ORDER BY 1, 2")]
