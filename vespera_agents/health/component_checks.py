"""A component's own check: whoever runs a part of the tree says how to ask it, and the health of the server shows it.

    checks = health.model.checks
    await runtime.doors.start_child(checks.checked(ChildSpec("cache", run_cache), how_the_cache_is))

A check is foreign code: one that raises, is silent for too long or goes on after it was told to stop is a reason by
itself, and harms nobody else. Neighbours: `model` asks at each examination.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Final, cast, final

import trio

from supervisors import ChildSpec
from vespera_agents.health.checks import Grade, Reason

__all__ = ["CHECKS_MAX", "DEADLINE_SECONDS_MAX", "Check", "ComponentChecks", "Found"]

CHECKS_MAX: Final = 64
DEADLINE_SECONDS_MAX: Final = 10.0
"""The longest that a check may take: whoever asks for the health waits for it."""
_SENTENCE_MAX: Final = 300
_GRACE_SECONDS: Final = 0.1
"""How long a check that was told to stop may take for that."""

log = logging.getLogger("vespera_agents.health")

Found = tuple[str, str] | None
"""What a check says: a `Grade`, or its word, and a sentence; None is well."""
Check = Callable[[], Found | Awaitable[Found]]
"""An async function runs in the event loop and must not block it; any other runs in a thread."""


@final
class ComponentChecks:
    """The checks that components have declared."""

    def __init__(self) -> None:
        """Have none."""
        self._checks: dict[str, _Declared] = {}

    @contextmanager
    def attached(self, component: str, check: Check, *, deadline_seconds: float = 1.0) -> Generator[None]:
        """Have a check for as long as the block lasts, which is best as long as the component lives.

        Args:
            component: its name, as reasons shall name it; of two with one name the later one counts.
            check: says how it is.
            deadline_seconds: how long that may take, at most `DEADLINE_SECONDS_MAX`.

        Raises:
            ValueError: the name is empty, there are too many, or the deadline makes no sense.
        """
        remove = self.attach(component, check, deadline_seconds=deadline_seconds)
        try:
            yield
        finally:
            remove()

    def checked(self, spec: ChildSpec, check: Check, *, deadline_seconds: float = 1.0) -> ChildSpec:
        """Give the spec of the same child or subtree, which has a check under its id while it lives."""
        run = partial(self._run_checked, spec, check, deadline_seconds)
        return replace(spec, start=run, args=())

    async def _run_checked(
        self, spec: ChildSpec, check: Check, deadline_seconds: float, *, task_status: trio.TaskStatus[object]
    ) -> None:
        with self.attached(spec.id, check, deadline_seconds=deadline_seconds):
            await spec.start(*spec.args, task_status=task_status)

    def attach(self, component: str, check: Check, *, deadline_seconds: float = 1.0) -> Callable[[], None]:
        """Have a check from now on, and give what removes it; for the rest see `attached`."""
        if not component.strip():
            raise ValueError("a component with a check has a name. Give it one.")
        if not 0.0 < deadline_seconds <= DEADLINE_SECONDS_MAX:
            raise ValueError(f"deadline_seconds is > 0 and <= {DEADLINE_SECONDS_MAX:g}, not {deadline_seconds!r}.")
        if len(self._checks) >= CHECKS_MAX and component not in self._checks:
            raise ValueError(f"there are {CHECKS_MAX} checks already. Let one check look at several components.")
        declared = self._checks[component] = _Declared(component, check, deadline_seconds)

        def remove() -> None:
            if self._checks.get(component) is declared:
                del self._checks[component]

        return remove

    @property
    def components(self) -> tuple[str, ...]:
        """Who has one."""
        return tuple(self._checks)

    async def ask(self, nursery: trio.Nursery) -> tuple[Reason, ...]:
        """Ask all of them at once, and give what is not well.

        Args:
            nursery: where one that does not stop goes on.
        """
        asked = list(self._checks.values())
        async with trio.open_nursery() as asking:
            for one in asked:
                asking.start_soon(one.ask, nursery)
        return tuple(one.reason for one in asked if one.reason is not None)


@final
class _Declared:
    """One check, and what it said last."""

    __slots__ = ("_asked_at", "_check", "_component", "_deadline_seconds", "_goes_on", "_limiter", "reason")

    def __init__(self, component: str, check: Check, deadline_seconds: float) -> None:
        self._component = component
        self._check = check
        self._deadline_seconds = deadline_seconds
        # A thread of its own: one that hangs must not keep others waiting.
        self._limiter = trio.CapacityLimiter(1)
        self._asked_at = 0.0
        """When it was begun last."""
        self._goes_on = False
        self.reason: Reason | None = None

    async def ask(self, nursery: trio.Nursery) -> None:
        """Have `reason` say how the component is; in time, whatever the check does."""
        # A thread that is waited for no longer still has its place.
        if self._goes_on or self._limiter.borrowed_tokens:
            waited = trio.current_time() - self._asked_at
            self._note(Grade.DEGRADED, f"its check has not ended, {waited:.0f} s after it began")
            return
        ended = trio.Event()
        self._asked_at, self._goes_on = trio.current_time(), True
        nursery.start_soon(self._run, ended, name=f"check of {self._component}")
        with trio.move_on_after(self._deadline_seconds + _GRACE_SECONDS) as patience:
            await ended.wait()
        if patience.cancelled_caught:
            self._silent()

    async def _run(self, ended: trio.Event) -> None:
        try:
            with trio.move_on_after(self._deadline_seconds) as patience:
                found = await self._found()
                if found is None:
                    self.reason = None
                else:
                    word, sentence = found
                    self._note(Grade(word), sentence)
            if patience.cancelled_caught:
                self._silent()
        except Exception as error:  # the boundary: a check is foreign code, and what it raises is what it says
            log.exception("the check of %s raised", self._component)
            self._note(Grade.DEGRADED, f"its check raised {type(error).__name__}; the log tells more")
        finally:
            self._goes_on = False
            ended.set()

    async def _found(self) -> Found:
        if inspect.iscoroutinefunction(self._check):
            return await cast("Awaitable[Found]", self._check())
        # In a tuple, for a partial of an async function, or a lambda that calls one, gives something to wait for, which
        # trio lets no thread give.
        (found,) = await trio.to_thread.run_sync(
            lambda: (self._check(),), abandon_on_cancel=True, limiter=self._limiter
        )
        return await found if inspect.isawaitable(found) else found

    def _silent(self) -> None:
        self._note(Grade.DEGRADED, f"its check said nothing within {self._deadline_seconds:g} s")

    def _note(self, grade: Grade, sentence: str) -> None:
        if grade is Grade.HEALTHY:
            self.reason = None
        else:
            self.reason = Reason(grade, f"component {self._component}", str(sentence)[:_SENTENCE_MAX])
