"""The watchdog: what blocks a loop is seen while it does, named, counted and told once."""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import re
import threading
import time
from pathlib import Path

import pytest
import trio

from supervisors import ChildSpec, Supervisor
from vespera_agents.actors import Actor, Request, open_system, receives
from vespera_agents.health.watchdog import LoopFigures, Stall, Watchdog, WatchdogSettings, watchdog_spec
from vespera_agents.health.watchdog import watchdog as module
from vespera_agents.health.watchdog.evidence import evidence_of, glimpse
from vespera_agents.health.watchdog.meter import LoopMeter
from vespera_agents.health.watchdog.starvation import Spent, Starvation, starved

THRESHOLD = 0.1
BLOCKED = 0.25
QUICK = WatchdogSettings(stall_seconds=THRESHOLD)
TRIES = 10
BYTES = bytes(1 << 20)
PAUSE = threading.Event()
"""Never set: what a real thread does cannot be waited for on trio's clock."""


def line_of(words: str) -> str:
    """Where in this file something is written that is written only once."""
    (number,) = (
        at for at, line in enumerate(Path(__file__).read_text().splitlines(), 1) if line.endswith(f"  # {words}")
    )
    return f"{__file__}:{number} in "


class Block(Request[None]):
    def __init__(self, kind: str, size: int = 0) -> None:
        self.kind, self.size = kind, size


class Blocker(Actor):
    @receives
    async def block(self, message: Block) -> None:
        match message.kind:
            case "sleep":
                self.sleep()
            case "C that lets others run":
                hashlib.pbkdf2_hmac("sha256", BYTES, b"", message.size)  # C without the interpreter's lock
            case "Python":
                self.spin()
            case "C that lets nobody run":
                pow(3, message.size)  # C with the interpreter's lock
            case _:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.below)

    def sleep(self) -> None:
        time.sleep(BLOCKED)  # a call that sleeps

    def spin(self) -> None:
        # By this thread's own time: what a busy machine gives to others is not the loop's fault, and is not counted.
        end = time.thread_time() + BLOCKED
        while time.thread_time() < end:  # the head of a loop
            pass  # a loop

    async def below(self) -> None:
        PAUSE.wait(BLOCKED)  # a task of the handler


async def stalled(dog: Watchdog) -> None:
    """Wait for the thread to have told of every stall."""
    with trio.fail_after(30):
        while dog.figures.stalls == 0 or dog._to_log:  # noqa: ASYNC110 - it is a thread of its own that tells
            await trio.sleep(0.01)


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("sleep", "a call that sleeps"),
        ("C that lets others run", "C without the interpreter's lock"),
        ("Python", "a loop"),
        ("C that lets nobody run", "C with the interpreter's lock"),
        ("a task of its own", "a task of the handler"),
    ],
)
async def test_each_kind_of_block_names_the_actor_and_the_line(kind, place, caplog):
    size = 200_000
    wanted = (line_of(place), *([line_of("the head of a loop")] if kind == "Python" else []))
    async with open_system() as system:
        dog = (await system.supervisor.start_child(watchdog_spec(system, QUICK))).value
        blocker = await system.start(Blocker, name="the culprit")
        found: list[Stall] = []
        for _ in range(TRIES):
            # It may be too short on this machine; or the thread may get the processor only when it is over.
            await blocker.ask(Block(kind, size), timeout_seconds=60)
            await trio.sleep(0.05)
            size = min(2 * size, 6_400_000)
            # On a busy machine another tick of the same actor may be one, too.
            its = [stall for stall in dog.stalls if stall.actor == "the culprit"]
            found = [stall for stall in its if (stall.line or "").startswith(wanted)]
            if found:
                break
    assert found, dog.stalls
    (stall,) = found
    assert stall.line in stall.stack
    assert stall.seconds >= THRESHOLD
    assert stall.task is not None
    assert abs(stall.at + stall.seconds - time.time()) < 60
    # The thread that watches writes it down, in its own time; the watchdog ends only after that.
    told = [each for each in caplog.records if getattr(each, "vespera_fields", {}).get("actor") == "the culprit"]
    (record,) = (each for each in told if each.vespera_fields["line"] == stall.line)
    assert record.levelno == logging.ERROR


