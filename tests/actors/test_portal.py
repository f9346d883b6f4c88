"""A system asked by plain sync code: real threads. Every wait is bounded; nothing measures real time."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trio

from supervisors import MaxRestartsExceeded
from vespera_agents.actors import (
    Actor,
    ActorCrashed,
    ActorStopped,
    ActorSystem,
    AskTimeout,
    MailboxFull,
    MailboxSpec,
    Request,
    open_system,
    receives,
)
from vespera_agents.actors.embedding.outside import ActorHandle
from vespera_agents.actors.embedding.portal import Portal, open_system_portal
from vespera_agents.actors.errors import SystemCrashed, SystemUnresponsive, TooManyCalls, WrongThread

ROOT = Path(__file__).resolve().parents[2]
SECONDS_MAX = 30
COLOUR: ContextVar[str] = ContextVar("colour", default="none")


@dataclass
class Note:
    text: str


@dataclass
class Add(Request[int]):
    amount: int


class Heard(Request[list[str]]): ...


class Crash(Request[None]): ...


class Hold(Request[str]):
    """Is answered once `let_go` is set; `block` holds up the whole thread meanwhile."""

    def __init__(self, *, block: bool = False) -> None:
        self.block = block
        self.begun = threading.Event()
        self.let_go = threading.Event()


class Counter(Actor):
    def __init__(self, start: int = 0) -> None:
        self.total = start
        self.heard: list[str] = []

    @receives
    def add(self, message: Add) -> int:
        self.total += message.amount
        return self.total

    @receives
    def note(self, message: Note) -> None:
        self.heard.append(message.text)

    @receives
    def list_heard(self, _message: Heard) -> list[str]:
        return self.heard

    @receives
    def crash(self, _message: Crash) -> None:
        raise ValueError("broken")

    @receives
    async def hold(self, message: Hold) -> str:
        message.begun.set()
        if message.block:
            assert message.let_go.wait(SECONDS_MAX)
        while not message.let_go.is_set():  # noqa: ASYNC110 - set by another thread
            await trio.sleep(0.005)
        return "let go"


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> object:
    before = set(threading.enumerate())
    yield
    assert [each for each in set(threading.enumerate()) - before if each.name == "system"] == []


def in_thread(function: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Call it in a thread; the list will have its result or its error."""
    results: list[object] = []

    def call() -> None:
        try:
            results.append(function())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread, results


def join(thread: threading.Thread) -> None:
    thread.join(SECONDS_MAX)
    assert not thread.is_alive()


def test_sync_code_asks_tells_sends_and_stops() -> None:
    with open_system_portal() as portal:
        counter = portal.start(Counter, 40, name="counter")
        assert portal.ask(counter, Add(2), timeout_seconds=5) == 42
        portal.tell(counter, Note("told"))
        portal.send(counter, Note("sent"))
        assert portal.ask(counter, Heard()) == ["told", "sent"]
        assert portal.whereis("counter") == counter
        portal.stop(counter)
        assert portal.whereis("counter") is None
        with pytest.raises(ActorStopped, match="counter"):
            portal.ask(counter, Add(1))


def test_what_set_up_has_started_is_found() -> None:
    async def set_up(system: ActorSystem) -> None:
        await system.start(Counter, 7, name="first")

    with open_system_portal(set_up) as portal:
        first = portal.whereis("first")
        assert first is not None
        assert portal.ask(first, Add(0)) == 7


def test_several_threads_ask_at_once() -> None:
    with open_system_portal() as portal, ThreadPoolExecutor(8) as pool:
        counter = portal.start(Counter)
        totals = list(pool.map(lambda _: portal.ask(counter, Add(1)), range(400)))
        assert sorted(totals) == list(range(1, 401))
        assert portal.statistics().pending == 0


