"""A sender under observation: it tells, sends and asks as anybody does, and the ledger follows each message.

What is wrong with an answer is found here, where it arrives.
"""

from __future__ import annotations

import math
from typing import TypeVar, final

import trio

from supervisors.forcing import Killed
from supervisors.testing.runs import Run
from supervisors.testing.violations import Violation
from vespera_agents.actors.actor import Actor
from vespera_agents.actors.errors import ActorCrashed, ActorError, ActorStopped, AskCycle, AskTimeout, MailboxFull
from vespera_agents.actors.mailbox import Overflow
from vespera_agents.actors.messages import Request
from vespera_agents.actors.refs import ActorRef
from vespera_agents.actors.testing.ledger import Ledger
from vespera_agents.actors.testing.records import ACCEPTED, ASK, BROKEN, CANCELLED, REPLY, SEND, TELL, Life, Mail

Reply = TypeVar("Reply")


@final
class Post:
    """What one sender sends: one message after the other, each a new object."""

    def __init__(self, run: Run, ledger: Ledger, sender: str, life: Life | None = None) -> None:
        self._run = run
        self._ledger = ledger
        self._life = life
        self.sender = sender
        """Who sends."""

    def tell(self, ref: ActorRef[Actor], message: object) -> None:
        """Tell, as `ref.tell` does."""
        mail = self._ledger.sent(self.sender, ref, message, TELL, math.inf)
        try:
            ref.tell(message)
        except ActorError as error:
            self._ledger.answered(mail, type(error).__name__)
            if isinstance(error, MailboxFull):
                self._check_full(mail, error)
            raise
        self._ledger.answered(mail, ACCEPTED)

    async def send(self, ref: ActorRef[Actor], message: object) -> None:
        """Send, as `ref.send` does."""
        mail = self._ledger.sent(self.sender, ref, message, SEND, math.inf)
        self._wait_for(mail)
        try:
            await ref.send(message)
        except BaseException as error:
            self._ended_with(mail, error)
            raise
        finally:
            self._wait_for(None)
        self._ledger.answered(mail, ACCEPTED)

    async def ask(self, ref: ActorRef[Actor], request: Request[Reply], *, timeout_seconds: float = 5.0) -> Reply:
        """Ask, as `ref.ask` does."""
        ends = self._ledger.recipient(ref).ends
        mail = self._ledger.sent(self.sender, ref, request, ASK, timeout_seconds)
        self._wait_for(mail)
        try:
            reply = await ref.ask(request, timeout_seconds=timeout_seconds)
        except BaseException as error:
            self._ended_with(mail, error)
            self._check_error(mail, error, ends)
            raise
        finally:
            self._wait_for(None)
        self._ledger.answered(mail, REPLY)
        if mail.done != 1 or mail.result is not reply:
            self._wrong(f"{mail} is answered with {reply!r}, and its handler returned {mail.result!r}")
        return reply

    # ---- below

    def _wait_for(self, mail: Mail | None) -> None:
        if self._life is not None:
            self._life.waits_for = None if mail is None else mail.receiver

    def _ended_with(self, mail: Mail, error: BaseException) -> None:
        if isinstance(error, ActorError):
            answer = type(error).__name__
        else:
            answer = CANCELLED if isinstance(error, trio.Cancelled) else BROKEN
        self._ledger.answered(mail, answer)

    def _check_error(self, mail: Mail, error: BaseException, ends: int) -> None:
        """Compare the error that an ask ended with, and what has happened to it."""
        if isinstance(error, ActorCrashed | ActorStopped) and mail.begun and not (mail.broken_by or mail.cut_off):
            self._wrong(f"{mail} fails with {type(error).__name__}, and its handler was not interrupted")
        match error:
            case ActorCrashed():
                # Force strikes an idle actor outside of everything that is watched, and a timeout is nobody's error.
                if not isinstance(error.cause, Killed | ActorError) and error.cause not in mail.receiver.errors:
                    self._wrong(f"{mail} fails with ActorCrashed, and nothing has raised {error.cause!r}")
            case ActorStopped():
                if not mail.begun and mail.receiver.ends == ends and mail.receiver.watched:
                    self._wrong(f"{mail} fails with ActorStopped, and {mail.receiver.name} has not ended")
            case AskTimeout():
                if self._run.now < mail.sent_at + mail.timeout_seconds:
                    self._wrong(f"{mail} timed out before its {mail.timeout_seconds:g} s were over")
            case AskCycle():
                self._check_circle(mail, error)
            case MailboxFull():
                self._check_full(mail, error)
            case _:
                pass

    def _check_circle(self, mail: Mail, error: AskCycle) -> None:
        here = "" if self._life is None else self._life.receiver.name
        if {error.path[0], error.path[-1]} != {here}:
            self._wrong(f"{mail} is refused because of a circle that is none: {error.path}")

    def _check_full(self, mail: Mail, error: MailboxFull) -> None:
        if mail.receiver.spec is None:
            return
        overflow = mail.receiver.spec.overflow
        depth = mail.receiver.ref.statistics().mailbox.depth
        if mail.how == ASK:
            if overflow is Overflow.WAIT or (overflow is not Overflow.DROP_OLDEST and depth < error.capacity):
                self._wrong(f"{mail} is refused with {depth} of {error.capacity} messages in a mailbox of {overflow}")
        elif overflow not in {Overflow.WAIT, Overflow.REJECT} or depth < error.capacity:
            self._wrong(f"{mail} is refused with {depth} of {error.capacity} messages in a mailbox of {overflow}")

    def _wrong(self, what: str) -> None:
        self._run.violated(Violation(what))
