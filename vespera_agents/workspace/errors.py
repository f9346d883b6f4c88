"""What can be wrong with a workspace.

WorkspaceError
└── ServerNotFound    no running server serves this workspace
"""

from __future__ import annotations

from typing import final

__all__ = ["ServerNotFound", "WorkspaceError"]


class WorkspaceError(Exception):
    """A directory, path or configuration that cannot be used; the message says what to do next."""


@final
class ServerNotFound(WorkspaceError):
    """Nobody serves this workspace at the moment."""
