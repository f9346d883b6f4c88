"""Simulate actors of your own: a till that sells, a store that crashes, through 200 runs under faults in virtual time.

Each seed is one run. The rules of every actor system are checked all the way: order, one answer per ask, nothing lost.
What must hold beyond that is yours to say; here, that nobody sells what the store has not got.
"""

import trio

from vespera_agents.actors import Actor, ActorError, ActorSystem, MailboxSpec, Overflow, Request, receives
from vespera_agents.actors.testing import ActorSimulation, Invariants, simulate


class Take(Request[bool]):
    """Take three apples; answered with whether there were enough."""


class Store(Actor):
    """Has 20 apples, and writes down what it gives away."""

    def __init__(self, sold: list[str]) -> None:
        self.sold = sold  # It outlives a crash, as a file would.

    @receives
    async def take(self, _: Take) -> bool:
        """Give apples away, after some thought."""
        await trio.sleep(0.1)
        if len(self.sold) > 17:
            return False
        self.sold.extend(["apple"] * 3)
        return True


async def shop(system: ActorSystem, simulation: ActorSimulation) -> Invariants:
    sold: list[str] = []
    store = await system.start(simulation.actor(Store, "store"), sold, mailbox=MailboxSpec(2, Overflow.REJECT))

    async def till(name: str) -> None:
        post, choices = simulation.post(name), simulation.stream(name)
        while simulation.faults_on:
            await trio.sleep(0.5 * choices.below(4) + 0.5)
            try:
                await post.ask(store, Take(), timeout_seconds=2.0)
            except ActorError:
                continue  # Refused, crashed or late: this customer goes home.

    simulation.start_soon(till, "till 1")
    simulation.start_soon(till, "till 2")
    return Invariants(always=[lambda: "more was sold than there was" if len(sold) > 20 else None])


def main(seeds: int = 200) -> None:
    outcomes = [simulate(shop, seed=seed) for seed in range(seeds)]
    for outcome in outcomes:
        assert outcome.violation is None, outcome.story()
    print(f"{seeds} runs, {sum(outcome.calls for outcome in outcomes)} messages, no violation")


if __name__ == "__main__":
    main()
