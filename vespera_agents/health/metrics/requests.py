"""What clients asked for: `RequestFigures`, fed by the MCP server with each request that it answered.

Plain numbers, written in the event loop and read in the thread that scrapes. Knows nothing of MCP but the names of its
methods and tools: whoever answers says what came of a request. Neighbours: `labels` has the values.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import final

from supervisors import Tally
from vespera_agents.health.metrics.exemplars import TracedHistograms
from vespera_agents.health.metrics.labels import (
    CALL,
    MCP_BOUNDS,
    METHOD_ERRORS,
    TOOL_ERRORS,
    TOOLS,
    McpError,
    McpOutcome,
    Reconnect,
    declared_method,
    declared_tool,
)

__all__ = ["RequestFigures"]

_TOOL_ERRORS = frozenset(TOOL_ERRORS)
_METHOD_ERRORS = frozenset(METHOD_ERRORS)


@final
class RequestFigures:
    """The numbers of all requests of one process."""

    __slots__ = ("calls", "durations", "in_flight", "reconnects")

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        """Start at zero; `clock` gives wall-clock seconds since the epoch."""
        self.durations: TracedHistograms[tuple[str, str, str]] = TracedHistograms(MCP_BOUNDS, clock=clock)
        """Seconds from request to answer, by method, tool and error."""
        self.calls: Tally[tuple[str, str]] = Tally()
        """Calls that were answered, by tool and outcome."""
        self.in_flight: dict[str, int] = dict.fromkeys(TOOLS, 0)
        """Calls that are not answered yet, by tool."""
        self.reconnects: Tally[str] = Tally()
        """Clients that were connected again, by what had been lost."""

    def begin_call(self, tool: object) -> str:
        """Count a call of a tool as under way, and give the name that it is counted under."""
        declared = declared_tool(tool)
        self.in_flight[declared] += 1
        return declared

    def end_call(
        self, tool: str, outcome: McpOutcome, error: McpError, seconds: float, names: Mapping[str, str] | None
    ) -> None:
        """Count the end of a call.

        Args:
            tool: as `begin_call` gave it.
            outcome: what came of it.
            error: how the answer tells of a failure.
            seconds: since it came.
            names: the trace and the task that it was about, if there are any.
        """
        self.in_flight[tool] -= 1
        # Enums that are strings, so none has to be asked for its value, which takes as long as counting.
        self.calls.increment((tool, outcome))
        self.durations.observe((CALL, tool, error if error in _TOOL_ERRORS else McpError.OTHER), seconds, names)

    def ended(self, method: str, error: McpError, seconds: float, names: Mapping[str, str] | None) -> None:
        """Count the end of a request that is no call of a tool; arguments as for `end_call`."""
        told = error if error in _METHOD_ERRORS else McpError.OTHER
        self.durations.observe((declared_method(method), "", told), seconds, names)

    def reconnected(self, lost: Reconnect) -> None:
        """Count a client that was connected again."""
        self.reconnects.increment(lost.value)
