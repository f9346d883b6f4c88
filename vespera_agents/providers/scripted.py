"""The provider that answers by a script: a model with real semantics and without a model, for tests and trials.

It takes time on trio's clock, streams, asks for tools, fails with each error of `errors`, refuses what is too long or
too much at once, keeps a request's deadline, is cancelled like any other, and counts all of it. With a `paid` file,
each call that it answered is a line there, on the disk before the answer is given: a crash can be counted with that.
Not a recording of any vendor. Neighbours: `scripts` says what it answers; `settings` can name its files, so that
another process (`vespera serve`) uses it.
"""

from __future__ import annotations

import json
import os
import random
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self, final

import trio

from vespera_agents.providers import errors
from vespera_agents.providers.exchange import (
    Capabilities,
    Chunk,
    Completion,
    CompletionStream,
    Finish,
    ModelRequest,
    Price,
    ProviderStatistics,
    ToolCall,
    Usage,
)
from vespera_agents.providers.prices import cost_usd
from vespera_agents.providers.scripts import Answer, Failure, FailureKind, Script, read_script, shown_text
from vespera_agents.providers.settings import ProviderSettings

__all__ = ["ScriptedFigures", "ScriptedProvider", "open_scripted"]

_ASKED_MAX: Final = 1_000
_BYTES_PER_TOKEN: Final = 4


@final
@dataclass(slots=True)
class ScriptedFigures:
    """What a scripted provider has done so far."""

    asked: int = 0
    answered: int = 0
    """Each of them was paid."""
    failed: int = 0
    cancelled: int = 0
    """Or left in the middle of a stream."""
    in_flight: int = 0
    in_flight_peak: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0


@final
class ScriptedProvider:
    """A provider whose answers are written down before."""

    def __init__(self, script: Script | None = None, *, name: str = "scripted", paid: Path | None = None) -> None:
        self.script = script or Script(otherwise=Answer("Done."))
        self.figures = ScriptedFigures()
        self.asked: deque[ModelRequest] = deque(maxlen=_ASKED_MAX)
        """The last 1,000 requests."""
        self._name = name
        self._paid = paid
        self._uses = [0] * len(self.script.rules)
        self._answers = deque(self.script.answers)
        self._first: deque[Answer] = deque()
        self._random = random.Random(self.script.seed)  # noqa: S311 - a chance that can be repeated, no secret
        self._calls = 0

    @property
    def name(self) -> str:
        """As the configuration names it."""
        return self._name

    @property
    def models(self) -> tuple[str, ...]:
        """Those of the script."""
        return self.script.models

    def answer_next(self, *answers: Answer) -> None:
        """Give these to the next requests, before anything that the script says."""
        self._first.extend(answers)

    def fail_next(self, kind: FailureKind, *, times: int = 1, retry_after_seconds: float | None = None) -> None:
        """Let the next requests fail."""
        self.answer_next(*[Answer(fails=Failure(kind, retry_after_seconds))] * times)

    async def complete(self, request: ModelRequest) -> Completion:
        """Answer one request.

        Raises:
            ProviderError: as the script says; or the request is too long, one too many, or out of time.
        """
        async with self.stream(request) as stream:
            async for _ in stream:
                pass
            return stream.completion

    def stream(self, request: ModelRequest) -> AbstractAsyncContextManager[CompletionStream]:
        """Answer one request bit by bit."""
        return self._exchange(request)

    def capabilities(self, model: str) -> Capabilities:
        """Say what the script says."""
        del model
        script = self.script
        return Capabilities(
            script.context_tokens_max,
            script.output_tokens_max,
            tools=script.tools,
            local=script.local,
            acts_alone=script.acts_alone,
        )

    def price(self, model: str) -> Price | None:
        """Give the script's."""
        del model
        return self.script.price

    def statistics(self) -> ProviderStatistics:
        """Give its numbers as they are now."""
        figures = self.figures
        return ProviderStatistics(self._name, self.models, figures.in_flight, figures.asked, figures.failed)

    async def aclose(self) -> None:
        """Let go of nothing: it has no connection."""
        await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def _exchange(self, request: ModelRequest) -> AsyncGenerator[CompletionStream]:
        figures = self.figures
        figures.asked += 1
        self.asked.append(request)
        figures.in_flight += 1
        figures.in_flight_peak = max(figures.in_flight_peak, figures.in_flight)
        stream = _Stream(self, request)
        try:
            await stream.open()
            yield stream
        finally:
            figures.in_flight -= 1
            if stream.failed:
                figures.failed += 1
            elif not stream.ended:
                figures.cancelled += 1

    def choose(self, request: ModelRequest) -> Answer:
        """Find the answer to a request, and use it up.

        Raises:
            ProviderError: there is none, or it is refused before anything is answered.
        """
        script = self.script
        if script.in_flight_max is not None and self.figures.in_flight > script.in_flight_max:
            raise self.failure(Failure(FailureKind.RATE_LIMITED, 1.0))
        if request.model and request.model not in script.models:
            what = f"it has no model {request.model!r}"
            raise errors.BadRequest(self._name, what, f"Name one of {', '.join(script.models)}")
        if _tokens(_sent_text(request)) + request.output_tokens_max > script.context_tokens_max:
            raise self.failure(Failure(FailureKind.CONTEXT_TOO_LONG))
        if self._first:
            return self._first.popleft()
        shown = shown_text(request)
        for number, rule in enumerate(script.rules):
            if rule.times_max is not None and self._uses[number] >= rule.times_max:
                continue
            answer = rule.fit(request, shown)
            if answer is None or (rule.chance < 1 and self._random.random() >= rule.chance):
                continue
            self._uses[number] += 1
            return answer
        if self._answers:
            return self._answers.popleft()
        if script.otherwise is not None:
            return script.otherwise
        what = "the script has no answer to this request"
        raise errors.BadRequest(self._name, what, "Give the script a rule for it, or `otherwise`")

    def settle(self, request: ModelRequest, answer: Answer) -> Completion:
        """Count an answer as paid, and give the whole of it."""
        calls = tuple(ToolCall(self._call_id(), call.name, call.arguments) for call in answer.calls)
        sent = answer.text + "".join(json.dumps([call.name, call.arguments], default=str) for call in answer.calls)
        usage = answer.usage or Usage(_tokens(_sent_text(request)), _tokens(sent))
        finish = answer.finish or (Finish.TOOLS if calls else Finish.END)
        price = self.script.price
        usd = None if price is None else cost_usd(price, usage)
        model = request.model or self.script.models[0]
        figures = self.figures
        figures.answered += 1
        figures.input_tokens += usage.input_tokens
        figures.output_tokens += usage.output_tokens
        figures.cost_usd += usd or 0.0
        if self._paid is not None:
            line = {"purpose": request.purpose, "model": model, **asdict(usage), "cost_usd": usd}
            _append_line(self._paid, json.dumps(line))
        return Completion(self._name, model, answer.text, finish, usage, calls, usd)

    def failure(self, failure: Failure) -> errors.ProviderError:
        """Make the error that a failure stands for."""
        what, advice = f"its script lets it fail ({failure.kind})", "Try again, or change the script"
        seconds = failure.retry_after_seconds
        if failure.kind is FailureKind.RATE_LIMITED:
            return errors.RateLimited(self._name, what, advice, seconds)
        if failure.kind is FailureKind.CIRCUIT_OPEN:
            return errors.CircuitOpen(self._name, what, advice, 1.0 if seconds is None else seconds)
        return _PLAIN_FAILURES[failure.kind](self._name, what, advice)

    def _call_id(self) -> str:
        self._calls += 1
        return f"call-{self._calls}"


