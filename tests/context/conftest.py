"""The vocabulary is read before the first test of a context: no example of a property test is charged with it."""

from __future__ import annotations

import pytest

from vespera_agents.context import load_vocabulary


@pytest.fixture(scope="session", autouse=True)
def vocabulary() -> None:
    load_vocabulary()
