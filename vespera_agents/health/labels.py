"""The label values that exist, and how a name from the running system becomes one of them.

Values come from enums and from the names that the source declares, never from a path, an id or a text of a user, so
the number of series is fixed before the first scrape. Whatever is not declared is "other". Pure.
"""

from __future__ import annotations

import re
from typing import Final

from vespera_agents.specialists.specialist import Specialist
from vespera_agents.work.models import ROLE_NAMES

OTHER: Final = "other"
"""What every name becomes that nobody declared."""
ACTOR_KINDS: Final = (Specialist.__name__, OTHER)
"""Classes of actors."""
SPECIALISTS: Final = (*ROLE_NAMES, OTHER)
"""Packaged roles; a workspace's own roles count as other."""
SUPERVISORS: Final = (
    "root", "health", "workspaces", "workspace", "sessions", "session", "specialists", "jobs", "doors", OTHER,
)  # fmt: skip
"""The supervisors of the tree at run time, by what they are and not by whose they are."""

_SINGLE: Final = frozenset({"root", "health", "workspaces", "doors"})
_SHAPES: Final = (
    ("sessions", re.compile(r"sessions of /.*", re.DOTALL)),
    ("jobs", re.compile(r"jobs of /.*", re.DOTALL)),
    ("specialists", re.compile(r"specialists of session_[0-9a-f]{12}")),
    ("session", re.compile(r"session_[0-9a-f]{12}")),
    ("workspace", re.compile(r"/.*", re.DOTALL)),
)
"""Names that are made while the tree grows: from a session's id, or from a workspace's absolute directory."""


def declared_supervisor(name: str) -> str:
    """Give the declared name of a supervisor: one of SUPERVISORS."""
    if name in _SINGLE:
        return name
    return next((declared for declared, shape in _SHAPES if shape.fullmatch(name)), OTHER)


def declared_kind(kind: str) -> str:
    """Give the declared class of an actor: one of ACTOR_KINDS."""
    return kind if kind in ACTOR_KINDS else OTHER


def declared_specialist(role: str) -> str:
    """Give the declared name of a role: one of SPECIALISTS."""
    return role if role in SPECIALISTS else OTHER
