"""One run of Claude Code: a program of its own, talked to in lines of JSON over its standard input and output.

A `Run` is a child of a supervisor: `main` starts the program under the guardian, hears it to its end and leaves no
process of its group. Who asked for it waits for `ended`, may `interrupt` it, and reads what it told. Not here: what the
messages say (`tally`), what becomes of failures (`claude`). Neighbours: `command_line` makes its arguments.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, cast, final

import trio

from supervisors.guarded_process import GuardedProcess, start_guarded
from supervisors.guardian import Guardian
from vespera_agents.providers.claude_code.tally import Tally

__all__ = ["LINE_BYTES_MAX", "Run"]

LINE_BYTES_MAX: Final = 16 * 1024 * 1024
"""A longer line is passed over: a tool's result may be long, an answer is not."""
GRACE_SECONDS: Final = 1.0
"""From SIGTERM to SIGKILL when the run is stopped."""
DRAIN_SECONDS: Final = 1.0
"""How long output is still read after the group is dead."""
_ERRORS_MAX: Final = 64
_CHUNK_BYTES: Final = 65_536
_SEND_SECONDS: Final = 10.0
"""How long a run may take no input before it counts as dead to us."""

Message = Mapping[str, object]


@final
class Run:
    """One program from its start to its end."""

    def __init__(
        self,
        argv: Sequence[str],
        directory: Path,
        environment: Mapping[str, str],
        guardian: Guardian,
        first: Message,
        tally: Tally,
        changed: Callable[[], None],
        piece: Callable[[str], None],
    ) -> None:
        """Say what to start and what to tell it first.

        Args:
            argv: the program and its arguments.
            directory: where it works.
            environment: its whole environment.
            guardian: kills it with its group if this process dies.
            first: the message that it begins with.
            tally: takes what it tells.
            changed: called after each result.
            piece: called with each piece of an answer that comes bit by bit.
        """
        self._argv, self._directory, self._environment = tuple(argv), directory, environment
        self._guardian = guardian
        self._first = first
        self._tally = tally
        self._changed = changed
        self._piece = piece
        self.ended: Final = trio.Event()
        """Set when no process of it is left and everything that it told was heard."""
        self.status: int | None = None
        """Its exit status; negative: the signal that killed it; None: it did not start, or cannot be killed."""
        self.errors: Final = deque[bytes](maxlen=_ERRORS_MAX)
        """The last lines of its standard error: for finding out what failed, never for showing."""
        self.broken_lines = 0
        """Lines of output that were no messages."""
        self._process: GuardedProcess | None = None
        self._input: trio.lowlevel.FdStream | None = None
        self._sending: Final = trio.Lock()
        self._interrupts = 0

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what the tree shows of it."""
        facts = self._tally.facts()
        detail: dict[str, str | int | float] = {"turns": facts.turns, "cost_usd": round(facts.cost_usd or 0.0, 4)}
        return detail if self._process is None else {"pid": self._process.group, **detail}

    async def main(self, *, task_status: trio.TaskStatus[Run]) -> None:
        """Start the program and hear it to its end; cancelled, it is told to end, then killed, both bounded.

        Raises:
            OSError, ValueError, GuardianError: it cannot be started.
        """
        try:
            await self._hold(task_status)
        finally:
            self.ended.set()

    async def interrupt(self) -> None:
        """Ask it to stop at the next moment; it tells its result and ends."""
        self._tally.interrupting = True
        self._interrupts += 1
        request = {"type": "control_request", "request_id": f"interrupt-{self._interrupts}"}
        await self._send({**request, "request": {"subtype": "interrupt"}})

    async def _hold(self, task_status: trio.TaskStatus[Run]) -> None:
        outputs, errors, inputs = os.pipe(), os.pipe(), os.pipe()
        self._input = trio.lowlevel.FdStream(inputs[1])
        async with (
            self._input,
            trio.lowlevel.FdStream(outputs[0]) as told,
            trio.lowlevel.FdStream(errors[0]) as complaints,
        ):
            try:
                process = self._process = start_guarded(
                    self._guardian,
                    self._argv,
                    directory=self._directory,
                    environment=self._environment,
                    output=outputs[1],
                    errors=errors[1],
                    input_pipe=inputs,
                )
            finally:
                os.close(outputs[1])
                os.close(errors[1])
            task_status.started(self)
            # Shielded: while it is being ended, its last words are still heard.
            readings = (trio.CancelScope(shield=True), trio.CancelScope(shield=True))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hear, told, readings[0])
                nursery.start_soon(self._complain, complaints, readings[1])
                nursery.start_soon(self._send, self._first)
                try:
                    await process.wait()
                finally:
                    await self._end(process)
                    # Only a process that left the group can still hold the pipes open.
                    for reading in readings:
                        reading.deadline = trio.current_time() + DRAIN_SECONDS
                    nursery.cancel_scope.cancel()

    async def _end(self, process: GuardedProcess) -> None:
        """Leave no process of its group."""
        with trio.CancelScope(shield=True):
            await process.terminate(GRACE_SECONDS)
            self.status = await process.finish()

    async def _send(self, message: Message) -> None:
        """Write one message; one that it does not take any more is lost, as it is itself."""
        stream = self._input
        assert stream is not None, "it is talked to after it was started"
        line = json.dumps(message).encode() + b"\n"
        with trio.move_on_after(_SEND_SECONDS):
            async with self._sending:
                try:
                    await stream.send_all(line)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return

    async def _hear(self, stream: trio.lowlevel.FdStream, reading: trio.CancelScope) -> None:
        rest = bytearray()
        dropping = False
        with reading:
            while chunk := await stream.receive_some(_CHUNK_BYTES):
                rest += chunk
                while (end := rest.find(b"\n")) >= 0:
                    line = bytes(rest[:end])
                    del rest[: end + 1]
                    if dropping:
                        dropping = False
                    else:
                        await self._take(line)
                if len(rest) > LINE_BYTES_MAX:
                    self.broken_lines += not dropping
                    dropping = True
                    rest.clear()
            if rest and not dropping:
                await self._take(bytes(rest))

    async def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            message: object = json.loads(line)
        except (ValueError, RecursionError):
            self.broken_lines += 1
            return
        if not isinstance(message, dict):
            self.broken_lines += 1
            return
        known = cast("Message", message)
        if known.get("type") == "control_request":
            await self._send(_refusal(known))
            return
        before = self._tally.results
        piece = self._tally.take(known)
        if piece:
            self._piece(piece)
        if self._tally.results > before:
            self._changed()
            # It is not asked for more; what it still does in the background, it tells before it ends.
            async with self._sending:
                if self._input is not None:
                    await self._input.aclose()

    async def _complain(self, stream: trio.lowlevel.FdStream, reading: trio.CancelScope) -> None:
        with reading:
            while chunk := await stream.receive_some(_CHUNK_BYTES):
                self.errors.extend(chunk.splitlines()[-_ERRORS_MAX:])


def _refusal(asked: Message) -> Message:
    """Answer what it asks us: nobody is there to allow more than it was allowed."""
    request = asked.get("request")
    subtype = cast("Message", request).get("subtype") if isinstance(request, dict) else None
    answer: dict[str, object] = {"request_id": asked.get("request_id")}
    if subtype == "can_use_tool":
        denial = {"behavior": "deny", "message": "The role of this task does not allow it."}
        return {"type": "control_response", "response": {"subtype": "success", **answer, "response": denial}}
    error = {"subtype": "error", **answer, "error": "not supported"}
    return {"type": "control_response", "response": error}
