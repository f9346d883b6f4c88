"""Running a command that is allowed, in the working copy, with what is kept of its output bounded.

Whether it is allowed, and which environment it gets, is decided by whoever made the toolbox. Neighbours: `commands` of
the capabilities runs it under the guardian; nothing of it outlives the call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from pydantic import ValidationError

from supervisors.guardian import Guardian
from vespera_agents.capabilities.commands import run_command
from vespera_agents.capabilities.environment import command_environment
from vespera_agents.work.models import CommandLine

__all__ = ["CommandRefused", "Commands", "run_allowed"]

OUTPUT_READ_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes of output that are looked at; the end of a longer one is not seen."""
_HEAD_BYTES: Final = 8 * 1024
_TAIL_BYTES: Final = 24 * 1024


@final
class CommandRefused(Exception):
    """A command is not run; the message says why and what to do."""


@final
@dataclass(frozen=True, slots=True)
class Commands:
    """What commands need to be run, and who decides whether they may."""

    guardian: Guardian
    """Ends them with this process."""
    environment: Mapping[str, str]
    """The owner's, without anybody's keys."""
    refusal: Callable[[CommandLine], str | None]
    """Says why a command may not run, None when it may."""
    timeout_seconds_max: float = 600.0
    """No command gets more, whatever it asks for."""
    hear: Callable[[bytes], None] | None = None
    """Hears the output as it comes; must not block or raise."""


async def run_allowed(commands: Commands, directory: Path, text: str, timeout_seconds: float) -> tuple[str, bool]:
    """Run a command; give what is told of it, and whether it succeeded.

    Cancelled: the command and all that it started is ended, within bounds.

    Raises:
        CommandRefused: it may not run, or it cannot be read.
        GuardianError: there is no guardian to watch over it.
    """
    try:
        line = CommandLine(text=text, timeout_seconds=min(timeout_seconds, commands.timeout_seconds_max))
    except ValidationError as error:
        reason = "; ".join(one["msg"] for one in error.errors())
        raise CommandRefused(f"{text!r:.200} is no command: {reason}. Write its words as a shell would.") from error
    refused = commands.refusal(line)
    if refused is not None:
        raise CommandRefused(refused)
    kept = _Kept()

    def sink(piece: bytes) -> None:
        kept.take(piece)
        if commands.hear is not None:
            commands.hear(piece)

    outcome = await run_command(
        line,
        directory=directory,
        environment=command_environment(directory, commands.environment, {}),
        guardian=commands.guardian,
        sink=sink,
        output_bytes_max=OUTPUT_READ_BYTES_MAX,
    )
    lines = [f"{line.text}: {outcome.describe()}"]
    if outcome.output_dropped_bytes:
        lines.append(f"({outcome.output_dropped_bytes} bytes at the end of its output were not looked at)")
    return "\n".join([*lines, kept.text()]), outcome.succeeded


@final
class _Kept:
    """The beginning and the end of an output."""

    __slots__ = ("_head", "_tail", "_taken")

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._taken = 0

    def take(self, piece: bytes) -> None:
        """Take what came next."""
        self._taken += len(piece)
        room = _HEAD_BYTES - len(self._head)
        self._head += piece[:room]
        self._tail += piece[room:]
        # Seldom, so that many small pieces do not move it each time.
        if len(self._tail) > 4 * _TAIL_BYTES:
            del self._tail[:-_TAIL_BYTES]

    def text(self) -> str:
        """Give what is kept, and say what is missing in the middle."""
        tail = bytes(self._tail[-_TAIL_BYTES:])
        missing = self._taken - len(self._head) - len(tail)
        if not self._taken:
            return "(no output)"
        gap = f"\n... {missing} bytes are left out here ...\n" if missing else ""
        return bytes(self._head).decode(errors="replace") + gap + tail.decode(errors="replace")
