"""What specialists can do without a model.

commands     run a command as work, as a gate or as a condition; its outcome
programs     find the program that a command names, or say why it cannot be run
environment  the environment in which a command runs
git          the git command line, run so that it does the owner's git no harm
working_copies  where a specialist changes files without touching the owner's
tools        what a model may ask for while it works in a working copy
checks       what a release needs to be looked at and no well-kept tool looks at
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vespera_agents.capabilities.commands import CommandOutcome, run_command
    from vespera_agents.capabilities.environment import command_environment

__all__ = ["CommandOutcome", "command_environment", "run_command"]


def __getattr__(name: str) -> object:
    # Late, so that `vespera check`, of which a plan starts dozens, loads neither trio nor pydantic.
    if name in __all__:
        home = "environment" if name == "command_environment" else "commands"
        return getattr(import_module(f"vespera_agents.capabilities.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
