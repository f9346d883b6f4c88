"""What the libraries raise, as our errors: never with their text, which can hold a prompt, an answer or a header.

Neighbours: `provider` raises what comes out of here; `errors` says what each means.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from vespera_agents.providers.errors import (
    AccessDenied,
    BadRequest,
    ContextTooLong,
    MalformedAnswer,
    ProviderError,
    RateLimited,
    TimedOut,
    Unavailable,
)

if TYPE_CHECKING:
    from pydantic_ai.exceptions import ModelAPIError

__all__ = ["failure_of", "timed_out"]

_CHAIN_MAX: Final = 20
_TOO_LARGE: Final = 413
_SERVER_ERRORS: Final = 500


def timed_out(provider: str, seconds: float) -> TimedOut:
    """Make the error of a request that took too long."""
    return TimedOut(provider, f"it did not answer within {seconds:g} s", "Try again, or allow it more time")


def failure_of(provider: str, error: Exception) -> ProviderError:
    """Make the error of ours that says the same as one of a library."""
    from pydantic_ai import exceptions as theirs  # noqa: PLC0415 - as lazy as the libraries

    for one in _chain(error):
        # Ours, raised below the library, which wrapped it.
        if isinstance(one, ProviderError):
            return one
    if isinstance(error, theirs.ModelAPIError):
        return _api_failure(provider, error)
    if isinstance(error, theirs.UserError):
        what = "its library does not send this request"
        return BadRequest(provider, what, "Check the name of the model, and the options of the provider")
    # What else a library raises it does on reading an answer: what it should hold is not there, or of another type.
    what = f"its answer is not what its protocol allows ({type(error).__name__})"
    return MalformedAnswer(provider, what, "Try again; if it stays so, look whether base_url and kind fit together")


def _api_failure(provider: str, error: ModelAPIError) -> ProviderError:
    from pydantic_ai import exceptions as theirs  # noqa: PLC0415 - as above

    status = error.status_code if isinstance(error, theirs.ModelHTTPError) else None
    said = f"HTTP {status}" if status is not None else "an error within its answer"
    made: ProviderError
    match error:
        case theirs.ModelRequestTimeout() | theirs.ModelTimeoutError():
            made = TimedOut(provider, "it was silent for too long", "Try again, or allow it more time")
        case theirs.ModelRateLimitError() | theirs.ModelOverloadedError(retry_after=float() | int()):
            what = f"it wants fewer requests ({said})"
            made = RateLimited(provider, what, "Wait, and ask less at once", error.retry_after)
        case theirs.ModelQuotaExceededError():
            what = f"the account's credit or quota is used up ({said})"
            made = AccessDenied(provider, what, "Look after the account, or use another provider")
        case theirs.ModelContextWindowExceededError():
            what = f"the request is longer than the model's context ({said})"
            made = ContextTooLong(provider, what, "Lower the role's context_tokens, or use a model that takes more")
        case theirs.ModelAuthenticationError():
            what = f"it does not accept the key, or not for this ({said})"
            made = AccessDenied(provider, what, "Check the key where key_env or key_file says it is")
        case theirs.ModelNotFoundError():
            what = f"it does not know the model, or this address ({said})"
            made = BadRequest(provider, what, "Check the name of the model, and base_url")
        case theirs.ModelUnavailableError() | theirs.ModelServerError():
            made = Unavailable(provider, f"it failed by itself ({said})", "Try again later")
        case theirs.ModelConnectionError(phase="connect" | "pool"):
            made = Unavailable(provider, "it cannot be reached", "Check that it runs, and base_url")
        case theirs.ModelConnectionError():
            made = Unavailable(provider, "the connection broke off", "Try again", may_have_cost=True)
        case _:
            made = _other_failure(provider, error, status, said)
    return made


def _other_failure(provider: str, error: ModelAPIError, status: int | None, said: str) -> ProviderError:
    if any(isinstance(one, json.JSONDecodeError | UnicodeDecodeError) for one in _chain(error)):
        what = "its answer is no JSON"
        return MalformedAnswer(provider, what, "Try again; if it stays so, look whether base_url and kind fit together")
    if status is None or status >= _SERVER_ERRORS:
        return Unavailable(provider, f"it failed ({said})", "Try again later")
    if status == _TOO_LARGE:
        what = f"the request is larger than it takes ({said})"
        return ContextTooLong(provider, what, "Lower the role's context_tokens, or use a model that takes more")
    return BadRequest(provider, f"it does not take the request ({said})", "Check kind, models and options of it")


def _chain(error: BaseException) -> list[BaseException]:
    """Give an error and what it was raised from."""
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and len(found) < _CHAIN_MAX:
        found.append(one)
        one = one.__cause__ or one.__context__
    return found
