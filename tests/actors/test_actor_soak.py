"""Every message of many is accounted for: the small soak. `make soak` runs the full one.

A failing run prints every message that ended wrongly; `python -m tests.actors.soak --actors N --messages N --seed N`
repeats it. The ledger itself is shown to notice a loss of one message in each way that it compares.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from tests.actors.soak import Outcome, Plan, main, soak
from tests.actors.soak_ledger import POSSIBLE, Back, Means, Seen
from vespera_agents.actors import DeadLetterReason

BALANCED_SEED = 2


@pytest.mark.parametrize("seed", [1, *(pytest.param(n, marks=pytest.mark.unmeasured) for n in (2, 3, 4))])
def test_every_message_is_handled_dead_lettered_or_answered_and_all_counts_add_up(seed: int) -> None:
    outcome = soak(Plan(actors=1_000, messages=20_000, seed=seed))
    assert outcome.discrepancies() == []
    assert len(outcome.ledger.means) > 20_000, "handlers forward"
    assert outcome.restarts() > 100
    fates = outcome.fates()
    assert {means for means, _, _, _ in fates} == set(Means)
    assert {back for _, back, _, _ in fates} == set(Back) - {Back.NOTHING_YET}
    assert {seen for _, _, seen, _ in fates} == set(Seen) - {Seen.BEGUN}
    assert {reason for *_, reason in fates} == {None, *DeadLetterReason}


@pytest.fixture(scope="module")
def balanced() -> Outcome:
    outcome = soak(Plan(actors=100, messages=2_000, seed=BALANCED_SEED))
    assert outcome.discrepancies() == []
    return outcome


def first(outcome: Outcome, **wanted: object) -> int:
    """Return a message that ended so."""
    dead = dict(outcome.letters)
    for number, (means, back, seen, reason) in outcome.ledger.fates(dead):
        has = {"means": means, "back": back, "seen": seen, "reason": reason}
        if all(has[key] is value for key, value in wanted.items()):
            return number
    raise AssertionError(f"no message ended so: {wanted}")


@pytest.mark.parametrize(
    ("column", "value", "wanted"),
    [
        ("seen", Seen.NEVER, {"back": Back.ACCEPTED, "seen": Seen.RETURNED}),
        ("seen", Seen.RETURNED, {"back": Back.ACCEPTED, "reason": DeadLetterReason.STOPPED}),
        ("seen", Seen.RETURNED, {"back": Back.TIMEOUT, "seen": Seen.NEVER}),
        ("seen", Seen.BEGUN, {"back": Back.ANSWERED}),
        ("back", Back.NOTHING_YET, {"back": Back.ANSWERED}),
        ("back", Back.TIMEOUT, {"means": Means.ASK, "back": Back.CANCELLED}),
        ("back", Back.TIMEOUT, {"means": Means.ASK, "back": Back.ANSWERED}),
        ("back", Back.ACCEPTED, {"means": Means.TELL, "back": Back.FULL}),
        ("back", Back.ACCEPTED, {"means": Means.SEND, "back": Back.STOPPED}),
        ("back", Back.STOPPED, {"means": Means.ASK, "back": Back.FULL}),
        ("means", Means.TELL, {"means": Means.ASK, "back": Back.ANSWERED}),
    ],
)
def test_one_message_that_two_books_know_differently_is_found(balanced: Outcome, column, value, wanted) -> None:
    ledger = copy.deepcopy(balanced.ledger)
    getattr(ledger, column)[first(balanced, **wanted)] = value
    assert replace(balanced, ledger=ledger).discrepancies()


def test_a_dead_letter_that_is_missing_or_doubled_or_for_another_reason_is_found(balanced: Outcome) -> None:
    (number, reason), *others = balanced.letters
    other_reason = next(other for other in DeadLetterReason if other is not reason)
    assert replace(balanced, letters=others).discrepancies()
    assert replace(balanced, letters=[*balanced.letters, (number, reason)]).discrepancies()
    assert replace(balanced, letters=[*others, (number, other_reason)]).discrepancies()


def test_handling_twice_and_out_of_order_is_found(balanced: Outcome) -> None:
    twice, late = copy.deepcopy(balanced.ledger), copy.deepcopy(balanced.ledger)
    number = first(balanced, back=Back.ANSWERED)
    twice.begin(number, sender=-1, receiver=5_000)
    twice.end(number, Seen.RETURNED)
    assert replace(balanced, ledger=twice).discrepancies() == ["a message was handled twice: 1 times"]
    late.latest[-1, 5_000] = number + 1
    late.seen[number] = Seen.NEVER
    late.begin(number, sender=-1, receiver=5_000)
    late.end(number, Seen.RETURNED)
    (found,) = replace(balanced, ledger=late).discrepancies()
    assert found == "a later message of the same sender was handled first: 1 times"


def test_an_end_that_no_watcher_was_told_is_found(balanced: Outcome) -> None:
    assert balanced.ledger.ended == balanced.watched
    ledger = copy.deepcopy(balanced.ledger)
    ledger.ended -= 1
    (found,) = replace(balanced, ledger=ledger).discrepancies()
    assert "ends were told to watchers" in found


def test_nothing_that_was_told_may_end_without_a_trace() -> None:
    assert (Means.TELL, Back.ACCEPTED, Seen.NEVER, None) not in POSSIBLE
    assert (Means.ASK, Back.NOTHING_YET, Seen.NEVER, None) not in POSSIBLE
    assert not any(back is Back.NOTHING_YET or seen is Seen.BEGUN for _, back, seen, _ in POSSIBLE)


def test_a_run_repeats_by_its_seed() -> None:
    plan = Plan(actors=50, messages=1_000, seed=9)
    assert soak(plan).fates() == soak(plan).fates()


def test_the_command_says_what_it_counted(capsys) -> None:
    assert main(["--actors", "20", "--messages", "200", "--seed", str(BALANCED_SEED)]) == 0
    said = capsys.readouterr().out
    assert "everything adds up" in said
    assert "tell accepted" in said
