"""The orchestrator: the facade that the MCP tools and the commands both call.

Sets of tools over one runtime; each method is a tool of the contract, takes plain values and gives an answer of
`answers`. What a client can do wrong is raised as a Refusal, WorkspaceError, PlanError or StoreError, whose message
says what to do next. Not here: transports and schemas (`serving`), printing (`cli`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, final

from vespera_agents.specialists.agents import Agents
from vespera_agents.specialists.calls import Call, Lookup
from vespera_agents.specialists.claims import Holder
from vespera_agents.specialists.doubts import Doubts
from vespera_agents.specialists.job_tools import JobTools
from vespera_agents.specialists.runtime import Runtime
from vespera_agents.specialists.session_tools import SessionTools
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.specialists.task_tools import TaskTools
from vespera_agents.specialists.upkeep.tools import UpkeepTools
from vespera_agents.specialists.work_tools import GATES_WAIT_SECONDS, WorkTools
from vespera_agents.store.records import was_begun
from vespera_agents.work.models import Artifact

__all__ = ["Orchestrator"]


@final
class Orchestrator:
    """The tools on a running tree."""

    def __init__(self, runtime: Runtime, home: Path, *, gates_wait_seconds: float = GATES_WAIT_SECONDS) -> None:
        """Serve a runtime.

        Args:
            runtime: the running tree.
            home: the workspace that is meant where a call names none.
            gates_wait_seconds: how long handing in work waits for gates before it answers `gating`.
        """
        self.runtime = runtime
        self.home = home
        self.lookup: Final = Lookup(runtime, home)
        """Finds the workspace, session, task or artifact that a reference means."""
        self.jobs = JobTools(self.lookup)
        """Long work that goes on after its call."""
        self.sessions = SessionTools(self.lookup, self.jobs)
        """Initialize, list, resume, status."""
        self.tasks = TaskTools(self.lookup, self.jobs)
        """Plan, update, query, cancel, delete."""
        self.work = WorkTools(self.lookup, self.jobs, gates_wait_seconds=gates_wait_seconds)
        """Execute, complete, synthesize."""
        self.agents = Agents(self.lookup, self.jobs)
        """Execute by the server's own specialists."""
        self.upkeep = UpkeepTools(self.lookup)
        """Clean up, maintain."""
        self.doubts = Doubts(self.lookup)
        """What a user may want to be asked before."""

    async def home_workspace(self) -> OpenWorkspace:
        """Open the workspace that is meant where a call names none.

        Raises:
            WorkspaceError: it cannot be one.
        """
        return await self.lookup.home_workspace()

    async def heard(self, holder: Holder) -> None:
        """Note that a client is there: it keeps what it has claimed, in every workspace that is open.

        Raises:
            StoreError: its lease could not be written.
        """
        for opened in list(self.runtime.workspaces.values()):
            if opened.is_open:
                await opened.claims.heard(holder)

    async def admit(self, call: Call, what: str, *, begins: bool) -> None:
        """Note that the client of a call is there, and refuse what may not begin now.

        Args:
            call: the call.
            what: what it calls.
            begins: whether that begins new work; not if it is repeated, and was begun before.

        Raises:
            Conflict: it begins new work, and a shutdown is prepared.
            Overloaded: it begins new work, and a breaker is open.
            StoreError: the lease of the client could not be written, or the records not read.
        """
        if call.holder is not None:
            await self.heard(call.holder)
        admission = self.runtime.admission
        if not begins or not admission.refuses:
            return
        if call.repeated:
            for opened in await self.lookup.open_ones():
                if await opened.store.read(was_begun, call.key):
                    return
        admission.refuse(what)

    async def artifact(self, reference: str) -> tuple[Artifact, OpenWorkspace]:
        """Find an artifact by id or content hash, or a unique prefix of either, with the workspace that holds it.

        Raises:
            NotFound: there is none.
        """
        opened, artifact = await self.lookup.artifact(reference)
        return artifact, opened
