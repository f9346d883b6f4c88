"""What follows from recorded steps: what is next, what was handed in, the hand-over note, what stays compacted."""

from __future__ import annotations

import pytest
import trio

from vespera_agents.context import ContextBudget, SectionKind
from vespera_agents.context.compaction import SUMMARY_NAME, compact
from vespera_agents.specialists.agent.accounts import model_lines
from vespera_agents.specialists.agent.handing_in import HAND_IN, handed_over
from vespera_agents.specialists.agent.handover import Note, before_last_answer, last_note, make_note
from vespera_agents.specialists.agent.progress import (
    CALLS_MAX,
    Check,
    Think,
    UseTool,
    WindUp,
    failed_gates,
    recorded,
    what_next,
)
from vespera_agents.specialists.agent.shortening import apply_kept, digests, kept_after
from vespera_agents.store.steps import ModelWork, Step, StepKind


def step(number, kind, result, **intent):
    return Step(number, StepKind(kind), intent, result, 0, None, None, 0.0, 0.0)


def thought(number, text="", *calls, finish="end"):
    told = [{"id": f"c{n}", "name": name, "arguments": arguments} for n, (name, arguments) in enumerate(calls)]
    return step(number, "think", {"text": text, "finish": "tools" if calls else finish, "calls": told})


def used(number, name="read_file", text="it says"):
    return step(number, "tool", {"text": text, "is_error": False}, name=name)


def gates(number, failure=None):
    return step(number, "gates", {"failure": failure, "artifacts": []})


DONE = (HAND_IN, {"summary": "did it", "detailed_work": "all of it", "next_action": "complete"})


def test_the_first_thing_is_to_think_and_each_tool_is_used_once_in_its_order():
    assert what_next([], gated=False) == Think()
    asks = thought(1, "", ("read_file", {"path": "a"}), ("search", {"pattern": "b"}))
    first = what_next([asks], gated=False)
    assert isinstance(first, UseTool)
    assert first.call.arguments == {"path": "a"}
    second = what_next([asks, used(2)], gated=False)
    assert isinstance(second, UseTool)
    assert second.call.name == "search"
    assert what_next([asks, used(2), used(3, "search")], gated=False) == Think()


def test_tools_come_before_handing_in_and_gates_before_the_end():
    asks = thought(1, "", ("write_file", {"path": "a"}), DONE)
    assert isinstance(what_next([asks], gated=True), UseTool)
    following = what_next([asks, used(2)], gated=True)
    assert isinstance(following, Check)
    assert following.work.summary == "did it"
    end = what_next([asks, used(2), gates(3)], gated=True)
    assert isinstance(end, WindUp)
    assert end.gates is not None
    assert isinstance(what_next([asks, used(2)], gated=False), WindUp)


def test_what_gates_refuse_is_thought_about_again_and_counted():
    steps = [thought(1, "", DONE), gates(2, "the gate `x`: exit status 1")]
    assert what_next(steps, gated=True) == Think()
    steps += [thought(3, "", DONE)]
    assert isinstance(what_next(steps, gated=True), Check)
    assert failed_gates([*steps, gates(4, "again")]) == 2
    assert failed_gates([*steps, gates(4)]) == 1


@pytest.mark.parametrize("action", ["needs_revision", "blocked"])
def test_what_is_not_complete_goes_past_the_gates(action):
    steps = [thought(1, "", (HAND_IN, {"summary": "s", "next_action": action, "reason": "why"}))]
    end = what_next(steps, gated=True)
    assert isinstance(end, WindUp)
    assert (end.work.next_action, end.work.reason) == (action, "why")


def test_notes_and_compactions_change_nothing_about_what_is_next():
    asks = thought(1, "", ("read_file", {}))
    between = [step(2, "compaction", {"parts": {}}), step(3, "note", {"upto": 0})]
    assert isinstance(what_next([asks, *between], gated=False), UseTool)


def test_a_step_of_which_nothing_is_known_is_done_once_more():
    asks = thought(1, "", ("read_file", {}))
    begun = Step(2, StepKind.TOOL, {"name": "read_file"}, None, 0, None, None, 0.0, None)
    assert recorded([asks, begun]) == [asks]


