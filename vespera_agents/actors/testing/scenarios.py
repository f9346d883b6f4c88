"""The scenario of the house: actors with small mailboxes of every kind, senders, and somebody who stops and kills.

A scenario of your own is an async function of the system and the simulation; see `simulation`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, final

import trio

from supervisors.errors import SupervisorError
from supervisors.flags import Strategy
from supervisors.forcing import force_kill
from supervisors.specs import ChildSpec, Restart
from supervisors.supervisor import Supervisor, supervisor_spec
from supervisors.testing.choices import Stream
from vespera_agents.actors.actor import Actor
from vespera_agents.actors.errors import MailboxFull, NameTaken
from vespera_agents.actors.mailbox import MailboxSpec, Overflow
from vespera_agents.actors.opening import open_system
from vespera_agents.actors.refs import ActorRef
from vespera_agents.actors.system import ActorSystem
from vespera_agents.actors.testing.faults import ActorFault
from vespera_agents.actors.testing.simulated import GRID_SECONDS, KINDS, Neighbours, Note, write
from vespera_agents.actors.testing.simulation import ActorSimulation, Invariants

RESTARTS: Final = (Restart.TRANSIENT, Restart.PERMANENT, Restart.TEMPORARY)
OVERFLOWS: Final = tuple(Overflow)
STRATEGIES: Final = (Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE)
STOP_SECONDS: Final = 2.0
START_TIMEOUT_SECONDS: Final = 3.0
GRACE_SECONDS: Final = 20.0
PAUSES_MAX: Final = 4
BURST_MAX: Final = 4
GROUP: Final = "group"


@asynccontextmanager
async def open_by_chance(simulation: ActorSimulation) -> AsyncGenerator[ActorSystem, None]:
    """Open a system whose root gives up early now and then."""
    choices = simulation.stream("system")
    intensity = 1 if choices.chance(100) else 10_000
    async with open_system(
        listener=simulation,
        intensity=intensity,
        dead_letters_max=100_000,
        restart_grace_seconds=GRACE_SECONDS,
    ) as system:
        yield system


async def random_actors(system: ActorSystem, simulation: ActorSimulation) -> Invariants:
    """Start a few actors, alone and in a group, and let several senders and a troublemaker at them."""
    town = _Town(system, simulation)
    choices = simulation.stream("town")
    for number in range(2 + choices.below(3)):
        await town.settle(f"a{number}", choices)
    if choices.below(2):
        await town.found_group(choices)
    for number in range(2 + choices.below(3)):
        simulation.start_soon(town.correspond, f"s{number}")
    simulation.start_soon(town.trouble)
    return Invariants(settled=[town.whoever_lives_answers])


@final
class _Town:
    """The actors of one run, and what is done with them."""

    def __init__(self, system: ActorSystem, simulation: ActorSimulation) -> None:
        self._system = system
        self._simulation = simulation
        self._neighbours = Neighbours()
        self._specs: dict[str, MailboxSpec] = {}
        self._starting: set[str] = set()
        self._group: Supervisor | None = None

    # ---- who lives there

    async def settle(self, name: str, choices: Stream) -> None:
        """Start an actor of this name, with everything about it drawn by chance."""
        kind, mailbox = KINDS[choices.below(len(KINDS))], self._mailbox(name, choices)
        spawns, restart = choices.below(2), RESTARTS[choices.below(3)]
        taken = self._system.whereis(name) is not None
        self._starting.add(name)
        try:
            if spawns:
                ref = self._system.spawn(
                    kind,
                    self._simulation,
                    name,
                    self._neighbours,
                    name=name,
                    mailbox=mailbox,
                    restart=restart,
                    shutdown_seconds=STOP_SECONDS,
                    start_timeout_seconds=START_TIMEOUT_SECONDS,
                )
            else:
                ref = await self._system.start(
                    kind,
                    self._simulation,
                    name,
                    self._neighbours,
                    name=name,
                    mailbox=mailbox,
                    restart=restart,
                    shutdown_seconds=STOP_SECONDS,
                    start_timeout_seconds=START_TIMEOUT_SECONDS,
                )
        except NameTaken:
            # An actor that has just ended may not be forgotten yet.
            assert taken or spawns, f"{name} was free, and is said to be taken"
        except SupervisorError:
            return
        else:
            self._adopt(name, ref)
        finally:
            self._starting.discard(name)

    async def found_group(self, choices: Stream) -> None:
        """Start a supervisor with actors below it, which restarts them together, or gives up."""
        specs = [self._member(f"g{number}", choices) for number in range(2)]
        strategy, intensity = STRATEGIES[choices.below(3)], choices.below(4)
        restart = (Restart.TEMPORARY, Restart.PERMANENT)[choices.below(2)]

        def make() -> Supervisor:
            self._group = Supervisor(specs, name=GROUP, strategy=strategy, intensity=intensity, period_seconds=3.0)
            return self._group

        try:
            await self._system.supervisor.start_child(supervisor_spec(GROUP, make, restart=restart))
        except SupervisorError:
            return
        self._look_for_members()

    def _member(self, name: str, choices: Stream) -> ChildSpec:
        return self._system.actor_spec(
            KINDS[choices.below(len(KINDS))],
            self._simulation,
            name,
            self._neighbours,
            name=name,
            mailbox=self._mailbox(name, choices),
            restart=RESTARTS[choices.below(3)],
            shutdown_seconds=STOP_SECONDS,
            start_timeout_seconds=START_TIMEOUT_SECONDS,
        )

    def _mailbox(self, name: str, choices: Stream) -> MailboxSpec:
        spec = self._specs[name] = MailboxSpec(1 + choices.below(4), OVERFLOWS[choices.below(len(OVERFLOWS))])
        return spec

    def _look_for_members(self) -> None:
        for name in ("g0", "g1"):
            ref = self._system.whereis(name)
            if ref is not None:
                self._adopt(name, ref)

    def _adopt(self, name: str, ref: ActorRef[Actor]) -> None:
        self._neighbours.refs[name] = ref
        self._simulation.knows(ref, self._specs[name])

    # ---- what happens to them

    async def correspond(self, sender: str) -> None:
        """Write to whoever there is, in bursts, and lose patience now and then."""
        post, choices = self._simulation.post(sender), self._simulation.stream(sender)
        while self._simulation.faults_on:
            await trio.sleep(GRID_SECONDS * (1 + choices.below(PAUSES_MAX)))
            for _ in range(1 + choices.below(BURST_MAX)):
                ref = self._neighbours.any(choices)
                if ref is None:
                    break
                if choices.chance(200):
                    with trio.move_on_after(GRID_SECONDS * choices.below(3)):
                        await write(post, ref, choices)
                else:
                    await write(post, ref, choices)

    async def trouble(self) -> None:
        """Stop, kill, overwhelm and start actors."""
        choices, start_soon = self._simulation.stream("trouble"), self._simulation.start_soon
        while self._simulation.faults_on:
            await trio.sleep(GRID_SECONDS * (1 + choices.below(PAUSES_MAX)))
            ref = self._neighbours.any(choices)
            if ref is None:
                continue
            match choices.below(12):
                case 5:
                    self._simulation.note(ref.name, "stop", "", 0, "")
                    ref.stop()
                case 6:
                    start_soon(self._stop, ref, GRID_SECONDS * (1 + choices.below(6)))
                case 7:
                    self._kill(ref)
                case 8:
                    self._fill(ref, choices)
                case 9 | 10:
                    if ref.name not in self._starting and not ref.name.startswith("g"):
                        start_soon(self.settle, ref.name, choices)
                case 11:
                    start_soon(self._regroup, choices)
                case _:
                    pass

    async def _stop(self, ref: ActorRef[Actor], timeout_seconds: float) -> None:
        self._simulation.note(ref.name, "is stopped for good", "", 0, "")
        if not ref.name.startswith("g"):
            self._simulation.ledger.recipient(ref).is_final = True
        try:
            await self._system.stop(ref, timeout_seconds=timeout_seconds)
        except ValueError:
            assert ref.name.startswith("g"), f"{ref.name} was started, and cannot be stopped"

    def _kill(self, ref: ActorRef[Actor]) -> None:
        life = self._simulation.ledger.recipient(ref).life
        if life is not None and not life.over and not life.fenced:
            self._simulation.struck(ref.name, ActorFault.KILLED)
            force_kill(life.task)

    def _fill(self, ref: ActorRef[Actor], choices: Stream) -> None:
        """Tell notes until there is no room."""
        post = self._simulation.post("crowd")
        for _ in range(ref.statistics().mailbox.capacity + choices.below(2)):
            if self._system.whereis(ref.name) is not ref:
                return
            try:
                post.tell(ref, Note())
            except MailboxFull:
                break
        if ref.statistics().mailbox.fill_ratio >= 1.0:
            self._simulation.struck(ref.name, ActorFault.FULL_MAILBOX)

    async def _regroup(self, choices: Stream) -> None:
        name, terminates = f"g{choices.below(2)}", choices.below(2)
        if self._group is None:
            return
        ref = self._neighbours.refs.get(name)
        record = None if ref is None else self._simulation.ledger.recipient(ref)
        self._simulation.note(name, "is terminated" if terminates else "is called back", "", 0, "")
        try:
            if terminates:
                if record is not None:
                    record.is_final = True
                await self._group.terminate_child(name)
            else:
                await self._group.restart_child(name)
                if record is not None:
                    record.is_final = False
        except SupervisorError:
            return
        self._look_for_members()

    def whoever_lives_answers(self) -> str | None:
        """Say who has a name and is not what everybody writes to."""
        for name, ref in self._neighbours.refs.items():
            found = self._system.whereis(name)
            if found is not None and found is not ref and name not in self._starting:
                return f"{name} is {found!r}, and everybody writes to {ref!r}"
        return None
