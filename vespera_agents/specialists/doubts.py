"""What a user may want to be asked about before a call is carried out. It only reads.

A doubt is no refusal: where nobody can be asked, the call does what it says, or is refused by its own rules.
Neighbours: the tools turn a doubt into a question, whoever serves a client puts it.
"""

from __future__ import annotations

from typing import Final, final

import trio

from vespera_agents.specialists.answers import SessionLine
from vespera_agents.specialists.calls import Call, Lookup
from vespera_agents.specialists.session_tools import read_sessions
from vespera_agents.store import queries
from vespera_agents.work.errors import NotFound, Refusal
from vespera_agents.workspace import open_workspace

__all__ = ["Doubts"]

_CHOICES_MAX: Final = 20


@final
class Doubts:
    """What would be worth a question."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    async def deleting(self, call: Call, task_id: str, session: str | None) -> str | None:
        """Say what deleting a task for good takes away; None when there is nothing to delete."""
        try:
            opened, task = await self._lookup.task(task_id, session)
        except NotFound:
            return None
        if await self._made_before(call):
            return None
        members = await opened.store.read(queries.session_tasks, task.session_id, task.id)
        artifacts = await opened.store.read(queries.artifacts_of, [member.id for member in members])
        below = f" and the {len(members) - 1} tasks below it" if len(members) > 1 else ""
        kept = f", with {len(artifacts)} artifacts" if artifacts else ""
        return f"Delete task {task.id} ({task.title}){below}{kept}, for good? It cannot be brought back."

    async def replacing(self, call: Call, plan_path: str, session: str | None) -> str | None:
        """Say which plan another reading of its file would take the place of."""
        if await self._made_before(call):
            return None
        # Here for the reason that `task_tools` has.
        from vespera_agents.specialists.plan_files import in_the_way, plan_container, read_plan_in  # noqa: PLC0415

        opened, found = await self._lookup.session(session)
        container = plan_container(await read_plan_in(opened, plan_path))
        there = await in_the_way(opened, found.id, container)
        if there is None:
            return None
        return (
            f"The plan {plan_path} is in session {found.name} already, as task {there.id} ({there.title}), "
            f"{there.status}. Archive that one, cancelling what is live in it, and plan it anew?"
        )

    async def choosing(self, call: Call, directory: str | None) -> list[SessionLine]:
        """List the open sessions of a workspace when there are several."""
        if await self._made_before(call):
            return []
        if directory is None:
            workspace = (await self._lookup.home_workspace()).workspace
        else:
            workspace = open_workspace(self._lookup.directory(directory), make=False)
        lines = await trio.to_thread.run_sync(read_sessions, workspace)
        found = [line for _, line in sorted(lines, key=lambda pair: pair[0]) if line.status == "open"]
        return found[:_CHOICES_MAX] if len(found) > 1 else []

    async def _made_before(self, call: Call) -> bool:
        if not call.repeated:
            return False
        try:
            return await self._lookup.recorded(call.key.step(1)) is not None
        except Refusal:
            return False
