"""The task tree that a plan asks for."""

from __future__ import annotations

import pytest

from vespera_agents.work.drafts import TaskDraft, check_drafts
from vespera_agents.work.errors import PlanError
from vespera_agents.work.models import Complexity, TaskType
from vespera_agents.work.plans import plan_drafts, read_plan


def drafts_of(text: str) -> list[TaskDraft]:
    return plan_drafts(read_plan(text, name="x.md"))


def waits(drafts: list[TaskDraft]) -> dict[str, list[str]]:
    return {key: [wait.on for wait in draft.dependencies] for key, draft in check_drafts(drafts).items()}


def test_a_later_phase_waits_on_its_items_and_an_item_with_its_own_dependencies_does_not():
    text = """# T
## Phase 1: One
### a
```yaml
run: "true"
```
### b
```yaml
run: "true"
```
## Phase 2: Two
### c
```yaml
depends: [a]
```
### d
```yaml
run: "true"
```
### e
```yaml
depends: []
```
"""
    drafts = drafts_of(text)
    assert waits(drafts) == {"phase-1": [], "a": [], "b": [], "phase-2": [], "c": ["a"], "d": ["phase-1"], "e": []}
    assert [draft.task_type for draft in drafts] == [TaskType.BREAKDOWN] * 2
    assert drafts[0].title == "Phase 1: One"


def test_a_phase_may_say_that_it_waits_for_none_or_for_another():
    text = "# T\n## Phase 1: x\n- a\n"
    text += "## Phase 2: y\n**Dependencies**: None\n- b\n## Phase 3: z\n**Dependencies**: Phase 1\n- c\n"
    found = waits(drafts_of(text))
    assert (found["b"], found["c"]) == ([], ["phase-1"])


def test_a_phase_without_items_is_a_task_that_takes_its_turn():
    drafts = drafts_of("# T\n## Phase 1: x\n- a\n## Phase 2: Think (Week 2)\nLong.\n## Phase 3: z\n- c\n")
    assert waits(drafts) == {"phase-1": [], "a": [], "phase-2": ["phase-1"], "phase-3": [], "c": ["phase-2"]}
    assert drafts[1].description == "Long.\n\nSchedule: Week 2"
    assert drafts[1].task_type is TaskType.STANDARD


def test_a_phase_that_only_tells_passes_its_order_on():
    text = """# T
## Phase 1: x
```yaml
testing_tasks: [a]
```
## Phase 2: y
Talk.
## Phase 3: z
```yaml
testing_tasks: [b]
```
## More
```yaml
tasks:
  c:
    depends: Phase 2
```
"""
    found = waits(drafts_of(text))
    assert "phase-2" not in found
    assert found["b"] == ["phase-1"]
    assert found["c"] == ["phase-1"]


def test_members_of_a_sequential_group_wait_for_each_other_and_for_the_phase_before():
    text = "# T\n## Phase 1: x\n- z\n## Phase 2: y\n1. a\n2. b\n"
    text += "## Run\n**Group A:** 1-2\n```sh\nfor n in 1 2; do go $n; done\n```\n"
    found = waits(drafts_of(text))
    assert found["a"] == ["phase-1"]
    assert found["b"] == ["a", "phase-1"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("## Phase 1: x\n### a\n```yaml\ndepends: b\n```\n### b\n```yaml\ndepends: a\n```\n", "a -> b -> a"),
        ("## Phase 1: x\n### a\n```yaml\ndepends: a\n```\n", "a -> a"),
        (
            "## Phase 1: x\n- a\n## Phase 2: y\n- b\n```mermaid\ngraph TD\nA[Phase 1] --> B[Phase 2] --> A\n```\n",
            "phase-2",
        ),
        ("## Phase 1: x\n- a (depends on: Phase 1)\n", "'phase-1'"),
    ],
)
def test_a_cycle_is_refused_with_its_path(text: str, path: str):
    with pytest.raises(PlanError) as refused:
        drafts_of("# T\n" + text)
    assert path in str(refused.value)
    assert "x.md" in str(refused.value)


def test_a_command_that_cannot_be_read_stops_the_plan():
    with pytest.raises(PlanError, match=r"line 5: run: .* of 'a' cannot be read.*Mend it"):
        drafts_of('# T\n## Phase 1: x\n### a\n```yaml\nrun: "echo \'open"\n```\n')


def test_everything_that_is_said_of_a_task_reaches_its_specialist():
    text = """# T
## Phase 1: x
### 01-thing.md
```yaml
plan_task:
  title: Thing
  description: Make it
  complexity: complex
  specialist_type: coder
  estimated_effort: 2 days
  owner: Ann
execute_task:
  specialist_context: A maker
  execution_instructions: [cut, glue]
complete_task:
  artifacts: [thing.py]
validation_criteria: [it holds]
```
"""
    (phase,) = drafts_of(text)
    (task,) = phase.subtasks
    assert task.description == (
        "Make it\n\nContext: A maker\n\nInstructions:\n- cut\n- glue\n\nArtifacts to deliver:\n- thing.py\n\n"
        "Criteria:\n- it holds\n\nowner: Ann\n\nPlan file: 01-thing.md"
    )
    assert (task.key, task.title, task.specialist, task.complexity) == (
        "01-thing",
        "Thing",
        "implementer",
        Complexity.COMPLEX,
    )
    assert task.estimated_effort == "2 days"


def test_long_texts_are_cut_at_the_limits_of_a_task():
    (task,) = drafts_of("# T\n- [ ] " + "word " * 1_500 + "\n")
    assert len(task.title) == 255
    assert task.title.endswith("…")
    big = "".join(f"  - {'x' * 90}\n" for _ in range(300))
    (phase,) = drafts_of(f"# T\n## Phase 1: x\n### a\n```yaml\neffort: {'long ' * 60}\nsteps:\n{big}```\n")
    assert len(phase.subtasks[0].description) == 20_000
    assert len(phase.subtasks[0].estimated_effort or "") == 100


def test_what_is_done_stays_done():
    (phase, later) = drafts_of("# T\n## Phase 1: x\n- [x] a\n- [ ] b\n## Phase 2: y - COMPLETED\n- c\n")
    assert [task.done for task in phase.subtasks] == [True, False]
    assert later.subtasks[0].done


def test_a_whole_plans_task_holds_phases_and_loose_items():
    text = """# T

Why.

## Phase 1: x
```yaml
main_task:
  title: Everything
  run: ignored
testing_tasks: [a]
```
## More
```yaml
tasks: [b]
```
"""
    plan = read_plan(text, name="x")
    (root,) = plan_drafts(plan)
    assert (root.key, root.run, root.description) == ("everything", None, "run: ignored\n\nWhy.")
    assert [draft.key for draft in root.subtasks] == ["phase-1", "b"]
    assert "its commands are not run" in plan.notes[0].text
