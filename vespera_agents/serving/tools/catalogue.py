"""The tools of the orchestrator by name, in the order in which clients see them, and the sets that are served.

Every tool of a list is paid for in every conversation: `core` is what daily work needs, `full` is everything, a list of
names is what somebody wants. Not the protocol (`protocol`), not the work (`specialists.orchestrator`).
Neighbours: `sessions`, `tasks`, `work`, `upkeep`, `lifecycle`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Final

from vespera_agents.serving.tools.lifecycle import LIFECYCLE_TOOLS
from vespera_agents.serving.tools.sessions import SESSION_TOOLS
from vespera_agents.serving.tools.tasks import TASK_TOOLS
from vespera_agents.serving.tools.tool import Tool
from vespera_agents.serving.tools.upkeep import UPKEEP_TOOLS
from vespera_agents.serving.tools.work import WORK_TOOLS
from vespera_agents.work.errors import InvalidInput

__all__ = ["CORE", "TOOLS", "TOOL_NAMES", "tool_set"]

TOOLS: Final[Mapping[str, Tool]] = {
    tool.name: tool for tool in (*SESSION_TOOLS, *TASK_TOOLS, *WORK_TOOLS, *UPKEEP_TOOLS, *LIFECYCLE_TOOLS)
}
"""Every tool by its name."""

TOOL_NAMES: Final[tuple[str, ...]] = tuple(TOOLS)
"""The names of all tools."""

_PREFIX: Final = "orchestrator_"

CORE: Final[tuple[str, ...]] = (
    "orchestrator_initialize_session",
    "orchestrator_list_sessions",
    "orchestrator_resume_session",
    "orchestrator_get_status",
    "orchestrator_plan_task",
    "orchestrator_update_task",
    "orchestrator_query_tasks",
    "orchestrator_cancel_task",
    "orchestrator_delete_task",
    "orchestrator_execute_task",
    "orchestrator_complete_task",
    "orchestrator_synthesize_results",
)
"""The names of the tools that daily work needs."""


def tool_set(text: str) -> Mapping[str, Tool]:
    """Give the tools that a text means, in the order of the catalogue.

    Args:
        text: `core`, `full`, or names between commas, with or without `orchestrator_`; sets and names may be mixed.

    Raises:
        InvalidInput: it names a tool or set that does not exist, or none.
    """
    wanted: set[str] = set()
    for word in filter(None, (part.strip() for part in text.split(","))):
        name = word if word in TOOLS else f"{_PREFIX}{word}"
        if word in _SETS:
            wanted.update(_SETS[word])
        elif name in TOOLS:
            wanted.add(name)
        else:
            known = [*_SETS, *(tool.removeprefix(_PREFIX) for tool in TOOLS)]
            near = difflib.get_close_matches(word.removeprefix(_PREFIX), known, 3, 0.5) or known
            raise InvalidInput(f"there is no tool or set of tools {word[:80]!r}", f"Name some of: {', '.join(near)}.")
    if not wanted:
        raise InvalidInput(
            "no tools are named",
            f"Give {', '.join(_SETS)} or names of tools between commas, such as core,session_status.",
        )
    return {name: tool for name, tool in TOOLS.items() if name in wanted}


_SETS: Final[Mapping[str, tuple[str, ...]]] = {"core": CORE, "full": TOOL_NAMES}
