"""Pykka: a ThreadingActor, told and asked through its reference. See `rounds` for the protocol."""

from __future__ import annotations

import time

from pykka import ActorRef, ThreadingActor

from benchmarks.peers.rounds import Add, Round, serve


class Adder(ThreadingActor):
    """Adds up what it is told, and answers with the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def on_receive(self, message: Add) -> int:
        """Handle one message."""
        self.total += message.amount
        return self.total


def tell(count: int) -> Round:
    adder: ActorRef = Adder.start()
    message = Add(1)
    try:
        started = time.perf_counter()
        for _ in range(count):
            adder.tell(message)
        handled = adder.ask(Add(0), timeout=60)
        return Round(time.perf_counter() - started, handled)
    finally:
        adder.stop()


def ask(count: int) -> Round:
    adder: ActorRef = Adder.start()
    message = Add(1)
    handled = 0
    try:
        started = time.perf_counter()
        for _ in range(count):
            handled = adder.ask(message, timeout=60)
        return Round(time.perf_counter() - started, handled)
    finally:
        adder.stop()


if __name__ == "__main__":
    serve("pykka", {"tell": tell, "ask": ask})
