"""What stands between the workers and the clients, as the workers see it. `stdio` is one; HTTP is another."""

from __future__ import annotations

from typing import Protocol

import trio

__all__ = ["Door"]


class Door(Protocol):
    """How clients reach the workers, as a child of the front's tree: its end is the end of the program."""

    async def run(self, *, task_status: trio.TaskStatus[Door]) -> None:
        """Serve until there is nobody to serve any more, or the front ends (`Workers.ending`)."""
        ...

    def repeat(self) -> list[bytes]:
        """Give the lines that a new worker hears first, each with its newline; from now on it is told everything."""
        ...

    def hear(self, line: bytes) -> None:
        """Take in what the worker says to clients: a line that begins with R, K, U, D, P, Q, A or N.

        Raises:
            ValueError: it is nothing that a worker says.
        """
        ...

    def lose(self, *, blamed: bool, why: str) -> None:
        """Take in that the worker is dead, all it has said heard, and no other one there yet.

        Args:
            blamed: whether what it had in hand may have killed it.
            why: what to tell a client whose request was there at too many deaths.
        """
        ...

    def expire(self, before_seconds: float, why: str) -> None:
        """Give up what has waited for a worker since that moment of the monotonic clock or longer."""
        ...

    def busy(self) -> bool:
        """Say whether a client waits for an answer."""
        ...

    def stuffed(self) -> bool:
        """Say whether clients take so little that no worker should be listened to for a while."""
        ...

    async def wait_taken(self) -> None:
        """Wait until they have taken some."""
        ...
