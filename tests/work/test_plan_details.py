"""Corners of the reader: what is said twice, too late, or in the wrong place."""

from __future__ import annotations

import pytest

from vespera_agents.work.plans import plan_drafts, read_plan
from vespera_agents.work.plans.headers import split_names
from vespera_agents.work.plans.names import plain, shorten, slug, unique_key
from vespera_agents.work.plans.shell import commands_of, mode_of
from vespera_agents.work.plans.titles import item_title, phase_numbers


def only(body: str):
    (item,) = read_plan(f"# T\n## Phase 1: x\n### a\n```yaml\n{body}```\n", name="x").items
    return item


def test_what_is_said_twice_is_told_as_a_field():
    item = only("run: one\nrun: two\nid: k\nid: l\ncomplexity: simple\ncomplexity: hard\nowner: Ann\nowner: Bob\n")
    assert item.run is not None
    assert (item.run.text, item.key) == ("one", "k")
    assert item.fields == {"run": "two", "id": "l", "complexity": "hard", "owner": "Ann; Bob"}


def test_done_is_a_yes_a_no_or_a_remark():
    assert only("specialist: tester\ndone: true\n").done
    assert not only("specialist: tester\ndone: no\n").done
    assert only("specialist: tester\ndone: nearly\n").fields == {"done": "nearly"}


def test_a_timeout_without_a_command_is_kept():
    assert only("specialist: tester\ntimeout: 5\nshell: true\n").fields == {"timeout": "5", "shell": "true"}


def test_a_second_description_of_a_task_adds_to_the_first():
    plan = read_plan(
        "# T\n## Phase 1: x\n### a\n```yaml\nspecialist: tester\nrun: one\n```\n```yaml\nspecialist: coder\nrun: two\n"
        "when: three\ngates: [four]\ndepends: []\n```\n",
        name="x",
    )
    (item,) = plan.items
    assert (item.specialist, item.fields) == ("tester", {"specialist": "coder", "run": "two"})
    assert item.when is not None
    assert len(item.gates) == 1
    assert item.dependencies_explicit


def test_keys_of_an_item_that_stands_for_a_phase_are_its_fields():
    plan = read_plan(
        "# T\n## Phase 1: x\n```yaml\nphase_task:\n  title: All\n  id: k\n  depends: nobody\n  gates: [a]\n```\n"
        "```yaml\nphase_task:\n  title: Second\n```\n```yaml\nphase_task:\n  title: Third\n```\n- b\n",
        name="x",
    )
    task = plan.phases[0].task
    assert task is not None
    assert task.fields == {"id": "k", "depends": "nobody", "gates": "a"} or task.fields["key"] == "k"
    assert plan.task is not None
    assert plan.task.title == "Second"
    assert [item.title for item in plan.items][0:1] == ["Third"]


def test_two_blocks_below_a_phase_heading_speak_of_it_together():
    plan = read_plan(
        "# T\n## Phase 1: x\n```yaml\nspecialist: tester\n```\n```yaml\ncomplexity: simple\n"
        "specialist: coder\n```\n- b\n",
        name="x",
    )
    task = plan.phases[0].task
    assert task is not None
    assert (task.specialist, task.complexity, task.fields) == ("tester", "simple", {"specialist": "coder"})


def test_settings_of_a_session_outside_phases_are_the_plans():
    plan = read_plan("# T\n## Tasks\n```yaml\nsession_setup:\n  directory: d\ntasks: [a]\n```\n", name="x")
    assert plan.header.fields == {"directory": "d"}


def test_parts_without_a_task_make_one():
    plan = read_plan("# T\n## Phase 1: x\n### Do it\n```yaml\nexecution_context:\n  steps: [a]\n```\n", name="x")
    assert [(item.title, item.instructions) for item in plan.items] == [("Do it", ("a",))]
    other = read_plan("# T\n## Phase 1: x\n### Do it\n```yaml\ncomplete_task:\n  - a\n  - b\n```\n", name="x")
    assert other.items[0].instructions == ("a", "b")


def test_a_mapping_inside_a_task_may_group_its_facts():
    plan = read_plan("# T\n## Phase 1: x\n```yaml\ntasks:\n  a:\n    parameters:\n      title: Deep\n```\n", name="x")
    assert plan.items[0].title == "Deep"


def test_a_heading_that_says_more_than_its_title_is_kept():
    plan = read_plan(
        "# T\n## Phase 1: x\n### More\n#### 1. Said here\n```yaml\ntitle: Said there\nrun: a\n```\n", name="x"
    )
    assert plan.items[0].fields == {"heading": "1. Said here"}
    assert plan.items[0].section == "More"


def test_lists_below_an_item_follow_their_labels():
    plan = read_plan(
        """# T
## Phase 1: x
### Task 1: y
**Priority**: High
Tools:
- hammer
**Watch out**:
- nails
- [x] thumbs
    1. left
    2. right
**A label alone**:

Words.

#### Acceptance
It shines.
| a | b |
|---|---|
""",
        name="x",
    )
    (item,) = plan.items
    assert item.tools == ("hammer",)
    assert item.instructions == ("Watch out:", "nails", "thumbs", "  left", "  right")
    assert item.criteria == ("It shines.",)
    assert item.fields == {"Priority": "High"}
    assert item.description == "Words."
    assert any("**A label alone**:" in section.text for section in plan.sections)
    assert plan.checklists[0].done


