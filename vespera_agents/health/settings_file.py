"""The settings of a workspace as they stand in its file now, read again when the file has changed.

Called in a thread again and again, so a file that is as it was is not read. Neighbours: `settings` says what it may
hold, `model` asks here before each examination.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import final

from vespera_agents.health.errors import SettingsRefused
from vespera_agents.health.settings import HealthSettings, read_settings
from vespera_agents.workspace import Registry, Workspace, WorkspaceError, load_settings

__all__ = ["SettingsFile"]


@final
class SettingsFile:
    """What stands under [health] in the configuration of one workspace."""

    def __init__(self, workspace: Workspace, registry: Registry, work: Collection[str]) -> None:
        """Say whose, and the kinds of work that a breaker may be about."""
        self._workspace = workspace
        self._registry = registry
        self._work = work
        self._seen: tuple[int, int, int] | None = None
        self._settings = HealthSettings()
        self._wrong: SettingsRefused | WorkspaceError | None = None

    def read(self) -> HealthSettings:
        """Give the settings as they are now.

        Raises:
            SettingsRefused, WorkspaceError: they are wrong, or have been since.
        """
        try:
            status = self._workspace.config.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        except OSError:
            seen = None
        if seen != self._seen:
            self._seen, self._wrong = seen, None
            try:
                self._settings = read_settings(
                    load_settings(self._workspace, self._registry).section("health"), self._work
                )
            except SettingsRefused as wrong:
                self._wrong = SettingsRefused(f"{self._workspace.config}: {wrong}")
            except WorkspaceError as wrong:
                self._wrong = wrong
        if self._wrong is not None:
            raise self._wrong
        return self._settings
