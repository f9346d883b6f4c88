"""Context budgets: what a specialist is given, counted and kept within its limit.

budget  budgets kept by an estimate; pure
tokens  an exact count, where a figure is claimed; loaded by who asks for it
"""

from vespera_agents.context.budget import ContextBudget, Dropped, Section, estimate_tokens

__all__ = ["ContextBudget", "Dropped", "Section", "estimate_tokens"]
