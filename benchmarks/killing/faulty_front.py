"""`python -m benchmarks.killing.faulty_front [--pong-seconds S] -- WORDS`: the real front over `faulty_worker`.

WORDS are those of `vespera serve`. Only the front's settings differ from the product's: which programs it starts, and
how long a worker may leave a ping unanswered.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser

from vespera_agents.front.front import run_front
from vespera_agents.front.settings import Settings

__all__ = ["faulty_settings"]

_PING_SECONDS = 0.1


def faulty_settings(words: tuple[str, ...], pong_seconds: float | None, *, spare: bool = True) -> Settings:
    """Give the settings of a front whose workers and forker have fault points."""
    program = (sys.executable, "-m", "benchmarks.killing.faulty_worker")
    worker = (*program, "vespera_agents.serving.worker", *words)
    forker = (*program, "vespera_agents.serving.forker", *words)
    if pong_seconds is None:
        return Settings(worker=worker, forker=forker, spare=spare)
    return Settings(worker=worker, forker=forker, spare=spare, ping_seconds=_PING_SECONDS, pong_seconds=pong_seconds)


def main() -> int:
    """Be the front."""
    parser = ArgumentParser()
    parser.add_argument("--pong-seconds", type=float)
    parser.add_argument("words", nargs="*")
    given = parser.parse_args()
    return run_front(faulty_settings(tuple(given.words), given.pong_seconds))


if __name__ == "__main__":
    sys.exit(main())
