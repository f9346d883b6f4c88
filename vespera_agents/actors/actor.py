"""`Actor`: the class to derive from. State in attributes, behaviour in methods marked with `@receives`.

An actor object lives for one incarnation: after a crash a new one is made, with the same arguments and the same
mailbox. It is not a task and not a mailbox; `cell` runs it.
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, Self

from vespera_agents.actors.dispatch import Table, build_table
from vespera_agents.actors.refs import ActorRef


class Actor:
    """Handles one message at a time, also across awaits.

    ```python
    class Add(Request[int]): ...

    class Counter(Actor):
        def __init__(self, start: int) -> None:
            self.total = start

        @receives
        def add(self, message: Add) -> int:
            self.total += message.amount
            return self.total
    ```
    """

    handlers: ClassVar[Table] = Table()
    """Message type -> handler; made when the class is created."""
    stop_timeout_seconds: ClassVar[float] = 4.0
    """How long on_stop may take; keep it below the child spec's shutdown time (5 s unless given)."""

    __ref: ActorRef[Any] | None = None

    def __init_subclass__(cls, **arguments: object) -> None:
        """Build and check the table of handlers."""
        super().__init_subclass__(**arguments)
        frame = inspect.currentframe()
        cls.handlers = build_table(cls, frame.f_back if frame is not None else None)

    async def on_start(self) -> None:
        """Get ready; the first message is handled after this. Raising here is a failed start."""

    async def on_stop(self) -> None:
        """Clean up: called once after on_start has succeeded, however the incarnation ends, within a bounded time."""

    @property
    def ref(self) -> ActorRef[Self]:
        """The reference to this actor; there is none before on_start."""
        if self.__ref is None:
            raise RuntimeError(
                f"{type(self).__qualname__} has no reference yet. Use `self.ref` in on_start or later, not in __init__."
            )
        return self.__ref

    def stop(self) -> None:
        """End after the message in hand, as `ref.stop()` does."""
        self.ref.stop()

    def attach(self, ref: ActorRef[Any]) -> None:
        """Take the reference; the runtime calls this once, before on_start."""
        self.__ref = ref
