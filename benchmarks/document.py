"""The document of a run: its tables as Markdown, with the machine, the noise and the caveats, for `docs/`.

`python -m benchmarks NAME... --document FILE` writes it, and nobody else. A benchmark that has more to say than its
rows has a function `notes()` that returns Markdown. Nothing here measures.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.harness import Options, Row, found_benchmarks, judged, machine, short

HEAD = ("measured", "ours", "beside", "its value", "ratio (min..max)", "goal", "verdict", "clock")


def write_document(path: Path, results: Mapping[str, Sequence[Row]], options: Options) -> None:
    """Write every row of a run, with what a reader needs to judge it."""
    path.write_text(document(results, options, f"docs/{path.name}"), encoding="utf-8")


def document(results: Mapping[str, Sequence[Row]], options: Options, written_to: str = "docs/performance.md") -> str:
    """Return the document of a run."""
    questions = found_benchmarks()
    facts = ", ".join(f"{key} {value}" for key, value in machine().items())
    command = f"python -m benchmarks {' '.join(results)} --document {written_to}"
    parts = [f"# Performance\n\nWritten by `{command}`, not by hand. The machine: {facts}.", rounds_of(options)]
    for name, rows in results.items():
        parts += [f"## {name}", questions[name], table(rows)]
        notes = getattr(importlib.import_module(f"benchmarks.{name}"), "notes", None)
        if notes is not None:
            parts.append(notes())
    return "\n\n".join(parts) + "\n"


def rounds_of(options: Options) -> str:
    """Say how often and how carefully it was measured."""
    rounds = (
        f"Each side was measured {options.rounds} times, in turns. Values are medians, ratios come with their spread."
    )
    if not options.quick:
        return rounds
    return f"{rounds}\n\n**This was a quick run: it shows what is measured, and did too little to judge by.**"


def table(rows: Iterable[Row]) -> str:
    """Return rows as a Markdown table."""
    lines = [list(HEAD), ["---"] * len(HEAD)]
    lines += [[row.name, f"{short(row.value)} {row.unit}", row.reference, *judged(row), row.clock] for row in rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
