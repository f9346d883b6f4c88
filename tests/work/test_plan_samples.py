"""The plans that people wrote, taken as they are: what each of them must give."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from vespera_agents.work.drafts import walk_drafts
from vespera_agents.work.models import Complexity, TaskType
from vespera_agents.work.plans import Plan, plan_drafts, read_plan_bytes

PLANS = Path(__file__).parent.parent / "plans"


def sample(name: str) -> Plan:
    return read_plan_bytes(gzip.decompress((PLANS / f"{name}.md.gz").read_bytes()), name=f"{name}.md")


@pytest.fixture(scope="module")
def comprehensive() -> Plan:
    return sample("meta-prp-comprehensive")


@pytest.fixture(scope="module")
def integrated() -> Plan:
    return sample("meta-prp-orchestrator-integrated")


@pytest.fixture(scope="module")
def release() -> Plan:
    return sample("prp-release-preparation")


def test_the_comprehensive_plan_has_29_items_in_11_phases(comprehensive: Plan):
    assert len(comprehensive.items) == 29
    assert [phase.number for phase in comprehensive.phases] == list(range(1, 12))
    assert [len(phase.items) for phase in comprehensive.phases] == [6, 2, 2, 2, 4, 3, 2, 2, 2, 2, 2]
    assert [int(item.number or 0) for item in comprehensive.items] == list(range(1, 30))
    item = comprehensive.items[12]
    assert item.source == "13-async-event-coordination-orchestrator.md"
    assert item.title == "Enhanced EventBus for agent coordination"
    assert item.phase == "phase-5"


def test_the_comprehensive_plan_knows_its_schedule_status_and_header(comprehensive: Plan):
    first = comprehensive.phases[0]
    assert (first.title, first.schedule, first.status) == ("Core Feature Implementation", "Weeks 1-2", "IN PROGRESS")
    assert first.description == "Foundation features using orchestrator-driven development"
    assert comprehensive.phases[10].schedule == "Week 14"
    assert comprehensive.id == "V2_0_ORCHESTRATOR_RELEASE_COORDINATOR"
    assert comprehensive.header.priority == "Critical"
    assert comprehensive.header.estimated_effort == "16 weeks (extended scope)"
    assert comprehensive.header.updated == "2025-01-12"
    assert comprehensive.overview.startswith("This meta-PRP coordinates")


def test_the_comprehensive_plans_diagram_orders_its_phases(comprehensive: Plan):
    waits = {
        phase.number: [int(key.removeprefix("phase-")) for key in phase.dependencies] for phase in comprehensive.phases
    }
    assert waits == {1: [], 2: [1], 3: [2], 4: [3], 5: [4], 6: [5], 7: [5], 8: [6, 7], 9: [8], 10: [9], 11: [10]}
    assert all(phase.dependencies_explicit for phase in comprehensive.phases)
    assert len(comprehensive.graph) == 11


def test_the_comprehensive_plans_groups_are_parallel_and_sequential(comprehensive: Plan):
    groups = {group.name: group for group in comprehensive.groups}
    assert [(name, group.mode, len(group.members)) for name, group in groups.items()] == [
        ("Group A", "parallel", 6),
        ("Group B", "sequential", 4),
        ("Group C", "parallel", 3),
    ]
    assert groups["Group B"].schedule == "Weeks 6-7"
    items = {item.key: item for item in comprehensive.items}
    chain = groups["Group B"].members
    assert [items[key].dependencies for key in chain] == [(), (chain[0],), (chain[1],), (chain[2],)]
    assert all(not items[key].dependencies for key in groups["Group A"].members)
    assert {item.group for item in comprehensive.items[:6]} == {"Group A"}


def test_the_comprehensive_plans_boxes_criteria_and_commands_are_found(comprehensive: Plan):
    assert len(comprehensive.checklists) == 19
    assert [entry.text for entry in comprehensive.checklists if entry.done] == [
        "Foundation Setup: Clean architecture and DI container implemented"
    ]
    assert len(comprehensive.success_criteria) == 24
    assert len(comprehensive.proposed_gates) == 3
    assert comprehensive.proposed_gates[2].text == (
        "python scripts/validate_v2_release.py --all-phases --generate-report"
    )
    assert not any(item.run or item.gates for item in comprehensive.items)


def test_the_comprehensive_plan_becomes_a_tree_whose_phases_wait_for_each_other(comprehensive: Plan):
    drafts = plan_drafts(comprehensive)
    assert [draft.key for draft in drafts] == [f"phase-{number}" for number in range(1, 12)]
    assert sum(len(draft.subtasks) for draft in drafts) == 29
    assert not any(draft.dependencies for draft in drafts)
    hooks = drafts[7].subtasks[0]
    assert [wait.on for wait in hooks.dependencies] == ["phase-6", "phase-7"]


def test_the_integrated_plan_has_its_six_features_with_everything_said_of_them(integrated: Plan):
    features = integrated.items_of("phase-1")
    assert [feature.title for feature in features] == [
        "Documentation Automation Intelligence",
        "Git Integration & Issue Management",
        "Integration Health Monitoring",
        "Smart Task Routing",
        "Template & Pattern Library",
        "Testing Automation & Quality Suite",
    ]
    assert [feature.specialist for feature in features] == [
        "documenter",
        "devops",
        "devops",
        "architect",
        "architect",
        "tester",
    ]
    assert [feature.complexity for feature in features][-2:] == [Complexity.MODERATE, Complexity.VERY_COMPLEX]
    assert all(len(feature.instructions) == len(feature.artifacts) == 3 for feature in features)
    assert features[0].instructions[0] == "Implement document generation pipelines"
    assert features[0].artifacts[2] == "Integration with docs/ architecture"
    assert features[0].context == "Documentation automation specialist"
    assert features[0].source == "01-documentation-automation-spec.md"


def test_the_integrated_plan_has_its_phases_and_their_workflow(integrated: Plan):
    assert [phase.schedule for phase in integrated.phases] == ["Weeks 1-6", "Weeks 7-8", "Weeks 9-10", "Weeks 11-12"]
    first = integrated.phases[0]
    assert first.workflow[0] == "Initialize Session -> Create Meta Task"
    assert len(first.workflow) == 7
    assert first.fields["session_name"] == "v2.0-feature-development"
    assert first.fields["Orchestrator Session"] == "Feature Development Coordination"
    assert first.task is not None
    assert (first.task.title, first.task.specialist) == ("v2.0 Feature Implementation Phase", "architect")
    assert integrated.phases[1].dependencies == ("phase-1",)


def test_the_integrated_plan_has_its_testing_documentation_and_release_tasks(integrated: Plan):
    rest = {item.key: item for item in integrated.items if item.phase != "phase-1"}
    assert list(rest) == [
        "integration_testing",
        "performance_validation",
        "comprehensive_documentation",
        "repository_cleanup",
        "git_organization",
        "final_preparation",
    ]
    assert rest["integration_testing"].tools == ("health_check", "maintenance_coordinator")
    assert rest["integration_testing"].criteria == ("All feature interactions working",)
    assert rest["git_organization"].artifacts == ("414 files in atomic commits",)
    assert [item.phase for item in rest.values()] == ["phase-2"] * 2 + ["phase-3"] * 2 + ["phase-4"] * 2


def test_the_release_prp_has_its_five_subtasks_under_their_main_task(release: Plan):
    assert [item.key for item in release.items] == [
        "release_notes",
        "version_tagging",
        "deployment_validation",
        "rollback_planning",
        "announcement_prep",
    ]
    for item in release.items:
        assert item.specialist == "coordinator"
        assert item.complexity is Complexity.MODERATE
        assert len(item.instructions) == len(item.criteria) == 4
        assert item.tools == ("plan_task", "execute_task", "complete_task")
    assert release.items[3].criteria[0] == "Rollback Planning implemented"
    assert release.task is not None
    assert release.task.task_type is TaskType.IMPLEMENTATION
    (root,) = plan_drafts(release)
    assert root.title == "Release Preparation Implementation"
    assert [draft.key for draft in root.subtasks] == [item.key for item in release.items]


def test_the_release_prp_lists_what_it_could_not_place(release: Plan):
    assert [line.line for line in release.unplaced] == list(range(58, 65))
    assert release.unplaced[1].text.strip() == '- "Coordinator specialist"'
    assert release.phases[1].workflow[0] == "orchestrator_execute_task(release_notes_task)"
    assert any("'Core infrastructure'" in note.text and note.line == 8 for note in release.notes)
    assert any("repeats the number" in note.text for note in release.notes)
    assert len(release.phases) == 3


def test_commands_of_the_release_prp_are_only_proposed(release: Plan):
    assert len(release.proposed_gates) == 11
    assert release.proposed_gates[0].about == "Initialize orchestrator session"
    assert all(draft.run is None and not draft.gates for draft, _, _ in walk_drafts(plan_drafts(release)))


@pytest.mark.parametrize(
    "name", ["meta-prp-comprehensive", "meta-prp-orchestrator-integrated", "prp-release-preparation"]
)
@pytest.mark.parametrize("damage", ["crlf", "cr", "bom", "trailing blanks", "no final newline"])
def test_line_ends_and_marks_change_nothing(name: str, damage: str):
    data = gzip.decompress((PLANS / f"{name}.md.gz").read_bytes())
    other = {
        "crlf": data.replace(b"\n", b"\r\n"),
        "cr": data.replace(b"\n", b"\r"),
        "bom": b"\xef\xbb\xbf" + data,
        "trailing blanks": data.replace(b"\n", b"  \t\n"),
        "no final newline": data.rstrip(b"\n"),
    }[damage]
    expected, found = read_plan_bytes(data, name="x"), read_plan_bytes(other, name="x")
    assert found.items == expected.items
    assert found.phases == expected.phases
    assert found.groups == expected.groups
    assert plan_drafts(found) == plan_drafts(expected)


def test_a_plan_survives_json(release: Plan):
    assert Plan.model_validate_json(release.model_dump_json()) == release
