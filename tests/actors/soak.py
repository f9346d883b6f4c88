"""A soak: many messages through many actors that crash, hang and stop, and a ledger that must balance.

    python -m tests.actors.soak                    1,000,000 messages, 100,000 actors; this is `make crowd`
    python -m tests.actors.soak --actors 2000 --messages 40000 --seed 7 --seeds 10

Time is virtual, and every choice comes from the seed, trio's scheduling included: a run can be repeated. `soak_actors`
holds who takes part, `soak_ledger` what must add up. Exit status 0 if everything did, 1 if not.
"""

from __future__ import annotations

import argparse
import gc
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TypedDict, cast, final

import trio
from trio.testing import MockClock

from supervisors import ChildSpec, Report, Restart, Strategy, Supervisor, supervisor_spec
from supervisors.testing import seeded_scheduling
from tests.actors.soak_actors import CLASSES, Job, Sender, Stage, Told, Worker, count_end
from tests.actors.soak_ledger import Fate, KindBook, Ledger
from vespera_agents.actors import ActorRef, ActorSystem, DeadLetterReason, MailboxSpec, SystemStatistics, open_system

CAPACITY_MAX = 8
DRAINED_SECONDS = 80_000.0
"""After so long the last actor that hung has gone through its mail."""
SENDERS_MAX = 200
GROUP_ACTORS = 4
GROUP_PROBABILITY = 0.1
"""That the next actors are a group with a supervisor of its own, and not a single child of the root."""
RESTARTS = (Restart.PERMANENT, Restart.TRANSIENT, Restart.TRANSIENT, Restart.TEMPORARY)
GC_THRESHOLDS = (50_000, 20, 100)
"""As documented for many actors: Python's own settings look through all of them again and again."""


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything."""

    actors: int
    """Actors, at least 1."""
    messages: int
    """Messages that senders send; those that handlers forward come on top."""
    seed: int
    """Where all choices come from."""


@final
class Silence:
    """A listener that keeps crashes out of the log: here they are planned, in their tens of thousands."""

    hears_starts = False

    def on_report(self, report: Report) -> None:
        """Say nothing."""


class ActorOptions(TypedDict):
    """What is drawn for an actor, as `start` and `actor_spec` take it."""

    mailbox: MailboxSpec
    restart: Restart


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a soak."""

    plan: Plan
    """What was to be done."""
    ledger: Ledger
    """What senders and handlers wrote down."""
    letters: list[tuple[int, DeadLetterReason]]
    """Every dead letter: its message's id, and the reason."""
    statistics: SystemStatistics
    """What the system counted."""
    watched: int
    """Actors whose end was watched: those below the root, for a group may be started again after it has ended."""

    def discrepancies(self) -> list[str]:
        """Return what does not add up; empty if all is well."""
        return self.ledger.discrepancies(self.statistics, self.letters, watched=self.watched)

    def fates(self) -> Counter[Fate]:
        """Return how often messages ended in which way."""
        return Counter(fate for _, fate in self.ledger.fates(dict(self.letters)))

    def restarts(self) -> int:
        """Return how many incarnations there were beyond each actor's first."""
        return sum(book.starts for book in self.ledger.kinds.values()) - self.plan.actors


def soak(plan: Plan) -> Outcome:
    """Run one soak in virtual time."""
    with seeded_scheduling(plan.seed):
        return trio.run(_soak, plan, clock=MockClock(autojump_threshold=0))


async def _soak(plan: Plan) -> Outcome:
    ledger = Ledger({actor.__name__: KindBook(overflow) for actor, overflow in CLASSES.items()})
    stage = Stage(ledger, plan.seed)
    dice = Random(f"{plan.seed}/plan")
    async with open_system(
        name="soak",
        listener=Silence(),
        intensity=1_000_000_000,
        period_seconds=1.0,
        dead_letters_max=100 * plan.messages,
    ) as system:
        await _start_all(system, stage, plan, dice)
        async with trio.open_nursery() as nursery:
            senders = min(SENDERS_MAX, plan.messages)
            for number in range(senders):
                share = plan.messages // senders + (number < plan.messages % senders)
                nursery.start_soon(Sender(stage, number, share).run, system)
        if dice.random() < 0.5:
            # Half of the runs end with everything handled, the others in the middle of things.
            await trio.sleep(DRAINED_SECONDS)
    letters = [(_job(letter.message).number, letter.reason) for letter in system.dead_letters]
    return Outcome(plan, ledger, letters, system.statistics(), plan.actors - len(stage.grouped))


