"""`python -m tests.conformance`: the official suite against our server; this is `make conformance`.

Prints what the suite says of each scenario, and what was not good. Exit status 0 if everything
passed in all runs, 1 if not.
"""

from __future__ import annotations

import sys

import trio

from tests.conformance.judges import MISSING, RUNS, SUITE, judge


async def main() -> int:
    """Make every run."""
    failed = 0
    for run, arguments in RUNS.items():
        verdict = await judge(run)
        complaints = verdict.complaints()
        print(f"conformance server {' '.join(arguments[:2])}")
        print(verdict.summary)
        for complaint in complaints:
            print(f"not good: {complaint}")
        print(f"exit status {verdict.status}\n", flush=True)
        failed += bool(complaints)
    return min(failed, 1)


if __name__ == "__main__":
    if not SUITE.exists():
        sys.exit(MISSING)
    sys.exit(trio.run(main))
