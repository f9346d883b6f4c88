"""Mutated lines to a real server over standard input, and what it makes of them.

Not a test: `test_fuzzing` runs a share of it, the command all. A connection belongs to the era that its first request
opens, so each era has a process of its own.
"""

from __future__ import annotations

import json
import random
import subprocess
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import trio

from tests.serving.fuzz.messages import Ids, breakdown, handshake, opening
from tests.serving.fuzz.mutations import mutated_line
from tests.serving.kit import Place

ANSWER_SECONDS = 60.0
"""How long a good call may take behind a block of bad lines; it takes well below a second."""
BLOCK = 250
"""Lines between two good calls."""
WARM = 4
"""Blocks before the memory is looked at for the first time: by then everything was imported and used."""
GROWTH_BYTES_MAX = 96 * 1024 * 1024
"""How much more memory a process may hold after all lines than after the first ones. A line may have 16 MB, and what
the allocator once had it keeps; a leak of one message in each line would be far more over a full run."""


@dataclass
class Findings:
    """What came of a run."""

    sent: int = 0
    answers: int = 0
    errors: int = 0
    """Answers that are errors, or refusals of tools."""
    seconds: float = 0.0
    rss_before: int = 0
    rss_after: int = 0
    faults: list[str] = field(default_factory=list)
    """What must not be, in words."""

    @property
    def growth(self) -> int:
        return self.rss_after - self.rss_before

    def __str__(self) -> str:
        mega = 1024 * 1024
        return (
            f"{self.sent} sent, {self.answers} answers, {self.errors} of them errors, in {self.seconds:.1f} s; "
            f"memory {self.rss_before / mega:.1f} -> {self.rss_after / mega:.1f} MiB; {len(self.faults)} faults"
        )

    def look_at(self, text: str, what: str) -> None:
        """Look for what a client must never see."""
        for word in ("Traceback", "pydantic", 'File "', "internal_error", "internal error", "site-packages"):
            if word in text and len(self.faults) < 20:
                self.faults.append(f"{word} in {what}: {text[:600]}")

    def look_at_log(self, line: str) -> None:
        """Look at what a server says on standard error; of a loop that one huge message blocked it names the place."""
        if " vespera_agents.watchdog: event loop was blocked " not in line:
            self.look_at(line, "what it says on standard error")


def rss_bytes(pid: int) -> int:
    """Say how much memory a process holds."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has ended")


class _Talk:
    """A server process and what it says."""

    def __init__(self, process: trio.Process, findings: Findings) -> None:
        self.process = process
        self.findings = findings
        self.errors: list[str] = []
        self._awaited: dict[str, Any] = {}
        self._heard = trio.Event()

    async def read_answers(self) -> None:
        assert self.process.stdout is not None
        buffer = b""
        async for chunk in self.process.stdout:
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                self._answered(line)
        self._heard.set()

    async def read_errors(self) -> None:
        assert self.process.stderr is not None
        buffer = b""
        async for chunk in self.process.stderr:
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                self.errors.append(line.decode(errors="replace"))
                del self.errors[:-200]
                self.findings.look_at_log(self.errors[-1])

    async def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send_all(data)

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a good request and wait for its answer."""
        identifier = message["id"]
        self._awaited[identifier] = None
        await self.send(json.dumps(message).encode() + b"\n")
        with trio.fail_after(ANSWER_SECONDS):
            while self._awaited[identifier] is None:
                if self.process.returncode is not None:
                    raise AssertionError(f"the server has ended with {self.process.returncode}")
                self._heard = trio.Event()
                await self._heard.wait()
        return self._awaited.pop(identifier)

    def _answered(self, line: bytes) -> None:
        text = line.decode()
        message = json.loads(text)
        assert message["jsonrpc"] == "2.0"
        self.findings.look_at(text, "an answer")
        identifier = message.get("id")
        if "method" in message:
            return
        self.findings.answers += 1
        self.findings.errors += "error" in message or bool((message.get("result") or {}).get("isError"))
        if isinstance(identifier, str) and identifier in self._awaited:
            self._awaited[identifier] = message
            self._heard.set()


async def fuzz_lines(place: Place, era: str, count: int, seed: int) -> Findings:
    """Send mutated lines of an era to one server process."""
    findings = Findings()
    source = random.Random(f"{seed} {era}")
    started = time.monotonic()
    (place.project / "plan.md").write_text("# Plan\n## Phase 1: Do\n### first\nBegin.\n")
    (place.project / "notes").write_text("notes\n")
    async with trio.open_nursery() as nursery:
        run = partial(
            trio.run_process, place.command, env=place.environment, cwd=place.root, check=False,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        process = await nursery.start(run)
        talk = _Talk(process, findings)
        nursery.start_soon(talk.read_answers)
        nursery.start_soon(talk.read_errors)
        try:
            await _converse(talk, place, era, count, source)
            process.stdin.close()
            with trio.fail_after(ANSWER_SECONDS):
                findings.faults += [f"it ended with {status}" for status in [await process.wait()] if status != 0]
        except (AssertionError, trio.TooSlowError, trio.BrokenResourceError) as error:
            said = "\n".join(talk.errors[-20:])
            findings.faults.append(f"after {findings.sent} lines (seed {seed}): {error!r}\n{said}")
        finally:
            if process.returncode is None:
                process.kill()
            with trio.CancelScope(shield=True), trio.move_on_after(ANSWER_SECONDS):
                await process.wait()
            nursery.cancel_scope.cancel()
    findings.seconds = time.monotonic() - started
    return findings


async def _converse(talk: _Talk, place: Place, era: str, count: int, source: random.Random) -> None:
    findings = talk.findings
    if era == "legacy":
        assert "result" in await talk.ask(handshake("hello"))
        await talk.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
    session = (await _good_call(talk, opening(era)))["id"]
    await _good_call(talk, breakdown(era, session))
    ids = Ids(session, tuple(row[0] for row in place.rows("SELECT id FROM task ORDER BY seq")))
    blocks = max(1, count // BLOCK)
    for number in range(blocks):
        await _good_call(talk, opening(era, number))
        if number == min(WARM, blocks - 1):
            findings.rss_before = rss_bytes(talk.process.pid)
        lines = [mutated_line(source, era, ids) for _ in range(min(BLOCK, count))]
        await talk.send(b"".join(line + b"\n" for line in lines))
        findings.sent += len(lines)
    await _good_call(talk, opening(era, blocks))
    findings.rss_after = rss_bytes(talk.process.pid)
    if findings.growth > GROWTH_BYTES_MAX:
        findings.faults.append(f"it holds {findings.growth} bytes more than after the first lines")


async def _good_call(talk: _Talk, message: dict[str, Any]) -> dict[str, Any]:
    """See that a good call is answered well, whatever came before."""
    answer = await talk.ask(message)
    assert not answer.get("result", {"isError": True}).get("isError", False), f"a good call was refused: {answer}"
    return answer["result"]["structuredContent"]
