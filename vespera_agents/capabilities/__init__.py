"""What specialists can do without a model.

commands     run a command as work, as a gate or as a condition; its outcome
programs     find the program that a command names, or say why it cannot be run
environment  the environment in which a command runs
"""

from vespera_agents.capabilities.commands import CommandOutcome, run_command
from vespera_agents.capabilities.environment import command_environment

__all__ = ["CommandOutcome", "command_environment", "run_command"]
