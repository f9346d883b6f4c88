"""What the store itself refuses or fails at. What the rules of work refuse is in `work.errors`.

StoreError
├── StoreClosed         it is not running, or was stopped meanwhile
├── StoreUnavailable    the disk is full, the file is locked or was replaced: nothing of the batch was written
├── SchemaTooNew        the database was written by a newer version
├── KeyConflict         a command key that came back with another command
└── ArtifactMissing     the bytes of an artifact are not there, or are not what they were
"""

from __future__ import annotations

from typing import final

__all__ = ["ArtifactMissing", "KeyConflict", "SchemaTooNew", "StoreClosed", "StoreError", "StoreUnavailable"]


class StoreError(Exception):
    """The root of what the store raises; the message says what to do next."""


@final
class StoreClosed(StoreError):
    """The store is not running."""


@final
class StoreUnavailable(StoreError):
    """The database cannot be written or read now. Nothing of the command was kept."""


@final
class SchemaTooNew(StoreError):
    """A newer version of Vespera Agents wrote this database."""


@final
class KeyConflict(StoreError):
    """One command key, two different commands."""


@final
class ArtifactMissing(StoreError):
    """The file of an artifact is gone or damaged."""
