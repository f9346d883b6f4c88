"""The one error of a simulation: something was observed that must never happen."""

from __future__ import annotations

from typing import final


@final
class Violation(Exception):
    """Something that is simulated did something else than its rules say."""
