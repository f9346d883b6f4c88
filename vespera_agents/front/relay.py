"""What of a client's lines is not answered yet, and what a new worker has to hear again. Pure: no socket, no clock.

A line is answered once: what two workers say to one number reaches the client from the first of them. A request in
flight at two deaths is suspected of having caused them: such are repeated one after the other, and one that is there at
a third death is answered with an error. Source: DESIGN "Front and worker", rules 1, 7 and 8. Neighbours: `stdio` moves
the bytes, `framing` says what the letters mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Final, cast, final

from vespera_agents.front.framing import (
    ANSWER,
    DONE,
    FORGET,
    KEEP,
    MESSAGE,
    PROGRESS,
    QUESTION,
    SETTLED,
)

__all__ = ["INTERNAL_ERROR", "INVALID_REQUEST", "PARSE_ERROR", "SUSPECT_DEATHS", "Relay", "error_line"]

SUSPECT_DEATHS: Final = 2
"""Deaths after which a request is repeated only alone among its like; at the next it is answered with an error."""
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
INTERNAL_ERROR: Final = -32603


@final
class _Line:
    """One line of the client."""

    __slots__ = ("deaths", "line", "progress", "seq", "since_seconds", "told")

    def __init__(self, seq: int, line: bytes, since_seconds: float) -> None:
        self.seq = seq
        self.line = line
        self.since_seconds = since_seconds
        self.deaths = 0
        self.told = False
        """Whether the worker of this moment has it."""
        self.progress = float("-inf")


@final
class Relay:
    """The lines of one client."""

    def __init__(self) -> None:
        self.answered = 0
        """Answers that were passed on."""
        self.dropped = 0
        """What workers said that the client must not hear: twice, too late, or going back."""
        self.repeated = 0
        """Lines that were said to more than one worker."""
        self.bytes = 0
        """Bytes of the lines that are not answered."""
        self._seq = 0
        self._waiting: dict[int, _Line] = {}
        self._kept: dict[bytes, _Line] = {}
        self._open: dict[int, bytes] = {}
        """The slots of kept lines whose answer is still to come."""
        self._questions: dict[bytes, None] = {}
        self._suspect: int | None = None
        """The one suspect that the worker has."""
        self._suspects = 0
        """How many of the unanswered lines are suspects."""

    @property
    def waiting(self) -> int:
        """Lines that are not answered."""
        return len(self._waiting)

    @property
    def kept(self) -> int:
        """Lines that are said to each new worker."""
        return len(self._kept)

    def take(self, line: bytes, now_seconds: float, *, told: bool) -> bytes:
        """Number a line of the client's and remember it; gives what a worker is told.

        Args:
            line: the line, without its newline.
            now_seconds: when it came.
            told: whether there is a worker that will be told.
        """
        self._seq += 1
        entry = self._waiting[self._seq] = _Line(self._seq, line, now_seconds)
        entry.told = told
        self.bytes += len(line)
        return b"%d %s\n" % (self._seq, line)

    def repeat(self) -> list[bytes]:
        """Give what a new worker is told: what is kept and what is unanswered, in order, and of the suspects one."""
        entries = sorted([*self._kept.values(), *self._waiting.values()], key=lambda entry: entry.seq)
        self._suspect = None
        lines: list[bytes] = []
        for entry in entries:
            if entry.deaths >= SUSPECT_DEATHS:
                if self._suspect is not None:
                    continue
                self._suspect = entry.seq
            entry.told = True
            self.repeated += 1
            lines.append(b"%d %s\n" % (entry.seq, entry.line))
        return lines

    def next_suspect(self) -> bytes | None:
        """Give the next suspect for the worker, if it has none."""
        if self._suspect is not None or not self._suspects:
            return None
        for entry in self._waiting.values():
            if not entry.told and entry.deaths >= SUSPECT_DEATHS:
                self._suspect = entry.seq
                entry.told = True
                return b"%d %s\n" % (entry.seq, entry.line)
        return None

    def hear(self, line: bytes) -> tuple[bytes | None, int]:
        """Take in what the worker says to the client.

        Returns:
            What the client shall get, if anything, and the number of the line that it answers, or 0.

        Raises:
            ValueError: it is nothing that a worker says.
        """
        flag, rest = line[:1], line[2:]
        if flag == MESSAGE:
            return rest, 0
        head, _, rest = rest.partition(b" ")
        if flag == ANSWER:
            return self._answer(int(head), rest)
        if flag == PROGRESS:
            value, _, rest = rest.partition(b" ")
            return self._advance(int(head), float(value), rest), 0
        if flag == DONE:
            self._settle(int(head))
        elif flag == KEEP:
            slot, _, rest = rest.partition(b" ")
            return self._keep(int(head), slot, rest)
        elif flag == FORGET:
            self._forget(head)
        elif flag == QUESTION:
            self._questions[head] = None
            return rest, 0
        elif flag == SETTLED:
            self._questions.pop(head, None)
        else:
            raise ValueError(f"a worker said {line[:40]!r}")
        return None, 0

    def lose(self, *, blamed: bool, why: str) -> list[bytes]:
        """Take in that the worker is dead.

        Args:
            blamed: whether what it had in hand may have killed it.
            why: what a client is told whose request was there at too many deaths.

        Returns:
            Lines for the client: the end of the dead worker's questions, and errors.
        """
        lines = [_cancelled(identifier) for identifier in self._questions]
        self._questions.clear()
        for entry in [*self._waiting.values()]:
            if entry.told and blamed:
                entry.deaths += 1
                self._suspects += entry.deaths == SUSPECT_DEATHS
                if entry.deaths > SUSPECT_DEATHS:
                    lines += self._refuse(entry, why)
            entry.told = False
        return lines

    def expire(self, before_seconds: float, why: str) -> list[bytes]:
        """Answer what has waited since `before_seconds` or longer with an error that says why."""
        late = [entry for entry in self._waiting.values() if entry.since_seconds <= before_seconds]
        return [line for entry in late for line in self._refuse(entry, why)]

    def _answer(self, seq: int, rest: bytes) -> tuple[bytes | None, int]:
        if self._settle(seq):
            self.answered += 1
            return rest, seq
        self.dropped += 1
        return None, 0

    def _settle(self, seq: int) -> bool:
        """Take a line as answered; False if it was before."""
        entry = self._waiting.pop(seq, None)
        if seq == self._suspect:
            self._suspect = None
        if entry is not None:
            self.bytes -= len(entry.line)
            self._suspects -= entry.deaths >= SUSPECT_DEATHS
            return True
        slot = self._open.pop(seq, None)
        if slot is None:
            return False
        self._kept.pop(slot, None)
        return True

    def _advance(self, seq: int, value: float, rest: bytes) -> bytes | None:
        entry = self._waiting.get(seq) or self._kept.get(self._open.get(seq, b""))
        if entry is None or not value > entry.progress:
            self.dropped += 1
            return None
        entry.progress = value
        return rest

    def _keep(self, seq: int, slot: bytes, rest: bytes) -> tuple[bytes | None, int]:
        entry = self._waiting.get(seq)
        if entry is None:
            # It was kept already: this worker heard it as something repeated, and the client has its answer.
            return None, 0
        self._settle(seq)
        self._forget(slot)
        self._kept[slot] = entry
        if rest:
            self.answered += 1
            return rest, seq
        self._open[seq] = slot
        return None, 0

    def _forget(self, slot: bytes) -> None:
        entry = self._kept.pop(slot, None)
        if entry is not None:
            self._open.pop(entry.seq, None)

    def _refuse(self, entry: _Line, why: str) -> Iterator[bytes]:
        self._settle(entry.seq)
        return _refusals(entry.line, why)


def error_line(identifier: str | int | None, code: int, message: str) -> bytes:
    """Give a JSON-RPC error, without a newline."""
    error = {"jsonrpc": "2.0", "id": identifier, "error": {"code": code, "message": message}}
    return json.dumps(error).encode()


def _refusals(line: bytes, why: str) -> Iterator[bytes]:
    """Answer one line with an error, if it is a request: the only place where a client's line is read."""
    try:
        value = cast("object", json.loads(line))
    except (ValueError, RecursionError):
        yield error_line(None, PARSE_ERROR, f"this line is not JSON: {line[:60].decode(errors='replace')!r}")
        return
    if not isinstance(value, dict):
        return
    message = cast("dict[str, object]", value)
    identifier = message.get("id")
    if "method" in message and isinstance(identifier, str | int) and not isinstance(identifier, bool):
        yield error_line(identifier, INTERNAL_ERROR, why)


def _cancelled(identifier: bytes) -> bytes:
    reason = b'"the server process that asked has ended; it will ask again if it still needs the answer"'
    return b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%s,"reason":%s}}' % (
        identifier,
        reason,
    )


def joined(lines: Iterable[bytes]) -> bytes:
    """Put lines together, each with its newline."""
    return b"".join(b"%s\n" % line for line in lines)
