"""`vespera monitor`: how far one session is, once or until nothing more happens in it.

Read straight from the database, read-only and without becoming one of its servers: it goes on while servers restart,
and shows a `vespera run` as well as what clients do. A look that finds no commit since the last costs one statement.
Neighbours: `progress` says how far it is, `outlook` how that is written and drawn.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, final

import trio
from rich.live import Live

from vespera_agents.cli.looking import choose_session
from vespera_agents.cli.outcomes import EXIT_DONE, EXIT_FAILED
from vespera_agents.cli.outlook import document, picture, standing_text
from vespera_agents.cli.printing import Printer
from vespera_agents.cli.progress import Progress, progress_of
from vespera_agents.cli.wording import one_line
from vespera_agents.store import queries
from vespera_agents.store.errors import StoreUnavailable
from vespera_agents.store.writer import connect
from vespera_agents.work.errors import NotFound
from vespera_agents.work.models import Task, TaskStatus
from vespera_agents.workspace import Workspace, open_workspace

__all__ = ["MonitorWish", "monitor"]

LOOK_SECONDS: Final = 0.25
"""How often the database is asked whether anything was committed."""
LOOK_SHARE: Final = 10
"""After a reading that took long, the next one waits for so many times as long."""
PAST_SECONDS: Final = 60.0
"""How often past durations are read anew."""
PAST_TASKS_MAX: Final = 200
"""How many past tasks of each role are looked at."""


@final
@dataclass(frozen=True, slots=True)
class MonitorWish:
    """What to look at, and how."""

    workspace: Path
    session: str | None = None
    """Its id or name; the newest open one unless given, else the newest."""
    watch: bool = False
    as_json: bool = False


def monitor(wish: MonitorWish) -> int:
    """Show how far a session is; give the exit status.

    Raises:
        WorkspaceError: the directory cannot be a workspace.
        NotFound: there is no such session.
        StoreError: the database cannot be read.
    """
    workspace = open_workspace(wish.workspace, make=False)
    if not workspace.database.exists():
        raise NotFound(f"there is no session in {workspace.directory} yet", "Run a plan: `vespera run PLAN`.")
    printer = Printer(sys.stdout)
    with closing(_Reader(workspace, wish.session)) as reader:
        progress = reader.read()
        if wish.watch:
            progress = trio.run(_watch, reader, progress, _screen(wish, printer))
    if wish.as_json:
        printer.line(json.dumps(document(progress, workspace), ensure_ascii=False, indent=2))
    elif not wish.watch or printer.live:
        printer.render(picture(progress, progress.at))
    if wish.watch and progress.finished and not progress.well:
        return EXIT_FAILED
    return EXIT_DONE


async def _watch(reader: _Reader, progress: Progress, screen: _Screen) -> Progress:
    """Look on until nothing more happens, or nobody reads any more; give what was seen last."""
    with screen:
        rest = LOOK_SECONDS
        while screen.show(progress) and not progress.finished:
            await trio.sleep(rest)
            begun = time.perf_counter()
            progress = await trio.to_thread.run_sync(reader.read_if_changed, progress)
            rest = max(LOOK_SECONDS, LOOK_SHARE * (time.perf_counter() - begun))
    return progress


@final
class _Reader:
    """Reads one session of a workspace."""

    def __init__(self, workspace: Workspace, reference: str | None) -> None:
        self._workspace = workspace
        self._reference = reference
        self._connection = connect(workspace.database, read_only=True)
        self._file = _identity(workspace.database)
        self._version = -1
        self._past: Mapping[str, Sequence[float]] = {}
        self._past_read = -PAST_SECONDS

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()

    def read(self) -> Progress:
        """Read how far the session is now.

        Raises:
            NotFound: there is no such session.
            StoreUnavailable: the database cannot be read.
        """
        try:
            self._version = self._data_version()
            self._connection.execute("BEGIN")
            try:
                return self._read()
            finally:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise StoreUnavailable.because(error) from error

    def read_if_changed(self, known: Progress) -> Progress:
        """Read again if anything was committed since, which is the same for a database that is another file now.

        Raises:
            NotFound: the session is gone.
            StoreUnavailable: the database cannot be read.
        """
        identity = _identity(self._workspace.database)
        if identity != self._file:
            self._connection.close()
            self._connection = connect(self._workspace.database, read_only=True)
            self._file = identity
            self._version = -1
        try:
            changed = self._data_version() != self._version
        except sqlite3.Error as error:
            raise StoreUnavailable.because(error) from error
        return self.read() if changed else known

    def _data_version(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def _read(self) -> Progress:
        session = choose_session(queries.sessions(self._connection), self._reference)
        if session is None:
            raise NotFound(f"there is no session in {self._workspace.directory} yet", "Run a plan: `vespera run PLAN`.")
        # From now on this one, also when another begins.
        self._reference = session.id
        tasks = queries.session_tasks(self._connection, session.id)
        dependencies = queries.dependencies_of(self._connection, [task.id for task in tasks])
        if time.monotonic() - self._past_read >= PAST_SECONDS:
            self._past_read = time.monotonic()
            self._past = queries.past_durations(self._connection, PAST_TASKS_MAX)
        return progress_of(session, tasks, dependencies, self._past, time.time())


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


# ---- while it goes on


class _Screen(Protocol):
    """Where a session is watched."""

    def __enter__(self) -> object: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, progress: Progress) -> bool:
        """Show how far it is; say whether anybody looks on."""
        ...


def _screen(wish: MonitorWish, printer: Printer) -> _Screen:
    if wish.as_json:
        return _Silent()
    return _Picture(printer) if printer.live else _Lines(printer)


@final
class _Silent:
    """Shows nothing: the one document comes at the end."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, progress: Progress) -> bool:  # noqa: ARG002 - it shows nothing
        return True


@final
class _Picture:
    """One picture that is drawn over and over, and gone at the end."""

    def __init__(self, printer: Printer) -> None:
        self._live = Live(
            console=printer.console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> None:
        self._live.start()

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, progress: Progress) -> bool:
        self._live.update(picture(progress, time.time()), refresh=True)
        return True


@final
class _Lines:
    """One line for each change, for pipes and files."""

    def __init__(self, printer: Printer) -> None:
        self._printer = printer
        self._known: dict[str, str] | None = None

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, progress: Progress) -> bool:
        now = {task.id: str(task.status) for task in progress.leaves}
        if self._known is None:
            self._tell("session", f"{progress.session.name}: {standing_text(progress)}")
        elif now != self._known:
            for task in progress.leaves:
                if self._known.get(task.id) != now[task.id]:
                    self._tell(now[task.id].replace("_", " "), _described(task))
        self._known = now
        if progress.finished:
            self._tell("finished" if progress.well else "failed", standing_text(progress))
        return not self._printer.gone

    def _tell(self, word: str, text: str) -> None:
        self._printer.line(f"{time.strftime('%H:%M:%S')}  {word:<11}  {one_line(text)}")


def _described(task: Task) -> str:
    facts = [
        f"by {task.claimed_by}" if task.claimed_by else "",
        task.status_reason or "" if task.status is not TaskStatus.IN_PROGRESS else "",
    ]
    said = ", ".join(fact for fact in facts if fact)
    return f"{task.title}: {said}" if said else task.title
