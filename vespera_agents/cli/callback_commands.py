"""The commands about callbacks, with their options and their help. Thin, as `commands`, which adds these to its own.

Neighbour: `callbacks` does the work.
"""

# ruff: noqa: PLC0415 - the late imports are the point; see `commands`.

from __future__ import annotations

from pathlib import Path

import click

from vespera_agents.cli.watch_commands import JSON, WORKSPACE

__all__ = ["callbacks"]

_STATUSES = ("pending", "delivered", "dead")


@click.group()
def callbacks() -> None:
    """Look at callbacks: who is told of what happens to tasks, and what could not be delivered."""


@callbacks.command(name="list", epilog="Exit status: 0 shown, 2 bad input.")
@WORKSPACE
@click.option("--status", "statuses", multiple=True, type=click.Choice(_STATUSES), help="Only these; may be repeated.")
@click.option("--target", metavar="NAME", help="Only of this target.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, metavar="N", help="How many; 20 unless given.")
@JSON
def list_(workspace: Path, statuses: tuple[str, ...], target: str | None, limit: int, as_json: bool) -> int:
    """Show the targets that are configured, how many callbacks each has, and the newest callbacks.

    Reads the configuration and the database and writes nothing; no server needs to run.
    """
    from vespera_agents.cli.callbacks import list_callbacks

    return list_callbacks(workspace, statuses or _STATUSES, target, limit, as_json=as_json)


@callbacks.command(epilog="Exit status: 0 shown, 2 there is no such callback.")
@click.argument("reference", metavar="ID")
@WORKSPACE
@JSON
def show(reference: str, workspace: Path, as_json: bool) -> int:
    """Show one callback: its attempts, its last problem, and the body that is sent.

    ID is the callback's id or its first letters.
    """
    from vespera_agents.cli.callbacks import show_callback

    return show_callback(workspace, reference, as_json=as_json)


@callbacks.command(epilog="Exit status: 0 they will be sent again, 1 there was none, 2 bad input.")
@click.argument("references", metavar="[ID]...", nargs=-1)
@WORKSPACE
@click.option("--dead", is_flag=True, help="All that were given up.")
@click.option("--target", metavar="NAME", help="With --dead: only of this target.")
def replay(references: tuple[str, ...], workspace: Path, dead: bool, target: str | None) -> int:
    """Have callbacks sent again that were given up or delivered, under their old ids.

    The server that leads the workspace sends them, or the next one that does.
    """
    from vespera_agents.cli.callbacks import replay_callbacks

    if dead == bool(references) or (target is not None and not dead):
        raise click.UsageError("name callbacks by ID, or give --dead, with --target where only one is meant.")
    return replay_callbacks(workspace, references, target)


@callbacks.command(epilog="Exit status: 0 the receiver took it, 1 it did not, 2 bad input.")
@click.argument("target", metavar="NAME")
@WORKSPACE
def test(target: str, workspace: Path) -> int:
    """Send a signed callback of the event `test` to the target NAME, once, and say what came of it."""
    from vespera_agents.cli.callbacks import test_target

    return test_target(workspace, target)
