"""JSON schemas as a model reads them: without titles, null arms, empty defaults and the docstrings of classes.

Every token of a tool list is paid for in every conversation. Pure. Neighbours: `tool` asks for both schemas.
"""

from __future__ import annotations

from typing import Final, cast

from pydantic import BaseModel

__all__ = ["input_schema", "output_schema"]

_NULL: Final = {"type": "null"}
_EMPTY: Final[tuple[object, ...]] = (None, "", [], {})


def input_schema(model: type[BaseModel]) -> dict[str, object]:
    """Give the schema of a tool's arguments; fields keep their descriptions."""
    return _compact(cast("dict[str, object]", model.model_json_schema(mode="validation")), described=True)


def output_schema(model: type[BaseModel]) -> dict[str, object]:
    """Give the schema of a tool's result, where a field that is None is absent."""
    return _compact(cast("dict[str, object]", model.model_json_schema(mode="serialization")), described=False)


def _compact(schema: dict[str, object], *, described: bool) -> dict[str, object]:
    shared = cast("dict[str, dict[str, object]]", schema.pop("$defs", {}))
    # An enumeration is shorter where it is used than a reference to it.
    words = {f"#/$defs/{name}": body for name, body in shared.items() if "enum" in body}
    kept = {name: body for name, body in shared.items() if "enum" not in body}
    root = _object(schema, words, described=described)
    if kept:
        root["$defs"] = {name: _object(body, words, described=described) for name, body in kept.items()}
    return root


def _object(schema: dict[str, object], words: dict[str, dict[str, object]], *, described: bool) -> dict[str, object]:
    """Compact the schema of a model: a field that may be null becomes one that may be absent."""
    result = {key: value for key, value in schema.items() if key not in {"title", "description"}}
    properties = cast("dict[str, dict[str, object]]", schema.get("properties", {}))
    nullable = {name for name, body in properties.items() if _NULL in cast("list[object]", body.get("anyOf", []))}
    required = [name for name in cast("list[str]", schema.get("required", [])) if name not in nullable]
    result.pop("required", None)
    if required:
        result["required"] = required
    if properties:
        result["properties"] = {
            name: _value(_without_null(body) if name in nullable else body, words, described=described)
            for name, body in properties.items()
        }
    return result


def _without_null(schema: dict[str, object]) -> dict[str, object]:
    arms = [arm for arm in cast("list[dict[str, object]]", schema["anyOf"]) if arm != _NULL]
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**arms[0], **rest} if len(arms) == 1 else {"anyOf": arms, **rest}


def _value(schema: dict[str, object], words: dict[str, dict[str, object]], *, described: bool) -> dict[str, object]:
    """Compact the schema of one value, and of the values in it."""
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference in words:
        schema = {**words[reference], **{key: value for key, value in schema.items() if key != "$ref"}}
        described_here = described and schema.get("description") != words[reference].get("description")
    else:
        described_here = described
    result: dict[str, object] = {}
    for key, value in schema.items():
        if key == "title" or (key == "description" and not described_here):
            continue
        if key == "default" and value in _EMPTY:
            continue
        if key in {"items", "additionalProperties"} and isinstance(value, dict):
            result[key] = _value(cast("dict[str, object]", value), words, described=described)
        elif key == "anyOf":
            arms = cast("list[dict[str, object]]", value)
            result[key] = [_value(arm, words, described=described) for arm in arms]
        else:
            result[key] = value
    return result
