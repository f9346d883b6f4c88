"""What can go wrong with showing health.

HealthError
├── AddressRefused     the address for metrics is no HOST:PORT, or cannot be listened on
├── EndpointEnded      the thread that answers scrapes has ended; its supervisor starts another
├── FeedRefused        nobody more can watch, or the feed has ended
├── RecoveryFailed     what was to make the server well could not be done
├── SettingsRefused    something under [health] in the configuration is wrong
└── WatchdogEnded      the thread that watches the loop has ended; its supervisor starts another
"""

from __future__ import annotations

from typing import final

__all__ = [
    "AddressRefused",
    "EndpointEnded",
    "FeedRefused",
    "HealthError",
    "RecoveryFailed",
    "SettingsRefused",
    "WatchdogEnded",
]


class HealthError(Exception):
    """The root of what this package raises; the message says what to do next."""


@final
class AddressRefused(HealthError, ValueError):
    """The address cannot be used."""


@final
class EndpointEnded(HealthError):
    """Nobody answers scrapes any more."""


@final
class FeedRefused(HealthError):
    """The observer's feed cannot be watched now."""


@final
class RecoveryFailed(HealthError):
    """A recovery came to nothing; its supervisor reports it, and it is not started again at once."""


@final
class SettingsRefused(HealthError, ValueError):
    """The settings are not taken; those from before go on."""


@final
class WatchdogEnded(HealthError):
    """Nobody looks at the loop any more."""
