"""What belongs together in a plan: dependencies, groups, levels, proposed gates, keys and names."""

from __future__ import annotations

from vespera_agents.work.models import Complexity
from vespera_agents.work.plans import Plan, read_plan


def keys(plan: Plan) -> list[str]:
    return [item.key for item in plan.items]


def test_dependencies_are_found_by_title_number_file_and_phase():
    plan = read_plan(
        """# T
## Phase 1: One
- `01-a.md` - Alpha
- `02-b.md` - Beta
## Phase 2: Two
**Dependencies**: None
- `03-c.md` - Gamma (after: 01 and Beta)
- `04-d.md` - Delta (needs: 02-b.md)
## Phase 3: Three
**Depends on**: Phases 1-2, the weather
- `05-e.md` - Epsilon (depends on: step 3; phase 1)
- `06-f.md` - Zeta (depends on: the weather)
""",
        name="x",
    )
    waits = {one.title: one.dependencies for one in plan.items}
    assert waits["Gamma"] == ("01-a", "02-b")
    assert waits["Delta"] == ("02-b",)
    assert waits["Epsilon"] == ("phase-1", "03-c")
    assert waits["Zeta"] == ()
    assert plan.phases[1].dependencies == ()
    assert plan.phases[1].dependencies_explicit
    assert plan.phases[2].dependencies == ("phase-1", "phase-2")
    assert [note.line for note in plan.notes] == [10, 12]
    assert not plan.items[-1].dependencies_explicit


def test_sentences_and_arrows_under_dependencies_are_edges():
    plan = read_plan(
        "# T\n## Phase 1: One\n- a\n## Phase 2: Two\n- b\n## Phase 3: Three\n- c\n## Dependencies\n"
        "- Phase 3 depends on Phase 1 and Phase 2\n- Phase 1 -> Phase 2\n- Mind the gap.\n",
        name="x",
    )
    assert [phase.dependencies for phase in plan.phases] == [(), ("phase-1",), ("phase-1", "phase-2")]
    assert plan.sections[-1].text == "- Mind the gap."


def test_groups_without_shell_say_in_words_how_they_run():
    plan = read_plan(
        """# T
## Phase 1: One
1. a
2. b
3. c
4. d
## Execution Groups
- **Group A**: 1, 2 in parallel
- Group B: c, d one after another
**Batch 9 (Week 2)**: nobody
""",
        name="x",
    )
    found = {group.name: (group.mode, group.members) for group in plan.groups}
    assert found["Group A"] == ("parallel", ("a", "b"))
    assert found["Batch 9"] == ("parallel", ())
    assert any("'nobody'" in note.text for note in plan.notes)


def test_groups_take_their_members_from_the_commands():
    plan = read_plan(
        """# T
## Phase 1: One
- `01-a.md` - A
- `02-b.md` - B
- `03-c.md` - C
## Order
### Group 1
```sh
run.py plans/01-a.md &
run.py plans/02-b.md &
wait
```
### Group 2: the rest
```sh
# one by one
for n in {2..3}; do run.py $n; done
```
### Group Photo
Smile.
""",
        name="x",
    )
    assert [(group.mode, group.members) for group in plan.groups] == [
        ("parallel", ("01-a", "02-b")),
        ("sequential", ("02-b", "03-c")),
    ]
    assert plan.groups[1].commands[0] == "# one by one"
    assert plan.items[2].dependencies == ("02-b",)


def test_validation_levels_and_keywords_propose_gates():
    plan = read_plan(
        """# T
## Tasks
- build
## Validation Loop
### Level 1: Syntax
```bash
# style
$ ruff check \\
    src
mypy .
# the end
```
### Level 2
- VALIDATE: `pytest -q`
- **REQUIRE**: docker
```
RUN: make e2e
other
```
""",
        name="x",
    )
    assert [(level.number, level.title, level.commands) for level in plan.validation_levels] == [
        (1, "Syntax", ("ruff check src", "mypy .")),
        (2, "Level 2", ("pytest -q", "docker", "make e2e")),
    ]
    assert [(gate.source, gate.about) for gate in plan.proposed_gates] == [
        ("shell", "style"),
        ("shell", None),
        ("VALIDATE", None),
        ("REQUIRE", None),
        ("RUN", None),
    ]
    assert any("other" in section.text for section in plan.sections)


def test_commands_below_an_item_belong_to_it_and_are_not_run():
    plan = read_plan("# T\n## Phase 1: x\n### Task 1: y\n```bash\nrm -rf build\n```\n- Run: rm -rf build\n", name="x")
    assert plan.proposed_gates[0].item == "y"
    assert plan.items[0].run is None
    assert plan.items[0].instructions == ("Run: rm -rf build",)


def test_words_that_are_no_enum_or_role_are_noted_and_kept():
    plan = read_plan(
        "# T\n## Phase 1: x\n### a\n```yaml\ncomplexity: gigantic\ntask_type: dance\nspecialist: wizard\n```\n"
        "### b\n```yaml\ncomplexity: low\nrole: A person who knows the whole code base\n```\n",
        name="x",
    )
    first, second = plan.items
    assert first.fields == {"complexity": "gigantic", "task type": "dance"}
    assert first.specialist == "wizard"
    assert len(plan.notes) == 3
    assert second.complexity is Complexity.SIMPLE
    assert second.specialist is None
    assert second.fields["specialist"].startswith("A person")


def test_a_phase_without_items_is_still_a_phase():
    plan = read_plan("# T\n## Phase 1: Think\nLong and hard.\n## Phase 2: Act\nNow.\n", name="x")
    assert [phase.description for phase in plan.phases] == ["Long and hard.", "Now."]
    assert plan.items == ()


def test_keys_stay_unique_and_say_when_they_had_to_change():
    plan = read_plan(
        "# T\n## Phase 1: x\n- same\n- same\n- phase-1\n- !!!\n"
        "```yaml\ntasks:\n  - id: k\n    title: A\n  - id: k\n    title: B\n```\n",
        name="x",
    )
    assert len(set(keys(plan)) | {phase.key for phase in plan.phases}) == len(plan.items) + 1
    assert any("'k' is taken twice" in note.text for note in plan.notes)


def test_letters_of_other_alphabets_make_keys():
    plan = read_plan("# T\n## Phase 1: Начало\n- Сделать дело\n- 做事\n", name="x")
    assert keys(plan) == ["сделать-дело", "做事"]
