"""The `.vespera` directory of a workspace, and what may never be one.

Not the store: this module names paths and makes directories, it opens no database. Neighbours: `store/` keeps its
files at the paths named here, `servers` its records, `specialists/` resolves a client's paths through `confined`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from vespera_agents.workspace.errors import WorkspaceError
from vespera_agents.workspace.mounts import data_directory

__all__ = ["DOT_DIRECTORY", "Workspace", "confined", "open_workspace"]

DOT_DIRECTORY: Final = ".vespera"

_SYSTEM_TREES: Final = ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "run", "sbin", "sys", "usr")
"""Directories below the root that hold the machine: neither they nor anything in them is a workspace."""
_SHARED_DIRECTORIES: Final = ("", "home", "media", "mnt", "opt", "srv", "tmp", "var", "var/tmp", "Users", "Volumes")
"""Directories that hold other people's directories: not workspaces themselves, but what is in them may be."""


@final
@dataclass(frozen=True, slots=True)
class Workspace:
    """The paths of one workspace. Nothing outside `dot` and `data` is ever written by us."""

    directory: Path
    """The user's directory, absolute, symbolic links resolved."""

    @property
    def dot(self) -> Path:
        """`.vespera`, which holds everything that we write and people read."""
        return self.directory / DOT_DIRECTORY

    @property
    def data(self) -> Path:
        """What holds the rest: `.vespera` too, unless that lies on another machine (`mounts`)."""
        return data_directory(self.dot)

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.data / "vespera.db"

    @property
    def artifacts(self) -> Path:
        """Files by content hash."""
        return self.data / "artifacts"

    @property
    def servers(self) -> Path:
        """Records, locks and sockets of the processes that serve this workspace."""
        return self.data / "servers"

    @property
    def reports(self) -> Path:
        """The reports of runs, for people."""
        return self.dot / "reports"

    @property
    def config(self) -> Path:
        """The owner's configuration."""
        return self.dot / "config.toml"

    def make(self) -> None:
        """Make the layout where it is missing.

        Raises:
            WorkspaceError: the directory cannot be written, or a part of the layout leads out of it.
        """
        try:
            if self.data != self.dot:
                self._make_data()
            for path in (self.dot, self.data, self.artifacts, self.servers, self.reports):
                # A repository from elsewhere may bring a link that leads our writing anywhere.
                if path.is_symlink():
                    raise WorkspaceError(f"{path} is a symbolic link, which may lead anywhere. Remove it.")
                path.mkdir(mode=0o700, exist_ok=True)
            # SQLite follows a link, and puts its own files beside what it leads to.
            for path in (self.database, *(self.data / f"{self.database.name}-{name}" for name in ("wal", "shm"))):
                if path.is_symlink():
                    raise WorkspaceError(f"{path} is a symbolic link, which may lead anywhere. Remove it.")
            # Made anew or not at all: writing what is there would follow a link that leads nowhere yet.
            with suppress(FileExistsError), (self.dot / ".gitignore").open("x") as ignore:
                ignore.write("*\n")
        except OSError as error:
            raise WorkspaceError(
                f"{error.filename or self.dot} cannot be made: {error.strerror}. "
                "Choose a directory that you may write to."
            ) from error

    def _make_data(self) -> None:
        """Make the directory outside, and say in the workspace where it is."""
        stranded = self.dot / self.database.name
        if stranded.exists() and not self.database.exists():
            raise WorkspaceError(
                f"{stranded} lies on a file system of another machine, where it cannot be used safely. Move it with "
                f"its -wal file, `artifacts` and `servers` to {self.data}, while no server uses it."
            )
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.dot.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileExistsError), (self.dot / "elsewhere.txt").open("x") as told:
            told.write(
                "This directory lies on a file system of another machine. The database, the artifacts and the records "
                f"of servers are on the machine that was used:\n{self.data}\n"
            )


def open_workspace(directory: str | os.PathLike[str], *, make: bool = True) -> Workspace:
    """Give the workspace of a directory, and make its layout unless told not to.

    Raises:
        WorkspaceError: there is no such directory, it is the machine's own, or it cannot be written.
    """
    if "\0" in os.fspath(directory):
        raise WorkspaceError("a path cannot hold a NUL character. Give the path of a project directory.")
    try:
        path = Path(directory).expanduser().resolve(strict=True)
        is_directory = path.is_dir()
    except (OSError, RuntimeError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise WorkspaceError(
            f"{str(directory)!r} is not a directory that can be opened ({reason}). Give a project directory."
        ) from error
    if not is_directory:
        raise WorkspaceError(f"{str(path)!r} is a file. Give the path of the project directory that holds it.")
    inside = path.relative_to(path.anchor)
    if inside.as_posix() in {".", *_SHARED_DIRECTORIES} or (inside.parts and inside.parts[0] in _SYSTEM_TREES):
        raise WorkspaceError(f"{str(path)!r} belongs to the system. Give the path of a project directory.")
    workspace = Workspace(path)
    if DOT_DIRECTORY in path.parts:
        raise WorkspaceError(
            f"{str(path)!r} lies inside a {DOT_DIRECTORY} directory. Give the project's own directory."
        )
    if make:
        workspace.make()
    return workspace


def confined(workspace: Workspace, relative: str) -> Path:
    """Resolve a path that a client gave, which must lie inside the workspace.

    Raises:
        WorkspaceError: it leads outside, through `..`, an absolute path or a symbolic link, or names nothing readable.
    """
    if "\0" in relative or not relative.strip():
        raise WorkspaceError(f"{relative!r} is not a path. Give a path inside the workspace.")
    try:
        path = (workspace.directory / relative).resolve()
    except (OSError, RuntimeError, UnicodeError) as error:
        raise WorkspaceError(f"{relative!r} cannot be resolved. Give a path inside the workspace.") from error
    if not path.is_relative_to(workspace.directory):
        raise WorkspaceError(f"{relative!r} leads outside the workspace. Give a path inside {workspace.directory}.")
    return path
