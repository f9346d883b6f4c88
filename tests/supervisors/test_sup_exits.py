"""How an end is named, and what is kept of the error; with trio's traps, each from real cancellation."""

from __future__ import annotations

import gc
import weakref
from functools import partial

import pytest
import trio
import trio.testing

from supervisors import ExitKind, Failure, Ignore, MaxRestartsExceeded, Shutdown
from supervisors.exits import (
    FRAMES_MAX,
    MESSAGE_CHARACTERS_MAX,
    PARTS_MAX,
    Exit,
    StopCause,
    classify,
    hidden_error,
    leaves,
)

EXIT = Exit(ExitKind.CRASHED, "boom", 1, 0.0, 0.0)
MELTDOWN = MaxRestartsExceeded("s", "a", EXIT, 1, 5.0)
ERROR = ValueError("boom")
GROUP = ExceptionGroup("from a nursery", [ERROR])
STOP = StopCause.SHUTDOWN


@pytest.mark.parametrize(
    ("error", "ready", "cause", "hidden", "kind"),
    [
        (None, True, None, None, ExitKind.NORMAL),
        (ERROR, True, None, None, ExitKind.CRASHED),
        (GROUP, True, None, None, ExitKind.CRASHED),
        (Shutdown(), True, None, None, ExitKind.SHUTDOWN),
        (ExceptionGroup("", [Shutdown()]), True, None, None, ExitKind.SHUTDOWN),
        (ExceptionGroup("", [Shutdown(), ERROR]), True, None, None, ExitKind.CRASHED),
        (Ignore(), True, None, None, ExitKind.CRASHED),
        (MELTDOWN, True, None, None, ExitKind.MAX_RESTARTS_EXCEEDED),
        (ExceptionGroup("", [MELTDOWN]), True, None, None, ExitKind.MAX_RESTARTS_EXCEEDED),
        (None, False, None, None, ExitKind.START_ERROR),
        (ERROR, False, None, None, ExitKind.START_ERROR),
        (Shutdown(), False, None, None, ExitKind.START_ERROR),
        (Ignore(), False, None, None, ExitKind.IGNORED),
        (ExceptionGroup("", [Ignore()]), False, None, None, ExitKind.IGNORED),
        (None, False, StopCause.IGNORED, None, ExitKind.IGNORED),
        (ERROR, False, StopCause.IGNORED, None, ExitKind.START_ERROR),
        (None, False, StopCause.START_TIMEOUT, None, ExitKind.START_TIMEOUT),
        (ERROR, False, StopCause.START_TIMEOUT, None, ExitKind.START_TIMEOUT),
        (None, True, STOP, None, ExitKind.SHUTDOWN),
        (None, False, STOP, None, ExitKind.SHUTDOWN),
        (None, True, StopCause.KILL, None, ExitKind.KILLED),
        (ERROR, True, STOP, None, ExitKind.SHUTDOWN_ERROR),
        (None, True, STOP, ERROR, ExitKind.SHUTDOWN_ERROR),
        (Shutdown(), True, STOP, None, ExitKind.SHUTDOWN),
        (KeyboardInterrupt(), True, None, None, ExitKind.ESCALATED),
        (SystemExit(3), False, None, None, ExitKind.ESCALATED),
        (BaseExceptionGroup("", [ERROR, KeyboardInterrupt()]), True, STOP, None, ExitKind.ESCALATED),
        (None, True, STOP, KeyboardInterrupt(), ExitKind.ESCALATED),
    ],
)
def test_an_end_is_named_from_what_was_asked_and_what_came_out(error, ready, cause, hidden, kind):
    assert classify(error, ready=ready, stop_cause=cause, hidden=hidden)[0] is kind


def test_only_failed_ends_belong_into_the_history():
    assert {kind for kind in ExitKind if not kind.failed} == {
        ExitKind.NORMAL,
        ExitKind.SHUTDOWN,
        ExitKind.KILLED,
        ExitKind.IGNORED,
    }


async def caught_by_a_cancelled_scope(body) -> BaseException:
    """Run `body` in a cancelled scope and return what passed through."""
    seen: list[BaseException] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await body()
        except BaseException as error:
            seen.append(error)
            raise
    return seen[0]


async def test_an_error_that_a_cancelled_checkpoint_replaced_is_found():
    async def body():
        try:
            raise ValueError("hidden")
        finally:
            await trio.lowlevel.checkpoint()

    seen = await caught_by_a_cancelled_scope(body)
    assert isinstance(seen, trio.Cancelled)
    assert str(hidden_error(seen)) == "hidden"


async def test_an_error_hidden_below_two_checkpoints_and_a_nursery_is_found():
    async def inner():
        try:
            try:
                raise ValueError("deep")
            finally:
                await trio.lowlevel.checkpoint()
        finally:
            await trio.lowlevel.checkpoint()

    async def body():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inner)
            nursery.start_soon(trio.sleep_forever)

    assert str(hidden_error(await caught_by_a_cancelled_scope(body))) == "deep"


