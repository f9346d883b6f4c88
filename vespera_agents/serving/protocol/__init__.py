"""The requests of MCP, answered by an orchestrator, in both protocol eras.

server       the low-level server of the library, put together from the modules here
complaints   what went wrong, in one shape
resources    sessions, tasks and artifacts by address
identity     who sent a request, as far as its transport knows
callers      who calls, and under which command keys
roots        the directory that a client works in
"""

__all__: list[str] = []
