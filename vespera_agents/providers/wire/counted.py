"""What an exchange took: what the vendor says if that can be, else what is counted here, and marked as an estimate.

Neighbours: `provider` asks; `context` has the counting.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import trio

from vespera_agents.context import count_tokens
from vespera_agents.providers.exchange import ModelRequest, ToolCall, Usage

if TYPE_CHECKING:
    from pydantic_ai.usage import RequestUsage

__all__ = ["usage_of"]

_HIDDEN_TOKENS_MAX: Final = 50_000
"""What a vendor may add for tools, templates and thinking; beyond it what it says is taken for a mistake."""


async def usage_of(request: ModelRequest, said: RequestUsage, text: str, calls: Sequence[ToolCall]) -> Usage:
    """Say what an exchange took.

    No text has more tokens than bytes, and none that is not empty has none: what says otherwise is not believed.
    """
    # Where the figures are small, as nearly always, nothing has to be put together to compare them with.
    believed = (
        said.input_tokens > 0
        and (said.input_tokens <= _HIDDEN_TOKENS_MAX or said.input_tokens <= _bytes_max(_sent(request)))
        and bool(text or calls) <= said.output_tokens
        and (
            said.output_tokens <= request.output_tokens_max + _HIDDEN_TOKENS_MAX
            or said.output_tokens <= _bytes_max(_came(text, calls))
        )
    )
    if believed:
        return Usage(
            said.input_tokens,
            said.output_tokens,
            min(max(0, said.cache_read_tokens), said.input_tokens),
            min(max(0, said.cache_write_tokens), said.input_tokens),
        )
    sent, came = "\n".join(_sent(request)), "".join(_came(text, calls))
    counts = await trio.to_thread.run_sync(lambda: (count_tokens(sent), count_tokens(came)))
    return Usage(*counts, estimated=True)


def _sent(request: ModelRequest) -> list[str]:
    sent = [request.system]
    for message in request.messages:
        sent.append(message.text)
        sent.extend(json.dumps(dict(call.arguments), default=str) for call in message.calls)
        sent.extend(result.text for result in message.results)
    sent.extend(tool.name + tool.description + json.dumps(dict(tool.parameters), default=str) for tool in request.tools)
    return sent


def _came(text: str, calls: Sequence[ToolCall]) -> list[str]:
    return [text, *(call.name + json.dumps(dict(call.arguments), default=str) for call in calls)]


def _bytes_max(texts: Sequence[str]) -> int:
    return sum(4 * len(one) for one in texts) + _HIDDEN_TOKENS_MAX
