"""A compaction loses as little as can be, leaves links to what it took, and never touches what is pinned."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.context.hostile import exactly, texts
from vespera_agents.context import ContextBudget, Section, SectionKind, compact

LIMIT = 10_000
PARTS = (
    ("role", "You test.", SectionKind.ROLE),
    ("summary of a", "found out " * 300, SectionKind.DEPENDENCIES),
    ("step 1", "did one " * 700, SectionKind.HISTORY),
    ("old result", "old " * 2_000, SectionKind.TOOL_RESULTS),
    ("step 2", "did two " * 700, SectionKind.HISTORY),
    ("new result", "new " * 2_000, SectionKind.TOOL_RESULTS),
    ("step 3", "did three " * 300, SectionKind.HISTORY),
    ("step 4", "did four " * 300, SectionKind.HISTORY),
)


def filled(parts: Sequence[tuple[str, str, SectionKind]] = PARTS, limit: int = LIMIT) -> ContextBudget:
    budget = ContextBudget(limit)
    for name, text, kind in parts:
        budget.add(name, text, kind)
    return budget


class Store:
    """Keeps what is offloaded."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def offload(self, section: Section) -> str:
        await trio.lowlevel.checkpoint()
        link = f"vespera://artifact/{len(self.kept)}"
        self.kept[link] = section.text
        return link


async def test_below_the_threshold_nothing_is_done_unless_at_once() -> None:
    budget = filled(PARTS[:3])
    before = budget.sections
    assert (await compact(budget)).done == ()
    assert budget.sections == before
    budget = filled(limit=12_000)
    assert (await compact(budget, at_once=True)).done


async def test_long_results_become_beginnings_with_links_the_oldest_first_and_no_more_than_needed() -> None:
    budget, store = filled(), Store()
    done = await compact(budget, offload=store.offload, goal=0.6)
    assert [(one.name, one.how, one.link) for one in done.done] == [
        ("old result", "offloaded", "vespera://artifact/0"),
        ("new result", "offloaded", "vespera://artifact/1"),
    ]
    assert store.kept["vespera://artifact/0"] == PARTS[3][1].rstrip()
    assembly = budget.assemble()
    assert "are kept as vespera://artifact/0.]" in assembly.text
    assert done.tokens_after == assembly.context_tokens == exactly(assembly.text)
    assert done.reclaimed_tokens == sum(one.tokens_before - one.tokens_after for one in done.done) > 3_000
    assert assembly.dropped == ()


async def test_the_older_history_becomes_a_summary_in_its_place() -> None:
    budget = filled()
    asked: list[list[str]] = []

    async def summarize(sections: Sequence[Section], tokens_max: int) -> str:
        await trio.lowlevel.checkpoint()
        asked.append([section.name for section in sections])
        return f"One and two, in {tokens_max} tokens."

    done = await compact(budget, summarize=summarize, goal=0.4)
    assert asked == [["step 1", "step 2"]]
    names = [section.name for section in budget.sections]
    assert names == [
        "role", "summary of a", "Summary of what was done so far", "old result", "new result", "step 3", "step 4",
    ]  # fmt: skip
    assert "One and two, in 1000 tokens." in budget.assemble().text
    assert {one.name: one.how for one in done.done} == {
        "old result": "shortened", "new result": "shortened", "step 1": "summarized", "step 2": "summarized",
    }  # fmt: skip
    assert "more tokens of this part were left out to save room.]" in budget.assemble().text


async def test_a_summary_that_is_missing_or_too_long_does_no_harm() -> None:
    async def none(_: Sequence[Section], __: int) -> None:
        await trio.lowlevel.checkpoint()

    async def endless(sections: Sequence[Section], _: int) -> str:
        await trio.lowlevel.checkpoint()
        return "so " * 100_000 + sections[0].name

    for summarize in (none, endless):
        budget = filled()
        done = await compact(budget, summarize=summarize, goal=0.4)
        assert done.tokens_after <= 0.5 * LIMIT
        history = [section for section in budget.sections if section.kind is SectionKind.HISTORY]
        assert all(exactly(section.text) <= 2_000 for section in history)


