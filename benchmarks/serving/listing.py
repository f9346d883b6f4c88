"""What a list of tools costs a model: its o200k tokens, counted as the compact JSON that a server really sends.

Beside ours stand the sizes that other task servers have published for their lists. The test of the budgets counts with
the same function. Tokens are counted by `vespera_agents.context.tokens`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mcp import Client, StdioServerParameters
from mcp_types import ListToolsResult

from benchmarks.harness import Row, row_of
from vespera_agents.context.tokens import count_tokens

__all__ = ["PUBLISHED_TOKENS", "ListedTokens", "list_rows", "listed_tokens"]

PUBLISHED_TOKENS: Final = {"task-master": 10_300, "shrimp": 6_400, "Backlog.md": 4_900}
"""What a model sees of the lists of others."""
BUDGETS: Final = {"core": (2_200, 3_500), "full": (None, 5_000)}
"""Of our sets: how much a model may see, and how large the whole result of `tools/list` may be."""


@dataclass(frozen=True, slots=True)
class ListedTokens:
    """The size of one list."""

    tools: int
    visible: int
    """Of what clients show to models: names, descriptions and input schemas."""
    whole: int
    """Of the whole result of `tools/list`."""


def listed_tokens(listed: ListToolsResult) -> ListedTokens:
    """Count a list as a client received it."""
    whole = listed.model_dump(mode="json", by_alias=True, exclude_none=True)
    visible = [{key: tool[key] for key in ("name", "description", "inputSchema")} for tool in whole["tools"]]
    return ListedTokens(len(visible), count_tokens(_compact(visible)), count_tokens(_compact(whole)))


async def list_rows(surroundings: Mapping[str, str]) -> list[Row]:
    """Count the lists of a server process: what a model sees beside what others publish, and the whole of each."""
    found = {tools: listed_tokens(await _listed(tools, surroundings)) for tools in BUDGETS}
    core = found["core"].visible
    rows = [_row("core", "a model sees", core, name, size) for name, size in PUBLISHED_TOKENS.items()]
    for tools, (visible_max, whole_max) in BUDGETS.items():
        if visible_max is not None:
            rows.append(_row(tools, "a model sees", found[tools].visible, "the budget", visible_max))
        rows.append(_row(tools, "is all of it", found[tools].whole, "the budget", whole_max))
    return rows


async def _listed(tools: str, surroundings: Mapping[str, str]) -> ListToolsResult:
    with tempfile.TemporaryDirectory(prefix="vsp-") as directory:
        arguments = ["-m", "vespera_agents", "serve", "--workspace", directory, "--tools", tools]
        parameters = StdioServerParameters(command=sys.executable, args=arguments, env=dict(surroundings))
        async with Client(parameters) as client:
            return await client.list_tools()


def _row(tools: str, part: str, ours: int, reference: str, theirs: int) -> Row:
    return row_of(
        f"list of tools, {tools}: {part}",
        unit="tokens",
        ours=[ours],
        reference=reference,
        references=[theirs],
        goal=1.0,
        goal_is="at most",
        clock="none",
    )


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
