"""How clients reach the orchestrator: the MCP server, and the socket on which a server tells about itself.

server       `vespera serve`: a runtime whose door is an MCP server
protocol     the requests of MCP, answered by an orchestrator
stdio        the transport over standard input and output, native to trio
tools        the thirteen tools, each in one of tools_sessions, tools_tasks, tools_work
tool         what a tool is, without a word of the protocol
parameters   the kinds of arguments, bounded and forgiving
schemas      JSON schemas without ballast
complaints   what went wrong, in one shape
resources    sessions, tasks and artifacts by address
callers      who calls, and under which command keys
roots        the directory that a client works in
texts        the short texts beside structured results
control      the private socket: how a server tells about itself

Nothing is imported here: the socket's askers need no MCP library.
"""

__all__: list[str] = []
