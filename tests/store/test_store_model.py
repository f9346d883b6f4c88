"""A state machine drives the commands on a real SQLite file, beside a model that knows no counters and no SQL.

The model keeps tasks, edges and the statuses of leaves; everything else it works out anew after each command. Then
the rows must say the same, and what the rows count must be what they contain.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from vespera_agents.store.checks import CheckBudget, check_structure
from vespera_agents.store.commands import (
    CancelTask,
    ClaimTask,
    DeleteTask,
    FinishTask,
    PlanTasks,
    ReleaseClaims,
    UpdateTask,
)
from vespera_agents.work.drafts import DependencyDraft, TaskDraft, walk_drafts
from vespera_agents.work.errors import Cycle, InvalidInput, Refusal
from vespera_agents.work.machine import LIVE, TRANSITIONS, container_status, dependency_state
from vespera_agents.work.models import DependencyKind, DependencyState, TaskStatus

S = TaskStatus
SERVERS = ("srv_a", "srv_b")
FINISHES = (S.COMPLETED, S.REVIEW, S.BLOCKED, S.FAILED, S.CANCELLED, S.PENDING)
UPDATES = (S.PENDING, S.IN_PROGRESS, S.BLOCKED, S.REVIEW, S.FAILED, S.CANCELLED)
REFUSED = "refused"
"""What the model says of a command that the rows do not allow."""


@dataclass
class Item:
    """A task as the model knows it."""

    parent: str | None
    status: TaskStatus = S.PENDING
    waived: bool = False
    claimed_by: str | None = None
    reached: tuple[TaskStatus, bool] | None = None
    """What it was archived from."""


@dataclass
class Edge:
    """A dependency as the model knows it."""

    kind: DependencyKind
    mandatory: bool
    waived: bool = False
    """By somebody, not by the condition of the task waited for."""


@dataclass
class Model:
    """The naive truth."""

    items: dict[str, Item] = field(default_factory=dict)
    edges: dict[tuple[str, str], Edge] = field(default_factory=dict)

    def children(self, name: str | None) -> list[str]:
        return [key for key, item in self.items.items() if item.parent == name]

    def above(self, name: str) -> list[str]:
        """A task and its containers."""
        parent = self.items[name].parent
        return [name] if parent is None else [name, *self.above(parent)]

    def subtree(self, name: str) -> list[str]:
        return [name, *(key for child in self.children(name) for key in self.subtree(child))]

    def leaves(self, name: str) -> list[str]:
        return [key for key in self.subtree(name) if not self.children(key)]

    def state(self, on: str, edge: Edge) -> DependencyState:
        if edge.waived:
            return DependencyState.WAIVED
        item = self.items[on]
        status, waived = item.reached or (item.status, item.waived)
        return dependency_state(status, waived=waived) or DependencyState.FAILED

    def holders(self, name: str) -> list[str]:
        above = self.above(name)
        return [
            on
            for (task, on), edge in self.edges.items()
            if task in above and edge.mandatory and self.state(on, edge) in {"open", "failed"}
        ]

    def ready(self, name: str) -> bool:
        return self.items[name].status is S.PENDING and not self.children(name) and not self.holders(name)

    def circular(self) -> bool:
        """Whether the tasks cannot be done in any order: the slow way, by doing them."""
        waits = {
            name: {on for (task, on), edge in self.edges.items() if task in self.above(name) and edge.kind != "related"}
            | set(self.children(name))
            for name in self.items
        }
        done: set[str] = set()
        while following := {name for name in waits.keys() - done if waits[name] <= done}:
            done |= following
        return done != waits.keys()

    def move(self, name: str, status: TaskStatus, *, waived: bool = False, claimed_by: str | None = None) -> None:
        item = self.items[name]
        if status is S.ARCHIVED:
            item.reached = (item.status, item.waived)
        else:
            item.waived = waived
        item.status = status
        item.claimed_by = claimed_by if status is S.IN_PROGRESS else None

    def settle(self) -> None:
        """Let the containers follow their children, the deepest first."""
        for name in sorted(self.items, key=lambda key: -len(self.above(key))):
            if not self.children(name):
                continue
            item = self.items[name]
            counts = Counter((self.items[key].status, self.items[key].waived) for key in self.children(name))
            status, waived = container_status(counts)
            if status is S.ARCHIVED and item.status is not S.ARCHIVED:
                item.reached = (item.status, item.waived)
            item.status = status
            item.waived = item.waived if status is S.ARCHIVED else waived


class StoreMachine(RuleBasedStateMachine):
    """The commands, in any order."""

    def __init__(self, new_bench) -> None:
        super().__init__()
        self.bench = new_bench()
        self.model = Model()
        self.events: list[object] = []
        self.planned = 0

    # ---- what is drawn

    def pick(self, data, names: list[str] | None = None) -> str:
        return data.draw(st.sampled_from(names or list(self.model.items)))

    def apply(self, command, expected: Model | str):
        """Apply a command; the model becomes the expected one, or stays when it expects a refusal."""
        if expected == REFUSED:
            with pytest.raises(Refusal) as refused:
                self.bench.apply(command)
            assert refused.value.next_action
            return refused.value
        result = self.bench.apply(command)
        assert isinstance(expected, Model)
        before = {name for name in self.model.items if self.model.ready(name)}
        self.model = expected
        if isinstance(result, dict) and "ready" in result:
            # What a command gave back itself is not news to whoever gave it back.
            assert len(set(result["ready"])) == len(result["ready"])
            now = {name for name in self.model.items if self.model.ready(name)}
            assert now - before - {result["task_id"]} <= set(result["ready"]) <= now
        return result

    # ---- the commands

    @rule(data=st.data(), below=st.booleans())
    def plan(self, data, below: bool) -> None:
        self.planned += 1
        size = data.draw(st.integers(1, 4))
        keys = [f"k{self.planned}.{number}" for number in range(size)]
        parents = [data.draw(st.integers(-1, number - 1)) for number in range(size)]
        edges = [self.draw_edges(data, keys) for _ in keys]
        done = [data.draw(st.sampled_from([False, False, False, True])) for _ in keys]

        def build(number: int) -> TaskDraft:
            under = tuple(build(child) for child, parent in enumerate(parents) if parent == number)
            return TaskDraft(
                key=keys[number], title=keys[number], dependencies=edges[number], done=done[number], subtasks=under
            )

        drafts = tuple(build(number) for number, parent in enumerate(parents) if parent == -1)
        parent = self.pick(data) if below and self.model.items else None
        expected = copy.deepcopy(self.model)
        for one, above, _ in walk_drafts(drafts):
            expected.items[one.key] = Item(above.key if above else parent)
        for one, _, _ in walk_drafts(drafts):
            for dependency in one.dependencies:
                binding = dependency.mandatory and dependency.kind != "related"
                expected.edges[one.key, dependency.on] = Edge(dependency.kind, binding)
        own_container = any(
            dependency.on in expected.above(one.key)[1:] and dependency.on in keys and dependency.kind != "related"
            for one, _, _ in walk_drafts(drafts)
            for dependency in one.dependencies
        )
        impossible = parent is not None and (
            self.model.items[parent].status is S.ARCHIVED
            if self.model.children(parent)
            else self.model.items[parent].status is not S.PENDING
        )
        command = PlanTasks("test", self.bench.session_id, drafts, parent)
        if own_container or impossible or expected.circular():
            refusal = self.apply(command, REFUSED)
            assert own_container or impossible or isinstance(refusal, Cycle)
            assert not own_container or isinstance(refusal, InvalidInput | Cycle)
            return
        for key in [one.key for one, _, _ in walk_drafts(drafts) if one.done and not one.subtasks]:
            expected.items[key].status = S.COMPLETED
        expected.settle()
        ids = self.bench.apply(command)["ids"]
        self.model = renamed(expected, ids)

    def draw_edges(self, data, keys: list[str]) -> tuple[DependencyDraft, ...]:
        names = data.draw(st.lists(st.sampled_from([*keys, *list(self.model.items)[-8:]]), max_size=2, unique=True))
        kind = data.draw(st.sampled_from([DependencyKind.COMPLETION, DependencyKind.DATA, DependencyKind.RELATED]))
        return tuple(DependencyDraft(on=name, kind=kind, mandatory=data.draw(st.booleans())) for name in names)

    @precondition(lambda self: self.model.items)
    @rule(data=st.data(), server=st.sampled_from(SERVERS))
    def claim(self, data, server: str) -> None:
        waiting = [name for name in self.model.items if self.model.ready(name)]
        name = self.pick(data, waiting if waiting and data.draw(st.booleans()) else None)
        item = self.model.items[name]
        expected: Model | str = REFUSED
        if self.model.ready(name) or (item.status is S.REVIEW and not self.model.children(name)):
            expected = copy.deepcopy(self.model)
            expected.move(name, S.IN_PROGRESS, claimed_by=server)
            expected.settle()
        elif item.status is S.IN_PROGRESS and item.claimed_by == server and not self.model.children(name):
            expected = self.model
        result = self.apply(ClaimTask("test", name, server), expected)
        if expected is self.model:
            assert isinstance(result, dict)

    @precondition(lambda self: self.model.items)
    @rule(data=st.data(), server=st.sampled_from(SERVERS), status=st.sampled_from(FINISHES), waived=st.booleans())
    def finish(self, data, server: str, status: TaskStatus, waived: bool) -> None:
        busy = [name for name, item in self.model.items.items() if item.claimed_by]
        name = self.pick(data, busy if busy and data.draw(st.integers(0, 4)) else None)
        item = self.model.items[name]
        waived = waived and status is S.CANCELLED
        expected: Model | str = REFUSED
        if (
            not self.model.children(name)
            and item.status in {S.IN_PROGRESS, S.REVIEW, S.BLOCKED}
            and status in TRANSITIONS[item.status]
            and item.claimed_by in {None, server}
            and not (status is S.COMPLETED and self.model.holders(name))
        ):
            expected = copy.deepcopy(self.model)
            expected.move(name, status, waived=waived)
            expected.settle()
        self.apply(FinishTask("test", name, server, status, reason="so", waived=waived), expected)

    @precondition(lambda self: self.model.items)
    @rule(data=st.data(), status=st.sampled_from(UPDATES), server=st.sampled_from(SERVERS))
    def update_status(self, data, status: TaskStatus, server: str) -> None:
        name = self.pick(data)
        item = self.model.items[name]
        command = UpdateTask("test", name, server, status=status, reason="so")
        expected: Model | str = copy.deepcopy(self.model)
        if status is not item.status:
            if (
                self.model.children(name)
                or status not in TRANSITIONS[item.status]
                or (status is S.IN_PROGRESS and self.model.holders(name))
            ):
                expected = REFUSED
            else:
                expected.move(name, status, claimed_by=server)
                expected.settle()
        elif status is S.IN_PROGRESS and not self.model.children(name) and item.claimed_by != server:
            expected = REFUSED
        self.apply(command, expected)

    @precondition(lambda self: self.model.items)
    @rule(data=st.data(), kind=st.sampled_from(DependencyKind), mandatory=st.booleans())
    def add_dependency(self, data, kind: DependencyKind, mandatory: bool) -> None:
        name, on = self.pick(data), self.pick(data)
        expected = copy.deepcopy(self.model)
        expected.edges[name, on] = Edge(kind, mandatory and kind != "related")
        command = UpdateTask("test", name, "srv_a", add=(DependencyDraft(on=on, kind=kind, mandatory=mandatory),))
        if expected.circular():
            assert isinstance(self.apply(command, REFUSED), Cycle)
        else:
            self.apply(command, expected)

    @precondition(lambda self: self.model.edges)
    @rule(data=st.data(), waive=st.booleans())
    def let_go_of_a_dependency(self, data, waive: bool) -> None:
        name, on = data.draw(st.sampled_from(list(self.model.edges)))
        expected = copy.deepcopy(self.model)
        if waive:
            expected.edges[name, on].waived = True
            command = UpdateTask("test", name, "srv_a", waive=(on,), reason="decided")
        else:
            del expected.edges[name, on]
            command = UpdateTask("test", name, "srv_a", remove=(on,))
        self.apply(command, expected)

    @precondition(lambda self: self.model.items)
    @rule(data=st.data(), cascade=st.booleans())
    def cancel(self, data, cascade: bool) -> None:
        name = self.pick(data)
        live = [key for key in self.model.leaves(name) if self.model.items[key].status in LIVE]
        expected: Model | str = REFUSED
        if live and (cascade or not self.model.children(name)):
            expected = copy.deepcopy(self.model)
            for key in live:
                expected.move(key, S.CANCELLED)
            expected.settle()
        result = self.apply(CancelTask("test", name, "because", cascade=cascade), expected)
        if expected != REFUSED:
            assert sorted(result["task_ids"]) == sorted(live)

    @precondition(lambda self: len(self.model.items) > 3)
    @rule(data=st.data(), delete=st.booleans(), force=st.booleans())
    def remove(self, data, delete: bool, force: bool) -> None:
        name = self.pick(data)
        inside = self.model.subtree(name)
        dependents = [
            task
            for (task, on), edge in self.model.edges.items()
            if on in inside
            and task not in inside
            and edge.mandatory
            and self.model.state(on, edge) in {"open", "failed"}
            and self.model.items[task].status in LIVE
        ]
        command = DeleteTask("test", name, delete=delete, force=force)
        archived = self.model.items[name].status is S.ARCHIVED
        if (not force and (delete or dependents)) or (not delete and archived):
            self.apply(command, REFUSED)
            return
        expected = copy.deepcopy(self.model)
        for key in expected.leaves(name):
            if expected.items[key].status in LIVE:
                expected.move(key, S.CANCELLED)
        expected.settle()
        if delete:
            parent = expected.items[name].parent
            for key in inside:
                del expected.items[key]
            expected.edges = {pair: edge for pair, edge in expected.edges.items() if not set(pair) & set(inside)}
            if parent and not expected.children(parent):
                was = self.model.items[parent]
                expected.items[parent] = copy.copy(was)
                if was.status in LIVE:
                    expected.items[parent].status = S.PENDING
        else:
            for key in expected.leaves(name):
                if expected.items[key].status is not S.ARCHIVED:
                    expected.move(key, S.ARCHIVED)
        expected.settle()
        result = self.apply(command, expected)
        assert sorted(result["deleted" if delete else "archived"]) == sorted(inside)
        assert set(result["released_dependents"]) <= set(expected.items)

    @rule(server=st.sampled_from(SERVERS))
    def release(self, server: str) -> None:
        expected = copy.deepcopy(self.model)
        held = [name for name, item in self.model.items.items() if item.claimed_by == server]
        for name in held:
            expected.move(name, S.PENDING)
        expected.settle()
        result = self.apply(ReleaseClaims("test", (server,)), expected)
        assert sorted(result["task_ids"]) == sorted(held)

    # ---- what must be true after each

    @invariant()
    def the_rows_say_what_the_model_says(self) -> None:
        rows = self.bench.connection.execute(
            "SELECT id, parent_id, status, waived, claimed_by, children, open_dependencies FROM task"
        ).fetchall()
        assert {row[0] for row in rows} == self.model.items.keys()
        for name, parent, status, waived, claimed_by, children, held in rows:
            item = self.model.items[name]
            assert (parent, status, bool(waived), claimed_by) == (
                item.parent,
                item.status,
                item.waived,
                item.claimed_by,
            )
            assert children == len(self.model.children(name))
            assert held == len(self.model.holders(name))
        edges = self.bench.connection.execute("SELECT task_id, on_task_id, mandatory, state FROM dependency").fetchall()
        assert {(task, on): (bool(mandatory), state) for task, on, mandatory, state in edges} == {
            (task, on): (edge.mandatory, self.model.state(on, edge)) for (task, on), edge in self.model.edges.items()
        }

    @invariant()
    def what_is_counted_is_what_is_there(self) -> None:
        wrong = self.bench.connection.execute(
            """
            WITH RECURSIVE above(task, id) AS (
                SELECT id, id FROM task UNION ALL
                SELECT above.task, parent.parent_id FROM above JOIN task AS parent ON parent.id = above.id
                WHERE parent.parent_id IS NOT NULL
            )
            SELECT id FROM task WHERE children != (SELECT count(*) FROM task AS child WHERE child.parent_id = task.id)
                OR open_dependencies != (
                    SELECT count(*) FROM above JOIN dependency ON dependency.task_id = above.id
                    WHERE above.task = task.id AND mandatory AND state IN ('open', 'failed'))
                OR (claimed_by IS NOT NULL AND status != 'in_progress')
            """
        ).fetchall()
        assert not wrong

    @invariant()
    def the_structure_is_in_order(self) -> None:
        assert check_structure(self.bench.connection, CheckBudget(integrity=False)) == []

    @invariant()
    def events_are_only_appended(self) -> None:
        events = self.bench.connection.execute("SELECT * FROM event ORDER BY seq").fetchall()
        assert events[: len(self.events)] == self.events
        self.events = events


def renamed(model: Model, ids: dict[str, str]) -> Model:
    """Give planned tasks the ids that the store gave them."""

    def name(key: str) -> str:
        return ids.get(key, key)

    for item in model.items.values():
        item.parent = item.parent and name(item.parent)
    return Model(
        {name(key): item for key, item in model.items.items()},
        {(name(task), name(on)): edge for (task, on), edge in model.edges.items()},
    )


def test_the_commands_keep_the_rows_true_in_any_order(new_bench) -> None:
    run_state_machine_as_test(
        partial(StoreMachine, new_bench),
        settings=settings(
            max_examples=60,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        ),
    )
