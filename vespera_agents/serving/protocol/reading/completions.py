"""Completion: what somebody may mean who has typed the beginning of an argument of a prompt or of an address.

Ids of tasks and sessions are completed with or without their `task_` and `session_`. Only workspaces that are open are
looked at, that of the server first. Neighbours: `store.completing` finds the ids, `prompts` and `resources` say what
their arguments name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import trio

from vespera_agents.serving.protocol.reading.prompts import prompt_named
from vespera_agents.serving.protocol.reading.resources import TEMPLATES
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.store.completing import MATCHES_MAX, Matches, artifact_hashes, session_ids, task_ids
from vespera_agents.work.errors import InvalidInput, NotFound
from vespera_agents.work.models import role_name
from vespera_agents.work.plain import is_text

__all__ = ["complete_address", "complete_prompt"]

_ADDRESSES: Final[Mapping[str, Mapping[str, str | None]]] = {
    "session": {"id": "session"},
    "notes": {"id": "session"},
    "note": {"id": "session", "name": None},
    "task": {"id": "task"},
    "artifact": {"sha256": "artifact", "offset": None, "limit": None},
    "role": {"name": "role"},
}
"""By the name of a template, what each of its variables names."""
_NOTHING: Final = Matches((), 0, has_more=False)


async def complete_prompt(
    orchestrator: Orchestrator, prompt: str, argument: str, value: str, others: Mapping[str, str]
) -> Matches:
    """Complete an argument of a prompt.

    Args:
        orchestrator: where to look.
        prompt: its name.
        argument: which one.
        value: what was typed.
        others: the arguments that are filled already: with a `session`, only its tasks are meant.

    Raises:
        NotFound: there is no such prompt.
        InvalidInput: it has no such argument.
    """
    found = prompt_named(prompt)
    names = {one.name: one.completes for one in found.arguments}
    return await _complete(orchestrator, _kind(names, argument, prompt), value, others.get("session"), found.likely)


async def complete_address(orchestrator: Orchestrator, template: str, argument: str, value: str) -> Matches:
    """Complete a variable of an address.

    Args:
        orchestrator: where to look.
        template: as it is listed.
        argument: which variable.
        value: what was typed.

    Raises:
        NotFound: there is no such template.
        InvalidInput: it has no such variable.
    """
    name = next((one.name for one in TEMPLATES if one.uri_template == template), None)
    if name is None:
        listed = ", ".join(one.uri_template for one in TEMPLATES)
        raise NotFound(f"there is no address {template[:200]!r} to complete", f"Name one of: {listed}.")
    return await _complete(orchestrator, _kind(_ADDRESSES[name], argument, template), value, None, ())


def _kind(names: Mapping[str, str | None], argument: str, of: str) -> str | None:
    if argument not in names:
        raise InvalidInput(f"{of} has no argument {argument[:80]!r}", f"Complete one of: {', '.join(names)}.")
    return names[argument]


async def _complete(
    orchestrator: Orchestrator, kind: str | None, value: str, session: str | None, likely: tuple[str, ...]
) -> Matches:
    if kind is None or not is_text(value + (session or "")):
        return _NOTHING
    if kind == "role":
        return await _roles(orchestrator, value)
    if kind == "task" and session:
        try:
            opened, found = await orchestrator.lookup.session(session.strip())
        except NotFound:
            # The session is being typed, too: there is nothing to offer yet, and nothing to complain of.
            return _NOTHING
        return await opened.store.read(task_ids, value, found.id, likely)
    query, more = {"task": (task_ids, (None, likely)), "session": (session_ids, ()), "artifact": (artifact_hashes, ())}[
        kind
    ]
    matches = [await opened.store.read(query, value, *more) for opened in await orchestrator.lookup.open_ones()]
    return _joined(matches)


async def _roles(orchestrator: Orchestrator, value: str) -> Matches:
    opened = await orchestrator.home_workspace()
    roles = await trio.to_thread.run_sync(opened.roles)
    beginning = value.strip().lower()
    found = [name for name in sorted(roles) if name.startswith(beginning)]
    # Another word for a role completes to the role.
    meant = role_name(beginning)
    if not found and meant in roles:
        found = [meant]
    return Matches(tuple(found[:MATCHES_MAX]), len(found), has_more=len(found) > MATCHES_MAX)


def _joined(matches: list[Matches]) -> Matches:
    """Put the findings of several workspaces together, those of the first one first."""
    values = list(dict.fromkeys(value for one in matches for value in one.values))
    totals = [one.total for one in matches if one.total is not None]
    total = sum(totals) if len(totals) == len(matches) else None
    more = len(values) > MATCHES_MAX or any(one.has_more for one in matches)
    return Matches(tuple(values[:MATCHES_MAX]), total, has_more=more)
