"""Money in the store: whatever happens to whoever spends it, no limit is passed by what was really paid."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.providers.books import DAY, Books
from vespera_agents.store.commands import ReleaseSpend, ReserveSpend, SettleSpend
from vespera_agents.store.commands.spending import LOST_SECONDS
from vespera_agents.store.spending import day_of, spending_rows, spent
from vespera_agents.work.errors import Conflict

ROOT = Path(__file__).resolve().parents[2]
SESSION_MAX, DAY_MAX = 1_000, 1_500
SESSIONS = ("session_a", "session_b", None)


def reserve(books: Books, purpose: str, amount: int, session: str | None = "session_a") -> bool:
    try:
        books.apply(ReserveSpend("t", purpose, session, amount, SESSION_MAX, DAY_MAX))
    except Conflict:
        return False
    return True


def settle(books: Books, purpose: str, amount: int | None, session: str | None = "session_a") -> None:
    books.apply(SettleSpend("t", purpose, session, "p", "m", 10, 20, amount))


def test_a_reservation_counts_until_it_is_settled_by_what_it_cost() -> None:
    books = Books()
    assert reserve(books, "one", 700)
    assert not reserve(books, "two", 301), "1001 of 1000"
    settle(books, "one", 100)
    assert reserve(books, "two", 900)
    assert not reserve(books, "three", 1)
    books.apply(ReleaseSpend("t", "two"))
    found = books.of_session("session_a")
    assert (found.spent, found.reserved, found.doubtful) == (100, 0, 0)


def test_the_refusal_says_which_limit_and_how_much() -> None:
    books = Books()
    reserve(books, "one", 600, "session_a")
    reserve(books, "two", 600, "session_b")
    with pytest.raises(Conflict, match=r"\$0.0015 for the day .* \$0.0012 is spent or set aside.*\$0.0004"):
        books.apply(ReserveSpend("t", "three", None, 400, SESSION_MAX, DAY_MAX))
    with pytest.raises(Conflict, match="for session session_a"):
        books.apply(ReserveSpend("t", "four", "session_a", 401, SESSION_MAX, None))


def test_the_same_purpose_has_one_reservation_and_the_call_before_stays_counted() -> None:
    books = Books()
    assert reserve(books, "one", 300)
    assert reserve(books, "one", 200)
    found = books.of_session("session_a")
    assert (found.reserved, found.doubtful) == (200, 300)
    settle(books, "one", 50)
    assert not reserve(books, "two", 651)
    assert reserve(books, "two", 650)
    rows = spending_rows(books.connection, session_id="session_a")
    assert [(row.provider, row.micro_usd, row.doubtful_micro_usd) for row in rows] == [("p", 50, 0), ("", 0, 300)]


def test_a_refused_repetition_leaves_the_reservation_as_it_was() -> None:
    books = Books()
    reserve(books, "one", 600)
    assert not reserve(books, "one", 600)
    found = books.of_session("session_a")
    assert (found.reserved, found.doubtful) == (600, 0)


def test_what_nobody_comes_back_for_is_counted_for_good_after_a_day() -> None:
    books = Books()
    reserve(books, "lost", 400)
    books.now += LOST_SECONDS + 1
    assert reserve(books, "next", 100)
    found = books.of_session("session_a")
    assert (found.reserved, found.doubtful) == (100, 400)
    assert books.of_day().total == 100, "it belongs to the day before"


def test_a_call_over_midnight_belongs_to_the_day_on_which_it_began() -> None:
    books = Books()
    books.now += DAY - 1
    yesterday = day_of(books.now)
    reserve(books, "one", 900)
    books.now += 2
    settle(books, "one", 800)
    assert spent(books.connection, day=yesterday).spent == 800
    assert books.of_day().total == 0


def test_an_unknown_price_counts_as_nothing_and_is_counted_as_unknown() -> None:
    books = Books()
    settle(books, "one", None)
    settle(books, "two", 5)
    (row,) = spending_rows(books.connection)
    assert (row.calls, row.unpriced, row.micro_usd, row.input_tokens, row.output_tokens) == (2, 1, 5, 20, 40)


@dataclass
class Call:
    """A call of some worker, as it really goes."""

    purpose: str
    session: str | None
    most: int
    at: float
    paid: int = 0
    """What the vendor took, whether or not anybody wrote it down."""
    alive: bool = True

    @property
    def day(self) -> str:
        return day_of(self.at)


@dataclass
class World:
    calls: list[Call] = field(default_factory=list)

    def paid(self, *, session: str | None = None, day: str | None = None) -> int:
        return sum(
            call.paid
            for call in self.calls
            if (session is None or call.session == session) and (day is None or call.day == day)
        )


class Spending(RuleBasedStateMachine):
    """Workers reserve, call, pay, settle, release, die between any two of these, and repeat what was begun."""

    def __init__(self) -> None:
        super().__init__()
        self.books = Books()
        self.world = World()
        self.days = {day_of(self.books.now)}

    @rule(
        purpose=st.sampled_from([f"purpose {n}" for n in range(6)]),
        session=st.sampled_from(SESSIONS),
        most=st.integers(1, 500),
    )
    def begin(self, purpose: str, session: str | None, most: int) -> None:
        """Reserve; the same purpose comes again from another worker when the one before has died."""
        if any(call.purpose == purpose and call.alive for call in self.world.calls):
            return
        if reserve(self.books, purpose, most, session):
            self.world.calls.append(Call(purpose, session, most, self.books.now))

    def _one(self, number: int) -> Call:
        alive = [call for call in self.world.calls if call.alive]
        return alive[number % len(alive)]

    def _any_alive(self) -> bool:
        return any(call.alive for call in self.world.calls)

    @precondition(_any_alive)
    @rule(number=st.integers(0, 50), share=st.floats(0, 1), fate=st.sampled_from(["settled", "killed", "unpaid"]))
    def end(self, number: int, share: float, fate: str) -> None:
        call = self._one(number)
        call.alive = False
        if fate == "unpaid":
            self.books.apply(ReleaseSpend("t", call.purpose))
            return
        call.paid = int(call.most * share)
        if fate == "settled":
            settle(self.books, call.purpose, call.paid, call.session)

    @rule(hours=st.integers(1, 30))
    def wait(self, hours: int) -> None:
        self.books.now += hours * 3_600
        self.days.add(day_of(self.books.now))
        # Nobody works on one call for a day: its deadline is minutes.
        for call in self.world.calls:
            if call.alive and self.books.now - call.at >= LOST_SECONDS:
                call.alive, call.paid = False, call.most

    @invariant()
    def no_limit_is_passed_by_what_was_paid(self) -> None:
        for session in ("session_a", "session_b"):
            counted = self.books.of_session(session).total
            assert self.world.paid(session=session) <= counted <= SESSION_MAX
        for day in self.days:
            counted = spent(self.books.connection, day=day).total
            assert self.world.paid(day=day) <= counted <= DAY_MAX


Spending.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestSpending = Spending.TestCase

WORKER = """
import random, sys
from pathlib import Path
import trio
from vespera_agents.providers.errors import SpendLimitReached
from vespera_agents.providers.spending import Charge
from vespera_agents.providers.exchange import Usage
from vespera_agents.specialists.spending import StoreLedger
from vespera_agents.store import CommandKey, Store

