"""Carrying questions between specialists: a row first, then somebody of the role, then the answer into the row.

Whoever asks again under the same name, because its process was killed, hears the answer that was given; where none was,
somebody is asked once more, and that is counted. Neighbours: `help` has the words, `store.commands.help` the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, final

import trio
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vespera_agents.actors import ActorError
from vespera_agents.providers.exchange import ToolCall, ToolResult, ToolSpec
from vespera_agents.specialists.callbacks.hearing import Happening
from vespera_agents.specialists.help import (
    DEADLINE_SECONDS_MAX,
    QUESTION_MAX,
    AskForHelp,
    GiveHelp,
    HelpAnswer,
    Thinks,
)
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.store import CommandKey
from vespera_agents.store.commands.help import AskHelp, EndHelp, HelpState, HelpStatus
from vespera_agents.store.outbox import CallbackEvent
from vespera_agents.work.errors import InvalidInput
from vespera_agents.work.models import role_name

__all__ = ["ASK_FOR_HELP", "HelpDesk", "HelpStatistics", "HelpTools"]

ASK_FOR_HELP: Final = "ask_for_help"
_GRACE_SECONDS: Final = 1.0


@final
@dataclass(frozen=True, slots=True)
class HelpStatistics:
    """What was asked here so far."""

    asked: int
    answered: int
    repeated: int
    """Times that somebody was asked once more, after a crash."""


@final
class HelpDesk:
    """Where the specialists of one session ask each other."""

    def __init__(self, opened: OpenWorkspace, session_id: str, models: Thinks | None) -> None:
        """Say whose specialists they are, and who answers in their name; None where no provider is configured."""
        self._opened = opened
        self._session_id = session_id
        self._models = models
        self._asked = 0
        self._answered = 0
        self._repeated = 0

    async def ask(
        self, wish: AskForHelp, key: CommandKey, *, asker: str, task_id: str | None = None, by: str = "supervision"
    ) -> HelpAnswer:
        """Ask, and wait for the answer no longer than its deadline.

        Cancelled: the question stays open, and whoever asks under the same key again has it asked once more.

        Args:
            wish: the question.
            key: names it: the same after a crash, another for another question.
            asker: the role that asks.
            task_id: what it is about.
            by: who asks, for the audit trail.

        Raises:
            InvalidInput: there is no such role, or the question or deadline is out of bounds.
            StoreError: it could not be written down; ask again under the same key.
        """
        role = self._checked(wish)
        opened, identifier = self._opened, f"{key.origin}/{key.key}"
        command = AskHelp(by, identifier, self._session_id, task_id, asker, role, wish.question, wish.deadline_seconds)
        state = await opened.store.execute(command, opened.key())
        if state["first"]:
            self._asked += 1
            opened.callbacks.heard(
                Happening(CallbackEvent.HELP_NEEDED, self._session_id, task_id, {"asker": asker, "role": role})
            )
        elif state["status"] == HelpStatus.OPEN:
            self._repeated += 1
        if state["status"] == HelpStatus.OPEN:
            message = (identifier, asker, wish.question, task_id)
            status, text = await self._answer(role, *message, seconds=state["seconds_left"])
            # What was answered is written down although nobody may wait any more: it was paid for.
            with trio.CancelScope(shield=status is HelpStatus.ANSWERED), trio.move_on_after(_GRACE_SECONDS * 10):
                state = await opened.store.execute(EndHelp(by, identifier, status, text), opened.key())
        return self._told(role, state)

    def statistics(self) -> HelpStatistics:
        """Count what was done so far."""
        return HelpStatistics(self._asked, self._answered, self._repeated)

    def _told(self, role: str, state: HelpState) -> HelpAnswer:
        answered = state["status"] == HelpStatus.ANSWERED
        self._answered += answered
        return HelpAnswer(answered, state["answer"] or "nobody answered", role, state["asked"])

    def _checked(self, wish: AskForHelp) -> str:
        known, role = self._opened.roles(), role_name(wish.role)
        if role not in known:
            raise InvalidInput(f"there is no role {wish.role[:80]!r}", f"Ask one of {', '.join(sorted(known))}.")
        if not wish.question.strip() or len(wish.question) > QUESTION_MAX:
            raise InvalidInput(
                f"the question has {len(wish.question)} characters", f"Ask with 1 to {QUESTION_MAX} characters."
            )
        if not 0 < wish.deadline_seconds <= DEADLINE_SECONDS_MAX:
            raise InvalidInput(
                f"the deadline is {wish.deadline_seconds:g} s", f"Give one of up to {DEADLINE_SECONDS_MAX:g} s."
            )
        return role

    async def _answer(
        self, role: str, identifier: str, asker: str, question: str, task_id: str | None, *, seconds: float
    ) -> tuple[HelpStatus, str]:
        """Have a specialist of the role answer."""
        if self._models is None:
            return HelpStatus.FAILED, "no model provider is configured, so no specialist can answer"
        scope = trio.CancelScope()
        message = GiveHelp(identifier, asker, question, self._session_id, task_id, self._models, scope)
        with trio.move_on_after(seconds):
            try:
                session = await self._opened.session(self._session_id)
                async with session.borrow(self._opened.role(role)) as specialist:
                    given = await specialist.ask(message, timeout_seconds=seconds + _GRACE_SECONDS)
            except ActorError as error:
                return HelpStatus.FAILED, f"the {role} was lost: {error}"
            finally:
                # Nobody waits: what it still does is for nothing.
                scope.cancel()
            return (HelpStatus.ANSWERED, given.text) if given.text else (HelpStatus.FAILED, given.problem)
        return HelpStatus.EXPIRED, f"the {role} did not answer within {seconds:.0f} s"


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")

    role: Annotated[str, Field(min_length=1, max_length=64)]
    question: Annotated[str, Field(min_length=1, max_length=QUESTION_MAX)]
    deadline_seconds: Annotated[float, Field(gt=0, le=DEADLINE_SECONDS_MAX)] = 300.0


@final
class HelpTools:
    """Asking for help as a tool for a model that works in the name of a role."""

    def __init__(self, desk: HelpDesk, *, role: str, task_id: str | None, by: str, roles: tuple[str, ...]) -> None:
        """Say who asks.

        Args:
            desk: of the session.
            role: who asks.
            task_id: what it works on.
            by: for the audit trail.
            roles: who can be asked.
        """
        self._desk = desk
        self._role = role
        self._task_id = task_id
        self._by = by
        self._roles = roles

    def specs(self) -> tuple[ToolSpec, ...]:
        """Describe the one tool."""
        properties = {
            "role": {"type": "string", "enum": list(self._roles), "description": "Who is asked."},
            "question": {
                "type": "string",
                "maxLength": QUESTION_MAX,
                "description": "With everything that the other one needs to know: it sees nothing of your task.",
            },
            "deadline_seconds": {"type": "number", "description": "How long you wait; 300 unless given."},
        }
        what = "Ask a specialist of another role one question and wait for the answer."
        return (
            ToolSpec(
                ASK_FOR_HELP, what, {"type": "object", "properties": properties, "required": ["role", "question"]}
            ),
        )

    async def call(self, call: ToolCall, key: CommandKey) -> ToolResult:
        """Ask; what is refused, and that nobody answered, is an answer, too.

        Args:
            call: of the tool.
            key: the same when a step is done once more.

        Raises:
            StoreError: it could not be written down; the call can be made once more.
        """
        try:
            asked = _Arguments.model_validate(call.arguments)
            wish = AskForHelp(asked.role, asked.question, asked.deadline_seconds)
            answer = await self._desk.ask(wish, key, asker=self._role, task_id=self._task_id, by=self._by)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the arguments"
            return ToolResult(call.id, call.name, f"{where}: {first['msg']}. Correct it and call again.", is_error=True)
        except InvalidInput as error:
            return ToolResult(call.id, call.name, str(error), is_error=True)
        if not answer.answered:
            text = f"No answer: {answer.text}. Go on with what you know, or say what is missing when you hand in."
            return ToolResult(call.id, call.name, text, is_error=True)
        return ToolResult(call.id, call.name, f"The {answer.role} answers:\n{answer.text}")

    def statistics(self) -> HelpStatistics:
        """Count what was asked at the desk so far."""
        return self._desk.statistics()
