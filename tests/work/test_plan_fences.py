"""Fences as they were meant, headings broken in two, and YAML that is none."""

from __future__ import annotations

import pytest

from vespera_agents.work.plans import Plan, read_plan
from vespera_agents.work.plans.fences import find_fences
from vespera_agents.work.plans.yaml_nodes import BracketBudget, read_yaml
from vespera_agents.work.plans.yaml_salvage import salvage
from vespera_agents.work.plans.yaml_tree import YamlList, YamlMap, YamlNode, YamlText

TASK = "task_details:\n  title: Alpha\n  specialist_type: tester\n"


def fences(text: str) -> list[tuple[str, str, bool]]:
    lines = text.split("\n")
    found = find_fences(lines, 0).fences
    return [(fence.language, "\n".join(lines[line] for line in fence.body), fence.closed) for fence in found]


def value(node: YamlNode | None) -> object:
    if isinstance(node, YamlMap):
        return {key.text: value(inner) for key, inner in node.pairs}
    if isinstance(node, YamlList):
        return [value(inner) for inner in node.entries]
    return node.text if isinstance(node, YamlText) else None


def salvaged(text: str) -> tuple[object, list[int]]:
    lines = text.split("\n")
    root, left = salvage(lines, range(len(lines)))
    return value(root), left


@pytest.mark.parametrize(
    "block",
    [
        f"```yaml\n{TASK}```",
        f"```yaml\n{TASK}```text",
        f"```yaml\n{TASK}```yaml",
        f"```text\nyaml\n{TASK}```text",
        f"```text\n\nyaml\n{TASK}\n```",
        f"```yaml\nyaml\n{TASK}```text",
        f"```yaml\n```yaml\n{TASK}```",
        f"```\n{TASK}```",
        f"```text\n{TASK}```",
        f"~~~yml\n{TASK}~~~",
        f"````yaml\n{TASK}````",
        f"```YAML\n{TASK}```",
        f"```{{.yaml}}\n{TASK}```",
        f"- ```yaml\n{TASK}```",
        f"```yaml\n{TASK}",
    ],
)
def test_a_task_is_found_behind_any_fence(block: str):
    plan = read_plan(f"# T\n\n## Phase 1: x\n\n#### one\n\n{block}\n\n#\n## Phase 2: y\n\n- b\n", name="x")
    assert [(item.title, item.phase) for item in plan.items] == [("Alpha", "phase-1"), ("b", "phase-2")]
    assert [phase.title for phase in plan.phases] == ["x", "y"]
    assert plan.unplaced == ()


def test_a_close_that_names_a_language_ends_the_fence():
    assert fences("```yaml\na: 1\n```text\n\n# Next") == [("yaml", "a: 1", True)]
    assert fences("```text\ntree\n```text\nprose") == [("text", "tree", True)]


def test_an_opening_inside_a_fence_ends_the_one_before():
    assert fences("```yaml\na: 1\n```bash\nls\n```") == [("yaml", "a: 1", False), ("bash", "ls", True)]
    assert fences("```yaml\na: 1\n```text\nbash\nls\n```text") == [("yaml", "a: 1", False), ("bash", "ls", True)]


def test_a_fence_that_is_never_closed_ends_where_the_document_goes_on():
    assert fences("```bash\nls\n\n**Next**: x\n") == [("bash", "ls\n", False)]
    assert fences("```bash\nls\n# comment\nrm") == [("bash", "ls\n# comment\nrm", False)]


def test_a_markdown_fence_may_hold_fences():
    assert fences("```markdown\n# T\n```yaml\na: 1\n```\nprose") == [("markdown", "# T\n```yaml\na: 1", True)]


def test_a_language_below_counts_only_where_none_or_a_wrong_one_was_named():
    assert fences("```bash\npython\n```") == [("bash", "python", True)]
    assert fences("```yaml\npython\nx = 1\n```") == [("python", "x = 1", True)]


def test_inline_code_of_three_ticks_opens_nothing():
    assert fences("```not a fence``` but text\nmore") == []


def test_headings_inside_code_are_code():
    plan = read_plan("# T\n## Phase 1: x\n- a\n```python\n# Phase 2: y\n#\n# Phase 3: z\n```\n", name="x")
    assert len(plan.phases) == 1


def test_hashes_alone_join_the_heading_below_or_are_listed():
    plan = read_plan("# T\n\n#\n## Phase 1: x\n\n##\n## Inner\n\n- a\n\n###\n\ntext\n", name="x")
    assert plan.phases[0].line == 3
    assert plan.items[0].section == "Inner"
    assert [line.line for line in plan.unplaced] == [11]


