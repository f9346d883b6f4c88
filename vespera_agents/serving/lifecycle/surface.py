"""What clients know of a server without asking again: its tools, prompts and kinds of addresses, a hash of each.

Two workers with the same hashes show the same lists. It is made of what the lists are made of, in 5 ms: the schemas
themselves take 90 ms for a process that has not listed its tools yet. Pure. Neighbours: `life` compares it with that of
the worker before.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final, get_args

from pydantic import BaseModel

from vespera_agents.serving.protocol.reading.prompts import PROMPTS
from vespera_agents.serving.protocol.reading.resources import TEMPLATES
from vespera_agents.serving.tools.tool import Tool

__all__ = ["surface_of"]

_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")
"""Where a function lies in memory, which says nothing about what it does."""


def surface_of(tools: Mapping[str, Tool]) -> Mapping[str, str]:
    """Give a hash for each list that clients keep: `tools`, `prompts`, `resources`; made once in a process."""
    return _surface(tuple(tools.values()))


@cache
def _surface(tools: tuple[Tool, ...]) -> Mapping[str, str]:
    told = {
        "tools": [
            (tool.name, tool.title, tool.description, tool.effects, *_fields(tool.parameters), *_fields(tool.result))
            for tool in tools
        ],
        "prompts": [(one.name, one.title, one.description, one.arguments) for one in PROMPTS],
        "resources": [repr(one) for one in TEMPLATES],
    }
    return {name: _hash(repr(entries)) for name, entries in told.items()}


def _fields(model: type[BaseModel], seen: set[type] | None = None) -> Iterator[str]:
    """Tell the fields of a model and of the models in it, each model once."""
    seen = {model} if seen is None else seen
    for name, told in model.model_fields.items():
        yield f"{name}: {told!r}"
        for inner in _models(told.annotation):
            if inner not in seen:
                seen.add(inner)
                yield from _fields(inner, seen)


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _hash(text: str) -> str:
    return hashlib.sha256(_ADDRESS.sub("", text).encode()).hexdigest()[:16]