def test_front_matter_is_only_what_looks_like_it():
    assert read_plan("---\n# T\n- [ ] a\n---\n", name="x").items[0].title == "a"
    assert read_plan("---\n**a**: b\n---\n- [ ] a\n", name="x").items[0].title == "a"
    broken = read_plan("---\nid: X\n{{ what: ever\n---\n- [ ] a\n", name="x")
    assert broken.id == "X"
    assert [line.line for line in broken.unplaced] == [3]
    listed = read_plan("---\n- a: b\n---\n- [ ] a\n", name="x")
    assert [line.line for line in listed.unplaced] == [2]
    late = read_plan("\n---\nid: X\ndepends: [a, b]\n...\n- [ ] c\n", name="x")
    assert (late.id, late.header.dependencies) == ("X", ("a", "b"))


def test_a_fence_that_swallowed_a_phase_gives_it_back():
    plan = read_plan("# T\n## Phase 1: x\n```yaml\ntasks: [a]\n\n## Phase 2: y\n\n```\nfree text\n```\n- b\n", name="x")
    assert [phase.items for phase in plan.phases] == [("a",), ()] or len(plan.phases) == 2


def test_a_phase_at_the_wrong_level_is_still_the_next_phase():
    plan = read_plan("# T\n## Phase 1: x\n- a\n### Phase 2: y\n- b\n#### Phase 2: y again\n- c\n", name="x")
    assert [phase.items[0] for phase in plan.phases] == ["a", "b"]


def test_a_word_of_its_own_is_needed_for_weak_phases():
    plan = read_plan("# T\n## Week 1 was hard\n- a\n## Tasks\n- b\n", name="x")
    assert plan.phases == ()
    assert [item.title for item in plan.items] == ["b"]


def test_group_titles_need_a_mark_behind_their_name():
    plan = read_plan("# T\n## Phase 1: x\n- a\n## y\nGroup A members meet.\n", name="x")
    assert plan.groups == ()


def test_a_line_that_only_looks_like_a_phase_is_an_item_of_its_list():
    text = "# T\n## Work\n1. **Phase 1: a**\n   - x\n2. **Phase 1: again**\n"
    plan = read_plan(text, name="x")
    assert [(phase.title, phase.items) for phase in plan.phases] == [("a", ("x", "phase-1-again"))]


def test_a_cycle_over_a_node_that_means_nothing_is_a_cycle():
    plan = read_plan(
        "# T\n## Phase 1: x\n- a\n## Flow\n```mermaid\ngraph TD\nA[Phase 1] --> B[Cloud] --> A\n```\n", name="x"
    )
    assert plan.phases[0].dependencies == ("phase-1",)
    with pytest.raises(Exception, match="phase-1"):
        plan_drafts(plan)


def test_too_many_patterns_fit_nothing():
    text = "# T\n## Phase 1: x\n" + "".join(f"- **a{at}** (after: b*)\n" for at in range(120)) + "- b1\n"
    plan = read_plan(text, name="x")
    assert plan.items[0].dependencies == ("b1",)
    assert plan.items[119].dependencies == ()


def test_too_many_dependencies_are_noted():
    names = ", ".join("b" for _ in range(300))
    plan = read_plan(f"# T\n## Phase 1: x\n- **a** (after: {names})\n- b\n", name="x")
    assert not any("more than" in note.text for note in plan.notes)
    longer = read_plan(f"# T\n## Phase 1: x\n### a\n```yaml\ndepends: [{names}]\n```\n- c\n", name="x")
    assert any("more than 200 dependencies" in note.text for note in longer.notes)


def test_names_are_plain_short_and_unique():
    assert plain("*slanted*  [text](there) `code` **bold**") == "*slanted* text code bold"
    assert plain("_slanted_") == "slanted"
    assert slug("A -- title: (x) é_y.z") == "a-title-x-é_y.z"
    assert shorten("abcdef", 4) == "abc…"
    assert unique_key("a", {"a", "a-2"}) == "a-3"
    assert split_names("[a, b] ") == ["a", "b"]
    assert split_names("x, None & y and z; n/a") == ["x", "y", "z"]
    assert phase_numbers("Phases 1-3 and 5, phase 7") == [1, 2, 3, 5, 7]
    assert item_title("[DONE] Step 3: Go (2h) ✅").number == "3"


def test_shell_is_split_into_commands():
    text = "# why\nif x; then\n  a\nelse\n  b\nfi\nfor y in 1; do z; done\n$ long \\\n  more\n#!last\nwhile w\ndo\nv"
    commands, comments = commands_of(enumerate(text.split("\n")))
    assert [command for _, command in commands] == [
        "if x; then a; else b; fi",
        "for y in 1; do z; done",
        "long more",
        "while w; do v",
    ]
    assert comments == [(0, "why"), (9, "last")]


@pytest.mark.parametrize(
    ("commands", "words", "mode"),
    [
        (["a &", "b &", "wait"], "sequential", "parallel"),
        (["for x in 1 2; do go; done"], "parallel", "sequential"),
        (["for x in 1 2; do go & done"], "", "parallel"),
        (["ls | xargs -n1 -P4 go"], "", "parallel"),
        (["a", "b"], "", "sequential"),
        (["a"], "", "parallel"),
        ([], "runs in order, not in parallel", "sequential"),
        ([], "in parallel, then in order", "parallel"),
        (["curl 'http://x/?a=1&b=2'"], "", "parallel"),
        (["a && b", "c 2>&1", "d"], "", "sequential"),
        (["x " * 5_000 + "&", "y"], "", "parallel"),
    ],
)
def test_commands_say_how_a_group_runs_before_words_do(commands: list[str], words: str, mode: str):
    assert mode_of(commands, words) == mode
