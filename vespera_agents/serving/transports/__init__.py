"""How the protocol's messages travel.

stdio        one message on a line of standard input and output, native to trio
http         many clients over streamable HTTP
ends         what the MCP library reads and writes
"""

__all__: list[str] = []
