"""What a compaction has made of the parts of a context, so that the next request begins with that and not anew. Pure.

Contexts are put together from rows each time; without this each of them would be compacted again, and a summary paid
for again. A part is known by its name and by what it said: one that says something else by now counts as new.
Neighbours: `context.compaction` makes parts smaller, `requesting` applies what is kept here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from vespera_agents.context.budget import ContextBudget
from vespera_agents.context.compaction import SUMMARY_NAME, Compaction
from vespera_agents.context.sections import Dropped, Section
from vespera_agents.store.steps import Step, StepKind

__all__ = ["apply_kept", "digests", "kept_after", "last_kept"]

Kept = Mapping[str, Mapping[str, Any]]
"""By the name of a part: `of` what text, and what it became: a `name` and a `text`, or nothing."""
_DIGEST_CHARACTERS: Final = 16


def last_kept(steps: Sequence[Step]) -> Kept:
    """Give what the last compaction left."""
    for step in reversed(steps):
        if step.kind is StepKind.COMPACTION:
            return (step.result or {}).get("parts", {})
    return {}


def digests(budget: ContextBudget) -> dict[str, str]:
    """Say by name what the parts of a budget say."""
    return {section.name: _digest(section.text) for section in budget.sections}


def apply_kept(budget: ContextBudget, kept: Kept) -> dict[str, str]:
    """Put into the place of each part what a compaction made of it.

    Returns:
        for each part that is there now, by its name, that of the part that it was made of.
    """
    parts: list[Section] = []
    gone: list[Dropped] = []
    made_of: dict[str, str] = {}
    for section in budget.sections:
        found = kept.get(section.name)
        if found is None or found["of"] != _digest(section.text):
            parts.append(section)
        elif found["text"] is not None:
            parts.append(replace(section, name=str(found["name"]), text=str(found["text"])))
        else:
            if found["how"] == "dropped":
                gone.append(Dropped(section.name, int(found["tokens"]), section.kind))
            continue
        made_of[parts[-1].name] = section.name
    if kept:
        budget.replace(parts, gone)
    return made_of


def kept_after(
    before: Kept, of: Mapping[str, str], made_of: Mapping[str, str], compaction: Compaction, parts: Sequence[Section]
) -> dict[str, dict[str, Any]]:
    """Say what is to be kept of a compaction, with what was kept before it.

    Args:
        before: what was kept before; of it stays what is still there.
        of: what each part said at first, by its name.
        made_of: which part each was made of, by its name before the compaction.
        compaction: what was done.
        parts: what there is after it.
    """
    kept = {name: dict(found) for name, found in before.items() if of.get(name) == found["of"]}
    names = dict(made_of)
    texts = {section.name: section.text for section in parts}
    for change in compaction.done:
        name = names.get(change.name)
        if name is None or name not in of:
            continue
        entry: dict[str, Any] = {"of": of[name], "how": change.how, "tokens": change.tokens_before}
        if not change.tokens_after:
            kept[name] = entry | {"name": None, "text": None}
            continue
        now = SUMMARY_NAME if change.how == "summarized" else change.name
        names[now] = name
        kept[name] = entry | {"name": now, "text": texts.get(now)}
    return kept


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARACTERS]
