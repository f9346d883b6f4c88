"""What can go wrong with showing health.

HealthError
├── AddressRefused     the address for metrics is no HOST:PORT, or cannot be listened on
└── EndpointEnded      the thread that answers scrapes has ended; its supervisor starts another
"""

from __future__ import annotations

from typing import final

__all__ = ["AddressRefused", "EndpointEnded", "HealthError"]


class HealthError(Exception):
    """The root of what this package raises; the message says what to do next."""


@final
class AddressRefused(HealthError, ValueError):
    """The address cannot be used."""


@final
class EndpointEnded(HealthError):
    """Nobody answers scrapes any more."""
