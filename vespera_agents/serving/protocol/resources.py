"""Sessions, tasks and artifacts by address: `vespera://session/ID`, `vespera://task/ID`, `vespera://artifact/SHA256`.

An artifact is read in pages (`?offset=0&limit=65536`), at most 1 MB at once; a page that is not the last says so and
names the next one. Text comes as text, cut between characters; anything else comes as bytes. Not here: how the bytes
travel (`server`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final
from urllib.parse import parse_qsl, urlsplit

from vespera_agents.specialists.answers import SessionAnswer, TaskView
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.store import queries
from vespera_agents.work.errors import InvalidInput, NotFound
from vespera_agents.work.models import Artifact, Session

__all__ = ["PAGE_BYTES_MAX", "TEMPLATES", "Content", "Listed", "list_resources", "read_resource"]

PAGE_BYTES_MAX: Final = 1_000_000
"""Bytes of an artifact in one read."""
SESSIONS_LISTED: Final = 20
ARTIFACTS_LISTED: Final = 100
_SCHEME: Final = "vespera"
_JSON: Final = "application/json"
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
    Template("task", "A task", "vespera://task/{id}", "Every field, dependencies, artifacts", _JSON),
    Template(
        "artifact",
        "An artifact",
        "vespera://artifact/{sha256}{?offset,limit}",
        f"Its bytes, at most {PAGE_BYTES_MAX} at once",
        None,
    ),
)


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


async def list_resources(orchestrator: Orchestrator) -> list[Listed]:
    """List the newest sessions of the home workspace, and the newest artifacts of these sessions."""
    opened = await orchestrator.home_workspace()
    sessions = (await opened.store.read(queries.sessions))[:SESSIONS_LISTED]
    listed = [_listed_session(session) for session in sessions]
    room = ARTIFACTS_LISTED
    for session in sessions:
        artifacts = await opened.store.read(queries.latest_artifacts, session.id, room) if room else []
        room -= len(artifacts)
        listed.extend(_listed_artifact(artifact) for artifact in artifacts)
    # The same bytes may be several artifacts, but they are one address.
    return list({one.uri: one for one in reversed(listed)}.values())[::-1]


async def read_resource(orchestrator: Orchestrator, uri: str) -> Content:
    """Read what lies at an address.

    Raises:
        NotFound: nothing of ours does.
        InvalidInput: a page is asked for in a way that makes no sense.
        StoreError: it cannot be read now.
    """
    parts = urlsplit(uri)
    kind, name = parts.netloc, parts.path.strip("/")
    if parts.scheme != _SCHEME or not name or kind not in {"session", "task", "artifact"}:
        raise NotFound(
            f"there is no resource {uri[:200]!r}",
            f"Read one of: {', '.join(template.uri_template for template in TEMPLATES)}.",
        )
    if kind == "artifact":
        return await _read_artifact(orchestrator, uri, name, parts.query)
    if parts.query:
        raise InvalidInput(f"{uri[:200]!r} has a query", "Only artifacts are read in pages: leave it out.")
    shown: SessionAnswer | TaskView
    shown = await (orchestrator.sessions.status(name) if kind == "session" else orchestrator.tasks.show(name))
    return Content(uri, _JSON, shown.model_dump_json(exclude_none=True, indent=1))


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
