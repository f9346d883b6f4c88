"""`Probe`: a real actor for tests. It writes down what it is told and asked; the test reads it, and answers for it.

Every wait has a bound, on trio's clock, and a failure shows what came instead. It is an actor with a mailbox, a name
and a supervisor like any other: only its behaviour is the test's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, TypeVar, final

import trio

from supervisors.specs import Restart
from vespera_agents.actors.actor import Actor
from vespera_agents.actors.deathwatch import ActorTerminated
from vespera_agents.actors.dispatch import receives
from vespera_agents.actors.errors import ActorError
from vespera_agents.actors.mailbox import MailboxSpec
from vespera_agents.actors.messages import Request
from vespera_agents.actors.refs import ActorRef
from vespera_agents.actors.system import DEFAULT_MAILBOX, ActorSystem

MessageT = TypeVar("MessageT")
Reply = TypeVar("Reply")
WITHIN_SECONDS: Final = 3.0
"""How long a probe waits, unless it is told otherwise."""
REPLY_SECONDS: Final = 60.0
"""How long a request waits for the test to answer it; longer than asks wait, so that they time out as they would."""
SHOWN_MAX: Final = 5
"""How many messages a failure shows."""


@final
class Unexpected(ActorError, AssertionError):
    """Something else has come to a probe than was expected, or nothing."""


@final
class _Asked:
    """A request that waits for its answer."""

    def __init__(self, request: Request[object]) -> None:
        self.request = request
        self.settled = trio.Event()
        self.answer: object = None
        self.error: Exception | None = None


@final
class _Inbox:
    """What a probe and its actor share: it outlives the actor's incarnations."""

    def __init__(self) -> None:
        self.unread: deque[object] = deque()
        self.arrived = trio.Event()
        self.asked: deque[_Asked] = deque()
        self.scripts: dict[type, Callable[[Any], object]] = {}
        self.reply_seconds = REPLY_SECONDS

    def add(self, message: object) -> None:
        self.unread.append(message)
        self.arrived.set()
        self.arrived = trio.Event()


@final
class ProbeActor(Actor):
    """The actor behind a probe."""

    def __init__(self, inbox: _Inbox) -> None:
        self._inbox = inbox

    @receives
    def be_told(self, message: object) -> None:
        """Write down a message."""
        self._inbox.add(message)

    @receives
    async def be_asked(self, request: Request[Any]) -> Any:
        """Write down a request, and wait for the test to answer it."""
        inbox = self._inbox
        script = next((script for kind, script in inbox.scripts.items() if isinstance(request, kind)), None)
        if script is not None:
            inbox.add(request)
            return script(request)
        asked = _Asked(request)
        inbox.asked.append(asked)
        inbox.add(request)
        with trio.move_on_after(inbox.reply_seconds):
            await asked.settled.wait()
        if not asked.settled.is_set():
            inbox.asked.remove(asked)
            raise Unexpected(
                f"{request!r} was not answered within {inbox.reply_seconds:g} s. Call probe.reply() after expecting "
                "it, or probe.answer() beforehand."
            )
        if asked.error is not None:
            raise asked.error
        return asked.answer


