"""The official conformance suite judges our server over HTTP, in both protocol eras."""

from __future__ import annotations

import pytest

from tests.conformance.judges import MISSING, RUNS, SUITE, judge

pytestmark = [pytest.mark.unmeasured, pytest.mark.skipif(not SUITE.exists(), reason=MISSING)]

SCENARIOS = {"all": 65, "2025-11-25": 33, "2026-07-28": 50}
"""How many this version of the suite has: a run that leaves one out proves less."""
CHECKS = {"all": 233, "2025-11-25": 83, "2026-07-28": 196}
"""How many must succeed, at the least."""


@pytest.mark.parametrize("run", RUNS)
async def test_the_conformance_suite_finds_nothing(run: str) -> None:
    verdict = await judge(run)
    assert verdict.complaints() == [], verdict.summary
    assert len({check.scenario for check in verdict.checks}) == SCENARIOS[run]
    assert sum(check.status == "SUCCESS" for check in verdict.checks) >= CHECKS[run]