def _job(message: object) -> Job:
    assert isinstance(message, Told), "only what was told or sent may become a dead letter"
    return message.job


async def _start_all(system: ActorSystem, stage: Stage, plan: Plan, dice: Random) -> None:
    while len(stage.refs) < plan.actors:
        if dice.random() < GROUP_PROBABILITY and plan.actors - len(stage.refs) >= GROUP_ACTORS:
            await _start_group(system, stage, dice)
        else:
            number = len(stage.refs)
            actor, options = _drawn(stage, dice)
            ref = system.spawn(actor, stage, number, **options)
            ref.watch(partial(count_end, stage.ledger))
            stage.refs.append(ref)


def _drawn(stage: Stage, dice: Random) -> tuple[type[Worker], ActorOptions]:
    """Draw the next actor's kind, mailbox and restart type."""
    kind = dice.randrange(len(CLASSES))
    actor, overflow = list(CLASSES.items())[kind]
    stage.kinds.append(kind)
    mailbox = MailboxSpec(dice.randint(1, CAPACITY_MAX), overflow)
    return actor, {"mailbox": mailbox, "restart": dice.choice(RESTARTS)}


async def _start_group(system: ActorSystem, stage: Stage, dice: Random) -> None:
    """Start some actors below a supervisor of their own, which gives up soon and is started again."""
    first = len(stage.refs)
    specs: list[ChildSpec] = []
    for number in range(first, first + GROUP_ACTORS):
        actor, options = _drawn(stage, dice)
        specs.append(system.actor_spec(actor, stage, number, name=f"member-{number}", **options))
    name, strategy = f"group-{first}", dice.choice(list(Strategy))

    def group() -> Supervisor:
        return Supervisor(specs, name=name, strategy=strategy, intensity=2, period_seconds=1.0)

    await system.supervisor.start_child(supervisor_spec(name, group))
    for spec in specs:
        ref = system.whereis(spec.id)
        assert ref is not None
        stage.refs.append(cast("ActorRef[Worker]", ref))
        stage.grouped.add(spec.id)


def _summary(outcome: Outcome) -> dict[str, int]:
    """Count what senders heard, and what became dead letters."""
    heard: Counter[str] = Counter()
    for (means, back, _, reason), times in outcome.fates().items():
        heard[f"{means.name.lower()} {back.name.lower()}"] += times
        if reason is not None:
            heard[f"dead letter {reason}"] += times
    return dict(sorted(heard.items()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run soaks and say what came of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.actors.soak", description="Count every message of many.")
    parser.add_argument("--actors", type=int, default=100_000)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="how many runs, each with the next seed")
    chosen = parser.parse_args(arguments)
    gc.set_threshold(*GC_THRESHOLDS)
    failed = False
    for seed in range(chosen.seed, chosen.seed + chosen.seeds):
        begun = time.perf_counter()
        outcome = soak(Plan(chosen.actors, chosen.messages, seed))
        seconds = time.perf_counter() - begun
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"seed {seed}: {len(outcome.ledger.means):,} messages, {chosen.actors:,} actors, "
            f"{outcome.restarts():,} restarts, {seconds:.0f} s, {memory:,.0f} MB at most"
        )
        if chosen.seeds == 1:
            print("\n".join(f"  {what:24}{times:>10,}" for what, times in _summary(outcome).items()))
        found = outcome.discrepancies()
        print("\n".join(f"  does not add up: {what}" for what in found) or "  everything adds up")
        failed |= bool(found)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
