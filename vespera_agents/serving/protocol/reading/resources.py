"""What can be read by address: sessions, their shared notes, tasks, artifacts, the live supervision tree, and roles.

An artifact is read in pages (`?offset=0&limit=65536`), at most 1 MB at once; a page that is not the last says so and
names the next one. Text comes as text, cut between characters; anything else comes as bytes. Not here: how the bytes
travel (`requests`), how one hears that something changed (`notifying`).
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import trio

from supervisors import TreeNode
from vespera_agents.specialists.answers import iso
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.roles import Role, role_text
from vespera_agents.specialists.sharing import notes_for, read_note
from vespera_agents.store.listing import artifacts_before, sessions_before
from vespera_agents.store.notes import USER, note_uri
from vespera_agents.work.cursors import cursor_of, place_of, unknown_cursor
from vespera_agents.work.errors import InvalidInput, NotFound
from vespera_agents.work.models import Artifact, Session, role_name

__all__ = [
    "LISTED_ADDRESSES",
    "PAGE_BYTES_MAX",
    "TEMPLATES",
    "TREE_URI",
    "Address",
    "Content",
    "Listed",
    "Template",
    "address_of",
    "list_resources",
    "read_resource",
]

PAGE_BYTES_MAX: Final = 1_000_000
"""Bytes of an artifact in one read."""
TREE_NODES_MAX: Final = 1_000
"""Nodes of the tree in one read, those near the root."""
_ADDRESS_MAX: Final = 1_000
"""Characters in an address."""
_SCHEME: Final = "vespera"
TREE_URI: Final = "vespera://tree"
_JSON: Final = "application/json"
_YAML: Final = "application/yaml"
_TEXT_TYPES: Final = frozenset(
    {
        "application/json",
        "application/javascript",
        "application/toml",
        "application/x-ndjson",
        "application/x-sh",
        "application/x-yaml",
        "application/xml",
        "application/yaml",
    }
)
_UTF8_BYTES_MAX: Final = 4


@final
@dataclass(frozen=True, slots=True)
class Template:
    """A kind of address."""

    name: str
    title: str
    uri_template: str
    description: str
    mime_type: str | None


TEMPLATES: Final = (
    Template(
        "session", "A session", "vespera://session/{id}", "Counts, ready and blocked tasks, workspace facts", _JSON
    ),
    Template("notes", "Shared notes", "vespera://session/{id}/notes", "What its specialists told each other", _JSON),
    Template(
        "note", "A shared note", "vespera://session/{id}/notes/{name}", "All of its text", "text/plain; charset=utf-8"
    ),
    Template("task", "A task", "vespera://task/{id}", "Every field, dependencies, artifacts", _JSON),
    Template(
        "artifact",
        "An artifact",
        "vespera://artifact/{sha256}{?offset,limit}",
        f"Its bytes, at most {PAGE_BYTES_MAX} at once",
        None,
    ),
    Template("role", "A role", "vespera://role/{name}", "What a specialist of that name is told about itself", _YAML),
)
LISTED_ADDRESSES: Final = (TREE_URI, *(template.uri_template for template in TEMPLATES))
"""Every form that an address of ours has."""


@final
@dataclass(frozen=True, slots=True)
class Listed:
    """One address in the list."""

    uri: str
    name: str
    title: str
    description: str
    mime_type: str
    size: int | None = None


@final
@dataclass(frozen=True, slots=True)
class Content:
    """What lies at an address, or a page of it."""

    uri: str
    mime_type: str
    data: str | bytes
    about: Mapping[str, int | str] | None = None
    """Of a page: the whole size, where it begins, and the address of the next one."""
    note: str | None = None
    """For people: that this is not all."""


@final
@dataclass(frozen=True, slots=True)
class Address:
    """An address, taken apart."""

    kind: str
    """`session`, `notes`, `note`, `task`, `artifact`, `role` or `tree`."""
    name: str
    """Which one, as the address spells it; empty for the tree. Of notes their session."""
    query: str
    note: str = ""
    """The name of one shared note."""


def address_of(uri: str) -> Address:
    """Take an address apart.

    Raises:
        NotFound: nothing of ours can lie there.
    """
    if uri == TREE_URI:
        return Address("tree", "", "")
    try:
        parts = urlsplit(uri)
    except ValueError:
        parts = None
    if parts is not None and parts.scheme == _SCHEME and len(uri) <= _ADDRESS_MAX:
        kind, name = parts.netloc, unquote(parts.path.strip("/"))
        session, below, rest = name.partition("/")
        if kind == "session" and below and (rest == "notes" or rest.startswith("notes/")):
            note = rest.removeprefix("notes").removeprefix("/")
            return Address("note" if note else "notes", session, parts.query, note)
        if kind in {"session", "task", "artifact", "role"} and name:
            return Address(kind, name, parts.query)
    raise NotFound(f"there is no resource {uri[:200]!r}", f"Read one of: {', '.join(LISTED_ADDRESSES)}.")


async def list_resources(orchestrator: Orchestrator, cursor: str | None, size: int) -> tuple[list[Listed], str | None]:
    """List a page of the home workspace: its sessions and artifacts, the newest first, then the tree and the roles.

    Args:
        orchestrator: whose workspace.
        cursor: the one that came with the page before.
        size: entries on a page.

    Returns:
        the page, and the cursor of the next one, None at the end.

    Raises:
        InvalidInput: the cursor was not given out for this list, or a role file is not valid.
        StoreError, WorkspaceError: it cannot be read now.
    """
    part, last = _place(cursor)
    opened = await orchestrator.home_workspace()
    # One more than fits says whether there is a next page.
    found: list[tuple[str, int | str, Listed]] = []
    if part == "session":
        before = str(last) or None
        sessions = await opened.store.read(sessions_before, before, size + 1)
        found.extend(("session", one.id, _listed_session(one)) for one in sessions)
        last = ""
    if part in {"session", "artifact"} and len(found) <= size:
        number = last if isinstance(last, int) else None
        artifacts = await opened.store.read(artifacts_before, number, size + 1 - len(found))
        found.extend(("artifact", seq, _listed_artifact(one)) for seq, one in artifacts)
        last = ""
    if len(found) <= size:
        roles = await trio.to_thread.run_sync(opened.roles)
        named = [("role", "", _LISTED_TREE), *(("role", name, _listed_role(roles[name])) for name in sorted(roles))]
        begun = part == "role"
        found.extend(entry for entry in named if not begun or (entry[1] and entry[1] > str(last)))
    page = found[:size]
    return [one for _, _, one in page], cursor_of("resources", *page[-1][:2]) if len(found) > size else None


def _place(cursor: str | None) -> tuple[str, int | str]:
    """Read where a page begins: a part of the list, and its last entry that was given out."""
    if cursor is None:
        return "session", ""
    match place_of("resources", cursor):
        case ["session" | "artifact" | "role" as part, str() | int() as last]:
            return part, last
        case _:
            raise unknown_cursor(cursor)


async def read_resource(orchestrator: Orchestrator, uri: str) -> Content:
    """Read what lies at an address.

    Raises:
        NotFound: nothing of ours does.
        InvalidInput: a page is asked for in a way that makes no sense.
        StoreError: it cannot be read now.
    """
    address = address_of(uri)
    if address.kind == "artifact":
        return await _read_artifact(orchestrator, uri, address.name, address.query)
    if address.query:
        raise InvalidInput(f"{uri[:200]!r} has a query", "Only artifacts are read in pages: leave it out.")
    if address.kind == "tree":
        return Content(uri, _JSON, json.dumps(_bounded(orchestrator.runtime.root.snapshot(), TREE_NODES_MAX), indent=1))
    if address.kind == "role":
        return Content(uri, _YAML, role_text(await _role(orchestrator, address.name)))
    if address.kind in {"notes", "note"}:
        return await _read_notes(orchestrator, uri, address)
    if address.kind == "session":
        shown = await orchestrator.sessions.status(address.name)
    else:
        shown = await orchestrator.tasks.show(address.name)
    return Content(uri, _JSON, shown.model_dump_json(exclude_none=True, indent=1))


async def _read_notes(orchestrator: Orchestrator, uri: str, address: Address) -> Content:
    """Read the shared context of a session as its user, from whom nothing is hidden."""
    opened, session = await orchestrator.lookup.session(address.name)
    if address.note:
        _, text = await read_note(opened, session.id, address.note, USER)
        return Content(uri, "text/plain; charset=utf-8", text)
    found = await notes_for(opened, session.id, USER)
    rows = [
        {
            "uri": note_uri(one),
            "name": one.name,
            "owner": one.owner or "user",
            "version": one.version,
            "size": one.size,
            "visible_to": one.visible_to or "all",
            "updated": iso(one.updated),
            "text" if one.sha256 is None else "beginning": one.text,
        }
        for one in found
    ]
    return Content(uri, _JSON, json.dumps({"session_id": session.id, "notes": rows}, indent=1))


async def _role(orchestrator: Orchestrator, name: str) -> Role:
    opened = await orchestrator.home_workspace()
    roles = await trio.to_thread.run_sync(opened.roles)
    found = roles.get(role_name(name))
    if found is None:
        near = difflib.get_close_matches(name, roles, 3, 0.5) or sorted(roles)
        raise NotFound(f"there is no role {name[:80]!r}", f"Read one of: {', '.join(near)}.")
    return found


def _bounded(node: TreeNode, nodes_max: int) -> dict[str, object]:
    """Give a tree as plain values without what lies beyond so many nodes, counted from the root downwards."""
    kept: dict[int, int] = {}
    """How many children of a node are shown, by the node's identity."""
    level, room = [node], nodes_max - 1
    while level:
        for one in level:
            kept[id(one)] = min(len(one.children), room)
            room -= kept[id(one)]
        level = [child for one in level for child in one.children[: kept[id(one)]]]

    def shown(one: TreeNode) -> dict[str, object]:
        count = kept[id(one)]
        fields: dict[str, object] = {
            "id": one.id,
            "type": one.type.value,
            "state": one.state,
            "restarts": one.restarts,
            "incarnation": one.incarnation,
            "lived_seconds": round(one.lived_seconds, 3),
            "detail": dict(one.detail),
            "children": [shown(child) for child in one.children[:count]],
        }
        return fields if count == len(one.children) else {**fields, "children_left_out": len(one.children) - count}

    return shown(node)


