"""The thirteen tools of the orchestrator, by name, in the order in which clients see them.

Not the protocol (`protocol`), not the work (`specialists.orchestrator`). Neighbours: `sessions`, `tasks`, `work`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vespera_agents.serving.tools.sessions import SESSION_TOOLS
from vespera_agents.serving.tools.tasks import TASK_TOOLS
from vespera_agents.serving.tools.tool import Tool
from vespera_agents.serving.tools.work import WORK_TOOLS

__all__ = ["TOOLS", "TOOL_NAMES"]

TOOLS: Final[Mapping[str, Tool]] = {tool.name: tool for tool in (*SESSION_TOOLS, *TASK_TOOLS, *WORK_TOOLS)}
"""Every tool by its name."""

TOOL_NAMES: Final[tuple[str, ...]] = tuple(TOOLS)
"""The names of all tools."""
