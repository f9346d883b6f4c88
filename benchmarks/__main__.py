"""The command: `python -m benchmarks NAME... [--quick] [--minutes M] [--json FILE] [--document FILE]`.

Without a name it runs all.

Exit status 0 whatever the numbers say, 1 when a benchmark crashed, 2 for bad input: a goal that is not met is printed
as such, and noise fails no build.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.document import write_document
from benchmarks.harness import Options, Row, found_benchmarks, machine, run_benchmark, show, write_json


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen benchmarks and print one table for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the project beside its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which benchmarks; all of them without a name")
    parser.add_argument("--quick", action="store_true", help="less work and fewer rounds: to see that it runs")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long the soak runs; 1 without it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every row to this file, too")
    parser.add_argument("--document", type=Path, metavar="FILE", help="write the tables to this Markdown file, too")
    parser.add_argument("--list", action="store_true", help="say which benchmarks there are")
    chosen = parser.parse_args(arguments)
    known = found_benchmarks()
    if chosen.list:
        print("\n".join(f"{name:12} {question}" for name, question in known.items()))
        return 0
    if unknown := [name for name in chosen.names if name not in known]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are: {', '.join(known)}")
    return _run(
        chosen.names or list(known), Options(quick=chosen.quick, minutes=chosen.minutes), chosen.json, chosen.document
    )


def _run(names: Sequence[str], options: Options, json_path: Path | None, document_path: Path | None) -> int:
    console = Console(width=None if sys.stdout.isatty() else 140)
    results: dict[str, list[Row]] = {}
    crashed: list[str] = []
    console.print(", ".join(f"{key} {value}" for key, value in machine().items()), highlight=False)
    for name in dict.fromkeys(names):
        try:
            results[name] = run_benchmark(name, options)
        except Exception:  # noqa: BLE001 - the other benchmarks still have something to say
            traceback.print_exc()
            crashed.append(name)
        else:
            show(name, results[name], console)
    if json_path is not None:
        write_json(json_path, results, options)
    if document_path is not None and not crashed:
        write_document(document_path, results, options)
    verdicts = [row.met for rows in results.values() for row in rows if row.met is not None]
    missed = [f"{name}: {row.name}" for name, rows in results.items() for row in rows if row.met is False]
    for line in missed:
        print(f"not met: {line}")
    for name in crashed:
        print(f"crashed: {name}")
    print(f"{len(verdicts) - len(missed)} goals met, {len(missed)} not met, {len(crashed)} crashed")
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main())