def test_an_answer_without_calls_is_the_work_and_one_that_was_cut_off_is_not():
    assert handed_over({"text": "First.\n\nThen more.", "finish": "end", "calls": []}).summary == "First."
    assert handed_over({"text": "half of", "finish": "length", "calls": []}) is None
    assert handed_over({"text": "  ", "finish": "end", "calls": []}) is None
    refused = handed_over({"text": "I will not.", "finish": "refused", "calls": []})
    assert refused.next_action == "blocked"
    assert "refused" in refused.reason


def test_arguments_that_are_not_quite_right_do_not_lose_a_paid_answer():
    def given(**arguments):
        call = {"id": "1", "name": HAND_IN, "arguments": arguments}
        return handed_over({"text": "The work.", "finish": "tools", "calls": [call]})

    assert given().detailed_work == "The work."
    assert given(next_action="continue").next_action == "complete"
    assert given(next_action="finished!").next_action == "needs_revision", "somebody looks at it"
    assert len(given(summary="x" * 9_999).summary) == 1_000


def test_one_answer_may_ask_for_so_many_tools_and_no_more():
    asks = thought(1, "", *[("read_file", {"path": str(n)}) for n in range(CALLS_MAX + 9)])
    steps = [asks, *[used(n + 2) for n in range(CALLS_MAX)]]
    assert what_next(steps, gated=False) == Think()


def test_a_note_tells_what_was_done_and_leaves_the_last_answer_to_be_told_in_full():
    steps = [
        thought(1, "I look", ("read_file", {"path": "a.py"})),
        used(2),
        gates(3, "no tests"),
        thought(4, "I write"),
    ]
    note = make_note(before_last_answer(steps))
    assert note.upto == 3
    assert 'step 1: asked for read_file({"path": "a.py"})' in note.text
    assert "read_file gave: it says" in note.text
    assert "no tests" in note.text
    assert "I write" not in note.text
    assert len(make_note([used(n + 1, text="y" * 500) for n in range(1_000)]).text) < 9_000


@pytest.mark.parametrize(
    "damage",
    [
        lambda kept: kept | {"text": kept["text"] + "!"},
        lambda kept: kept | {"upto": 1},
        lambda kept: kept | {"sha256": ""},
        lambda _: {},
    ],
)
def test_a_note_that_is_damaged_is_made_anew_from_the_same_steps(damage):
    steps = [thought(1, "one", ("read_file", {})), used(2), thought(3, "two", ("read_file", {}))]
    note = make_note(before_last_answer(steps))
    assert last_note([*steps, step(4, "note", note.kept())]) == note
    again = last_note([*steps, step(4, "note", damage(note.kept()))])
    assert again == Note(note.upto, note.text, made_anew=True)
    assert last_note(steps) is None


def test_what_a_compaction_left_is_put_in_place_again_and_only_of_the_same_text():
    def budget(first="a long story " * 400, tool="of no interest " * 600):
        made = ContextBudget(4_000)
        made.add("Your task", "Build it.", SectionKind.TASK)
        for number in range(1, 6):
            made.add(f"Step {number}: you", f"{number} {first}", SectionKind.HISTORY)
        made.add("Step 6: read_file", tool, SectionKind.TOOL_RESULTS)
        return made

    async def shorten():
        before = budget()
        of, made_of = digests(before), apply_kept(before, {})

        async def summarize(_parts, _tokens):
            return "It was built."

        done = await compact(before, summarize=summarize)
        assert done.done
        return kept_after({}, of, made_of, done, before.sections), before

    kept, compacted = trio.run(shorten)
    again = budget()
    apply_kept(again, kept)
    assert again.sections == compacted.sections
    assert SUMMARY_NAME in {section.name for section in again.sections}
    assert not again.wants_compaction()
    other = budget(first="another story " * 400)
    apply_kept(other, kept)
    assert SUMMARY_NAME not in {section.name for section in other.sections}, "it says something else by now"


def test_what_models_did_is_added_up_and_unknown_prices_are_named():
    works = [
        ModelWork("t1", "p", "m", 3, 1, 100, 10, 0.5, 0),
        ModelWork("t2", "p", "m", 1, 0, 50, 5, None, 1),
        ModelWork("t2", "q", "n", 1, 0, 5, 1, None, 1),
    ]
    assert model_lines(works) == [
        "p/m: 4 calls, 1 repeated, 150 + 15 tokens, $0.5000 and 1 call of unknown price",
        "q/n: 1 call, 0 repeated, 5 + 1 tokens, price unknown",
    ]
