"""OpenAI's responses, Anthropic's messages, Google's content and Cohere's chat as their servers write them; pure.

Neighbours: `chat` has the format that everybody else copies; `server` sends what is written here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, final

from vespera_agents.providers.exchange import Finish, Usage
from vespera_agents.providers.settings import Kind
from vespera_agents.providers.testing.chat import ChatFormat, openai_complaint
from vespera_agents.providers.testing.replies import Complaint, Format, Reply, ServerEvent

__all__ = ["format_of"]

_CREATED: Final = 1_763_700_000


@final
class _ResponsesFormat:
    """OpenAI's responses."""

    def whole(self, reply: Reply, model: str) -> Mapping[str, object]:
        """Write an answer that comes in one piece."""
        cut_off = reply.reason is Finish.LENGTH
        items: list[object] = [self._message(reply.text, refused=reply.reason is Finish.REFUSED)] if reply.text else []
        items.extend(
            {
                "type": "function_call",
                "id": f"fc_{call.id}",
                "call_id": call.id,
                "name": call.name,
                "arguments": json.dumps(dict(call.arguments)),
                "status": "completed",
            }
            for call in reply.calls
        )
        usage = reply.usage
        return {
            "id": "resp_1",
            "object": "response",
            "created_at": _CREATED,
            "status": "incomplete" if cut_off else "completed",
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut_off else None,
            "instructions": None,
            "model": model,
            "output": items,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": None if usage is None else self._usage(usage),
        }

    def events(self, reply: Reply, model: str) -> Sequence[ServerEvent]:
        """Write an answer that is streamed."""
        whole = dict(self.whole(reply, model))
        nothing: list[object] = []
        begun = whole | {"status": "in_progress", "output": nothing, "usage": None, "incomplete_details": None}
        written: list[dict[str, object]] = [{"type": "response.created", "response": begun}]
        index = 0
        if reply.text:
            written.extend(self._text_events(reply))
            index = 1
        for call in reply.calls:
            text = json.dumps(dict(call.arguments))
            place = {"item_id": f"fc_{call.id}", "output_index": index}
            item = {"type": "function_call", "id": f"fc_{call.id}", "call_id": call.id, "name": call.name}
            empty = item | {"arguments": "", "status": "in_progress"}
            full = item | {"arguments": text, "status": "completed"}
            steps: list[dict[str, object]] = [
                {"type": "response.output_item.added", "output_index": index, "item": empty},
                {"type": "response.function_call_arguments.delta", "delta": text, **place},
                {"type": "response.function_call_arguments.done", "arguments": text, "name": call.name, **place},
                {"type": "response.output_item.done", "output_index": index, "item": full},
            ]
            written += steps
            index += 1
        end = "response.incomplete" if reply.reason is Finish.LENGTH else "response.completed"
        written.append({"type": end, "response": whole})
        return [
            ServerEvent(event | {"sequence_number": number}, str(event["type"]), event["type"] == end)
            for number, event in enumerate(written)
        ]

    def complaint(self, complaint: Complaint) -> tuple[int, Mapping[str, object]]:
        """Write a refusal to answer."""
        return openai_complaint(complaint)

    def wants_stream(self, path: str, body: Mapping[str, object]) -> bool:
        """Whether a request wants its answer streamed."""
        del path
        return body.get("stream") is True

    def _message(self, text: str, *, refused: bool) -> dict[str, object]:
        return {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [self._part(text, refused=refused)],
        }

    def _part(self, text: str, *, refused: bool) -> dict[str, object]:
        if refused:
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    def _text_events(self, reply: Reply) -> list[dict[str, object]]:
        refused = reply.reason is Finish.REFUSED
        word, kind = ("refusal", "refusal") if refused else ("text", "output_text")
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        nothing: list[object] = []
        begun = self._message("", refused=refused) | {"status": "in_progress", "content": nothing}
        logprobs: dict[str, object] = {} if refused else {"logprobs": []}
        return [
            {"type": "response.output_item.added", "output_index": 0, "item": begun},
            {"type": "response.content_part.added", "part": self._part("", refused=refused), **place},
            *({"type": f"response.{kind}.delta", "delta": part, **logprobs, **place} for part in reply.cut_text()),
            {"type": f"response.{kind}.done", word: reply.text, **logprobs, **place},
            {"type": "response.content_part.done", "part": self._part(reply.text, refused=refused), **place},
            {
                "type": "response.output_item.done",
                "output_index": 0,
                "item": self._message(reply.text, refused=refused),
            },
        ]

    def _usage(self, usage: Usage) -> dict[str, object]:
        return {
            "input_tokens": usage.input_tokens,
            "input_tokens_details": {"cached_tokens": usage.cache_read_tokens},
            "output_tokens": usage.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.input_tokens + usage.output_tokens,
        }


