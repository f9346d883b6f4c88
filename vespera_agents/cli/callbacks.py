"""`vespera callbacks`: who is told of what happens, what waits, what was given up; replaying; trying a target.

Addresses are shown without their paths, which may hold tokens. Neighbours: `store.callbacks` reads the rows,
`specialists.callbacks` knows the targets and sends.
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
import trio

from vespera_agents.cli.looking import reading
from vespera_agents.cli.outcomes import EXIT_DONE, EXIT_FAILED
from vespera_agents.cli.wording import one_line
from vespera_agents.specialists.callbacks.outbox import configured_targets
from vespera_agents.specialists.callbacks.retrying import Answer
from vespera_agents.specialists.callbacks.settings import TargetSettings
from vespera_agents.store import CommandKey, Store
from vespera_agents.store.callbacks import CallbackRow, callback, callback_counts, callbacks, registered_targets
from vespera_agents.store.commands.callbacks import ReplayCallbacks
from vespera_agents.store.outbox import CallbackStatus
from vespera_agents.store.visiting import visit
from vespera_agents.work.errors import NotFound
from vespera_agents.workspace import Registry, Workspace, load_settings, open_workspace

__all__ = ["list_callbacks", "replay_callbacks", "show_callback", "test_target"]


def list_callbacks(directory: Path, statuses: Sequence[str], target: str | None, limit: int, *, as_json: bool) -> int:
    """Print targets, counts and the newest callbacks; give the exit status.

    Raises:
        WorkspaceError: the directory cannot be a workspace, or its configuration is not valid.
        StoreUnavailable: the database cannot be read.
    """
    workspace, registry = open_workspace(directory, make=False), Registry()
    settings = load_settings(workspace, registry)
    targets = configured_targets(workspace, registry, os.environ)
    rows: list[CallbackRow] = []
    counts: dict[tuple[str, CallbackStatus], int] = {}
    registered: dict[str, tuple[str, ...]] = {}
    if workspace.database.exists():
        with reading(workspace) as connection:
            rows = callbacks(connection, [CallbackStatus(one) for one in statuses], target, limit)
            counts, registered = callback_counts(connection), registered_targets(connection)
    untrusted = bool(settings.section("callbacks")) and not settings.trusted
    if as_json:
        told = {
            name: {"place": one.place, "events": list(one.events), "registered": name in registered}
            for name, one in targets.items()
        }
        numbers = {
            name: {status: counts.get((name, status), 0) for status in CallbackStatus}
            for name in sorted({*targets, *(name for name, _ in counts)})
        }
        shown = [_fields(row) for row in rows]
        document = {"trusted": not untrusted, "targets": told, "counts": numbers, "callbacks": shown}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return EXIT_DONE
    if untrusted:
        click.echo("[callbacks] of .vespera/config.toml counts only when you trust it: vespera trust")
    click.echo("\n".join(_lines(targets, counts, rows)))
    return EXIT_DONE


def show_callback(directory: Path, reference: str, *, as_json: bool) -> int:
    """Print one callback; give the exit status.

    Raises:
        NotFound: there is none, or several begin so.
        WorkspaceError, StoreUnavailable: as in `list_callbacks`.
    """
    row = _find(open_workspace(directory, make=False), reference)
    if as_json:
        click.echo(json.dumps({**_fields(row), "body": json.loads(row.body)}, ensure_ascii=False, indent=2))
        return EXIT_DONE
    for name, value in _fields(row).items():
        click.echo(f"{name:<11} {one_line(str(value))}")
    click.echo(f"{'body':<11} {one_line(row.body)}")
    return EXIT_DONE


def replay_callbacks(directory: Path, references: Sequence[str], target: str | None) -> int:
    """Have callbacks sent again, all dead ones without references; give the exit status.

    Raises:
        NotFound: a reference names none, or several.
        WorkspaceError, StoreError: the workspace cannot be used.
    """
    workspace = open_workspace(directory, make=False)
    if not workspace.database.exists():
        raise NotFound(f"there is no callback in {workspace.directory} yet", "Configure a target: docs/callbacks.md.")
    command = ReplayCallbacks("cli", tuple(_find(workspace, one).id for one in references), target)
    key = CommandKey("cli", f"callbacks/{secrets.token_hex(8)}")

    async def act(store: Store) -> int:
        return await store.execute(command, key)

    number = trio.run(visit, workspace, act)
    click.echo(f"{number} will be sent again." if number else "There was none to send again.")
    return EXIT_DONE if number else EXIT_FAILED


def test_target(directory: Path, name: str) -> int:
    """Send a test to a target and print what came of it; give the exit status.

    Raises:
        NotFound: there is no such target.
        WorkspaceError: the configuration is not valid.
    """
    workspace = open_workspace(directory, make=False)
    targets = configured_targets(workspace, Registry(), os.environ)
    if name not in targets:
        known = ", ".join(targets) or "none; write [callbacks.NAME] into .vespera/config.toml and run `vespera trust`"
        raise NotFound(f"there is no target {name!r}", f"Known are: {known}.")
    target = targets[name]
    answer = trio.run(_try, target)
    if answer.delivered:
        click.echo(f"{target.place} took it with status {answer.status}.")
        return EXIT_DONE
    told = answer.problem or f"it answered {answer.status}"
    click.echo(f"{target.place} did not take it: {one_line(told)}")
    return EXIT_FAILED


async def _try(target: TargetSettings) -> Answer:
    from vespera_agents.specialists.callbacks.posting import Poster  # noqa: PLC0415 - brings the library for HTTP

    now, identifier = time.time(), f"callback_{secrets.token_hex(12)}"
    body = json.dumps({"id": identifier, "event": "test", "at": now, "session_id": None})
    row = CallbackRow(
        0, identifier, target.name, "test", None, None, body, CallbackStatus.PENDING, now, None, 1, 0, None, now, None
    )
    return await Poster(target, os.environ, time.time).post(row)


def _find(workspace: Workspace, reference: str) -> CallbackRow:
    found: list[CallbackRow] = []
    if workspace.database.exists():
        with reading(workspace) as connection:
            found = callback(connection, reference)
    if len(found) == 1:
        return found[0]
    if found:
        raise NotFound(f"several callbacks begin with {reference!r}", "Give more of the id.")
    raise NotFound(f"there is no callback {reference!r}", "List them: `vespera callbacks list`.")


def _fields(row: CallbackRow) -> dict[str, object]:
    fields = dataclasses.asdict(row)
    return {name: value for name, value in fields.items() if name not in {"seq", "body"} and value is not None}


def _lines(
    targets: Mapping[str, TargetSettings],
    counts: Mapping[tuple[str, CallbackStatus], int],
    rows: Sequence[CallbackRow],
) -> Iterator[str]:
    if not targets:
        yield "No target is configured: nobody is told of anything."
    for name in sorted({*targets, *(name for name, _ in counts)}):
        target = targets.get(name)
        place = "not configured any more" if target is None else f"{target.place}, {', '.join(target.events)}"
        told = ", ".join(f"{counts.get((name, status), 0)} {status}" for status in CallbackStatus)
        yield f"{one_line(name)}: {place}: {told}"
    for row in rows:
        about = row.task_id or row.session_id or ""
        problem = f": {one_line(row.problem)}" if row.problem and row.status is not CallbackStatus.DELIVERED else ""
        yield f"  {row.status:<9} {row.id}  {row.event:<16} {about}  {row.attempts} sent{problem}"
