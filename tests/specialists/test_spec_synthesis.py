"""The synthesis is pure: the same rows give the same text, in the order of the work, whatever the rows say."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from vespera_agents.specialists.gathering import artifact_files
from vespera_agents.specialists.standing import blocked_tasks, counts_of, outcome_of
from vespera_agents.specialists.synthesis import WorkRows, synthesize
from vespera_agents.work.models import (
    Artifact,
    ArtifactKind,
    CommandLine,
    Dependency,
    DependencyKind,
    DependencyState,
    Task,
    TaskStatus,
)

MARKDOWN = MarkdownIt("commonmark").enable("table")


def task(name: str, status: TaskStatus = TaskStatus.COMPLETED, **more) -> Task:
    given = {"id": f"task_{name}", "session_id": "s", "position": 0, "title": name, "created": 0.0, "updated": 0.0}
    return Task(**{**given, "status": status, **more})


def wait(on: str, by: str, state: DependencyState = DependencyState.SATISFIED, **more) -> Dependency:
    return Dependency(task_id=f"task_{by}", on_task_id=f"task_{on}", state=state, **more)


def table_rows(text: str) -> list[list[str]]:
    """Read the table as a Markdown reader does: the cells of each row of its body."""
    rows, cells = [], []
    body = False
    for token, following in itertools.pairwise(MARKDOWN.parse(text)):
        body = {"tbody_open": True, "tbody_close": False}.get(token.type, body)
        if body and token.type == "tr_open":
            cells = []
            rows.append(cells)
        if body and token.type == "td_open":
            cells.append("".join(child.content for child in following.children or ()))
    return rows


def order(rows: WorkRows) -> list[str]:
    return [cells[0] for cells in table_rows(synthesize(rows).text)]


def test_tasks_stand_in_the_order_of_the_work_and_otherwise_of_the_plan():
    tasks = [task("c"), task("a"), task("d"), task("b")]
    assert order(WorkRows("t", tasks, [wait("a", "c"), wait("b", "a")])) == ["b", "a", "c", "d"]


def test_what_a_container_waits_for_comes_before_what_is_in_it():
    tasks = [task("box", children=1), task("in", parent_id="task_box"), task("first")]
    assert order(WorkRows("t", tasks, [wait("first", "box")])) == ["first", "in"]


def test_what_waits_for_a_container_comes_after_what_is_in_it():
    tasks = [task("after"), task("box", children=1), task("in", parent_id="task_box")]
    assert order(WorkRows("t", tasks, [wait("box", "after")])) == ["in", "after"]


def test_related_tasks_wait_for_nothing_even_in_a_circle():
    related = [wait(*pair, kind=DependencyKind.RELATED, mandatory=False) for pair in (("a", "b"), ("b", "a"))]
    assert order(WorkRows("t", [task("b"), task("a")], related)) == ["b", "a"]


def test_the_text_is_the_same_whatever_order_dependencies_and_artifacts_come_in():
    tasks = [task(name, started=1.0, finished=2.0) for name in "abcde"]
    dependencies = [wait("a", "c"), wait("b", "c"), wait("c", "e"), wait("d", "e")]
    texts = set()
    for seed in range(10):
        random.Random(seed).shuffle(dependencies)
        texts.add(synthesize(WorkRows("t", tasks, tuple(dependencies))).text)
    assert len(texts) == 1


NASTY = [
    "a | b", "line\nbreak", "a \\| b", "\\", "| |\n|---|", "# heading\n\n# another", "<script>alert(1)</script>",
    "[text](http://evil)",
    "`code` | `", "]( | )", "x" * 400, "|" * 400, "\\|" * 200, "- item\n- item",
    "a\r\nb", "``` python\n```\n~~~\n===\n---\n+ x\n> y", "``a` `", "*a* **b", "ü\u2028ß",
]  # fmt: skip


@pytest.mark.parametrize("text", NASTY)
def test_nothing_that_a_client_wrote_breaks_the_table_or_adds_to_the_outline(text):
    title = text[:255]
    tasks = [
        task("one", title=title, summary=text, specialist=text, started=1.0, finished=2.0),
        task("two", TaskStatus.FAILED, title=title, status_reason=text),
        task("three", TaskStatus.BLOCKED, title=title, status_reason=text),
    ]
    artifact = Artifact(
        id="artifact_1", session_id="s", task_id="task_one", kind=ArtifactKind.DATA, name=text, mime_type="text/plain",
        size=1, sha256="ab" * 32, created=0.0,
    )  # fmt: skip
    result = synthesize(WorkRows(text, tasks, (), [artifact], artifact_files([artifact])))
    rows = table_rows(result.text)
    assert [len(cells) for cells in rows] == [5, 5, 5]
    assert [cells[1] for cells in rows] == ["completed", "failed", "blocked"]
    tokens = MARKDOWN.parse(result.text)
    headings = [after.content for token, after in itertools.pairwise(tokens) if token.type == "heading_open"]
    assert headings[1:] == ["Failed, blocked and waived", "What was done", "Timeline", "Open questions"]
    assert not [token for token in tokens if token.type == "html_block"]
    children = [child for token in tokens for child in token.children or ()]
    assert not [child for child in children if child.type == "html_inline"]
    links = {child.attrs["href"] for child in children if child.type == "link_open"}
    assert links == {f"../artifacts/ab/{'ab' * 32}"}


@given(st.lists(st.text(max_size=60), min_size=1, max_size=5))
def test_the_table_has_one_row_for_each_task_whatever_its_title(titles):
    tasks = [task(f"t{number}", title=title or "-") for number, title in enumerate(titles)]
    rows = table_rows(synthesize(WorkRows("t", tasks)).text)
    assert [len(cells) for cells in rows] == [5] * len(tasks)


def test_a_summary_of_several_lines_stays_in_its_item():
    text = synthesize(WorkRows("t", [task("a", summary="first\n\nsecond")])).text
    assert "- **a**: first\n  > second" in text


def test_a_command_in_a_reason_is_shown_as_it_was():
    reason = "the gate `grep -c '[a|b]' <file>` said [no] and ` alone"
    text = synthesize(WorkRows("t", [task("a", TaskStatus.FAILED, status_reason=reason)])).text
    assert "failed: the gate `grep -c '[a|b]' <file>` said \\[no\\] and \\` alone" in text


def test_every_state_of_a_task_is_told_with_its_reason():
    run = CommandLine(text="true")
    tasks = [
        task("done", summary="well"),
        task("failed", TaskStatus.FAILED, status_reason="it broke"),
        task("behind", TaskStatus.PENDING, open_dependencies=1),
        task("far", TaskStatus.PENDING, open_dependencies=1),
        task("waived", TaskStatus.CANCELLED, waived=True, status_reason="no tests here"),
        task("cancelled", TaskStatus.CANCELLED),
        task("client", TaskStatus.PENDING),
        task("ready", TaskStatus.PENDING, run=run),
        task("review", TaskStatus.REVIEW, status_reason="look"),
        task("blocked", TaskStatus.BLOCKED, status_reason="no key"),
        task("busy", TaskStatus.IN_PROGRESS, claimed_by="srv_1"),
    ]
    dependencies = [wait("failed", "behind", DependencyState.FAILED), wait("behind", "far", DependencyState.OPEN)]
    result = synthesize(WorkRows("t", tasks, dependencies))
    assert result.outcome == "failed"
    assert result.counts["waived"] == result.counts["cancelled"] == 1
    for said in (
        "**failed** failed: it broke",
        "**behind** is blocked by: task_failed failed: failed",
        "**far** is blocked by: task_failed failed: failed",
        "**waived** was waived: no tests here",
        "**cancelled** was cancelled: no reason was recorded",
        "**done**: well",
    ):
        assert said in result.text
    assert [question.split()[0] for question in result.open_questions] == ["client", "review", "blocked", "busy"]


@pytest.mark.parametrize(
    ("counts", "outcome"),
    [
        ({}, "waiting"),
        ({"completed": 3}, "completed"),
        ({"completed": 3, "cancelled": 1}, "completed"),
        ({"cancelled": 1}, "cancelled"),
        ({"waived": 2}, "completed"),
        ({"completed": 1, "failed": 1, "pending": 1}, "failed"),
        ({"completed": 1, "review": 1}, "in_progress"),
        ({"in_progress": 1, "pending": 1}, "in_progress"),
        ({"completed": 1, "pending": 1}, "waiting"),
        ({"blocked": 1}, "waiting"),
        ({"archived": 1}, "completed"),
    ],
)
def test_one_word_says_how_work_stands(counts, outcome):
    assert outcome_of(counts) == outcome


def test_a_task_is_blocked_by_what_failed_however_far_away_and_through_containers():
    tasks = [
        task("bad", TaskStatus.FAILED),
        task("box", TaskStatus.PENDING, children=1, open_dependencies=1),
        task("in", TaskStatus.PENDING, parent_id="task_box", open_dependencies=1),
        task("after", TaskStatus.PENDING, open_dependencies=1),
        task("waits", TaskStatus.PENDING, open_dependencies=1),
        task("slow", TaskStatus.IN_PROGRESS),
    ]
    dependencies = [
        wait("bad", "box", DependencyState.FAILED),
        wait("box", "after", DependencyState.OPEN),
        wait("slow", "waits", DependencyState.OPEN),
    ]
    blocked = {entry.title: entry.blocked_by for entry in blocked_tasks(tasks, dependencies)}
    assert blocked == {"in": ["task_bad bad: failed"], "after": ["task_bad bad: failed"]}
    assert counts_of(tasks) == {"failed": 1, "in_progress": 1, "pending": 3}
