"""The Inspector, a client that others have written, is at home with our server: over both transports, in both eras."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.conformance.judges import INSPECTOR, MISSING, node, serving
from tests.serving.kit import Place, http_server, new_place
from vespera_agents.serving.tools.catalogue import TOOLS

pytestmark = [pytest.mark.unmeasured, pytest.mark.skipif(not INSPECTOR.exists(), reason=MISSING)]

both_transports = pytest.mark.parametrize("transport", ["stdio", "http"])
both_eras = pytest.mark.parametrize("era", ["legacy", "modern"])

MAY_BE_TOLD: Mapping[str, str] = {}
"""What `--strict` may tell of our schemas without calling it an error, by how it begins, each with its reason."""


@asynccontextmanager
async def target(place: Place, transport: str) -> AsyncIterator[list[str]]:
    """Say how the Inspector reaches a server; over standard input and output it starts one for each method."""
    if transport == "stdio":
        environment = {key: place.environment[key] for key in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR", "PYTHONPATH")}
        given = [word for key, value in environment.items() for word in ("-e", f"{key}={value}")]
        yield [*place.command, *given]
        return
    async with http_server(place) as server:
        yield ["--server-url", server.url, "--transport", "http"]
        assert await server.end() == 0
        assert server.errors == []


async def inspect(where: list[str], era: str, method: str, *options: str) -> tuple[int, str, Any]:
    """Let the Inspector carry out a method; gives its status, what it complains about, and the result."""
    words = ["--cli", *where, "--protocol-era", era, "--format", "json", "--method", method, *options]
    done = await node(INSPECTOR, *words)
    return done.returncode, done.stderr.decode(), json.loads(done.stdout)["result"] if done.stdout else None


async def fetch(where: list[str], era: str, method: str, *options: str) -> Any:
    """Let the Inspector carry out a method, about which it must have nothing to complain."""
    status, complaints, result = await inspect(where, era, method, *options)
    assert (status, complaints) == (0, "")
    return result


def issues(complaints: str) -> list[str]:
    """Give what `--strict` tells, one after the other."""
    return [line.partition(": ")[2] for line in complaints.splitlines() if line.startswith("  Issue: ")]


@both_transports
@both_eras
async def test_every_schema_is_portable_in_the_strict_sense_of_the_inspector(transport: str, era: str) -> None:
    with new_place() as place:
        async with target(place, transport) as where:
            status, complaints, listed = await inspect(where, era, "tools/list", "--strict")
        assert status == 0, complaints
        assert {issue for issue in issues(complaints) if not issue.startswith(tuple(MAY_BE_TOLD))} == set()
        assert bool(complaints) == bool(MAY_BE_TOLD)
        assert [tool["name"] for tool in listed["tools"]] == list(TOOLS)
        assert all(tool["inputSchema"] and tool["outputSchema"] for tool in listed["tools"])


async def test_the_inspector_finds_a_schema_that_is_not_portable() -> None:
    """So the test above can fail: a fixture has two types where some clients read one."""
    async with serving() as server:
        where = ["--server-url", server.url, "--transport", "http"]
        _, complaints, _ = await inspect(where, "modern", "tools/list", "--strict")
    assert 'tool "test_schema_that_is_not_portable"' in complaints
    assert any(issue.startswith("`type` is an array") for issue in issues(complaints))


@pytest.mark.parametrize(("transport", "era"), [("stdio", "modern"), ("http", "legacy")])
async def test_the_inspector_calls_reads_and_lists(transport: str, era: str) -> None:
    with new_place() as place:
        async with target(place, transport) as where:
            named = ("--tool-name", "orchestrator_initialize_session", "--tool-arg", "name=looked-at")
            called = await fetch(where, era, "tools/call", *named)
            assert not called.get("isError")
            ((session,),) = place.rows("SELECT id FROM session WHERE name='looked-at'")
            uri = f"vespera://session/{session}"
            assert uri in {one["uri"] for one in (await fetch(where, era, "resources/list"))["resources"]}
            (content,) = (await fetch(where, era, "resources/read", "--uri", uri))["contents"]
            assert "looked-at" in content["text"]
            assert (await fetch(where, era, "prompts/list"))["prompts"]
            before = place.state()
            wrong = ("--tool-name", "orchestrator_get_status", "--tool-arg", "session=none")
            _, _, refused = await inspect(where, era, "tools/call", *wrong)
            assert refused["isError"]
            assert place.state() == before
