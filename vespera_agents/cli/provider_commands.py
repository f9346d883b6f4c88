"""The commands about providers of models, with their options and their help. Thin, as `commands`, which adds them.

Neighbour: `providers` does the work.
"""

# ruff: noqa: PLC0415 - the late imports are the point; see `commands`.

from __future__ import annotations

from pathlib import Path

import click

from vespera_agents.cli.watch_commands import JSON, WORKSPACE

__all__ = ["providers"]


@click.group()
def providers() -> None:
    """Look at the providers of models: which there are, whether they work, and which a task would be given to."""


@providers.command("list", epilog="Exit status: 0 shown, 2 the configuration is not valid.")
@WORKSPACE
@JSON
def list_(workspace: Path, as_json: bool) -> int:
    """Show every provider with its models and prices, where its key is, the limits, and what was spent today.

    Keys are not shown, only where they are. Nobody is asked.
    """
    from vespera_agents.cli.providers import list_providers

    return list_providers(workspace, as_json=as_json)


@providers.command(epilog="Exit status: 0 all are well, 1 one is not, 2 bad input.")
@click.argument("name", required=False)
@WORKSPACE
@click.option("--call", is_flag=True, help="Ask each for one word: a real request, which may cost a little.")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(0.1, 600),
    default=30.0,
    metavar="S",
    help="With --call: seconds for each; 30 unless given.",
)
@JSON
def check(name: str | None, workspace: Path, call: bool, timeout_seconds: float, as_json: bool) -> int:
    """Say of each provider, or of the one called NAME, whether it can be asked: its key is there, its price is known.

    Only with --call is it really asked; that counts against the limits of spending.
    """
    from vespera_agents.cli.providers import check_providers

    return check_providers(workspace, name, timeout_seconds=timeout_seconds if call else None, as_json=as_json)


@providers.command(epilog="Exit status: 0 there is one, 1 nobody can be asked, 2 bad input.")
@click.argument("task", metavar="TASK")
@WORKSPACE
@click.option("--policy", metavar="POLICY", help="cheapest, fastest, best or local; the configuration's unless given.")
@click.option(
    "--context-tokens",
    type=click.IntRange(0),
    metavar="N",
    help="How much is sent; a guess from the text unless given.",
)
@JSON
def explain(task: str, workspace: Path, policy: str | None, context_tokens: int | None, as_json: bool) -> int:
    """Show which model TASK would be given to, and why: each one with its scores, or why it is out.

    TASK is the id of a task, the first letters of one, or any text. What a running server has learned about speed and
    failures is not known here.
    """
    from vespera_agents.cli.providers import ExplainWish, explain_choice

    return explain_choice(ExplainWish(task, workspace, policy, context_tokens, as_json))
