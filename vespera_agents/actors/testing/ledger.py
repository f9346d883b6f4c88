"""The ledger of a simulation: who sent what to whom, which handler had it, and what its sender was told.

It is put around the handlers and hooks of the actors (`wrapping`), and writes down what it sees; `posts` tells it what
is sent. What is wrong in one event by itself is found here; what must hold between them, in `rules`.
"""

from __future__ import annotations

from typing import final

import trio

from supervisors.exits import leaves
from supervisors.listeners import Report, ReportKind
from supervisors.testing.runs import Run
from supervisors.testing.violations import Violation
from vespera_agents.actors.actor import Actor
from vespera_agents.actors.deathwatch import ActorTerminated
from vespera_agents.actors.mailbox import MailboxSpec
from vespera_agents.actors.refs import ActorRef
from vespera_agents.actors.testing.records import ACCEPTED, ASK, BROKEN, TELL, Life, Mail, Recipient
from vespera_agents.actors.testing.wrapping import AsyncStep, Step


@final
class Ledger:
    """Everything that was sent and handled in one run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.mails: dict[int, Mail] = {}
        """All mail, by the identity of its message."""
        self.recipients: dict[ActorRef[Actor], Recipient] = {}
        """All actors that were seen."""
        self.open: dict[Mail, None] = {}
        """The sends and asks whose senders wait."""
        self.lives: list[Life] = []
        """All incarnations, in the order in which they were begun."""
        self.handled = 0
        """Handlers that returned, in lives that counted."""
        self.broken = 0
        """Handlers that did not return, in lives that counted."""
        self.cut_off = 0
        """Handlers that ran when their life was cut off."""
        self.untracked = 0
        """Messages that were handled and not sent through the ledger."""
        self._numbers: dict[tuple[str, Recipient], int] = {}
        self._names: dict[str, int] = {}
        self._by_actor: dict[int, tuple[Actor, Life]] = {}
        self._latest: dict[str, Life] = {}

    def recipient(self, ref: ActorRef[Actor], spec: MailboxSpec | None = None) -> Recipient:
        """Return the record of an actor, made when it is first seen."""
        record = self.recipients.get(ref)
        if record is None:
            record = self.recipients[ref] = Recipient(ref, ref.name)
        if spec is not None:
            record.spec = spec
        return record

    def life_of(self, actor: Actor) -> Life:
        """Return the life of an actor object whose class is watched."""
        return self._by_actor[id(actor)][1]

    def latest(self, name: str) -> Life | None:
        """Return the life that was begun last by an actor of this name."""
        return self._latest.get(name)

    # ---- what is sent

    def sent(self, sender: str, ref: ActorRef[Actor], message: object, how: str, timeout_seconds: float) -> Mail:
        """Note that a message is being sent in this step."""
        if id(message) in self.mails:
            raise ValueError(f"{message!r} was sent before: make a new message for each, so that it can be followed.")
        record = self.recipient(ref)
        number = self._numbers[sender, record] = self._numbers.get((sender, record), 0) + 1
        mail = Mail(message, sender, record, number, how, self._run.now, timeout_seconds)
        self.mails[id(message)] = mail
        record.queued[mail] = None
        if how != TELL:
            self.open[mail] = None
        self._run.note(record.name, how, sender, number, "")
        return mail

    def answered(self, mail: Mail, answer: str) -> None:
        """Note what the sender of a message was told."""
        record = mail.receiver
        self.open.pop(mail, None)
        mail.answer = answer
        self._run.note(record.name, f"{mail.how} ends", mail.sender, mail.number, answer)
        if answer == ACCEPTED:
            return
        if mail in record.queued:
            del record.queued[mail]
            # An ask that nobody waits for any more may lie in the mailbox until it is skipped.
            record.slack += mail.how == ASK or answer == BROKEN

    # ---- what is handled

    def handler(self, actor: Actor, message: object, step: Step) -> object:
        """Watch a sync handler."""
        life = self._begin(actor, message)
        try:
            result = step()
        except BaseException as error:
            self._broke(actor, life, error)
            raise
        self._done(life, result)
        return result

    async def async_handler(self, actor: Actor, message: object, step: AsyncStep) -> object:
        """Watch an async handler."""
        life = self._begin(actor, message)
        try:
            result = await step()
        except BaseException as error:
            self._broke(actor, life, error)
            raise
        self._done(life, result)
        return result

    async def on_start(self, actor: Actor, step: AsyncStep) -> object:
        """Watch the beginning of a life."""
        record = self.recipient(actor.ref)
        number = self._names[record.name] = self._names.get(record.name, 0) + 1
        earlier = self._latest.get(record.name)
        if earlier is not None and not earlier.over and not earlier.fenced:
            self._wrong(f"{earlier.name} lives, and another life of {record.name} begins")
        life = Life(record, number, trio.lowlevel.current_task(), before=record.life)
        life.followed_the_end = record.life is not None and not record.watched and not record.is_final
        record.life = self._latest[record.name] = life
        self._by_actor[id(actor)] = actor, life
        self.lives.append(life)
        self._watch(record)
        self._run.note(record.name, "starts", "", number, "")
        try:
            result = await step()
        except BaseException as error:
            self._over(life, error)
            raise
        life.ready = True
        life.over = life.fenced
        return result

    async def on_stop(self, actor: Actor, step: AsyncStep) -> object:
        """Watch the end of a life."""
        life = self.life_of(actor)
        if life.over:
            self._wrong(f"{life.name} is stopped twice")
        try:
            result = await step()
        except BaseException as error:
            self._over(life, error)
            raise
        self._over(life, None)
        return result

    def on_report(self, report: Report) -> None:
        """Hear from the supervisors which lives are cut off."""
        if report.kind is ReportKind.CHILD_FENCED and report.offender is not None:
            life = self._latest.get(report.offender.id)
            if life is not None and not life.over:
                self._fence(life)

    # ---- below

    def _begin(self, actor: Actor, message: object) -> Life:
        life = self.life_of(actor)
        if life.fenced or life.over or not life.ready:
            self._wrong(f"{life.name} takes a message, and is {'over' if life.over else 'cut off or not ready'}")
        if life.busy:
            self._wrong(f"{life.name} takes a message before it is done with another")
        life.busy = True
        mail = life.in_hand = self.mails.get(id(message))
        if mail is None:
            self._run.note(life.receiver.name, "begins", type(message).__name__, 0, life.name)
            return life
        self._run.note(life.receiver.name, "begins", mail.sender, mail.number, life.name)
        if mail.receiver is not life.receiver:
            self._wrong(f"{life.name} takes a message that is for another: {mail}")
        if mail.dead or mail.done or (mail.begun and not mail.may_return):
            self._wrong(f"{life.name} takes a message for the second time: {mail}")
        if mail.answer and mail.answer not in {ACCEPTED, BROKEN}:
            self._wrong(f"{life.name} takes a message whose sender was told {mail.answer}: {mail}")
        last = life.receiver.begun_from.get(mail.sender, 0)
        if mail.number < last or (mail.number == last and not mail.begun):
            self._wrong(f"{life.name} takes {mail} after number {last}: not in the order in which they were sent")
        life.receiver.begun_from[mail.sender] = mail.number
        life.receiver.queued.pop(mail, None)
        mail.begun += 1
        mail.broken_by, mail.may_return = None, False
        return life

    def _done(self, life: Life, result: object) -> None:
        mail = self._put_down(life)
        if life.fenced:
            return
        self.handled += 1
        if mail is None:
            self.untracked += 1
            return
        mail.done += 1
        mail.result = result
        self._run.note(life.receiver.name, "has done", mail.sender, mail.number, life.name)

    def _broke(self, actor: Actor, life: Life, error: BaseException) -> None:
        mail = self._put_down(life)
        life.receiver.errors.extend(leaves(error))
        if life.fenced:
            return
        self.broken += 1
        if mail is not None:
            mail.broken_by = error
            retries: int = getattr(actor, "crash_retries", 0)
            mail.may_return = mail.begun <= retries
            life.receiver.slack += mail.may_return
            self._run.note(life.receiver.name, "is broken at", mail.sender, mail.number, type(error).__name__)

    def _put_down(self, life: Life) -> Mail | None:
        mail, life.in_hand = life.in_hand, None
        life.busy = False
        # A life that was cut off ends when its handler does; no hook is run.
        life.over = life.over or life.fenced
        return mail

    def _over(self, life: Life, error: BaseException | None) -> None:
        life.over = True
        life.receiver.errors.extend(leaves(error))
        self._run.note(life.receiver.name, "ends", "", life.number, type(error).__name__ if error is not None else "")

    def _fence(self, life: Life) -> None:
        life.fenced = True
        if life.in_hand is not None:
            life.in_hand.cut_off = True
        self.cut_off += life.busy
        self._run.note(life.receiver.name, "is cut off", "", life.number, "")

    def _watch(self, record: Recipient) -> None:
        """Hear of the next end of an actor."""

        def ended(terminated: ActorTerminated) -> None:
            record.watched = False
            record.ends += 1
            self._run.note(record.name, "has ended", "", 0, terminated.reason)

        if not record.watched:
            record.watched = True
            record.ref.watch(ended)

    def _wrong(self, what: str) -> None:
        self._run.violated(Violation(what))
