"""The Specialist: the actor that carries out tasks in the name of one role.

One specialist does one thing at a time and has a context budget of its own. It runs commands, writes briefings and
works by itself with a model. What came of the work goes back to whoever asked, who commits it; only the steps of work
with a model it writes down itself. Neighbours: `conductor` and `orchestrator` ask it, `agent` is its work with a model,
`capabilities` runs the commands, `roles` says what it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import trio

from supervisors.guardian import LateGuardian
from vespera_agents.actors import Actor, Request, receives
from vespera_agents.capabilities import CommandOutcome, command_environment, run_command
from vespera_agents.context.packing import HeldContext
from vespera_agents.context.tokens import estimate_tokens
from vespera_agents.logs import correlated, log_event
from vespera_agents.providers.exchange import Completion, Need
from vespera_agents.specialists.briefing import Briefing, Surroundings, brief
from vespera_agents.specialists.help import DEADLINE_SECONDS_MAX, GiveHelp, GivenHelp, answer_question
from vespera_agents.specialists.outcomes import GateReport, WorkOutcome
from vespera_agents.specialists.roles import Role
from vespera_agents.store import ArtifactWriter, Store
from vespera_agents.store.commands import NewArtifact
from vespera_agents.work.models import ArtifactKind, CommandLine, Task, TaskStatus, TaskType
from vespera_agents.workspace import Workspace

if TYPE_CHECKING:
    from vespera_agents.specialists.agent.desk import Desk, Thinks

__all__ = [
    "CarryOut",
    "CheckGates",
    "HandOver",
    "Specialist",
    "TakeOver",
    "WorkAlone",
    "Workbench",
    "WriteBriefing",
    "WriteProse",
]

OUTPUT_BYTES_MAX: Final = 16 * 1024 * 1024
"""Output of one command that is kept; the rest is counted and dropped."""
_REASON_LINES: Final = 3
_GRACE_SECONDS: Final = 60.0
"""What a task may take beyond what its commands may."""
_logger: Final = logging.getLogger("vespera_agents.work")
_LINE_MAX: Final = 400
"""Characters of an output line that are shown."""


@final
@dataclass(frozen=True, slots=True)
class Workbench:
    """What a specialist works with."""

    workspace: Workspace
    store: Store
    guardian: LateGuardian
    base_environment: dict[str, str] = field(repr=False)
    """The environment that commands get, before the workspace's own programs are put in front."""


@final
@dataclass(frozen=True, slots=True)
class CarryOut(Request[WorkOutcome]):
    """Carry out a task that is a command: its condition, its work, its gates."""

    task: Task
    on_line: Callable[[str], None]
    """Called with each line of output as it comes."""
    scope: trio.CancelScope
    """Cancel it to call the work off: the command and its group are killed, and the outcome is pending."""


@final
@dataclass(frozen=True, slots=True)
class WorkAlone(Request[WorkOutcome]):
    """Work on a task with a model, step by step, from wherever its steps have come to."""

    desk: Desk
    scope: trio.CancelScope
    """Cancel it to call the work off: what is under way ends, and the outcome is pending."""


@final
@dataclass(frozen=True, slots=True)
class WriteProse(Request[Completion | None]):
    """Tell in prose what was gathered of a piece of work; None where no model could."""

    text: str
    models: Thinks
    need: Need


@final
@dataclass(frozen=True, slots=True)
class CheckGates(Request[GateReport]):
    """Run the gates of a task that somebody else carried out."""

    task: Task
    scope: trio.CancelScope
    """Cancel it to call the gates off: the command and its group are killed."""
    on_gate: Callable[[int, CommandLine], None] = lambda _, __: None
    """Called with the number of gates that have succeeded and the one that begins."""


@final
@dataclass(frozen=True, slots=True)
class WriteBriefing(Request[Briefing]):
    """Write the prompt for a task."""

    task: Task
    around: Surroundings


@final
@dataclass(frozen=True, slots=True)
class HandOver(Request[HeldContext | None]):
    """Say what the context holds, for a specialist in another process; None where it holds nothing of a task."""


@final
@dataclass(frozen=True, slots=True)
class TakeOver(Request[None]):
    """Go on with what a specialist of the same role had built up in another process."""

    held: HeldContext


