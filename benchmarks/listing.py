"""What a list of tools costs a model: its o200k tokens, counted as the compact JSON that a server really sends.

Not a benchmark: `mcp` prints these figures beside those that other task servers have published for theirs, and the test
of the budgets holds ours to them. Tokens are counted by `vespera_agents.context.tokens`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from mcp_types import ListToolsResult

from vespera_agents.context.tokens import count_tokens

__all__ = ["PUBLISHED_TOKENS", "ListedTokens", "listed_tokens"]

PUBLISHED_TOKENS: Final = {"task-master": 10_300, "shrimp": 6_400, "Backlog.md": 4_900}
"""What is known of the lists of others, of what a model sees of them."""


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


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