async def _read_artifact(orchestrator: Orchestrator, uri: str, name: str, query: str) -> Content:
    offset, limit = _page(uri, query)
    artifact, opened = await orchestrator.artifact(name)
    if offset > artifact.size:
        raise InvalidInput(
            f"offset={offset} lies beyond the artifact's {artifact.size} bytes", "Begin at a smaller offset."
        )
    data: str | bytes = await opened.store.artifacts.read(artifact.sha256, offset, limit)
    read = len(data)
    if _is_text(artifact.mime_type):
        data, read = _as_text(data, last=offset + read >= artifact.size)
    end = offset + read
    address = f"{_SCHEME}://artifact/{artifact.sha256}"
    if end >= artifact.size and not offset:
        return Content(uri, artifact.mime_type, data)
    about: dict[str, int | str] = {"size": artifact.size, "offset": offset, "bytes": read}
    note = f"These are the bytes {offset} to {end} of {artifact.size}."
    if end < artifact.size:
        about["next"] = f"{address}?offset={end}&limit={limit}"
        note += f" Go on with {about['next']}"
    return Content(uri, artifact.mime_type, data, about, note)


def _page(uri: str, query: str) -> tuple[int, int]:
    """Read offset and limit out of an address."""
    asked = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(asked.keys() - {"offset", "limit"})
    numbers = [asked.get("offset", "0"), asked.get("limit", str(PAGE_BYTES_MAX))]
    if unknown or not all(number.isascii() and number.isdigit() and len(number) <= 15 for number in numbers):  # noqa: PLR2004 - digits of a petabyte
        raise InvalidInput(
            f"{uri[:200]!r} asks for no page", f"Give ?offset=BYTES&limit=BYTES, at most {PAGE_BYTES_MAX} at once."
        )
    offset, limit = int(numbers[0]), int(numbers[1])
    if limit < _UTF8_BYTES_MAX:
        raise InvalidInput(f"limit={limit} is too small a page", f"Give a limit of {_UTF8_BYTES_MAX} or more.")
    return offset, min(limit, PAGE_BYTES_MAX)