@final
class _Stream:
    """One answer of a script on its way."""

    __slots__ = (
        "_answer",
        "_completion",
        "_deadline_seconds",
        "_given_characters",
        "_provider",
        "_request",
        "ended",
        "failed",
    )

    def __init__(self, provider: ScriptedProvider, request: ModelRequest) -> None:
        self.failed = False
        self.ended = False
        self._provider = provider
        self._request = request
        self._answer: Answer | None = None
        self._completion: Completion | None = None
        self._given_characters = 0
        self._deadline_seconds = trio.current_time() + request.timeout_seconds

    @property
    def completion(self) -> Completion:
        """The whole answer."""
        assert self._completion is not None, "the last chunk has not come yet"
        return self._completion

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        """Give the next chunk."""
        answer = self._answer
        assert answer is not None, "it is open"
        failure = answer.fails
        text = answer.text if failure is None else answer.text[: failure.after_characters]
        if self._given_characters:
            await self._wait(answer.chunk_seconds)
        if self._given_characters < len(text):
            start = self._given_characters
            self._given_characters = min(start + max(1, answer.chunk_characters), len(text))
            return Chunk(text[start : self._given_characters])
        if failure is not None:
            raise self._failed(failure)
        if not self.ended:
            # Here is no checkpoint: a call that is paid is answered, unless the process dies between the two.
            self._completion = self._provider.settle(self._request, answer)
            self.ended = True
        raise StopAsyncIteration

    async def open(self) -> None:
        """Wait for the first sign of an answer."""
        try:
            self._answer = self._provider.choose(self._request)
        except errors.ProviderError:
            self.failed = True
            raise
        await self._wait(self._answer.seconds)
        failure = self._answer.fails
        if failure is not None and failure.after_characters is None:
            raise self._failed(failure)

    async def _wait(self, seconds: float) -> None:
        with trio.move_on_at(self._deadline_seconds) as deadline:
            await trio.sleep(seconds)
        if deadline.cancelled_caught:
            raise self._failed(Failure(FailureKind.TIMED_OUT))

    def _failed(self, failure: Failure) -> errors.ProviderError:
        self.failed = True
        return self._provider.failure(failure)


def open_scripted(settings: ProviderSettings) -> ScriptedProvider:
    """Open the scripted provider that a configuration names.

    Raises:
        NotConfigured: the script is missing or not valid.
    """
    if settings.script is None:
        what = "a scripted provider needs a script"
        raise errors.NotConfigured(settings.name, what, "Name a JSON or TOML file with `script`")
    return ScriptedProvider(read_script(settings.name, settings.script), name=settings.name, paid=settings.paid)


_PLAIN_FAILURES: Final[dict[FailureKind, type[errors.ProviderError]]] = {
    FailureKind.NOT_CONFIGURED: errors.NotConfigured,
    FailureKind.BAD_REQUEST: errors.BadRequest,
    FailureKind.CONTEXT_TOO_LONG: errors.ContextTooLong,
    FailureKind.ACCESS_DENIED: errors.AccessDenied,
    FailureKind.UNAVAILABLE: errors.Unavailable,
    FailureKind.TIMED_OUT: errors.TimedOut,
    FailureKind.MALFORMED_ANSWER: errors.MalformedAnswer,
    FailureKind.SPEND_LIMIT_REACHED: errors.SpendLimitReached,
}


def _sent_text(request: ModelRequest) -> str:
    tools = "".join(
        json.dumps([tool.name, tool.description, dict(tool.parameters)], default=str) for tool in request.tools
    )
    return shown_text(request) + tools


def _tokens(text: str) -> int:
    return -(-len(text.encode()) // _BYTES_PER_TOKEN)


def _append_line(path: Path, line: str) -> None:
    """Add a line in one write, and have it on the disk. In the loop: a thread would let virtual time jump meanwhile."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
