"""How providers are used together: policy, retries, circuit breakers, limits of spending. Values only.

Neighbours: `reading` makes it of a workspace's `[providers]` and the environment, `settings` has one provider's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from vespera_agents.providers.choosing import Policy

if TYPE_CHECKING:
    from vespera_agents.providers.settings import ProviderSettings

__all__ = ["BreakerSettings", "ModelsSettings", "RetrySettings"]


@final
@dataclass(frozen=True, slots=True)
class RetrySettings:
    """How often the same provider is asked again, and after which pause."""

    attempts_max: int = 3
    """Requests to one provider for one wish, the first among them."""
    min_seconds: float = 0.5
    """The pause before the second; doubled before each further one."""
    max_seconds: float = 20.0
    jitter: float = 0.5
    """A pause is stretched by a random part of this fraction, so that many who wait do not come back at once."""
    patience_seconds: float = 5.0
    """A provider that wants to be left alone for longer is passed over if there is another."""


@final
@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a provider is left alone."""

    failures_max: int = 5
    """In a row."""
    min_seconds: float = 15.0
    """How long it is left alone first; doubled after each probe that fails."""
    max_seconds: float = 300.0


@final
@dataclass(frozen=True, slots=True)
class ModelsSettings:
    """All providers of a workspace, and how they are used together."""

    providers: tuple[ProviderSettings, ...] = ()
    policy: Policy = Policy.CHEAPEST
    fallback: tuple[str, ...] = ()
    """Providers in the order in which they are asked after the first one; empty: by score."""
    retry: RetrySettings = field(default_factory=RetrySettings)
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    spend_usd_per_session: float | None = None
    """None: no limit."""
    spend_usd_per_day: float | None = None
    """For a day of UTC, in this workspace."""
    ignored: str | None = None
    """Why the `[providers]` of the workspace's file does not count, and what to do; None: it does, or there is none."""

    @property
    def limited(self) -> bool:
        """Whether there is a limit of spending."""
        return self.spend_usd_per_session is not None or self.spend_usd_per_day is not None
