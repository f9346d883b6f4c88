"""Nothing is dropped silently: every line, and every word, of a document is somewhere in what the reader gives."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vespera_agents.work.drafts import check_drafts
from vespera_agents.work.errors import PlanError
from vespera_agents.work.plans import Plan, plan_drafts, read_plan

PLANS = Path(__file__).parent.parent / "plans"
WORD = re.compile(r"\w{2,}")
KEY = re.compile(r"[\w ]+(?=:)")
SYNTAX = {"yaml", "text", "bash", "mermaid", "graph", "td", "lr"} | {"for", "in", "do", "done", "wait"}
LABELS = {"last", "total"}
"""Words of header labels that have a field of their own."""


def strings(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif value is not None:
        yield str(value)


def words_of(plan: Plan) -> set[str]:
    """Give every word of a plan's texts; the names of the model's own fields do not count."""
    dump = json.loads(plan.model_dump_json())
    del dump["lines"], dump["name"]
    return {word.lower() for text in strings(dump) for part in WORD.findall(text) for word in (part, *part.split("_"))}


def check_lines(plan: Plan, text: str) -> None:
    count = plan.lines
    assert count.total == len(re.split(r"\r\n|\n|\r", text))
    assert count.total == count.blank + count.understood + count.kept + count.unplaced
    assert count.unplaced == len(plan.unplaced)
    assert sum(1 for section in plan.sections for line in section.text.split("\n") if line.strip()) <= count.kept
    lines = re.split(r"\r\n|\n|\r", text.removeprefix("\ufeff"))
    assert all(lines[line.line - 1] == line.text for line in plan.unplaced)


@pytest.mark.parametrize(
    "name", ["meta-prp-comprehensive", "meta-prp-orchestrator-integrated", "prp-release-preparation"]
)
def test_every_word_of_the_samples_is_somewhere_in_the_plan(name: str):
    text = gzip.decompress((PLANS / f"{name}.md.gz").read_bytes()).decode()
    plan = read_plan(text, name=name)
    check_lines(plan, text)
    known = words_of(plan) | SYNTAX | LABELS
    missing = []
    for number, line in enumerate(text.split("\n"), 1):
        # Keys of YAML become field names of the model, so only what stands behind them is looked for.
        said = KEY.sub("", line) if re.match(r"\s*-? ?[a-z_]+:", line) else line
        words = {word.lower() for part in WORD.findall(said) for word in part.split("_") if len(word) > 1}
        missing += [(number, word) for word in sorted(words - known)]
    assert missing == []


FRAGMENTS = st.sampled_from(
    [
        "# Title",
        "#",
        "## Phase 1: One (Week 1)",
        "## Phase 2: Two - DONE",
        "### Phase 3: Three",
        "### 1. Numbered task",
        "### 02-file.md",
        "### name",
        "#### Success Criteria",
        "## Dependencies",
        "## Task List",
        "### Level 1: Syntax",
        "**Status**: [READY]",
        "**Dependencies**: Phase 1, other",
        "**Deliverables**:",
        "**Group A (Weeks 1-2):** Core (01-02)",
        "**Phase 4: Bold**",
        "- bullet",
        "  - nested bullet",
        "\t- tabbed bullet",
        "- [ ] open box",
        "- [x] done box",
        "1. first",
        "2. **Second**: more (2 days)",
        "- `01-file.md` - a file",
        "- Phase 2 depends on Phase 1",
        "- VALIDATE: make check",
        "plain prose",
        "Label: prose",
        "> quoted",
        "| a | tools |",
        "|---|---|",
        "| first | b, c |",
        "---",
        "***",
        "```",
        "```yaml",
        "```text",
        "```bash",
        "```mermaid",
        "~~~",
        "yaml",
        "bash",
        "graph TD",
        "A[Phase 1] --> B[Phase 2]",
        "A --- B",
        "plan_task:",
        "task_details:",
        '  title: "A title"',
        "  specialist: tester",
        "run: make it",
        "depends: [name]",
        "tasks:",
        "  - alpha",
        "  - beta: {a: b}",
        "subtask_breakdown:",
        "main_task:",
        "phase_task:",
        "  1. step(one)",
        "key: value: more",
        "  description: what",
        "  depends: alpha",
        "  run: ls",
        "    - deep one",
        "  gates:",
        "    timeout: 3",
        "  validation: sure",
        "execution_context:",
        "  steps:",
        "session_setup:",
        "release_tasks:",
        "prp_id: some",
        "Task 7: numbered",
        "- title: listed",
        "  id: me",
        "    odd indent: yes",
        "for x in 1 2; do go $x; done",
        "run it & ",
        "wait",
        "# comment",
        "<!-- html",
        "<div>",
        "\\",
        "[x]: http://example.org",
        "    indented four",
        "",
        "",
        "",
    ]
)
FREE = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), max_size=30)
DOCUMENT = st.lists(st.one_of(FRAGMENTS, FRAGMENTS, FRAGMENTS, FREE), min_size=1, max_size=40)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(DOCUMENT, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_every_line_of_any_document_is_accounted_for(lines: list[str], end: str, titled: bool):
    text = ("# T\n\n- [ ] one\n\n" if titled else "").replace("\n", end) + end.join(lines)
    try:
        plan = read_plan(text, name="x")
    except PlanError:
        return
    check_lines(plan, text)
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    keys = [item.key for item in plan.items] + [phase.key for phase in plan.phases]
    assert len(keys) == len(set(keys))
    assert {key for item in plan.items for key in item.dependencies} <= set(keys)
    with contextlib.suppress(PlanError):
        by_key = check_drafts(plan_drafts(plan))
        assert {wait.on for draft in by_key.values() for wait in draft.dependencies} <= set(by_key)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(FRAGMENTS, st.integers(0, 9_999)), min_size=1, max_size=25))
def test_no_mark_put_anywhere_is_lost(parts: list[tuple[str, int]]):
    """Each line gets a word of its own; every one of them must come out again, in a field, a kept text or the list."""
    lines = [
        f"{text} mark{at}x{number}" if text and "`" not in text else text for at, (text, number) in enumerate(parts)
    ]
    text = "# T\n\n- [ ] one\n\n" + "\n".join(lines)
    plan = read_plan(text, name="x")
    told = " ".join(strings(json.loads(plan.model_dump_json())))
    assert [mark for mark in re.findall(r"mark\d+x\d+", text) if mark not in told] == []
