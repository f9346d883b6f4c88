"""Context budgets: what a specialist is given, counted and kept within its limit. Pure; one module so far."""

from vespera_agents.context.budget import ContextBudget, Dropped, Section, estimate_tokens

__all__ = ["ContextBudget", "Dropped", "Section", "estimate_tokens"]
