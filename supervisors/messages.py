"""What a running supervisor finds in its inbox: calls, each with a caller that waits, and notices to itself.

Messages are carried out by the supervisor's own task, one at a time, in the order they came; so a call is served
between two attempts of a restart that fails.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar, final

from trio.lowlevel import Abort, RaiseCancelT, Task, current_task, reschedule, wait_task_rescheduled

from supervisors.errors import SupervisorError

AnswerT = TypeVar("AnswerT")


class Message(Protocol):
    """Anything in the inbox."""

    async def carry_out(self) -> None:
        """Do it, in the supervisor's task."""

    def refuse(self) -> None:
        """The supervisor has ended without coming to it."""


@final
class Notice:
    """A message of the supervisor to itself: a child has ended, or a restart is to be tried again."""

    __slots__ = ("_operation",)

    def __init__(self, operation: Callable[[], Awaitable[None]]) -> None:
        self._operation = operation

    async def carry_out(self) -> None:
        """Do it; whether it still matters is the operation's own question."""
        await self._operation()

    def refuse(self) -> None:
        """Forget it: nobody waits."""


@final
class Call(Generic[AnswerT]):
    """One call: what to do, and then its answer or refusal. Made in the task of its caller, who waits here."""

    __slots__ = ("_answers", "_operation", "_refusal", "_stopped", "_task")

    def __init__(self, operation: Callable[[], Awaitable[AnswerT]], stopped: Callable[[], SupervisorError]) -> None:
        """Make a call of `operation`; `stopped` makes the refusal for a call the supervisor did not live to finish."""
        self._operation = operation
        self._stopped = stopped
        self._task: Task | None = None
        self._answers: list[AnswerT] = []
        self._refusal: SupervisorError | None = None

    async def answer(self) -> AnswerT:
        """Wait for the answer. Cancelled: withdrawn if not begun; a call that has begun is finished all the same.

        Raises:
            SupervisorError: the call was refused, or its start failed, or the supervisor ended first.
        """
        self._task = current_task()
        await wait_task_rescheduled(self._withdraw)
        if self._refusal is not None:
            raise self._refusal
        return self._answers[0]

    def _withdraw(self, _raise_cancel: RaiseCancelT) -> Abort:
        self._task = None
        return Abort.SUCCEEDED

    async def carry_out(self) -> None:
        """Do what was asked; a refusal is the caller's business, anything else that is raised is a bug of ours."""
        if self._task is not None:
            await self.finish()

    async def finish(self) -> None:
        """Do what was asked, or the rest of what was begun in the caller's task, also if nobody waits any more."""
        try:
            self._answers.append(await self._operation())
        except SupervisorError as refusal:
            self._refusal = refusal
        finally:
            if not self._answers and self._refusal is None:
                self._refusal = self._stopped()
            self._answer()

    def succeed(self, answer: AnswerT) -> None:
        """Give the answer, which came about without the supervisor's task."""
        self._answers.append(answer)
        self._answer()

    def refuse(self) -> None:
        """Answer that the supervisor has ended."""
        self._refusal = self._stopped()
        self._answer()

    def _answer(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            reschedule(task)
