"""`vespera trust`: the owner's word that MCP clients may cause exactly these commands.

The word is given for a text of `.vespera/config.toml`, not for the file: whoever changes it asks again. Neighbours:
`workspace.settings` reads the text, `workspace.registry` keeps the word.
"""

from __future__ import annotations

from pathlib import Path

import click

from vespera_agents.cli.outcomes import EXIT_DONE, EXIT_FAILED
from vespera_agents.cli.wording import one_line
from vespera_agents.specialists.callbacks.settings import read_targets
from vespera_agents.workspace import Registry, Settings, WorkspaceError, load_settings, open_workspace

__all__ = ["trust_workspace"]


def trust_workspace(directory: Path, *, agreed: bool) -> int:
    """Show what a workspace's configuration allows, ask, and record the answer; give the exit status.

    Args:
        directory: the workspace.
        agreed: do not ask.

    Raises:
        WorkspaceError: there is no configuration, it is not valid, or the registry cannot be written.
    """
    workspace = open_workspace(directory, make=False)
    registry = Registry()
    settings = load_settings(workspace, registry)
    if settings.fingerprint is None:
        raise WorkspaceError(
            f'{workspace.config} does not exist. Write it, for example: [commands] allow = ["python -m pytest"]'
        )
    click.echo(f"{workspace.config} lets MCP clients cause these commands to run in {workspace.directory}:")
    for line in settings.lines:
        # What follows an allowed beginning is up to the client.
        click.echo(f"  {one_line(line)} ...")
    if not settings.lines:
        click.echo("  none")
    if settings.allow_shell:
        click.echo("  and, exactly as they are written, each of these lines through a shell")
    for line in (*_sent_elsewhere(settings), *_told_elsewhere(settings, workspace.directory)):
        click.echo(line)
    if settings.trusted:
        click.echo("You trust this text already.")
        return EXIT_DONE
    if not agreed and not _agrees():
        click.echo("Nothing was recorded.")
        return EXIT_FAILED
    registry.trust(workspace.directory, settings.fingerprint)
    click.echo("Recorded. A change of the file asks for your trust again.")
    return EXIT_DONE


def _sent_elsewhere(settings: Settings) -> list[str]:
    """Say where prompts and keys would go: what a workspace of somebody else's may bring along."""
    from vespera_agents.providers.reading import provider_tables, read_providers  # noqa: PLC0415 - few files have any

    tables = provider_tables(settings.section("providers"))
    found = read_providers({**tables, "environment": False}, True, {}).providers
    lines = ["and sends what specialists read in this workspace, with your keys, to these providers of models:"]
    for one in found:
        key = "no key" if one.key is None else f"the key in {one.key.env or one.key.file}"
        lines.append(f"  {one_line(one.name)}: {one_line(one.address or one.kind.value)}, {one_line(key)}")
    return lines if found else []


def _told_elsewhere(settings: Settings, directory: Path) -> list[str]:
    """Say who would be told of what happens to tasks."""
    targets = read_targets(settings.section("callbacks"), directory, {}, trusted=True)
    lines = ["and tells these of what happens to tasks:"] if targets else []
    lines += [f"  {one_line(one.name)}: {one_line(one.place)}, {', '.join(one.events)}" for one in targets.values()]
    return lines


def _agrees() -> bool:
    try:
        return click.confirm("Do you trust it?", default=False)
    except click.Abort:
        # The input ended: nobody is there who could agree.
        click.echo()
        return False