@final
class _AnthropicFormat:
    """Anthropic's messages."""

    _REASONS: Final = {
        Finish.END: "end_turn",
        Finish.TOOLS: "tool_use",
        Finish.LENGTH: "max_tokens",
        Finish.REFUSED: "refusal",
    }
    _COMPLAINTS: Final = {
        Complaint.LIMITED: (429, "rate_limit_error", "Number of requests has exceeded your limit."),
        Complaint.BROKEN: (500, "api_error", "Internal server error"),
        Complaint.OVERLOADED: (503, "api_error", "Service unavailable"),
        Complaint.TOO_LONG: (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
        Complaint.WRONG_KEY: (401, "authentication_error", "invalid x-api-key"),
        Complaint.UNKNOWN_MODEL: (404, "not_found_error", "model: unknown"),
    }

    def whole(self, reply: Reply, model: str) -> Mapping[str, object]:
        """Write an answer that comes in one piece."""
        blocks: list[object] = [{"type": "text", "text": reply.text}] if reply.text else []
        blocks.extend(
            {"type": "tool_use", "id": call.id, "name": call.name, "input": dict(call.arguments)}
            for call in reply.calls
        )
        return self._head(reply, model) | {"content": blocks, "stop_reason": self._REASONS[reply.reason]}

    def events(self, reply: Reply, model: str) -> Sequence[ServerEvent]:
        """Write an answer that is streamed."""
        written: list[dict[str, object]] = [{"type": "message_start", "message": self._head(reply, model)}]
        index = 0
        if reply.text:
            block: dict[str, object] = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": part} for part in reply.cut_text()]
            written += self._block(index, block, deltas)
            index += 1
        for call in reply.calls:
            block = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
            text = json.dumps(dict(call.arguments))
            parts = (text[: len(text) // 2], text[len(text) // 2 :])
            written += self._block(index, block, [{"type": "input_json_delta", "partial_json": one} for one in parts])
            index += 1
        end: dict[str, object] = {
            "type": "message_delta",
            "delta": {"stop_reason": self._REASONS[reply.reason], "stop_sequence": None},
            "usage": {"output_tokens": 0 if reply.usage is None else reply.usage.output_tokens},
        }
        stop: dict[str, object] = {"type": "message_stop"}
        written += [end, stop]
        closing = {"message_delta", "message_stop"}
        return [ServerEvent(event, str(event["type"]), event["type"] in closing) for event in written]

    def complaint(self, complaint: Complaint) -> tuple[int, Mapping[str, object]]:
        """Write a refusal to answer."""
        status, kind, message = self._COMPLAINTS[complaint]
        return status, {"type": "error", "error": {"type": kind, "message": message}}

    def wants_stream(self, path: str, body: Mapping[str, object]) -> bool:
        """Whether a request wants its answer streamed."""
        del path
        return body.get("stream") is True

    def _head(self, reply: Reply, model: str) -> dict[str, object]:
        usage = reply.usage or Usage(0, 0)
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {
                "input_tokens": usage.input_tokens - usage.cache_read_tokens,
                "output_tokens": usage.output_tokens,
                "cache_read_input_tokens": usage.cache_read_tokens,
                "cache_creation_input_tokens": 0,
            },
        }

    def _block(
        self, index: int, block: Mapping[str, object], deltas: Sequence[Mapping[str, object]]
    ) -> list[dict[str, object]]:
        return [
            {"type": "content_block_start", "index": index, "content_block": dict(block)},
            *({"type": "content_block_delta", "index": index, "delta": dict(delta)} for delta in deltas),
            {"type": "content_block_stop", "index": index},
        ]


@final
class _GoogleFormat:
    """Google's content of Gemini models."""

    _REASONS: Final = {Finish.END: "STOP", Finish.TOOLS: "STOP", Finish.LENGTH: "MAX_TOKENS", Finish.REFUSED: "SAFETY"}
    _COMPLAINTS: Final = {
        Complaint.LIMITED: (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted."),
        Complaint.BROKEN: (500, "INTERNAL", "An internal error has occurred."),
        Complaint.OVERLOADED: (503, "UNAVAILABLE", "The model is currently unavailable."),
        Complaint.TOO_LONG: (
            400,
            "INVALID_ARGUMENT",
            "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).",
        ),
        Complaint.WRONG_KEY: (403, "PERMISSION_DENIED", "The caller does not have permission."),
        Complaint.UNKNOWN_MODEL: (404, "NOT_FOUND", "models/unknown is not found for API version v1beta."),
    }

    def whole(self, reply: Reply, model: str) -> Mapping[str, object]:
        """Write an answer that comes in one piece."""
        return self._answer(reply, model, [*self._texts([reply.text]), *self._calls(reply)], last=True)

    def events(self, reply: Reply, model: str) -> Sequence[ServerEvent]:
        """Write an answer that is streamed."""
        pieces = [self._answer(reply, model, self._texts([part]), last=False) for part in reply.cut_text()]
        end = self._answer(reply, model, self._calls(reply), last=True)
        return [*(ServerEvent(one) for one in pieces), ServerEvent(end, closing=True)]

    def complaint(self, complaint: Complaint) -> tuple[int, Mapping[str, object]]:
        """Write a refusal to answer."""
        code, status, message = self._COMPLAINTS[complaint]
        return code, {"error": {"code": code, "message": message, "status": status}}

    def wants_stream(self, path: str, body: Mapping[str, object]) -> bool:
        """Whether a request wants its answer streamed."""
        del body
        return ":streamGenerateContent" in path

    def _texts(self, texts: Sequence[str]) -> list[object]:
        return [{"text": text} for text in texts if text]

    def _calls(self, reply: Reply) -> list[object]:
        return [
            {"functionCall": {"id": call.id, "name": call.name, "args": dict(call.arguments)}} for call in reply.calls
        ]

    def _answer(self, reply: Reply, model: str, parts: Sequence[object], *, last: bool) -> dict[str, object]:
        candidate: dict[str, object] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
        answer: dict[str, object] = {"candidates": [candidate], "modelVersion": model, "responseId": "answer-1"}
        if last:
            candidate["finishReason"] = self._REASONS[reply.reason]
        if reply.usage is not None:
            answer["usageMetadata"] = {
                "promptTokenCount": reply.usage.input_tokens,
                "candidatesTokenCount": reply.usage.output_tokens,
                "cachedContentTokenCount": reply.usage.cache_read_tokens,
                "totalTokenCount": reply.usage.input_tokens + reply.usage.output_tokens,
            }
        return answer


@final
class _CohereFormat:
    """Cohere's chat. It has no word for a model that refuses: that is an answer like any other."""

    _REASONS: Final = {
        Finish.END: "COMPLETE",
        Finish.TOOLS: "TOOL_CALL",
        Finish.LENGTH: "MAX_TOKENS",
        Finish.REFUSED: "COMPLETE",
    }
    _COMPLAINTS: Final = {
        Complaint.LIMITED: (429, "trial token rate limit exceeded"),
        Complaint.BROKEN: (500, "internal server error, this has been reported to our developers"),
        Complaint.OVERLOADED: (503, "service unavailable"),
        Complaint.TOO_LONG: (400, "too many tokens: size limit exceeded by 2000 tokens"),
        Complaint.WRONG_KEY: (401, "invalid api token"),
        Complaint.UNKNOWN_MODEL: (404, "model 'unknown' not found"),
    }

    def whole(self, reply: Reply, model: str) -> Mapping[str, object]:
        """Write an answer that comes in one piece."""
        del model
        message: dict[str, object] = {"role": "assistant"}
        if reply.text:
            message["content"] = [{"type": "text", "text": reply.text}]
        if reply.calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments))},
                }
                for call in reply.calls
            ]
        answer: dict[str, object] = {"id": "c1", "finish_reason": self._REASONS[reply.reason], "message": message}
        return answer | self._usage(reply)

    def events(self, reply: Reply, model: str) -> Sequence[ServerEvent]:
        """Write an answer that is streamed."""
        del model
        begun: dict[str, object] = {
            "role": "assistant",
            "content": [],
            "tool_plan": "",
            "tool_calls": [],
            "citations": [],
        }
        written: list[dict[str, object]] = [self._event("message-start", begun) | {"id": "c1"}]
        if reply.text:
            written.append(self._event("content-start", {"content": {"type": "text", "text": ""}}, 0))
            written.extend(self._event("content-delta", {"content": {"text": part}}, 0) for part in reply.cut_text())
            written.append({"type": "content-end", "index": 0})
        for index, call in enumerate(reply.calls):
            function = {"name": call.name, "arguments": ""}
            start = {"id": call.id, "type": "function", "function": function}
            delta = {"function": {"arguments": json.dumps(dict(call.arguments))}}
            steps: list[dict[str, object]] = [
                self._event("tool-call-start", {"tool_calls": start}, index),
                self._event("tool-call-delta", {"tool_calls": delta}, index),
                {"type": "tool-call-end", "index": index},
            ]
            written += steps
        end = {"finish_reason": self._REASONS[reply.reason]} | self._usage(reply)
        written.append({"type": "message-end", "id": "c1", "delta": end})
        return [ServerEvent(event, str(event["type"]), event["type"] == "message-end") for event in written]

    def complaint(self, complaint: Complaint) -> tuple[int, Mapping[str, object]]:
        """Write a refusal to answer."""
        status, message = self._COMPLAINTS[complaint]
        return status, {"id": "c1", "message": message}

    def wants_stream(self, path: str, body: Mapping[str, object]) -> bool:
        """Whether a request wants its answer streamed."""
        del path
        return body.get("stream") is True

    def _event(self, kind: str, message: Mapping[str, object], index: int | None = None) -> dict[str, object]:
        event: dict[str, object] = {"type": kind, "delta": {"message": dict(message)}}
        return event if index is None else event | {"index": index}

    def _usage(self, reply: Reply) -> dict[str, object]:
        if reply.usage is None:
            return {}
        said = {"input_tokens": reply.usage.input_tokens, "output_tokens": reply.usage.output_tokens}
        return {"usage": {"billed_units": said, "tokens": said}}


def format_of(kind: Kind) -> Format:
    """Give what a provider of a kind is spoken to with."""
    formats: dict[Kind, Format] = {
        Kind.OPENAI_RESPONSES: _ResponsesFormat(),
        Kind.ANTHROPIC: _AnthropicFormat(),
        Kind.GOOGLE: _GoogleFormat(),
        Kind.COHERE: _CohereFormat(),
    }
    return formats.get(kind) or ChatFormat(kind)
