"""How lines get out: to standard output, and never an exception back.

A run goes on when whoever read its output has gone (`vespera run plan.md | head`), so a write that fails ends the
printing and nothing else. Neighbours: `screens` and `results` print through it.
"""

from __future__ import annotations

import contextlib
import os
import select
from typing import Final, TextIO, final

from rich.console import Console, RenderableType

__all__ = ["Printer"]

_WIDTH: Final = 160
"""Columns of a table where there is no terminal that says how many it has."""


@final
class Printer:
    """Prints to one stream as long as somebody reads it."""

    def __init__(self, stream: TextIO) -> None:
        """Print to a stream, usually standard output."""
        self._stream = stream
        self._gone = False
        width = None if stream.isatty() else _WIDTH
        self._console = Console(file=stream, width=width, highlight=False, markup=False, emoji=False)

    @property
    def console(self) -> Console:
        """The same stream for rich: for live displays, which only a terminal gets."""
        return self._console

    @property
    def live(self) -> bool:
        """Whether a display can be drawn over and over."""
        return self._console.is_terminal and not self._console.is_dumb_terminal

    @property
    def gone(self) -> bool:
        """Whether nobody reads any more; also found out while there is nothing to print."""
        if not self._gone and self._is_cut_off():
            self._give_up()
        return self._gone

    def line(self, text: str = "") -> None:
        """Print one line at once."""
        self._write(f"{text}\n")

    def render(self, renderable: RenderableType) -> None:
        """Print something of rich's, in plain text unless this is a terminal."""
        with self._console.capture() as capture:
            # Whoever reads a file or a pipe wraps the long lines, or searches in them.
            self._console.print(renderable, soft_wrap=not self._console.is_terminal)
        self._write("\n".join(line.rstrip() for line in capture.get().split("\n")))

    def _write(self, text: str) -> None:
        if self._gone:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        self._gone = True
        # Python flushes once more at its end and would complain; what is left goes nowhere instead.
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def _is_cut_off(self) -> bool:
        """Ask the kernel whether the other end of a pipe is closed."""
        try:
            asked = select.poll()
            asked.register(self._stream.fileno(), 0)
            return bool(asked.poll(0))
        except (OSError, ValueError):
            return False  # It is no file of the system, as in a test.
