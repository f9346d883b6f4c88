"""A typed actor under supervision: it crashes, its supervisor brings it back, and its mail is still there."""

from dataclasses import dataclass

import trio

from vespera_agents.actors import Actor, ActorCrashed, Request, open_system, receives


@dataclass(frozen=True)
class Divide(Request[float]):
    """Ask for a quotient."""

    a: float
    b: float


class Calculator(Actor):
    """Answers one question at a time."""

    @receives
    def divide(self, message: Divide) -> float:
        """Crash on a zero: the supervisor will see to it."""
        return message.a / message.b


async def main() -> None:
    async with open_system() as system:
        calculator = await system.start(Calculator)
        print(await calculator.ask(Divide(7, 2)))
        try:
            await calculator.ask(Divide(7, 0))
        except ActorCrashed as crash:
            print("crashed:", crash.cause)
        restarts = system.supervisor.statistics().restarts
        print(await calculator.ask(Divide(1, 4)), "after restarts:", restarts)


trio.run(main)
