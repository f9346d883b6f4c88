"""Plans of every kind that the reader understands, written differently from the samples."""

from __future__ import annotations

from vespera_agents.work.models import CommandLine, Complexity, TaskType
from vespera_agents.work.plans import Plan, read_plan

EXECUTABLE = """\
---
id: READY
concurrency: 4
owner: somebody
---
# Ready or not

What this is for.

## Phase 1: Static checks
### lint
```yaml
specialist: reviewer
run: ruff check .
timeout: 120
```
Style faults hide real ones.

They also annoy.
### look-around
Walk through the tree.

## Phase 2: Tests
### unit-tests
```yaml
specialist: coder
complexity: very complex
type: ignored
task_type: testing
effort: 2 hours
depends: [lint]
when: test -d tests
run: python -m pytest -q
gates: [python -m coverage report --fail-under=90]
```
### integration
```yaml
run: |
  echo one && echo two
shell: true
timeout: 2m
gates:
  - run: test -f report.xml
    timeout: 5
  - [test, -d, "a b"]
```
### free
```yaml
depends: []
```
"""


def keys(plan: Plan) -> list[str]:
    return [item.key for item in plan.items]


def item(plan: Plan, key: str):
    return next(item for item in plan.items if item.key == key)


def test_an_executable_plan_gives_commands_gates_and_conditions():
    plan = read_plan(EXECUTABLE, name="ready.md")
    assert (plan.id, plan.concurrency, plan.title) == ("READY", 4, "Ready or not")
    assert plan.header.fields == {"owner": "somebody"}
    assert keys(plan) == ["lint", "look-around", "unit-tests", "integration", "free"]
    lint = item(plan, "lint")
    assert lint.run == CommandLine(text="ruff check .", timeout_seconds=120)
    assert lint.description == "Style faults hide real ones.\n\nThey also annoy."
    unit = item(plan, "unit-tests")
    assert unit.when == CommandLine(text="test -d tests")
    assert unit.gates == (CommandLine(text="python -m coverage report --fail-under=90"),)
    assert (unit.specialist, unit.complexity, unit.task_type) == (
        "implementer",
        Complexity.VERY_COMPLEX,
        TaskType.TESTING,
    )
    assert unit.estimated_effort == "2 hours"
    assert unit.fields == {"type": "ignored"}
    assert unit.dependencies == ("lint",)
    assert plan.unplaced == ()
    assert plan.notes == ()


def test_a_command_may_have_its_own_timeout_shell_and_words():
    made = item(read_plan(EXECUTABLE, name="x"), "integration")
    assert made.run is not None
    assert (made.run.text, made.run.shell, made.run.timeout_seconds) == ("echo one && echo two", True, 120)
    gate = made.gates[0]
    assert (gate.text, gate.shell, gate.timeout_seconds) == ("test -f report.xml", True, 5)
    assert made.gates[1].text == "test -d 'a b'"


def test_an_item_without_yaml_beside_executable_ones_is_an_item_too():
    around = item(read_plan(EXECUTABLE, name="x"), "look-around")
    assert around.description == "Walk through the tree."
    assert around.run is None


def test_a_command_that_cannot_be_read_is_a_blocking_note():
    plan = read_plan("# T\n## Phase 1: a\n### b\n```yaml\nrun: echo 'open\ntimeout: soon\n```\n", name="x")
    (note,) = plan.notes
    assert note.blocking
    assert note.line == 5
    assert "'soon'" in note.text
    again = read_plan('# T\n## Phase 1: a\n### b\n```yaml\ngates: ["echo \'open"]\n```\n', name="x")
    assert "No closing quotation" in again.notes[0].text


def test_an_executable_plan_needs_no_phases():
    plan = read_plan(
        "### lint\n```yaml\nrun: ruff check .\n```\n### test\n```yaml\nrun: pytest\ndepends: lint\n```\n", name="x"
    )
    assert plan.phases == ()
    assert [(one.key, one.dependencies) for one in plan.items] == [("lint", ()), ("test", ("lint",))]
    assert plan.title == "x"


def test_one_task_may_be_the_whole_document():
    plan = read_plan("# Tidy up\n\n```yaml\nrun: make tidy\n```\n\nBefore guests come.\n", name="x")
    assert keys(plan) == ["tidy-up"]
    assert plan.items[0].description == "Before guests come."


def test_header_lines_come_in_any_order_and_dress():
    for text in (
        "# T\n\n**Status**: [READY]\n**PRP ID**: `A_1`\n**Depends on**: None\n**Owner**: Ann\n",
        "# T\n\n- **Owner:** Ann\n- **Status:** [READY]\n- **Meta-PRP ID:** `A_1`\n",
        "# T\n\nPRP ID: A_1\nOwner: Ann\nStatus: READY\n",
        "# T\n\n**ID**: A_1  \n**Owner**: Ann  \n**Status**: READY\n---\n",
    ):
        plan = read_plan(text + "\n## Phase 1: x\n- do\n", name="x")
        assert (plan.id, plan.header.status, plan.header.fields) == ("A_1", "READY", {"Owner": "Ann"}), text
        assert plan.header.dependencies == ()


