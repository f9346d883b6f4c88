"""Where this user's own files lie. Nothing but names: no file is opened, no directory made.

Without pathlib, because the front names its log before it starts its first worker. Neighbours: `launch`; the registry
(`vespera_agents.workspace.registry`) lies in the same directory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["log_path", "logs_directory", "state_directory"]


def state_directory(environment: Mapping[str, str] | None = None) -> str:
    """Give the user's state directory: `$XDG_STATE_HOME/vespera`, else `~/.local/state/vespera`."""
    values = os.environ if environment is None else environment
    configured = values.get("XDG_STATE_HOME", "")
    base = configured if configured.startswith("/") else os.path.expanduser("~/.local/state")  # noqa: PTH111 - see above
    return f"{base}/vespera"


def logs_directory() -> str:
    """Give the directory of the servers' logs."""
    return f"{state_directory()}/logs"


def log_path(server: str) -> str:
    """Give the path of a server's log."""
    return f"{logs_directory()}/{server}.log"
