"""What ties an actor to others, and to what it has set going: watches, links, belongings, and mail that it put aside.

All of it belongs to one incarnation, except the interest that others have in the actor's final end. It is the middle
of an `endpoint`, between the mailbox, which knows no actors, and the address that the rest of the program uses.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from vespera_agents.actors.asks import Letter
from vespera_agents.actors.deathwatch import ActorTerminated, Watch
from vespera_agents.actors.errands import break_link, stop
from vespera_agents.actors.errors import ActorStopped, LinkBroken
from vespera_agents.actors.mailbox import Mailbox, MailboxSpec
from vespera_agents.actors.statistics import ActorState


class Belonging(Protocol):
    """Something that an incarnation has set going, and that ends with it."""

    def cancel(self) -> None:
        """Be of no further effect."""
        ...


class TiedMailbox(Mailbox):
    """The mailbox of an actor that may be tied to others."""

    __slots__ = ("belongings", "end_reason", "links", "name", "stash", "state", "watches")

    def __init__(self, spec: MailboxSpec, name: str) -> None:
        Mailbox.__init__(self, spec)  # Not by super(), which costs 0.1 us for each actor: a hundredth of starting one.
        self.name = name
        """The actor's unique name."""
        self.state = ActorState.STOPPED
        """Where the actor is in its life; the cell moves it."""
        self.end_reason = "it has not been started"
        """Why it takes no mail, while it does not."""
        self.watches: list[Watch] | None = None
        """Who is told of its end; made with the first of them."""
        self.links: set[TiedMailbox] | None = None
        """Whom its incarnation is linked with; made with the first of them."""
        self.belongings: set[Belonging] | None = None
        """Timers and watches of its incarnation, which end with it; made with the first of them."""
        self.stash: list[Letter] | None = None
        """Mail that its incarnation has put aside; made with the first of it."""

    # Its final end --------------------------------------------------------------------------------------------------

    def stopped(self) -> ActorStopped:
        """Return the error for somebody who wants something of an actor that has ended."""
        return ActorStopped(self.name, self.end_reason)

    def watch(self, tell: Callable[[ActorTerminated], None]) -> Watch:
        """Have `tell` called once it has ended for good."""
        if self.state is ActorState.STOPPED:
            watch = Watch(tell, None)
            watch.fire(ActorTerminated(self.name, self.end_reason, None))
            return watch
        if self.watches is None:
            self.watches = []
        watch = Watch(tell, self.watches)
        self.watches.append(watch)
        return watch

    def tell_watches(self, crash: BaseException | None) -> None:
        """Tell those who watch it that it has ended for good."""
        watches, self.watches = self.watches, None
        for watch in tuple(watches or ()):
            watch.fire(ActorTerminated(self.name, self.end_reason, crash))

    # What its incarnation has ---------------------------------------------------------------------------------------

    def own(self, belonging: Belonging) -> None:
        """Cancel this when the incarnation ends, or now where none lives: later ends would come too late for it."""
        if self.state is ActorState.STOPPED or self.state is ActorState.RESTARTING:
            belonging.cancel()
            return
        if self.belongings is None:
            self.belongings = set()
        self.belongings.add(belonging)

    def disown(self, belonging: Belonging) -> None:
        """Let go of it: it was cancelled, or is over."""
        if self.belongings is not None:
            self.belongings.discard(belonging)

    def unstash(self) -> None:
        """Put what was put aside back in front of the mailbox, oldest first."""
        stash, self.stash = self.stash, None
        for letter in reversed(stash or ()):
            self.put_back(letter)

    # Links ----------------------------------------------------------------------------------------------------------

    def link(self, other: TiedMailbox) -> None:
        """Let each of the two crash when the other does; this one now, if the other has ended already."""
        if other is self:
            return
        if other.state is ActorState.STOPPED:
            self.order(partial(break_link, LinkBroken(other.name, other.stopped())))
            return
        for one, another in ((self, other), (other, self)):
            if one.links is None:
                one.links = set()
            one.links.add(another)

    def unlink(self, other: TiedMailbox | None = None, crash: BaseException | None = None) -> None:
        """Undo a link, or all of them; where this is for a crash, the others crash too."""
        for linked in tuple(self.links or ()) if other is None else (other,):
            for one, another in ((self, linked), (linked, self)):
                if one.links is not None:
                    one.links.discard(another)
            if crash is not None:
                linked.order(partial(break_link, LinkBroken(self.name, crash)))

    # The end of an incarnation --------------------------------------------------------------------------------------

    def end_ties(self, crash: BaseException | None) -> None:
        """End what belonged to an incarnation; what it put aside is mail again, and its links break if it crashed."""
        for belonging in tuple(self.belongings or ()):
            belonging.cancel()
        self.belongings = None
        self.unstash()
        self.drop_ticks()
        # A wish to stop outlives a crash; whatever else was asked for was asked of this incarnation.
        self.system = deque([stop]) if self.system and stop in self.system else None
        self.alert = bool(self.system or self.urgent)
        self.unlink(crash=crash)
