"""A picture of a run: its busiest moment and its summary, as an SVG file that needs nothing else.

Neighbours: `screens` draws the moment, `results` the summary; `vespera run --svg FILE` asks for it.
"""

from __future__ import annotations

import io
import re
import time
from pathlib import Path
from typing import Final, final

from rich.console import Console, RenderableType
from rich.text import Text

from vespera_agents.cli.board import Board
from vespera_agents.cli.results import report_line, summary
from vespera_agents.cli.screens import board_view
from vespera_agents.specialists.conductor import RunEvent
from vespera_agents.specialists.running import RunResult
from vespera_agents.workspace.errors import WorkspaceError

__all__ = ["Camera"]

_WIDTH: Final = 96
"""Columns."""
_LINES_MAX: Final = 40
_FONT_FACES: Final = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""Rich's picture names a font to be fetched from elsewhere; a document should not make its reader's browser do that."""


@final
class Camera:
    """Watches a run and keeps its busiest moment."""

    def __init__(self, title: str, command: str) -> None:
        """Name the picture.

        Args:
            title: what the plan calls itself.
            command: what was typed, shown as the window's title.
        """
        self._title = title
        self._command = command
        self._board = Board()
        self._began = time.monotonic()
        self._most = (0, 0)
        self._moment: RenderableType = Text()

    def hear(self, event: RunEvent) -> None:
        """Take one event, and keep the moment if more goes on than ever before."""
        now = time.monotonic()
        self._board.hear(event, now)
        # A later moment shows more of the bars, so it wins over an earlier one with as much at work.
        busy = (len(self._board.running), self._board.ended)
        if busy >= self._most:
            self._most = busy
            self._moment = board_view(self._board, self._title, now - self._began, now, lines_max=_LINES_MAX)

    def save(self, path: Path, result: RunResult) -> None:
        """Write the picture.

        Raises:
            WorkspaceError: the file cannot be written.
        """
        console = Console(
            record=True,
            width=_WIDTH,
            file=io.StringIO(),
            force_terminal=True,
            color_system="truecolor",
            legacy_windows=False,
            highlight=False,
            markup=False,
            emoji=False,
        )
        console.print(Text(f"$ {self._command}", "bold"), Text(), self._moment, Text(), sep="\n")
        console.print(summary(result), Text(report_line(result)), sep="\n")
        drawn = _FONT_FACES.sub("", console.export_svg(title="vespera", unique_id="vespera-run"))
        text = "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise WorkspaceError(
                f"the picture {path} cannot be written ({error.strerror}). Name a file in a directory that exists."
            ) from error
