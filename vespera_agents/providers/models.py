"""`Models`: what everybody asks who needs a model.

    completion = await models.complete(request, Need(purpose=f"{task_id}/step/{number}", session_id=..., tools=True))

It chooses the provider, sets aside what the call may cost, keeps to limits, asks, waits and asks again where that may
help, goes on to another provider where it does not, and counts. Not the choice itself (`choosing`), not the wire.
Neighbours: `asking` keeps one attempt in order, `answering` one stream, `standing` is what is known of each provider,
`specialists.models` makes one for a workspace.
"""

from __future__ import annotations

import random
import threading
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, cast, final

import trio

from supervisors.backoff import Backoff
from vespera_agents.providers.answering import Answer
from vespera_agents.providers.asking import GRACE_SECONDS, Attempt, Wish
from vespera_agents.providers.carrying import carry
from vespera_agents.providers.choosing import Candidate, Explanation, explained, needs_by_name
from vespera_agents.providers.circuit import Circuit
from vespera_agents.providers.configuration import ModelsSettings
from vespera_agents.providers.errors import CircuitOpen, ProviderError, RateLimited, TimedOut
from vespera_agents.providers.exchange import Completion, CompletionStream, ModelRequest, Need, Provider
from vespera_agents.providers.figures import ModelsFigures
from vespera_agents.providers.prices import needs_table, read_table, table_is_read
from vespera_agents.providers.spending import Ledger
from vespera_agents.providers.standing import Standing, StandingStatistics
from vespera_agents.providers.whole_tasks import ActsAlone, Carried, WholeTask

__all__ = ["Models", "ModelsStatistics"]

_LOOK_SECONDS: Final = 1.0
"""How often somebody who waits for a provider looks again: what it waits for may end sooner than it said."""
_CONCURRENCY: Final = 8
"""Requests at once to a provider that was added, and not configured."""


@final
@dataclass(frozen=True, slots=True)
class ModelsStatistics:
    """All providers at one moment."""

    providers: tuple[StandingStatistics, ...]
    requests: int
    """Attempts that have ended, whatever came of them."""
    cost_usd: float
    """Of what has a known price, since this process began."""
    unpriced: int
    """Answers whose price is not known."""


