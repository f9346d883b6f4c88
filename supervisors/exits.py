"""How an incarnation ended, as a value: `Exit`, the pure classification behind it, and `Failure`, a cheap traceback.

An exit never flies through a nursery. A `Failure` keeps code objects and line numbers, no frames, so that a restart
loop keeps nothing alive; it becomes text only when somebody reads it (1 us against 117 us). Who acts on an exit:
`supervisors.restarts` (pure) and `supervisors.supervisor`.
"""

from __future__ import annotations

import enum
import traceback
from collections.abc import Iterator
from types import CodeType, TracebackType
from typing import Final, NamedTuple, cast, final

import trio

from supervisors.errors import Ignore, MaxRestartsExceeded, Shutdown
from supervisors.forcing import Killed

FRAMES_MAX: Final = 32
"""Frames kept per failure: the innermost ones."""
PARTS_MAX: Final = 8
"""Errors kept of an exception group."""
DEPTH_MAX: Final = 8
"""How far chains of causes and contexts are followed."""
MESSAGE_CHARACTERS_MAX: Final = 500
"""Length at which an error's message is cut."""
_INTERRUPTS: Final = (KeyboardInterrupt, SystemExit)
_NO_ERRORS: Final = (trio.Cancelled, trio.WouldBlock)
"""What is on its way where nothing is wrong, or being handled: trio's locks and limiters wait while they handle one."""
_SPECIAL: Final = (ExceptionGroup, Shutdown, MaxRestartsExceeded)


class ExitKind(enum.StrEnum):
    """The ways an incarnation can end."""

    NORMAL = "normal"
    """It returned, unasked."""
    SHUTDOWN = "shutdown"
    """It was asked to stop and did, or raised Shutdown."""
    CRASHED = "crashed"
    """It raised."""
    MAX_RESTARTS_EXCEEDED = "max_restarts_exceeded"
    """It was a supervisor that gave up; treated as a crash."""
    SHUTDOWN_ERROR = "shutdown_error"
    """It was asked to stop, and an error came out or was hidden by the cancellation."""
    KILLED = "killed"
    """It was stopped by force and without being asked, as its spec says (shutdown_seconds=0.0)."""
    STOP_TIMEOUT = "stop_timeout"
    """It was asked to stop, went on past its time, and was stopped by force."""
    FENCED = "fenced"
    """It could not even be stopped by force: cut off, reported, replaced; its task may still run."""
    HUNG = "hung"
    """It broke its promise of a beat, and was stopped for that."""
    IGNORED = "ignored"
    """It answered Ignore instead of becoming ready."""
    START_ERROR = "start_error"
    """It ended before it was ready."""
    START_TIMEOUT = "start_timeout"
    """It was not ready in time."""
    ESCALATED = "escalated"
    """KeyboardInterrupt or SystemExit: never restarted, always passed up."""

    @property
    def failed(self) -> bool:
        """Whether this end belongs into the crash history."""
        return self not in _NOT_FAILED


_NOT_FAILED: Final = (ExitKind.NORMAL, ExitKind.SHUTDOWN, ExitKind.KILLED, ExitKind.IGNORED)
_CRASHED: Final = ExitKind.CRASHED


class StopCause(enum.StrEnum):
    """Why an incarnation is stopped; the child finds it as `task_status.stop_cause` and as the Cancelled's reason."""

    SHUTDOWN = "shutdown"
    """For good: by a call, or because its supervisor ends for good."""
    RESTART = "restart"
    """As a bystander: another child of its group ended, and it is started again with the group."""
    KILL = "kill"
    """By force, because its supervisor is stopped by force."""
    START_TIMEOUT = "start_timeout"
    """It was not ready in time."""
    IGNORED = "ignored"
    """It answered Ignore."""
    HUNG = "hung"
    """It broke its promise of a beat."""


