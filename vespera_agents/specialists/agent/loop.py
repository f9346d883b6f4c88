"""The loop of a specialist that works by itself: think, use tools, be checked, revise, hand over.

Each turn decides from the recorded steps what is next, writes down what it is about to do, does it, and writes down
what came of it. So it can end at any moment, and whoever begins it again goes on at that step: what is recorded is paid
once; what was begun without an end is done once more and counted. Everything is limited: steps, revisions, repeats,
waits for a provider. Not here: what is next (`progress`), what the model is told (`requesting`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final, final

import trio

from vespera_agents.context.sections import Section
from vespera_agents.providers.errors import CircuitOpen, ContextTooLong, ProviderError, RateLimited
from vespera_agents.providers.exchange import Completion, Need
from vespera_agents.specialists.agent.desk import Desk
from vespera_agents.specialists.agent.handing_in import HandedOver
from vespera_agents.specialists.agent.handover import before_last_answer, make_note
from vespera_agents.specialists.agent.progress import (
    Check,
    Think,
    UseTool,
    WindUp,
    failed_gates,
    recorded,
    what_next,
)
from vespera_agents.specialists.agent.requesting import REQUEST_SECONDS, Asked, Context, gather, summary_request
from vespera_agents.specialists.agent.whole import WHOLE_SECONDS, answer_of, run_of, told_of, whole_task
from vespera_agents.specialists.outcomes import WorkOutcome
from vespera_agents.store import ArtifactMissing
from vespera_agents.store.commands import NewArtifact, StepPlace
from vespera_agents.store.steps import Step, StepKind
from vespera_agents.work.errors import Refusal
from vespera_agents.work.models import ArtifactKind, TaskStatus, TaskType

__all__ = ["work_through"]

REPEATS_MAX: Final = 8
"""How often a step is begun of which nothing gets recorded: it may be what ends the process each time."""
PROVIDER_TRIES: Final = 4
"""How often a request is made that no provider could answer, though another time one may."""
WAIT_SECONDS_MAX: Final = 60.0
"""The longest wait between two of them."""
_WAIT_SECONDS: Final = 2.0
TOOL_SECONDS: Final = 3_900.0
"""What a tool may take, asking another specialist among them; commands have a shorter limit of their own."""
_SHRINKS_MAX: Final = 3
_SHRINK: Final = 0.75
"""What is left of the context's limit when the model says that it is too long by its own count."""
_KINDS: Final[Mapping[TaskType, ArtifactKind]] = {
    TaskType.TESTING: ArtifactKind.TEST,
    TaskType.IMPLEMENTATION: ArtifactKind.CODE,
    TaskType.DOCUMENTATION: ArtifactKind.DOCUMENTATION,
    TaskType.RESEARCH: ArtifactKind.ANALYSIS,
}


async def work_through(desk: Desk) -> WorkOutcome:
    """Carry a task out as far as it goes; what came of it is for the caller to commit.

    Cancelled: what was paid for is still written down; the next one goes on after it.

    Raises:
        StoreError: the steps cannot be written or read now.
    """
    try:
        return await _Work(desk).run()
    except Refusal as refusal:
        # Somebody cancelled the task, deleted it or took it over: their word stands.
        return WorkOutcome(TaskStatus.PENDING, reason=str(refusal))


