"""Names from the running system become label values that were there before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vespera_agents.health.metrics.labels import (
    ACTOR_KINDS,
    SPECIALISTS,
    SUPERVISORS,
    declared_kind,
    declared_specialist,
    declared_supervisor,
)

NAMES = {
    "root": "root",
    "workspaces": "workspaces",
    "doors": "doors",
    "health": "health",
    "/srv/project": "workspace",
    "/srv/with\nnewline": "workspace",
    "sessions of /srv/project": "sessions",
    "sessions of /srv/with\nnewline": "sessions",
    "jobs of /srv/project": "jobs",
    "session_0123456789ab": "session",
    "specialists of session_0123456789ab": "specialists",
    "session_0123456789ab\n": "other",
    "specialists of nothing": "other",
    "specialists": "other",
    "workspace": "other",
    "other": "other",
    "": "other",
    "x" * 10_000: "other",
}


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name[:40]))
def test_a_supervisor_is_declared_by_the_shape_of_its_name(name: str) -> None:
    assert declared_supervisor(name) == NAMES[name]


@given(st.text())
def test_any_text_becomes_a_declared_value(text: str) -> None:
    assert declared_supervisor(text) in SUPERVISORS
    assert declared_supervisor(f"/{text}") == "workspace"
    assert declared_kind(text) in ACTOR_KINDS
    assert declared_specialist(text) in SPECIALISTS


def test_declared_kinds_and_roles_stay_what_they_are() -> None:
    assert [declared_kind(kind) for kind in ("Specialist", "Conductor")] == ["Specialist", "other"]
    assert [declared_specialist(role) for role in ("tester", "coder", "other")] == ["tester", "other", "other"]
