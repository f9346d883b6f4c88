"""The requests of MCP, answered by an orchestrator, in both protocol eras.

server       the low-level server of the library, put together from the modules here
complaints   what went wrong, in one shape
resources    sessions, tasks and artifacts by address
callers      who calls, and under which command keys
roots        the directory that a client works in
jobs         the tasks extension: handles to long work
progress     how far a call is, on its way to the client
questions    questions to the user on their way
"""

__all__: list[str] = []