def test_a_line_too_long_to_look_into_is_listed_whole():
    plan = read_plan("# T\n- [ ] a\n" + "x" * 9_000 + "\n", name="x")
    assert plan.unplaced[0].text == "x" * 9_000


def test_an_empty_fence_that_never_ends_is_listed():
    plan = read_plan("# T\n- [ ] a\n\n```\n", name="x")
    assert [line.text for line in plan.unplaced] == ["```"]


def test_yaml_keeps_its_lines_and_its_words():
    lines = ["a: 01", "b:", "  - yes", "  - {c: 1:30}", "d: |", "  one", "  two", "", "e: 'x", "  y'"]
    root, left = read_yaml(lines, range(len(lines)), BracketBudget())
    assert value(root) == {"a": "01", "b": ["yes", {"c": "1:30"}], "d": "one\ntwo", "e": "x y"}
    assert left == []
    assert isinstance(root, YamlMap)
    assert [(key.line, node.stop) for key, node in root.pairs][2:] == [(4, 8), (8, 10)]


@pytest.mark.parametrize("text", ["a: &x [1]\nb: *x", "[" * 60 + "]" * 60, "a: b: c", "? [a]\n: b\nc: *d"])
def test_hostile_or_broken_yaml_is_salvaged(text: str):
    lines = text.split("\n")
    root, _ = read_yaml(lines, range(len(lines)), BracketBudget())
    assert root is None or isinstance(root, YamlMap | YamlList | YamlText)


def test_brackets_cost_their_square():
    budget = BracketBudget(left=30)
    assert budget.spend("[[[[[")
    assert not budget.spend("[[[")
    lines = ["a: [b]"]
    assert value(read_yaml(lines, range(1), BracketBudget(left=0))[0]) == {"a": ["b"]}


def test_a_complex_key_stands_for_itself():
    lines = ["? [a]", ": b"]
    root, _ = read_yaml(lines, range(2), BracketBudget())
    assert value(root) == {"?": "b"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: b: c\nd: 'x' y", {"a": "b: c", "d": "'x' y"}),
        ("steps:\n  1. one(x)\n  2. two: it\n", {"steps": ["one(x)", {"two": "it"}]}),
        ("a:\n\t- x\n\t- y", {"a": ["x", "y"]}),
        ("a:\n- x\n- y\nb: 1", {"a": ["x", "y"], "b": "1"}),
        ("- a: 1\n  b: 2\n- c: 3", [{"a": "1", "b": "2"}, {"c": "3"}]),
        ("- - x\n  - y\n- z", [["x", "y"], "z"]),
        ("a: |\n  one\n   two\nb: >-\n  three\n", {"a": "one\ntwo", "b": "three"}),
        ("a: one\n  two\n  'three'\nb: [x, 'y', z", {"a": "one two three", "b": ["x", "y", "z"]}),
        ("a:\n  long text\n  goes on", {"a": "long text goes on"}),
        ("- one\n  two", ["one two"]),
        ("a: 1 # why\nb: '# no'\n# c\nd:", {"a": "1", "b": "# no", "d": ""}),
        ('"quoted key": x', {"quoted key": "x"}),
        ("  a: 1\nb: 2", {"a": "1", "b": "2"}),
        ("a:\n    b:\n  - x", {"a": {"b": ["x"]}}),
        ("a:\nb: 1", {"a": "", "b": "1"}),
    ],
)
def test_what_is_meant_as_yaml_is_read_by_indentation(text: str, expected: object):
    found, left = salvaged(text)
    assert found == expected
    assert left == []


def test_lines_that_fit_nowhere_are_given_back():
    assert salvaged("{{ x }}\na: 1\nwhat is this\n- item") == ({"a": "1"}, [0, 2, 3])
    assert salvaged("- a\nb: 1") == (["a"], [1])
    deep = "\n".join(" " * at + "a:" for at in range(60))
    assert salvaged(deep)[1] == list(range(40, 60))


def test_keys_nobody_knows_are_listed_and_comments_kept():
    plan: Plan = read_plan(
        "# T\n## Phase 1: x\n```yaml\n# made by hand\nsession_setup:\n  directory: d\nweather: nice\n"
        "testing_tasks:\n  - check it: twice\n```\n",
        name="x",
    )
    assert [line.text for line in plan.unplaced] == ["weather: nice"]
    assert plan.phases[0].fields == {"directory": "d"}
    assert any("# made by hand" in section.text for section in plan.sections) or plan.lines.kept == 1


