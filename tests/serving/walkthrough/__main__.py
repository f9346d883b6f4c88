"""Carry the walkthrough out and print it, or write the document from it.

python -m tests.serving.walkthrough [--document]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import trio

from tests.serving.walkthrough.story import tell
from tests.serving.walkthrough.transcript import Transcript

DOCUMENT: Final = Path(__file__).resolve().parents[3] / "docs" / "walkthrough.md"


def main(words: list[str]) -> None:
    """Write the document, or print what was written down up to the end or the first thing that went wrong."""
    transcript = Transcript()
    if words == ["--document"]:
        trio.run(tell, transcript)
        DOCUMENT.write_text(transcript.text(), encoding="utf-8")
        sys.stdout.write(f"wrote {DOCUMENT.name}: {len(transcript.text().splitlines())} lines\n")
        return
    try:
        trio.run(tell, transcript)
    finally:
        sys.stdout.write(transcript.text())


if __name__ == "__main__":
    main(sys.argv[1:])
