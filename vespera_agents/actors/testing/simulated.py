"""The simulated actor: it takes notes and questions, dawdles, writes to its neighbours, and ends itself now and then.

What it does is chosen from the stream of its name; 0 is nothing at all. Everything that goes wrong in it comes from the
`FaultPlan` around it.
"""

from __future__ import annotations

from typing import Final, Protocol, final

import trio

from supervisors.testing.choices import Stream
from vespera_agents.actors.actor import Actor
from vespera_agents.actors.dispatch import receives
from vespera_agents.actors.errors import ActorError
from vespera_agents.actors.messages import Request
from vespera_agents.actors.refs import ActorRef
from vespera_agents.actors.testing.posts import Post
from vespera_agents.actors.testing.wrapping import Around, wrapped

GRID_SECONDS: Final = 0.5
"""All times are multiples of this, so that ties occur all the time."""
TIMEOUTS: Final = (5.0, 0.5, 1.0, 2.0)
"""How long asks wait."""
WRITES: Final = 6
"""Of so many choices, which one is to write to somebody."""


@final
class Note:
    """A message for an async handler."""


@final
class QuickNote:
    """A message for a sync handler."""


@final
class Question(Request[object]):
    """A request for an async handler; each answer is a new object, so that no two can be confused."""


@final
class QuickQuestion(Request[object]):
    """A request for a sync handler."""


class World(Protocol):
    """What a simulated actor needs of its simulation."""

    faults_on: bool
    """Whether anything happens at all."""

    def stream(self, actor: str) -> Stream:
        """Return the choices of an actor."""
        ...

    def around(self, name: str) -> Around:
        """Return what is around the actor of this name: its faults, and who watches it."""
        ...

    def post_of(self, actor: Actor) -> Post:
        """Return an actor as a sender."""
        ...


@final
class Neighbours:
    """The actors of a run by name, as they come and go."""

    __slots__ = ("refs",)

    def __init__(self) -> None:
        self.refs: dict[str, ActorRef[Actor]] = {}
        """The last reference to each."""

    def any(self, choices: Stream) -> ActorRef[Actor] | None:
        """Choose one."""
        refs = list(self.refs.values())
        return refs[choices.below(len(refs))] if refs else None


class Simulated(Actor):
    """One life of one simulated actor."""

    def __init__(self, world: World, name: str, neighbours: Neighbours) -> None:
        self.around = world.around(name)
        """What is around its handlers and hooks."""
        self._world = world
        self._choices = world.stream(name)
        self._neighbours = neighbours

    @receives
    async def take(self, _message: Note) -> None:
        """Take a note, and perhaps one's time."""
        await self._work()

    @receives
    def take_quickly(self, _message: QuickNote) -> None:
        """Take a note at once."""
        self._work_quickly()

    @receives
    async def answer(self, _message: Question) -> object:
        """Answer, perhaps after a while."""
        await self._work()
        return object()

    @receives
    def answer_quickly(self, _message: QuickQuestion) -> object:
        """Answer at once."""
        self._work_quickly()
        return object()

    def _work_quickly(self) -> None:
        if not self._world.faults_on or self._choices.below(WRITES) != WRITES - 1:
            return
        if self._choices.chance(100):
            self.stop()
        ref = self._neighbours.any(self._choices)
        if ref is not None:
            try:
                self._world.post_of(self).tell(ref, QuickNote())
            except ActorError:
                return

    async def _work(self) -> None:
        if not self._world.faults_on:
            return
        match self._choices.below(WRITES):
            case 1 | 2:
                await trio.sleep(GRID_SECONDS)
            case 3 | 4:
                ref = self._neighbours.any(self._choices)
                if ref is not None:
                    await write(self._world.post_of(self), ref, self._choices)
            case 5:
                if self._choices.chance(100):
                    self.stop()
            case _:
                pass


@final
class Persistent(Simulated):
    """One that tries a message again that has crashed it."""

    crash_retries = 2


@final
class Impatient(Simulated):
    """One whose handlers may not take long."""

    handler_timeout_seconds = 1.5


KINDS: Final[tuple[type[Simulated], ...]] = tuple(
    wrapped(kind, lambda actor: actor.around) for kind in (Simulated, Persistent, Impatient)
)
"""The classes to start simulated actors with."""


async def write(post: Post, ref: ActorRef[Actor], choices: Stream) -> None:
    """Tell, send or ask, as chance has it; whatever comes of it is what the ledger wants to know."""
    kind, quick = choices.below(8), choices.below(2)
    try:
        if kind < 3:  # noqa: PLR2004 - three of eight
            post.tell(ref, (QuickNote if quick else Note)())
        elif kind < 5:  # noqa: PLR2004 - two of eight
            await post.send(ref, (QuickNote if quick else Note)())
        else:
            timeout_seconds = TIMEOUTS[choices.below(len(TIMEOUTS))]
            await post.ask(ref, QuickQuestion() if quick else Question(), timeout_seconds=timeout_seconds)
    except ActorError:
        return
