"""What is done to each server until its alert fires, and how that is undone.

The servers of CrashLoop, StoreCommitSlow and Down are `vespera serve` as anybody starts it; those of EventLoopBlocked
and MailboxNearlyFull embed the runtime (`provoked`), for nothing from outside makes a sound server do that.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Final

import trio
from mcp import Client

from benchmarks.killing.killer import roles_of
from benchmarks.killing.places import Place, new_place, talking
from benchmarks.killing.processes import Family
from benchmarks.killing.waiting import until
from grafana.drill.timeline import State, Timeline

__all__ = ["CAUSES", "Cause"]

Cause = Callable[[Timeline, str, str], Awaitable[None]]
"""Called with the timeline, the name of its alert and the address of its metrics."""
START_SECONDS: Final = 30.0
SEEN_SECONDS: Final = 3.0
"""Between two things that Prometheus, which scrapes each second, shall both see."""
BLOCK_SECONDS: Final = 2.5
HELD_SECONDS: Final = 1.5
PAUSE_SECONDS: Final = 0.05
CHANGERS: Final = 8
"""Calls at once. One alone is hardly ever in a commit that waits: in its pauses the writer does what it had put off,
and waits for the lock there."""
_LOOK_SECONDS: Final = 0.05
_END_SECONDS: Final = 20.0
_HOLD = """
import sqlite3, sys, threading
connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
while True:
    connection.execute("BEGIN IMMEDIATE")
    threading.Event().wait(float(sys.argv[2]))
    connection.execute("ROLLBACK")
    threading.Event().wait(float(sys.argv[3]))
"""
"""Another program that writes to the database, slowly, and again and again."""


async def crash_loop(timeline: Timeline, alert: str, address: str) -> None:
    """Kill the worker as soon as it works."""
    with new_place() as place:
        async with _served(place, address) as client:
            await _scraped(timeline, address)
            timeline.note(alert, State.CAUSE, "the worker of `vespera serve` is killed again and again")
            while timeline.last(alert) is not State.FIRING:
                _kill_worker(place.family())
                await client.call_tool("orchestrator_list_sessions", {})
                await trio.sleep(SEEN_SECONDS)
            timeline.note(alert, State.UNDONE, "nobody kills it any more, and it serves")
            await timeline.until(alert, State.RESOLVED)


def _kill_worker(family: Family) -> None:
    worker = roles_of(family).worker
    if worker is not None:
        os.kill(worker.pid, signal.SIGKILL)


async def store_commit_slow(timeline: Timeline, alert: str, address: str) -> None:
    """Have another program hold the write lock of the database, while a client changes things."""
    with new_place() as place:
        async with _served(place, address) as client, trio.open_nursery() as nursery:
            opened = await client.call_tool("orchestrator_initialize_session", {"name": "drill"})
            assert opened.structured_content is not None
            await _scraped(timeline, address)
            for number in range(CHANGERS):
                nursery.start_soon(_change, client, str(opened.structured_content["id"]), number)
            words = [sys.executable, "-c", _HOLD, str(place.database), str(HELD_SECONDS), str(PAUSE_SECONDS)]
            other = await nursery.start(partial(trio.run_process, words, check=False))
            timeline.note(
                alert, State.CAUSE, "another program holds the write lock of its database for 1.5 s at a time"
            )
            await timeline.until(alert, State.FIRING)
            other.kill()
            timeline.note(alert, State.UNDONE, "that program is gone")
            await timeline.until(alert, State.RESOLVED)
            nursery.cancel_scope.cancel()


async def _change(client: Client, session: str, changer: int) -> None:
    """Change something, and wait for it each time."""
    for number in count():
        about = {"title": f"change {changer}.{number}", "session": session}
        await client.call_tool("orchestrator_plan_task", about)


async def down(timeline: Timeline, alert: str, address: str) -> None:
    """Stop the server, and start it again when that was noticed."""
    with new_place() as place:
        async with _served(place, address):
            await _scraped(timeline, address)
        timeline.note(alert, State.CAUSE, "`vespera serve` is ended")
        await timeline.until(alert, State.FIRING)
        async with _served(place, address):
            timeline.note(alert, State.UNDONE, "it is started again")
            await timeline.until(alert, State.RESOLVED)


async def event_loop_blocked(timeline: Timeline, alert: str, address: str) -> None:
    """Have an actor compute without giving the loop back."""
    async with _provoked(timeline, address) as say:
        timeline.note(alert, State.CAUSE, f"an actor computes for {BLOCK_SECONDS} s at a time and never yields")
        while timeline.last(alert) is not State.FIRING:
            await say(f"block {BLOCK_SECONDS}")
            await trio.sleep(BLOCK_SECONDS + 1)
        timeline.note(alert, State.UNDONE, "it stops that")
        await timeline.until(alert, State.RESOLVED)


async def mailbox_nearly_full(timeline: Timeline, alert: str, address: str) -> None:
    """Send an actor that waits more mail than it works off."""
    async with _provoked(timeline, address) as say:
        timeline.note(alert, State.CAUSE, "an actor that waits for something gets 95 messages; its mailbox holds 100")
        await say("fill")
        await timeline.until(alert, State.FIRING)
        await say("drain")
        timeline.note(alert, State.UNDONE, "what it waited for comes")
        await timeline.until(alert, State.RESOLVED)


CAUSES: Final[Mapping[str, Cause]] = {
    "CrashLoop": crash_loop,
    "EventLoopBlocked": event_loop_blocked,
    "MailboxNearlyFull": mailbox_nearly_full,
    "StoreCommitSlow": store_commit_slow,
    "Down": down,
}
"""By the alert that it leads to."""


@asynccontextmanager
async def _served(place: Place, address: str) -> AsyncGenerator[Client]:
    """Run `vespera serve` with a client at its pipe."""
    async with talking(place, "auto", [*place.command, "--metrics", address]) as client:
        yield client


@asynccontextmanager
async def _provoked(timeline: Timeline, address: str) -> AsyncGenerator[Callable[[str], Awaitable[None]]]:
    """Run the program that does wrong when it is told to, and give what tells it."""
    with new_place() as place:
        words = [sys.executable, "-m", "grafana.drill.provoked", address, str(place.root / "state")]
        options = {"env": place.environment, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(partial(trio.run_process, words, check=False, **options))
            assert process.stdin is not None
            assert process.stdout is not None
            with trio.fail_after(START_SECONDS):
                said = await process.stdout.receive_some()
            assert said.startswith(b"ready"), f"it could not serve at {address}: {said!r}"
            await _scraped(timeline, address)

            async def say(line: str) -> None:
                assert process.stdin is not None
                await process.stdin.send_all(line.encode() + b"\n")

            yield say
            await process.stdin.aclose()
            with trio.fail_after(_END_SECONDS):
                await process.wait()


async def _scraped(timeline: Timeline, address: str) -> None:
    """Wait until Prometheus has seen a server; before that it knows nothing of what is counted there."""
    seen = f'count_over_time(up{{instance="{address}"}}[1m]) > 2 and up{{instance="{address}"}} == 1'
    with trio.fail_after(START_SECONDS):
        await until(lambda: bool(timeline.prometheus.now(seen)), 1.0)
