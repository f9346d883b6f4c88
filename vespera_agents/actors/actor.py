"""`Actor`: the class to derive from. State in attributes, behaviour in methods marked with `@receives`.

An actor object lives for one incarnation: after a crash a new one is made, with the same arguments and the same
mailbox. It is not a task and not a mailbox; `cell` runs it. What it can do with its own mailbox is below `ref`.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Hashable, Mapping
from typing import Any, ClassVar, NoReturn, Self, final

from vespera_agents.actors.deathwatch import Watch
from vespera_agents.actors.dispatch import Handlers, Table, build_tables, check_hooks, takes_one_more
from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.actors.errors import InvalidReceiver, LinkBroken, StashFull
from vespera_agents.actors.refs import ActorRef
from vespera_agents.actors.statistics import ActorState
from vespera_agents.actors.timers import EVERY_SECONDS_MIN, Timer


@final
class PutAside(BaseException):
    """Raised by `Actor.stash` to leave the handler; nobody who handles errors means it."""


class Actor:
    """Handles one message at a time, also across awaits.

    ```python
    class Add(Request[int]): ...

    class Counter(Actor):
        def __init__(self, start: int) -> None:
            self.total = start

        @receives
        def add(self, message: Add) -> int:
            self.total += message.amount
            return self.total
    ```
    """

    tables: ClassVar[Mapping[Hashable, Table]] = {None: Table()}
    """Its handlers by state and message type; made when the class is created."""
    takes_snapshot: ClassVar[bool] = False
    """Whether its on_start has a parameter for the snapshot; found out when the class is created."""
    gets_ready: ClassVar[bool] = False
    """Whether it has an on_start or on_restart of its own: a coroutine less for each of 100,000 that have none."""
    tells_tree_detail: ClassVar[bool] = False
    """Whether it has a method `tree_detail`, which says what a supervision tree shows beside it."""
    initial_state: ClassVar[Hashable] = None
    """The state that each incarnation begins in, for a class with `@receives(when=...)`."""
    stop_timeout_seconds: ClassVar[float] = 4.0
    """How long on_stop may take; keep it below the child spec's shutdown time (5 s unless given)."""
    handler_timeout_seconds: ClassVar[float] = math.inf
    """How long a handler may wait before it counts as hung: it is cancelled, and the actor restarted. A handler that
    blocks the event loop cannot be interrupted."""
    busy_limit_seconds: float | None = None
    """How long a handler may take before a watchdog says that this actor is stuck; nothing is done to it. An actor may
    set it for the message in hand. None: its `handler_timeout_seconds`, or what the watchdog was told."""
    idle_timeout_seconds: ClassVar[float] = math.inf
    """How long it waits for mail before on_idle is called; again after each further time without any."""
    crash_retries: ClassVar[int] = 0
    """How often a message that crashed its handler is given to the next incarnation, before all that came after it,
    until it is a dead letter, or its ask fails with ActorCrashed. A timer's tick ends with its incarnation instead."""

    # Slots beside the dict that a subclass has: both are set in each incarnation, and are never in anybody's way.
    __slots__ = ("__endpoint", "table")
    __endpoint: Endpoint
    table: Handlers
    """The handlers of its present state."""

    def __init_subclass__(cls, **arguments: object) -> None:
        """Build and check the tables of handlers."""
        super().__init_subclass__(**arguments)
        frame = inspect.currentframe()
        cls.tables = build_tables(cls, frame.f_back if frame is not None else None)
        check_hooks(cls, ("on_start", "on_restart", "on_stop", "on_idle", "on_link_broken"))
        if cls.initial_state not in cls.tables:
            raise InvalidReceiver(
                f"{cls.__qualname__} begins in state {cls.initial_state!r}, which no handler is for. Mark one with "
                f"@receives(when={cls.initial_state!r}), or correct initial_state."
            )
        cls.gets_ready = cls.on_start is not Actor.on_start or cls.on_restart is not Actor.on_restart
        cls.tells_tree_detail = hasattr(cls, "tree_detail")
        cls.takes_snapshot = takes_one_more(cls.on_start)

    # Its life -------------------------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        """Get ready; the first message is handled after this. Raising here is a failed start.

        An override with one more parameter, `async def on_start(self, snapshot: X | None = None)`, is given what
        `snapshot` returned when it was last taken, or None.
        """

    async def on_restart(self, cause: BaseException | None) -> None:
        """Hear, before on_start, that this is not the first incarnation, and what ended the last; None if no crash."""

    async def on_stop(self) -> None:
        """Clean up: called once after on_start has succeeded, however the incarnation ends, within a bounded time."""

    async def on_idle(self) -> None:
        """Hear that nothing came for `idle_timeout_seconds`; unless overridden, stop."""
        self.stop()

    async def on_link_broken(self, broken: LinkBroken) -> None:
        """Hear that a linked actor crashed; unless overridden, crash, too."""
        raise broken

    def snapshot(self) -> object:
        """Return what the next incarnation starts from. Called when this one ends in order and when a hand-over asks.

        A crashed incarnation is never asked: its state may be what broke it. The next one is given what was last taken.
        """
        return None

    def save_snapshot(self) -> None:
        """Take a snapshot now, so that an incarnation after a crash starts from it."""
        self._endpoint.saved = self.snapshot()

    # What it knows --------------------------------------------------------------------------------------------------

    @property
    def ref(self) -> ActorRef[Self]:
        """The reference to this actor; there is none before on_start."""
        return self._endpoint

    @property
    def _endpoint(self) -> Endpoint:
        try:
            return self.__endpoint
        except AttributeError:
            raise RuntimeError(
                f"{type(self).__qualname__} has no reference yet. Use `self.ref` in on_start or later, not in __init__."
            ) from None

    def attach(self, endpoint: Endpoint) -> None:
        """Take the address; the runtime calls this once, before on_start."""
        self.__endpoint = endpoint
        tables = self.tables if endpoint.switchboard.tracing is None else _tables_of(self, endpoint)
        self.table = tables[self.initial_state]

    # What it can do -------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End after the message in hand, as `ref.stop()` does."""
        self._endpoint.stop()

    def become(self, state: Hashable) -> None:
        """Handle mail as `@receives(when=state)` says, from the next message on. A restart begins in initial_state.

        Raises:
            ValueError: No handler of the class is for this state.
        """
        endpoint = self._endpoint
        table = _tables_of(self, endpoint).get(state)
        if table is None:
            known = ", ".join(repr(each) for each in self.tables)
            raise ValueError(f"{type(self).__qualname__} has no handler for state {state!r}; it has {known}.")
        self.table = table
        # The hot loop looks at the table again when it is told that something is different.
        endpoint.alert = True

    def stash(self) -> NoReturn:
        """Put the message in hand aside, and leave the handler: it comes again after `unstash_all`, or a restart.

        Call it in the handler itself, before it has changed anything, and not below a nursery.

        Raises:
            StashFull: As many messages are put aside as the mailbox may hold.
        """
        endpoint = self._endpoint
        if endpoint.state is not ActorState.RUNNING:
            raise no_message_in_hand(endpoint.name)
        if endpoint.stash is not None and len(endpoint.stash) >= endpoint.capacity:
            raise StashFull(endpoint.name, endpoint.capacity)
        raise PutAside

    def unstash_all(self) -> None:
        """Put what was put aside back in front of all other mail, in its order."""
        self._endpoint.unstash()

    def tell_after(self, seconds: float, message: object) -> Timer:
        """Have this actor told a message once, in so many seconds (>= 0), if this incarnation still lives then."""
        _check_seconds(seconds, least=0.0)
        return Timer(self._endpoint, message, seconds, None)

    def tell_every(self, seconds: float, message: object) -> Timer:
        """Have this actor told a message every so many seconds (>= 0.001), for as long as this incarnation lives."""
        _check_seconds(seconds, least=EVERY_SECONDS_MIN)
        return Timer(self._endpoint, message, seconds, seconds)

    def watch(self, other: ActorRef[Any]) -> Watch:
        """Be told `ActorTerminated` once another actor has ended for good, or now if it has; while this one lives."""
        endpoint = self._endpoint
        watch = other.watch(endpoint.tell_always)
        watch.belong_to(endpoint)
        return watch

    def link(self, other: ActorRef[Any]) -> None:
        """Crash when the other crashes, and let it crash when this one does: each time, also before a restart.

        Where the other has ended already, this is a broken link. A link with oneself is none.

        A link belongs to two incarnations and ends with either; an end in order breaks nothing. Source: Erlang's links.
        """
        self._endpoint.link(_address(other))

    def unlink(self, other: ActorRef[Any]) -> None:
        """Undo a link. Idempotent."""
        self._endpoint.unlink(_address(other))


def no_message_in_hand(name: str) -> RuntimeError:
    """Return the error for a stash() outside of a handler."""
    return RuntimeError(f"{name!r} called stash() with no message in hand. Call it in a method marked with @receives.")


def _tables_of(actor: Actor, endpoint: Endpoint) -> Mapping[Hashable, Handlers]:
    """Return its handlers by state, inside spans where the system is traced."""
    tracing = endpoint.switchboard.tracing
    return actor.tables if tracing is None else tracing.tables_of(type(actor), actor.tables)


def _address(ref: ActorRef[Any]) -> Endpoint:
    if not isinstance(ref, Endpoint):
        raise TypeError(f"Only single actors can be linked, not {ref!r}. Link with each of its members.")
    return ref


def _check_seconds(seconds: float, *, least: float) -> None:
    if not least <= seconds < math.inf:
        raise ValueError(f"A timer needs a number of seconds >= {least:g}, not {seconds}.")
