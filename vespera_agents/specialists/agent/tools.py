"""The tools of one specialist, put together from those who have them: files and commands, shared notes, artifacts.

Each source describes its tools and answers their calls; a name that nobody has is answered too. Neighbours:
`capabilities.tools`, `sharing` and `help_desk` have tools of their own, `assigning` decides which a role gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, final

from vespera_agents.capabilities.tools import Toolbox
from vespera_agents.providers.exchange import ToolCall, ToolSpec
from vespera_agents.specialists.agent.desk import ToolAnswer
from vespera_agents.store import ArtifactMissing, CommandKey, Store, queries
from vespera_agents.store.commands import StepPlace

__all__ = ["READ_ARTIFACT", "Artifacts", "Files", "Keyed", "Said", "ToolSource", "ToolsOfAll", "step_key"]

READ_ARTIFACT: Final = "read_artifact"
_PAGE_CHARACTERS: Final = 16_000
_URI: Final = "vespera://artifact/"
_SHA256_CHARACTERS: Final = 64


@final
@dataclass(frozen=True, slots=True)
class Said:
    """What a tool gave."""

    text: str
    is_error: bool = False


class ToolSource(Protocol):
    """Somebody who has tools."""

    def specs(self) -> Sequence[ToolSpec]:
        """List them."""
        ...

    async def call(self, call: ToolCall, place: StepPlace, *, again: bool) -> ToolAnswer:
        """Use one of them."""
        ...


@final
class ToolsOfAll:
    """The tools of several sources as one."""

    def __init__(self, sources: Sequence[ToolSource]) -> None:
        self._by_name = {spec.name: (spec, source) for source in sources for spec in source.specs()}

    def specs(self) -> Sequence[ToolSpec]:
        """List them all."""
        return [spec for spec, _ in self._by_name.values()]

    async def call(self, call: ToolCall, place: StepPlace, *, again: bool) -> ToolAnswer:
        """Use one; a name that nobody has is an answer too."""
        found = self._by_name.get(call.name)
        if found is None:
            names = ", ".join(self._by_name) or "none"
            return Said(f"there is no tool {call.name[:80]!r} here. There is: {names}.", is_error=True)
        return await found[1].call(call, place, again=again)


def step_key(place: StepPlace, what: str = "") -> CommandKey:
    """Name the command of a step: the same when the step is done once more."""
    return CommandKey("step", f"{place.task_id}/{place.attempt}/{place.number}{what and f'/{what}'}")


@final
class Files:
    """Files and commands in a working copy."""

    def __init__(self, toolbox: Toolbox) -> None:
        self._toolbox = toolbox

    def specs(self) -> Sequence[ToolSpec]:
        """List them."""
        return self._toolbox.specs()

    async def call(self, call: ToolCall, place: StepPlace, *, again: bool) -> ToolAnswer:  # noqa: ARG002 - see the protocol
        """Use one; an edit that was made already is not made twice."""
        return await self._toolbox.call(call, again=again)


class KeyedSource(Protocol):
    """Somebody whose tools change rows: what is called again under the same key happens once."""

    def specs(self) -> Sequence[ToolSpec]:
        """List them."""
        ...

    async def call(self, call: ToolCall, key: CommandKey) -> ToolAnswer:
        """Use one of them."""
        ...


@final
class Keyed:
    """Tools that change rows: shared notes, asking for help."""

    def __init__(self, source: KeyedSource) -> None:
        self._source = source

    def specs(self) -> Sequence[ToolSpec]:
        """List them."""
        return self._source.specs()

    async def call(self, call: ToolCall, place: StepPlace, *, again: bool) -> ToolAnswer:  # noqa: ARG002 - the key tells
        """Use one; a step that is done once more has the same key."""
        return await self._source.call(call, step_key(place))


@final
class Artifacts:
    """What this task and those that it builds on have kept, page by page; of no others."""

    def __init__(self, store: Store, task_id: str, known: Sequence[str]) -> None:
        """Say what may be read.

        Args:
            store: where it is.
            task_id: the artifacts of this task may be.
            known: content hashes of others that may be, too.
        """
        self._store = store
        self._task_id = task_id
        self._known = frozenset(known)

    def specs(self) -> Sequence[ToolSpec]:
        """Describe the one tool."""
        properties = {
            "uri": {"type": "string", "description": f"As it is named to you: {_URI}..."},
            "offset": {"type": "integer", "minimum": 0, "description": "Where to go on in a long one, in characters."},
        }
        parameters = {"type": "object", "properties": properties, "required": ["uri"]}
        return [
            ToolSpec(READ_ARTIFACT, "Read an artifact that your task names, or a part that was put aside.", parameters)
        ]

    async def call(self, call: ToolCall, place: StepPlace, *, again: bool) -> ToolAnswer:  # noqa: ARG002 - it only reads
        """Read a page."""
        sha256 = str(call.arguments.get("uri", "")).strip().removeprefix(_URI)
        offset = call.arguments.get("offset", 0)
        if not isinstance(offset, int) or offset < 0:
            return Said("offset is a number of characters from 0 on. Correct it and call again.", is_error=True)
        own = {one.sha256 for one in await self._store.read(queries.artifacts_of, [self._task_id])}
        if len(sha256) != _SHA256_CHARACTERS or sha256 not in own | self._known:
            return Said(f"there is no such artifact for this task. Use a link that begins with {_URI}.", is_error=True)
        try:
            text = (await self._store.artifacts.read(sha256)).decode(errors="replace")
        except ArtifactMissing as missing:
            return Said(str(missing), is_error=True)
        end = offset + _PAGE_CHARACTERS
        more = f"\n[{len(text) - end} characters more: go on with offset={end}]" if end < len(text) else ""
        return Said(f"{text[offset:end]}{more}" or "(nothing)")
