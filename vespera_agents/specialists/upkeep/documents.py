"""Documents for people below `.vespera/reports`: written whole or not at all. Neighbours: `running`, `maintenance`."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from vespera_agents.workspace import WorkspaceError

__all__ = ["replace_document"]


def replace_document(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        WorkspaceError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise WorkspaceError(
            f"the document {path} cannot be written ({error.strerror}). Free some space and try again."
        ) from error
