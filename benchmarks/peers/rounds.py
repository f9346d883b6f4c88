"""A peer's end of the pipe: measure one round whenever a line asks for it, and answer with one line of JSON.

It runs in the peers' environment, so it imports the standard library only. Each script counts in its handlers what they
really did, and `processes`, the other end, compares that with what it asked for.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version

BURST = 100
"""How many messages are told before the teller lets others run, where the peer needs that; also a queue's bound."""


@dataclass(frozen=True)
class Add:
    """The message of every peer that takes objects, the same as ours."""

    amount: int


@dataclass(frozen=True)
class Round:
    """What one round came to."""

    seconds: float
    """Wall time from the first message to the end of the last handler, without any setting up."""
    handled: int
    """What the handlers counted."""


def serve(distribution: str, measures: Mapping[str, Callable[[int], Round]]) -> None:
    """Answer until the other end closes the pipe. A line of the question is `{"measure": "tell", "count": 1000}`."""
    # Whatever the peer prints goes to stderr: only answers may come through the pipe.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    release = version(distribution) if distribution else platform.python_version()
    print(json.dumps({"version": release}), file=answers, flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            done = measures[question["measure"]](question["count"])
        except Exception as error:  # noqa: BLE001 - the peer's fault is its row in the table
            answer: dict[str, object] = {"error": f"{type(error).__name__}: {error}"}
        else:
            answer = {"seconds": done.seconds, "handled": done.handled}
        print(json.dumps(answer), file=answers, flush=True)
