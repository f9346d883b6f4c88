"""Steps on their way into the store: begun before anything outside is asked, ended with what it gave and cost.

Neighbours: `loop` writes through it, `store.commands.steps` are the commands.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, final

import trio

from vespera_agents.providers.exchange import Completion
from vespera_agents.store import CommandKey, Store, StoreError
from vespera_agents.store.commands import BeginStep, EndStep, StepPlace
from vespera_agents.store.steps import Attempt, StepKind, current_attempt
from vespera_agents.work.errors import Refusal

__all__ = ["Journal"]

RESULT_BYTES_MAX: Final = 16 * 1024
"""A result of more bytes lies in a file, so that the table stays one of small rows."""
_WRITE_SECONDS: Final = 1.0
"""How long a specialist that is being stopped tries to write down what was already paid for."""
_MICRO: Final = 1_000_000


@final
class Journal:
    """The steps of one attempt at one task."""

    def __init__(self, store: Store, key: Callable[[], CommandKey], task_id: str, by: str, holder: str) -> None:
        """Say whose steps.

        Args:
            store: where they are.
            key: names a new command.
            task_id: the task.
            by: who takes them, for the audit trail.
            holder: under whose name the task is claimed.
        """
        self._store = store
        self._key = key
        self._task_id = task_id
        self._by = by
        self._holder = holder
        self._attempt = 1

    async def read(self) -> Attempt:
        """Read how far the work is.

        Raises:
            ArtifactMissing: a large result is gone.
        """
        attempt = await self._store.read(current_attempt, self._task_id, self._store.artifacts)
        self._attempt = attempt.number
        return attempt

    def place(self, number: int) -> StepPlace:
        """Name a step of this attempt."""
        return StepPlace(self._task_id, self._attempt, number)

    async def begin(
        self, place: StepPlace, kind: StepKind, intent: Mapping[str, object], notes: Sequence[tuple[str, str]] = ()
    ) -> int:
        """Write down what is about to be done; gives how often it was begun before.

        Raises:
            Conflict: the task is no longer ours.
        """
        command = BeginStep(self._by, place, self._holder, kind, intent, tuple(notes))
        return (await self._store.execute(command, self._key()))["repeats"]

    async def end(
        self,
        place: StepPlace,
        result: Mapping[str, object],
        *,
        answer: Completion | None = None,
        detail: str = "",
        notes: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Write down what came of it.

        Cancelled: it is still written, within a moment, for it may have been paid for.
        """
        data = json.dumps(dict(result)).encode()
        large = len(data) > RESULT_BYTES_MAX
        key = self._key()

        async def write() -> None:
            file = await self._store.artifacts.save(data) if large else None
            kept = None if large else result
            command = EndStep(self._by, place, kept, file, detail=detail, notes=tuple(notes))
            if answer is not None:
                command = replace(
                    command,
                    provider=answer.provider,
                    model=answer.model,
                    input_tokens=answer.usage.input_tokens,
                    output_tokens=answer.usage.output_tokens,
                    cost_micro_usd=None if answer.cost_usd is None else round(answer.cost_usd * _MICRO),
                )
            await self._store.execute(command, key)

        try:
            await write()
        except trio.Cancelled:
            with trio.move_on_after(_WRITE_SECONDS, shield=True), contextlib.suppress(StoreError, Refusal):
                # The same key: what was written already is not written twice.
                await write()
            raise
