"""The simulated child: it takes messages at moments of a grid, writes to neighbours, misbehaves at every fault point.

Times come from a grid of half seconds, so that ties and the edges of windows occur all the time.
"""

from __future__ import annotations

from typing import Final, Protocol, final

import trio

from supervisors.errors import Ignore, Shutdown
from supervisors.incarnation import ChildStatus
from supervisors.specs import ChildStart
from supervisors.testing.choices import Stream
from supervisors.testing.faults import Fault

GRID_SECONDS: Final = 0.5
"""All times are multiples of this."""
PAUSES_MAX: Final = 7
"""How many such steps at most pass between two messages."""
MAILBOX_CAPACITY: Final = 4
"""Messages a worker's mailbox holds."""
LONG_SECONDS: Final = 60.0
"""Longer than any patience in a scenario."""
LIVES_OF_AN_IMMORTAL: Final = 4
"""How many attempts to end it an immortal survives."""

PERMILLE: Final[dict[Fault, int]] = {
    Fault.CRASH_AT_START: 40,
    Fault.SLOW_START: 80,
    Fault.HANG_AT_START: 30,
    Fault.IGNORE: 15,
    Fault.CRASH_WITH_STARTED: 20,
    Fault.CRASH_BEFORE_HANDLER: 40,
    Fault.CRASH_IN_HANDLER: 90,
    Fault.CRASH_AFTER_HANDLER: 30,
    Fault.RETURN: 40,
    Fault.SHUTDOWN: 25,
    Fault.SLOW_HANDLER: 60,
    Fault.HANG_IN_HANDLER: 20,
    Fault.STORE_FAILS: 30,
    Fault.SWALLOW_CANCELLED: 80,
    Fault.HIDE: 15,
    Fault.SLOW_CLEANUP: 100,
    Fault.HANG_IN_CLEANUP: 25,
    Fault.CRASH_IN_CLEANUP: 40,
    Fault.IMMORTAL: 12,
}
"""How often, in a thousand opportunities, each fault strikes."""
_IN_HAND: Final = (Fault.RETURN, Fault.SHUTDOWN, Fault.HIDE, Fault.IMMORTAL, Fault.CRASH_BEFORE_HANDLER)
_AT_WORK: Final = (Fault.SLOW_HANDLER, Fault.HANG_IN_HANDLER, Fault.STORE_FAILS, Fault.CRASH_IN_HANDLER)


@final
class SimulatedCrash(Exception):
    """A fault of a simulated child."""


class Surroundings(Protocol):
    """What a worker needs of the simulation."""

    faults_on: bool
    """Whether faults strike at all."""

    def stream(self, actor: str) -> Stream:
        """Return the choices of an actor."""
        ...

    def struck(self, actor: str, fault: str) -> None:
        """Note that a fault has struck."""
        ...

    def promised(self, actor: str, status: ChildStatus, due: float) -> None:
        """Note that a child will not keep its promise to beat by `due`."""
        ...


