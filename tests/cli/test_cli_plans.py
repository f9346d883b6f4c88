"""`vespera plan show`: the sample documents, and what is no plan."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

SAMPLES = Path(__file__).resolve().parents[1] / "plans"


def show(vespera, name: str):
    """Show one of the sample documents as JSON."""
    vespera.write("plan.md", gzip.decompress((SAMPLES / f"{name}.md.gz").read_bytes()).decode())
    done = vespera("plan", "show", "plan.md", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    lines = document["lines"]
    assert lines["blank"] + lines["understood"] + lines["kept"] + lines["unplaced"] == lines["total"]
    assert len(document["unplaced"]) == lines["unplaced"]
    return document


def leaves(drafts) -> int:
    return sum(leaves(draft["subtasks"]) if draft["subtasks"] else 1 for draft in drafts)


def test_the_comprehensive_plan_has_29_items_in_11_phases(vespera):
    document = show(vespera, "meta-prp-comprehensive")
    assert (len(document["items"]), len(document["phases"])) == (29, 11)
    assert document["graph"]
    assert document["groups"]
    assert leaves(document["drafts"]) >= 29
    assert document["problem"] is None


def test_the_integrated_plan_has_its_six_features_with_all_that_is_said_of_them(vespera):
    document = show(vespera, "meta-prp-orchestrator-integrated")
    features = [item for item in document["items"] if item["phase"] == "phase-1"]
    assert len(features) == 6
    for name in ("title", "complexity", "specialist", "instructions", "artifacts"):
        assert all(item[name] for item in features), name
    assert len(document["phases"]) == 4
    rest = {item["key"] for item in document["items"]}
    assert {"integration_testing", "comprehensive_documentation", "final_preparation"} <= rest


def test_the_release_plan_has_its_five_subtasks(vespera):
    document = show(vespera, "prp-release-preparation")
    assert len(document["items"]) == 5
    assert all(item["specialist"] and item["instructions"] and item["criteria"] for item in document["items"])


def test_people_see_the_tree_the_graph_the_notes_and_every_unplaced_line(vespera):
    text = """---
id: SMALL
---
# A small thing
```mermaid
graph LR
    one --> two
```
## Phase 1: Things
### one
```yaml
specialist: tester
when: test -d .
run: echo 1
gates: ["true"]
```
### two
```yaml
depends: [one, nobody]
shell: true
run: echo 2 | cat
```
## Notes
{: strange }
"""
    vespera.write("plan.md", text)
    done = vespera("plan", "show", "plan.md")
    assert done.returncode == 0
    for line in (
        "A small thing",
        "  id SMALL",
        "  2 items in 1 phases",
        "  Phase 1: Things [phase-1]",
        "    one  (tester; moderate)",
        "        when: test -d .",
        "        run: echo 1",
        "        run (shell): echo 2 | cat",
        "  one -> two",
    ):
        assert line in done.stdout.splitlines(), done.stdout
    assert "nobody" in done.stdout[done.stdout.index("\nNotes\n") :]
    document = json.loads(vespera("plan", "show", "plan.md", "--json").stdout)
    assert done.stdout.count("\n  line ") >= len(document["unplaced"])
    assert f"{document['lines']['unplaced']} unplaced" in done.stdout


def test_groups_gates_and_unplaced_lines_are_listed_for_people(vespera):
    vespera.write("plan.md", gzip.decompress((SAMPLES / "meta-prp-comprehensive.md.gz").read_bytes()).decode())
    done = vespera("plan", "show", "plan.md")
    assert done.returncode == 0
    for heading in ("Tasks", "Graph", "Execution groups", "Proposed gates (never executed)"):
        assert f"\n{heading}\n" in done.stdout
    document = json.loads(vespera("plan", "show", "plan.md", "--json").stdout)
    for line in document["unplaced"]:
        assert f"  line {line['line']}: " in done.stdout


def test_a_plan_that_cannot_be_carried_out_is_shown_with_status_1(vespera):
    vespera.write("plan.md", "# P\n### a\n```yaml\nrun: echo 'open\n```\n### b\n```yaml\nrun: echo b\n```\n")
    done = vespera("plan", "show", "plan.md", "--json")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["drafts"] == []
    assert "cannot be carried out" in document["problem"]
    assert "Error: plan.md cannot be carried out" in done.stderr


NO_PLANS = {
    "prose": b"Nothing to do here.\n",
    "empty": b"",
    "blank": b" \n\n\t\n",
    "binary": bytes(range(256)) * 40,
    "latin": "Größe".encode("latin-1"),
}


@pytest.mark.parametrize("case", NO_PLANS)
def test_what_is_no_plan_ends_with_status_2(vespera, case):
    (vespera.workspace / "plan.md").write_bytes(NO_PLANS[case])
    done = vespera("plan", "show", "plan.md")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Error: plan.md")


def test_fifty_megabytes_of_text_are_refused_by_their_size(vespera):
    with (vespera.workspace / "plan.md").open("wb") as file:
        for _ in range(50):
            file.write(b"## Phase 1: words\n- one\n- two two\n- 3\n" * 27_594)
    done = vespera.process("plan", "show", "plan.md", "--json")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "a plan may have 2,000,000" in done.stderr


def test_a_plan_that_must_not_be_read_is_refused(vespera, monkeypatch):
    path = vespera.write("plan.md", "# P\n### a\n```yaml\nrun: echo\n```\n")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        done = vespera("plan", "show", path)
    assert done.returncode == 2
    assert "cannot be read (Permission denied)" in done.stderr
