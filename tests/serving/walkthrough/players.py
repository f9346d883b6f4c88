"""Who acts in the walkthrough: people with the SDK's client, the Inspector's command line, and a shell.

Not a test. Each does what it is told for real, checks that it came out as the story says (a refused call leaves the
store as it was), and writes the call and the answer down. Neighbours: `transcript`, `story`.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import trio
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp_types import ElicitRequestParams, ElicitResult, TextResourceContents

from tests.conformance.judges import INSPECTOR, node
from tests.serving.kit import Place, text_of
from tests.serving.walkthrough.transcript import Transcript, shortened
from vespera_agents.serving.protocol.complaints import ERROR_META

CALL_SECONDS = 30.0
WAIT_SECONDS = 40.0
LOOK_SECONDS = 0.05
UNTIL_SECONDS = 120.0
"""How long the same may be asked again: of a loop that was blocked a server tells for half a minute, and on a crowded
machine the next one is blocked meanwhile."""

Until = Callable[[dict[str, Any]], bool]
INSPECTOR_NAME = "ines"


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something is so, which no event tells of: it happens in another process."""
    with trio.fail_after(WAIT_SECONDS):
        while True:
            if condition():
                return
            await trio.sleep(LOOK_SECONDS)


class Person:
    """Somebody whose program uses the SDK's client."""

    def __init__(self, name: str, client: Client, place: Place, transcript: Transcript) -> None:
        self.name = name
        self.client = client
        self.place = place
        self.transcript = transcript

    async def call(
        self, tool: str, /, *, show: int | None = None, hear: bool = False, until: Until | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """Call a tool, which must do what it says; gives the structured result.

        Args:
            tool: its name without `orchestrator_`.
            show: how many lines of the answer's text are shown; all unless given.
            hear: whether to ask for progress, and show it.
            until: repeats the call until its result is so; only the last one is written down.
            arguments: what it takes.
        """
        self.transcript.call(self.name, f"orchestrator_{tool}", arguments)
        heard: list[str] = []

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            heard.append(f"notifications/progress {progress:g}/{total:g} {message}\n")

        callback = on_progress if hear else None
        with trio.fail_after(UNTIL_SECONDS):
            while True:
                with trio.fail_after(CALL_SECONDS):
                    result = await self.client.call_tool(f"orchestrator_{tool}", arguments, progress_callback=callback)
                if until is None or until(result.structured_content or {}):
                    break
                await trio.sleep(LOOK_SECONDS)
        assert bool(heard) is hear
        text = text_of(result)
        assert not result.is_error, f"{self.name}: {tool}({arguments}) was refused: {text}"
        self.transcript.block("text", "".join(heard) + shortened(text, show))
        assert isinstance(result.structured_content, dict)
        return result.structured_content

    async def refused(self, tool: str, kind: str, /, *, recorded: bool = False, **arguments: Any) -> None:
        """Call a tool, which must refuse for this kind of reason; nothing may change unless something is `recorded`."""
        before = self.place.state()
        self.transcript.call(self.name, f"orchestrator_{tool}", arguments)
        with trio.fail_after(CALL_SECONDS):
            result = await self.client.call_tool(f"orchestrator_{tool}", arguments)
        text = text_of(result)
        assert result.is_error, f"{self.name}: {tool}({arguments}) was not refused: {text}"
        assert result.meta is not None
        assert result.meta[ERROR_META]["kind"] == kind, text
        assert (self.place.state() == before) is not recorded
        self.transcript.block("text", f"isError ({kind})\n{text}")

    async def read(self, uri: str, *, show: int | None = None) -> str:
        """Read a resource; gives its text."""
        self.transcript.say(f"{self.name} reads `{self.transcript.named(uri)}`:")
        with trio.fail_after(CALL_SECONDS):
            contents = (await self.client.read_resource(uri)).contents
        assert all(isinstance(one, TextResourceContents) for one in contents)
        text = "\n".join(one.text for one in contents if isinstance(one, TextResourceContents))
        self.transcript.block("text", shortened(text, show))
        return text


class Decider:
    """The user behind a client: answers what the server asks, and remembers it."""

    def __init__(self) -> None:
        self.answers: list[bool] = []
        self.asked: list[str] = []

    async def __call__(self, _: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        self.asked.append(params.message)
        return ElicitResult(action="accept", content={"confirm": self.answers.pop(0)})


class Inspector:
    """Ines, who uses the Inspector's command line: each call is a client of its own, known by one name."""

    def __init__(self, url: str, place: Place, transcript: Transcript) -> None:
        self.url = url
        self.place = place
        self.transcript = transcript

    async def run(self, method: str, *words: str) -> tuple[int, dict[str, Any], str]:
        """Carry out a method and write its command line down; gives its status, result and complaints."""
        shown = ["inspector", "--method", method, *words]
        self.transcript.block("sh", f"$ {' '.join(shlex.quote(word) for word in shown)}")
        where = ["--server-url", self.url, "--transport", "http", "--protocol-era", "modern", "--format", "json"]
        given = ["--metadata", f"io.vespera/client={INSPECTOR_NAME}"]
        with trio.fail_after(CALL_SECONDS):
            done = await node(INSPECTOR, "--cli", *where, *given, "--method", method, *words)
        assert done.stdout, done.stderr.decode()
        return done.returncode, json.loads(done.stdout)["result"], done.stderr.decode()

    async def call(self, tool: str, /, *, show: int | None = None, **arguments: Any) -> dict[str, Any]:
        """Call a tool, which must do what it says; gives the structured result."""
        status, result, complaints = await self._call(tool, arguments)
        text = result["content"][0]["text"]
        assert (status, complaints) == (0, ""), f"{tool}({arguments}): {text} {complaints}"
        self.transcript.block("text", shortened(text, show))
        return result["structuredContent"]

    async def refused(self, tool: str, kind: str, /, **arguments: Any) -> None:
        """Call a tool, which must refuse for this kind of reason and change nothing."""
        before = self.place.state()
        status, result, _ = await self._call(tool, arguments)
        text = result["content"][0]["text"]
        assert (status, result["isError"], result["_meta"][ERROR_META]["kind"]) == (5, True, kind), text
        assert self.place.state() == before
        self.transcript.block("text", f"isError ({kind})\n{text}")

    async def _call(self, tool: str, arguments: dict[str, Any]) -> tuple[int, dict[str, Any], str]:
        given = ["--tool-name", f"orchestrator_{tool}"]
        if arguments:
            given += ["--tool-args-json", json.dumps(arguments, ensure_ascii=False)]
        return await self.run("tools/call", *given)


class Shell:
    """A shell in the project's directory: our own commands, and the files of the project."""

    def __init__(self, place: Place, transcript: Transcript) -> None:
        self.place = place
        self.transcript = transcript

    async def vespera(
        self, *words: str, status: int = 0, show: int | None = None, until: Callable[[str], bool] | None = None
    ) -> str:
        """Run one of our commands, which must end with a status; gives what it printed.

        Args:
            words: the command's.
            status: how it must end.
            show: how many lines of what it printed are shown; all unless given.
            until: repeats it until it prints so; only the last text is written down.
        """
        self.transcript.block("sh", f"$ {' '.join(shlex.quote(word) for word in ['vespera', *words])}")
        with trio.fail_after(UNTIL_SECONDS):
            while True:
                text = await self._run(words, status)
                if until is None or until(text):
                    break
                await trio.sleep(LOOK_SECONDS)
        if words == ("tree",):
            # Counters of servers tell how long each had to wait for what; columns follow the length of paths.
            text = re.sub(r"(?<==)[\d.]+(?=\s)", "<number>", re.sub(r"(?<=socket=)\S+", "<path>", text))
            text = re.sub(r"(?<=[^\s│]) {2,}", "  ", text)
        self.transcript.block("text", shortened(text, show))
        return text

    async def _run(self, words: tuple[str, ...], status: int) -> str:
        with trio.fail_after(CALL_SECONDS):
            done = await trio.run_process(
                [sys.executable, "-W", "error", "-m", "vespera_agents", *words],
                cwd=self.place.project,
                env={**self.place.environment, "NO_COLOR": "1", "COLUMNS": "110"},
                capture_stdout=True,
                stderr=subprocess.STDOUT,
                stdin=b"",
                check=False,
            )
        text = done.stdout.decode()
        assert done.returncode == status, text
        return text

    def write(self, name: str, text: str, language: str = "sh") -> None:
        """Write a file of the project and show it."""
        path = self.place.project / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        self.transcript.say(f"`{name}`:")
        self.transcript.block(language, text)
