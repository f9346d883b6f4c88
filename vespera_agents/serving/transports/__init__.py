"""How the protocol's messages travel.

stdio        one message on a line of standard input and output, native to trio
"""

__all__: list[str] = []