def _is_text(mime_type: str) -> bool:
    kind = mime_type.partition(";")[0].strip().lower()
    return kind.startswith("text/") or kind in _TEXT_TYPES or kind.endswith(("+json", "+xml", "+yaml"))


def _as_text(data: bytes, *, last: bool) -> tuple[str | bytes, int]:
    """Decode a page, leaving a character that goes on in the next page to it; what is no UTF-8 stays bytes."""
    for left in range(0 if last else _UTF8_BYTES_MAX):
        part = data[: len(data) - left] if left else data
        try:
            return part.decode(), len(part)
        except UnicodeDecodeError:
            continue
    try:
        return data.decode(), len(data)
    except UnicodeDecodeError:
        return data, len(data)


def _listed_session(session: Session) -> Listed:
    return Listed(
        f"{_SCHEME}://session/{session.id}",
        session.id,
        f"Session {session.name}",
        f"{session.status} in {session.directory}",
        _JSON,
    )


def _listed_artifact(artifact: Artifact) -> Listed:
    return Listed(
        f"{_SCHEME}://artifact/{artifact.sha256}",
        artifact.id,
        artifact.name,
        f"{artifact.kind} of {artifact.task_id or artifact.session_id}",
        artifact.mime_type,
        artifact.size,
    )


def _listed_role(role: Role) -> Listed:
    return Listed(
        f"{_SCHEME}://role/{quote(role.name, safe='')}",
        role.name,
        f"The role {role.name}",
        role.role_definition.partition(".")[0][:200],
        _YAML,
    )


_LISTED_TREE: Final = Listed(
    TREE_URI, "tree", "The supervision tree", "What runs in this server now, with states and restarts", _JSON
)