async def test_a_block_is_seen_from_another_thread_while_it_lasts():
    seen = []

    def look(dog: Watchdog) -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end and not seen:
            stall = dog.current_stall()
            # A tick of another task that the machine holds up may be one, too.
            if stall is not None and stall.actor == "the culprit":
                seen.append((stall, dog.utilisation, dog.lag_seconds, dog.figures.stalls))
            PAUSE.wait(0.005)

    async with open_system() as system:
        dog = (await system.supervisor.start_child(watchdog_spec(system, QUICK))).value
        await trio.sleep(0.05)
        blocker = await system.start(Blocker, name="the culprit")
        thread = threading.Thread(target=look, args=(dog,))
        thread.start()
        while thread.is_alive():
            await blocker.ask(Block("sleep"))
        with trio.fail_after(30):
            while dog.current_stall() is not None:  # noqa: ASYNC110 - what it tells of is the loop itself
                await trio.sleep(0.01)
    assert seen, "nobody was seen to block for 30 s"
    stall, utilisation, lag, _ = seen[0]
    assert stall.line.startswith(line_of("a call that sleeps"))
    assert lag >= stall.seconds > THRESHOLD
    assert 0.0 < utilisation <= 1.0


async def test_what_is_no_actor_is_named_by_its_task():
    async with open_system() as system, trio.open_nursery() as nursery:
        dog = await nursery.start(Watchdog(QUICK).run, system)

        async def innocent() -> None:
            PAUSE.wait(BLOCKED)  # what is no actor's

        with trio.fail_after(30):
            # The thread may get the processor only when it is over.
            while not any(stall.task == "the odd job" for stall in dog.stalls):
                nursery.start_soon(innocent, name="the odd job")
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    (stall, *_) = [each for each in dog.stalls if each.task == "the odd job"]
    assert stall.actor is None
    assert stall.line.startswith(line_of("what is no actor's"))


def test_a_thread_without_the_scheduler_of_trio_still_has_a_stack():
    inside, over = threading.Event(), threading.Event()

    def waiting() -> None:
        inside.set()
        over.wait()  # a thread of its own

    thread = threading.Thread(target=waiting)
    thread.start()
    inside.wait()
    try:
        found = evidence_of(glimpse(thread.ident))
    finally:
        over.set()
        thread.join()
    assert (found.task, found.actor) == (None, None)
    assert found.line.startswith(line_of("a thread of its own"))
    assert evidence_of(glimpse(-1)).stack == ()


async def test_a_quick_loop_raises_nothing_however_busy_it_is():
    settings = WatchdogSettings()
    async with open_system() as system:
        dog = (await system.supervisor.start_child(watchdog_spec(system, settings))).value
        end = time.thread_time() + 0.6
        while time.thread_time() < end:
            sum(range(2_000))
            await trio.lowlevel.checkpoint()
        assert dog.utilisation > 0.2
        await trio.sleep(0.1)
        assert dog.stalls == ()
        statistics = dog.statistics()
        assert statistics.ticks > 100
        assert statistics.stalls == 0
        # Asked every 10 ms, whatever the ticks were like.
        assert statistics.lag.count == pytest.approx((statistics.busy_seconds + statistics.idle_seconds) * 100, abs=3)
        assert dog.tree_detail()["stalls"] == 0


async def test_it_stops_with_its_child_and_counts_on_in_the_next_life():
    def threads() -> int:
        return sum(thread.name == "vespera-watchdog" for thread in threading.enumerate())

    before = threads()
    async with open_system() as system:
        spec = watchdog_spec(system, QUICK)
        dog = (await system.supervisor.start_child(spec)).value
        assert threads() == before + 1
        await trio.sleep(0.02)
        await system.supervisor.terminate_child("watchdog")
        assert threads() == before
        ticks = dog.figures.ticks
        await trio.sleep(0.01)
        assert dog.figures.ticks == ticks
        assert dog.current_stall() is None
        again = (await system.supervisor.restart_child("watchdog")).value
        assert again is dog
        await trio.sleep(0.01)
        assert dog.figures.ticks > ticks
    assert threads() == before


async def test_only_the_newest_stalls_are_kept_and_a_flood_is_not_logged(caplog, monkeypatch):
    monkeypatch.setattr(module, "STILL_SECONDS", 1e9)
    dog = Watchdog(WatchdogSettings(stall_seconds=0.001, stalls_max=5))
    async with trio.open_nursery() as nursery:
        await nursery.start(dog.run)
        while dog.figures.stalls < 130:
            PAUSE.wait(0.002)
            await trio.lowlevel.checkpoint()
        await stalled(dog)
        nursery.cancel_scope.cancel()
    assert len(dog.stalls) == 5
    assert dog.figures.stall_seconds >= 130 * 0.001
    assert sum(record.name == "vespera_agents.watchdog" for record in caplog.records) <= 120