@final
class Probe:
    """A test's own actor: hand out `probe.ref`, then say what is expected to come to it.

    ```python
    probe = await Probe.open(system)
    await greeter.send(Greet(reply_to=probe.ref))
    greeting = await probe.expect(Greeting)
    ```
    """

    def __init__(self, system: ActorSystem, ref: ActorRef[ProbeActor], inbox: object) -> None:
        assert isinstance(inbox, _Inbox), "a probe is made by Probe.open"
        self.ref = ref
        """The reference to it: what the actors under test are given."""
        self._system = system
        self._inbox = inbox

    @classmethod
    async def open(
        cls,
        system: ActorSystem,
        *,
        name: str | None = None,
        mailbox: MailboxSpec = DEFAULT_MAILBOX,
        reply_seconds: float = REPLY_SECONDS,
    ) -> Probe:
        """Start a probe in a system; it ends with it, or by `close`.

        Args:
            system: Where it lives.
            name: Its unique name.
            mailbox: How much mail it holds while the test has not answered a request.
            reply_seconds: How long a request waits for `reply` or `fail`; then the probe crashes with Unexpected.
        """
        inbox = _Inbox()
        inbox.reply_seconds = reply_seconds
        ref = await system.start(ProbeActor, inbox, name=name, mailbox=mailbox, restart=Restart.TRANSIENT)
        return cls(system, ref, inbox)

    async def close(self) -> None:
        """Stop it for good. What it has not read yet can still be expected."""
        await self._system.stop(self.ref)

    # ---- what comes

    async def expect(self, message_type: type[MessageT], *, within_seconds: float = WITHIN_SECONDS) -> MessageT:
        """Return the next message, which must be of this type.

        Raises:
            Unexpected: It is of another type, or none came in time.
        """
        message = await self._next(within_seconds)
        if message is None:
            raise Unexpected(f"No {message_type.__name__} came to {self.ref.name!r} within {within_seconds:g} s.")
        if not isinstance(message[0], message_type):
            raise Unexpected(
                f"Instead of a {message_type.__name__}, {message[0]!r} came to {self.ref.name!r}; then "
                f"{self._shown()}. Use fish() to pass over other messages."
            )
        return message[0]

    async def fish(self, message_type: type[MessageT], *, within_seconds: float = WITHIN_SECONDS) -> MessageT:
        """Return the next message of this type, and pass over all that come before it.

        Raises:
            Unexpected: None came in time.
        """
        passed: list[object] = []
        due = trio.current_time() + within_seconds
        while (message := await self._next(due - trio.current_time())) is not None:
            if isinstance(message[0], message_type):
                return message[0]
            passed.append(message[0])
        raise Unexpected(
            f"No {message_type.__name__} came to {self.ref.name!r} within {within_seconds:g} s, but {_listed(passed)}."
        )

    async def expect_none(self, *, within_seconds: float = WITHIN_SECONDS) -> None:
        """Wait, and find that nothing comes.

        Raises:
            Unexpected: Something did.
        """
        message = await self._next(within_seconds)
        if message is not None:
            raise Unexpected(
                f"Nothing was to come to {self.ref.name!r} within {within_seconds:g} s, and {message[0]!r} came; then "
                f"{self._shown()}."
            )

    async def expect_terminated(
        self, ref: ActorRef[Actor], *, within_seconds: float = WITHIN_SECONDS
    ) -> ActorTerminated:
        """Wait until an actor has ended for good; at once if it has already.

        Raises:
            Unexpected: It goes on.
        """
        ends: list[ActorTerminated] = []
        over = trio.Event()

        def ended(terminated: ActorTerminated) -> None:
            ends.append(terminated)
            over.set()

        watch = ref.watch(ended)
        with trio.move_on_after(within_seconds):
            await over.wait()
        watch.cancel()
        if not ends:
            raise Unexpected(f"{ref!r} was to end within {within_seconds:g} s, and goes on: {ref.statistics()}.")
        return ends[0]

    @property
    def unread(self) -> tuple[object, ...]:
        """What has come and was not expected yet, oldest first."""
        return tuple(self._inbox.unread)

    # ---- what it answers

    def reply(self, answer: object) -> None:
        """Answer the request that waits; later mail of the probe is handled after that.

        Raises:
            Unexpected: None waits.
        """
        asked = self._asked()
        asked.answer = answer
        asked.settled.set()

    def fail(self, error: Exception) -> None:
        """Crash with `error` over the request that waits: its caller gets ActorCrashed, and the probe is restarted.

        Raises:
            Unexpected: None waits.
        """
        asked = self._asked()
        asked.error = error
        asked.settled.set()

    def answer(self, request_type: type[Request[Reply]], reply: Callable[[Any], Reply]) -> None:
        """Answer every request of this type from now on with what `reply` returns for it, as soon as it comes."""
        self._inbox.scripts[request_type] = reply

    # ---- below

    def _asked(self) -> _Asked:
        if not self._inbox.asked:
            raise Unexpected(
                f"No request waits for an answer of {self.ref.name!r}: expect() it first. Unread: {self._shown()}."
            )
        return self._inbox.asked.popleft()

    async def _next(self, within_seconds: float) -> tuple[object] | None:
        """Return the next message, in a tuple because it may be anything, or None."""
        inbox = self._inbox
        with trio.move_on_after(within_seconds):
            while not inbox.unread:
                await inbox.arrived.wait()
        return (inbox.unread.popleft(),) if inbox.unread else None

    def _shown(self) -> str:
        return _listed(self.unread)


def _listed(messages: tuple[object, ...] | list[object]) -> str:
    if not messages:
        return "nothing"
    shown = ", ".join(map(repr, list(messages)[:SHOWN_MAX]))
    return shown if len(messages) <= SHOWN_MAX else f"{shown} and {len(messages) - SHOWN_MAX} more"