async def test_of_equal_texts_the_newest_stays_and_the_note_names_the_others() -> None:
    file = ("read_file a.py", "line\n" * 2_450, SectionKind.TOOL_RESULTS)
    budget = filled([PARTS[0], file, file])
    done = await compact(budget)
    assert [(one.name, one.how) for one in done.done] == [("read_file a.py", "dropped")]
    assert [section.name for section in budget.sections] == ["role", "read_file a.py"]
    assert budget.assemble().text.endswith("did not fit into the context: read_file a.py.")
    assert done.tokens_after == budget.assemble().context_tokens


async def test_what_is_still_too_much_is_dropped_in_the_stated_order() -> None:
    parts = [("task", "word " * 5_000, SectionKind.TASK)]
    parts += [(f"step {number}", f"{number} word " * 80, SectionKind.HISTORY) for number in range(20)]
    parts += [(f"result {number}", f"{number} word " * 80, SectionKind.TOOL_RESULTS) for number in range(10)]
    budget = filled(parts)
    done = await compact(budget)
    dropped = [one.name for one in done.done if one.how == "dropped"]
    order = [*(f"result {number}" for number in range(10)), *(f"step {number}" for number in range(20))]
    assert dropped == order[: len(dropped)]
    assert [entry.name for entry in budget.gone] == dropped
    assert 0.7 * LIMIT < done.tokens_after < 0.76 * LIMIT
    assert "did not fit into the context: result 0, result 1" in budget.assemble().text


async def test_a_compaction_that_is_cancelled_or_fails_changes_nothing(autojump_clock: object) -> None:
    async def slow(section: Section) -> str:
        await trio.sleep(10 if section.name == "new result" else 0)
        return "late"

    async def broken(section: Section) -> str:
        await trio.lowlevel.checkpoint()
        if section.name == "new result":
            raise OSError("no disk")
        return "the first was kept"

    budget = filled()
    before = budget.sections
    with trio.move_on_after(1):
        await compact(budget, offload=slow)
    assert budget.sections == before
    with pytest.raises(OSError, match="no disk"):
        await compact(budget, offload=broken)
    assert (budget.sections, budget.gone) == (before, ())


parts = st.lists(
    st.tuples(st.text(min_size=1, max_size=8), texts(1_500), st.sampled_from(list(SectionKind))), max_size=9
)


@settings(deadline=None)
@given(limit=st.integers(300, 3_000), fed=parts, linked=st.booleans(), summary=st.none() | texts(400))
def test_whatever_it_is_fed_it_grows_nothing_touches_nothing_pinned_and_names_all_that_went(
    limit: int, fed: list[tuple[str, str, SectionKind]], linked: bool, summary: str | None
) -> None:
    budget = filled(fed, limit)
    before = budget.sections

    async def summarize(_: Sequence[Section], __: int) -> str | None:
        await trio.lowlevel.checkpoint()
        return summary

    async def compacted() -> None:
        store = Store()
        done = await compact(budget, offload=store.offload if linked else None, summarize=summarize, at_once=True)
        pinned = [section for section in before if section.kind.pinned]
        assert [section for section in budget.sections if section.kind.pinned] == pinned
        assert done.tokens_after <= done.tokens_before + 560
        changed = {one.name for one in done.done}
        assert all(section in budget.sections or section.name in changed for section in before)
        assert [one.name for one in done.done if one.how == "dropped"] == [entry.name for entry in budget.gone]
        there = [section.text for section in budget.sections]
        for link in store.kept:
            assert any(link in text for text in there) or budget.gone, "a link is there, or its section is named"
        assert exactly(budget.assemble().text) <= limit

    trio.run(compacted)
