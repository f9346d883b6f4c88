"""The actors and the senders of a soak: they misbehave as their messages say, and write all of it into the ledger.

What is done is drawn by the sender, with its own seeded dice, and travels in the message. Whether it adds up is judged
in `soak_ledger`; how many there are of each is chosen in `soak`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto, unique
from random import Random
from typing import Final, final

import trio
from trio.lowlevel import current_task

from supervisors.forcing import Killed
from tests.actors.soak_ledger import Back, KindBook, Ledger, Means, Seen
from vespera_agents.actors import (
    Actor,
    ActorCrashed,
    ActorError,
    ActorRef,
    ActorStopped,
    ActorSystem,
    ActorTerminated,
    AskCycle,
    AskTimeout,
    MailboxFull,
    Overflow,
    Request,
    Unhandled,
    receives,
)
from vespera_agents.actors.waits import CALLERS

LONG_SECONDS: Final = 5_000.0
"""How long a handler hangs, unless it is cut off."""
DEFIED_MAX: Final = 5
"""How many times a defiant handler waits; one time is ended by each interruption."""
BURST_MAX: Final = 12
"""More messages in a row than any mailbox of a soak holds."""
HOT_SHARE: Final = 0.1
"""The actors that get half of all messages."""


STOP_PROBABILITY: Final = 0.02
"""That a sender first stops the actor that it then sends to."""


@unique
class Deed(Enum):
    """What a handler does."""

    RETURN = auto()
    CRASH = auto()
    STOP = auto()
    """Stops its own actor, and returns."""
    WAIT = auto()
    """Waits for a moment. This and all below: async handlers only."""
    CRASH_LATER = auto()
    STOP_AND_WAIT = auto()
    FORWARD = auto()
    """Asks another actor."""
    HANG = auto()
    DEFY = auto()
    """Swallows cancellation, and more, for so long that its actor is stopped without it."""


SYNC_DEEDS: Final = {Deed.RETURN: 90, Deed.CRASH: 6, Deed.STOP: 1}
ASYNC_DEEDS: Final = {
    Deed.RETURN: 40, Deed.WAIT: 40, Deed.FORWARD: 20, Deed.CRASH: 5, Deed.CRASH_LATER: 5, Deed.STOP_AND_WAIT: 1,
    Deed.HANG: 2, Deed.DEFY: 1,
}  # fmt: skip


@final
@dataclass(frozen=True, slots=True)
class Job:
    """What is in each message."""

    number: int
    """The message's id, its row in the ledger."""
    sender: int
    """Who sent it: -1 and below are senders, 0 and above are actors."""
    deed: Deed
    """What is to be done."""
    dice: float
    """A number from 0 to 1 for whatever the deed leaves open."""


class Told:
    """A message for tell and send."""

    __slots__ = ("job",)

    def __init__(self, job: Job) -> None:
        self.job = job


class Asked(Request[int]):
    """A message to ask; the answer is the message's id."""

    __slots__ = ("job",)

    def __init__(self, job: Job) -> None:
        self.job = job


@final
class QuickTold(Told): ...


@final
class SlowTold(Told): ...


@final
class StrangeTold(Told):
    """Nobody handles this."""


@final
class QuickAsked(Asked): ...


@final
class SlowAsked(Asked): ...


@final
class StrangeAsked(Asked):
    """Nobody handles this."""


@final
class Mistake(Exception):
    """The crash of a handler, or of a start."""


@final
class Stage:
    """What all actors and senders of one soak share."""

    def __init__(self, ledger: Ledger, seed: int) -> None:
        self.ledger = ledger
        """Where everything is written down."""
        self.seed = seed
        """Where all dice come from."""
        self.refs: list[ActorRef[Worker]] = []
        """Every actor; its place is its number."""
        self.kinds: list[int] = []
        """The kind of each."""
        self.grouped: set[str] = set()
        """The names of those that have a supervisor of their own."""

    def job(self, means: Means, sender: int, receiver: int, dice: Random, deeds: dict[Deed, int]) -> Job:
        """Make up a message, and begin its row."""
        number = self.ledger.issue(means, self.kinds[receiver])
        (deed,) = dice.choices(list(deeds), list(deeds.values()))
        return Job(number, sender, deed, dice.random())

    async def ask(self, receiver: int, message: Asked, *, timeout_seconds: float, patience_seconds: float) -> None:
        """Ask, perhaps leave early, and write down what came of it."""
        back = Back.CANCELLED
        try:
            with trio.move_on_after(patience_seconds) as scope:
                answer = await self.refs[receiver].ask(message, timeout_seconds=timeout_seconds)
                back = Back.ANSWERED
                if answer != message.job.number:
                    self.ledger.problems["a caller got the answer of another"] += 1
            if scope.cancelled_caught and patience_seconds > timeout_seconds:
                self.ledger.problems["an ask waited beyond its timeout"] += 1
        except ActorError as error:
            back = ERRORS[type(error)]
        finally:
            self.ledger.came_back(message.job.number, back)


