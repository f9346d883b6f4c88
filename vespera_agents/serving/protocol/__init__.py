"""The requests of MCP, answered by an orchestrator, in both protocol eras.

server         the low-level server of the library, put together from the modules here; calls of tools
complaints     what went wrong, in one shape
boundary       how it reaches a client that called no tool
reading        resources, prompts and completions
notifying      changes, and who is told
pages          cursors
logs           messages for a client's log
jobs           the tasks extension: handles to long work
progress       how far a call is, on its way to the client
questions      questions to the user on their way
connections    what outlives a request
identity       who sent a request, as far as its transport knows
fairness       turns, so that no client starves another
callers        who calls, and under which command keys
roots          the directory that a client works in
"""

__all__: list[str] = []
