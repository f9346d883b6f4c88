"""One wish for an answer on its way, and each attempt at it: what has to be kept in order whatever happens.

An attempt takes a place, has its cost set aside, enters the circuit, and leaves all of them in order: answered, failed,
or called off. What is not known to be free stays set aside. Neighbours: `models` decides who is asked, and how often.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Final, final

import trio

from vespera_agents.providers.choosing import Candidate, Explanation
from vespera_agents.providers.errors import (
    AccessDenied,
    CircuitOpen,
    MalformedAnswer,
    NotConfigured,
    ProviderError,
    RateLimited,
    SpendLimitReached,
    TimedOut,
    Unavailable,
)
from vespera_agents.providers.exchange import Completion, ModelRequest, Need, Provider, Usage
from vespera_agents.providers.figures import ModelOutcome, ModelsFigures
from vespera_agents.providers.prices import cost_usd
from vespera_agents.providers.spending import Charge, Ledger, input_tokens_bound, most_usd
from vespera_agents.providers.standing import Standing

__all__ = ["GRACE_SECONDS", "Attempt", "Wish"]

GRACE_SECONDS: Final = 1.0
"""How much longer than its time a provider may take until it is cut off."""
SETTLE_SECONDS: Final = 5.0
"""How long an answer waits for its cost to be written down; after that its reservation stays."""
_OWN_FAULTS: Final = (AccessDenied, Unavailable, TimedOut, MalformedAnswer)
"""What speaks against a provider; with everything else it works."""

log = logging.getLogger("vespera_agents.models")


@final
@dataclass(slots=True)
class Wish:
    """A request on its way to an answer."""

    request: ModelRequest
    need: Need
    deadline: float
    """In trio's time."""
    clock: Callable[[], float]
    attempts: dict[str, int] = field(default_factory=dict[str, int])
    """How often each provider was asked."""
    errors: dict[str, ProviderError] = field(default_factory=dict[str, ProviderError])
    """What each failed with last, in the order of their first failures."""
    given_up: set[str] = field(default_factory=set[str])
    """Providers that are not asked again."""
    last: str | None = None
    """Who was asked last."""
    again: bool = False
    """Whether he is to be asked once more before others are."""
    why: str = ""
    """Why the one who is asked now is."""

    @property
    def left_seconds(self) -> float:
        """How much time there is."""
        return self.deadline - self.clock()

    @property
    def open_need(self) -> Need:
        """What is needed, without those who were given up."""
        if not self.given_up:
            return self.need
        return replace(self.need, tried=(*self.need.tried, *sorted(self.given_up)))

    def timed_out(self, what: str) -> ProviderError:
        """Say that the time is over, and what had failed before."""
        return self._noted(TimedOut(self.last or "", what, "Give it more time, or look at `vespera providers list`"))

    def failure(self, choice: Explanation) -> ProviderError:
        """Say what a wish failed with that nobody is left for: best what may be over later."""
        errors = list(self.errors.values())
        if errors:
            later = [error for error in errors if error.retryable]
            limits = [error for error in errors if isinstance(error, SpendLimitReached)]
            return self._noted((later or limits or errors)[0])
        if choice.waiting:
            first = choice.waiting[0].facts
            advice = f"Try again in {first.wait_seconds:.0f} s"
            return CircuitOpen(first.provider, first.waits_for, advice, first.wait_seconds)
        advice = "Set OLLAMA_HOST or a key such as OPENAI_API_KEY, or write [providers]; see docs/providers.md"
        return NotConfigured("", choice.why, advice)

    def _noted(self, error: ProviderError) -> ProviderError:
        for other in self.errors.values():
            if other is not error:
                error.add_note(f"before or after it: {type(other).__name__}: {other}")
        return error