def test_header_fields_have_their_places():
    plan = read_plan(
        "# T\n**Type**: Build\n**Parent**: ROOT\n**Phase**: 5 - Async\n**Category**: Core\n"
        "**Estimated Total Effort**: 2 weeks\n"
        "**Created**: 2025-01-02\n**Last Updated**: 2025-02-03\n**Dependencies**: Core, Tools and Luck\n\n- [ ] act\n",
        name="x",
    )
    header = plan.header
    assert (header.type, header.parent, header.phase, header.category) == ("Build", "ROOT", "5 - Async", "Core")
    assert (header.estimated_effort, header.created, header.updated) == ("2 weeks", "2025-01-02", "2025-02-03")
    assert header.dependencies == ("Core", "Tools", "Luck")
    assert len(plan.notes) == 3


def test_a_header_may_be_a_yaml_block():
    plan = read_plan(
        '# T\n\n## Header\n```yaml\nmeta_prp_id: "FIX"\ntitle: Fix all\npriority: HIGH\n```\n\n## Phase 1: x\n- do\n',
        name="x",
    )
    assert (plan.id, plan.title, plan.header.priority) == ("FIX", "Fix all", "HIGH")


def test_unusable_concurrency_is_a_note():
    plan = read_plan("---\nconcurrency: lots\n---\n# T\n- [ ] act\n", name="x")
    assert plan.concurrency is None
    assert "'lots'" in plan.notes[0].text


def test_phase_headings_come_in_many_dresses():
    for heading, title, schedule, status in (
        ("## Phase 1: Build (Weeks 1-2) - IN PROGRESS", "Build", "Weeks 1-2", "IN PROGRESS"),
        ("## 🚀 PHASE 1 \u2013 Build [DONE]", "Build", None, "DONE"),
        ("## **Phase 1**: Build ✅", "Build", None, "COMPLETED"),
        ("## [PENDING] Phase One: Build (Day 3)", "Build", "Day 3", "PENDING"),
        ("## Phase I. Build (Week 1) 🏗️", "Build", "Week 1", None),
        ("## 2.1 Phase 1: Build (All of it)", "Build (All of it)", None, None),
        ("##Phase 1: Build (2025-01 to 2025-02) (done)", "Build", "2025-01 to 2025-02", "done"),
        ("## Phase A - Build", "Build", None, None),
        ("## Phase 1", "Phase 1", None, None),
        ("#\n# Phase 1: Build", "Build", None, None),
        ("#\n\n# Phase 1: Build", "Build", None, None),
        ("Phase 1: Build\n--------------", "Build", None, None),
        ("## Stage 1: Build", "Build", None, None),
        ("## Sprint 1 (Week 1)", "Sprint 1", "Week 1", None),
        ("## Week 1: Build", "Build", None, None),
    ):
        plan = read_plan(f"# T\n\n{heading}\n\n- Do it\n", name="x")
        (phase,) = plan.phases
        assert (phase.number, phase.title, phase.schedule, phase.status) == (1, title, schedule, status), heading
        assert keys(plan) == ["do-it"]


def test_a_heading_about_a_phase_is_no_phase():
    plan = read_plan(
        "# T\n## Phase 1: Build\n- Do\n### Phase 1 Workflow\ntext\n## Phase-by-Phase Notes\n## Phases 1-3: together\n"
        "## Success Criteria\n### Phase 1: Build\n- [ ] built\n## Next Steps\n### Phase 2: more\n- [ ] later\n",
        name="x",
    )
    assert [phase.title for phase in plan.phases] == ["Build"]
    assert len(plan.checklists) == 2


def test_two_tracks_may_count_their_phases_alike():
    plan = read_plan("# T\n## A\n### Phase 1: x\n- a\n### Phase 2: y\n- b\n## B\n### Phase 1: z\n- c\n", name="x")
    assert [phase.key for phase in plan.phases] == ["phase-1", "phase-2", "phase-1-2"]
    assert keys(plan) == ["a", "b", "c"]


def test_items_are_bullets_numbers_boxes_and_files():
    plan = read_plan(
        """# T
## Phase 1: x
Why we do it.
* First (2 days)
+ [x] Second [DONE]
    - with care
\t- and a tab
3) **Third**: at once (specialist_type: "researcher")
4. [ ] Fourth — later (depends on: Third)
## Phase 2: y
- `plans/07_cache.md` - Cache it (IN PROGRESS)
- [Ship](08-ship.md): Ship it
- 09-rest.yaml
## Phase 3: z
### Notes
- no task
### Building
- a task
""",
        name="x",
    )
    found = {one.title: one for one in plan.items}
    assert list(found) == ["First", "Second", "Third", "Fourth — later", "Cache it", "Ship it", "09-rest", "a task"]
    assert found["First"].estimated_effort == "2 days"
    assert found["Second"].done
    assert found["Second"].instructions == ("with care", "and a tab")
    assert (found["Third"].specialist, found["Third"].description, found["Third"].number) == (
        "researcher",
        "at once",
        "3",
    )
    assert found["Fourth — later"].dependencies == ("third",)
    assert (found["Cache it"].source, found["Cache it"].number) == ("plans/07_cache.md", "07")
    assert found["Cache it"].status == "IN PROGRESS"
    assert found["a task"].section == "Building"
    assert plan.phases[0].description == "Why we do it."