@final
class Failure(NamedTuple):
    """What is kept of an exception: bounded, without frames or locals; text on demand."""

    type_name: str
    """Qualified name of the exception's class."""
    message: str
    """Its text, cut at MESSAGE_CHARACTERS_MAX."""
    lines: tuple[tuple[CodeType, int], ...]
    """Where it passed, outermost first: code object and line number."""
    parts: tuple[Failure, ...] = ()
    """The errors of an exception group, at most PARTS_MAX."""
    cause: Failure | None = None
    """What it was raised from, or while handling what."""

    @classmethod
    def of(cls, error: BaseException, depth: int = 0) -> Failure:
        """Summarize `error`; a group of one is unwrapped. Reads no source files."""
        members = _members(error)
        while len(members) == 1:
            error = members[0]
            members = _members(error)
        parts: tuple[Failure, ...] = ()
        if members and depth < DEPTH_MAX:
            parts = tuple(cls.of(part, depth + 1) for part in members[:PARTS_MAX])
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        led_by = None if cause is None or depth >= DEPTH_MAX else cls.of(cause, depth + 1)
        return cls(_type_name(type(error)), _message(error), _lines(error.__traceback__), parts, led_by)

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}" if self.message else self.type_name

    def formatted(self) -> str:
        """Return a traceback as Python prints it; reads the source lines now, not when the error happened."""
        blocks: list[str] = []
        if self.cause is not None:
            blocks.append(self.cause.formatted() + "\nThe error above led to this one:\n\n")
        if self.lines:
            blocks.append("Traceback (most recent call last):\n")
            summaries = [traceback.FrameSummary(code.co_filename, line, code.co_name) for code, line in self.lines]
            blocks.extend(traceback.StackSummary.from_list(summaries).format())
        blocks.append(f"{self}\n")
        for number, part in enumerate(self.parts, start=1):
            body = "".join(f"  | {line}\n" for line in part.formatted().splitlines())
            blocks.append(f"  + part {number} of the group\n{body}")
        return "".join(blocks)


@final
class Exit(NamedTuple):
    """How one incarnation of a child ended. A tuple, as Failure is: a frozen dataclass costs 1 us more per crash."""

    kind: ExitKind
    """In which way."""
    reason: str
    """One line for a log: the error, or what happened instead."""
    incarnation: int
    """Which life of the child, from 1."""
    at: float
    """When, in seconds of trio's clock."""
    lived_seconds: float
    """How long that life lasted, its start included."""
    failure: Failure | None = None
    """What is kept of the exception, where there was one."""


def classify(
    error: BaseException | None,
    *,
    ready: bool,
    stop_cause: StopCause | None,
    hidden: BaseException | None,
    forced: ExitKind | None = None,
) -> tuple[ExitKind, BaseException | None]:
    """Name an end from what came out of the incarnation's scope, and return the error that explains it.

    Args:
        error: what left the scope; None where it ended quietly or its cancellation was absorbed.
        ready: whether the child had called started().
        stop_cause: why the supervisor stopped it; None where it ended by itself.
        hidden: an error that a Cancelled replaced on its way out, see `hidden_error`.
        forced: how an end by force is named, where it came to that: KILLED or STOP_TIMEOUT.
    """
    if stop_cause is None and ready and _is_plain(error):
        return _CRASHED, error  # The common case, before everything that takes time.
    found = error if error is not None else hidden
    if found is None:
        if stop_cause is None:
            return (ExitKind.NORMAL if ready else ExitKind.START_ERROR), None
    elif (interrupt := next((leaf for leaf in leaves(found) if isinstance(leaf, _INTERRUPTS)), None)) is not None:
        return ExitKind.ESCALATED, interrupt
    if stop_cause is not None:
        return _classify_stopped(found, stop_cause, forced)
    assert error is not None, "nothing is hidden where nothing was cancelled"
    return _classify_own(error, ready=ready)


def _is_plain(error: object) -> bool:
    return isinstance(error, Exception) and not isinstance(error, _SPECIAL)


