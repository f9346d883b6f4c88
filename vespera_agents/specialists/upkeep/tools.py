"""The facade's tools that keep workspaces in order: put sessions away, look after what is inside a workspace.

Thin: find what is meant, and let `cleaning` or `maintenance` do it. Neighbours: the other parts of the facade.
"""

from __future__ import annotations

from typing import Final, Literal, final

from vespera_agents.specialists.calls import Call, Lookup
from vespera_agents.specialists.upkeep.answers import Action, CleanupAnswer, MaintenanceAnswer
from vespera_agents.specialists.upkeep.cleaning import Wish, clean
from vespera_agents.specialists.upkeep.maintenance import Job, maintain, open_ones
from vespera_agents.store import queries
from vespera_agents.store.commands.upkeep import Reason
from vespera_agents.work.errors import InvalidInput

__all__ = ["OLDER_DAYS", "OLDER_DAYS_MAX", "UpkeepTools", "Which"]

Which = Literal["orphaned", "old", "completed", "all"]
OLDER_DAYS: Final = 30
OLDER_DAYS_MAX: Final = 3_650
_DAY_SECONDS: Final = 24 * 3_600.0
_ALL: Final[tuple[Reason, ...]] = ("orphaned", "old", "completed")
_CHANGES_ONLY_ON_REQUEST: Final = "scan_cleanup"


@final
class UpkeepTools:
    """What a client can do to keep workspaces in order."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    async def cleanup(
        self,
        call: Call,
        which: Which,
        older_than_days: int = OLDER_DAYS,
        *,
        dry_run: bool = True,
        session: str | None = None,
    ) -> CleanupAnswer:
        """Put sessions of every known workspace away; never one where somebody is at work.

        Args:
            call: who calls.
            which: `orphaned`: without tasks for an hour, or their directory is gone and nothing is left to do.
                `completed`: every task has ended. `old`: nothing was changed for so many days; finished tasks are
                archived, too. `all`: any of these.
            older_than_days: what is old.
            dry_run: only say what would be done.
            session: only this one.

        Raises:
            NotFound: there is no such session.
            InvalidInput: the number of days is out of its range.
        """
        if not 1 <= older_than_days <= OLDER_DAYS_MAX:
            raise InvalidInput(
                f"a session is old after 1 to {OLDER_DAYS_MAX} days, not {older_than_days}",
                "Give older_than_days in that range.",
            )
        runtime = self._lookup.runtime
        if session is None:
            home = await self._lookup.home_workspace()
            known = [home.workspace.directory, *runtime.workspaces, *runtime.registry.workspaces()]
            directories, session_id = list(dict.fromkeys(known)), None
        else:
            opened, found = await self._lookup.session(session)
            directories, session_id = [opened.workspace.directory], found.id
        reasons = _ALL if which == "all" else (which,)
        wish = Wish(reasons, older_than_days * _DAY_SECONDS, dry_run, session_id)
        return await clean(runtime, call, wish, directories)

    async def maintain(
        self,
        call: Call,
        action: Action,
        scope: Literal["session", "workspace"] = "workspace",
        validation_level: Literal["basic", "full"] = "basic",
        *,
        dry_run: bool | None = None,
        session: str | None = None,
    ) -> MaintenanceAnswer:
        """Look after what is inside a workspace.

        Args:
            call: who calls.
            action: `scan_cleanup` gives back stale tasks and removes what nobody names; `validate_structure` checks
                rows and files; `update_documentation` writes `.vespera/reports/status-<session>.md`;
                `prepare_handover` makes a hand-over artifact.
            scope: one session, or the workspace with all of its open ones.
            validation_level: `full` also reads every page and every artifact.
            dry_run: only say what would be done; unless given, that is so for scan_cleanup.
            session: which session, or the workspace of which.

        Raises:
            NotFound, Conflict: no such session, or several to choose from.
            StoreError: the database cannot be read or written.
        """
        if scope == "session" or session is not None:
            opened, found = await self._lookup.session(session)
        else:
            opened, found = await self._lookup.home_workspace(), None
        if scope == "session" and found is not None:
            sessions, session_id = (found,), found.id
        else:
            sessions, session_id = open_ones(await opened.store.read(queries.sessions)), None
        dry = action == _CHANGES_ONLY_ON_REQUEST if dry_run is None else dry_run
        return await maintain(action, Job(call, opened, sessions, session_id, validation_level == "full", dry))