ERRORS: Final[dict[type[ActorError], Back]] = {
    ActorCrashed: Back.CRASHED,
    ActorStopped: Back.STOPPED,
    AskCycle: Back.CYCLE,
    AskTimeout: Back.TIMEOUT,
    MailboxFull: Back.FULL,
    Unhandled: Back.UNHANDLED,
}


class Worker(Actor):
    """Does what its messages say."""

    def __init__(self, stage: Stage, number: int) -> None:
        self.stage = stage
        self.number = number
        self.book: KindBook = stage.ledger.kinds[type(self).__name__]
        self.crashed = False

    async def on_start(self) -> None:
        """Start at once the first time; after a crash sometimes slowly, and sometimes not."""
        ready = False
        try:
            incarnation = self.ref.statistics().incarnations
            dice = Random(f"{self.stage.seed}/start/{self.number}/{incarnation}").random() if incarnation > 1 else 1.0
            if dice < 0.2:
                await trio.sleep(dice)
            if dice < 0.05:
                raise Mistake("a failed start")
            ready = True
        finally:
            if ready:
                self.book.starts += 1
            else:
                self.book.failed_starts += 1

    async def on_stop(self) -> None:
        """Clean up: sometimes slowly, sometimes for too long, and sometimes in vain."""
        incarnation = self.ref.statistics().incarnations
        dice = Random(f"{self.stage.seed}/stop/{self.number}/{incarnation}").random()
        if dice < 0.1:
            try:
                await trio.sleep(dice if dice < 0.08 else LONG_SECONDS)
            except trio.Cancelled:
                self.book.stop_timeouts += 1
                raise
        elif dice < 0.15:
            # After a crash of the handler it is noted with that crash, and is none of its own.
            self.book.failed_stops += not self.crashed
            raise Mistake("a failed stop")

    @receives
    def quick_told(self, message: QuickTold) -> None:
        self._do(message.job)

    @receives
    def quick_asked(self, message: QuickAsked) -> int:
        self._do(message.job)
        return message.job.number

    @receives
    async def slow_told(self, message: SlowTold) -> None:
        await self._do_slowly(message.job)

    @receives
    async def slow_asked(self, message: SlowAsked) -> int:
        await self._do_slowly(message.job)
        return message.job.number

    def _do(self, job: Job) -> None:
        ledger = self.stage.ledger
        ledger.begin(job.number, job.sender, self.number)
        if job.deed is Deed.CRASH:
            ledger.end(job.number, Seen.RAISED)
            self.crashed = True
            raise Mistake(job.number)
        if job.deed is Deed.STOP:
            self.stop()
        ledger.end(job.number, Seen.RETURNED)

    async def _do_slowly(self, job: Job) -> None:
        ledger = self.stage.ledger
        ledger.begin(job.number, job.sender, self.number)
        seen = Seen.CUT_OFF
        try:
            # One that was interrupted and went on has returned like any other, unless it was replaced meanwhile: who
            # defies force in its very last step comes back before anybody has given it up.
            if await self._act(job) or current_task() in CALLERS:
                seen = Seen.RETURNED
        except Mistake:
            seen = Seen.RAISED
            self.crashed = True
            raise
        finally:
            ledger.end(job.number, seen)

    async def _act(self, job: Job) -> bool:
        """Do what is to be done; False if it was interrupted, and went on all the same."""
        if job.deed in {Deed.WAIT, Deed.CRASH_LATER, Deed.STOP_AND_WAIT}:
            if job.deed is Deed.STOP_AND_WAIT:
                self.stop()
            await trio.sleep(job.dice)
        elif job.deed is Deed.HANG:
            await trio.sleep(LONG_SECONDS)
        elif job.deed is Deed.FORWARD:
            await self._forward(job)
        elif job.deed is Deed.DEFY:
            return await self._defy()
        if job.deed in {Deed.CRASH, Deed.CRASH_LATER}:
            raise Mistake(job.number)
        return True

    async def _defy(self) -> bool:
        undisturbed = True
        for _ in range(DEFIED_MAX):
            try:
                with trio.CancelScope(shield=True):
                    await trio.sleep(LONG_SECONDS)
            except Killed:
                # Thrown into it as a last resort: whoever swallows this as well is left behind, and replaced.
                undisturbed = False
        return undisturbed

    async def _forward(self, job: Job) -> None:
        """Ask an actor nearby, so that circles happen."""
        stage = self.stage
        dice = Random(f"{stage.seed}/forward/{job.number}")
        receiver = (self.number + dice.randrange(4)) % len(stage.refs)
        message = SlowAsked(stage.job(Means.ASK, self.number, receiver, dice, ASYNC_DEEDS))
        await stage.ask(receiver, message, timeout_seconds=3 * dice.random() + 0.1, patience_seconds=8 * dice.random())