def test_a_link_to_a_plan_file_is_a_file():
    plan = read_plan("# T\n## Phase 1: x\n- [01-a.md](01-a.md): Do a\n- [02-b.md](sub/02-b.md) — Do b\n", name="x")
    assert [(one.number, one.source, one.title) for one in plan.items] == [
        ("01", "01-a.md", "Do a"),
        ("02", "sub/02-b.md", "Do b"),
    ]


def test_labels_in_a_phase_are_not_items():
    plan = read_plan(
        "# T\n## Phase 2: y\n**Owner**: Ann\n**Status**: [DONE]\n- **Goal**: win\n  - soon\n- **Real work**: here\n\n"
        "**Deliverables**:\n- a report\n",
        name="x",
    )
    assert keys(plan) == ["real-work"]
    phase = plan.phases[0]
    assert phase.fields == {"Owner": "Ann", "Status": "[DONE]", "Goal": "win; soon"}
    assert phase.done
    assert plan.items[0].done
    assert any("a report" in section.text for section in plan.sections)


def test_numbered_headings_in_phases_are_items_with_their_lists_as_instructions():
    plan = read_plan(
        """# T
## Phase 1: Foundation
### 1.1 Move the repository
Carefully.
- **Rename**: a to b
- Update links
**Deliverables**:
- a new name
#### Acceptance Criteria
- [ ] links work
### Task 1.2: Write docs (3 days)
- Specialist: coder
- Depends on: 1.1
### Context
Text that stays.
""",
        name="x",
    )
    first, second = plan.items
    assert (first.number, first.title, first.description) == ("1.1", "Move the repository", "Carefully.")
    assert first.instructions == ("Rename: a to b", "Update links")
    assert first.artifacts == ("a new name",)
    assert first.criteria == ("links work",)
    assert (second.number, second.title, second.estimated_effort) == ("1.2", "Write docs", "3 days")
    assert (second.specialist, second.dependencies) == ("implementer", (first.key,))
    assert plan.checklists[0].text == "links work"
    assert plan.sections[-1].text == "Text that stays."


def test_a_task_list_without_phases_is_a_plan():
    plan = read_plan(
        "# T\n## Why\n- because\n## Task List\n1. **Enhance bus** (2 days)\n   - Add callbacks\n2. **Test** - DONE\n"
        "   - Depends on: 1\n## Notes\n- none\n",
        name="x",
    )
    assert [(one.title, one.estimated_effort, one.done) for one in plan.items] == [
        ("Enhance bus", "2 days", False),
        ("Test", None, True),
    ]
    assert plan.items[1].dependencies == ("enhance-bus",)


def test_boxes_alone_are_a_plan_except_under_criteria():
    plan = read_plan("# Things\n- [ ] one\n- [x] two\n## Success Criteria\n- [ ] happy\n", name="x")
    assert [(one.title, one.done) for one in plan.items] == [("one", False), ("two", True)]


def test_phases_may_be_lines_of_a_list_or_bold_lines():
    numbered = (
        "# T\n## Task List\n1. **Phase 1: Core** (4 weeks)\n- Extend\n- Build\n\n2. **Phase 2: More**\n   - Grow\n"
    )
    bold = "# T\n## Work\n**Phase 1: Core (4 weeks)**\n\n- Extend\n- Build\n\n**Phase 2: More**\n- Grow\n"
    for text in (numbered, bold):
        plan = read_plan(text, name="x")
        assert [(phase.title, phase.items) for phase in plan.phases] == [
            ("Core", ("extend", "build")),
            ("More", ("grow",)),
        ]
        assert plan.phases[0].schedule == "4 weeks"


def test_yaml_tasks_outside_phases_leave_the_lists_of_phases_as_text():
    plan = read_plan(
        """# T
## Phase 1: Research
- talk
## Breakdown
```yaml
research_tasks:
  - id: "R_1"
    title: "Research one"
    dependencies: []
  - id: "R_2"
    title: "Research two"
work_tasks:
  - id: "W_1"
    title: "Build"
    specialist_type: "coder"
    dependencies: ["R_*"]
```
""",
        name="x",
    )
    assert keys(plan) == ["r_1", "r_2", "w_1"]
    assert plan.items[2].dependencies == ("r_1", "r_2")
    assert plan.sections[1].text == "- talk" or any(section.text == "- talk" for section in plan.sections)