def _classify_own(error: BaseException, *, ready: bool) -> tuple[ExitKind, BaseException | None]:
    if not ready:
        return (ExitKind.IGNORED, None) if _only(error, Ignore) else (ExitKind.START_ERROR, error)
    if _only(error, Shutdown):
        return ExitKind.SHUTDOWN, error
    return (ExitKind.MAX_RESTARTS_EXCEEDED if _only(error, MaxRestartsExceeded) else ExitKind.CRASHED), error


def _classify_stopped(
    found: BaseException | None, cause: StopCause, forced: ExitKind | None
) -> tuple[ExitKind, BaseException | None]:
    if found is not None and _only(found, Killed):
        found = None  # It says that force was used, which is known, and nothing about the child.
    match cause:
        case StopCause.START_TIMEOUT:
            return ExitKind.START_TIMEOUT, found
        case StopCause.HUNG:
            return ExitKind.HUNG, found
        case StopCause.IGNORED:
            return (ExitKind.IGNORED, None) if found is None else (ExitKind.START_ERROR, found)
        case StopCause.SHUTDOWN | StopCause.RESTART | StopCause.KILL:
            if found is not None and not _only(found, (Shutdown, Ignore, Killed)):
                return ExitKind.SHUTDOWN_ERROR, found
            return forced or (ExitKind.KILLED if cause is StopCause.KILL else ExitKind.SHUTDOWN), None


def hidden_error(cancellation: BaseException, foreign: BaseException | None = None) -> BaseException | None:
    """Return the error that was on its way out when a Cancelled took its place, or None.

    A checkpoint in `finally` raises Cancelled over a ValueError, and the scope absorbs it: it looks like a clean stop.
    An error that was merely being handled at that moment (`except OSError: await sleep(1)`) looks the same and is
    returned too; a caller reports it and never restarts for it.

    Args:
        cancellation: what came out of the child: a Cancelled, or a group that holds some.
        foreign: what was being handled where the cancel was asked for. Trio makes the Cancelled there, so it and what
            lies behind it are in the context without being the child's.
    """
    return _behind(cancellation, foreign, DEPTH_MAX)


def _behind(cancellation: BaseException, foreign: BaseException | None, depth: int) -> BaseException | None:
    for leaf in leaves(cancellation):
        behind = leaf.__context__ if isinstance(leaf, _NO_ERRORS) and leaf is not foreign else None
        if behind is None or behind is foreign or not depth:
            continue
        # A nursery on the way may have put a Cancelled into a group: that is no error either.
        found = _behind(behind, foreign, depth - 1) if _only(behind, _NO_ERRORS) else behind
        if found is not None:
            return found
    return None


def leaves(error: BaseException | None) -> Iterator[BaseException]:
    """Yield `error` itself, or the plain exceptions inside it where it is a group, however nested."""
    members = _members(error)
    if members:
        for member in members:
            yield from leaves(member)
    elif error is not None:
        yield error


def _members(error: BaseException | None) -> tuple[BaseException, ...]:
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).exceptions  # isinstance leaves its parameter unknown.
    return ()


def _only(error: BaseException, kinds: type[BaseException] | tuple[type[BaseException], ...]) -> bool:
    return all(isinstance(leaf, kinds) for leaf in leaves(error))


def _lines(tb: TracebackType | None) -> tuple[tuple[CodeType, int], ...]:
    lines: list[tuple[CodeType, int]] = []
    while tb is not None:
        lines.append((tb.tb_frame.f_code, tb.tb_lineno))
        tb = tb.tb_next
    return tuple(lines[-FRAMES_MAX:])


def _type_name(kind: type[BaseException]) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a child's own __str__ runs here, and must not take the supervisor down.
        return "(its message could not be read: __str__ raised)"
    return text if len(text) <= MESSAGE_CHARACTERS_MAX else text[:MESSAGE_CHARACTERS_MAX] + "..."
