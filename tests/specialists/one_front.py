"""A front without processes: what one keeps for its workers while they come and go, in the process of the test.

Not a test. It keeps the locks that it is given, says of itself what a test wants it to say, and answers an echo.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field


def _unheard() -> None:
    """Hear nothing."""


@dataclass
class OneFront:
    """A front, as its worker of this moment sees it."""

    server: str = "srv_0123456789ab"
    generation: int = 1
    standing: Mapping[str, object] = field(default_factory=dict)
    at_standing: Callable[[], object] = _unheard
    answers: Callable[[Mapping[str, object]], dict[str, object]] = dict
    """What it answers."""
    asked: list[Mapping[str, object]] = field(default_factory=list)
    locks: list[int] = field(default_factory=list)

    def is_gone(self) -> bool:
        return False

    def give_way(self) -> None:
        raise AssertionError("a newer worker has taken our place")

    async def ask(self, question: Mapping[str, object]) -> dict[str, object]:
        self.asked.append(question)
        return self.answers(question)

    def answered_later(self, request: str) -> None:
        assert request

    async def keep_lock(self, name: str, descriptor: int) -> None:
        assert name
        self.locks.append(os.dup(descriptor))

    def say(self, **standing: object) -> None:
        """Say something about itself."""
        self.standing = standing
        self.at_standing()

    def replace(self) -> None:
        """Have the next worker."""
        self.generation += 1
        self.at_standing = _unheard


@contextlib.contextmanager
def one_front() -> Iterator[OneFront]:
    """Be a front while the block lasts."""
    front = OneFront()
    try:
        yield front
    finally:
        for lock in front.locks:
            os.close(lock)
