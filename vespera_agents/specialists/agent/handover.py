"""The hand-over note: what a fresh incarnation of a specialist must know of the steps before it, under a checksum.

It is made from rows, kept as a step, and checked by whoever starts from it: a note that is missing or damaged is made
anew from the same rows. It costs nothing and loses nothing: the steps themselves stay. Pure. Neighbours: `history`
puts it in the place of the steps that it tells of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from vespera_agents.store.steps import Step, StepKind

__all__ = ["Note", "before_last_answer", "last_note", "make_note"]

_TEXT_MAX: Final = 8_000
"""Characters of a note: it is pinned in every context that follows."""
_LINE_MAX: Final = 200
_LAST_MAX: Final = 2_000
"""Characters of what the specialist said last."""


@final
@dataclass(frozen=True, slots=True)
class Note:
    """What the incarnations before have done."""

    upto: int
    """The number of the last step that it tells of."""
    text: str
    made_anew: bool = False
    """What was kept could not be used."""

    def kept(self) -> dict[str, object]:
        """Give what is kept of it, as JSON can carry it."""
        return {"upto": self.upto, "text": self.text, "sha256": _checksum(self.upto, self.text)}


def before_last_answer(steps: Sequence[Step]) -> Sequence[Step]:
    """Give the steps that a note tells of: what followed from the last answer of the model is told in full after it."""
    thoughts = [place for place, step in enumerate(steps) if step.kind is StepKind.THINK]
    return steps[: thoughts[-1]] if thoughts else ()


def make_note(steps: Sequence[Step]) -> Note:
    """Tell what was done in these steps, the latest whole and the earliest first to be left out."""
    said = [step for step in steps if step.kind is StepKind.THINK and (step.result or {}).get("text")]
    parts: list[str] = []
    if said:
        parts.append(f"What you said last: {str((said[-1].result or {})['text'])[:_LAST_MAX]}")
    failures = [step for step in steps if step.kind is StepKind.GATES and (step.result or {}).get("failure")]
    if failures:
        parts.append(f"The gates refused your work {len(failures)} times, the last time because of: ")
        parts[-1] += str((failures[-1].result or {})["failure"])[:_LAST_MAX]
    room = _TEXT_MAX - sum(map(len, parts))
    lines: list[str] = []
    for step in reversed(steps):
        line = _line(step)
        room -= len(line) + 1
        if room < 0:
            lines.append(f"- (steps up to {step.number} are left out here)")
            break
        lines.append(line)
    told = "\n".join(reversed(lines))
    parts.insert(0, f"What was done so far, by you:\n{told}" if told else "Nothing was done so far.")
    return Note(steps[-1].number if steps else 0, "\n\n".join(parts))


def last_note(steps: Sequence[Step]) -> Note | None:
    """Give the note that the next context begins with; made anew where what was kept is not what was written."""
    for place in range(len(steps) - 1, -1, -1):
        step = steps[place]
        if step.kind is not StepKind.NOTE:
            continue
        kept = step.result or {}
        upto, text = kept.get("upto"), kept.get("text")
        if isinstance(upto, int) and isinstance(text, str) and kept.get("sha256") == _checksum(upto, text):
            return Note(upto, text)
        again = make_note(before_last_answer(steps[:place]))
        return Note(again.upto, again.text, made_anew=True)
    return None


def _checksum(upto: int, text: str) -> str:
    return hashlib.sha256(f"{upto}\n{text}".encode()).hexdigest()


def _line(step: Step) -> str:
    result: Mapping[str, Any] = step.result or {}
    if step.kind is StepKind.THINK:
        calls: list[Mapping[str, Any]] = result.get("calls", [])
        what = ", ".join(f"{call['name']}({_short(call['arguments'])})" for call in calls)
        text = f"asked for {what}" if what else f"said: {result.get('text', '')}"
    elif step.kind is StepKind.TOOL:
        word = "failed" if result.get("is_error") else "gave"
        text = f"{step.intent.get('name')} {word}: {result.get('text', '')}"
    elif step.kind is StepKind.GATES:
        failure = result.get("failure")
        text = "the gates succeeded" if failure is None else f"the gates refused it: {failure}"
    else:
        text = f"a {step.kind} was written"
    flat = " ".join(text.split())
    return f"- step {step.number}: {flat if len(flat) <= _LINE_MAX else flat[: _LINE_MAX - 1] + '…'}"


def _short(arguments: Mapping[str, Any]) -> str:
    text = json.dumps(arguments, ensure_ascii=False)
    return text if len(text) <= _LINE_MAX // 2 else f"{text[: _LINE_MAX // 2]}…"
