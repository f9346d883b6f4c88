"""How a model says that it is done with a task, or cannot go on: the tool `hand_in`, and a plain answer. Pure.

A model that cannot call tools, or does not, hands in what it answered: then the gates decide. Neighbours: `progress`
asks what was handed in, `loop` offers the tool.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, final

from vespera_agents.providers.exchange import Finish, ToolSpec

__all__ = ["HAND_IN", "HandedOver", "NextAction", "hand_in_spec", "handed_over"]

NextAction = Literal["complete", "needs_revision", "blocked"]
HAND_IN: Final = "hand_in"
"""The name of the tool by which work is handed in."""
_SUMMARY_MAX: Final = 1_000
"""Characters of a summary; the whole is in the detailed work."""
_ACTIONS: Final[Mapping[str, NextAction]] = {
    "complete": "complete",
    "continue": "complete",
    "needs_revision": "needs_revision",
    "blocked": "blocked",
}


@final
@dataclass(frozen=True, slots=True)
class HandedOver:
    """What a model handed in."""

    summary: str
    detailed_work: str
    next_action: NextAction
    reason: str = ""
    """Why it is blocked or wants a review."""


def hand_in_spec() -> ToolSpec:
    """Describe the tool by which a model hands in its work."""
    texts = {
        "summary": "What was done, in at most five sentences.",
        "detailed_work": "The whole result: what the task asks for, in Markdown.",
        "reason": "With blocked or needs_revision: what is missing, and who could give it.",
    }
    properties: dict[str, object] = {name: {"type": "string", "description": text} for name, text in texts.items()}
    properties["next_action"] = {
        "type": "string",
        "enum": ["complete", "needs_revision", "blocked"],
        "description": "complete: it is done, run the gates. needs_revision: somebody must look at it. blocked: it "
        "cannot go on without help.",
    }
    return ToolSpec(
        HAND_IN,
        "Hand in the work on this task. Call it once, when nothing is left to do or you cannot go on.",
        {"type": "object", "properties": properties, "required": ["summary", "next_action"]},
    )


def handed_over(result: Mapping[str, Any]) -> HandedOver | None:
    """Say what a recorded answer of a model hands in; None where it goes on working.

    Args:
        result: of a step that thinks: `text`, `finish` and `calls`.
    """
    text, finish = str(result.get("text", "")), str(result.get("finish", ""))
    calls: list[Mapping[str, Any]] = result.get("calls", [])
    for call in calls:
        if call["name"] == HAND_IN:
            return _from_call(call["arguments"], text)
    if finish == Finish.REFUSED:
        return HandedOver("", text, "blocked", f"the model refused to do it: {text[:_SUMMARY_MAX]}".rstrip(": "))
    if calls or finish == Finish.LENGTH or not text.strip():
        return None
    return HandedOver(_beginning(text), text, "complete")


def _from_call(given: Mapping[str, Any], text: str) -> HandedOver:
    """Read the arguments of the tool as tolerantly as they can be: a paid answer must not be lost over a name."""
    work = str(given.get("detailed_work") or text)
    summary = str(given.get("summary") or "").strip() or _beginning(work)
    action = _ACTIONS.get(str(given.get("next_action", "complete")).strip().lower(), "needs_revision")
    return HandedOver(summary[:_SUMMARY_MAX], work, action, str(given.get("reason") or "").strip()[:_SUMMARY_MAX])


def _beginning(text: str) -> str:
    """Give the first paragraph of a text as its summary."""
    first = next((part.strip() for part in text.strip().split("\n\n") if part.strip()), "")
    return first[:_SUMMARY_MAX]