@final
class Specialist(Actor):
    """A role at work."""

    def __init__(self, role: Role, bench: Workbench) -> None:
        self._role = role
        self._bench = bench
        self._context_tokens = 0
        self._current: str | None = None
        self._begun_at = 0.0
        self._held: HeldContext | None = None

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it: its context fill and what it works on."""
        detail: dict[str, str | int | float] = {
            "role": self._role.name,
            "context_tokens": self._context_tokens,
            "context_tokens_max": self._role.context_tokens_max,
            "context_fill": round(self._context_tokens / self._role.context_tokens_max, 4),
        }
        return detail if self._current is None else {**detail, "task": self._current}

    @receives
    async def write_briefing(self, message: WriteBriefing) -> Briefing:
        """Write a prompt; it is what this specialist's context holds from now on."""
        task = message.task
        with correlated(session=task.session_id, task=task.id):
            briefing = await brief(self._role, task, message.around)
            log_event(_logger, logging.INFO, "briefing written", role=self._role.name, tokens=briefing.context_tokens)
        self._context_tokens = briefing.context_tokens
        self._held = HeldContext(task.session_id, task.id, self._role.name, briefing.context_tokens, briefing.sections)
        return briefing

    @receives
    def hand_over(self, _: HandOver) -> HeldContext | None:
        """Give what this specialist's context holds."""
        return self._held

    @receives
    def take_over(self, message: TakeOver) -> None:
        """Hold what another one held."""
        self._held = message.held
        self._context_tokens = message.held.context_tokens

    @receives
    async def carry_out(self, message: CarryOut) -> WorkOutcome:
        """Run a task's condition, work and gates, keeping their output as an artifact."""
        with self._at_work_on(message.task), message.scope:
            outcome = await self._work(message)
            log_event(_logger, logging.INFO, "work ended", role=self._role.name, status=outcome.status.value)
            return outcome
        return WorkOutcome(TaskStatus.PENDING, reason="called off")

    @receives
    async def work_alone(self, message: WorkAlone) -> WorkOutcome:
        """Work with a model; each step is durable before the next begins."""
        from vespera_agents.specialists.agent.loop import work_through  # noqa: PLC0415 - most servers ask no models

        desk = message.desk
        check = partial(self._report_gates, desk.task, directory=desk.directory)
        with self._at_work_on(desk.task), message.scope:
            own = replace(desk, check=check, fills=self._fill, begins=self._begin_step)
            outcome = await work_through(own)
            log_event(_logger, logging.INFO, "work ended", role=self._role.name, status=outcome.status.value)
            return outcome
        return WorkOutcome(TaskStatus.PENDING, reason="called off")

    @receives
    async def give_help(self, message: GiveHelp) -> GivenHelp:
        """Answer a question of another specialist, out of a context that holds nothing else."""
        self._current, self._held = message.task_id, None
        self._context_tokens = min(estimate_tokens(message.question), self._role.context_tokens_max)
        self.busy_limit_seconds = DEADLINE_SECONDS_MAX + _GRACE_SECONDS
        try:
            with correlated(session=message.session_id, task=message.task_id), message.scope:
                return await answer_question(self._role, message)
            return GivenHelp(problem="nobody waited any more")
        finally:
            self._current = self.busy_limit_seconds = None

    @receives
    async def write_prose(self, message: WriteProse) -> Completion | None:
        """Tell what was gathered, out of a context that holds nothing else."""
        from vespera_agents.specialists.agent.prose import SECONDS_MAX, write_prose  # noqa: PLC0415 - as above

        self._held = None
        self._context_tokens = min(estimate_tokens(message.text), self._role.context_tokens_max)
        self.busy_limit_seconds = SECONDS_MAX + _GRACE_SECONDS
        try:
            return await write_prose(self._role, message.text, message.models, message.need)
        finally:
            self.busy_limit_seconds = None

    def _fill(self, context_tokens: int) -> None:
        self._context_tokens = context_tokens

    def _begin_step(self, seconds: float) -> None:
        self.busy_limit_seconds = trio.current_time() - self._begun_at + seconds + _GRACE_SECONDS

    @receives
    async def check_gates(self, message: CheckGates) -> GateReport:
        """Run a task's gates, keeping their output as an artifact."""
        task = message.task
        with self._at_work_on(task), message.scope:
            return await self._report_gates(task, message.on_gate)
        return GateReport(called_off=True)

    async def _report_gates(
        self,
        task: Task,
        on_gate: Callable[[int, CommandLine], None] = lambda _, __: None,
        directory: Path | None = None,
    ) -> GateReport:
        with _Log(self._bench.store.artifacts.writer(), lambda _: None) as log:
            failure = await self._gates(task, log, on_gate, directory)
            artifact = await log.keep(f"gates of {task.title}", ArtifactKind.TEST)
        return GateReport(failure, (artifact,))

    @contextmanager
    def _at_work_on(self, task: Task) -> Generator[None]:
        """Hold what the task says of itself as the context, and show the task in the tree, while the block lasts."""
        self._current = task.id
        self._begun_at = trio.current_time()
        # The output of commands goes to an artifact, not into the context.
        self._held = None
        self._context_tokens = min(estimate_tokens(task.description), self._role.context_tokens_max)
        lines = [line for line in (task.when, task.run, *task.gates) if line is not None]
        self.busy_limit_seconds = sum((line.timeout_seconds for line in lines), _GRACE_SECONDS)
        try:
            with correlated(session=task.session_id, task=task.id):
                log_event(_logger, logging.INFO, "work begins", role=self._role.name)
                yield
        finally:
            self._current = self.busy_limit_seconds = None

    async def _work(self, message: CarryOut) -> WorkOutcome:
        task = message.task
        assert task.run is not None, "only a task that is a command is carried out"
        with _Log(self._bench.store.artifacts.writer(), message.on_line) as log:
            if task.when is not None:
                condition = await self._run(task.when, log)
                if not condition.succeeded:
                    reason = f"its condition did not hold: {_sentence(task.when, condition, log)}"
                    return WorkOutcome(TaskStatus.CANCELLED, reason=reason, waived=True)
            outcome = await self._run(task.run, log)
            failure = None if outcome.succeeded else _sentence(task.run, outcome, log)
            if failure is None:
                failure = await self._gates(task, log)
            kind = ArtifactKind.TEST if task.task_type is TaskType.TESTING else ArtifactKind.GENERAL
            artifact = await log.keep(f"output of {task.title}", kind)
        if failure is not None:
            return WorkOutcome(TaskStatus.FAILED, reason=failure, artifacts=(artifact,))
        gates = f", {len(task.gates)} gates passed" if task.gates else ""
        summary = f"`{task.run.text}`: {outcome.describe()}{gates}"
        return WorkOutcome(TaskStatus.COMPLETED, summary=summary, artifacts=(artifact,))

    async def _gates(
        self,
        task: Task,
        log: _Log,
        on_gate: Callable[[int, CommandLine], None] = lambda _, __: None,
        directory: Path | None = None,
    ) -> str | None:
        """Run the gates in order; give what is wrong with the first that does not succeed."""
        for number, gate in enumerate(task.gates):
            on_gate(number, gate)
            outcome = await self._run(gate, log, directory)
            if not outcome.succeeded:
                return f"the gate {_sentence(gate, outcome, log)}"
        return None

    async def _run(self, line: CommandLine, log: _Log, directory: Path | None = None) -> CommandOutcome:
        bench = self._bench
        home, here = bench.workspace.directory, directory or bench.workspace.directory
        log.begin(line)
        # A working copy has no environment of its own: its programs are those of the workspace.
        elsewhere = {} if here == home else {"PWD": str(here)}
        outcome = await run_command(
            line,
            directory=here,
            environment=command_environment(home, bench.base_environment, elsewhere),
            guardian=await bench.guardian.guardian(),
            sink=log.write,
            output_bytes_max=OUTPUT_BYTES_MAX,
        )
        log.end(outcome)
        return outcome


