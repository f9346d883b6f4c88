"""What an exchange with a model can fail with.

    ProviderError
    ├── NotConfigured       no provider, no key, or none that can do what is needed
    ├── BadRequest          the other side does not take it as it is
    │   └── ContextTooLong  it has more tokens than the model takes
    ├── AccessDenied        the key is wrong, or may not do this
    ├── RateLimited         too many requests; says when to come again where the other side said it
    ├── Unavailable         it cannot be reached, broke off, or fails by itself (5xx)
    ├── TimedOut            it did not answer in time
    ├── MalformedAnswer     what came is not what its protocol allows
    ├── CircuitOpen         it failed too often; nobody asks it for a while
    └── SpendLimitReached   the next request could cost more than may still be spent

A model that refuses to answer is an answer (`Finish.REFUSED`), not an error. No message holds a key, a prompt or an
answer. Neighbours: adapters raise the first eight, `models` retries what is `retryable` and raises the rest.
"""

from __future__ import annotations

from typing import final

__all__ = [
    "AccessDenied",
    "BadRequest",
    "CircuitOpen",
    "ContextTooLong",
    "MalformedAnswer",
    "NotConfigured",
    "ProviderError",
    "RateLimited",
    "SpendLimitReached",
    "TimedOut",
    "Unavailable",
]


class ProviderError(Exception):
    """The root of everything that an exchange with a model fails with.

    Attributes:
        provider: whose it is, as the configuration names it; empty where it is nobody's.
        what: what is wrong, a sentence without a full stop.
        next_action: what the owner should do, an imperative sentence.
        retryable: whether the same request may succeed later.
        may_have_cost: whether the other side may have worked on it, and want money for that.
    """

    retryable = False
    may_have_cost = False

    def __init__(self, provider: str, what: str, next_action: str) -> None:
        super().__init__(provider, what, next_action)
        self.provider = provider
        self.what = what
        self.next_action = next_action

    def __str__(self) -> str:
        at = f"{self.provider}: " if self.provider else ""
        return f"{at}{self.what}. {self.next_action}"


@final
class NotConfigured(ProviderError):
    """There is no provider for it."""


class BadRequest(ProviderError):
    """The other side does not take the request as it is."""


@final
class ContextTooLong(BadRequest):
    """The request has more tokens than the model takes."""


@final
class AccessDenied(ProviderError):
    """The key is missing, wrong, or may not do this."""


@final
class RateLimited(ProviderError):
    """The other side wants fewer requests."""

    retryable = True

    def __init__(self, provider: str, what: str, next_action: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(provider, what, next_action)
        self.retry_after_seconds = retry_after_seconds
        """What it asked for; None where it did not say."""


@final
class Unavailable(ProviderError):
    """The other side cannot be reached, broke off, or fails by itself."""

    retryable = True

    def __init__(self, provider: str, what: str, next_action: str, *, may_have_cost: bool = False) -> None:
        super().__init__(provider, what, next_action)
        self.may_have_cost = may_have_cost
        """It broke off in its answer; who is not reached, or fails before it, wants no money."""


@final
class TimedOut(ProviderError):
    """No answer in time."""

    retryable = True
    may_have_cost = True


@final
class MalformedAnswer(ProviderError):
    """What came back is not what the protocol allows."""

    retryable = True
    may_have_cost = True


@final
class CircuitOpen(ProviderError):
    """It failed too often of late; nobody asks it until `until_seconds` from now."""

    def __init__(self, provider: str, what: str, next_action: str, retry_after_seconds: float) -> None:
        super().__init__(provider, what, next_action)
        self.retry_after_seconds = retry_after_seconds


@final
class SpendLimitReached(ProviderError):
    """What may be spent would not cover the next request."""
