"""OpenAI's chat completions as a server writes them, and where Groq differs; pure.

Ollama, LM Studio, vLLM, Mistral, DeepSeek and OpenRouter write the same. Neighbours: `formats` has the other vendors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, final

from vespera_agents.providers.exchange import Finish, Usage
from vespera_agents.providers.settings import Kind
from vespera_agents.providers.testing.replies import Complaint, Reply, ServerEvent

__all__ = ["ChatFormat", "openai_complaint"]

_CREATED: Final = 1_763_700_000
_REASONS: Final = {Finish.END: "stop", Finish.TOOLS: "tool_calls", Finish.LENGTH: "length", Finish.REFUSED: "stop"}
_COMPLAINTS: Final = {
    Complaint.LIMITED: (429, "rate_limit_exceeded", "requests", "Rate limit reached for requests."),
    Complaint.BROKEN: (500, None, "server_error", "The server had an error while processing your request."),
    Complaint.OVERLOADED: (503, None, "server_error", "The engine is currently overloaded."),
    Complaint.TOO_LONG: (
        400,
        "context_length_exceeded",
        "invalid_request_error",
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens.",
    ),
    Complaint.WRONG_KEY: (401, "invalid_api_key", "invalid_request_error", "Incorrect API key provided."),
    Complaint.UNKNOWN_MODEL: (404, "model_not_found", "invalid_request_error", "The model does not exist."),
}


def openai_complaint(complaint: Complaint) -> tuple[int, Mapping[str, object]]:
    """Write a complaint as OpenAI does."""
    status, code, kind, message = _COMPLAINTS[complaint]
    return status, {"error": {"message": message, "type": kind, "param": None, "code": code}}


@final
class ChatFormat:
    """OpenAI's chat completions."""

    def __init__(self, kind: Kind = Kind.OPENAI) -> None:
        self._groq = kind is Kind.GROQ
        """Groq says the usage of a stream in a field of its own."""
        self._more: dict[str, object] = {"provider": "Somebody"} if kind is Kind.OPENROUTER else {}
        """OpenRouter says who has answered."""

    def whole(self, reply: Reply, model: str) -> Mapping[str, object]:
        """Write an answer that comes in one piece."""
        message: dict[str, object] = {"role": "assistant", "content": reply.text, "refusal": None}
        if reply.reason is Finish.REFUSED and not self._groq:
            message |= {"content": None, "refusal": reply.text}
        if reply.calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments))},
                }
                for call in reply.calls
            ]
        answer: dict[str, object] = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": _CREATED,
            "model": model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": self._reason(reply)}],
        }
        if reply.usage is not None:
            answer["usage"] = _usage(reply.usage)
        return answer | self._more

    def events(self, reply: Reply, model: str) -> Sequence[ServerEvent]:
        """Write an answer that is streamed."""
        events = [self._chunk(model, {"role": "assistant", "content": ""})]
        refused = reply.reason is Finish.REFUSED and not self._groq
        events.extend(self._chunk(model, {"refusal" if refused else "content": part}) for part in reply.cut_text())
        for index, call in enumerate(reply.calls):
            function = {"name": call.name, "arguments": ""}
            start = {"index": index, "id": call.id, "type": "function", "function": function}
            events.append(self._chunk(model, {"tool_calls": [start]}))
            text = json.dumps(dict(call.arguments))
            for part in (text[: len(text) // 2], text[len(text) // 2 :]):
                delta = {"index": index, "function": {"arguments": part}}
                events.append(self._chunk(model, {"tool_calls": [delta]}))
        last: dict[str, object] = {}
        if reply.usage is not None and self._groq:
            last["x_groq"] = {"id": "req_1", "usage": _usage(reply.usage)}
        closing = [self._chunk(model, {}, self._reason(reply), last)]
        if reply.usage is not None and not self._groq:
            closing.append(self._chunk(model, {}, None, {"choices": [], "usage": _usage(reply.usage)}))
        closing.append(ServerEvent("[DONE]"))
        return [*events, *(replace(one, closing=True) for one in closing)]

    def complaint(self, complaint: Complaint) -> tuple[int, Mapping[str, object]]:
        """Write a refusal to answer."""
        return openai_complaint(complaint)

    def wants_stream(self, path: str, body: Mapping[str, object]) -> bool:
        """Whether a request wants its answer streamed."""
        del path
        return body.get("stream") is True

    def _reason(self, reply: Reply) -> str:
        if reply.reason is Finish.REFUSED and self._groq:
            return "content_filter"
        return _REASONS[reply.reason]

    def _chunk(
        self,
        model: str,
        delta: Mapping[str, object],
        reason: str | None = None,
        more: Mapping[str, object] | None = None,
    ) -> ServerEvent:
        choice = {"index": 0, "delta": dict(delta), "logprobs": None, "finish_reason": reason}
        chunk: dict[str, object] = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": _CREATED,
            "model": model,
            "choices": [choice],
        }
        return ServerEvent(chunk | self._more | dict(more or {}))


def _usage(usage: Usage) -> dict[str, object]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_tokens},
    }