async def test_a_long_block_is_told_while_it_lasts(caplog, monkeypatch):
    monkeypatch.setattr(module, "STILL_SECONDS", 0.15)
    caplog.set_level(logging.INFO, "vespera_agents.watchdog")
    dog = Watchdog(QUICK)
    async with trio.open_nursery() as nursery:
        await nursery.start(dog.run)
        PAUSE.wait(0.4)
        end = time.monotonic() + 30
        while not caplog.records and time.monotonic() < end:
            # The thread may be given no processor for a while.
            PAUSE.wait(0.05)
        told = [(each.getMessage(), each.levelname) for each in caplog.records]
        await stalled(dog)
        nursery.cancel_scope.cancel()
    assert ("event loop is blocked", "ERROR") in told
    assert ("event loop was blocked", "INFO") in [(each.getMessage(), each.levelname) for each in caplog.records]


async def test_time_in_which_the_machine_gave_no_processor_is_no_stall(monkeypatch):
    """A machine with too much to do must not make a healthy loop look ill."""
    monkeypatch.setattr(Starvation, "since", lambda _, began: time.perf_counter() - began - THRESHOLD / 2)
    dog = Watchdog(QUICK)
    async with trio.open_nursery() as nursery:
        await nursery.start(dog.run)
        PAUSE.wait(BLOCKED)
        await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    assert dog.stalls == ()
    assert dog.figures.stalls == 0
    assert dog.figures.starved_seconds >= BLOCKED - THRESHOLD
    assert dog.lag_seconds >= BLOCKED


HEALTHY = Spent(0.3, running=0.3, queued=0.0, runs=1, others=0.0, late=0.0, switch_interval=0.005)


@pytest.mark.parametrize(
    ("what", "spent", "seconds"),
    [
        ("it computes", HEALTHY, 0.0),
        ("it sleeps", HEALTHY._replace(running=0.0), 0.0),
        ("it sleeps on a busy machine", HEALTHY._replace(running=0.0, runs=3, late=0.2), 0.015),
        ("it asks the disk 60 times", HEALTHY._replace(running=0.0, runs=60), 0.0),
        ("others have the processor", HEALTHY._replace(running=0.1, queued=0.2), 0.2),
        ("a thread of ours computes", HEALTHY._replace(running=0.0, runs=60, late=0.25, others=0.3), 0.0),
        ("whoever has the lock has no processor", HEALTHY._replace(running=0.05, runs=60, late=0.2, others=0.05), 0.15),
        ("both", HEALTHY._replace(running=0.0, queued=0.1, runs=60, late=0.2), 0.3),
        ("more than there was", HEALTHY._replace(running=0.0, queued=0.5), 0.3),
        ("clocks disagree", HEALTHY._replace(running=0.4, queued=-0.1), 0.0),
    ],
)
def test_only_what_the_machine_did_not_give_counts_as_starved(what, spent, seconds):
    assert starved(spent) == pytest.approx(seconds), what


def test_where_things_stood_when_a_tick_began_is_estimated_between_two_looks(monkeypatch):
    now = 1000.0
    queued = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    monkeypatch.setattr(os, "pread", lambda *_: f"0 {int(queued * 1e9)} 5".encode())
    starvation = Starvation()
    assert starvation.since(999.0) == 0.0, "nothing is known before it is opened"
    starvation.open()
    try:
        # Of half a second without a processor a fifth was over when the tick began.
        starvation.look(now, tick=1.0)
        now, queued = 1000.5, 0.5
        starvation.look(now, tick=1000.1)
        assert starvation.since(1000.1) == pytest.approx(0.4)
        # Another look at the same tick changes nothing, and what comes after it is added.
        now, queued = 1000.6, 0.55
        starvation.look(now, tick=1000.1)
        assert starvation.since(1000.1) == pytest.approx(0.45)
        # Nobody has looked since the next one began: it is estimated until now.
        now, queued = 1001.0, 0.55
        assert starvation.since(1000.8) == pytest.approx(0.05 * 0.2 / 0.5, abs=0.05)
    finally:
        starvation.close()
        starvation.close()


