"""The tree at run time: one actor system, with the workspaces, the health and the doors below its root.

    root                      one_for_one
    ├─ workspaces             dynamic, one child per workspace directory
    └─ doors                  rest_for_one: how clients reach us (added by the floors above)

Not a server and not a command line: both open a runtime and add what they need. Neighbours: `sessions` is what lives
below a workspace, `orchestrator` is the facade that works on a runtime.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, cast, final

import trio

from supervisors import (
    ChildSpec,
    ChildType,
    Listener,
    Restart,
    StartFailed,
    Strategy,
    Supervisor,
    SupervisorError,
    supervisor_spec,
)
from vespera_agents.actors import ActorSystem, open_system
from vespera_agents.specialists.admission import Admission
from vespera_agents.specialists.claims import LEASE_SECONDS
from vespera_agents.specialists.front import Front
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.store.holding import lost as lost_file
from vespera_agents.workspace import Registry, Workspace, WorkspaceError, open_workspace

__all__ = ["Runtime", "first_cause", "open_runtime"]


@final
class Runtime:
    """A running tree. Made by `open_runtime`."""

    def __init__(
        self, system: ActorSystem, kind: str, registry: Registry, lease_seconds: float, front: Front | None = None
    ) -> None:
        self.system = system
        self.front: Final = front
        """The front before us, if there is one."""
        self.registry: Final = registry
        self.admission: Final = Admission()
        """Whether new work may begin in this process."""
        self._kind = kind
        self._lease_seconds = lease_seconds
        self._workspaces: dict[Path, OpenWorkspace] = {}
        self._opening = trio.Lock()

    @property
    def root(self) -> Supervisor:
        """The root supervisor."""
        return self.system.supervisor

    @property
    def doors(self) -> Supervisor:
        """Where the floors above start what clients talk to."""
        return cast("Supervisor", self.root.child_value("doors"))

    @property
    def workspaces(self) -> Mapping[Path, OpenWorkspace]:
        """The workspaces that are open, by directory."""
        return self._workspaces

    async def workspace(self, directory: Path | str) -> OpenWorkspace:
        """Open a workspace, or give the one that is open; what dead servers had claimed there is given back.

        Raises:
            WorkspaceError: the directory cannot be a workspace.
            SchemaTooNew, StoreUnavailable: its database cannot be used.
            StoreLost: its database was removed or replaced; it has been opened anew with what is there now.
        """
        workspace = open_workspace(directory)
        async with self._opening:
            opened = self._workspaces.get(workspace.directory)
            if opened is None or not opened.is_open:
                lost = None if opened is None or opened.store.holds_its_file() else lost_file(str(workspace.database))
                # The same object again, so that whoever holds it goes on.
                opened = await self._open(
                    workspace,
                    opened
                    or OpenWorkspace(
                        workspace,
                        self.system,
                        self._kind,
                        self._lease_seconds,
                        self.admission,
                        self.front,
                        self.registry,
                    ),
                )
                if lost is not None:
                    # Whoever comes first after it happened shall know, even if we are the ones who noticed it.
                    raise lost
        return opened

    async def _open(self, workspace: Workspace, opened: OpenWorkspace) -> OpenWorkspace:
        self.registry.remember(workspace.directory)
        spec = ChildSpec(str(workspace.directory), opened.run, type=ChildType.SUPERVISOR, restart=Restart.TEMPORARY)
        try:
            supervisor = cast("Supervisor", self.root.child_value("workspaces"))
            if opened is self._workspaces.get(workspace.directory):
                # It may still be ending; a temporary child that has ended is no child any more.
                with contextlib.suppress(SupervisorError):
                    await supervisor.terminate_child(spec.id)
            # A start that has begun is finished whoever waits for it; cancelled, it would go on without being known.
            with trio.CancelScope(shield=True):
                await supervisor.start_child(spec)
        except SupervisorError as error:
            cause = first_cause(error)
            if isinstance(cause, SupervisorError):
                raise WorkspaceError(
                    f"{workspace.directory} cannot be opened: {cause}. Try again; if it stays so, restart the server."
                ) from cause
            raise cause from None
        self._workspaces[workspace.directory] = opened
        if self.front is None or self.front.generation == 1:
            await opened.release_dead_claims()
        return opened


@asynccontextmanager
async def open_runtime(
    kind: str,
    *,
    registry: Registry | None = None,
    listener: Listener | None = None,
    lease_seconds: float = LEASE_SECONDS,
    front: Front | None = None,
) -> AsyncGenerator[Runtime]:
    """Run a tree for the length of an `async with` block.

    Args:
        kind: `run` or `serve`: how other servers on the same workspace see us.
        registry: where known workspaces are listed; the user's own unless given.
        listener: hears every event of supervision.
        lease_seconds: how long a client that is not heard of keeps its claims.
        front: the front before this process, if there is one.

    Raises:
        MaxRestartsExceeded: the root gave up; the block was cancelled.
    """
    async with open_system(name="root", listener=listener) as system:
        await system.supervisor.start_child(supervisor_spec("workspaces", lambda: Supervisor(name="workspaces")))
        await system.supervisor.start_child(
            supervisor_spec("doors", lambda: Supervisor(name="doors", strategy=Strategy.REST_FOR_ONE))
        )
        yield Runtime(system, kind, registry or Registry(), lease_seconds, front)


def first_cause(error: BaseException) -> BaseException:
    """Find what really went wrong below a chain of failed starts."""
    while isinstance(error, StartFailed) and error.__cause__ is not None:
        error = error.__cause__
    return error