@final
class Waiting(Worker):
    """Mailboxes that wait."""


@final
class Rejecting(Worker):
    """Mailboxes that reject."""


@final
class DroppingOldest(Worker):
    """Mailboxes that drop the oldest."""


@final
class DroppingNewest(Worker):
    """Mailboxes that drop the newest."""


CLASSES: Final[dict[type[Worker], Overflow]] = {
    Waiting: Overflow.WAIT,
    Rejecting: Overflow.REJECT,
    DroppingOldest: Overflow.DROP_OLDEST,
    DroppingNewest: Overflow.DROP_NEWEST,
}
"""Every kind, each with one rule, so that what was dropped can be counted by kind."""


@final
class Sender:
    """A task that sends so many messages, one call after the other."""

    def __init__(self, stage: Stage, number: int, messages: int) -> None:
        self._stage = stage
        self._number = -1 - number
        self._left = messages
        self._dice = Random(f"{stage.seed}/sender/{number}")

    async def run(self, system: ActorSystem) -> None:
        """Send everything, and now and then stop somebody: kindly, or by force after a moment."""
        dice = self._dice
        while self._left > 0:
            receiver = self._receiver()
            if dice.random() < STOP_PROBABILITY:
                ref = self._stage.refs[receiver]
                if dice.random() < 0.3 or ref.name in self._stage.grouped:
                    ref.stop()
                else:
                    await system.stop(ref, timeout_seconds=0.3 * dice.random())
            match dice.randrange(4):
                case 0 | 1:
                    for _ in range(min(self._left, dice.randint(1, BURST_MAX))):
                        self._tell(receiver)
                case 2:
                    await self._send(receiver)
                case _:
                    await self._ask(receiver)
            await trio.sleep(dice.random() if dice.random() < 0.2 else 0)

    def _receiver(self) -> int:
        actors = len(self._stage.refs)
        hot = self._dice.random() < 0.5
        return self._dice.randrange(max(1, int(actors * HOT_SHARE)) if hot else actors)

    def _told(self, means: Means, receiver: int) -> Told:
        self._left -= 1
        dice = self._dice.random()
        chosen = QuickTold if dice < 0.6 else SlowTold if dice < 0.98 else StrangeTold
        deeds = SYNC_DEEDS if chosen is QuickTold else ASYNC_DEEDS
        return chosen(self._stage.job(means, self._number, receiver, self._dice, deeds))

    def _tell(self, receiver: int) -> None:
        message = self._told(Means.TELL, receiver)
        back = Back.ACCEPTED
        try:
            self._stage.refs[receiver].tell(message)
        except MailboxFull:
            back = Back.FULL
        self._stage.ledger.came_back(message.job.number, back)

    async def _send(self, receiver: int) -> None:
        message = self._told(Means.SEND, receiver)
        back = Back.CANCELLED
        try:
            with trio.move_on_after(4 * self._dice.random()):
                await self._stage.refs[receiver].send(message)
                back = Back.ACCEPTED
        except ActorStopped:
            back = Back.STOPPED
        self._stage.ledger.came_back(message.job.number, back)

    async def _ask(self, receiver: int) -> None:
        self._left -= 1
        dice = self._dice.random()
        chosen = QuickAsked if dice < 0.6 else SlowAsked if dice < 0.98 else StrangeAsked
        deeds = SYNC_DEEDS if chosen is QuickAsked else ASYNC_DEEDS
        message = chosen(self._stage.job(Means.ASK, self._number, receiver, self._dice, deeds))
        await self._stage.ask(
            receiver,
            message,
            timeout_seconds=3 * self._dice.random() + 0.01,
            patience_seconds=10 * self._dice.random(),
        )


def count_end(ledger: Ledger, _terminated: ActorTerminated) -> None:
    """Count the final end of an actor."""
    ledger.ended += 1
