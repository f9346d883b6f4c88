"""The model of health on a real runtime: verdicts that stay fresh, probes of a blocked loop, components' own checks."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from supervisors import ChildSpec, ReportKind
from tests.health.kit import CALM, fetch, watched_runtime
from vespera_agents.actors import Actor, MailboxSpec, Overflow, receives
from vespera_agents.health import Health
from vespera_agents.health import model as model_module
from vespera_agents.health.checks import Grade, Thresholds
from vespera_agents.health.component_checks import CHECKS_MAX
from vespera_agents.health.errors import SettingsRefused
from vespera_agents.health.model import HealthModel
from vespera_agents.health.settings import HealthSettings
from vespera_agents.health.subtree import health_of, model_of
from vespera_agents.specialists.runtime import Runtime, open_runtime
from vespera_agents.workspace import Registry


@asynccontextmanager
async def modelled(place: Path, settings: HealthSettings = CALM) -> AsyncGenerator[tuple[Runtime, HealthModel]]:
    health = Health()
    health.model.settings = settings
    async with open_runtime("serve", registry=Registry(place / "state"), listener=health) as runtime:
        await health.start(runtime)
        yield runtime, health.model


def told(model: HealthModel) -> dict[str, tuple[str, str]]:
    return {one.component: (str(one.grade), one.what) for one in model.verdict.reasons}


class Gate(Actor):
    """It works nothing off until it is opened."""

    def __init__(self, opened: trio.Event) -> None:
        self.opened = opened

    @receives
    async def hear(self, _: str) -> None:
        await self.opened.wait()


async def test_the_verdict_stays_fresh_and_remembers_when_it_changed(tmp_path: Path, autojump_clock: MockClock) -> None:
    opened = trio.Event()
    async with modelled(tmp_path) as (runtime, model):
        gate = await runtime.system.start(Gate, opened, name="gate", mailbox=MailboxSpec(10, Overflow.REJECT))
        await trio.sleep(6)
        assert (model.verdict.grade, model.changes) == (Grade.HEALTHY, ())
        for _ in range(9):
            gate.tell("more")
        await trio.sleep(6)
        assert told(model) == {"mailbox gate": ("degraded", "its mailbox is 80% full")}
        since = model.verdict.since
        gate.tell("more")
        gate.tell("more")
        await trio.sleep(6)
        assert told(model) == {"mailbox gate": ("unhealthy", "its mailbox is 100% full")}
        assert model.verdict.since > since
        opened.set()
        await trio.sleep(6)
        assert (model.verdict.grade, model.verdict.reasons) == (Grade.HEALTHY, ())
        assert [one.grade for one in model.changes] == [Grade.DEGRADED, Grade.UNHEALTHY, Grade.HEALTHY]
        assert model.changes[1].reasons[0].component == "mailbox gate"


async def test_a_disk_at_rest_may_rest_and_whoever_asks_is_told_of_a_commit_made_now(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    async with modelled(tmp_path, replace(CALM, examine_seconds=0.1)) as (runtime, model):
        opened = await runtime.workspace(tmp_path / "project")
        wal = opened.store.database.with_name("vespera.db-wal")
        assert (await model.examine()).grade is Grade.HEALTHY
        size = wal.stat().st_size
        took = model.measured.stores[0].commit_seconds
        seen = {model.verdict.at}
        with trio.fail_after(20):
            while len(seen) < 4:
                await trio.sleep(0.02)
                seen.add(model.verdict.at)
        assert (wal.stat().st_size, model.measured.stores[0].commit_seconds) == (size, took)
        await model.examine()
        assert wal.stat().st_size > size


async def test_who_asks_at_once_is_answered_by_one_examination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_module, "_FIRST_SECONDS", 1e6)
    asked: list[int] = []

    async def count() -> None:
        await trio.lowlevel.checkpoint()
        asked.append(1)

    # Its own looks ask, too.
    async with modelled(tmp_path, replace(CALM, examine_seconds=1e6)) as (_, model):
        model.checks.attach("counter", count)
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(model.examine)
        assert asked == [1]
        await model.examine()
        assert asked == [1, 1]
        # One that is called off in the middle leaves nobody waiting.
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(0.02):
                nursery.start_soon(model.examine)
                await model.examine()
        await model.examine()


async def test_a_blocked_loop_is_told_by_the_thread_and_is_over_when_it_is_over(tmp_path: Path) -> None:
    settings = HealthSettings(Thresholds(stall_seconds=(1.0, 1.4), loop_lag_seconds=(5, 10)), live_seconds=1.4)
    async with watched_runtime(tmp_path) as watched:
        watched.health.model.settings = settings
        base = watched.endpoint.url.removesuffix("/metrics")
        pages: dict[str, tuple[int, str]] = {}

        def look() -> None:
            end = time.monotonic() + 20
            while time.monotonic() < end and fetch(base + "/livez")[0] == 200:
                threading.Event().wait(0.05)
            pages.update({path: fetch(base + path) for path in ("/livez", "/readyz", "/healthz")})

        for path, words in (("/livez", "ok\n"), ("/readyz", "ok\n")):
            assert await trio.to_thread.run_sync(fetch, base + path) == (200, words)
        assert (await trio.to_thread.run_sync(fetch, base + "/healthz"))[0] == 200
        looker = threading.Thread(target=look)
        began = time.monotonic()
        looker.start()
        looker.join(60)  # This is the loop's thread.
        took = time.monotonic() - began
        assert pages["/livez"][0] == pages["/readyz"][0] == pages["/healthz"][0] == 503
        told = re.fullmatch(r"not alive: the event loop has been blocked for (\d+) s\n", pages["/livez"][1])
        assert told is not None
        # What is told is rounded, and the tick that it tells of may have begun a little before.
        assert settings.live_seconds - 0.5 <= int(told[1]) <= took + 1
        assert pages["/readyz"][1].startswith("not ready: not alive: ")
        (reason,) = json.loads(pages["/healthz"][1])["reasons"]
        assert (reason["grade"], reason["component"]) == ("unhealthy", "loop")
        assert f"{Path(__file__).name}:" in reason["what"]
        await trio.sleep(0.01)
        assert (await trio.to_thread.run_sync(fetch, base + "/livez")) == (200, "ok\n")
        # What has happened is remembered for half a minute, with who did it.
        verdict = await watched.health.model.examine()
        assert [one.component for one in verdict.reasons] == ["loop"]
        assert "s ago" in verdict.reasons[0].what


async def test_without_a_watchdog_the_missing_beat_tells(tmp_path: Path) -> None:
    now = [100.0]
    model = HealthModel(steady=lambda: now[0])
    async with open_runtime("serve", registry=Registry(tmp_path)) as runtime, trio.open_nursery() as nursery:
        model.bind(runtime)
        now[0] += 1_000
        assert model.liveness().ok, "who does not run cannot be late"
        await nursery.start(model.run)
        await trio.testing.wait_all_tasks_blocked()
        now[0] += 10.9
        assert model.liveness().ok
        assert model.current().grade is Grade.UNHEALTHY
        now[0] += 0.1
        assert model.liveness().words == "not alive: the event loop has been blocked for 10 s"
        nursery.cancel_scope.cancel()
    assert model.liveness().ok


async def test_a_server_is_ready_while_it_takes_work(tmp_path: Path) -> None:
    async with modelled(tmp_path) as (runtime, model):
        assert model.readiness().words == "ok"
        model.unready = lambda: "its door is not open"
        assert model.readiness().words == "not ready: its door is not open"
        model.unready = lambda: None
        runtime.admission.drain()
        assert model.readiness().words == "not ready: another process takes over"
        runtime.admission.resume()
        runtime.admission.prepare(1.0)
        assert model.readiness().words == "not ready: a shutdown is prepared"
        runtime.admission.undo()
        assert model.readiness().ok
    assert HealthModel().readiness().words == "not ready: it starts"


async def test_wrong_settings_are_a_reason_and_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_module, "_READ_SECONDS", 60.0)
    given: list[HealthSettings | SettingsRefused] = [SettingsRefused("[health] knows no 'x'. Write y.")]

    def read() -> HealthSettings:
        if isinstance(given[-1], SettingsRefused):
            raise given[-1]
        return given[-1]

    async with modelled(tmp_path) as (_, model):
        model.read = read
        await model.examine()
        assert told(model) == {"configuration": ("degraded", "[health] knows no 'x'. Write y.")}
        assert model.settings is CALM
        given.append(HealthSettings(live_seconds=77.0, thresholds=CALM.thresholds))
        await model.examine()
        assert (told(model), model.settings.live_seconds) == ({}, 77.0)


async def test_a_runtime_without_a_health_of_its_own_is_measured_all_the_same(tmp_path: Path) -> None:
    async with open_runtime("run", registry=Registry(tmp_path / "state")) as runtime:
        assert health_of(runtime) is None
        model = model_of(runtime)
        assert (await model.examine()).at > 0
        assert {one.supervisor for one in model.measured.supervisors} >= {"root", "doors"}
    async with modelled(tmp_path) as (runtime, model):
        assert model_of(runtime) is model


async def test_an_examination_that_crashes_each_time_takes_nobody_with_it(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async def crash() -> None:
        await trio.lowlevel.checkpoint()
        raise RuntimeError("planned")

    async with modelled(tmp_path) as (runtime, model):
        model.front = crash
        await trio.sleep(600)
        health = health_of(runtime)
        assert health is not None
        crashes = [one for one in health.reports.entries if one.report.kind is ReportKind.CHILD_CRASHED]
        assert 5 < len(crashes) < 30, "it is tried again, and not for ever at once"
        model.front = None
        await trio.sleep(120)
        assert model.verdict.grade is Grade.HEALTHY


# ---- what components say of themselves


async def never() -> None:
    await trio.sleep_forever()


async def deaf() -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(100)


async def broken() -> None:
    await trio.lowlevel.checkpoint()
    raise RuntimeError("a secret")


async def ill() -> tuple[str, str]:
    await trio.lowlevel.checkpoint()
    return "unhealthy", "its cache is cold " + "x" * 1_000


async def nonsense() -> tuple[str, str]:
    await trio.lowlevel.checkpoint()
    return "splendid", "really"


async def well() -> None:
    await trio.lowlevel.checkpoint()


async def test_a_check_that_raises_or_hangs_is_a_reason_and_harms_nobody(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with modelled(tmp_path) as (_, model):
        for check in (never, deaf, broken, ill, nonsense, well):
            model.checks.attach(check.__name__, check)
        await trio.sleep(3)  # The first look is after a second, and a check has one.
        silent = ("degraded", "its check said nothing within 1 s")
        assert told(model) == {
            "component never": silent,
            "component deaf": silent,
            "component broken": ("degraded", "its check raised RuntimeError; the log tells more"),
            "component ill": ("unhealthy", ("its cache is cold " + "x" * 1_000)[:300]),
            "component nonsense": ("degraded", "its check raised ValueError; the log tells more"),
        }
        assert model.verdict.reasons[0].component == "component ill", "the worst comes first"
        assert "a secret" in caplog.text
        await trio.sleep(6)
        assert told(model)["component never"] == silent, "it was stopped, and asked again"
        assert "has not ended" in told(model)["component deaf"][1], "and this one goes on: it is not begun twice"


async def test_a_check_that_is_no_async_function_runs_in_a_thread_and_may_hang_there(tmp_path: Path) -> None:
    go, places = threading.Event(), []

    def hang() -> tuple[str, str]:
        places.append(threading.current_thread())
        go.wait(20)
        return "degraded", "it hung"

    def prompt() -> tuple[str, str]:
        return "degraded", "it is slow"

    async with modelled(tmp_path) as (_, model):
        model.checks.attach("hanging", hang, deadline_seconds=0.05)
        model.checks.attach("prompt", prompt, deadline_seconds=10.0)
        # A function that gives something to wait for.
        model.checks.attach("lazy", lambda: ill(), deadline_seconds=10.0)  # noqa: PLW0108
        began = trio.current_time()
        await model.examine()
        assert told(model)["component hanging"][1] == "its check said nothing within 0.05 s"
        assert told(model)["component prompt"] == ("degraded", "it is slow")
        assert told(model)["component lazy"][0] == "unhealthy"
        await trio.sleep(0.6)
        await model.examine()
        (seconds,) = re.findall(r"has not ended, (\d+) s after", told(model)["component hanging"][1])
        assert 1 <= int(seconds) <= round(trio.current_time() - began)
        assert len(places) == 1
        assert places[0] is not threading.current_thread()
        go.set()
        with trio.fail_after(20):
            while told(model)["component hanging"][1] != "it hung":
                await model.examine()
        go.set()


async def test_a_check_lives_as_long_as_its_component(tmp_path: Path) -> None:
    async def component(*, task_status: trio.TaskStatus[str]) -> None:
        task_status.started("value")
        await trio.sleep_forever()

    async with modelled(tmp_path) as (runtime, model):
        await runtime.doors.start_child(model.checks.checked(ChildSpec("cache", component), ill))
        assert runtime.doors.child_value("cache") == "value"
        await model.examine()
        assert set(told(model)) == {"component cache"}
        await runtime.doors.terminate_child("cache")
        await model.examine()
        assert told(model) == {}
        await runtime.doors.restart_child("cache")
        assert model.checks.components == ("cache",)


def test_a_check_needs_a_name_a_sensible_deadline_and_room() -> None:
    checks = HealthModel().checks
    for name, seconds, why in ((" ", 1.0, "has a name"), ("a", 0.0, "deadline"), ("a", 11.0, "deadline")):
        with pytest.raises(ValueError, match=why):
            checks.attach(name, well, deadline_seconds=seconds)
    removes = [checks.attach(str(number), well) for number in range(CHECKS_MAX)]
    with pytest.raises(ValueError, match="already"):
        checks.attach("one more", well)
    later = checks.attach("0", ill)
    removes[0]()
    assert "0" in checks.components, "the later of two with one name counts"
    later()
    assert "0" not in checks.components
