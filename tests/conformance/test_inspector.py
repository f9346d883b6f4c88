"""The Inspector, a client that others have written, is at home with our server: over both transports, in both eras."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.conformance.judges import INSPECTOR, MISSING, node
from tests.serving.kit import Place, http_server, new_place
from vespera_agents.serving.tools.catalogue import TOOLS

pytestmark = pytest.mark.skipif(not INSPECTOR.exists(), reason=MISSING)

ERAS = ("legacy", "modern")
TRANSPORTS = ("stdio", "http")
both = pytest.mark.parametrize("transport", TRANSPORTS)
eras = pytest.mark.parametrize("era", ERAS)


@asynccontextmanager
async def target(place: Place, transport: str) -> AsyncIterator[list[str]]:
    """Say how the Inspector reaches a server; over standard input and output it starts one itself."""
    if transport == "stdio":
        environment = {
            key: place.environment[key] for key in ("HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "PYTHONPATH")
        }
        given = [word for key, value in environment.items() for word in ("-e", f"{key}={value}")]
        yield [*place.command, *given]
        return
    async with http_server(place) as server:
        yield ["--server-url", server.url, "--transport", "http"]
        assert await server.end() == 0
        assert server.errors == []


async def inspect(where: list[str], era: str, method: str, *options: str) -> dict[str, Any]:
    """Let the Inspector carry out a method; it must have nothing to complain about."""
    words = ["--cli", *where, "--protocol-era", era, "--format", "json", "--method", method, *options]
    done = await node(INSPECTOR, *words, MCP_CATALOG_PATH="no-catalogue.json")
    assert (done.returncode, done.stderr.decode()) == (0, ""), done.stdout.decode()
    return json.loads(done.stdout)["result"]


@both
@eras
async def test_every_schema_is_portable_in_the_strict_sense_of_the_inspector(transport: str, era: str) -> None:
    with new_place() as place:
        async with target(place, transport) as where:
            listed = await inspect(where, era, "tools/list", "--strict")
        assert [tool["name"] for tool in listed["tools"]] == list(TOOLS)
