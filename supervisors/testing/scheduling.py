"""Seeded scheduling: the one private thing of trio's that the simulation needs, named here and nowhere else.

Trio shuffles the tasks that are ready at one moment. With its own switch (meant for Hypothesis) and a seed the shuffle
is the same in every run. A test compares this with the trio that is installed. Both are process-wide, so they are put
back afterwards: they are for one run in one thread at a time.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

TESTED_TRIO_VERSIONS: Final = ("0.31", "0.32", "0.33", "0.34", "0.35")
"""The trio releases whose inside is known to have these names; a test fails on any other."""
MODULE: Final = "trio._core._run"
"""Trio's run loop."""
SWITCH: Final = "_ALLOW_DETERMINISTIC_SCHEDULING"
"""In it: whether a batch of ready tasks is sorted before it is shuffled."""
DICE: Final = "_r"
"""In it: what shuffles."""


@contextmanager
def seeded_scheduling(seed: int) -> Generator[None, None, None]:
    """Have trio schedule the tasks of each run inside the block as `seed` says."""
    inside = importlib.import_module(MODULE)
    before: bool = getattr(inside, SWITCH)
    dice: random.Random = getattr(inside, DICE)
    setattr(inside, SWITCH, True)
    dice.seed(seed)
    try:
        yield
    finally:
        setattr(inside, SWITCH, before)
        # Whatever runs afterwards is to be as unpredictable as it was before.
        dice.seed()
