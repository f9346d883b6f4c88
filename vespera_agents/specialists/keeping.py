"""Keeping handed-in work: texts and files become artifact files, durable before any row names them.

Neighbours: `work_tools` decides whether work may be handed in.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.store.artifacts import ARTIFACT_BYTES_MAX
from vespera_agents.store.commands import NewArtifact
from vespera_agents.work.errors import InvalidInput
from vespera_agents.work.models import ArtifactKind, Task
from vespera_agents.workspace import WorkspaceError, confined, open_inside

__all__ = ["keep_work"]

_FILES_MAX: Final = 50


async def keep_work(
    opened: OpenWorkspace, task: Task, detailed_work: str, file_paths: Sequence[str], kind: ArtifactKind
) -> tuple[NewArtifact, ...]:
    """Make the handed-in work durable as artifact files.

    Raises:
        InvalidInput: too many files.
        WorkspaceError: a file leads outside the workspace, cannot be read, or is too large.
    """
    if len(file_paths) > _FILES_MAX:
        raise InvalidInput(f"{len(file_paths)} files are more than {_FILES_MAX}", "Hand in fewer files.")
    paths = [(name, confined(opened.workspace, name)) for name in file_paths]
    found: list[NewArtifact] = []
    if detailed_work.strip():
        data = detailed_work.encode()
        sha256 = await opened.store.artifacts.save(data)
        found.append(NewArtifact(kind, f"work on {task.title}", "text/markdown", len(data), sha256))
    # One after the other: all of them at once need not fit into the memory.
    for name, path in paths:
        data = await trio.to_thread.run_sync(_read_file, opened.workspace.directory, name, path)
        mime_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        sha256 = await opened.store.artifacts.save(data)
        found.append(NewArtifact(kind, name, mime_type, len(data), sha256))
    return tuple(found)


def _read_file(directory: Path, name: str, path: Path) -> bytes:
    try:
        with open_inside(directory, path) as file:
            data = file.read(ARTIFACT_BYTES_MAX + 1)
    except OSError as error:
        raise WorkspaceError(
            f"the file {name!r} cannot be read ({error.strerror}). Name existing files of the workspace."
        ) from error
    if len(data) > ARTIFACT_BYTES_MAX:
        raise WorkspaceError(f"the file {name!r} is larger than {ARTIFACT_BYTES_MAX} bytes. Hand in a smaller one.")
    return data
