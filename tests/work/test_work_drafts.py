"""Breakdowns before they have ids: keys, bounds, and dependencies that can never be met."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vespera_agents.work.drafts import DRAFTS_MAX, DependencyDraft, TaskDraft, check_drafts, walk_drafts
from vespera_agents.work.errors import Cycle, InvalidInput
from vespera_agents.work.models import CommandLine, DependencyKind, role_name


def draft(key: str, *on: str, subtasks: tuple[TaskDraft, ...] = (), kind: str = "completion") -> TaskDraft:
    dependencies = tuple(DependencyDraft(on=name, kind=DependencyKind(kind)) for name in on)
    return TaskDraft(key=key, title=key.upper(), dependencies=dependencies, subtasks=subtasks)


def test_a_walk_gives_parents_before_children_with_their_places() -> None:
    tree = (draft("a", subtasks=(draft("b", subtasks=(draft("c"),)), draft("d"))), draft("e"))
    walked = [(one.key, above and above.key, place) for one, above, place in walk_drafts(tree)]
    assert walked == [("a", None, 0), ("b", "a", 0), ("c", "b", 0), ("d", "a", 1), ("e", None, 1)]


def test_drafts_nested_deeper_than_the_recursion_limit_are_walked() -> None:
    nested = draft("last")
    for number in range(1_500):
        nested = TaskDraft.model_construct(**{**dict(nested), "key": str(number), "subtasks": (nested,)})
    assert len(check_drafts([nested])) == 1_501


def test_an_empty_breakdown_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no task"):
        check_drafts([])


def test_a_key_that_stands_twice_is_refused_at_any_depth() -> None:
    with pytest.raises(InvalidInput, match="'b' stands twice"):
        check_drafts([draft("a", subtasks=(draft("b"),)), draft("b")])


def test_more_drafts_than_one_breakdown_may_hold_are_refused() -> None:
    assert len(check_drafts([draft(str(number)) for number in range(DRAFTS_MAX)])) == DRAFTS_MAX
    with pytest.raises(InvalidInput, match=f"{DRAFTS_MAX + 1} tasks"):
        check_drafts([draft(str(number)) for number in range(DRAFTS_MAX + 1)])


@pytest.mark.parametrize("on", ["a", "b"])
def test_a_task_cannot_wait_for_a_container_that_it_belongs_to(on: str) -> None:
    with pytest.raises(InvalidInput, match=f"'c' depends on '{on}', the container"):
        check_drafts([draft("a", subtasks=(draft("b", subtasks=(draft("c", on),)),))])


@pytest.mark.parametrize(
    ("drafts", "path"),
    [
        ([draft("a", "a")], ("a", "a")),
        ([draft("a", "b"), draft("b", "a")], ("a", "b", "a")),
        ([draft("a", "b", subtasks=(draft("b"),))], ("a", "b", "a")),
        ([draft("a", subtasks=(draft("x", "y"),)), draft("y", "a")], ("a", "x", "y", "a")),
        ([draft("a", "y", subtasks=(draft("x"),)), draft("y", "x")], ("a", "y", "x", "a")),
        ([draft("a", "a", subtasks=(draft("x"),))], ("a", "a")),
        (
            [draft("a", "d", subtasks=(draft("b", subtasks=(draft("x"),)),)), draft("c", "x"), draft("d", "c")],
            ("a", "d", "c", "x", "b", "a"),
        ),
    ],
)
def test_a_circle_through_tasks_and_containers_is_refused_with_its_path(drafts, path) -> None:
    with pytest.raises(Cycle) as refused:
        check_drafts(drafts)
    assert refused.value.path == path


def test_related_tasks_and_tasks_outside_the_breakdown_close_no_circle() -> None:
    inside = draft("x", "a", kind="related")
    check_drafts([draft("a", "b", subtasks=(inside,)), draft("b", "a", kind="related"), draft("c", "task_0123")])


def waits(drafts) -> dict[str, set[str]]:
    """Say what each end waits for, the slow way: its dependencies, those of its containers, and its children."""
    inherited: dict[str, set[str]] = {}
    edges: dict[str, set[str]] = {}
    for one, above, _ in walk_drafts(drafts):
        own = {dependency.on for dependency in one.dependencies}
        inherited[one.key] = own | (inherited[above.key] if above else set())
        edges[one.key] = inherited[one.key] | {child.key for child in one.subtasks}
    return edges


@st.composite
def breakdowns(pick):
    names = [f"t{number}" for number in range(pick(st.integers(1, 6)))]
    parents = [pick(st.integers(-1, number - 1)) for number in range(len(names))]
    on = [pick(st.lists(st.sampled_from(names), max_size=2)) for _ in names]

    def build(number: int) -> TaskDraft:
        below = tuple(build(child) for child, parent in enumerate(parents) if parent == number)
        return draft(names[number], *on[number], subtasks=below)

    return [build(number) for number, parent in enumerate(parents) if parent == -1]


@given(breakdowns())
def test_a_breakdown_passes_exactly_when_its_tasks_can_be_done_in_some_order(drafts) -> None:
    edges = waits(drafts)
    done: set[str] = set()
    while following := {key for key in edges.keys() - done if edges[key] <= done}:
        done |= following
    try:
        by_key = check_drafts(drafts)
    except (Cycle, InvalidInput):
        assert done != edges.keys()
    else:
        assert done == edges.keys() == by_key.keys()


def test_bounds_are_checked_when_a_draft_is_made() -> None:
    with pytest.raises(ValidationError):
        TaskDraft(key="a", title="")
    with pytest.raises(ValidationError):
        TaskDraft(key="a", title="x" * 256)
    with pytest.raises(ValidationError):
        TaskDraft(key="a", title="x", colour="red")
    with pytest.raises(ValidationError):
        TaskDraft(key="a", title="x", dependencies=tuple(DependencyDraft(on=str(n)) for n in range(DRAFTS_MAX + 1)))


def test_roles_have_one_spelling() -> None:
    assert TaskDraft(key="a", title="x", specialist=" Coder ").specialist == "implementer"
    assert role_name("My-Own Role") == "my_own_role"


def test_a_command_is_split_as_a_shell_would_and_needs_a_word() -> None:
    assert CommandLine(text="echo 'a b' c").argv() == ("echo", "a b", "c")
    assert CommandLine(text="a | b", shell=True).argv() == ("/bin/sh", "-c", "a | b")  # noqa: S604 - not run
    for text in ("   ", "echo 'open", "nul\0"):
        with pytest.raises(ValidationError):
            CommandLine(text=text)
