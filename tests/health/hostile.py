"""Actors, tasks and sessions with hostile names, as many as wished, and what of them may show in the metrics: nothing.

    python -m tests.health.hostile                 100,000 of each; this is `make hostile`
    python -m tests.health.hostile --each 500 --seed 7

Every name is another one: quotes, line ends, escapes of terminals, control characters, text from right to left, emoji,
10,000 letters, what ends a label or a line of the exposition, a path, a script. Nothing is left of them in the names or
the number of series, which is what `tests.health.test_hostile_names` and this program's exit status say.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import Restart
from tests.health.kit import Watched, open_session, plan, watched_runtime
from vespera_agents.actors import Actor, ActorRef, MailboxSpec, receives
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.store.commands import CancelTask, ClaimTask, FinishTask, OpenSession
from vespera_agents.store.commands.sessions import NAME_MAX
from vespera_agents.work.drafts import TaskDraft
from vespera_agents.work.models import TITLE_MAX, TaskStatus

HOSTILE = (
    '"', "'; DROP TABLE task; --", "two\nlines", "\r\n# TYPE evil counter\nevil 1\n", "\\", '\\"} 1\n', "{}", '"}',
    "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x1bc", "\x9b2J", "\x00\x01\x08\x7f", "\t\x0b\x0c", "\u2028\u2029\x85",
    "\u202eabc", "\u2066\u2069\u200b\ufeff", "\U0001f469\u200d\U0001f680\U0001f1e9\U0001f1ea", "e\u0301" * 40,
    "\U000e0041", "<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>", "/srv/\u00e9" * 30,
    "%s%n{0}${x}$(x)", "x" * 10_000, "\ud800", "NaN", "+Inf", "other", " ",
)  # fmt: skip
"""What names are made of; each is a name that somebody has suffered from."""
LONG = 10_000
SHORT = [text for text in HOSTILE if len(text) < LONG]
EACH = 100_000
AT_ONCE = 500
KINDS = 50
"""Classes of actors: more than metrics may know of, fewer than actors."""


def names(chance: random.Random, count: int, stem: str) -> Iterator[str]:
    """Give so many names that end with the stem and a number, so that none comes twice."""
    for number in range(count):
        text = chance.choice(HOSTILE)
        if len(text) == LONG and chance.random() < 0.8:
            # The long ones are seldom, because a hundred thousand of them are a gigabyte.
            text = chance.choice(SHORT)
        yield f"{text}{chance.choice(SHORT)}{stem}.{number}"


class Worker(Actor):
    """An actor that nobody declared."""

    @receives
    def on_text(self, message: str) -> None:
        if message.endswith("crash"):
            raise RuntimeError(message)


async def start_actors(watched: Watched, found: Sequence[str]) -> list[ActorRef[Worker]]:
    """Start an actor of each name, of many classes, tell each something, and let some of them crash."""
    kinds = [type(f"Kind{number}", (Worker,), {}) for number in range(KINDS)]
    refs = [
        watched.runtime.system.spawn(kind, name=name, mailbox=MailboxSpec(4), restart=Restart.TEMPORARY)
        for name, kind in zip(found, kinds * (len(found) // KINDS + 1), strict=False)
    ]
    for number, ref in enumerate(refs):
        ref.tell(f"{found[number]} {'crash' if number % 50 == 49 else ''}")
    await wait_all_tasks_blocked()
    return refs


async def live_as_actors(watched: Watched, found: Sequence[str]) -> None:
    """Have so many actors come and go."""
    async with trio.open_nursery() as nursery:
        for ref in await start_actors(watched, found):
            nursery.start_soon(watched.runtime.system.stop, ref)


async def live_as_tasks(opened: OpenWorkspace, found: Sequence[str]) -> None:
    """Plan tasks whose titles, keys and specialists are hostile; some are done, some cancelled."""
    session = await open_session(opened)
    drafts = [
        TaskDraft(
            key=f"k{number}", title=_fit(name, TITLE_MAX), specialist=_fit(name, 40), description=_fit(name, LONG)
        )
        for number, name in enumerate(found)
    ]
    ids = [*(await plan(opened, session, drafts)).values()]
    for task in ids[:3]:
        await opened.store.execute(ClaimTask("tester", task, opened.record.id), opened.key())
        finish = FinishTask("tester", task, opened.record.id, TaskStatus.FAILED, reason=_fit(found[0], LONG))
        await opened.store.execute(finish, opened.key())
    for task in ids[3:6]:
        await opened.store.execute(CancelTask("tester", task, _fit(found[1], TITLE_MAX)), opened.key())


async def live_as_sessions(opened: OpenWorkspace, found: Sequence[str]) -> None:
    """Open sessions of those names, all at once, and have one of them live in the tree."""
    ids: list[str] = []

    async def one(name: str) -> None:
        # Fresh: else each is looked for by its name among all that are open.
        command = OpenSession("tester", str(opened.workspace.directory), name=_fit(name, NAME_MAX), fresh=True)
        ids.append((await opened.store.execute(command, opened.key()))["session_id"])

    async with trio.open_nursery() as nursery:
        for name in found:
            nursery.start_soon(one, name)
    await opened.session(ids[0])


def _fit(name: str, longest: int) -> str:
    """Give the end of a name, where the number is; without what no client can send: half of a character."""
    return name.encode(errors="ignore").decode()[-longest:].strip() or "nothing"


async def live(watched: Watched, opened: OpenWorkspace, each: int, chance: random.Random) -> None:
    """Have so many actors, tasks and sessions live, some hundred at once."""
    for begun in range(0, each, AT_ONCE):
        count = min(AT_ONCE, each - begun)
        await live_as_actors(watched, [*names(chance, count, f"a{begun}")])
        await live_as_tasks(opened, [*names(chance, count, f"t{begun}")])
        await live_as_sessions(opened, [*names(chance, count, f"s{begun}")])


async def lived(each: int, seed: int) -> str:
    """Let them live in a place of their own, and say what became of the series; empty where they are as they were."""
    with tempfile.TemporaryDirectory(prefix="vsp-") as place:
        async with watched_runtime(Path(place)) as watched:
            opened = await watched.workspace()
            before = await watched.numbers()
            await live(watched, opened, each, random.Random(seed))
            after = await watched.numbers()
            text = await watched.scrape()
    changed = sorted(before.keys() ^ after.keys())
    strange = [line for line in text.splitlines() if not line.isascii()]
    counted = (
        after['vespera_actor_starts_total{kind="other"}'],
        after['vespera_tasks{specialist="other",status="pending"}'],
    )
    if counted[0] != each or counted[1] < each / 2:
        return f"not everybody was counted: {counted}"
    if changed or strange:
        return f"{len(before)} series became {len(after)}: {changed[:5]}{strange[:5]}"
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it, and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.health.hostile", description=__doc__.partition("\n")[0])
    parser.add_argument("--each", type=int, default=EACH, help="how many actors, tasks and sessions")
    parser.add_argument("--seed", type=int, default=0, help="where the names come from")
    chosen = parser.parse_args(arguments)
    # One actor in fifty crashes as planned, which nobody wants to read.
    logging.disable(logging.CRITICAL)
    began = time.perf_counter()
    try:
        wrong = trio.run(lived, chosen.each, chosen.seed)
    finally:
        logging.disable(logging.NOTSET)
    seconds = time.perf_counter() - began
    print(wrong or f"{chosen.each:,} actors, tasks and sessions in {seconds:.0f} s: every series is as it was")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
