"""Faults for actors under test: crash, dawdle, hang or refuse to stop at a moment that a test or a seed chooses.

`faulty(Counter, FaultPlan({ActorFault.CRASH_IN_HANDLER: [2]}))` is a Counter whose second handler crashes. The actor
itself needs no change. A sync handler can only crash before or after: it never gives way, so nothing else strikes it.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Callable, Collection, Coroutine, Generator, Mapping
from typing import Any, Final, TypeVar, cast, final

import trio

from supervisors.testing.choices import Stream
from vespera_agents.actors.actor import Actor
from vespera_agents.actors.errors import MailboxFull
from vespera_agents.actors.refs import ActorRef
from vespera_agents.actors.testing.wrapping import AsyncStep, Step, wrapped

ActorT = TypeVar("ActorT", bound=Actor)

SLOW_SECONDS: Final = 0.5
"""How long something slow takes, unless a plan says otherwise."""
LONG_SECONDS: Final = 60.0
"""How long something that hangs takes: longer than anybody's patience."""
LIVES_OF_AN_IMMORTAL: Final = 3
"""How many attempts to end it an immortal handler survives."""


class ActorFault(enum.StrEnum):
    """A way in which an actor misbehaves."""

    CRASH_IN_START = "crash in on_start"
    """Raise before it is ready."""
    SLOW_START = "slow on_start"
    """Take its time before it is ready."""
    HANG_IN_START = "hang in on_start"
    """Do not become ready in time."""
    CRASH_BEFORE_HANDLER = "crash before the handler"
    """Raise with a message in hand that nobody has looked at."""
    CRASH_IN_HANDLER = "crash in the handler"
    """Raise when an async handler goes on after its first wait; at its end, if it waits for nothing."""
    CRASH_AFTER_HANDLER = "crash after the handler"
    """Raise when the handler is done, and has not answered."""
    SLOW_HANDLER = "slow handler"
    """Take its time over a message."""
    HANG_IN_HANDLER = "hang in the handler"
    """Take far too long over a message."""
    SWALLOW_CANCELLED = "swallow cancelled"
    """Go on with a message although it was cancelled."""
    HIDE = "hide"
    """Sit in a shielded scope, where no cancellation is heard."""
    IMMORTAL = "immortal"
    """Catch everything, force included, and go on for a while."""
    SLOW_STOP = "slow on_stop"
    """Take its time to end."""
    HANG_IN_STOP = "hang in on_stop"
    """Do not end in time."""
    CRASH_IN_STOP = "crash in on_stop"
    """Raise while it ends."""
    FULL_MAILBOX = "full mailbox"
    """Have no room for mail: see `fill_mailbox`. No plan does this, for mail comes from outside."""
    KILLED = "killed"
    """Be killed in the middle of anything. No plan does this either."""


AT_START: Final = (ActorFault.CRASH_IN_START, ActorFault.SLOW_START, ActorFault.HANG_IN_START)
AT_STOP: Final = (ActorFault.CRASH_IN_STOP, ActorFault.SLOW_STOP, ActorFault.HANG_IN_STOP)
IN_HANDLER: Final = (ActorFault.CRASH_BEFORE_HANDLER, ActorFault.CRASH_AFTER_HANDLER)
IN_ASYNC_HANDLER: Final = (
    *IN_HANDLER,
    ActorFault.CRASH_IN_HANDLER,
    ActorFault.SLOW_HANDLER,
    ActorFault.HANG_IN_HANDLER,
    ActorFault.SWALLOW_CANCELLED,
    ActorFault.HIDE,
    ActorFault.IMMORTAL,
)


@final
class InjectedCrash(Exception):
    """A fault of an actor under test."""


