"""A context budget keeps its limit whatever it is fed, drops what is least needed first, and names what is missing.

The limit is judged by the library alone, over the whole text in one go: nothing of the counter, of the pieces or of
the sections is believed. The order of dropping is written down here a second time.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.context.hostile import PASTES, exactly, random_bytes, texts
from vespera_agents.context import Assembly, ContextBudget, Dropped, Section, SectionKind, TokenCounter
from vespera_agents.context.cutting import level_of
from vespera_agents.context.sections import note_of, section_of, written

Parts = list[tuple[str, str, SectionKind, int]]

GOES_FIRST = ["tool_results", "history", "shared", "dependencies"]
PINNED = ("role", "task", "gates", "note")
HEAD_TOKENS, NOTE_TOKENS = 128, 560
"""With so much room for each, and for the note, no pinned section is lost: see docs/context.md."""

kinds = st.sampled_from(list(SectionKind))
priorities = st.one_of(st.just(0), st.integers(-3, 3), st.integers(-(10**30), 10**30))
names = st.one_of(st.text(min_size=1, max_size=12), st.just("Your task"), texts(300))
sections = st.lists(st.tuples(names, texts(1_500), kinds, priorities), max_size=9)


def filled(limit: int, parts: Parts, **more: int) -> ContextBudget:
    budget = ContextBudget(limit, **more)
    for name, text, kind, priority in parts:
        budget.add(name, text, kind, priority=priority)
    return budget


def added(parts: Parts) -> list[Section]:
    return [made for name, text, kind, rank in parts if (made := section_of(name, text, kind, rank, ())) is not None]


def in_dropping_order(parts: list[Section]) -> list[Section]:
    droppable = [(at, one) for at, one in enumerate(parts) if one.kind not in PINNED]
    droppable.sort(key=lambda entry: (GOES_FIRST.index(entry[1].kind), entry[1].priority, entry[0]))
    return [one for _, one in droppable]


def check_limit(assembly: Assembly, limit: int, reserved: int = 0) -> None:
    counted = exactly(assembly.text) + reserved
    assert counted <= limit
    assert assembly.context_tokens == counted or not assembly.exact
    assert assembly.text == assembly.text.encode().decode(), "it can be sent"


@settings(deadline=None, max_examples=150)
@given(limit=st.integers(1, 2_500), parts=sections, reserved=st.integers(0, 200))
def test_the_text_never_has_more_tokens_than_the_limit(limit: int, parts: Parts, reserved: int) -> None:
    budget = filled(limit + reserved, parts, reserved_tokens=reserved)
    check_limit(budget.assemble(), limit + reserved, reserved)


@settings(deadline=None, max_examples=150)
@given(limit=st.integers(20, 2_500), parts=sections)
def test_what_goes_goes_in_the_stated_order_whole_and_no_further_than_needed(limit: int, parts: Parts) -> None:
    given_parts = added(parts)
    assembly = filled(limit, parts).assemble()
    order = in_dropping_order(given_parts)
    gone = [entry for entry in assembly.dropped if entry.kind not in PINNED]
    assert [(one.name, one.kind, "dropped") for one in gone] == [
        (o.name, o.kind, "dropped") for o in order[: len(gone)]
    ]
    ids = {id(one) for one in order[len(gone) :]}
    stayed = [one for one in given_parts if one.kind in PINNED or id(one) in ids]
    if len(gone) < len(order):
        assert list(assembly.kept) == stayed, "nothing that is pinned loses anything while something else is there"
    if gone and len(assembly.dropped) == len(gone):
        last = order[len(gone) - 1]
        ids.add(id(last))
        more = [one for one in given_parts if one.kind in PINNED or id(one) in ids]
        note = note_of(gone[:-1]) if gone[:-1] else ""
        text = "".join(map(written, more)) + note if note else "".join(map(written, more)).removesuffix("\n\n")
        assert exactly(text) > limit, f"{last.name} would have had room"


@settings(deadline=None, max_examples=150)
@given(room=st.integers(0, 600), parts=sections)
def test_pinned_sections_survive_with_their_beginnings(room: int, parts: Parts) -> None:
    given_parts = added(parts)
    pinned = [one for one in given_parts if one.kind in PINNED]
    limit = NOTE_TOKENS + HEAD_TOKENS * max(1, len(pinned)) + room
    assembly = filled(limit, parts).assemble()
    check_limit(assembly, limit)
    kept = [one for one in assembly.kept if one.kind in PINNED]
    assert [(one.name, one.kind) for one in kept] == [(one.name, one.kind) for one in pinned]
    cut = [(one, before) for one, before in zip(kept, pinned, strict=True) if one != before]
    longest_whole = max((exactly(written(one)) for one in kept if one in pinned), default=0)
    for one, before in cut:
        beginning, _, mark = one.text.rpartition("\n\n[About ")
        assert beginning
        assert before.text.startswith(beginning)
        assert mark.endswith(" more tokens of this part did not fit.]")
        assert exactly(written(before)) >= longest_whole, "only the longest are cut"
    assert [entry.name for entry in assembly.dropped if entry.how == "cut"] == [
        f"the end of {one.name}" for one, _ in cut
    ]


@settings(deadline=None)
@given(limit=st.integers(1, 2_500), parts=sections)
def test_every_section_is_in_the_text_whole_or_is_listed_and_the_text_says_that_something_is_missing(
    limit: int, parts: Parts
) -> None:
    assembly = filled(limit, parts).assemble()
    listed = [entry.name.removeprefix("the end of ") for entry in assembly.dropped]
    for one in added(parts):
        if one in assembly.kept:
            assert written(one).rstrip() in assembly.text
        else:
            assert one.name in listed
    assert not assembly.dropped or not assembly.text or "These parts did not fit into the context: " in assembly.text


@settings(deadline=None)
@given(parts=sections)
def test_with_room_enough_everything_is_there_in_the_order_of_adding(parts: Parts) -> None:
    assembly = filled(1_000_000, parts).assemble()
    assert assembly.dropped == ()
    assert list(assembly.kept) == added(parts)
    assert assembly.text == "".join(map(written, added(parts))).removesuffix("\n\n")


@pytest.mark.parametrize("kind", [SectionKind.TASK, SectionKind.TOOL_RESULTS])
@pytest.mark.parametrize("name", PASTES)
def test_a_megabyte_of_anything_keeps_the_limit_and_leaves_the_rest_whole(name: str, kind: SectionKind) -> None:
    budget = ContextBudget(2_000)
    budget.add("Your role", "You test.", SectionKind.ROLE)
    budget.add("Paste", PASTES[name], kind)
    budget.add("Gates", "true", SectionKind.GATES)
    assembly = budget.assemble()
    check_limit(assembly, 2_000)
    assert assembly.text.startswith("## Your role\n\nYou test.\n\n")
    assert "## Gates\n\ntrue\n\n## Left out\n\n" in assembly.text
    (gone,) = assembly.dropped
    if kind.pinned:
        assert (gone.name, gone.how) == ("the end of Paste", "cut")
        assert "\n\n## Paste\n\n" + PASTES[name].strip()[:100].rstrip() in assembly.text
        if name not in {"spaces", "newlines"}:
            assert assembly.fill_ratio > 0.9, "no room is given away"
    else:
        assert (gone.name, gone.how, gone.kind) == ("Paste", "dropped", "tool_results")


def test_an_endless_stream_of_results_keeps_the_limit_at_each_step() -> None:
    limit, budget = 3_000, ContextBudget(3_000)
    budget.add("Your task", "Read it all. CANARY", SectionKind.TASK)
    for step in range(60):
        text = random_bytes(step, 900).decode("latin-1") if step % 3 else "word " * random.Random(step).randint(1, 900)
        budget.add(f"step {step}", text, SectionKind.HISTORY if step % 2 else SectionKind.TOOL_RESULTS)
        assembly = budget.assemble()
        check_limit(assembly, limit)
        assert "Read it all. CANARY" in assembly.text
        assert f"## step {step}\n" in assembly.text or step % 2 == 0
    assert " and " in assembly.text.rpartition("did not fit into the context: ")[2], "many names become a number"
    assert len(assembly.text.rpartition("## Left out")[2]) < 700


def test_the_kinds_go_in_their_order_and_the_note_names_them() -> None:
    budget = ContextBudget(330)
    for name, kind, priority in (
        ("summary", SectionKind.DEPENDENCIES, 1), ("small summary", SectionKind.DEPENDENCIES, 0),
        ("note", SectionKind.SHARED, 0), ("first step", SectionKind.HISTORY, 0), ("role", SectionKind.ROLE, 0),
        ("old result", SectionKind.TOOL_RESULTS, 0), ("last step", SectionKind.HISTORY, 0),
        ("new result", SectionKind.TOOL_RESULTS, 0),
    ):  # fmt: skip
        budget.add(name, "word " * 100, kind, priority=priority)
    assembly = budget.assemble()
    order = ["old result", "new result", "first step", "last step", "note", "small summary"]
    assert [entry.name for entry in assembly.dropped] == order
    assert assembly.dropped[0].context_tokens == 105
    assert assembly.text.endswith(f"\n\n## Left out\n\nThese parts did not fit into the context: {', '.join(order)}.")
    assert [one.name for one in assembly.kept] == ["summary", "role"]


def test_at_every_limit_no_more_goes_than_needed() -> None:
    parts: Parts = [("task", "Do it.", SectionKind.TASK, 0)]
    parts += [(f"step {number}", "word " * number, SectionKind.HISTORY, 0) for number in range(1, 12)]
    for limit in range(60, 180):
        assembly = filled(limit, parts).assemble()
        check_limit(assembly, limit)
        if assembly.dropped:
            *before, last = assembly.dropped
            place = next(at for at, part in enumerate(parts) if part[0] == last.name)
            kept = "".join(map(written, added([parts[0], *parts[place:]])))
            assert exactly(kept + note_of(before) if before else kept.rstrip()) > limit


def test_the_longest_pinned_sections_are_cut_to_one_length_and_the_short_ones_stay_whole() -> None:
    budget = ContextBudget(600)
    for name, times in (("role", 20), ("task", 5_000), ("gates", 100), ("note", 4_000)):
        budget.add(name, "word " * times, SectionKind(name))
    assembly = budget.assemble()
    weights = {one.name: exactly(written(one)) for one in assembly.kept}
    assert [entry.name for entry in assembly.dropped] == ["the end of task", "the end of note"]
    assert weights["role"] < weights["gates"] < weights["note"]
    assert abs(weights["note"] - weights["task"]) <= 3
    assert 590 <= assembly.context_tokens <= 600, "no room is given away"


def test_where_not_even_the_note_has_room_the_text_is_empty_and_the_list_says_what_was_there() -> None:
    assembly = filled(
        2, [("role", "You test.", SectionKind.ROLE, 0), ("task", "Test.", SectionKind.TASK, 0)]
    ).assemble()
    assert (assembly.text, assembly.kept, assembly.context_tokens) == ("", (), 0)
    assert {entry.name for entry in assembly.dropped} == {"role", "task"}


def test_an_empty_text_adds_nothing_and_a_beginning_of_a_line_is_kept() -> None:
    budget = ContextBudget(100)
    budget.add("role", " \n ")
    assert budget.assemble().text == ""
    budget.add(" a\nname  ", "\n\n    indented\n\n")
    assert budget.assemble().text == "## a name\n\n    indented"


def test_nothing_is_counted_where_the_bytes_prove_that_all_fits_and_no_threshold_is_near() -> None:
    counter = TokenCounter()
    budget = ContextBudget(1_000, count=counter.count)
    budget.add("task", "x" * 700)
    assert budget.needs_no_count
    assert not budget.wants_compaction()
    assert not budget.assemble().exact
    assert counter.statistics().counted == 0
    budget.add("more", "x" * 50)
    assert not budget.needs_no_count
    assert budget.assemble().exact
    assert counter.statistics().counted > 0


def test_thresholds_are_shares_of_the_limit_with_what_is_reserved() -> None:
    budget = ContextBudget(1_000, reserved_tokens=500)
    budget.add("task", "word " * 200)
    assert not budget.wants_compaction()
    budget.add("step", "word " * 100, SectionKind.HISTORY)
    assert budget.wants_compaction()
    assert budget.context_tokens() == budget.assemble().context_tokens == 500 + exactly(budget.assemble().text)
    assert not budget.must_respawn(budget.assemble())
    budget.add("step", "word " * 90, SectionKind.HISTORY)
    assert budget.must_respawn(budget.assemble())


def test_a_warm_assembly_counts_nothing_but_the_note_again() -> None:
    counter = TokenCounter()
    for round_ in range(2):
        budget = ContextBudget(5_000, count=counter.count)
        for number in range(20):
            budget.add(f"step {number}", f"{number} " + "word " * 400, SectionKind.HISTORY)
        budget.assemble()
        if not round_:
            counted = counter.statistics().counted
    assert counter.statistics().counted == counted


@given(st.lists(st.integers(0, 500), min_size=1, max_size=8), st.integers(0, 3_000))
def test_the_level_is_the_largest_that_has_room(weights: list[int], room: int) -> None:
    def total(level: int) -> int:
        return sum(min(weight, level) for weight in weights)

    level = level_of(weights, room)
    assert total(level) <= room
    assert total(level + 1) > room or sum(weights) <= room


def test_names_of_any_length_leave_a_short_note() -> None:
    gone = [Dropped("é" * 40, 1) for _ in range(1_000)]
    assert len(note_of(gone).encode()) < NOTE_TOKENS
    assert note_of(gone).endswith(" and 995 others.")
    assert len(section_of("😀" * 1_000, "x", SectionKind.TASK, 0, ()).name.encode()) <= 80


def test_the_program_of_the_guide_prints_what_was_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "context.md").read_text(encoding="utf-8")
    exec(text.partition("```python\n")[2].partition("```")[0], {})  # noqa: S102 - our own document
    assert capsys.readouterr().out.endswith("read_file log.txt tool_results dropped 6006\n")
