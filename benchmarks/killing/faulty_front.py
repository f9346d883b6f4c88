"""`python -m benchmarks.killing.faulty_front [--pong-seconds S] -- WORDS`: the real front over `faulty_worker`.

WORDS are those of `vespera serve`. Only the front's settings differ from the product's: which programs it starts, how
long it waits before it replaces what died, and how long a worker may leave a ping unanswered. And whenever it writes
one of the words below into its log, it looks whether that moment is armed: then it stands still, so that a test can
kill whom it likes just then.
"""

from __future__ import annotations

import sys
import threading
import time
from argparse import ArgumentParser
from typing import Any, Final

from benchmarks.killing.faulty_worker import armed
from supervisors import Backoff
from vespera_agents.cli import serving
from vespera_agents.front import front
from vespera_agents.front.log import Log
from vespera_agents.front.settings import Settings
from vespera_agents.serving.wishes import plain_serve

__all__ = ["MOMENTS"]

MOMENTS: Final = {
    "begins": "restart (",
    "start": "restart: start",
    "drain": "restart: drain",
    "stop": "restart: stop",
    "takes-over": " takes over: ",
    "activate": "restart: activate",
    "ready": " is ready after ",
    "done": "restart is done",
}
"""The moments of a restart in their order, by what the log says of each."""
_PROGRAM: Final = "benchmarks.killing.faulty_worker"
_PING_SECONDS: Final = 0.1
_BACKOFF: Final = Backoff(0.05, 0.2, reset_seconds=20.0)
"""Whoever dies here was killed: the product's pauses would double up to 10 s, and show nothing."""
_STILL_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.002


def with_settings(pong_seconds: float | None) -> None:
    """Have fronts start our worker for each of theirs, and wait as long as wished for a pong."""
    serving.WORKER = serving._FORKER = _PROGRAM  # noqa: SLF001 - the forker's name is nobody else's business
    run_front = front.run_front

    def run(settings: Settings, *others: Any) -> int:
        settings = settings._replace(backoff=_BACKOFF)
        if pong_seconds is not None:
            settings = settings._replace(ping_seconds=_PING_SECONDS, pong_seconds=pong_seconds)
        return run_front(settings, *others)

    front.run_front = run


def stand_still_at_moments() -> None:
    """Have the log look for armed moments."""
    say = Log.say

    def say_and_wait(log: Log, text: str) -> None:
        say(log, text)
        for moment, words in MOMENTS.items():
            if words in text and armed(moment):
                deadline = time.monotonic() + _STILL_SECONDS
                # The whole process shall stand still, its loop too, until whoever armed this has killed.
                while time.monotonic() < deadline and not armed(f"{moment}.over"):
                    threading.Event().wait(_LOOK_SECONDS)

    log_class: Any = Log
    log_class.say = say_and_wait


def main() -> int:
    """Be the front, as the command is it."""
    stand_still_at_moments()
    parser = ArgumentParser()
    parser.add_argument("--pong-seconds", type=float)
    parser.add_argument("words", nargs="*")
    given = parser.parse_args()
    wish = plain_serve(["serve", *given.words])
    assert wish is not None, given.words
    with_settings(given.pong_seconds)
    return serving.serve_workspace(wish)


if __name__ == "__main__":
    sys.exit(main())