@final
class _Work:
    """One incarnation's work on a task."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._steps: list[Step] = []
        self._limit_tokens = desk.role.context_tokens_max

    async def run(self) -> WorkOutcome:
        desk = self._desk
        try:
            self._steps = recorded((await desk.journal.read()).steps)
        except ArtifactMissing as missing:
            # Without it nobody can go on after these steps; another attempt can begin.
            return self._failed(f"its steps cannot be read: {missing}", desk.role.steps_max + 1)
        while True:
            if not desk.goes_on():
                return WorkOutcome(TaskStatus.PENDING, reason="the server is about to stop")
            following = what_next(self._steps, gated=bool(desk.task.gates))
            if isinstance(following, WindUp):
                return await self._wind_up(following)
            if len(self._steps) >= desk.role.steps_max:
                return self._failed(f"it was not done within {desk.role.steps_max} steps")
            outcome = await self._take(following)
            if outcome is not None:
                return outcome

    async def _take(self, step: Think | UseTool | Check) -> WorkOutcome | None:
        match step:
            case Think():
                return await self._think()
            case UseTool():
                return await self._use(step)
            case Check():
                return await self._check()

    # Thinking -------------------------------------------------------------------------------------------------------

    async def _think(self) -> WorkOutcome | None:
        desk = self._desk
        for tries in range(1, _SHRINKS_MAX + 1):
            context = await gather(desk, self._steps, self._limit_tokens)
            if context.must_respawn:
                return await self._respawn(context)
            if context.must_compact:
                outcome = await self._compact(context)
                if outcome is not None:
                    return outcome
                context = await gather(desk, self._steps, self._limit_tokens)
            asked = await context.asked()
            desk.fills(asked.context_tokens)
            try:
                return await self._ask(asked)
            except ContextTooLong as error:
                if tries == _SHRINKS_MAX:
                    return self._stuck(error)
                # The model counts otherwise than we do.
                self._limit_tokens = int(self._limit_tokens * _SHRINK)
        raise AssertionError("the last try has returned")

    async def _ask(self, asked: Asked) -> WorkOutcome | None:
        desk = self._desk
        place = self._next_place()
        need = self._need(place, asked.context_tokens, tools=True)
        whole = desk.models.carries_out(need)
        intent: dict[str, object] = {"context_tokens": asked.context_tokens, "left_out": list(asked.left_out)}
        if whole:
            intent["run_id"] = run_of(place)
        desk.begins(PROVIDER_TRIES * ((WHOLE_SECONDS if whole else REQUEST_SECONDS) + WAIT_SECONDS_MAX))
        desk.say(f"step {place.number}: thinks, with {asked.context_tokens} tokens")
        repeats = await desk.journal.begin(place, StepKind.THINK, intent, asked.notes)
        if repeats > REPEATS_MAX:
            return self._poisoned(place, repeats)
        run: dict[str, object] = {}

        async def ask() -> Completion:
            if not whole:
                return await desk.models.complete(asked.request, need)
            begun = repeats > 0 or any("run_id" in step.intent for step in self._steps)
            given = whole_task(desk, asked.request.messages[0].text, place, begun=begun)
            carried = await desk.models.carry_out(given, need)
            run.update(told_of(carried))
            return answer_of(carried)

        answer = await self._answered(ask)
        if isinstance(answer, WorkOutcome):
            return answer
        result: dict[str, object] = {
            "text": answer.text,
            "finish": answer.finish.value,
            "calls": [{"id": one.id, "name": one.name, "arguments": dict(one.arguments)} for one in answer.calls],
            "why": answer.why,
            **({"run": run} if run else {}),
        }
        await self._end(place, StepKind.THINK, intent, result, repeats, answer)
        return None

    async def _answered(self, ask: Callable[[], Awaitable[Completion]]) -> Completion | WorkOutcome:
        """Ask, again and again while that may help; gives what to tell where it does not."""
        wait_seconds = _WAIT_SECONDS
        for tries in range(1, PROVIDER_TRIES + 1):
            try:
                return await ask()
            except ContextTooLong:
                raise
            except ProviderError as error:
                if tries == PROVIDER_TRIES or not (error.retryable or isinstance(error, CircuitOpen)):
                    return self._stuck(error)
                told = error.retry_after_seconds if isinstance(error, (RateLimited, CircuitOpen)) else None
                self._desk.say(f"waits for a provider: {error.what}")
                await trio.sleep(min(max(wait_seconds, told or 0.0), WAIT_SECONDS_MAX))
                wait_seconds *= 2
        raise AssertionError("the last try has returned")

    def _need(self, place: StepPlace, context_tokens: int, *, tools: bool) -> Need:
        desk = self._desk
        return Need(
            # The same when the step is done once more: what is set aside for it is set aside once.
            f"{place.task_id}/{place.attempt}/{place.number}",
            session_id=desk.task.session_id,
            task_id=desk.task.id,
            role=desk.role.name,
            model=desk.role.model,
            context_tokens=context_tokens,
            tools=tools,
            complexity=desk.task.complexity.value,
        )

    async def _compact(self, context: Context) -> WorkOutcome | None:
        """Make the context smaller and write down how, so that it is done once."""
        desk, place = self._desk, self._next_place()
        desk.fills(context.context_tokens)
        desk.begins(REQUEST_SECONDS)
        desk.say(f"step {place.number}: makes its context smaller")
        intent = {"context_tokens": context.context_tokens}
        repeats = await desk.journal.begin(place, StepKind.COMPACTION, intent)
        if repeats > REPEATS_MAX:
            return self._poisoned(place, repeats)
        answers: list[Completion] = []

        async def summarize(parts: Sequence[Section], tokens_max: int) -> str | None:
            request = summary_request(parts, tokens_max)
            try:
                answers.append(
                    await desk.models.complete(request, self._need(place, context.context_tokens, tools=False))
                )
            except ProviderError:
                # Then its beginnings must do.
                return None
            return answers[-1].text

        made = await context.compact(summarize, desk.offload)
        done = made.compaction
        notes = [
            (f"context_{one.how}", f"{one.name}: {one.tokens_before} -> {one.tokens_after} tokens") for one in done.done
        ]
        result = {
            "parts": made.kept,
            "tokens_before": done.tokens_before,
            "tokens_after": done.tokens_after,
            "reclaimed_tokens": done.reclaimed_tokens,
        }
        desk.figures.compacted(desk.role.name, done.reclaimed_tokens)
        await self._end(place, StepKind.COMPACTION, intent, result, repeats, answers[0] if answers else None, notes)
        return None

    async def _respawn(self, context: Context) -> WorkOutcome:
        """Write the hand-over note, and ask for a fresh incarnation that starts from it."""
        desk, place = self._desk, self._next_place()
        desk.fills(context.context_tokens)
        note = make_note(before_last_answer(self._steps))
        notes = [("respawn", f"the context is full ({context.context_tokens} tokens)")]
        intent = {"context_tokens": context.context_tokens}
        repeats = await desk.journal.begin(place, StepKind.NOTE, intent, notes)
        await self._end(place, StepKind.NOTE, intent, note.kept(), repeats)
        fresh = await gather(desk, self._steps, self._limit_tokens)
        desk.figures.respawned(desk.role.name, max(0, context.context_tokens - fresh.estimated_tokens))
        return WorkOutcome(TaskStatus.PENDING, reason="its context was full", respawn=True)

    # Acting ---------------------------------------------------------------------------------------------------------

    async def _use(self, step: UseTool) -> WorkOutcome | None:
        desk, call, place = self._desk, step.call, self._next_place()
        intent = {"name": call.name, "arguments": dict(call.arguments), "call_id": call.id}
        desk.begins(TOOL_SECONDS)
        desk.say(f"step {place.number}: {call.name}")
        repeats = await desk.journal.begin(place, StepKind.TOOL, intent)
        if repeats > REPEATS_MAX:
            return self._poisoned(place, repeats)
        answer = await desk.tools.call(call, place, again=repeats > 0)
        result = {"text": answer.text, "is_error": answer.is_error}
        await self._end(place, StepKind.TOOL, intent, result, repeats)
        return None

    async def _check(self) -> WorkOutcome | None:
        desk, place = self._desk, self._next_place()
        desk.begins(sum(gate.timeout_seconds for gate in desk.task.gates) + TOOL_SECONDS)
        desk.say(f"step {place.number}: the gates")
        repeats = await desk.journal.begin(place, StepKind.GATES, {})
        if repeats > REPEATS_MAX:
            return self._poisoned(place, repeats)
        report = await desk.check()
        if report.called_off:
            return WorkOutcome(TaskStatus.PENDING, reason="called off")
        result = {"failure": report.failure, "artifacts": [asdict(one) for one in report.artifacts]}
        await self._end(place, StepKind.GATES, {}, result, repeats)
        refused = failed_gates(self._steps)
        if report.failure is not None and refused > desk.role.revisions_max:
            revised = f" after {desk.role.revisions_max} revisions" if desk.role.revisions_max else ""
            return self._failed(f"{report.failure}{revised}", artifacts=report.artifacts)
        return None

    async def _wind_up(self, step: WindUp) -> WorkOutcome:
        """Make durable what was handed in, and say what the task becomes."""
        desk, work = self._desk, step.work
        desk.say("hands over")
        kind = _KINDS.get(desk.task.task_type, ArtifactKind.GENERAL)
        artifacts: list[NewArtifact] = []
        if work.detailed_work.strip():
            made = await desk.keep(work.detailed_work.encode(), f"work on {desk.task.title}")
            artifacts.append(NewArtifact(kind, made.name, made.mime_type, made.size, made.sha256))
        artifacts += await desk.changes()
        report = {} if step.gates is None else step.gates.result or {}
        gates: list[dict[str, Any]] = report.get("artifacts", [])
        artifacts += [replace(NewArtifact(**one), kind=ArtifactKind(one["kind"])) for one in gates]
        return WorkOutcome(
            _STATUS[work.next_action],
            reason=_reason(work),
            summary=work.summary or None,
            artifacts=tuple(artifacts),
            closes=self._next_place(),
        )

    # Ends -----------------------------------------------------------------------------------------------------------

    def _failed(self, reason: str, number: int | None = None, artifacts: Sequence[NewArtifact] = ()) -> WorkOutcome:
        """Give the attempt up: the next one begins anew."""
        place = self._next_place() if number is None else self._desk.journal.place(number)
        return WorkOutcome(TaskStatus.FAILED, reason=reason, artifacts=tuple(artifacts), closes=place)

    def _stuck(self, error: ProviderError) -> WorkOutcome:
        """Wait for the owner; when the task is released, it goes on at this very step."""
        return WorkOutcome(TaskStatus.BLOCKED, reason=f"no model could be asked: {error}")

    def _poisoned(self, place: StepPlace, repeats: int) -> WorkOutcome:
        reason = f"{place} was begun {repeats + 1} times, and nothing came of it"
        # The step itself stays as it is; the end of the attempt stands behind it.
        return self._failed(reason, place.number + 1)

    def _next_place(self) -> StepPlace:
        return self._desk.journal.place(len(self._steps) + 1)

    async def _end(
        self,
        place: StepPlace,
        kind: StepKind,
        intent: Mapping[str, object],
        result: Mapping[str, object],
        repeats: int,
        answer: Completion | None = None,
        notes: Sequence[tuple[str, str]] = (),
    ) -> None:
        detail = f"step {place.number}"
        if answer is not None:
            usage = answer.usage
            cost = "" if answer.cost_usd is None else f", ${answer.cost_usd:.6f}"
            detail += f": {answer.provider}/{answer.model}, {usage.input_tokens} + {usage.output_tokens} tokens{cost}"
        await self._desk.journal.end(place, result, answer=answer, detail=detail, notes=notes)
        provider, model = (None, None) if answer is None else (answer.provider, answer.model)
        self._steps.append(Step(place.number, kind, intent, result, repeats, provider, model, 0.0, 0.0))


_STATUS: Final = {
    "complete": TaskStatus.COMPLETED,
    "needs_revision": TaskStatus.REVIEW,
    "blocked": TaskStatus.BLOCKED,
}


def _reason(work: HandedOver) -> str | None:
    return None if work.next_action == "complete" else work.reason or work.summary or "no reason was given"
