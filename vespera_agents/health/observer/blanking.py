"""Takes secrets of the environment out of texts that others wrote: reasons, tracebacks, what children say.

An error may quote what it was given, for example a model provider's key out of the environment. Which variables hold
secrets is told by their names; what is no variable of this process is not known here, so this is a second line and no
licence to quote. Neighbours: `sections`, `nodes` and `asking` pass such texts through it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache
from typing import Final

__all__ = ["blanked", "secrets_of"]

SECRETS_MAX: Final = 100
LETTERS_MIN: Final = 8
"""Shorter values are words as often as secrets."""
_NAMES: Final = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH|COOKIE|DSN", re.IGNORECASE)


def blanked(text: str) -> str:
    """Put the names of secrets in the place of their values."""
    for value, name in _own_secrets():
        if value in text:
            text = text.replace(value, f"[{name}]")
    return text


def secrets_of(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Give the values of variables that hold secrets, the longest first, each with its name."""
    found = [
        (value, name)
        for name, value in environment.items()
        # A path leads to a secret and is none.
        if _NAMES.search(name) and len(value) >= LETTERS_MIN and not value.startswith("/")
    ]
    return tuple(sorted(found, key=lambda one: -len(one[0]))[:SECRETS_MAX])


@cache
def _own_secrets() -> tuple[tuple[str, str], ...]:
    return secrets_of(os.environ)
