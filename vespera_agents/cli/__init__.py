"""The commands: what a person types, and what comes back on the terminal.

commands    every command with its options and its help; watch_commands has those that go on looking
serving     `vespera serve`, which needs no library for commands
call        `vespera call`: one tool of the orchestrator from a shell
outcomes    exit statuses, and how what a user caused becomes a message
run         `vespera run`: the tree, the plan, the signals
board       what a run looks like at one moment, from its events; pure
screens     that moment on a terminal, in lines, or not at all; printing is how lines get out
results     what came of a run: table, JSON, exit status; picture draws it
plans       `vespera plan show`, and how a plan's file is read
looking     status, tree, artifact: what a workspace holds and who serves it
watching    `vespera tree --watch`
monitor     `vespera monitor`: one session; progress is how far it is, outlook how that is written and drawn
top         `vespera top`: a server watched from a terminal, over its feed
trust       `vespera trust`
callbacks   `vespera callbacks`; callback_commands has its commands and their options
wording     text for people: durations, counts, nothing that steers a terminal
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vespera_agents.cli.commands import app

__all__ = ["app"]


def __getattr__(name: str) -> object:
    # Late, so that `serve` begins without click: its client waits for the first answer.
    if name == "app":
        return import_module("vespera_agents.cli.commands").app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
