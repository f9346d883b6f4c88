"""`python -m benchmarks.killing.faulty_front [--pong-seconds S] -- WORDS`: the real front over `faulty_worker`.

WORDS are those of `vespera serve`. Only the front's settings differ from the product's: which programs it starts, and
how long a worker may leave a ping unanswered. And whenever it writes one of the words below into its log, it looks
whether that moment is armed: then it stands still, so that a test can kill whom it likes just then.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from typing import Final

from benchmarks.killing.faulty_worker import armed
from vespera_agents.front.front import run_front
from vespera_agents.front.log import Log
from vespera_agents.front.settings import Settings

__all__ = ["MOMENTS", "faulty_settings"]

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
_PING_SECONDS: Final = 0.1
_STILL_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.002


def faulty_settings(words: tuple[str, ...], pong_seconds: float | None, *, spare: bool = True) -> Settings:
    """Give the settings of a front whose workers and forker have fault points."""
    program = (sys.executable, "-m", "benchmarks.killing.faulty_worker")
    worker = (*program, "vespera_agents.serving.worker", *words)
    forker = (*program, "vespera_agents.serving.forker", *words)
    if pong_seconds is None:
        return Settings(worker=worker, forker=forker, spare=spare)
    return Settings(worker=worker, forker=forker, spare=spare, ping_seconds=_PING_SECONDS, pong_seconds=pong_seconds)


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
                    time.sleep(_LOOK_SECONDS)

    Log.say = say_and_wait


def main() -> int:
    """Be the front."""
    stand_still_at_moments()
    parser = ArgumentParser()
    parser.add_argument("--pong-seconds", type=float)
    parser.add_argument("words", nargs="*")
    given = parser.parse_args()
    return run_front(faulty_settings(tuple(given.words), given.pong_seconds))


if __name__ == "__main__":
    sys.exit(main())
