"""Thespian on its simple base: the handler runs inside the sender's call. See `rounds` for the protocol."""

from __future__ import annotations

import time
from datetime import timedelta

from thespian.actors import Actor, ActorSystem

from benchmarks.peers.rounds import Add, Round, serve

LONG = timedelta(seconds=60)
SYSTEM = ActorSystem("simpleSystemBase")


class Total:
    """The message of an ask."""


class Adder(Actor):
    """Adds up what it is told, and sends the sum to whoever asks."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self.asked = 0

    def receiveMessage(self, message: object, sender: object) -> None:  # noqa: N802 - Thespian's name
        """Handle one message."""
        if isinstance(message, Add):
            self.total += message.amount
        elif isinstance(message, Total):
            self.asked += 1
            self.send(sender, (self.total, self.asked))


def tell(count: int) -> Round:
    adder = SYSTEM.createActor(Adder)
    message = Add(1)
    started = time.perf_counter()
    for _ in range(count):
        SYSTEM.tell(adder, message)
    handled, _ = SYSTEM.ask(adder, Total(), LONG)
    return Round(time.perf_counter() - started, handled)


def ask(count: int) -> Round:
    adder = SYSTEM.createActor(Adder)
    question = Total()
    handled = 0
    started = time.perf_counter()
    for _ in range(count):
        _, handled = SYSTEM.ask(adder, question, LONG)
    return Round(time.perf_counter() - started, handled)


if __name__ == "__main__":
    serve("thespian", {"tell": tell, "ask": ask})
