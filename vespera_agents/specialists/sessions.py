"""Sessions and workspaces while they are open: the subtrees that hold their actors.

    workspace "<dir>"            rest_for_one
    ├─ store                     the single writer
    ├─ sessions                  dynamic
    │   └─ session "<id>"        one_for_one
    │       ├─ specialists       dynamic: one actor for each piece of work in hand
    │       ├─ conductor         only while a plan is being run
    │       └─ gates-<task>      only while the gates of handed-in work run
    ├─ jobs                      dynamic: what goes on after the call that asked for it
    ├─ claims                    gives back what the dead had claimed
    ├─ records                   removes the records of old commands
    └─ callbacks                 tells whoever wants to know what happens to tasks

Not the rows of a session (`store`), not its rules (`work`). Workspaces and sessions are temporary children: one that
gives up takes none of its neighbours with it, and is started anew when it is needed next. Neighbours: `runtime` opens
workspaces, `conductor` and `orchestrator` borrow specialists.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final, cast, final

import trio

from supervisors import (
    AnySupervisor,
    AutoShutdown,
    ChildSpec,
    ChildState,
    ChildType,
    Restart,
    Strategy,
    Supervisor,
    SupervisorError,
    supervisor_spec,
)
from supervisors.guardian import LateGuardian, open_guardian_late
from vespera_agents.actors import ActorRef, ActorSystem
from vespera_agents.specialists.admission import Admission
from vespera_agents.specialists.agent.figures import ContextFigures
from vespera_agents.specialists.callbacks.callbacks import Callbacks
from vespera_agents.specialists.claims import Claims
from vespera_agents.specialists.front import Front
from vespera_agents.specialists.jobs import Jobs
from vespera_agents.specialists.lending import Lending
from vespera_agents.specialists.models import WorkspaceModels
from vespera_agents.specialists.pruning import Pruning
from vespera_agents.specialists.roles import Role, load_roles, role_of
from vespera_agents.specialists.specialist import Specialist, Workbench
from vespera_agents.store import CommandKey, Owner, Store, StoreClosed
from vespera_agents.store.holding import lost
from vespera_agents.store.lifecycle import prepared_since
from vespera_agents.store.schema import MIGRATIONS
from vespera_agents.work.models import CommandLine
from vespera_agents.workspace import (
    Fronted,
    Leadership,
    Registry,
    ServerRecord,
    Workspace,
    WorkspaceError,
    announce_server,
    elder_server,
    guardian_lock,
    load_settings,
)

__all__ = ["GATES_CHILD", "OpenSession", "OpenWorkspace"]

SPECIALIST_RESTARTS_MAX: Final = 1_000
"""Restarts of one session's specialists within the period. A specialist crashes only over a message, and a task is
tried three times, so a crash loop ends by itself: this is the fuse for what is not foreseen."""
RESTART_WAIT_SECONDS: Final = 10.0
"""How long a caller waits while the subtree of sessions is being restarted."""
_LOOK_SECONDS: Final = 0.05
GATES_CHILD: Final = "gates-"
"""How the names of a session's children begin that run the gates of a task; its id follows."""


@final
class OpenSession:
    """The live subtree of one session."""

    def __init__(self, session_id: str, opened: OpenWorkspace) -> None:
        self.session_id = session_id
        self.opened = opened
        self.ended: Final = trio.Event()
        """Set when it is over; the workspace then starts another for the same session."""
        self._supervisor = Supervisor(
            [
                supervisor_spec(
                    "specialists",
                    lambda: Supervisor(name=f"specialists of {session_id}", intensity=SPECIALIST_RESTARTS_MAX),
                )
            ],
            name=session_id,
        )
        self._lending: Final = Lending(session_id, opened.system, lambda: opened.bench, lambda: self.specialists)

    async def run(self, *, task_status: trio.TaskStatus[AnySupervisor]) -> None:
        """Be the session's supervisor, once: a child for the dynamic supervisor of the workspace's sessions."""
        try:
            await self._supervisor.run(task_status=task_status)
        finally:
            self.ended.set()

    @property
    def supervisor(self) -> Supervisor:
        """The session's own supervisor: the conductor is started under it."""
        return self._supervisor

    @property
    def specialists(self) -> Supervisor:
        """The dynamic supervisor of the specialists.

        Raises:
            SupervisorError: it is not running now.
        """
        return cast("Supervisor", self._supervisor.child_value("specialists"))

    def busy(self) -> Mapping[str, int]:
        """Count, for each specialist that somebody has, by how many."""
        return self._lending.busy

    def running_specialists(self) -> list[tuple[str, ActorRef[Specialist]]]:
        """List the specialists that are there now, lent or idle, by name."""
        try:
            children = [child.id for child in self.specialists.which_children() if child.state is ChildState.RUNNING]
            return [(name, cast("ActorRef[Specialist]", self.specialists.child_value(name))) for name in children]
        except SupervisorError:
            # The session has just gone: nobody in it has anything to say any more.
            return []

    def borrow(self, role: Role) -> AbstractAsyncContextManager[ActorRef[Specialist]]:
        """Have a specialist of a role while the block lasts: an idle one if there is one, else a new one.

        Raises:
            ActorStopped: the session's subtree is down or just being restarted.
        """
        return self._lending.borrow(role)

    async def respawn(self, ref: ActorRef[Specialist]) -> None:
        """Replace a specialist that somebody has by a fresh incarnation; its reference stays good.

        Raises:
            ActorStopped: the session's subtree is down or just being restarted.
        """
        await self._lending.respawn(ref)