async def main(place, name, paid):
    store = Store(Path(place) / "vespera.db", Path(place) / "artifacts")
    numbers = iter(range(1_000_000))
    ledger = StoreLedger(store, lambda: CommandKey(name, str(next(numbers))), usd_per_session=0.05, usd_per_day=1.0)

    async def work(worker):
        for number in range(10_000):
            purpose = f"{name}/{worker}/{number}"
            try:
                await ledger.reserve(purpose, "session_a", 0.0004)
            except SpendLimitReached:
                print("limit", flush=True)
                return
            cost = random.randrange(100, 400)
            with open(paid, "a") as file:
                file.write(f"{cost}\\n")
            print("paid", flush=True)
            await ledger.settle(Charge(purpose, "session_a", "p", "m", Usage(1, 1), cost / 1_000_000))
            # Who never pauses keeps the others out until the limit is reached.
            await trio.sleep(0.01)

    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        print("ready", flush=True)
        sys.stdin.readline()
        async with trio.open_nursery() as workers:
            for worker in range(3):
                workers.start_soon(work, worker)
        nursery.cancel_scope.cancel()

trio.run(main, *sys.argv[1:])
"""


def pays_on(process: subprocess.Popen[bytes], payments: int) -> bool:
    """Wait until it has paid so often; False if it ended before."""
    assert process.stdout is not None
    return all(process.stdout.readline().startswith(b"paid") for _ in range(payments))


def test_three_processes_and_sigkill_never_pay_more_than_the_limit(tmp_path: Path) -> None:
    """Who is killed between paying and writing it down leaves his reservation: the file of payments is the truth."""
    paid = tmp_path / "paid"
    paid.touch()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path), f"w{number}", str(paid)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in range(3)
    ]
    killed = 0
    try:
        for process in processes:
            assert process.stdout.readline() == b"ready\n"
        for process in processes:
            process.stdin.write(b"go\n")
            process.stdin.flush()
        for victim in processes[:2]:
            if pays_on(victim, 2):
                victim.send_signal(signal.SIGKILL)
                killed += 1
            victim.wait(30)
        assert processes[2].wait(60) == 0
    finally:
        for process in processes:
            process.kill()
            process.communicate(timeout=30)
    total = sum(int(line) for line in paid.read_text().split())
    with closing(sqlite3.connect(f"file:{tmp_path}/vespera.db?mode=ro", uri=True)) as connection:
        found = spent(connection, session_id="session_a")
    assert killed, "at least one was killed at work"
    assert total <= found.total <= 50_000
    assert found.spent > 40_000, "the limit was used"
