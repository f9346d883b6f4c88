"""Structured logs: one home for how a server logs.

events                     one event: words that never change, and values by name
correlation                whose work it is: session, task, request, tool
formats                    JSON for programs, lines for people
output                     to standard error, without ever waiting for its reader
throttle                   what keeps a log from being flooded

On the standard library's logging, so that what libraries say comes out the same way and an embedder's own
configuration counts.
"""

from vespera_agents.logs.correlation import NOBODY, Correlation, correlated, correlation, uncorrelated
from vespera_agents.logs.events import log_event
from vespera_agents.logs.formats import ConsoleFormatter, JsonFormatter, LogFormat
from vespera_agents.logs.output import Output, configure_logs
from vespera_agents.logs.throttle import Throttle

__all__ = [
    "NOBODY",
    "ConsoleFormatter",
    "Correlation",
    "JsonFormatter",
    "LogFormat",
    "Output",
    "Throttle",
    "configure_logs",
    "correlated",
    "correlation",
    "log_event",
    "uncorrelated",
]
