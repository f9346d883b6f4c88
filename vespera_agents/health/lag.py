"""How late the event loop is, measured while somebody waits for the answer.

A loop that is blocked runs nothing on time. So we ask to be woken again and again for a tenth of a second and see how
late that happens; what blocked it before or after is not seen. Real time, not trio's clock: that one is what stops.
"""

from __future__ import annotations

import time
from typing import Final

import trio

__all__ = ["SAMPLE_SECONDS", "measure_lag"]

SAMPLE_SECONDS: Final = 0.1
"""How long we look."""
_STEP_SECONDS: Final = 0.005


async def measure_lag(sample_seconds: float = SAMPLE_SECONDS) -> float:
    """Give the seconds by which the loop was late at worst within a sample.

    Cancelled: it ends at once.
    """
    worst = 0.0
    begun = time.perf_counter()
    for _ in range(round(sample_seconds / _STEP_SECONDS)):
        asked = time.perf_counter()
        if asked - begun >= sample_seconds:
            break
        await trio.sleep(_STEP_SECONDS)
        worst = max(worst, time.perf_counter() - asked - _STEP_SECONDS)
    return worst
