"""An actor system asked from plain sync code, here by the threads of a pool."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from vespera_agents.actors import Actor, Request, receives
from vespera_agents.actors.embedding.portal import open_system_portal


@dataclass(frozen=True)
class Reserve(Request[bool]):
    """Ask for a seat."""

    seat: int


class Seats(Actor):
    """Gives each seat away once, whoever asks at the same time."""

    def __init__(self) -> None:
        self.taken: set[int] = set()

    @receives
    def reserve(self, message: Reserve) -> bool:
        """Say whether the wish is granted."""
        is_free = message.seat not in self.taken
        self.taken.add(message.seat)
        return is_free


with open_system_portal() as portal, ThreadPoolExecutor(4) as pool:
    seats = portal.start(Seats)
    answers = list(pool.map(lambda n: portal.ask(seats, Reserve(n % 10), timeout_seconds=5.0), range(40)))
    print("seats given away:", answers.count(True), "of 40 wishes")
    assert answers.count(True) == 10
