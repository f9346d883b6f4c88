"""Shared test set-up: `async def` tests run under trio, on virtual time where they ask for it.

In CI nothing may be skipped: a skip becomes a failure that gives its reason.
"""

from __future__ import annotations

import functools
import gc
import inspect
import os
import signal
from collections.abc import Callable, Generator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.unmeasured import pausing_coverage
from vespera_agents.providers.reading import provider_variables

IN_CI = os.environ.get("CI", "").lower() not in {"", "0", "false", "no"}
"""A build server sets CI: there a skipped test proves nothing, so it counts as a failure."""

# Hundreds of programs begin in these tests; without bytecode beside it each compiles the package, which takes 0.3 s.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A process holds a million objects that were imported and collected, and would look through them every few seconds.
gc.set_threshold(20_000, 20, 50)
# In the background of a shell Ctrl-C is ignored, also by every program that the tests begin.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# A key of whoever runs the tests must not make any of them ask a vendor.
for _name in provider_variables():
    os.environ.pop(_name, None)


@pytest.fixture
def autojump_clock() -> MockClock:
    """Virtual time for the whole test: time jumps as soon as nothing is runnable."""
    return MockClock(autojump_threshold=0)


@pytest.fixture
def jump_clock() -> MockClock:
    """Real time that the test may jump ahead: a limit of a minute is over when it says so, and no stall reaches it."""
    return MockClock(rate=1.0)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test under `trio.run`, with the test's clock when it has one; every test is bounded."""
    function: Callable[..., Any] = pyfuncitem.obj
    if not inspect.iscoroutinefunction(inspect.unwrap(function)):
        return None
    names = pyfuncitem._fixtureinfo.argnames  # pytest has no public name for a test's own arguments
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    clock = next((value for value in arguments.values() if isinstance(value, MockClock)), None)

    async def bounded() -> None:
        # Virtual hours pass in no time, so only a run on real time is bounded tightly.
        with trio.fail_after(600 if clock is None or clock.rate else 10_000_000):
            await functools.partial(function, **arguments)()

    trio.run(bounded, clock=clock)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test that is marked `unmeasured` without coverage, its fixtures included."""
    if item.get_closest_marker("unmeasured") is None:
        return (yield)
    with pausing_coverage():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failed one in CI; an expected failure stays what it is."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = _refusal(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a module that skips itself into an error in CI."""
    report = yield
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = _refusal(report)
    return report


def _refusal(report: pytest.TestReport | pytest.CollectReport) -> str:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    return f"nothing may be skipped in CI; provide what {report.nodeid} needs. It said: {reason}"
