"""What must hold in every actor system: whenever nothing can run, when all has come to rest, and when it has closed.

The rules compare the ledger with what the system says through its public interface: states, mailboxes, names, dead
letters, statistics.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, final

from supervisors.testing.violations import Violation
from vespera_agents.actors.errors import AskCycle, AskTimeout, MailboxFull
from vespera_agents.actors.mailbox import Overflow
from vespera_agents.actors.statistics import (
    ActorState,
    DeadLetter,
    DeadLetterReason,
    DropReason,
    KindStatistics,
)
from vespera_agents.actors.system import ActorSystem
from vespera_agents.actors.testing.ledger import Ledger
from vespera_agents.actors.testing.records import ACCEPTED, ASK, BROKEN, REPLY, Life, Mail, Recipient

_INTERRUPTED: Final = ("crashed", "cancelled", "retried")
_DROPPING: Final = (Overflow.DROP_OLDEST, Overflow.DROP_NEWEST)


@final
class Rules:
    """The rules of one run."""

    def __init__(self, ledger: Ledger, system: ActorSystem) -> None:
        self._ledger = ledger
        self._system = system
        self._letters_read = 0

    # ---- whenever nothing can run

    def check_quiet(self, now: float) -> None:
        """Check one moment at which nothing can run.

        Raises:
            Violation: a rule is broken.
        """
        self._read_dead_letters()
        for record in self._ledger.recipients.values():
            self._check_actor(record)
        for mail in self._ledger.open:
            self._check_waiting(mail, now)
        for life in self._ledger.lives:
            if life.waits_for is not None and not life.fenced:
                self._check_circle(life)

    def _read_dead_letters(self) -> None:
        for letter in self._system.dead_letters[self._letters_read :]:
            self._letters_read += 1
            mail = self._ledger.mails.get(id(letter.message))
            if mail is not None:
                self._bury(mail, letter)

    def _bury(self, mail: Mail, letter: DeadLetter) -> None:
        mail.dead += 1
        mail.receiver.queued.pop(mail, None)
        mailbox = mail.receiver.spec
        reason = letter.reason
        if mail.how == ASK:
            wrong = "and its sender waits for an answer"
        elif mail.dead > 1 or mail.done:
            wrong = "after it was handled, or was a dead letter before"
        elif letter.recipient != mail.receiver.name:
            wrong = f"of {letter.recipient}"
        elif reason in {DeadLetterReason.CRASHED, DeadLetterReason.CANCELLED} and not (mail.broken_by or mail.cut_off):
            wrong = "and no handler of it has ended"
        elif reason in {DeadLetterReason.STOPPED, DeadLetterReason.DROPPED} and mail.begun and not mail.may_return:
            wrong = "and a handler had it"
        elif reason is DeadLetterReason.DROPPED and mailbox is not None and mailbox.overflow not in _DROPPING:
            wrong = f"by a mailbox of {mailbox.overflow}"
        else:
            return
        raise Violation(f"{mail} became a dead letter ({reason}) {wrong}")

    def _check_actor(self, record: Recipient) -> None:
        statistics = record.ref.statistics()
        state, mailbox, life = statistics.state, statistics.mailbox, record.life
        has_name = self._system.whereis(record.name) is record.ref
        if has_name != (state is not ActorState.STOPPED):
            raise Violation(f"{record.name} is {state}, and {'has' if has_name else 'has not got'} its name")
        if mailbox.waiting_senders and mailbox.depth < mailbox.capacity and state is not ActorState.STOPPED:
            raise Violation(f"{record.name} has room, and {mailbox.waiting_senders} wait for it")
        if state is ActorState.RUNNING and mailbox.depth and life is not None and not life.busy:
            raise Violation(f"{record.name} is idle, with {mailbox.depth} messages in its mailbox")
        there, queued = mailbox.depth + mailbox.waiting_senders, len(record.queued)
        if not queued <= there <= queued + record.slack:
            names = ", ".join(map(str, record.queued))
            raise Violation(
                f"{record.name} ({state}) has {there} messages in its mailbox and in line, and must have "
                f"{queued} to {queued + record.slack}: {names}"
            )
        record.slack = there - queued

    def _check_waiting(self, mail: Mail, now: float) -> None:
        if mail.how != ASK:
            if mail.begun:
                raise Violation(f"{mail} was taken, and its sender still waits for room")
            return
        if mail.is_over:
            raise Violation(f"{mail} is over, and its sender still waits for an answer")
        if now > mail.sent_at + mail.timeout_seconds:
            raise Violation(f"{mail} has not timed out after {mail.timeout_seconds:g} s")

    def _check_circle(self, first: Life) -> None:
        life, seen = first, [first]
        while life.waits_for is not None:
            following = life.waits_for.life
            if following is None or following.fenced or following.over or not following.busy:
                return
            if following in seen:
                raise Violation(f"{' -> '.join(each.name for each in [*seen, following])} wait for each other")
            seen.append(following)
            life = following

    # ---- when all has come to rest

    def unsettled(self) -> str | None:
        """Say what has not come to rest, though no fault strikes any more; None where all has."""
        for mail in self._ledger.open:
            return f"{mail} waits"
        for record in self._ledger.recipients.values():
            statistics = record.ref.statistics()
            if statistics.state not in {ActorState.RUNNING, ActorState.STOPPED}:
                return f"{record.name} is {statistics.state}"
            if statistics.mailbox.depth or statistics.busy_seconds > 0.0:
                return f"{record.name} has {statistics.mailbox.depth} messages, and is busy with one"
        for life in self._ledger.lives:
            if life.fenced and not life.has_gone:
                return f"{life.name} was cut off, and runs"
        return None

    # ---- when the system has closed

    def check_closed(self) -> None:
        """Check what is left of a system that has closed.

        Raises:
            Violation: something is, or the counts do not add up.
        """
        self._read_dead_letters()
        for record in self._ledger.recipients.values():
            self._check_actor(record)
            if record.ref.statistics().state is not ActorState.STOPPED:
                raise Violation(f"{record.name} is {record.ref.statistics().state} after its system has closed")
        for life in self._ledger.lives:
            if not life.has_gone:
                raise Violation(f"{life.name} lives after its system has closed")
        for mail in self._ledger.mails.values():
            self._check_fate(mail)
        for kind in self._system.statistics().kinds.values():
            if kind.mailbox_messages or any(kind.actors.values()):
                raise Violation(f"{kind.kind}: {kind.mailbox_messages} messages after its system has closed")
        self._check_counts()

    def _check_fate(self, mail: Mail) -> None:
        if mail.is_open:
            raise Violation(f"{mail} waits after the system has closed")
        if mail.how == ASK:
            return
        fates = mail.done + mail.dead
        if mail.answer == ACCEPTED and fates != 1:
            raise Violation(f"{mail} was accepted, then handled {mail.done} times and a dead letter {mail.dead} times")
        if mail.answer not in {ACCEPTED, BROKEN} and (fates or mail.begun):
            raise Violation(f"{mail} was refused ({mail.answer}), and begun {mail.begun} times")

    def _check_counts(self) -> None:
        """Compare what all kinds have counted with the ledger, where no message has gone past it."""
        ledger, kinds = self._ledger, list(self._system.statistics().kinds.values())
        answers = Counter((mail.how, mail.answer) for mail in ledger.mails.values())
        asks = [mail for mail in ledger.mails.values() if mail.how == ASK]
        unknown = sum(mail.answer == BROKEN for mail in asks)
        late = sum(mail.done and mail.answer not in {REPLY, BROKEN} for mail in asks)
        timeouts = answers[ASK, AskTimeout.__name__]
        refused = sum(number for (_, answer), number in answers.items() if answer == MailboxFull.__name__)
        dropped = _total(kinds, DeadLetterReason.DROPPED)
        counted = {
            "starts": (sum(kind.starts for kind in kinds), sum(life.ready for life in ledger.lives), 0),
            "handled": (_outcomes(kinds, "handled"), ledger.handled, 0),
            "interrupted": (
                _outcomes(kinds, *_INTERRUPTED),
                ledger.broken + ledger.cut_off,
                0,
            ),
            "asks": (sum(kind.asks for kind in kinds), len(asks) - answers[ASK, AskCycle.__name__] - unknown, unknown),
            "asks that timed out": (sum(kind.ask_timeouts for kind in kinds), timeouts, unknown),
            "late replies": (sum(kind.late_replies for kind in kinds), late, unknown),
            "replies timed": (sum(kind.ask_duration.count for kind in kinds), 0, answers[ASK, REPLY]),
            "dead letters": (self._system.statistics().dead_letters, self._letters_read, 0),
            "drops": (
                sum(kind.drops[reason] for kind in kinds for reason in DropReason),
                refused + dropped,
                unknown,
            ),
        }
        for what, (said, wanted, more) in counted.items():
            if not wanted <= said <= wanted + more:
                raise Violation(f"the statistics count {said} {what}, and there were {wanted} to {wanted + more}")


def _outcomes(kinds: list[KindStatistics], *outcomes: str) -> int:
    return sum(number for kind in kinds for outcome, number in kind.messages.items() if outcome in outcomes)


def _total(kinds: list[KindStatistics], reason: DeadLetterReason) -> int:
    return sum(kind.dead_letters[reason] for kind in kinds)