@final
class Models:
    """All models that can be asked."""

    def __init__(
        self,
        providers: Iterable[Provider] = (),
        settings: ModelsSettings | None = None,
        *,
        ledger: Ledger | None = None,
        dice: random.Random | None = None,
        figures: ModelsFigures | None = None,
    ) -> None:
        """Have these providers; `add` brings more. In the event loop.

        Args:
            providers: in the order of the configuration, which decides between equals.
            settings: how they are used together.
            ledger: who keeps the books; without one nothing is limited.
            dice: for the jitter of pauses.
            figures: of those that were there before these, to be counted on.
        """
        self.settings: Final = settings or ModelsSettings()
        self.figures: Final = figures or ModelsFigures()
        """What requests came to, in plain numbers."""
        self._ledger = ledger
        self._dice = dice or random.Random()  # noqa: S311 - pauses are no secret
        # The clock itself, because a scrape reads circuits in a thread that is not trio's.
        self._clock = trio.lowlevel.current_clock().current_time
        self._configured = {one.name: one for one in self.settings.providers}
        self._needs_table = any(one.price is None and needs_table(one.kind) for one in self.settings.providers)
        if self._needs_table and not table_is_read():
            # Half a second in the event loop would be a stall, and choosing needs prices at once.
            threading.Thread(target=read_table, name="vespera-prices", daemon=True).start()
        retry = self.settings.retry
        self._backoff = Backoff(retry.min_seconds, retry.max_seconds, retry.jitter)
        self._standings: dict[str, Standing] = {}
        for provider in providers:
            self.add(provider)

    # ---- who there is

    def add(self, provider: Provider) -> None:
        """Have one more provider, or another one in the place of that with its name."""
        configured = self._configured.get(provider.name)
        self._standings[provider.name] = Standing.of(
            provider,
            self.settings.breaker,
            self._clock,
            concurrency=_CONCURRENCY if configured is None else configured.concurrency,
            strength=None if configured is None else configured.strength,
        )
        self.figures.declare(provider.name, provider.models)

    def remove(self, name: str) -> None:
        """Have a provider no longer; what it is asked now goes on, and whoever added it closes it."""
        self._standings.pop(name, None)

    async def aclose(self) -> None:
        """Let go of all connections, once nobody asks any more."""
        standings, self._standings = self._standings, {}
        for standing in standings.values():
            await standing.provider.aclose()

    @property
    def names(self) -> tuple[str, ...]:
        """The providers, in their order."""
        return tuple(self._standings)

    @property
    def circuits(self) -> dict[str, Circuit]:
        """The circuit of each provider; in any thread."""
        return {name: standing.circuit.state for name, standing in tuple(self._standings.items())}

    def explain(self, need: Need, *, output_tokens: int = 4_096) -> Explanation:
        """Say who would be asked for a need, in which order and why, and why others would not.

        Args:
            need: what for.
            output_tokens: how long the answer may be.

        Raises:
            ValueError: the need names a policy that there is not.
        """
        facts = [
            fact
            for standing in self._standings.values()
            for fact in standing.facts(_wanted(standing, need), need.session_id)
        ]
        settings = self.settings
        return explained(
            need,
            facts,
            settings.policy,
            output_tokens=output_tokens,
            fallback=settings.fallback,
            limited=self._ledger is not None and settings.limited,
        )

    def available(self, need: Need) -> bool:
        """Say whether somebody can do what is needed, now or when a circuit or a pause that it asked for is over."""
        choice = self.explain(need)
        return bool(choice.order or choice.waiting)

    # ---- asking

    async def complete(self, request: ModelRequest, need: Need) -> Completion:
        """Have a request answered by whoever is best for it; `why` in the answer says why him.

        `request.timeout_seconds` is for everything: waiting for room, all attempts and the pauses between them. A
        provider that fails is asked again where that may help, then the next one is. `request.model` may stay empty:
        the one that was chosen is put in.

        Cancelled: the connection is closed at once; what the call may have cost stays set aside.

        Args:
            request: what is asked.
            need: what for: what the choice is made by, and under which purpose it is reserved.

        Raises:
            SpendLimitReached: nobody can be asked within what may be spent.
            NotConfigured: nobody can do it; says why not each.
            CircuitOpen: everybody who could is left alone, for longer than there is time.
            ProviderError: what it failed with in the end; notes tell of the others that were asked.
            And what the ledger raises when the books cannot be kept.
        """
        wish = self._wish(request, need)
        while True:
            candidate = await self._choose(wish)
            try:
                return await self._complete_once(wish, candidate)
            except ProviderError as error:
                await self._after(wish, candidate, error)

    @asynccontextmanager
    async def stream(self, request: ModelRequest, need: Need) -> AsyncGenerator[CompletionStream]:
        """Have a request answered bit by bit, as `complete` otherwise.

        Until the first chunk came another attempt or provider may take over; after it a failure is raised where the
        chunks are read. Left before its end, the answer is charged by an estimate of what had come.
        """
        wish = self._wish(request, need)
        async with AsyncExitStack() as stack:
            answer = await self._opened(wish, stack)
            yield answer
            await answer.settled()
        if answer.cut_off:
            raise wish.timed_out(f"its answer did not end within {request.timeout_seconds:g} s")

    def carries_out(self, need: Need) -> bool:
        """Say whether a need names a provider that carries out whole tasks."""
        return any(
            needs_by_name(need, fact.provider, fact.model) and fact.capabilities.acts_alone
            for standing in self._standings.values()
            for fact in standing.facts(_wanted(standing, need), need.session_id)
        )

    async def carry_out(self, whole: WholeTask, need: Need) -> Carried:
        """Have a whole task carried out, once, by the provider that the need names: see `carries_out`.

        Raises:
            SpendLimitReached: what it may cost is more than may be spent.
            ProviderError: it could not be begun, broke off, or took too long; begun again, it goes on.
        """
        request = ModelRequest(whole.model, whole.system, (), timeout_seconds=whole.timeout_seconds)
        wish = self._wish(request, replace(need, tools=False))
        candidate = await self._choose(wish)
        standing = self._standings[candidate.facts.provider]
        wish.last = standing.name
        usd_max = cast("ActsAlone", standing.provider).most_usd(whole)
        async with Attempt(wish, candidate, standing, self.figures, self._ledger, usd_max) as attempt:
            return await carry(attempt, whole)

    def _wish(self, request: ModelRequest, need: Need) -> Wish:
        if request.model and need.model is None:
            need = need.naming(request.model)
        return Wish(request, need, self._clock() + request.timeout_seconds, self._clock)

    async def _complete_once(self, wish: Wish, candidate: Candidate) -> Completion:
        async with self._attempt(wish, candidate) as attempt:
            try:
                if attempt.standing.punctual:
                    return await attempt.answered(await attempt.provider.complete(attempt.request))
                with trio.move_on_at(wish.deadline + GRACE_SECONDS):
                    return await attempt.answered(await attempt.provider.complete(attempt.request))
                raise wish.timed_out(f"it did not answer within {wish.request.timeout_seconds:g} s")
            except ProviderError as error:
                await attempt.failed(error)
                raise

    async def _opened(self, wish: Wish, outer: AsyncExitStack) -> Answer:
        """Open a stream and have its first chunk; what has to be closed after it is put on the stack."""
        while True:
            candidate = await self._choose(wish)
            try:
                async with AsyncExitStack() as stack:
                    attempt = await stack.enter_async_context(self._attempt(wish, candidate))
                    guard = stack.enter_context(trio.move_on_at(wish.deadline + GRACE_SECONDS))
                    answer = Answer(attempt, guard)
                    await answer.open(stack)
                    outer.push_async_exit(stack.pop_all())
                    return answer
                raise wish.timed_out(f"it did not begin to answer within {wish.request.timeout_seconds:g} s")
            except ProviderError as error:
                await self._after(wish, candidate, error)

    def _attempt(self, wish: Wish, candidate: Candidate) -> Attempt:
        standing = self._standings[candidate.facts.provider]
        if wish.last is not None and wish.last != standing.name:
            self.figures.fell_back(wish.last, standing.name)
        wish.last = standing.name
        return Attempt(wish, candidate, standing, self.figures, self._ledger)

    async def _choose(self, wish: Wish) -> Candidate:
        """Give who is to be asked now, waiting for one where that is worth it.

        Raises:
            ProviderError: nobody is left who could be asked in time.
        """
        if self._needs_table and not table_is_read():
            await trio.to_thread.run_sync(read_table)
        while True:
            choice = self.explain(wish.open_need, output_tokens=wish.request.output_tokens_max)
            for candidate in choice.order:
                if not wish.again or candidate.facts.provider == wish.last:
                    wish.why = self._why(wish, choice, candidate)
                    return candidate
            if choice.order:
                # He who was to be asked again is left alone by now.
                wish.again = False
                continue
            if not choice.waiting or choice.waiting[0].facts.wait_seconds > wish.left_seconds:
                raise wish.failure(choice)
            await trio.sleep(min(choice.waiting[0].facts.wait_seconds, _LOOK_SECONDS))

    async def _after(self, wish: Wish, candidate: Candidate, error: ProviderError) -> None:
        """Note a failure, and decide whether the same provider is asked again; wait if so."""
        name, retry = candidate.facts.provider, self.settings.retry
        wish.again = False
        if isinstance(error, CircuitOpen):
            # It opened while this one waited for its place: nothing was asked.
            return
        wish.errors[name] = error
        wish.attempts[name] = attempts = wish.attempts.get(name, 0) + 1
        pause = self._backoff.delay_seconds(attempts - 1, self._dice.random())
        if isinstance(error, RateLimited):
            # All others keep away as well, whoever they ask for.
            pause = max(pause, error.retry_after_seconds or 0.0)
            standing = self._standings.get(name)
            if standing is not None:
                standing.rest(pause)
        if wish.left_seconds <= 0.0:
            raise error if isinstance(error, TimedOut) else wish.timed_out(error.what)
        if not error.retryable or attempts >= retry.attempts_max or pause > wish.left_seconds:
            wish.given_up.add(name)
        elif pause <= retry.patience_seconds or not self._others(wish, name):
            wish.again = True
            await trio.sleep(pause)

    def _others(self, wish: Wish, name: str) -> bool:
        """Say whether somebody else can be asked now."""
        order = self.explain(wish.open_need, output_tokens=wish.request.output_tokens_max).order
        return any(one.facts.provider != name for one in order)

    @staticmethod
    def _why(wish: Wish, choice: Explanation, candidate: Candidate) -> str:
        why = choice.why if candidate is choice.order[0] else f"{candidate.name}: asked once more"
        if not wish.errors:
            return why
        before = [f"{name} failed before ({type(error).__name__})" for name, error in wish.errors.items()]
        return "; ".join((why, *before))

    # ---- shown

    def statistics(self) -> ModelsStatistics:
        """Give its numbers as they are now."""
        figures = self.figures.by_model().values()
        return ModelsStatistics(
            providers=tuple(standing.statistics() for standing in tuple(self._standings.values())),
            requests=sum(sum(one.outcomes.values()) for one in figures),
            cost_usd=sum(one.cost_usd for one in figures),
            unpriced=sum(one.unpriced for one in figures),
        )

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        now = self.statistics()
        shut = [one.provider for one in now.providers if one.circuit is not Circuit.CLOSED]
        detail: dict[str, str | int | float] = {
            "providers": len(now.providers),
            "requests": now.requests,
            "cost_usd": round(now.cost_usd, 4),
        }
        return {**detail, "open_circuits": ", ".join(shut)} if shut else detail


def _wanted(standing: Standing, need: Need) -> list[str]:
    """Give the model that a need names, where it may be this provider's and is none of those that it lists."""
    if need.model is None:
        return []
    provider, _, model = need.model.partition("/")
    if provider == standing.name:
        return [model] if model else []
    return [] if standing.provider.models else [need.model]
