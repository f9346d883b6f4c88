"""What a run has told so far: its answer, what it used, what it was denied. Pure: it is fed messages, line by line.

An assistant's message comes once for each block of it, always with the usage of the whole, so usage is kept by the
message's id. Several results may come in one run; what they cost is cumulative, so the last one counts. Neighbours:
`run` feeds it and answers what wants an answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, cast, final

from vespera_agents.providers.exchange import Usage
from vespera_agents.providers.whole_tasks import Denial, Ended, WorkFacts

__all__ = ["Tally"]

Message = Mapping[str, object]

_COST_USD_MAX: Final = 1e6
"""More is no price of anything."""
_DENIALS_MAX: Final = 1_000
_ABOUT_MAX: Final = 200
_MESSAGES_MAX: Final = 10_000
_ENDINGS: Final = {"error_max_turns": Ended.TURNS, "error_max_budget_usd": Ended.BUDGET}
_API_ERROR: Final = re.compile(r"API Error: (\d{3})")
_SUBJECTS: Final = ("command", "file_path", "path", "pattern", "url", "query")


@final
class Tally:
    """What one run told."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.model = ""
        self.text = ""
        """Of the last result, before it of the last message."""
        self.results = 0
        self.failure: str | None = None
        """What the last result failed with: a word such as rate_limit, the status of the API, or its subtype."""
        self.refused = False
        """Whether the model did not want to answer."""
        self.interrupting = False
        """Whether it was asked to stop."""
        self.resumed = False
        self._ended: Ended | None = None
        self._turns = 0
        self._seen_turns = 0
        self._cost_usd: float | None = None
        self._models: Mapping[str, Usage] = {}
        self._messages: dict[str, tuple[str, Usage]] = {}
        self._denials: dict[str, Denial] = {}
        self._trouble: str | None = None

    def take(self, message: Message) -> str | None:
        """Take one message; gives the piece of an answer that is in it, where answers come bit by bit."""
        kind = message.get("type")
        if kind == "system" and message.get("subtype") == "init":
            self.model = _text(message.get("model")) or self.model
        elif kind == "assistant":
            self._assistant(message)
        elif kind == "result":
            self._result(message)
        elif kind == "stream_event":
            return _delta(message)
        return None

    def facts(self) -> WorkFacts:
        """Say what is known now."""
        models = self._models
        estimated = not models
        if estimated:
            by_model: dict[str, list[Usage]] = {}
            for model, usage in self._messages.values():
                by_model.setdefault(model, []).append(usage)
            models = {model: _sum(usages, estimated=True) for model, usages in by_model.items()}
        return WorkFacts(
            self.run_id,
            turns=max(self._turns, self._seen_turns),
            usage=_sum(models.values(), estimated=estimated),
            cost_usd=self._cost_usd,
            models=models,
            denials=tuple(self._denials.values()),
            ended=self._ended,
            resumed=self.resumed,
        )

    def _assistant(self, message: Message) -> None:
        inner = _mapping(message.get("message"))
        identifier, model = _text(inner.get("id")), _text(inner.get("model"))
        trouble = message.get("error")
        if isinstance(trouble, str):
            self._trouble = trouble
        blocks = inner.get("content")
        texts = [_text(_mapping(block).get("text")) for block in _sequence(blocks)]
        said = "".join(texts)
        if said and not message.get("parent_tool_use_id"):
            self.text = said
        if identifier and len(self._messages) < _MESSAGES_MAX:
            if identifier not in self._messages:
                self._seen_turns += 1
            self._messages[identifier] = (model, _usage(_mapping(inner.get("usage"))))

    def _result(self, message: Message) -> None:
        self.results += 1
        subtype = _text(message.get("subtype"))
        self.run_id = _text(message.get("session_id")) or self.run_id
        told = _text(message.get("result"))
        self.text = told or self.text
        self._turns += _count(message.get("num_turns"))
        cost = message.get("total_cost_usd")
        if isinstance(cost, int | float) and not isinstance(cost, bool) and 0 <= cost < _COST_USD_MAX:
            self._cost_usd = max(float(cost), self._cost_usd or 0.0)
        models = {name: _model_usage(_mapping(used)) for name, used in _mapping(message.get("modelUsage")).items()}
        self._models = models or self._models
        for denial in _sequence(message.get("permission_denials")):
            self._deny(_mapping(denial))
        self.failure, self.refused = None, message.get("stop_reason") == "refusal"
        self._ended = _ENDINGS.get(subtype)
        if self._ended is not None:
            return
        if subtype == "success" and message.get("is_error") is not True:
            self._ended = Ended.DONE
            self._trouble = None
        elif self.interrupting and subtype == "error_during_execution":
            self._ended = Ended.INTERRUPTED
        else:
            status = _API_ERROR.search(told[:200])
            self.failure = self._trouble or (status.group(1) if status else None) or subtype or "error"

    def _deny(self, denial: Mapping[str, object]) -> None:
        tool, wanted = _text(denial.get("tool_name")), _mapping(denial.get("tool_input"))
        about = next((_text(wanted[name]) for name in _SUBJECTS if isinstance(wanted.get(name), str)), "")
        identifier = _text(denial.get("tool_use_id")) or f"{tool} {about}"
        if len(self._denials) < _DENIALS_MAX:
            self._denials[identifier] = Denial(tool[:_ABOUT_MAX], about[:_ABOUT_MAX])


def _delta(message: Message) -> str | None:
    if message.get("parent_tool_use_id"):
        return None
    event = _mapping(message.get("event"))
    if event.get("type") != "content_block_delta":
        return None
    return _text(_mapping(event.get("delta")).get("text")) or None


def _usage(told: Mapping[str, object]) -> Usage:
    read, written = _count(told.get("cache_read_input_tokens")), _count(told.get("cache_creation_input_tokens"))
    entered = _count(told.get("input_tokens")) + read + written
    return Usage(entered, _count(told.get("output_tokens")), read, written)


def _model_usage(told: Mapping[str, object]) -> Usage:
    read, written = _count(told.get("cacheReadInputTokens")), _count(told.get("cacheCreationInputTokens"))
    return Usage(_count(told.get("inputTokens")) + read + written, _count(told.get("outputTokens")), read, written)


def _sum(usages: Iterable[Usage], *, estimated: bool) -> Usage:
    every = tuple(usages)
    return Usage(
        sum(one.input_tokens for one in every),
        sum(one.output_tokens for one in every),
        sum(one.cache_read_tokens for one in every),
        sum(one.cache_write_tokens for one in every),
        estimated=estimated,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}


def _sequence(value: object) -> Sequence[object]:
    return cast("Sequence[object]", value) if isinstance(value, list) else ()
