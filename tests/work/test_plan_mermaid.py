"""Graphs: every way to draw an arrow, and what the labels mean."""

from __future__ import annotations

import pytest

from vespera_agents.work.plans import read_plan
from vespera_agents.work.plans.mermaid import is_graph, read_graph


def drawn(*lines: str) -> list[tuple[str, str]]:
    drawing = read_graph(["graph TD", *lines], range(len(lines) + 1))
    assert drawing.left == []
    return [(edge.before, edge.after) for edge in drawing.edges]


@pytest.mark.parametrize(
    "line",
    [
        "A --> B",
        "A-->B",
        "A ---> B;",
        "A -.-> B",
        "A-.->B",
        "A ==> B",
        "A --o B",
        "A --x B",
        "A -->|then| B",
        "A -- then --> B",
        "A -. then .-> B",
        "A == then ==> B",
        "B <-- A",
        "A[Label here] --> B(Round)",
        'A["Say: [yes]"] --> B{{Six}}',
        "A((x)) --> B([y])",
        "A[[x]] --> B[(y)]",
        "A{x} --> B>y]",
        "A[/x/] --> B(((y)))",
        "A:::hot --> B %% comment",
        "A --> B:::cold",
        "flowchart LR; A --> B",
    ],
)
def test_an_arrow_is_an_edge(line: str):
    assert drawn(line) == [("A", "B")]


def test_chains_and_groups_of_nodes_are_many_edges():
    assert drawn("A & B --> C --> D & E") == [("A", "C"), ("B", "C"), ("C", "D"), ("C", "E")]


def test_labels_and_texts_are_kept():
    drawing = read_graph(["graph LR", 'A["Plan<br/>it"] -- after --> B-1'], range(2))
    assert drawing.label("A") == "Plan it"
    assert drawing.label("B-1") == "B-1"
    assert drawing.edges[0].text == "after"


def test_drawing_statements_are_no_edges():
    lines = ["subgraph one [First]", "direction LR", "A", "end", "style A fill:#fff", "classDef x y", "click A b"]
    drawing = read_graph(["graph TD", *lines], range(8))
    assert (drawing.edges, drawing.left, drawing.groups) == ([], [], ["one [First]"])


@pytest.mark.parametrize("line", ["A --- B", "A <--> B", "A ~~~ B"])
def test_links_without_direction_order_nothing(line: str):
    drawing = read_graph(["graph TD", line], range(2))
    assert (drawing.edges, drawing.undirected) == ([], [1])


@pytest.mark.parametrize("line", ["A[open --> B", "--> B", "A -->", "A what", "A & --> B", "!"])
def test_what_is_no_graph_is_given_back(line: str):
    assert read_graph(["graph TD", line], range(2)).left == [1]


def test_other_diagrams_are_text():
    assert is_graph("flowchart LR")
    assert not is_graph("gantt")
    plan = read_plan("# T\n## Phase 1: x\n- a\n```mermaid\ngantt\n  title X\n```\n```mermaid\n```\n", name="x")
    assert plan.graph == ()
    assert any("gantt" in section.text for section in plan.sections)


def plan_of(graph: str):
    return read_plan(
        "# T\n## Phase 1: Alpha\n- `01-a.md` - Make a\n- `02-b.md` - Make b\n## Phase 2: Beta\n- `03-c.md` - Make c\n"
        f"## Phase 3: Gamma\n- `04-d.md` - Make d\n## Flow\n```mermaid\ngraph TD\n{graph}\n```\n",
        name="x",
    )


def test_labels_mean_phases_and_items_by_number_title_and_file():
    plan = plan_of("A[Phase 1: Something] --> B[Gamma]\nX[02-b] --> Y[03: c]\nZ[Make a] --> X")
    assert [phase.dependencies for phase in plan.phases] == [(), ("phase-1",), ("phase-1",)]
    assert {item.key: item.dependencies for item in plan.items} == {
        "01-a": (),
        "02-b": ("01-a",),
        "03-c": ("02-b",),
        "04-d": (),
    }
    assert plan.items[2].dependencies_explicit
    assert not plan.items[0].dependencies_explicit
    assert plan.phases[0].dependencies_explicit
    assert not plan.phases[1].dependencies_explicit


def test_edges_reach_through_nodes_that_mean_nothing():
    plan = plan_of("A[Phase 1] --> R{Review?} --> S[Sign] --> C[Phase 3]\nS --> R")
    assert plan.phases[2].dependencies == ("phase-1",)
    assert sum("Review?" in note.text for note in plan.notes) == 3


def test_a_graph_that_means_nothing_is_a_workflow():
    plan = plan_of("A[Wake] -->|then| B[Eat]\nC[Sleep]")
    assert plan.workflow == ("Sleep", "Wake -> Eat (then)")
    assert plan.phases[1].dependencies == ("phase-1",)
    assert plan.notes == ()


def test_undirected_links_and_lines_that_are_none_are_told():
    plan = plan_of("A[Phase 1] --- B[Phase 2]\n???")
    assert "no direction" in plan.notes[0].text
    assert [line.text for line in plan.unplaced] == ["???"]
