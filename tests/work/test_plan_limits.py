"""What is no plan is refused with a way out, and nothing takes long, whatever it is."""

from __future__ import annotations

import sys
import time

import pytest

from vespera_agents.work.errors import PlanError
from vespera_agents.work.plans import PLAN_BYTES_MAX, PLAN_LINES_MAX, plan_drafts, read_plan, read_plan_bytes

HEAD = "# T\n\n## Phase 1: a\n\n"
TRACED = sys.gettrace() is not None
"""A line tracer, as coverage uses, costs several times what it measures, so it gets shorter documents."""
LINES = (PLAN_LINES_MAX - 100) // (4 if TRACED else 1)
LONG = 7_900


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf \r\n\t\n", "is empty"),
        (b"\x7fELF\x00\x01", "is a binary file"),
        (b"# T\n\xff\xfe", "is not UTF-8"),
        (b"# Recipe\n\nTake two eggs.\n\n- salt\n- pepper\n", "holds no plan"),
        (b"---\nname: x\n---\n", "holds no plan"),
        (b"x" * (PLAN_BYTES_MAX + 1), "Split it"),
        (b"a\n" * (PLAN_LINES_MAX + 1), "Split it"),
        (b"# T\n## Phase 1: x\n" + b"- a\n" * 2_001, "more than 2,000 items"),
    ],
)
def test_what_is_no_plan_is_refused_with_its_name(data: bytes, said: str):
    with pytest.raises(PlanError) as refused:
        read_plan_bytes(data, name="thing.md")
    assert "thing.md" in str(refused.value)
    assert said in str(refused.value)


def test_text_is_held_to_the_same_limits():
    for text, said in (("a\0b", "NUL"), ("x" * (PLAN_BYTES_MAX + 1), "bytes"), (" ", "empty")):
        with pytest.raises(PlanError, match=said):
            read_plan(text, name="x")


def fenced(language: str, body: str) -> str:
    return f"{HEAD}```{language}\n{body}\n```\n"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("word " * 390_000, id="one line of prose"),
        pytest.param("a\n" * LINES, id="short lines"),
        pytest.param(HEAD + "- a\n" * LINES, id="bullets"),
        pytest.param(HEAD + "### x\n" * LINES, id="headings"),
        pytest.param("".join(f"## Phase {at % 900}: x\n- a\n" for at in range(LINES // 2)), id="phases"),
        pytest.param(HEAD + "```yaml\na: 1\n" * (LINES // 2), id="fences never closed"),
        pytest.param(HEAD + "```text\nyaml\n" * (LINES // 2), id="fences opened twice"),
        pytest.param(HEAD + "#\n" * LINES, id="hashes"),
        pytest.param(HEAD + "".join(" " * (2 * (at % 400)) + "- a\n" for at in range(4_500)), id="deep bullets"),
        pytest.param(fenced("yaml", "".join(" " * (at % 300) + "a:\n" for at in range(9_000))), id="deep yaml"),
        pytest.param(fenced("yaml", ("[" * LONG + "\n") * 200), id="brackets"),
        pytest.param(HEAD + ("```yaml\n" + "[" * 2_000 + "\n```\n") * 800, id="blocks of brackets"),
        pytest.param(fenced("yaml", "a: b: c\n" + "  b c d\n" * LINES), id="a text that goes on and on"),
        pytest.param(
            fenced("mermaid", "graph TD\n" + "".join(f"A{at}-->A{at + 1}\n" for at in range(LINES))), id="chain"
        ),
        pytest.param(
            fenced("mermaid", "graph TD\n" + "&".join(f"A{at}" for at in range(900)) + "-->" + "&".join("B" * 900)),
            id="every node to every node",
        ),
        pytest.param(fenced("mermaid", "graph TD\n" + ("A -- " + " " * LONG + "\n") * 200), id="an arrow without end"),
        pytest.param(HEAD + ("**a" + " " * LONG + "b\n") * 200, id="blanks"),
        pytest.param(HEAD + ("- " + "(" * LONG + "\n") * 200, id="brackets in bullets"),
        pytest.param(HEAD + ("- " + "[a](" * 1_900 + "\n") * 200, id="links"),
        pytest.param(HEAD + ("```" + "x" * LONG + "`\n") * 200, id="ticks"),
        pytest.param(HEAD + ("**Dependencies**: " + "a, " * 2_600 + "\n") * 200, id="dependencies"),
        pytest.param(HEAD + "".join(f"- **i{at}** (depends on: i*)\n" for at in range(LINES // 12)), id="patterns"),
        pytest.param(HEAD + "**Group A (Weeks 1-2):** x (1-200)\n" * LINES, id="groups"),
        pytest.param(
            f"{HEAD}**Group A:** x (1-2)\n```sh\nfor x in a\n" + "xargs a\n" * LINES + "```\n", id="a long loop"
        ),
        pytest.param(HEAD + "|a|tools|\n|-|-|\n" + "|x|y|\n" * (LINES // 2), id="table"),
        pytest.param(HEAD + ("> " * 40 + "a\n") * (LINES // 2), id="quotes"),
    ],
)
def test_no_document_takes_long(text: str):
    started = time.thread_time()
    try:
        plan = read_plan(text, name="x")
        plan_drafts(plan)
    except PlanError:
        pass
    else:
        assert plan.lines.total == plan.lines.blank + plan.lines.understood + plan.lines.kept + plan.lines.unplaced
    # A bound on a hang, not a measurement: what is not linear takes minutes here.
    assert time.thread_time() - started < 60
