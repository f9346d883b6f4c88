"""The benchmark of the health: its loops see what they count, and its rows carry the goals. No speed is judged."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from benchmarks import health
from benchmarks.harness import Options

LOOP_SECONDS = {0: 0.003, 1: 0.012, 10: 0.025}
"""What a loop works in a second, by its viewers."""
WITHOUT_SECONDS = 0.002


async def test_every_loop_checks_what_it_counted() -> None:
    assert await health.tells(300, watched=True) > 0
    assert await health.tells(300, watched=False) > 0
    assert await health.scrape(7, 1) > 0
    assert await health.stacks(20) > 0
    assert await health.walks(20) > 0


async def test_a_scrape_that_does_not_see_all_actors_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fewer(_system: object, _count: int) -> None:
        """Start none."""

    monkeypatch.setattr(health, "populate", fewer)
    with pytest.raises(AssertionError):
        await health.scrape(7, 1)


class Population:
    """A loop whose work is known."""

    async def share(self, viewers: int, _seconds: float) -> float:
        return LOOP_SECONDS[viewers]

    async def share_without(self, _seconds: float) -> float:
        return WITHOUT_SECONDS


async def test_the_observer_is_judged_by_what_the_loop_works_more_than_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @asynccontextmanager
    async def population(count: int) -> AsyncGenerator[Population]:
        assert count == 10_000
        yield Population()

    monkeypatch.setattr(health, "observed_population", population)
    rows = await health.observing(Options(quick=True))
    assert [row.value for row in rows] == pytest.approx([1.0, 10.0, 23.0])
    assert [row.ratio for row in rows] == pytest.approx([0.05, 0.5, 1.15])
    assert [row.met for row in rows] == [True, True, False]
