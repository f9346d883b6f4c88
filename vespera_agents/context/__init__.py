"""Context budgets: what a specialist is given, counted and kept within its limit.

budget   budgets kept by an estimate; pure
sources  what a part of a context was made of
packing  a context on its way to another process, under a checksum
tokens   an exact count, where a figure is claimed; loaded by who asks for it
"""

from vespera_agents.context.budget import ContextBudget, Dropped, Section, estimate_tokens
from vespera_agents.context.sources import Source

__all__ = ["ContextBudget", "Dropped", "Section", "Source", "estimate_tokens"]
