"""A live supervisor against a pure-Python model of OTP's rules, through random calls, crashes and failing starts.

Hypothesis chooses the commands and shrinks what fails; each example then runs them on a real supervisor in virtual
time, and compares after every command: the answer, every start and end in order, every child's state and life, the
restart window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import (
    AutoShutdown,
    ChildSpec,
    Ignore,
    MaxRestartsExceeded,
    Restart,
    Strategy,
    Supervisor,
    SupervisorError,
)
from tests.supervisors.conftest import Theatre, run_around

IDS = ("a", "b", "c", "d", "e")
PERIOD = 4.0


@dataclass
class Known:
    """What the model knows of a child."""

    id: str
    restart: Restart
    significant: bool
    state: str = "down"
    lives: int = 0


@dataclass
class Model:
    """The supervisor as OTP describes it: no tasks, no waiting, no exits; a restart is a loop."""

    strategy: Strategy
    intensity: int
    auto_shutdown: AutoShutdown
    children: list[Known] = field(default_factory=list)
    plans: dict[str, deque[str]] = field(default_factory=lambda: {name: deque() for name in IDS})
    log: list[str] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)
    now: float = 0.0
    over: str | None = None

    def find(self, name: str) -> Known | None:
        return next((child for child in self.children if child.id == name), None)

    def running(self) -> list[str]:
        return [child.id for child in self.children if child.state == "running"]

    # ---- one child

    def start(self, child: Known) -> str:
        child.lives += 1
        how = self.plans[child.id].popleft() if self.plans[child.id] else "ready"
        self.log.append(f"{'+' if how == 'ready' else '!'}{child.id}")
        child.state = "running" if how == "ready" else "down"
        if how == "ignore" and child.restart is Restart.TEMPORARY:
            self.children.remove(child)
        return how

    def stop(self, child: Known) -> None:
        if child.state == "running":
            self.log.append(f"-{child.id}")
        child.state = "down"
        if child.restart is Restart.TEMPORARY:
            self.children.remove(child)

    def stop_all(self) -> None:
        for child in reversed(list(self.children)):
            self.stop(child)

    # ---- what follows from an end

    def end(self, name: str, how: str) -> None:
        child = self.find(name)
        self.log.append(f"-{name}")
        child.state = "down"
        if child.restart is Restart.PERMANENT or (child.restart is Restart.TRANSIENT and how == "crash"):
            self.rebuild(child)
            return
        if child.restart is Restart.TEMPORARY:
            self.children.remove(child)
        others = any(each.significant and each.state == "running" for each in self.children)
        is_any = self.auto_shutdown is AutoShutdown.ANY_SIGNIFICANT
        if child.significant and self.auto_shutdown is not AutoShutdown.NEVER and (is_any or not others):
            self.stop_all()
            self.over = "shut down"

    def rebuild(self, child: Known) -> None:
        while True:
            self.moments = [each for each in self.moments if each >= self.now - PERIOD] + [self.now]
            if len(self.moments) > self.intensity:
                self.stop_all()
                self.over = "gave up"
                return
            group = list(self.children)
            if self.strategy is Strategy.ONE_FOR_ONE:
                group = [child]
            elif self.strategy is Strategy.REST_FOR_ONE:
                group = group[group.index(child) :]
            for other in reversed(group):
                if other is not child:
                    self.stop(other)
            for member in group:
                if member in self.children and self.start(member) == "fail":
                    child = member
                    break
            else:
                return

    # ---- calls: each returns what the live one answers

    def start_child(self, name: str, restart: Restart, significant: bool) -> str:
        if significant and self.auto_shutdown is AutoShutdown.NEVER:
            return "SpecError"
        if (present := self.find(name)) is not None:
            return "AlreadyStarted" if present.state == "running" else "AlreadyPresent"
        child = Known(name, restart, significant)
        self.children.append(child)
        how = self.start(child)
        if how == "fail":
            self.children.remove(child)
            return "StartFailed"
        return "ignored" if how == "ignore" else f"life {child.lives}"

    def restart_child(self, name: str) -> str:
        child = self.find(name)
        if child is None:
            return "ChildNotFound"
        if child.state == "running":
            return "ChildRunning"
        how = self.start(child)
        return {"fail": "StartFailed", "ignore": "ignored"}.get(how, f"life {child.lives}")

    def delete_child(self, name: str) -> str:
        child = self.find(name)
        if child is None:
            return "ChildNotFound"
        if child.state == "running":
            return "ChildRunning"
        self.children.remove(child)
        return "None"

    def terminate_child(self, name: str) -> str:
        child = self.find(name)
        if child is None:
            return "ChildNotFound"
        self.stop(child)
        return "None"

    def change(self, strategy: Strategy, intensity: int) -> str:
        self.strategy, self.intensity = strategy, intensity
        return "None"

    def used(self) -> int:
        return len([each for each in self.moments if each >= self.now - PERIOD])


class Live:
    """The same commands for a real supervisor."""

    def __init__(self, model: Model) -> None:
        self.theatre = Theatre()
        self.supervisor = Supervisor(
            name="live",
            strategy=model.strategy,
            intensity=model.intensity,
            period_seconds=PERIOD,
            auto_shutdown=model.auto_shutdown,
        )

    async def answer(self, call: Awaitable[object]) -> str:
        try:
            answer = await call
        except SupervisorError as refusal:
            return type(refusal).__name__
        if answer is None:
            return "None"
        return "ignored" if answer.ignored else f"life {answer.incarnation}"

    async def start_child(self, name: str, restart: Restart, significant: bool) -> str:
        spec = ChildSpec(name, self.theatre.play, args=(name,), restart=restart, significant=significant)
        return await self.answer(self.supervisor.start_child(spec))

    async def call(self, call: str, name: str) -> str:
        return await self.answer(getattr(self.supervisor, call)(name))

    async def change(self, strategy: Strategy, intensity: int) -> str:
        return await self.answer(self.supervisor.change(strategy=strategy, intensity=intensity))

    async def end(self, name: str, how: str) -> str:
        await getattr(self.theatre, how)(name)
        return "None"

    async def plan(self, name: str, plan: list[str]) -> str:
        self.theatre.starts[name] = deque(Ignore() if how == "ignore" else ValueError(how) for how in plan)
        return "None"

    async def sleep(self, seconds: float) -> str:
        await trio.sleep(seconds)
        return "None"


Step = tuple[Callable[[Live], Awaitable[str]], str, dict[str, object]]


class SupervisorMachine(RuleBasedStateMachine):
    """Random commands; the model goes along, the live run follows at the end of the example."""

    @initialize(
        strategy=st.sampled_from(list(Strategy)), intensity=st.integers(0, 4), auto=st.sampled_from(list(AutoShutdown))
    )
    def begin(self, strategy: Strategy, intensity: int, auto: AutoShutdown) -> None:
        self.model = Model(strategy, intensity, auto)
        self.live = Live(self.model)
        self.steps: list[Step] = []

    def do(self, live: Callable[[Live], Awaitable[str]], answer: str | None) -> None:
        model = self.model
        expected = {
            "log": list(model.log),
            "children": [(each.id, each.state, each.lives) for each in model.children],
            "over": model.over,
            "used": None if model.over else model.used(),
        }
        model.log.clear()
        self.steps.append((live, str(answer), expected))

    def lives(self) -> bool:
        return self.model.over is None

    @precondition(lives)
    @rule(name=st.sampled_from(IDS), restart=st.sampled_from(list(Restart)), significant=st.booleans())
    def start_child(self, name: str, restart: Restart, significant: bool) -> None:
        significant = significant and restart is not Restart.PERMANENT
        answer = self.model.start_child(name, restart, significant)
        self.do(lambda live: live.start_child(name, restart, significant), answer)

    @precondition(lives)
    @rule(name=st.sampled_from(IDS), call=st.sampled_from(["restart_child", "delete_child", "terminate_child"]))
    def call(self, name: str, call: str) -> None:
        answer = getattr(self.model, call)(name)
        self.do(lambda live: live.call(call, name), answer)

    @precondition(lambda self: self.lives() and self.model.running())
    @rule(which=st.integers(0, 4), how=st.sampled_from(["crash", "crash", "finish", "shut_down"]))
    def end(self, which: int, how: str) -> None:
        running = self.model.running()
        name = running[which % len(running)]
        self.model.end(name, how)
        self.do(lambda live: live.end(name, how), None)

    @precondition(lives)
    @rule(name=st.sampled_from(IDS), plan=st.lists(st.sampled_from(["fail", "fail", "ignore"]), max_size=3))
    def plan(self, name: str, plan: list[str]) -> None:
        self.model.plans[name] = deque(plan)
        self.do(lambda live: live.plan(name, plan), None)

    @precondition(lives)
    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0, PERIOD]))
    def sleep(self, seconds: float) -> None:
        self.model.now += seconds
        self.do(lambda live: live.sleep(seconds), None)

    @precondition(lives)
    @rule(strategy=st.sampled_from(list(Strategy)), intensity=st.integers(0, 4))
    def change(self, strategy: Strategy, intensity: int) -> None:
        answer = self.model.change(strategy, intensity)
        self.do(lambda live: live.change(strategy, intensity), answer)

    @precondition(lambda self: not self.lives())
    @rule(name=st.sampled_from(IDS))
    def call_too_late(self, name: str) -> None:
        self.do(lambda live: live.call("terminate_child", name), "SupervisorNotRunning")

    def teardown(self) -> None:
        if hasattr(self, "steps"):
            trio.run(self.run_live, clock=MockClock(autojump_threshold=0))

    async def run_live(self) -> None:
        live, model = self.live, self.model
        async with run_around(live.supervisor) as run:
            for step, answer, expected in self.steps:
                assert await step(live) == answer
                await wait_all_tasks_blocked()
                seen = {
                    "log": live.theatre.taken(),
                    "children": [(c.id, c.state, c.incarnation) for c in live.supervisor.tree_children()],
                    "over": _over(run),
                    "used": None if run.over.is_set() else live.supervisor._life.window.used(trio.current_time()),
                }
                assert seen == expected
            model.stop_all()
        assert live.theatre.log == model.log


def _over(run) -> str | None:
    if not run.over.is_set():
        return None
    assert run.error is None or isinstance(run.error, MaxRestartsExceeded)
    return "shut down" if run.error is None else "gave up"


SupervisorMachine.TestCase.settings = settings(max_examples=500, stateful_step_count=30, deadline=None)


@pytest.mark.unmeasured
class TestSupervisorAgainstItsModel(SupervisorMachine.TestCase):
    """500 examples of up to 30 commands."""
