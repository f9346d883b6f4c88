"""What the store itself refuses or fails at. What the rules of work refuse is in `work.errors`.

StoreError
├── StoreClosed         it is not running, or was stopped meanwhile
├── StoreUnavailable    the disk is full, or the file is locked: nothing of the batch was written
├── StoreLost           the file was removed or replaced; who opens the store again begins with what is there
├── Fenced              a newer generation of this server writes: this process does so never again
├── SchemaTooNew        the database was written by a newer version
├── KeyMissing          a command came without a name
├── KeyConflict         a command key that came back with another command
└── ArtifactMissing     the bytes of an artifact are not there, or are not what they were
"""

from __future__ import annotations

from typing import Final, final

__all__ = [
    "ArtifactMissing",
    "Fenced",
    "KeyConflict",
    "KeyMissing",
    "SchemaTooNew",
    "StoreClosed",
    "StoreError",
    "StoreLost",
    "StoreUnavailable",
]


class StoreError(Exception):
    """The root of what the store raises; the message says what to do next."""


@final
class StoreClosed(StoreError):
    """The store is not running."""


@final
class StoreUnavailable(StoreError):
    """The database cannot be written or read now. Nothing of the command was kept."""

    @classmethod
    def because(cls, error: BaseException) -> StoreUnavailable:
        """Put a failure of the database into words that say what to do."""
        text = str(error)
        advice = next((advice for sign, advice in _ADVICE.items() if sign in text), _ADVICE_ELSE)
        return cls(f"the database cannot be used: {text}. {advice}; nothing was written.")


@final
class StoreLost(StoreError):
    """The database is not the file any more that was opened. Nothing of the command was kept."""


@final
class Fenced(StoreError):
    """A newer generation of this server has taken over. Nothing of the command was kept."""


@final
class SchemaTooNew(StoreError):
    """A newer version of Vespera Agents wrote this database."""


@final
class KeyMissing(StoreError):
    """A command that could not be told from itself when it is sent again."""


@final
class KeyConflict(StoreError):
    """One command key, two different commands."""


@final
class ArtifactMissing(StoreError):
    """The file of an artifact is gone or damaged."""


_ADVICE: Final = {
    "full": "Free some disk space and try again",
    "No space": "Free some disk space and try again",
    "disk I/O error": "Free some disk space, look whether the disk is sound, and try again",
    "locked": "Another process holds the database; try again",
    "readonly": "Make .vespera writable and try again",
    "unable to open": "Too many files may be open (ulimit -n), or .vespera is not readable and writable; try again",
}
"""What to do about it, by what SQLite says."""
_ADVICE_ELSE: Final = "Look at the file with `PRAGMA integrity_check`"
