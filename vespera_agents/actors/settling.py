"""What becomes of a message that was taken, where its handler did not simply return.

Sorting out an end is everything here: what broke an actor, whether the message that did it is tried again, who is told.
The hot loop in `drain` calls it; `endpoint` does what is decided.
"""

from __future__ import annotations

from typing import Final, final

import trio
from trio.lowlevel import Task

from supervisors.errors import Shutdown
from supervisors.exits import StopCause, leaves
from supervisors.forcing import Killed
from supervisors.incarnation import ChildStatus
from vespera_agents.actors.actor import Actor, no_message_in_hand
from vespera_agents.actors.asks import BEGUN, POSTED, QUEUED, STARTED, Letter, Tick
from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.actors.errands import Stop
from vespera_agents.actors.errors import ActorCrashed, ActorHung, ActorStopped, Unhandled
from vespera_agents.actors.statistics import DeadLetterReason, MessageOutcome


@final
class Fenced(Exception):
    """Raised in an incarnation that woke up after it had been replaced."""


CUT_OFF: Final = "it did not stop in time and was cut off"
STOPPED: Final = (trio.Cancelled, Shutdown, Killed, Stop, Fenced)
"""What comes out of a handler that was only stopped."""


def crash_of(error: BaseException | None, actor: Actor | None, name: str, status: ChildStatus) -> BaseException | None:
    """Return what broke the actor, or None where `error` only says that it was stopped."""
    if actor is not None and status.stop_cause is StopCause.HUNG:
        return ActorHung(name, actor.handler_timeout_seconds)
    for leaf in leaves(error):
        if not isinstance(leaf, STOPPED):
            return leaf
    if status.stop_cause is None:
        # Killed, and not by its supervisor, which would say so: to that it is a crash, and so it is one here.
        return next((leaf for leaf in leaves(error) if isinstance(leaf, Killed)), None)
    return None


def interrupted(actor: Actor, endpoint: Endpoint, letter: Letter, error: BaseException, status: ChildStatus) -> None:
    """Settle the message whose handler did not return: tried again where its class says so, else failed."""
    cause = crash_of(error, actor, endpoint.name, status)
    if isinstance(cause, Exception) and _may_retry(endpoint, letter, actor.crash_retries):
        endpoint.current = None
        endpoint.counts.outcomes.increment(MessageOutcome.RETRIED)
        endpoint.put_back(letter)
    else:
        settle(endpoint, letter, cause, "it was stopped in the middle of this request")


def settle(endpoint: Endpoint, letter: Letter, cause: BaseException | None, reason: str) -> None:
    """Fail a message whose handler will not be heard any more: it crashed with `cause`, or was stopped for a reason."""
    endpoint.current = None
    endpoint.counts.outcomes.increment(MessageOutcome.CANCELLED if cause is None else MessageOutcome.CRASHED)
    ask = letter[2]
    if ask is not None:
        ask.fail(ActorStopped(endpoint.name, reason) if cause is None else ActorCrashed(endpoint.name, cause))
    elif cause is None:
        endpoint.bury(letter, DeadLetterReason.CANCELLED)
    else:
        endpoint.bury(letter, DeadLetterReason.CRASHED, f"{type(cause).__name__}: {cause}")


def _may_retry(endpoint: Endpoint, letter: Letter, retries_max: int) -> bool:
    """Whether the message that crashed its handler is tried once more; if so, count it."""
    if retries_max == 0 or type(letter) is Tick:
        return False
    if letter[2] is not None and letter[2].state not in {STARTED, BEGUN}:
        return False  # Nobody waits for it any more.
    # Urgent mail may crash it, or a message be put aside, while others are still to be retried: each has its own count.
    there = {id(each) for each in (*endpoint.letters(), *(endpoint.stash or ()))}
    tried = next((times for each, times in endpoint.retried or () if each is letter), 0)
    endpoint.retried = [(each, times) for each, times in endpoint.retried or () if id(each) in there]
    if tried >= retries_max:
        return False
    endpoint.retried.append((letter, tried + 1))
    _let_wait_on(letter)
    return True


def put_aside(endpoint: Endpoint, letter: Letter | None, task: Task | None) -> None:
    """Keep the message in hand for later: its handler called stash().

    Raises:
        Fenced: It called it after its incarnation had been replaced.
        RuntimeError: No handler did, but an errand.
    """
    if endpoint.task is not task:
        raise Fenced
    if letter is None:
        raise no_message_in_hand(endpoint.name)
    endpoint.current = None
    endpoint.counts.outcomes.increment(MessageOutcome.STASHED)
    _let_wait_on(letter)
    if endpoint.stash is None:
        endpoint.stash = []
    endpoint.stash.append(letter)


def _let_wait_on(letter: Letter) -> None:
    ask = letter[2]
    if ask is not None and ask.state in {STARTED, BEGUN}:
        ask.state = QUEUED if ask.state == STARTED else POSTED


def unhandled(endpoint: Endpoint, letter: Letter) -> None:
    """Report a message that the actor has no handler for."""
    endpoint.counts.outcomes.increment(MessageOutcome.UNHANDLED)
    endpoint.current = None
    message, _, ask = letter
    if ask is None:
        endpoint.bury(letter, DeadLetterReason.UNHANDLED)
    else:
        ask.fail(Unhandled(endpoint.name, endpoint.counts.kind, type(message)))


def turn_over(endpoint: Endpoint, began: float, taken: int, handled: int) -> None:
    """Take a sample of the durations of a turn: called for one in eight, and for each that leaves mail behind.

    Args:
        endpoint: Whose turn it was. At its `woken_at`, so many messages as are `marked` were there.
        began: When, on trio's clock.
        taken: How many messages were taken.
        handled: How many of them were handled; 0 where a handler had to wait, which is timed by itself.
    """
    left, now = len(endpoint.user), endpoint.clock()
    endpoint.marked -= taken
    if handled:
        endpoint.counts.message_duration.observe((now - began) / handled)
    if endpoint.marked <= 0:
        endpoint.counts.mailbox_wait.observe(max(0.0, began - endpoint.woken_at))
        endpoint.marked, endpoint.woken_at = left, now
