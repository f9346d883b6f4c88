"""The choice of specialists for one workspace: its roles, what was corrected there, and its work in hand.

What it knows is read anew a few seconds after it was read last, not for every plan: a thread that reads takes longer
than the choice. Neighbours: `suggesting` weighs; `task_tools` and `running` ask, for drafts that name nobody.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, final

import trio

from vespera_agents.specialists.roles import Role
from vespera_agents.specialists.routing.learning import lessons_of
from vespera_agents.specialists.routing.suggesting import History, Knowledge, Outcomes, Suggestion, TaskFacts
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.store import queries
from vespera_agents.store.corrections import Correction, RoleCounts, corrections, role_counts
from vespera_agents.work.drafts import TaskDraft, walk_drafts
from vespera_agents.work.errors import NotFound
from vespera_agents.work.models import Task

__all__ = ["Chooser", "ChooserStatistics", "unnamed_facts"]

FRESH_SECONDS: Final = 5.0
"""How long what was read is good enough: roles, corrections, and how tasks stand."""


@final
@dataclass(frozen=True, slots=True)
class ChooserStatistics:
    """What was chosen so far."""

    suggested: int
    looked: int
    """How often roles and rows were read."""
    lessons: int
    """Corrections that were learned of."""


@final
class Chooser:
    """Says whom the tasks of a workspace are for."""

    def __init__(self, opened: OpenWorkspace) -> None:
        self.opened: Final = opened
        self._knowledge = _knowledge(())
        self._history = History()
        self._good_until = 0.0
        self._forgotten = 0
        self._looking = trio.Lock()
        self._suggested = 0
        self._looked = 0

    async def choose(
        self, drafts: Sequence[TaskDraft], session_id: str | None = None, parent: str | None = None
    ) -> dict[str, Suggestion]:
        """Suggest a specialist for each draft that names none, by key.

        Args:
            drafts: a breakdown.
            session_id: where it is to be, None for the only open one.
            parent: the container it is to be put in: an id or a unique prefix.

        Raises:
            InvalidInput: a role file is not valid.
            StoreError: the rows could not be read.
        """
        named = all(draft.specialist is not None for draft, _, _ in walk_drafts(drafts))
        # Whoever comes later waits behind those who read: plans take effect in the order in which they came.
        if self._looking.locked() or not (named or (parent is None and self._is_fresh())):
            async with self._looking:
                if not (named or self._is_fresh()):
                    await self._refresh()
                context = "" if named or parent is None else await self._title_of(parent, session_id)
        else:
            context = ""
        if named:
            return {}
        found = {
            key: self._knowledge.suggest(facts, self._history) for key, facts in unnamed_facts(drafts, context).items()
        }
        self._suggested += len(found)
        return found

    def forget(self) -> None:
        """Read everything again before the next choice: somebody has just corrected one."""
        self._good_until = 0.0
        self._forgotten += 1

    def statistics(self) -> ChooserStatistics:
        """Count what was chosen so far."""
        return ChooserStatistics(self._suggested, self._looked, self._history.lessons.cases)

    def _is_fresh(self) -> bool:
        return trio.current_time() < self._good_until

    async def _refresh(self) -> None:
        begun, forgotten = trio.current_time(), self._forgotten
        roles = await trio.to_thread.run_sync(self.opened.roles)
        cases, counts = await self.opened.store.read(_read)
        self._knowledge = _knowledge(tuple(roles.values()))
        self._history = History(
            lessons_of(cases),
            {one.role: Outcomes(one.completed, one.failed) for one in counts},
            {one.role: one.in_progress for one in counts},
        )
        self._looked += 1
        # What was corrected while this read makes it stale at once.
        if forgotten == self._forgotten:
            self._good_until = begun + FRESH_SECONDS

    async def _title_of(self, reference: str, session_id: str | None) -> str:
        try:
            above: Task = await self.opened.store.read(queries.task, reference, session_id)
        except NotFound:
            # The command that creates the tasks says so, in its own words.
            return ""
        return above.title


def unnamed_facts(drafts: Sequence[TaskDraft], context: str = "") -> dict[str, TaskFacts]:
    """Give what each draft that names no specialist is chosen by, by key."""
    within: dict[str, str] = {}
    found: dict[str, TaskFacts] = {}
    for draft, above, _ in walk_drafts(drafts):
        around = context if above is None else f"{above.title}. {within[above.key]}"
        within[draft.key] = around
        if draft.specialist is None:
            found[draft.key] = TaskFacts(draft.title, draft.description, draft.task_type, draft.complexity, around)
    return found


@lru_cache(8)
def _knowledge(roles: tuple[Role, ...]) -> Knowledge:
    """Know these roles; most workspaces have the packaged ones, and a worker was forked from one that knew them."""
    return Knowledge({role.name: role for role in roles})


def _read(connection: sqlite3.Connection) -> tuple[list[Correction], list[RoleCounts]]:
    return corrections(connection), role_counts(connection)