@final
class Worker:
    """One life of one simulated child."""

    __slots__ = ("_actor", "_choices", "_mailboxes", "_status", "_world")

    def __init__(self, world: Surroundings, actor: str, status: ChildStatus, mailboxes: dict[str, int]) -> None:
        self._world = world
        self._actor = actor
        self._status = status
        self._choices = world.stream(actor)
        self._mailboxes = mailboxes

    async def live(self) -> None:
        """Start, take messages until something happens, clean up."""
        try:
            await self._start()
            self._mailboxes[self._actor] = 0
            while self._world.faults_on:
                await self._wait_for_message()
                await self._take_message()
            self._status.rest()
            await trio.sleep_forever()
        finally:
            if self._world.faults_on:
                await self._clean_up()

    async def _start(self) -> None:
        self._crash(Fault.CRASH_AT_START)
        if self._hit(Fault.SLOW_START):
            await trio.sleep(self._pause())
        if self._hit(Fault.HANG_AT_START):
            await trio.sleep(LONG_SECONDS)
        if self._hit(Fault.IGNORE):
            raise Ignore
        self._status.started(self._actor)
        self._crash(Fault.CRASH_WITH_STARTED)

    async def _wait_for_message(self) -> None:
        due = trio.current_time() + self._pause()
        while (left := due - trio.current_time()) > 0:
            try:
                await trio.sleep(left)
            except trio.Cancelled:
                if not self._hit(Fault.SWALLOW_CANCELLED):
                    raise
        self._status.beat()

    async def _take_message(self) -> None:
        fault = self._one_of(_IN_HAND)
        match fault:
            case Fault.RETURN:
                raise _Over
            case Fault.SHUTDOWN:
                raise Shutdown
            case Fault.HIDE:
                self._status.rest()
                with trio.CancelScope(shield=True):
                    await trio.sleep(LONG_SECONDS)
            case Fault.IMMORTAL:
                self._status.rest()
                await self._outlive_everything()
            case Fault.CRASH_BEFORE_HANDLER:
                raise SimulatedCrash(fault)
            case _:
                await self._handle()
                self._crash(Fault.CRASH_AFTER_HANDLER)

    async def _handle(self) -> None:
        fault = self._one_of(_AT_WORK)
        match fault:
            case Fault.SLOW_HANDLER:
                await trio.sleep(GRID_SECONDS)
            case Fault.HANG_IN_HANDLER:
                self._world.promised(self._actor, self._status, trio.current_time())
                await trio.sleep(LONG_SECONDS)
            case Fault.STORE_FAILS | Fault.CRASH_IN_HANDLER:
                raise SimulatedCrash(fault)
            case _:
                self._send_to_a_neighbour()

    def _send_to_a_neighbour(self) -> None:
        """Put a message into somebody's mailbox, which that one empties when it takes a message itself."""
        self._mailboxes[self._actor] = 0
        neighbours = [self._actor, *(each for each in self._mailboxes if each != self._actor)]
        neighbour = neighbours[self._choices.below(len(neighbours))]
        if neighbour == self._actor:
            return  # Nothing to say: the dullest choice.
        if self._mailboxes[neighbour] >= MAILBOX_CAPACITY:
            self._world.struck(self._actor, Fault.FULL_MAILBOX)
            raise SimulatedCrash(Fault.FULL_MAILBOX)
        self._mailboxes[neighbour] += 1

    async def _outlive_everything(self) -> None:
        for _ in range(LIVES_OF_AN_IMMORTAL):
            try:
                with trio.CancelScope(shield=True):
                    await trio.sleep(LONG_SECONDS)
            except BaseException:  # noqa: BLE001, S110 - that is the fault: nothing ends it.
                pass
        raise _Over

    async def _clean_up(self) -> None:
        if self._hit(Fault.SLOW_CLEANUP):
            with trio.CancelScope(shield=True):
                await trio.sleep(GRID_SECONDS)
        if self._hit(Fault.HANG_IN_CLEANUP):
            with trio.CancelScope(shield=True):
                await trio.sleep(LONG_SECONDS)
        self._crash(Fault.CRASH_IN_CLEANUP)

    # ---- chance

    def _pause(self) -> float:
        return GRID_SECONDS * (1 + self._choices.below(PAUSES_MAX))

    def _hit(self, fault: Fault) -> bool:
        if self._world.faults_on and self._choices.chance(PERMILLE[fault]):
            self._world.struck(self._actor, fault)
            return True
        return False

    def _crash(self, fault: Fault) -> None:
        if self._hit(fault):
            raise SimulatedCrash(fault)

    def _one_of(self, faults: tuple[Fault, ...]) -> Fault | None:
        """Let one of `faults` strike, or none: one choice for all of them."""
        if not self._world.faults_on:
            return None
        chosen = 1000 - self._choices.below(1000)
        for fault in faults:
            chosen -= PERMILLE[fault]
            if chosen <= 0:
                self._world.struck(self._actor, fault)
                return fault
        return None


@final
class _Over(Exception):
    """A worker's way to end normally from anywhere inside."""


def worker_of(world: Surroundings, mailboxes: dict[str, int]) -> ChildStart:
    """Return the start function of simulated workers: `ChildSpec("a", worker, args=("a",))`."""

    async def worker(actor: str, *, task_status: ChildStatus) -> None:
        try:
            await Worker(world, actor, task_status, mailboxes).live()
        except _Over:
            return

    return worker
