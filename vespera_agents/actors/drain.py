"""The hot loop: take mail, call handlers, answer asks, until told to stop.

One incarnation of one actor runs it. It drains the mailbox in turns with a budget of messages and of time, then gives
way to other tasks once: a drained message costs 0.3 us, a checkpoint 3 us.
"""

from __future__ import annotations

from types import CoroutineType
from typing import Any, Final, cast, final

import trio
from trio.lowlevel import checkpoint

from supervisors.errors import Shutdown
from supervisors.exits import leaves
from supervisors.forcing import Killed
from vespera_agents.actors.actor import Actor
from vespera_agents.actors.asks import QUEUED, STARTED, Letter
from vespera_agents.actors.dispatch import no_handler
from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.actors.errors import ActorCrashed, ActorStopped, Unhandled
from vespera_agents.actors.mailbox import Signal
from vespera_agents.actors.statistics import DeadLetterReason, MessageOutcome

DRAIN_MESSAGES_MAX: Final = 128
"""Messages per turn; a multiple of 16, because only every sixteenth looks at the budget."""
DRAIN_SECONDS_MAX: Final = 0.004
"""Seconds per turn, on trio's clock."""


@final
class Fenced(Exception):
    """Raised in an incarnation that woke up after it had been replaced."""


async def serve(actor: Actor, endpoint: Endpoint) -> None:
    """Handle mail until the system lane says stop. Cancelled: the message in hand is cut off, the rest stays.

    Raises:
        Fenced: This incarnation was replaced while its handler was running.
        Exception: Whatever a handler raised.
    """
    mailbox = endpoint.mailbox
    user, system = mailbox.user, mailbox.system
    incarnation = endpoint.incarnation
    while True:
        if not user and not system:
            endpoint.busy_since = None
            await mailbox.wait_for_mail()
        if system and system.popleft() is Signal.STOP:
            return
        await _drain(actor, endpoint, incarnation)
        if user or system:
            await checkpoint()


async def _drain(actor: Actor, endpoint: Endpoint, incarnation: int) -> None:  # noqa: C901, PLR0912 - see below
    """Handle one turn's mail: one flat loop, because a function call per message would cost a fifth of the speed."""
    mailbox, clock, counts, table = endpoint.mailbox, endpoint.clock, endpoint.counts, actor.handlers
    user, system = mailbox.user, mailbox.system
    taken = handled = 0
    letter: Letter | None = None
    endpoint.busy_since = began = clock()
    until = began + DRAIN_SECONDS_MAX
    try:
        while user and not system:
            letter = user.popleft()
            taken += 1
            if mailbox.waiting:
                mailbox.admit()
            message, sent_at, ask = letter
            if ask is not None:
                if ask.state != QUEUED:
                    counts.outcomes.increment(MessageOutcome.WITHDRAWN)
                    continue
                ask.state = STARTED
                endpoint.current = ask
            handler = table[type(message)]
            if handler is no_handler:
                _unhandled(endpoint, letter)
                continue
            result = handler(actor, message)
            if type(result) is CoroutineType:
                endpoint.busy_since = clock()
                result = await cast("CoroutineType[Any, Any, object]", result)
                if endpoint.incarnation != incarnation:
                    raise Fenced  # noqa: TRY301 - as above
            handled += 1
            if ask is not None:
                endpoint.current = None
                if not ask.answer(result):
                    counts.late_replies += 1
            if taken == 1:
                counts.mailbox_wait.observe(began - sent_at)
                counts.message_duration.observe(clock() - began)
            elif not taken & 15 and (taken >= DRAIN_MESSAGES_MAX or clock() > until):
                break
    except BaseException as error:
        if letter is not None and endpoint.incarnation == incarnation:
            _interrupted(endpoint, letter, error)
        raise
    finally:
        endpoint.handled += handled
        counts.outcomes.increment(MessageOutcome.HANDLED, handled)


def cause_of(error: BaseException | None) -> BaseException | None:
    """Return what broke the actor, or None where `error` only says that it was stopped."""
    for leaf in leaves(error):
        if not isinstance(leaf, trio.Cancelled | Shutdown | Fenced | Killed):
            return leaf
    return None


def _unhandled(endpoint: Endpoint, letter: Letter) -> None:
    endpoint.counts.outcomes.increment(MessageOutcome.UNHANDLED)
    endpoint.current = None
    message, _, ask = letter
    if ask is None:
        endpoint.bury(letter, DeadLetterReason.UNHANDLED)
    else:
        ask.fail(Unhandled(endpoint.name, endpoint.counts.kind, type(message)))


def _interrupted(endpoint: Endpoint, letter: Letter, error: BaseException) -> None:
    """Settle the message whose handler did not return: it is not retried."""
    cause = cause_of(error)
    crashed = cause is not None
    endpoint.counts.outcomes.increment(MessageOutcome.CRASHED if crashed else MessageOutcome.CANCELLED)
    endpoint.current = None
    ask = letter[2]
    if ask is not None:
        stopped = ActorStopped(endpoint.name, "it was stopped in the middle of this request")
        ask.fail(stopped if cause is None else ActorCrashed(endpoint.name, cause))
    elif cause is not None:
        endpoint.bury(letter, DeadLetterReason.CRASHED, f"{type(cause).__name__}: {cause}")
    else:
        endpoint.bury(letter, DeadLetterReason.CANCELLED)
