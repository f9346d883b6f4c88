"""Putting mail in for senders that are no trio tasks: what `Endpoint.ask` and `Endpoint.send` do for tasks.

Everything here runs in the system's thread and waits for nothing. `embedding` calls it for other threads.
"""

from __future__ import annotations

import math
from contextvars import copy_context
from typing import Any

from vespera_agents.actors.asks import ANSWERED, POSTED, Letter, PendingAsk
from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.actors.errors import ActorError
from vespera_agents.actors.refs import ActorRef


def post_ask(endpoint: Endpoint, letter: Letter, ask: PendingAsk, now: float) -> None:
    """Put in the request of a letter; `ask.wake` is called with its answer, or when there is none to come."""
    endpoint.counts.asks += 1
    ask.state = POSTED
    ask.due = due = now + ask.timeout_seconds
    lane = endpoint.user
    depth = len(lane)
    if depth < endpoint.limit:
        lane.append(letter)
        if not depth:
            endpoint.first_came()
    else:
        try:
            endpoint.ask_slowly(letter, ask)
        except ActorError as error:
            ask.fail(error)
            return
    if due < endpoint.next_due:
        endpoint.arm(due)


def turn_away(ask: PendingAsk, error: ActorError) -> None:
    """Fail an ask, whether it has been posted or not; a handler that has begun it goes on."""
    if ask.state == POSTED:
        ask.holder.forget(ask)
    ask.fail(error)


def observe(ref: ActorRef[Any], letter: Letter) -> None:
    """Count how long an ask took, if it has been answered."""
    ask = letter[2]
    if ask is not None and ask.state == ANSWERED and ask.due < math.inf and isinstance(ref, Endpoint):
        ref.counts.ask_duration.observe(ref.clock() - ask.due + ask.timeout_seconds)


def put_if_room(ref: ActorRef[Any], message: object) -> bool:
    """Do what `send` does, with the context variables that are current, if that needs no waiting; else do nothing."""
    if not (isinstance(ref, Endpoint) and ref.is_open):
        return False
    letter = (message, copy_context(), None)
    if not ref.room_for(letter):
        return False
    ref.deliver(letter)
    return True
