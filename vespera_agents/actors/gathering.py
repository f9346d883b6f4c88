"""Many asks at once, with a limit on how many: answers in the order of the questions.

`ask_many` ends with the first error, `gather_answers` returns errors among the answers. A fixed number of tasks does
the asking, never one for each ask. It knows no actors: whatever can be asked will do, a reference or a pool.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Final, Generic, Protocol, TypeAlias, TypeVar, cast, final

import trio
from trio.lowlevel import Task, current_task

from vespera_agents.actors.errors import ActorError
from vespera_agents.actors.messages import Request
from vespera_agents.actors.waits import waiting_for

Reply = TypeVar("Reply")

CONCURRENCY: Final = 100
"""Asks that are under way at once unless told otherwise: an actor then answers many of them at one wake-up."""


class CanBeAsked(Protocol):
    """Whoever answers requests: an ActorRef, a Pool."""

    async def ask(self, request: Request[Reply], *, timeout_seconds: float = 5.0) -> Reply:
        """Send a request and wait for its answer."""
        ...


_Pair: TypeAlias = tuple[CanBeAsked, Request[Reply]]


async def ask_many(
    receivers: CanBeAsked | Iterable[CanBeAsked],
    requests: Request[Reply] | Iterable[Request[Reply]],
    *,
    timeout_seconds: float = 5.0,
    concurrency: int = CONCURRENCY,
) -> list[Reply]:
    """Ask many receivers one thing, one receiver many things, or each its own; return the answers in order.

    The first error ends it: requests that have not been started are withdrawn, those not yet sent never are; one that
    has been started goes on, and its reply is dropped. Cancelled: the same.

    Args:
        receivers: Whom to ask: one, or as many as there are requests.
        requests: What to ask: one, or as many as there are receivers.
        timeout_seconds: How long to wait for each answer, from when it is asked. All together take longer.
        concurrency: How many asks are under way at once, at least 1.

    Raises:
        ActorError: Of the first ask that failed, itself and not in a group; see `ActorRef.ask`.
        ValueError: There are not as many receivers as requests.
    """
    gathering: _Gathering[Reply] = _Gathering(_pairs(receivers, requests), timeout_seconds, keep_errors=False)
    await gathering.run(concurrency)
    return [cast("Reply", answer) for answer in gathering.answers]


async def gather_answers(
    receivers: CanBeAsked | Iterable[CanBeAsked],
    requests: Request[Reply] | Iterable[Request[Reply]],
    *,
    timeout_seconds: float = 5.0,
    concurrency: int = CONCURRENCY,
) -> list[Reply | ActorError]:
    """Ask as `ask_many` does, and return each answer or the ActorError that came instead, in order.

    Arguments as for `ask_many`. Only what is no ActorError ends it before all have been asked. Cancelled: requests
    that have not been started are withdrawn.

    Raises:
        ValueError: There are not as many receivers as requests.
    """
    gathering: _Gathering[Reply] = _Gathering(_pairs(receivers, requests), timeout_seconds, keep_errors=True)
    await gathering.run(concurrency)
    return [cast("Reply | ActorError", answer) for answer in gathering.answers]


@final
class _Gathering(Generic[Reply]):
    """One call: what is still to be asked, and what has been answered."""

    __slots__ = ("_failure", "_keep_errors", "_pairs", "_timeout_seconds", "_waiting", "answers")

    def __init__(self, pairs: list[_Pair[Reply]], timeout_seconds: float, *, keep_errors: bool) -> None:
        if not timeout_seconds > 0.0:
            raise ValueError(f"An ask waits for more than 0 seconds, not {timeout_seconds}. math.inf is no limit.")
        self._pairs = pairs
        self._waiting = iter(enumerate(pairs))
        self._timeout_seconds = timeout_seconds
        self._keep_errors = keep_errors
        self._failure: Exception | None = None
        self.answers: list[Reply | ActorError | None] = [None] * len(pairs)
        """By the place of the question."""

    async def run(self, concurrency: int) -> None:
        """Ask everything."""
        if concurrency < 1:
            raise ValueError(f"At least 1 ask is under way at once, not {concurrency}.")
        workers = min(concurrency, len(self._pairs))
        if workers <= 1:
            # In the caller's own task: nothing to set up. It is also the checkpoint of a call that asks nothing.
            await trio.lowlevel.checkpoint_if_cancelled()
            await self._work(None)
        else:
            await self._run_workers(workers, current_task())
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # Its traceback holds this frame: together they would be a cycle of references.

    async def _run_workers(self, workers: int, caller: Task) -> None:
        alone: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                for number in range(workers):
                    nursery.start_soon(self._work_for, caller, nursery.cancel_scope, name=f"ask_many worker {number}")
        except BaseExceptionGroup as group:
            # One error is raised as itself: that a nursery is in here is nobody's business.
            if len(group.exceptions) > 1:
                raise
            alone = next(iter(group.exceptions))
        if alone is not None:
            raise alone

    async def _work_for(self, caller: Task, scope: trio.CancelScope) -> None:
        with waiting_for(caller):
            await self._work(scope)

    async def _work(self, scope: trio.CancelScope | None) -> None:
        for place, (receiver, request) in self._waiting:
            try:
                self.answers[place] = await receiver.ask(request, timeout_seconds=self._timeout_seconds)
            except ActorError as error:
                if self._keep_errors:
                    # Without its traceback, which holds this frame and with it all the answers.
                    self.answers[place] = error.with_traceback(None)
                    continue
                if self._failure is None:
                    self._failure = error
                self._waiting = iter(())
                if scope is not None:
                    scope.cancel(reason="another ask of the same call failed")
                return


def _pairs(
    receivers: CanBeAsked | Iterable[CanBeAsked], requests: Request[Reply] | Iterable[Request[Reply]]
) -> list[_Pair[Reply]]:
    one_request = isinstance(requests, Request)
    # Asked about `ask` first: what can be asked may be iterable as well.
    if hasattr(receivers, "ask"):
        receiver = cast("CanBeAsked", receivers)
        asked: Iterator[Request[Reply]] = iter((requests,)) if one_request else iter(requests)
        return _checked(list(zip(repeat(receiver), asked, strict=False)))
    many = cast("Iterable[CanBeAsked]", receivers)
    if one_request:
        return _checked(list(zip(many, repeat(requests), strict=False)))
    return _checked(list(zip(many, requests, strict=True)))


def _checked(pairs: list[_Pair[Reply]]) -> list[_Pair[Reply]]:
    for _, request in pairs:
        if not isinstance(cast("object", request), Request):
            raise TypeError(f"{type(request).__qualname__} is not a Request, so it has no answer. Use tell.")
    return pairs
