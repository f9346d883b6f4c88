"""What clients can call: the orchestrator's tools, in words that know nothing of the protocol.

catalogue    every tool by name, in the order in which clients see them
sessions, tasks, work, upkeep   the tools themselves
tool         what a tool is
questions    what the user is asked before a tool is called
parameters   the kinds of arguments, bounded and forgiving
schemas      JSON schemas without ballast
results      the structured results, and shaping, which makes them of the facade's answers
texts        the short texts beside them
"""

__all__: list[str] = []