def test_the_errors_of_an_ask_come_through() -> None:
    with open_system_portal() as portal:
        counter = portal.start(Counter)
        with pytest.raises(ActorCrashed) as crashed:
            portal.ask(counter, Crash())
        assert isinstance(crashed.value.cause, ValueError)
        hold = Hold()
        with pytest.raises(AskTimeout):
            portal.ask(counter, hold, timeout_seconds=0.02)
        hold.let_go.set()
        assert portal.ask(counter, Add(1)) == 1


def test_sending_into_a_full_mailbox_is_bounded() -> None:
    with open_system_portal() as portal:
        counter = portal.start(Counter, mailbox=MailboxSpec(1))
        hold = Hold()
        thread, _ = in_thread(partial(portal.ask, counter, hold))
        assert hold.begun.wait(SECONDS_MAX)
        portal.send(counter, Note("fits"))
        with pytest.raises(MailboxFull, match="limit of 1"):
            portal.send(counter, Note("does not"), timeout_seconds=0.02)
        hold.let_go.set()
        join(thread)
        assert portal.ask(counter, Heard()) == ["fits"]


def test_a_function_is_run_with_the_callers_context_and_within_its_time() -> None:
    async def look() -> str:
        await trio.lowlevel.checkpoint()
        return COLOUR.get()

    with open_system_portal() as portal:
        token = COLOUR.set("red")
        assert portal.run(look) == "red"
        COLOUR.reset(token)
        assert portal.run(look) == "none"
        assert portal.run(partial(whereabouts, portal), timeout_seconds=5) == "system"
        with pytest.raises(trio.TooSlowError):
            portal.run(trio.sleep_forever, timeout_seconds=0.02)


async def whereabouts(portal: Portal) -> str:
    return portal.system.statistics().name


def test_a_call_from_within_the_systems_thread_is_refused() -> None:
    class Confused(Actor):
        @receives
        def add(self, message: Add) -> int:
            return portal.ask(counter, message)

    async def confused() -> None:
        portal.tell(counter, Note("x"))

    with open_system_portal() as portal:
        counter = portal.start(Counter)
        mistaken = portal.start(Confused)
        with pytest.raises(ActorCrashed, match=r"await ref\.ask") as crashed:
            portal.ask(mistaken, Add(1))
        assert isinstance(crashed.value.cause, WrongThread)
        with pytest.raises(WrongThread):
            portal.run(confused)


def test_a_thread_that_is_held_up_is_reported_with_the_line_it_stands_at() -> None:
    with open_system_portal(patience_seconds=0.05) as portal:
        counter = portal.start(Counter)
        hold = Hold(block=True)
        thread, results = in_thread(partial(portal.ask, counter, hold, timeout_seconds=SECONDS_MAX))
        assert hold.begun.wait(SECONDS_MAX)
        with pytest.raises(SystemUnresponsive, match=r"stands at .*:\d+ in ") as stuck:
            portal.ask(counter, Add(1), timeout_seconds=0.01)
        assert isinstance(stuck.value, TimeoutError)
        hold.let_go.set()
        join(thread)
        assert results == ["let go"]
        # What nobody waited for any more was withdrawn.
        assert portal.ask(counter, Add(10)) == 10


def test_the_calls_under_way_are_limited() -> None:
    with open_system_portal(calls_max=1) as portal:
        counter = portal.start(Counter)
        hold = Hold()
        thread, results = in_thread(partial(portal.ask, counter, hold))
        assert hold.begun.wait(SECONDS_MAX)
        with pytest.raises(TooManyCalls, match="calls_max"):
            portal.ask(counter, Add(1))
        hold.let_go.set()
        join(thread)
        assert results == ["let go"]


def test_tells_that_a_busy_thread_does_not_take_are_limited() -> None:
    with open_system_portal(calls_max=2) as portal:
        counter = portal.start(Counter)
        hold = Hold(block=True)
        thread, _ = in_thread(partial(portal.ask, counter, hold))
        assert hold.begun.wait(SECONDS_MAX)
        portal.tell(counter, Note("1"))
        portal.tell(counter, Note("2"))
        with pytest.raises(TooManyCalls):
            portal.tell(counter, Note("3"))
        hold.let_go.set()
        join(thread)
        assert portal.ask(counter, Heard()) == ["1", "2"]