async def test_a_call_that_sleeps_is_not_taken_for_one_that_waits_for_a_processor():
    starvation = Starvation()
    starvation.open()
    try:
        began = time.perf_counter()
        for _ in range(5):
            PAUSE.wait(0.01)
            starvation.look(time.perf_counter(), began)
        assert 0.0 <= starvation.since(began) <= time.perf_counter() - began
    finally:
        starvation.close()


def test_the_lag_is_that_of_a_probe_every_ten_milliseconds(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    slow = []
    figures = LoopFigures()
    meter = LoopMeter(figures, 0.25, lambda began, seconds: slow.append((began, seconds)))
    # A tick of 3 ms, a wait of 97 ms, woken in time: 9 rings, none of them late.
    now += 0.003
    meter.before_io_wait(1.0)
    now += 0.0971
    meter.after_io_wait(1.0)
    assert figures.lag.snapshot().counts[0] == 10
    assert figures.lag.snapshot().sum == pytest.approx(0.0)
    # A tick of a second: a hundred rings, heard at its end, half a second late on average.
    now += 1.0
    meter.before_io_wait(0.0)
    assert figures.lag.snapshot().count == 110
    assert figures.lag.snapshot().sum == pytest.approx(50, rel=0.02)
    assert slow == [(pytest.approx(1000.1001), pytest.approx(1.0))]
    # A wait that ended a second after it should have: nobody ran, nobody is to blame, and everybody was late.
    now += 1.0
    meter.after_io_wait(0.0)
    assert figures.lag.snapshot().count == 210
    assert figures.lag.snapshot().sum == pytest.approx(100, rel=0.02)
    assert (figures.busy_seconds, figures.idle_seconds, figures.ticks) == (
        pytest.approx(1.003),
        pytest.approx(1.0971),
        2,
    )
    assert len(slow) == 1


async def test_a_collection_of_garbage_is_named_and_not_only_the_line_that_it_happened_at():
    told = re.compile(r"garbage collection of generation 2, \d+\.\d{3} s")
    circles: list[list[object]] = []
    dog = Watchdog(WatchdogSettings(stall_seconds=0.02))
    gc.collect()
    gc.disable()
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(dog.run)
            while not any(told.match(stall.line or "") for stall in dog.stalls):
                for _ in range(200_000):
                    circles.append([])
                    circles[-1].append(circles[-1])
                    if not len(circles) % 1_000:
                        await trio.lowlevel.checkpoint()
                circles.clear()
                await trio.lowlevel.checkpoint()
                gc.collect()
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    finally:
        gc.enable()
    assert dog._hear_collection not in gc.callbacks


def test_settings_that_would_bark_always_are_refused():
    with pytest.raises(ValueError, match="stall_seconds is a number of seconds > 0, not 0"):
        WatchdogSettings(stall_seconds=0)


async def test_other_settings_count_at_once(autojump_clock):
    async with open_system() as system:
        dog = (await system.supervisor.start_child(watchdog_spec(system))).value
        dog.adapt(WatchdogSettings(stall_seconds=0.01, busy_seconds=2.0, scan_seconds=1.0))
        PAUSE.wait(0.05)
        ref = await system.start(Sleeper)
        ref.tell(Block("sleep"))
        await trio.sleep(10)
        assert dog.figures.stalls >= 1
        assert [wedged.limit_seconds for wedged in dog.wedged] == [2.0]


class Sleeper(Actor):
    @receives
    async def block(self, _: Block) -> None:
        await trio.sleep_forever()


async def test_a_thread_that_breaks_is_replaced(monkeypatch):
    broken: list[object] = []
    monkeypatch.setattr(threading, "excepthook", broken.append)
    dog = Watchdog()
    supervisor = Supervisor([ChildSpec("watchdog", dog.run)], name="dogs", intensity=1_000)

    def is_looking() -> bool:
        return dog._watching and "vespera-watchdog" in {thread.name for thread in threading.enumerate()}

    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        # No lock can be waited for so long.
        monkeypatch.setattr(module, "_SLEEP_SECONDS_MAX", 1e12)
        dog.adapt(WatchdogSettings(stall_seconds=1e12))
        with trio.fail_after(30):
            while not broken:  # noqa: ASYNC110 - a thread does not tell
                await trio.sleep(0.01)
            dog.adapt(WatchdogSettings())
            while not is_looking():  # noqa: ASYNC110 - as above
                await trio.sleep(0.01)
        assert supervisor.records()[0].restarts >= 1
        nursery.cancel_scope.cancel()
