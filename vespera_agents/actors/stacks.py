"""The await stack of an actor: the lines at which it waits, from its outermost function to its innermost.

It is read from trio's task, at the moment of the question, and keeps no frames alive. What it shows of a handler that
waits is its own frames, below those of the runtime.
"""

from __future__ import annotations

from typing import Final, NamedTuple, final

from trio.lowlevel import Task

FRAMES_MAX: Final = 64
"""Frames shown of one actor: the innermost ones."""


@final
class AwaitedLine(NamedTuple):
    """One line that waits for the next one to return."""

    file: str
    """The source file."""
    line: int
    """The line in it, from 1."""
    function: str
    """The function it is in, with its class."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


def await_stack(task: Task | None) -> tuple[AwaitedLine, ...]:
    """Return where `task` waits, outermost first; empty where there is no task.

    One that is running just now waits nowhere: then only its outermost function is known.
    """
    if task is None:
        return ()
    lines = [
        AwaitedLine(frame.f_code.co_filename, line, frame.f_code.co_qualname)
        for frame, line in task.iter_await_frames()
    ]
    return tuple(lines[-FRAMES_MAX:])