@final
class _Log:
    """The output of a task's commands on its way into one artifact, and its last lines for whoever watches."""

    def __init__(self, writer: ArtifactWriter, on_line: Callable[[str], None]) -> None:
        self._writer = writer
        self._on_line = on_line
        self._rest = b""
        self.last_lines: list[str] = []

    def __enter__(self) -> _Log:
        self._writer.__enter__()
        return self

    def __exit__(self, *exit_: object) -> None:
        self._writer.__exit__(*exit_)

    def begin(self, line: CommandLine) -> None:
        self.last_lines = []
        self._writer.write(f"$ {line.text}\n".encode())

    def write(self, data: bytes) -> None:
        self._writer.write(data)
        *whole, rest = (self._rest + data).split(b"\n")
        # A program that never ends its line must not fill the memory.
        self._rest = rest[-_LINE_MAX:]
        for raw in whole[-_REASON_LINES * 10 :]:
            self._show(raw)

    def end(self, outcome: CommandOutcome) -> None:
        self._show(self._rest)
        newline = b"\n" if self._rest else b""
        self._rest = b""
        dropped = f", {outcome.output_dropped_bytes} bytes dropped" if outcome.output_dropped_bytes else ""
        self._writer.write(newline + f"[{outcome.describe()}{dropped}]\n".encode())

    async def keep(self, name: str, kind: ArtifactKind) -> NewArtifact:
        sha256, size = await self._writer.finish()
        return NewArtifact(kind, name, "text/plain", size, sha256)

    def _show(self, raw: bytes) -> None:
        line = raw[-_LINE_MAX:].decode(errors="replace").strip()
        if line:
            self.last_lines = [*self.last_lines[1 - _REASON_LINES :], line]
            self._on_line(line)


def _sentence(line: CommandLine, outcome: CommandOutcome, log: _Log) -> str:
    last = f": {' / '.join(log.last_lines)}" if log.last_lines and outcome.problem is None else ""
    return f"`{line.text}`: {outcome.describe()}{last}"
