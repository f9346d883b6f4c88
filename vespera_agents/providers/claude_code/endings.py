"""What an ended run means: an answer, one of the errors of an exchange, or that it was begun the wrong way. Pure.

No message holds what the program said: its output may hold parts of the work. Neighbours: `claude` asks, `tally` knows
what was told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, final

from vespera_agents.providers.claude_code.tally import Tally
from vespera_agents.providers.errors import (
    AccessDenied,
    BadRequest,
    ContextTooLong,
    MalformedAnswer,
    ProviderError,
    RateLimited,
    Unavailable,
)
from vespera_agents.providers.exchange import Completion, Finish
from vespera_agents.providers.whole_tasks import Carried, Ended, WholeTask

__all__ = ["WrongWay", "carried", "failure"]

_WRONG_WAY: Final = re.compile(rb"already in use|no conversation found", re.IGNORECASE)
_NO_ACCESS: Final = re.compile(rb"invalid api key|not logged in|please run /login|authentication", re.IGNORECASE)
_TOO_LONG: Final = re.compile(r"prompt is too long|context.{0,20}(limit|window|length)", re.IGNORECASE)
_DENIED: Final = frozenset({"401", "402", "403", "authentication_failed", "billing_error"})
_LIMITED: Final = frozenset({"429", "rate_limit"})
_BAD: Final = frozenset({"400", "404", "413", "invalid_request", "model_not_found"})


@final
class WrongWay(Exception):
    """The run's id is known where it was to be new, or unknown where it was to be gone on with."""


def carried(name: str, whole: WholeTask, tally: Tally) -> Carried:
    """Give what came of a run that told a result."""
    facts = tally.facts()
    came_to_end = Finish.END if facts.ended is Ended.DONE else Finish.LENGTH
    finish = Finish.REFUSED if tally.refused else came_to_end
    model = tally.model or whole.model or next(iter(facts.models), "")
    return Carried(Completion(name, model, tally.text, finish, facts.usage, cost_usd=facts.cost_usd), facts)


def failure(
    name: str, tally: Tally, status: int | None, errors: Iterable[bytes], broken_lines: int
) -> ProviderError | WrongWay | None:
    """Say what an ended run failed with; None where it came to a result.

    Args:
        name: of the provider.
        tally: what it told.
        status: the program's exit status.
        errors: the last lines of its standard error.
        broken_lines: how many lines of its output were no messages.
    """
    if tally.results:
        return None if tally.failure is None else _refused(name, tally.failure, tally.text)
    said = b"\n".join(errors)
    if _WRONG_WAY.search(said):
        return WrongWay()
    if _NO_ACCESS.search(said):
        return _no_access(name)
    if broken_lines:
        return MalformedAnswer(
            name,
            f"its output had {broken_lines} lines that are no messages, and no result",
            "Look at its version (`claude --version`); it speaks stream-json since version 2.",
        )
    ended = "was killed" if status is None or status < 0 else f"ended with status {status}"
    signal = f" by signal {-status}" if status is not None and status < 0 else ""
    return Unavailable(
        name, f"its process {ended}{signal} before it told a result", "Try again; if it stays so, run it by hand."
    )


def _refused(name: str, word: str, text: str) -> ProviderError:
    if word in _DENIED:
        return _no_access(name)
    if word in _LIMITED:
        return RateLimited(name, "its account has reached a limit of its vendor", "Try again later.")
    if _TOO_LONG.search(text[:1_000]):
        return ContextTooLong(name, "the task has more tokens than its model takes", "Break the task down.")
    if word in _BAD:
        return BadRequest(name, f"its vendor does not take the request ({word})", "Look at its model's name.")
    return Unavailable(name, f"it failed by itself ({word:.60})", "Try again later.")


def _no_access(name: str) -> AccessDenied:
    return AccessDenied(
        name,
        "its vendor does not accept its key or token, or its account cannot pay",
        "Correct what key_env or key_file names; `claude setup-token` makes a token of a subscription.",
    )
