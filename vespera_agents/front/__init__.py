"""The process that a client talks to: it owns the connection and replaces the workers that do the work behind it.

It imports the standard library, trio and `supervisors`, reads no JSON of its clients on its way, and so has nothing to
crash on and little to start. Not the worker (`vespera_agents.serving.worker`), which imports `framing` from here.
"""

__all__: list[str] = []
