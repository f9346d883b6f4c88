"""How clients reach the orchestrator: the MCP server, and the socket on which a server tells about itself.

serve        `vespera serve`: a runtime whose door is an MCP server
tools        what clients can call
protocol     the requests of MCP, answered by an orchestrator
transports   how they travel
control      the private socket: how a server tells about itself

Nothing is imported here: the socket's askers need no MCP library.
"""

__all__: list[str] = []
