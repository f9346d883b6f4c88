"""JSON schemas as a model reads them: without titles, null arms, empty defaults and the docstrings of classes.

Every token of a tool list is paid for in every conversation, so a schema says only what changes what its reader does:
- of arguments, the upper bounds that somebody might meet (`TOLD` in a field); all others are checked all the same,
  and refused in words. A part that holds parts of its own kind (a subtask) refers to the whole, which takes the same;
- of results, every key and its type; neither which keys are always there, nor what a list of plain values holds.
No part is left empty, which strict clients complain about.
Pure. Neighbours: `tool` asks for both schemas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast, final

from pydantic import BaseModel
from pydantic.config import JsonDict

__all__ = ["KNOWN", "TOLD", "input_schema", "output_schema"]

Schema = dict[str, object]
Shared = Mapping[str, Schema]

TOLD: Final[JsonDict] = {"told": True}
"""`json_schema_extra` of a field whose greatest value or length a model should know."""

KNOWN: Final[JsonDict] = {"known": True}
"""`json_schema_extra` of a field that takes what the same field of another tool takes, which tells it already.

Of a list it tells texts, which are among what each entry may be.
"""

_NULL: Final = {"type": "null"}
_EMPTY: Final[tuple[object, ...]] = (None, False, "", [], {})
_TOLD: Final = frozenset({"maximum", "maxLength"})
_BOUNDS: Final = _TOLD | {"minimum", "minLength", "minItems", "maxItems", "exclusiveMinimum", "exclusiveMaximum"}
_BALLAST: Final = _BOUNDS | {"title", "told", "known", "$ref"}
_WHOLE: Final[Schema] = {"$ref": "#"}


def input_schema(model: type[BaseModel], *, every_bound: bool = False) -> Schema:
    """Give the schema of a tool's arguments; fields keep their descriptions.

    Args:
        model: the arguments.
        every_bound: also give the bounds that are checked but not told.
    """
    schema = cast("Schema", model.model_json_schema(mode="validation"))
    shared = cast("Shared", schema.get("$defs", {}))
    return _Arguments(shared, every_bound=every_bound).whole(schema)


def output_schema(model: type[BaseModel]) -> Schema:
    """Give the schema of a tool's result, where a field that is None is absent."""
    schema = cast("Schema", model.model_json_schema(mode="serialization"))
    return _result(schema, cast("Shared", schema.get("$defs", {})))


@final
class _Arguments:
    """Compacts the schema of one tool's arguments."""

    def __init__(self, shared: Shared, *, every_bound: bool) -> None:
        self._shared = shared
        self._every_bound = every_bound
        self._within: list[str] = []
        self._repeated: set[str] = set()

    def whole(self, schema: Schema) -> Schema:
        """Compact it all.

        A part that contains itself must take nothing that the whole does not take: then it is told as the whole.
        """
        root = self._object(schema)
        taken = cast("Shared", root.get("properties", {}))
        for name in self._repeated:
            part = cast("Shared", self._object(self._shared[name])["properties"])
            assert all(taken.get(field) == told for field, told in part.items()), f"{name} is not told by the whole"
        return root

    def _object(self, schema: Schema) -> Schema:
        """Compact the schema of a model: a field that may be null becomes one that may be absent."""
        properties = cast("Shared", schema.get("properties", {}))
        root: Schema = {"type": "object", "properties": {name: self._value(told) for name, told in properties.items()}}
        required = [
            name for name in cast("Sequence[str]", schema.get("required", ())) if not _nullable(properties[name])
        ]
        if required:
            root["required"] = required
        root["additionalProperties"] = False
        return root

    def _value(self, schema: Schema) -> Schema:
        """Compact the schema of one value, and of the values in it."""
        schema = _without_null(schema)
        name = _reference(schema)
        if name is not None:
            body = self._shared[name]
            if "properties" in body:
                return self._part(name, body)
            schema = {**{key: value for key, value in body.items() if key != "description"}, **schema}
        bounds = _BOUNDS if self._every_bound else _TOLD if schema.get("told") else frozenset[str]()
        result = {key: value for key, value in schema.items() if key in bounds or key not in _BALLAST}
        if "default" in result and result["default"] in _EMPTY:
            del result["default"]
        known = bool(schema.get("known")) and not self._every_bound
        if known:
            result.pop("enum", None)
        if isinstance(items := result.get("items"), dict):
            result["items"] = {"type": "string"} if known else self._value(cast("Schema", items))
        if "anyOf" in result:
            result["anyOf"] = [self._value(arm) for arm in cast("list[Schema]", result["anyOf"])]
        return result

    def _part(self, name: str, body: Schema) -> Schema:
        if name in self._repeated:
            return _WHOLE
        if name in self._within:
            self._repeated.add(name)
            return _WHOLE
        self._within.append(name)
        part = self._object(body)
        self._within.remove(name)
        return _WHOLE if name in self._repeated else part


def _result(schema: Schema, shared: Shared) -> Schema:
    """Compact the schema of a result's value: keys and types."""
    schema = _without_null(schema)
    name = _reference(schema)
    schema = schema if name is None else shared[name]
    kind, inner = schema.get("type"), schema.get("additionalProperties")
    if "properties" in schema or kind == "object":
        properties = cast("Shared", schema.get("properties", {}))
        return {
            "type": "object",
            "properties": {name: _result(told, shared) for name, told in properties.items()},
            "additionalProperties": _result(cast("Schema", inner), shared) if isinstance(inner, dict) else False,
        }
    if kind == "array":
        items = _result(cast("Schema", schema.get("items", {})), shared)
        return {"type": "array", "items": items} if items.get("type") == "object" else {"type": "array"}
    return {} if kind is None else {"type": kind}


def _reference(schema: Schema) -> str | None:
    reference = schema.get("$ref")
    return reference.rpartition("/")[2] if isinstance(reference, str) else None


def _nullable(schema: Schema) -> bool:
    return _NULL in cast("Sequence[object]", schema.get("anyOf", ()))


def _without_null(schema: Schema) -> Schema:
    if not _nullable(schema):
        return schema
    arms = [arm for arm in cast("Sequence[Schema]", schema["anyOf"]) if arm != _NULL]
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**arms[0], **rest} if len(arms) == 1 else {"anyOf": arms, **rest}
