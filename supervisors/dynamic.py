"""The dynamic supervisor: many children of one template, each with arguments of its own (OTP: simple_one_for_one).

Its children have no order and no specs of their own: they stop at once and together, each within its own time, and
nothing is kept of one that has ended. Source: OTP `supervisor.erl`, simple_one_for_one; Elixir `dynamic_supervisor.ex`.
"""

from __future__ import annotations

import random
from functools import partial
from typing import Unpack, final

from supervisors.any_supervisor import AnySupervisor
from supervisors.calls import FlagChange
from supervisors.children import StartedChild
from supervisors.flags import Flags
from supervisors.listeners import Listener
from supervisors.specs import ChildSpec


@final
class DynamicSupervisor(AnySupervisor):
    """Starts, watches, restarts and stops children of one kind; each crash restarts that child alone.

    Args:
        template: what every child is; its `args` come first, those of start_child after them.
        name: what it is called in reports, errors and task names.
        max_children: how many it may have, those that are being restarted included; None is no limit.
        intensity: restarts allowed in `period_seconds`, for all children together; 0 allows none.
        period_seconds: length of the sliding window, > 0.
        listener: who is told of every event; a nested supervisor without one uses its root's.
        rng: where the jitter of backoffs comes from; a seeded one makes them repeatable. Nested ones use their root's.

    Raises:
        SpecError: a flag or the template makes no sense.
    """

    def __init__(
        self,
        template: ChildSpec,
        *,
        name: str,
        max_children: int | None,
        intensity: int = 3,
        period_seconds: float = 5.0,
        listener: Listener | None = None,
        rng: random.Random | None = None,
    ) -> None:
        flags = Flags(name, intensity=intensity, period_seconds=period_seconds, max_children=max_children)
        flags.check_child(template)
        super().__init__(flags, listener=listener, rng=rng, template=template)

    async def start_child(self, *args: object) -> StartedChild:
        """Start one more child; the answer has the id it is called by from now on.

        Raises:
            TooManyChildren: it has its max_children.
            StartFailed: it did not become ready; nothing is kept of it.
            SupervisorNotRunning: the supervisor has not started, or ended before it came to this call.
        """
        return await self._calls.start_new(partial(self._calls.add_dynamic, args))

    def start_child_nowait(self, *args: object) -> str:
        """Begin the life of one more child without waiting until it is ready; return the id it is called by.

        To be called inside the supervisor's event loop. While the supervisor is busy with something else the child is
        `starting`, and its life begins in its turn. A start that fails, is late or answers Ignore is reported and told
        to those who watch the child; nothing is kept of it.

        Raises:
            TooManyChildren: it has its max_children.
            SupervisorNotRunning: the supervisor has not started, or is ending.
        """
        return self._calls.start_dynamic_nowait(args)

    async def change(self, template: ChildSpec | None = None, **flags: Unpack[FlagChange]) -> None:
        """Take other flags and another template while it runs; for its children that counts from their next start.

        Raises:
            SpecError: something of it makes no sense; nothing was changed.
            SupervisorNotRunning: as for start_child.
        """
        self._calls.changed(None, template, flags)  # A word that no flag has must fail here, in the caller's task.
        await self._calls.carry_out(partial(self._calls.change, None, template, flags))