@final
class Attempt:
    """One request to one provider."""

    def __init__(
        self,
        wish: Wish,
        candidate: Candidate,
        standing: Standing,
        figures: ModelsFigures,
        ledger: Ledger | None,
        usd_max: float | None = None,
    ) -> None:
        """Prepare it; `async with` takes what it needs and gives it back.

        Args:
            wish: what is asked.
            candidate: whom.
            standing: his.
            figures: where it is counted.
            ledger: who keeps the books.
            usd_max: what it can cost at most, where no price says that.
        """
        facts = candidate.facts
        self.wish = wish
        self.standing = standing
        self._facts = facts
        self._why = wish.why
        self._figures = figures
        self._ledger = ledger
        self._usd_max = usd_max
        self._counts = figures.of(standing.name, facts.model or wish.request.model)
        self._outcome: ModelOutcome | None = None
        self._number: int | None = None
        self._reserved = False
        self._came = False
        """Whether a part of the answer has."""
        self._begun = 0.0
        self.request: ModelRequest = wish.request
        """What is sent."""

    @property
    def provider(self) -> Provider:
        """Who is asked."""
        return self.standing.provider

    async def __aenter__(self) -> Attempt:
        """Take a place, set the cost aside, enter the circuit.

        Raises:
            TimedOut: no place came free in time.
            SpendLimitReached: the books do not allow it.
            CircuitOpen: it opened meanwhile.
        """
        standing, wish = self.standing, self.wish
        if not standing.places.take_nowait():
            with trio.move_on_at(wish.deadline) as waiting:
                await standing.places.take(wish.need.session_id or "")
            if waiting.cancelled_caught:
                raise wish.timed_out(f"no place came free within {wish.request.timeout_seconds:g} s")
        ready = False
        try:
            self._number = standing.circuit.enter()
            if self._number is None:
                wait = standing.wait_seconds
                raise CircuitOpen(standing.name, "its circuit is open", f"Try again in {wait:.0f} s", wait)
            self.request = self._fitted()
            if self._ledger is not None:
                await self._reserve(self._ledger)
            ready = True
        finally:
            if not ready:
                self._leave()
        self._figures.in_flight[standing.name] = self._figures.in_flight.get(standing.name, 0) + 1
        self._begun = wish.clock()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back what was taken, and count what came of it."""
        self._figures.in_flight[self.standing.name] -= 1
        if self._outcome is None:
            # Neither answered nor failed by itself: somebody called it off, or there is a mistake in the program.
            self._outcome = ModelOutcome.FAILED if isinstance(error, Exception) else ModelOutcome.CANCELLED
        self._counts.outcomes[self._outcome] += 1
        self._counts.duration.observe(self.wish.clock() - self._begun)
        self._leave()

    def _leave(self) -> None:
        if self._number is not None:
            # Told already what came of it, the circuit has nothing more to hear.
            self.standing.circuit.gave_up(self._number)
        self.standing.places.give_back()

    def _fitted(self) -> ModelRequest:
        """Fit the request to the model that was chosen, and to the time that is left."""
        request, need, facts = self.wish.request, self.wish.need, self._facts
        # `replace` takes three times as long.
        return ModelRequest(
            facts.model or request.model,
            request.system,
            request.messages,
            request.tools,
            min(request.output_tokens_max, facts.capabilities.output_tokens_max),
            request.temperature,
            max(0.001, self.wish.left_seconds),
            need.purpose,
            need.session_id,
        )

    async def _reserve(self, ledger: Ledger) -> None:
        """Have set aside what it can cost at most; what costs nothing, or nobody knows how much, has nothing."""
        price, need, usd_max = self._facts.price, self.wish.need, self._usd_max or 0.0
        if price is not None:
            input_tokens = input_tokens_bound(self.request, need.context_tokens, self._facts.factor)
            usd_max = most_usd(price, input_tokens, self.request.output_tokens_max)
        if usd_max > 0.0:
            await ledger.reserve(need.purpose, need.session_id, usd_max)
            self._reserved = True

    def first_chunk(self) -> None:
        """Note that the first part of an answer came."""
        self._came = True
        self._counts.first_chunk.observe(self.wish.clock() - self._begun)

    async def failed(self, error: ProviderError, *, begun: bool = False) -> None:
        """Note that it failed; what cost nothing for certain is given back.

        Args:
            error: how.
            begun: whether a part of the answer had come, which is paid for.
        """
        if self._outcome is not None:
            return
        limited = isinstance(error, RateLimited)
        timed_out = isinstance(error, TimedOut)
        self._outcome = (
            ModelOutcome.RATE_LIMITED if limited else ModelOutcome.TIMED_OUT if timed_out else ModelOutcome.FAILED
        )
        assert self._number is not None, "it failed after it was asked"
        self.standing.failed(self._number, self._facts.model, error.what, counts=isinstance(error, _OWN_FAULTS))
        if self._reserved and self._ledger is not None and not (begun or error.may_have_cost):
            with trio.CancelScope(shield=True, deadline=trio.current_time() + SETTLE_SECONDS):
                await self._ledger.release(self.wish.need.purpose)

    async def cost(self, usage: Usage, usd: float) -> None:
        """Have written down what it cost although it failed or was called off: that much is known, and no more."""
        facts, need = self._facts, self.wish.need
        self._counts.answered(usage, usd)
        if self._ledger is not None:
            charge = Charge(need.purpose, need.session_id, self.standing.name, facts.model, usage, usd)
            with trio.CancelScope(shield=True, deadline=trio.current_time() + SETTLE_SECONDS):
                await self._ledger.settle(charge)

    async def answered(self, found: Completion, *, whole: bool = True) -> Completion:
        """Note an answer, have its cost written down, and give it with what it cost and why it is from there.

        Args:
            found: the answer.
            whole: whether it came to its end; else whoever asked has left.
        """
        standing, need, facts = self.standing, self.wish.need, self._facts
        self._outcome = ModelOutcome.SUCCEEDED if whole else ModelOutcome.CANCELLED
        if not self._came:
            # What is asked for whole has one part.
            self.first_chunk()
        if whole:
            standing.answered(facts.model, self.wish.clock() - self._begun)
        usage, usd = found.usage, found.cost_usd
        if usd is None and facts.price is not None:
            usd = cost_usd(facts.price, usage)
        elif usd is None and facts.capabilities.local:
            usd = 0.0
        self._counts.answered(usage, usd)
        if need.context_tokens and not usage.estimated and usage.input_tokens:
            standing.factor.learn(need.context_tokens, usage.input_tokens)
        if self._ledger is not None and (self._reserved or usd is None or usd > 0.0):
            charge = Charge(need.purpose, need.session_id, standing.name, facts.model or found.model, usage, usd)
            # Somebody who leaves just now must not leave a paid answer unwritten.
            with trio.CancelScope(shield=True, deadline=trio.current_time() + SETTLE_SECONDS):
                await self._ledger.settle(charge)
        return Completion(standing.name, found.model, found.text, found.finish, usage, found.calls, usd, self._why)