@pytest.mark.parametrize(
    ("block", "titles"),
    [
        ("tasks:\n  - one\n  - two words\n", ["One", "two words"]),
        ("subtask_breakdown:\n  - one_thing\n", ["One Thing"]),
        (
            "wrapper:\n  deeper:\n    release_tasks:\n      one:\n        deliverables: x\n      two: say\n",
            ["One", "Two"],
        ),
        ("tasks:\n  - title: One\n  - one_b:\n      tools: [a]\n  - one_c:\n", ["One", "One B", "One C"]),
        ("tasks:\n  - one:\n    tools: [a]\n", ["One"]),
        ("- title: One\n  id: x\n- id: y\n  run: ls\n- three:\n    run: ls\n- nothing: here\n", ["One", "Y", "Three"]),
        (
            "Task 1:\n  MODIFY src/a.py:\n    - FIND: x\nTask 2: Write it\nTask 3:\n",
            ["MODIFY src/a.py", "Write it", "Task 3"],
        ),
        ("plan_task:\n  title: A\nexecute_task:\n  steps: [b]\nplan_task:\n  title: C\n", ["A", "C"]),
        ("main_task:\n  title: M\nparent_task:\n  title: P\n", ["P"]),
    ],
)
def test_lists_of_tasks_come_in_many_shapes(block: str, titles: list[str]):
    plan = read_plan(f"# T\n## Work\n```yaml\n{block}```\n", name="x")
    assert [item.title for item in plan.items] == titles


def test_an_action_block_is_a_task_and_its_validation_is_proposed():
    plan = read_plan(
        "# T\n## Build\n```yaml\naction: CREATE\nfile: a.py\nchanges: |\n  - write it\nvalidation:\n"
        "  - command: pytest a.py\n  - expect: green\n```\n",
        name="x",
    )
    (item,) = plan.items
    assert (item.title, item.source, item.fields, item.description) == (
        "Build",
        "a.py",
        {"action": "CREATE"},
        "- write it",
    )
    assert item.criteria == ("command: pytest a.py", "expect: green")
    assert plan.proposed_gates[0].text == "pytest a.py"


def test_two_blocks_below_one_heading_are_one_task_or_two():
    plan = read_plan(
        "# T\n## Work\n### one\n```yaml\nspecialist: tester\n```\n```yaml\nrun: ls\ncriteria: [good]\n```\n"
        "```yaml\ntitle: Another\nspecialist: tester\n```\n",
        name="x",
    )
    assert [(item.title, item.run is not None) for item in plan.items] == [("one", True), ("Another", False)]
    assert plan.items[0].criteria == ("good",)


def test_a_block_right_below_a_phase_heading_speaks_of_the_phase_or_is_its_task():
    plan = read_plan(
        "# T\n## Phase 1: x\n```yaml\nspecialist: tester\ndepends: []\nowner: Ann\ncriteria: [good]\n```\n- a\n"
        "## Phase 2: y\n```yaml\nrun: ls\n```\n## Phase 3: z\n```yaml\nphase_task:\n  title: All of z\n```\n- b\n",
        name="x",
    )
    first, second, third = plan.phases
    assert first.task is not None
    assert (first.task.specialist, first.task.criteria, first.fields) == ("tester", ("good",), {"owner": "Ann"})
    assert first.dependencies_explicit
    assert second.items == ("y",)
    assert third.task is not None
    assert third.task.title == "All of z"


def test_a_block_below_the_title_speaks_of_the_whole_plan():
    plan = read_plan(
        "# T\n```yaml\nplan_task:\n  title: All\n  complexity: complex\n```\n## Phase 1: x\n- a\n", name="x"
    )
    assert plan.task is not None
    assert plan.task.title == "All"
    again = read_plan("# T\n```yaml\nrun: ls\n```\n## Phase 1: x\n- a\n", name="x")
    assert again.items[0].title == "T"
    loose = read_plan("```yaml\nspecialist: tester\n```\n", name="x")
    assert loose.items[0].title == "Task of line 2"


def test_names_of_a_breakdown_meet_their_descriptions_by_name_or_by_place():
    plan = read_plan(
        "# T\n## Tasks\n```yaml\nsubtask_breakdown:\n  - first_step\n  - second_step\n  - third_step\n```\n"
        "### 1. First Step\n```yaml\ntask_details:\n  title: Begin\n```\n"
        "### 2. Something else\n```yaml\ntask_details:\n  title: Go on\n```\n### 3. Third step\n",
        name="x",
    )
    assert [(item.key, item.title) for item in plan.items] == [
        ("first_step", "Begin"),
        ("second_step", "Go on"),
        ("third_step", "Third step"),
    ]
    lone = read_plan(
        "# T\n```yaml\nsubtask_breakdown: [a_b, c_d]\n```\n### 1. Other\n```yaml\nrun: ls\n```\n", name="x"
    )
    assert {item.key for item in lone.items} == {"a_b", "c_d", "other"}
