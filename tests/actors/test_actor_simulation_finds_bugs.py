"""The simulation of actors finds bugs: each is planted by patching, and must be found within 2,000 seeds.

A simulation that finds nothing proves nothing; this is how it is shown to be able to. Bugs that it has really found
while it was written are planted again too.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from supervisors.testing import Outcome, shrink
from vespera_agents.actors.asks import STARTED, PendingAsk
from vespera_agents.actors.cell import Cell
from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.actors.errors import AskTimeout
from vespera_agents.actors.mailbox import Mailbox
from vespera_agents.actors.registry import Registry
from vespera_agents.actors.statistics import DeadLetterReason
from vespera_agents.actors.testing import simulate

SEEDS = 2_000
Patch = pytest.MonkeyPatch

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""A bug that breaks trio itself leaves coroutines behind that nobody can finish."""


@pytest.fixture(autouse=True)
def _gc_settings() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 100)
    yield
    gc.set_threshold(*before)
    gc.collect()  # What a broken run has left behind is nobody else's.


def lane(endpoint: Endpoint) -> deque[object]:
    """Return an actor's mail."""
    return endpoint.user


def a_message_lost_in_a_restart(patch: Patch) -> None:
    await_restart = Cell._await_restart

    def careless(self) -> None:
        if lane(self.endpoint):
            lane(self.endpoint).popleft()
        await_restart(self)

    patch.setattr(Cell, "_await_restart", careless)


def all_mail_lost_in_a_restart(patch: Patch) -> None:
    await_restart = Cell._await_restart

    def careless(self) -> None:
        lane(self.endpoint).clear()
        await_restart(self)

    patch.setattr(Cell, "_await_restart", careless)


def a_second_answer_after_a_timeout(patch: Patch) -> None:
    fail = PendingAsk.fail

    def forgetful(self, failure) -> bool:
        was_started = self.state == STARTED
        failed = fail(self, failure)
        if was_started and isinstance(failure, AskTimeout):
            self.state = STARTED
        return failed

    patch.setattr(PendingAsk, "fail", forgetful)


def an_ask_that_is_not_answered_when_its_actor_ends(patch: Patch) -> None:
    fail = PendingAsk.fail
    patch.setattr(PendingAsk, "fail", lambda self, failure: "was stopped" not in str(failure) and fail(self, failure))


def two_messages_in_the_wrong_order(patch: Patch) -> None:
    tell = Endpoint.tell

    def hasty(self, message) -> None:
        tell(self, message)
        mail = lane(self)
        if len(mail) > 1:
            mail[-1], mail[-2] = mail[-2], mail[-1]

    patch.setattr(Endpoint, "tell", hasty)


def a_message_that_is_handled_again_after_its_crash(patch: Patch) -> None:
    bury = Endpoint.bury

    def undertaker(self, letter, reason, cause="") -> None:
        bury(self, letter, reason, cause)
        if reason is DeadLetterReason.CRASHED:
            lane(self).append(letter)

    patch.setattr(Endpoint, "bury", undertaker)


def mail_of_an_ended_actor_that_is_no_dead_letter(patch: Patch) -> None:
    bury = Endpoint.bury

    def forgetful(self, letter, reason, cause="") -> None:
        if reason is not DeadLetterReason.STOPPED:
            bury(self, letter, reason, cause)

    patch.setattr(Endpoint, "bury", forgetful)


def a_leaked_name(patch: Patch) -> None:
    patch.setattr(Registry, "release", lambda _self, _holder: None)


def a_sender_that_is_not_let_in(patch: Patch) -> None:
    admit = Mailbox.admit

    def stingy(self) -> None:
        if len(self.waiting or ()) != 1:
            admit(self)

    patch.setattr(Mailbox, "admit", stingy)


def a_cut_off_actor_that_goes_on(patch: Patch) -> None:
    patch.setattr(Cell, "_fence_predecessor", lambda _self: None)


def an_end_that_watchers_are_told_too_early(patch: Patch) -> None:
    """Found by seeds 5 and 35: a kill, and a group restart, were taken for the end."""
    patch.setattr(Cell, "_await_restart", lambda self: self.give_up("it stopped"))


BUGS: list[Callable[[Patch], None]] = [
    a_message_lost_in_a_restart,
    all_mail_lost_in_a_restart,
    a_second_answer_after_a_timeout,
    an_ask_that_is_not_answered_when_its_actor_ends,
    two_messages_in_the_wrong_order,
    a_message_that_is_handled_again_after_its_crash,
    mail_of_an_ended_actor_that_is_no_dead_letter,
    a_leaked_name,
    a_sender_that_is_not_let_in,
    a_cut_off_actor_that_goes_on,
    an_end_that_watchers_are_told_too_early,
]


def first_violation() -> Outcome | None:
    return next((outcome for outcome in map(run, range(SEEDS)) if outcome.violation is not None), None)


def run(seed: int) -> Outcome:
    return simulate(seed=seed)


@pytest.mark.unmeasured
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found_within_2000_seeds(bug: Callable[[Patch], None], monkeypatch: Patch) -> None:
    bug(monkeypatch)
    found = first_violation()
    assert found is not None, f"{bug.__name__} was not found by {SEEDS} seeds"
    monkeypatch.undo()
    assert run(found.seed).violation is None, "without the bug the same seed finds nothing"


@pytest.mark.unmeasured
def test_a_failing_run_shrinks_to_a_short_one_that_still_fails(monkeypatch: Patch) -> None:
    all_mail_lost_in_a_restart(monkeypatch)
    found = next(outcome for outcome in map(run, count()) if outcome.violation and len(outcome.strikes) > 3)
    short = shrink(lambda schedule: simulate(seed=found.seed, schedule=schedule), found)
    assert short.violation is not None
    assert len(short.strikes) <= 3
    assert sum(map(sum, short.schedule.values())) < sum(map(sum, found.schedule.values()))