@final
class FaultPlan:
    """Which faults strike, and when. One plan may serve several actors: they then share its opportunities."""

    def __init__(
        self,
        at: Mapping[ActorFault, Collection[int]] | None = None,
        *,
        permille: Mapping[ActorFault, int] | None = None,
        stream: Stream | int = 0,
        on_strike: Callable[[str, ActorFault], None] | None = None,
        starts_spared: int = 0,
        slow_seconds: float = SLOW_SECONDS,
        hang_seconds: float = LONG_SECONDS,
    ) -> None:
        """Plan faults by number, by chance, or both.

        Args:
            at: The opportunities at which a fault strikes, counted from 1 for each fault: a start, a message, a stop.
            permille: How many of a thousand opportunities strike by chance.
            stream: What chance is drawn from: a seed, or a stream of choices of a simulation.
            on_strike: Who is told, with the name of the actor.
            starts_spared: How many starts nothing strikes at, so that a test gets its actors to run at all.
            slow_seconds: How long something slow takes.
            hang_seconds: How long something that hangs takes.
        """
        self._at = dict(at or {})
        self._permille = dict(permille or {})
        self._stream = Stream(str(stream), None) if isinstance(stream, int) else stream
        self._on_strike = on_strike
        self._passed: dict[ActorFault, int] = {}
        self._starts_spared = starts_spared
        self._slow_seconds = slow_seconds
        self._hang_seconds = hang_seconds
        self.enabled = True
        """Whether faults strike at all. Opportunities are counted all the same."""
        self.struck: dict[ActorFault, int] = {}
        """How often each fault has struck."""

    # ---- around an actor

    def handler(self, actor: Actor, _message: object, step: Step) -> object:
        """Carry out a sync handler, or crash before or after it."""
        fault = self._strike(actor, IN_HANDLER)
        if fault is ActorFault.CRASH_BEFORE_HANDLER:
            raise InjectedCrash(fault)
        result = step()
        if fault is not None:
            raise InjectedCrash(fault)
        return result

    async def async_handler(self, actor: Actor, _message: object, step: AsyncStep) -> object:
        """Carry out an async handler, with whatever strikes it."""
        fault = self._strike(actor, IN_ASYNC_HANDLER)
        match fault:
            case ActorFault.CRASH_BEFORE_HANDLER:
                raise InjectedCrash(fault)
            case ActorFault.CRASH_IN_HANDLER:
                return await _crashing(cast("Coroutine[Any, Any, object]", step()), InjectedCrash(fault))
            case ActorFault.SLOW_HANDLER:
                await trio.sleep(self._slow_seconds)
            case ActorFault.HANG_IN_HANDLER:
                await trio.sleep(self._hang_seconds)
            case ActorFault.SWALLOW_CANCELLED:
                await self._swallow()
            case ActorFault.HIDE:
                with trio.CancelScope(shield=True):
                    await trio.sleep(self._hang_seconds)
            case ActorFault.IMMORTAL:
                await self._outlive_everything()
            case _:
                pass
        result = await step()
        if fault is ActorFault.CRASH_AFTER_HANDLER:
            raise InjectedCrash(fault)
        return result

    async def on_start(self, actor: Actor, step: AsyncStep) -> object:
        """Carry out on_start, with whatever strikes it."""
        if self._starts_spared > 0:
            self._starts_spared -= 1
        else:
            await self._hook(self._strike(actor, AT_START))
        return await step()

    async def on_stop(self, actor: Actor, step: AsyncStep) -> object:
        """Carry out on_stop, with whatever strikes it."""
        result = await step()
        await self._hook(self._strike(actor, AT_STOP))
        return result

    # ---- below

    async def _hook(self, fault: ActorFault | None) -> None:
        match fault:
            case ActorFault.CRASH_IN_START | ActorFault.CRASH_IN_STOP:
                raise InjectedCrash(fault)
            case ActorFault.SLOW_START | ActorFault.SLOW_STOP:
                await trio.sleep(self._slow_seconds)
            case ActorFault.HANG_IN_START | ActorFault.HANG_IN_STOP:
                await trio.sleep(self._hang_seconds)
            case _:
                pass

    async def _swallow(self) -> None:
        due = trio.current_time() + self._slow_seconds
        while (left := due - trio.current_time()) > 0:
            try:
                await trio.sleep(left)
            except trio.Cancelled:
                return

    async def _outlive_everything(self) -> None:
        for _ in range(LIVES_OF_AN_IMMORTAL):
            try:
                with trio.CancelScope(shield=True):
                    await trio.sleep(self._hang_seconds)
            except BaseException:  # noqa: BLE001, S110 - that is the fault: nothing ends it.
                pass

    def _strike(self, actor: Actor, faults: tuple[ActorFault, ...]) -> ActorFault | None:
        """Let one of `faults` strike, or none: one choice for all of them."""
        chosen = self._planned(faults)
        if not self.enabled:
            return None
        if chosen is None and self._permille:
            left = 1000 - self._stream.below(1000)
            for fault in faults:
                left -= self._permille.get(fault, 0)
                if left <= 0:
                    chosen = fault
                    break
        if chosen is not None:
            self.struck[chosen] = self.struck.get(chosen, 0) + 1
            if self._on_strike is not None:
                self._on_strike(actor.ref.name, chosen)
        return chosen

    def _planned(self, faults: tuple[ActorFault, ...]) -> ActorFault | None:
        chosen: ActorFault | None = None
        for fault in self._at:
            if fault in faults:
                number = self._passed[fault] = self._passed.get(fault, 0) + 1
                if number in self._at[fault]:
                    chosen = fault
        return chosen


def faulty(actor_class: type[ActorT], plan: FaultPlan) -> type[ActorT]:
    """Return a subclass of an actor class that misbehaves as planned; everything else is as it was."""
    return wrapped(actor_class, lambda _actor: plan)


def fill_mailbox(ref: ActorRef[Actor], message: object) -> int:
    """Tell `message` until the mailbox is full; return how often. An actor that is not busy soon empties it again."""
    told = 0
    while (mailbox := ref.statistics().mailbox).depth < mailbox.capacity:
        before = mailbox.depth
        try:
            ref.tell(message)
        except MailboxFull:
            break
        if ref.statistics().mailbox.depth == before:
            break  # It has ended, and takes no mail.
        told += 1
    return told


@types.coroutine
def _crashing(body: Coroutine[Any, Any, object], crash: InjectedCrash) -> Generator[Any, Any, object]:
    """Drive a handler and throw `crash` into it where it goes on after its first wait; raise it in any case."""
    thrown = False
    try:
        trap = body.send(None)
        while True:
            try:
                value = yield trap
            except BaseException as error:  # noqa: BLE001 - passed on: it is the handler's business.
                trap = body.throw(error)
            else:
                trap = body.send(value) if thrown else body.throw(crash)
                thrown = True
    except StopIteration:
        # It waited for nothing, or caught the crash.
        raise crash from None