def test_closing_answers_other_threads_and_refuses_what_comes_later() -> None:
    with open_system_portal() as portal:
        counter = portal.start(Counter)
        hold = Hold()
        thread, results = in_thread(partial(portal.ask, counter, hold, timeout_seconds=1000))
        assert hold.begun.wait(SECONDS_MAX)
    join(thread)
    assert isinstance(results[0], ActorStopped)
    with pytest.raises(ActorStopped, match="was closed"):
        portal.ask(counter, Add(1))
    with pytest.raises(ActorStopped, match="was closed"):
        portal.tell(counter, Note("late"))


def keep_asking(portal: Portal, counter: ActorHandle[Counter], begun: threading.Event) -> str:
    try:
        while portal.ask(counter, Add(1), timeout_seconds=1000):
            begun.set()
    except ActorStopped:
        return "heard"
    return "never"


def test_threads_that_ask_while_it_closes_all_get_an_answer() -> None:
    """Whatever the moment: each call ends with its reply or with an error, and none waits for ever."""
    for _ in range(20):
        begun = threading.Event()
        with open_system_portal() as portal:
            counter = portal.start(Counter)
            threads = [in_thread(partial(keep_asking, portal, counter, begun)) for _ in range(4)]
            assert begun.wait(SECONDS_MAX)
        for thread, results in threads:
            join(thread)
            assert results == ["heard"]


def test_everybody_hears_that_the_system_broke() -> None:
    with pytest.raises(MaxRestartsExceeded), open_system_portal(open_it=partial(open_system, intensity=0)) as portal:
        counter = portal.start(Counter)
        thread, results = in_thread(partial(portal.run, trio.sleep_forever, timeout_seconds=1000))
        portal.tell(counter, Crash())
        join(thread)
        assert isinstance(results[0], SystemCrashed)
        with pytest.raises(SystemCrashed):
            portal.tell(counter, Note("x"))


def test_an_error_in_set_up_is_raised_where_it_was_opened() -> None:
    async def set_up(_system: ActorSystem) -> None:
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"), open_system_portal(set_up):
        pytest.fail("it opened")


def test_a_set_up_that_takes_too_long_is_given_up() -> None:
    async def set_up(_system: ActorSystem) -> None:
        await trio.sleep_forever()

    with pytest.raises(SystemUnresponsive, match="did not open"), open_system_portal(set_up, open_timeout_seconds=0.05):
        pytest.fail("it opened")


def test_an_error_of_the_block_is_not_replaced() -> None:
    with pytest.raises(KeyError, match="mine"), open_system_portal(open_it=partial(open_system, intensity=0)) as portal:
        counter = portal.start(Counter)
        with pytest.raises(ActorCrashed):
            portal.ask(counter, Crash())
        raise KeyError("mine")


def test_ctrl_c_while_the_main_thread_waits_ends_the_program_in_order() -> None:
    """A real signal to a real process: the call is withdrawn, the actor stopped, the thread joined."""
    program = """
import sys, threading
import trio
from vespera_agents.actors import Actor, Request, receives
from vespera_agents.actors.embedding.portal import open_system_portal

class Wait(Request[None]): ...

class Waiter(Actor):
    @receives
    async def wait(self, _message: Wait) -> None:
        print("waiting", flush=True)
        await trio.sleep_forever()

    async def on_stop(self) -> None:
        print("stopped", flush=True)

try:
    with open_system_portal() as portal:
        portal.ask(portal.start(Waiter), Wait(), timeout_seconds=1000)
except KeyboardInterrupt:
    print("interrupted with", threading.active_count(), "thread", flush=True)
"""
    child = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "waiting\n"
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait(60)
    assert (out, err) == ("stopped\ninterrupted with 1 thread\n", "")
    assert child.returncode == 0
