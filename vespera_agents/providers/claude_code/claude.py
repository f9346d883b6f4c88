"""Claude Code as a provider: whole tasks by a process of their own each, and single requests without tools.

Each task has a directory of its own below `home` for what Claude Code keeps between runs, and a run id that its asker
wrote down before; so a run that was killed with us is gone on with by the next one. A run that is cancelled is asked to
stop first, because then it tells what it cost, and killed after a bounded time. Not here: reservations, limits, retries
(`models`), working copies (whoever asks). Neighbours: `run` is one process, `endings` says what it came to.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol, final

import trio

from supervisors import ChildSpec, Restart, SupervisorError
from supervisors.guardian import Guardian, GuardianError
from supervisors.supervisor import StartedChild
from vespera_agents.providers.claude_code.command_line import arguments, environment_of
from vespera_agents.providers.claude_code.endings import WrongWay, carried, failure
from vespera_agents.providers.claude_code.run import Run
from vespera_agents.providers.claude_code.settings import ClaudeCodeSettings
from vespera_agents.providers.claude_code.tally import Tally
from vespera_agents.providers.errors import BadRequest, NotConfigured, ProviderError, TimedOut, Unavailable
from vespera_agents.providers.exchange import (
    Capabilities,
    Chunk,
    Completion,
    CompletionStream,
    ModelRequest,
    Price,
    ProviderStatistics,
)
from vespera_agents.providers.whole_tasks import Carried, Hear, WholeTask, WorkFacts

__all__ = ["SETTLE_SECONDS", "Children", "ClaudeCode"]

SETTLE_SECONDS: Final = 5.0
"""How long a run that was asked to stop may take to tell its result."""
STOP_SECONDS: Final = 12.0
"""What its end may take beyond that, signals and the last of its output included."""
_OUTPUT_TOKENS_MAX: Final = 32_000
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
_ROLE_FILE: Final = "role.md"


class Children(Protocol):
    """The dynamic supervisor below which the processes run."""

    async def start_child(self, spec: ChildSpec) -> StartedChild:
        """Start a child."""
        ...

    async def terminate_child(self, child_id: str) -> None:
        """Stop a child, bounded."""
        ...


def _nobody(_: WorkFacts) -> None:
    """Hear nothing."""


def _nothing(_: str) -> None:
    """Take no pieces."""


@final
class ClaudeCode:
    """Claude Code, as many processes as it has tasks."""

    def __init__(
        self,
        settings: ClaudeCodeSettings,
        *,
        guardian: Callable[[], Awaitable[Guardian]],
        children: Callable[[], Awaitable[Children]],
        environ: Mapping[str, str],
    ) -> None:
        """Say who it is.

        Args:
            settings: its program and what it is started with.
            guardian: gives who kills its processes if this one dies.
            children: gives the supervisor of its processes; raises a SupervisorError while there is none.
            environ: our environment, of which it gets the named variables only.
        """
        self._settings = settings
        self._guardian = guardian
        self._children = children
        self._environ = environ
        self._runs: dict[str, Run] = {}
        self._requests = 0
        self._failures = 0
        self._denials = 0

    @property
    def name(self) -> str:
        """As the configuration names it."""
        return self._settings.name

    @property
    def models(self) -> Sequence[str]:
        """Its models, the default first."""
        return self._settings.models

    def capabilities(self, model: str) -> Capabilities:  # noqa: ARG002 - all of its models are run in the same way
        """Say what it can do: whole tasks, and answers without tools."""
        return Capabilities(self._settings.context_tokens_max, _OUTPUT_TOKENS_MAX, tools=False, acts_alone=True)

    def price(self, model: str) -> Price | None:  # noqa: ARG002 - see below
        """Give none: it tells itself what a run has cost, and keeps the limit that it was given."""
        return None

    def most_usd(self, whole: WholeTask) -> float:
        """Say what a task can cost at most."""
        most = self._settings.spend_usd_per_task
        return most if whole.spend_usd_max is None else min(whole.spend_usd_max, most)

    def statistics(self) -> ProviderStatistics:
        """Give its numbers as they are now."""
        return ProviderStatistics(self.name, tuple(self.models), len(self._runs), self._requests, self._failures)

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        return {"running": len(self._runs), "requests": self._requests, "denials": self._denials}

    async def aclose(self) -> None:
        """Do nothing: its processes end with those who asked for them."""
        await trio.lowlevel.checkpoint()

    async def carry_out(self, whole: WholeTask, hear: Hear = _nobody) -> Carried:
        """Carry out a whole task; see `ActsAlone`."""
        return await self._carry_out(whole, hear, _nothing, SETTLE_SECONDS)

    async def interrupt(self, name: str) -> bool:
        """Have the run of that name stop at the next moment, and say whether there was one."""
        run = self._runs.get(name)
        if run is None or run.ended.is_set():
            return False
        await run.interrupt()
        return True

    async def complete(self, request: ModelRequest) -> Completion:
        """Have one request answered by a process that may use no tool."""
        return await self._answer(request, _nothing)

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncGenerator[CompletionStream]:
        """Have one request answered bit by bit; leaving the block ends the process."""
        pieces = _Pieces()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pieces.gather, self._answer, request)
                try:
                    yield pieces
                finally:
                    nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            # What the block raised, as it raised it.
            raise group.exceptions[0] from None

    async def _answer(self, request: ModelRequest, piece: Callable[[str], None]) -> Completion:
        if request.tools:
            raise BadRequest(
                self.name, "it takes no tools of ours: it has its own", "Give it the whole task, or ask another model."
            )
        directory = Path(tempfile.mkdtemp(prefix="ask-", dir=_made(self._settings.home)))
        try:
            whole = WholeTask(
                directory.name,
                str(uuid.uuid4()),
                _conversation(request),
                directory,
                system=request.system,
                model=request.model,
                turns_max=1,
                timeout_seconds=request.timeout_seconds,
            )
            return (await self._carry_out(whole, _nobody, piece, 0.0)).completion
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(_remove, directory)

    async def _carry_out(
        self, whole: WholeTask, hear: Hear, piece: Callable[[str], None], settle_seconds: float
    ) -> Carried:
        self._requests += 1
        try:
            self._check(whole)
            try:
                return await self._once(whole, whole.begun, hear, piece, settle_seconds)
            except WrongWay:
                # Killed before it was known, or begun by somebody who could not say so any more.
                return await self._once(whole, not whole.begun, hear, piece, settle_seconds)
        except WrongWay as both:
            self._failures += 1
            raise Unavailable(
                self.name,
                f"run {whole.run_id} can neither be begun nor be gone on with",
                "Look whether another process works under this id; else ask for the task again.",
            ) from both
        except ProviderError:
            self._failures += 1
            raise

    def _check(self, whole: WholeTask) -> None:
        if not _NAME.fullmatch(whole.name):
            raise BadRequest(self.name, f"no task can be called {whole.name!r:.110}", "Use letters and digits.")
        if whole.name in self._runs:
            raise BadRequest(self.name, f"{whole.name} is being worked on already", "Wait until that has ended.")
        if not whole.directory.is_dir():
            raise BadRequest(self.name, f"there is no directory {whole.directory}", "Open the working copy first.")

    async def _once(
        self, whole: WholeTask, resume: bool, hear: Hear, piece: Callable[[str], None], settle_seconds: float
    ) -> Carried:
        tally = Tally(whole.run_id)
        tally.resumed = resume
        run = await self._made(whole, resume, tally, hear, piece)
        child_id = f"{self.name} {whole.name}"
        self._runs[whole.name] = run
        try:
            await self._start(child_id, run)
            with trio.move_on_after(whole.timeout_seconds) as limit:
                try:
                    await run.ended.wait()
                finally:
                    if not run.ended.is_set():
                        await self._settle(child_id, run, settle_seconds)
        finally:
            del self._runs[whole.name]
            facts = tally.facts()
            self._denials += len(facts.denials)
            if facts != WorkFacts(whole.run_id, resumed=resume):
                hear(facts)
        if limit.cancelled_caught:
            raise TimedOut(
                self.name,
                f"it did not come to its end within {whole.timeout_seconds:g} s",
                "Give it more time, or break the task down; the same run can be gone on with.",
            )
        failed = failure(self.name, tally, run.status, run.errors, run.broken_lines)
        if failed is not None:
            raise failed
        return carried(self.name, whole, tally)

    async def _made(
        self, whole: WholeTask, resume: bool, tally: Tally, hear: Hear, piece: Callable[[str], None]
    ) -> Run:
        settings = self._settings
        config = _made(settings.home / whole.name)
        role = None
        if whole.system:
            role = config / _ROLE_FILE
            role.write_text(whole.system, encoding="utf-8")
        environment = environment_of(
            self._environ, config=config, named=settings.environment, credential=settings.credential()
        )
        program = shutil.which(settings.program[0], path=environment.get("PATH"))
        if program is None:
            raise NotConfigured(
                self.name,
                f"there is no program {settings.program[0]!r}",
                "Install Claude Code, or name its program in the configuration.",
            )
        chosen = replace(
            whole, model=whole.model or next(iter(settings.models), ""), spend_usd_max=self.most_usd(whole)
        )
        given = arguments(
            chosen,
            resume=resume,
            context_tokens_max=settings.context_tokens_max,
            partial=piece is not _nothing,
            system_file=role,
        )
        try:
            guardian = await self._guardian()
        except GuardianError as error:
            raise Unavailable(self.name, f"no guardian watches over it ({error})", "Try again.") from error
        return Run(
            [program, *settings.program[1:], *given],
            whole.directory,
            environment,
            guardian,
            _said(whole.text),
            tally,
            lambda: hear(tally.facts()),
            piece,
        )

    async def _start(self, child_id: str, run: Run) -> None:
        spec = ChildSpec(child_id, run.main, restart=Restart.TEMPORARY, shutdown_seconds=STOP_SECONDS)
        try:
            # A start that has begun is finished whoever waits for it: it takes milliseconds.
            with trio.CancelScope(shield=True):
                await (await self._children()).start_child(spec)
        except SupervisorError as error:
            raise Unavailable(self.name, f"its process could not be started ({error})", "Try again.") from error

    async def _settle(self, child_id: str, run: Run, seconds: float) -> None:
        """Bring a run to its end: ask it to stop, then end its process."""
        with trio.CancelScope(shield=True):
            with trio.move_on_after(seconds):
                await run.interrupt()
                await run.ended.wait()
            if not run.ended.is_set():
                with trio.move_on_after(STOP_SECONDS):
                    try:
                        await (await self._children()).terminate_child(child_id)
                    except SupervisorError:
                        # Its supervisor ends just now, and it with it.
                        await run.ended.wait()


@final
@dataclass(slots=True)
class _Pieces:
    """An answer on its way: what has come and was not taken yet is one piece."""

    _waiting: str = ""
    _changed: trio.Event = field(default_factory=trio.Event)
    _whole: Completion | None = None
    _failed: ProviderError | None = None

    async def gather(
        self,
        answer: Callable[[ModelRequest, Callable[[str], None]], Awaitable[Completion]],
        request: ModelRequest,
    ) -> None:
        """Have the request answered."""
        try:
            self._whole = await answer(request, self._take)
        except ProviderError as error:
            self._failed = error
        finally:
            self._changed.set()

    def _take(self, piece: str) -> None:
        self._waiting += piece
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        """Give the pieces as they come."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            text, self._waiting = self._waiting, ""
            if text:
                yield Chunk(text)
            if self._failed is not None:
                raise self._failed
            if self._whole is not None:
                return

    @property
    def completion(self) -> Completion:
        """The whole answer; only after the last chunk."""
        assert self._whole is not None, "the answer is whole after its last piece"
        return self._whole


def _said(text: str) -> dict[str, object]:
    """Give the message of a user."""
    return {"type": "user", "message": {"role": "user", "content": [{"type": "text", "text": text}]}}


def _conversation(request: ModelRequest) -> str:
    """Give a conversation as one text: it takes up none that it has not led itself."""
    if len(request.messages) == 1:
        return request.messages[0].text
    return "\n\n".join(f"[{message.author}]\n{message.text}" for message in request.messages)


def _made(directory: Path) -> Path:
    """Make a directory of this user's only."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
