"""Having a specialist work on a task by itself: its desk is set up, and it is replaced when its context is full.

Neighbours: `conductor` assigns tasks and commits what came of them; `loop` is the work.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Callable, Sequence
from typing import Final, final

import trio

from vespera_agents.capabilities.tools import Commands, Toolbox
from vespera_agents.capabilities.working_copies import WorkingCopy, WorkingCopyError, open_working_copy
from vespera_agents.context.sections import Section
from vespera_agents.specialists.agent.desk import Desk, Thinks
from vespera_agents.specialists.agent.journal import Journal
from vespera_agents.specialists.agent.tools import Artifacts, Files, Keyed, ToolsOfAll, ToolSource
from vespera_agents.specialists.gathering import OFFLOADED_NAME, surroundings_of
from vespera_agents.specialists.help_desk import HelpDesk, HelpTools
from vespera_agents.specialists.outcomes import WorkOutcome
from vespera_agents.specialists.roles import Role
from vespera_agents.specialists.sessions import OpenSession
from vespera_agents.specialists.sharing import NoteTools, notes_for
from vespera_agents.specialists.specialist import WorkAlone
from vespera_agents.store import CommandKey
from vespera_agents.store.commands import AddArtifacts, NewArtifact
from vespera_agents.store.plans import goes_on_from
from vespera_agents.work.models import ArtifactKind, Task, TaskStatus
from vespera_agents.workspace import WorkspaceError, load_settings

__all__ = ["Assignment"]

FILE_TOOLS: Final = frozenset({"list_files", "read_file", "search", "edit_file", "write_file", "run_command"})
"""Tools that need a working copy."""
WORK_SECONDS_MAX: Final = 7 * 24 * 3_600.0
"""What one incarnation may work on one task; each step has a limit of its own."""


@final
class Assignment:
    """One task that a specialist works on by itself."""

    def __init__(
        self,
        session: OpenSession,
        task: Task,
        role: Role,
        models: Thinks,
        *,
        holder: str,
        say: Callable[[str], None],
        goes_on: Callable[[], bool],
    ) -> None:
        """Say who works on what.

        Args:
            session: the live session.
            task: claimed under `holder`.
            role: who works on it.
            models: whom it asks.
            holder: under whose name the task is claimed.
            say: hears in a line what is being done.
            goes_on: says whether another step may begin.
        """
        self._session = session
        self._opened = session.opened
        self._task = task
        self._role = role
        self._models = models
        self._holder = holder
        self._by = f"specialist:{role.name}"
        self._say = say
        self._goes_on = goes_on
        self._copy: WorkingCopy | None = None

    async def work(self, scope: trio.CancelScope, renew: Callable[[], trio.CancelScope]) -> WorkOutcome:
        """Have the task worked on, in fresh incarnations as often as the context is full.

        Args:
            scope: ends the first incarnation's work when it is cancelled.
            renew: gives another one for each that follows: a scope is entered once.

        Raises:
            ActorError: the specialist was lost.
            StoreError: the rows cannot be read now.
        """
        try:
            desk = await self._desk()
        except WorkingCopyError as error:
            return WorkOutcome(TaskStatus.BLOCKED, reason=f"it has no working copy: {error}")
        async with self._session.borrow(self._role) as specialist:
            while True:
                outcome = await specialist.ask(WorkAlone(desk, scope), timeout_seconds=WORK_SECONDS_MAX)
                if not outcome.respawn or scope.cancel_called:
                    return outcome
                scope = renew()
                await self._session.respawn(specialist)

    async def tidy(self, outcome: WorkOutcome) -> None:
        """Remove the working copy of a task that is done; what was changed is kept as a branch and a patch."""
        if self._copy is not None and outcome.status is TaskStatus.COMPLETED:
            with contextlib.suppress(WorkingCopyError):
                await self._copy.remove()

    async def _desk(self) -> Desk:
        opened, task, role = self._opened, self._task, self._role
        task, around = await opened.store.read(surroundings_of, task.id)
        # The claim clears the reason for which the task waited; whoever works on it must know that reason.
        told = task.model_copy(update={"status_reason": task.status_reason or self._task.status_reason})
        directory = opened.workspace.directory
        sources: list[ToolSource] = []
        if FILE_TOOLS & set(role.tools):
            # In a pipeline and in a review one goes on from what another has made.
            before = await opened.store.read(goes_on_from, task.id)
            base = None if before is None else f"vespera/{before}"
            self._copy = await open_working_copy(directory, task.id, base=base, environment=os.environ)
            directory = self._copy.directory
            sources.append(Files(Toolbox(directory, role.tools, commands=await self._commands())))
        sources.append(Keyed(NoteTools(opened, task.session_id, role.name, self._by)))
        desk = HelpDesk(opened, task.session_id, self._models)
        others = tuple(name for name in opened.roles() if name != role.name)
        sources.append(Keyed(HelpTools(desk, role=role.name, task_id=task.id, by=self._by, roles=others)))
        sources.append(Artifacts(opened.store, task.id, [one.sha256 for one in around.artifacts]))
        return Desk(
            role=role,
            task=told,
            around=around,
            models=self._models,
            tools=ToolsOfAll(sources),
            journal=Journal(opened.store, opened.key, task.id, self._by, self._holder),
            keep=self._keep,
            offload=self._offload,
            directory=directory,
            commands=self._allowed(),
            shared=self._shared,
            changes=self._changes,
            goes_on=self._goes_on,
            say=self._say,
            figures=opened.context_figures,
        )

    def _allowed(self) -> tuple[str, ...]:
        """Give how the commands begin that the owner allows."""
        with contextlib.suppress(WorkspaceError):
            settings = load_settings(self._opened.workspace, self._opened.registry)
            return tuple(shlex.join(words) for words in settings.allow) if settings.trusted else ()
        return ()

    async def _commands(self) -> Commands | None:
        if "run_command" not in self._role.tools:
            return None
        bench, hidden = self._opened.bench, self._opened.model_source.key_variables()
        environment = {name: value for name, value in bench.base_environment.items() if name not in hidden}
        return Commands(await bench.guardian.guardian(), environment, self._opened.refusal)

    async def _keep(self, data: bytes, name: str) -> NewArtifact:
        sha256 = await self._opened.store.artifacts.save(data)
        return NewArtifact(ArtifactKind.GENERAL, name, "text/markdown", len(data), sha256)

    async def _offload(self, section: Section) -> str:
        made = await self._keep(section.text.encode(), f"{OFFLOADED_NAME}{section.name}")
        task = self._task
        command = AddArtifacts(self._by, task.session_id, task.id, (made,))
        # The same text of the same part is kept once, however often it is put aside.
        await self._opened.store.execute(command, CommandKey("step", f"{task.id}/aside/{section.name}/{made.sha256}"))
        return f"vespera://artifact/{made.sha256}"

    async def _shared(self) -> Sequence[tuple[str, str]]:
        notes = await notes_for(self._opened, self._task.session_id, self._role.name)
        told: list[tuple[str, str]] = []
        for note in reversed(notes):
            text = note.text if note.sha256 is None else f"{note.text}\n[It goes on: read_notes(name={note.name!r})]"
            told.append((f"{note.name} (of the {note.owner or 'user'}, version {note.version})", text))
        return told

    async def _changes(self) -> tuple[NewArtifact, ...]:
        """Keep what was changed in the working copy, as a patch and a commit."""
        if self._copy is None:
            return ()
        patch = await self._copy.diff()
        if not patch:
            return ()
        await self._copy.commit(f"{self._task.title}\n\nTask {self._task.id}, by the {self._role.name}.")
        where = f"changes on {self._copy.branch}" if self._copy.branch else f"changes of {self._task.title}"
        sha256 = await self._opened.store.artifacts.save(patch)
        return (NewArtifact(ArtifactKind.CODE, f"{where}.patch", "text/x-diff", len(patch), sha256),)
