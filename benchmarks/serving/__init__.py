"""What `benchmarks.mcp` measures: servers as processes of their own, and the clients that drive them.

raw        a server of the MCP library alone, with a tool that does nothing
ours       the same tool behind our stack
clients    hand-written minimal clients, over pipes and over HTTP
starting   from the start of a process to its first answer, and to its end
listing    the tokens of the list of tools
"""
