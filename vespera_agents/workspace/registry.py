"""The registry in the user's state directory: what every workspace needs outside its `.vespera/`.

It lists every known workspace, so that sessions can be found from anywhere, and the fingerprint of the configuration
that a workspace's owner trusts. One JSON file, replaced whole under a lock. Neighbours: `settings` reads the trust.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Final, cast, final

from vespera_agents.front import places
from vespera_agents.workspace.errors import WorkspaceError

__all__ = ["Registry", "state_directory"]

_KEY_BYTES: Final = 32
_WORKSPACES_MAX: Final = 1_000
"""Workspaces that are remembered; the one opened longest ago is forgotten first."""


def state_directory(environment: Mapping[str, str] | None = None) -> Path:
    """Give the user's state directory: `$XDG_STATE_HOME/vespera`, else `~/.local/state/vespera`."""
    return Path(places.state_directory(environment))


@final
class Registry:
    """The known workspaces of this user. Every method reads the file anew: other processes write it too."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory or state_directory()
        self._path = self._directory / "workspaces.json"

    @property
    def path(self) -> Path:
        """The registry's file."""
        return self._path

    def workspaces(self) -> list[Path]:
        """List the known workspaces that still exist, the one opened last first."""
        return [Path(name) for name in reversed(self._read()) if os.path.isdir(Path(name, ".vespera"))]  # noqa: PTH112 - never raises

    def remember(self, workspace: Path) -> None:
        """Put a workspace first in the list, keeping what is known of it."""
        if next(reversed(self._read()), None) == str(workspace):
            return
        with self._changing() as entries:
            entries[str(workspace)] = entries.pop(str(workspace), {})
            for oldest in list(entries)[: max(0, len(entries) - _WORKSPACES_MAX)]:
                del entries[oldest]

    def trusted(self, workspace: Path) -> str | None:
        """Give the fingerprint of the configuration that the owner trusts, if any."""
        return self._read().get(str(workspace), {}).get("trusted")

    def trust(self, workspace: Path, fingerprint: str) -> None:
        """Record the owner's trust in a configuration."""
        with self._changing() as entries:
            entries[str(workspace)] = {**entries.pop(str(workspace), {}), "trusted": fingerprint}

    def key(self) -> bytes:
        """Give this user's secret for signing what others keep for us, made when it is first needed.

        Raises:
            WorkspaceError: it cannot be read or written.
        """
        path = self._directory / "signing.key"
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Not there yet, or another process has made the name and not yet the bytes: the lock makes one of two wait.
            with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                key = file.read()
                if len(key) < _KEY_BYTES:
                    file.truncate(0)
                    key = secrets.token_bytes(_KEY_BYTES)
                    file.write(key)
                    file.flush()
                    os.fsync(file.fileno())
                return key
        except OSError as error:
            raise WorkspaceError(
                f"the key {path} cannot be read or written ({error.strerror}). Make it yours alone, or remove it."
            ) from error

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            data = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise WorkspaceError(
                f"the registry {self._path} cannot be read ({error}). Repair it or move it away."
            ) from error
        entries = cast("dict[str, object]", data) if isinstance(data, dict) else {"": None}
        if not all(isinstance(entry, dict) for entry in entries.values()):
            raise WorkspaceError(f"the registry {self._path} is no list of workspaces. Repair it or move it away.")
        return cast("dict[str, dict[str, str]]", entries)

    @contextlib.contextmanager
    def _changing(self) -> Generator[dict[str, dict[str, str]]]:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with (self._directory / "workspaces.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                entries = self._read()
                yield entries
                descriptor, name = tempfile.mkstemp(dir=self._directory, prefix="workspaces-")
                try:
                    with os.fdopen(descriptor, "w") as out:
                        json.dump(entries, out, indent=1)
                        # Without it a power cut may leave an empty file under the new name.
                        out.flush()
                        os.fsync(descriptor)
                    Path(name).replace(self._path)
                finally:
                    Path(name).unlink(missing_ok=True)
        except OSError as error:
            raise WorkspaceError(
                f"the registry {self._path} cannot be written ({error.strerror}). "
                "Set XDG_STATE_HOME to a directory that you may write to."
            ) from error
