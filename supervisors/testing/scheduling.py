"""Seeded scheduling: the one private thing of trio's that the simulation needs, named here and nowhere else.

Trio shuffles the tasks that are ready at one moment. With its own switch (meant for Hypothesis) and a seed the shuffle
is the same in every run. A test compares this with the trio that is installed. The switch is process-wide and stays on:
it costs 2 us for each batch of tasks, so nothing is measured in a process that has simulated.
"""

from __future__ import annotations

import importlib
import random
from typing import Final

TESTED_TRIO_VERSIONS: Final = ("0.31", "0.32", "0.33", "0.34", "0.35")
"""The trio releases whose inside is known to have these names; a test fails on any other."""
MODULE: Final = "trio._core._run"
"""Trio's run loop."""
SWITCH: Final = "_ALLOW_DETERMINISTIC_SCHEDULING"
"""In it: whether a batch of ready tasks is sorted before it is shuffled."""
DICE: Final = "_r"
"""In it: what shuffles."""


def seed_scheduling(seed: int) -> None:
    """Make the next trio run of this process schedule its tasks as `seed` says."""
    inside = importlib.import_module(MODULE)
    setattr(inside, SWITCH, True)
    dice: random.Random = getattr(inside, DICE)
    dice.seed(seed)
