"""The picture of `vespera top` in the documents: a real server, the real interface without a terminal, as an SVG file.

python -m tests.cli.top_picture FILE
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import tempfile
from pathlib import Path

from tests.cli.test_top_app import Observed, Seen, observed, watch

FONT_FACES = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""The picture names a font to be fetched from elsewhere; a document should not make its reader's browser do that."""
CLERKS = ("intake", "archive", "accounts", "letters", "complaints")


async def pose(seen: Seen, server: Observed, file: Path) -> None:
    """Let something happen, wait until it is seen, and take the picture."""
    server.tell("spawn", *CLERKS)
    server.tell("hang", "accounts")
    for _ in range(83):
        server.tell("note", "accounts")
    for _ in range(3):
        server.tell("crash", "letters", "the paper is out")
        await asyncio.sleep(1)
    await seen.until("accounts", "83/100", "5 actors")
    drawn = FONT_FACES.sub("", seen.app.export_screenshot(title="vespera top"))
    text = "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"
    await asyncio.to_thread(file.write_text, text, encoding="utf-8")


if __name__ == "__main__":
    # The path is in the picture, so it is the same everywhere.
    project = Path(tempfile.gettempdir()) / "office"
    project.mkdir()
    try:
        with observed(project) as server:
            watch(project, lambda seen: pose(seen, server, Path(sys.argv[1])), size=(118, 32))
    finally:
        shutil.rmtree(project)