async def in_a_group_on_its_way(inner):
    """Cancel a body whose nursery fails with nothing but cancellations while another checkpoint is on its way out."""

    async def body():
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(inner)
                await trio.sleep_forever()
        finally:
            await trio.lowlevel.checkpoint()

    return hidden_error(await caught_by_a_cancelled_scope(body))


async def test_a_cancellation_on_its_way_through_a_nursery_hides_nothing():
    assert await in_a_group_on_its_way(trio.sleep_forever) is None


async def test_an_error_below_a_cancellation_that_a_nursery_put_into_a_group_is_found():
    async def inner():
        try:
            raise ValueError("deep")
        finally:
            await trio.lowlevel.checkpoint()

    assert str(await in_a_group_on_its_way(inner)) == "deep"


async def test_a_plain_cancellation_hides_nothing():
    assert hidden_error(await caught_by_a_cancelled_scope(trio.lowlevel.checkpoint)) is None


async def caught_while_it_waits(body) -> BaseException:
    """Run `body`, cancel it when it waits, and return what it ended with."""
    seen: list[BaseException] = []

    async def run():
        try:
            await body()
        except BaseException as error:
            seen.append(error)
            raise

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return seen[0]


@pytest.mark.parametrize("what", [trio.Lock, partial(trio.Semaphore, 1), partial(trio.CapacityLimiter, 1)])
async def test_who_waits_for_a_lock_hides_nothing_but_what_he_failed_with_before(what):
    taken = what()
    if isinstance(taken, trio.CapacityLimiter):
        await taken.acquire_on_behalf_of("somebody else")
    else:
        await taken.acquire()

    async def failing():
        try:
            raise ValueError("before")
        finally:
            await taken.acquire()

    assert hidden_error(await caught_while_it_waits(taken.acquire)) is None
    assert str(hidden_error(await caught_while_it_waits(failing))) == "before"


def test_an_error_that_came_out_itself_is_not_hidden():
    assert hidden_error(ERROR) is None


def test_leaves_are_found_however_nested():
    nested = BaseExceptionGroup("", [ExceptionGroup("", [ERROR, KeyError("k")]), KeyboardInterrupt()])
    assert [type(leaf) for leaf in leaves(nested)] == [ValueError, KeyError, KeyboardInterrupt]
    assert list(leaves(None)) == []


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_a_failure_reads_like_a_traceback():
    text = Failure.of(raised(ValueError("boom"))).formatted()
    assert text.startswith("Traceback (most recent call last):\n")
    assert "in raised\n    raise error\n" in text
    assert text.endswith("ValueError: boom\n")


def test_a_failure_unwraps_a_group_of_one_and_keeps_the_parts_of_a_larger_one():
    assert str(Failure.of(GROUP)) == "ValueError: boom"
    both = Failure.of(ExceptionGroup("two", [ERROR, KeyError("k")]))
    assert [part.type_name for part in both.parts] == ["ValueError", "KeyError"]
    assert "  | KeyError: 'k'\n" in both.formatted()


def test_a_failure_names_what_led_to_it():
    def fail():
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error

    with pytest.raises(ValueError, match="second") as caught:
        fail()
    text = Failure.of(caught.value).formatted()
    assert text.index("KeyError: 'first'") < text.index("led to this one") < text.index("ValueError: second")


def test_a_failure_raised_from_none_has_no_cause():
    def fail():
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("second") from None

    with pytest.raises(ValueError, match="second") as caught:
        fail()
    assert Failure.of(caught.value).cause is None


def test_a_failure_is_bounded_in_frames_message_and_parts():
    def deep(n):
        if n:
            deep(n - 1)
        raise ValueError("x" * 10_000)

    with pytest.raises(ValueError, match="x") as caught:
        deep(200)
    failure = Failure.of(caught.value)
    assert len(failure.lines) == FRAMES_MAX
    assert len(failure.message) == MESSAGE_CHARACTERS_MAX + 3
    assert len(Failure.of(ExceptionGroup("many", [ERROR] * 100)).parts) == PARTS_MAX


def test_a_chain_of_causes_without_end_is_cut():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert Failure.of(first).formatted().count("led to this one") < 20


def test_an_error_that_cannot_say_what_it_is_does_no_harm():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    failure = Failure.of(Mute())
    assert failure.type_name.endswith("Mute")
    assert "__str__ raised" in failure.message


def test_an_error_without_words_is_named_by_its_type():
    assert str(Failure.of(ValueError())) == "ValueError"


def test_a_failure_keeps_no_frame_alive():
    class Local:
        pass

    def fail():
        local = Local()
        watched.append(weakref.ref(local))
        raise ValueError("boom")

    watched: list[weakref.ref[Local]] = []
    try:
        fail()
    except ValueError as error:
        failure = Failure.of(error)
    gc.collect()
    assert watched[0]() is None
    assert "in fail" in failure.formatted()