@final
class OpenWorkspace:
    """The live subtree of one workspace, and who we are to the other processes that serve it."""

    def __init__(
        self,
        workspace: Workspace,
        system: ActorSystem,
        kind: str,
        lease_seconds: float,
        admission: Admission,
        front: Front | None = None,
        registry: Registry | None = None,
    ) -> None:
        """Name the workspace; `run` opens it.

        Args:
            workspace: its directory, the layout made.
            system: where its actors live.
            kind: `run` or `serve`: shown to the other servers.
            lease_seconds: how long a client that is not heard of keeps its claims.
            admission: whether new work may begin.
            front: under whose name we serve, if we have one.
            registry: where the owner's trust in its configuration is written; the user's own unless given.
        """
        self.workspace = workspace
        self.system = system
        self.admission: Final = admission
        self.front: Final = front
        self.registry: Final = registry or Registry()
        """Where the owner's trust in the configuration is written."""
        owner = None if front is None else Owner(front.server, front.generation, front.give_way, self._admit)
        self.store: Final = Store(workspace.database, workspace.artifacts, owner=owner, elder=self._elder)
        self.jobs: Final = Jobs(self)
        """The long work that goes on here; last in the tree, because it works in the sessions."""
        self.callbacks: Final = Callbacks(self)
        """Who is told of what happens."""
        self.model_source: Final = WorkspaceModels(
            workspace, self.store, self.key, self.registry, self.callbacks.budget_low
        )
        self.models: Final = self.model_source.models
        """Gives what models are asked through, made at the first call; None where there is no provider."""
        self.leadership: Final = Leadership(workspace)
        """Whether we lead among the servers of this workspace."""
        self._kind, self._keys = kind, 0
        self._record: ServerRecord | None = None
        self._guardian: LateGuardian | None = None
        self._supervisor: Supervisor | None = None
        self.context_figures: Final = ContextFigures()
        """What became of the contexts of its specialists."""
        self._sessions: dict[str, OpenSession] = {}
        self._opening = trio.Lock()
        self.claims: Final = Claims(
            workspace,
            self.store,
            server=lambda: self.record.id,
            key=self.key,
            worked_on=self.worked_on,
            leads=self.leads,
            lease_seconds=lease_seconds,
        )
        self._pruning = Pruning(workspace, self.store, leads=self.leads, key=self.key)
        self.runs = False
        """Whether its subtree runs; on which file, the disk must be asked: see `is_open`."""

    async def run(self, *, task_status: trio.TaskStatus[AnySupervisor]) -> None:
        """Be the workspace's supervisor: a child for the dynamic supervisor of workspaces.

        Raises:
            WorkspaceError: the server's record cannot be written.
        """
        front, locks = self.front, list[tuple[str, int]]()
        fronted = None
        if front is not None:
            fronted = Fronted(front.server, lambda name, lock: locks.append((name, lock)), front.is_gone)
        try:
            with announce_server(self.workspace, self._kind, fronted, schema=len(MIGRATIONS)) as record:
                for name, lock in locks:
                    assert front is not None, "only a front keeps locks"
                    await front.keep_lock(name, lock)
                async with open_guardian_late(guardian_lock(self.workspace, record.id)) as guardian:
                    self._record, self._guardian = record, guardian
                    self._supervisor = Supervisor(
                        [
                            self._store_spec(),
                            supervisor_spec("sessions", self._sessions_supervisor),
                            supervisor_spec("jobs", self.jobs.supervisor),
                            # Last, so that their crashes restart nobody else.
                            ChildSpec("claims", self.claims.run),
                            ChildSpec("records", self._pruning.run),
                            supervisor_spec("callbacks", self.callbacks.supervisor),
                        ],
                        name=str(self.workspace.directory),
                        strategy=Strategy.REST_FOR_ONE,
                        auto_shutdown=AutoShutdown.ANY_SIGNIFICANT,
                    )
                    self.model_source.settle(self._supervisor, guardian)
                    self.runs = True
                    await self._supervisor.run(task_status=task_status)
        finally:
            self.runs = False
            self.leadership.resign()
            await self.model_source.close()

    @property
    def is_open(self) -> bool:
        """Whether its subtree runs on the database that is there; `Runtime.workspace` starts it anew when not."""
        return self.runs and self.store.holds_its_file()

    def leads(self) -> bool:
        """Say whether we lead among the servers of this workspace; where nobody does, we do from now on."""
        return self.runs and self._record is not None and self.leadership.lead(self._record.id)

    def _admit(self, connection: sqlite3.Connection) -> None:
        """Begin nothing new if a shutdown was prepared in the worker before this one."""
        # Read by who opens the database anyway: a reader of its own, and a thread for it, took 1.1 ms of a takeover.
        front = self.front
        if front is not None and front.generation > 1 and (since := prepared_since(connection, front.server)):
            self.admission.prepare(since)

    def _elder(self, schema: int) -> str | None:
        """Name another server on this workspace that knows only an older schema."""
        return elder_server(self.workspace, schema, None if self._record is None else self._record.id)

    def _store_spec(self) -> ChildSpec:
        # A store that ends by itself has lost its file, and with it everything around it.
        transient = Restart.TRANSIENT
        return ChildSpec("store", self.store.run, shutdown_seconds=15.0, restart=transient, significant=True)

    def _sessions_supervisor(self) -> Supervisor:
        return Supervisor(name=f"sessions of {self.workspace.directory}")

    @property
    def record(self) -> ServerRecord:
        """Who we are to the other processes on this workspace."""
        assert self._record is not None, "a workspace is used after it was opened"
        return self._record

    @property
    def server(self) -> str:
        """Our id among the servers of this workspace."""
        return self.record.id

    @property
    def generation(self) -> int:
        """Which worker of our front this process is; 1 without a front."""
        return 1 if self.front is None else self.front.generation

    @property
    def bench(self) -> Workbench:
        """What a specialist of this workspace works with."""
        assert self._guardian is not None, "a workspace is used after it was opened"
        hidden = self.callbacks.secret_variables()
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        return Workbench(self.workspace, self.store, self._guardian, environment)

    def roles(self) -> dict[str, Role]:
        """Read the roles as they are on disk now.

        Raises:
            InvalidInput: a role file is not valid.
        """
        return load_roles(self.workspace.dot / "roles")

    def role(self, name: str) -> Role:
        """Give a role by name, the generic one for a name that nobody defined."""
        return role_of(self.roles(), name)

    def refusal(self, line: CommandLine) -> str | None:
        """Say why a command may not run for a client or for a model, and what to do; None when it may."""
        try:
            return load_settings(self.workspace, self.registry).refusal(line.text, shell=line.shell)
        except WorkspaceError as error:
            return str(error)

    def key(self) -> CommandKey:
        """Name a command of our own, one that no client asked for."""
        self._keys += 1
        # Every worker of a front has its name.
        return CommandKey(self.record.id, f"own/{self.generation}/{self._keys}")

    def goes_on(self) -> bool:
        """Say whether another process goes on here when this one ends."""
        return self.front is not None and not self.front.is_gone()

    @property
    def sessions(self) -> Mapping[str, OpenSession]:
        """The sessions that were opened, by id."""
        return self._sessions

    async def session(self, session_id: str) -> OpenSession:
        """Give the live subtree of a session, started if it is not there; waits while the workspace restarts it.

        One that lives is given without a look at the disk: whoever goes on to the store hears there that it is lost.

        Raises:
            StoreClosed: the workspace's subtree did not come back in time.
            StoreLost: its database was removed or replaced.
        """
        if (found := self._live(session_id)) is not None:
            return found
        async with self._opening:
            with trio.move_on_after(RESTART_WAIT_SECONDS):
                while self.is_open:
                    if (found := self._live(session_id)) is not None:
                        return found
                    try:
                        return await self._start_session(session_id)
                    except SupervisorError:
                        await trio.sleep(_LOOK_SECONDS)
        if not self.store.holds_its_file():
            raise lost(str(self.workspace.database))
        raise StoreClosed(
            f"the workspace {self.workspace.directory} is not running. Try again; if it stays so, restart the server."
        )

    def _live(self, session_id: str) -> OpenSession | None:
        found = self._sessions.get(session_id)
        return found if found is not None and not found.ended.is_set() else None

    async def _start_session(self, session_id: str) -> OpenSession:
        assert self._supervisor is not None, "a workspace is used after it was opened"
        supervisor = cast("Supervisor", self._supervisor.child_value("sessions"))
        session = OpenSession(session_id, self)
        spec = ChildSpec(session_id, session.run, restart=Restart.TEMPORARY, type=ChildType.SUPERVISOR)
        # A start that has begun is finished whoever waits for it; cancelled, it would go on without being known.
        with trio.CancelScope(shield=True):
            await supervisor.start_child(spec)
        self._sessions[session_id] = session
        return session

    async def release_dead_claims(self) -> list[str]:
        """Give back what those had claimed who are gone, as `Claims.release_abandoned` does; lists the tasks."""
        return await self.claims.release_abandoned()

    def worked_on(self) -> frozenset[str]:
        """Give the tasks whose gates run now."""
        live = [session for session in self._sessions.values() if not session.ended.is_set()]
        names = (child.id for session in live for child in session.supervisor.which_children())
        return frozenset(name.removeprefix(GATES_CHILD) for name in names if name.startswith(GATES_CHILD))
