"""Values that each parameter of each tool refuses, read off its schema with every bound, told or not.

So a parameter that is added is covered on the day on which it appears. Values that are read kindly (one text for a
list, null for an absent value, `In Progress`) are no bad values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

DATES = "ISO 8601"


def bad_values(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Give (parameter, value, what is wrong with it) for each property of an input schema."""
    for name, told in schema.get("properties", {}).items():
        for value, wrong in _bad(told):
            yield name, value, wrong


def missing(schema: Mapping[str, Any]) -> list[str]:
    """Give the parameters that cannot be left out."""
    return list(schema.get("required", []))


def _bad(told: Mapping[str, Any]) -> Iterator[tuple[Any, str]]:
    kind = told.get("type")
    if "enum" in told or "const" in told:
        yield "no-such-word", "is none of the words"
        yield 7, "is no word"
    elif kind == "string":
        yield 7, "is no text"
        yield ["a", "b"], "is no text"
        if "maxLength" in told:
            yield "x" * (told["maxLength"] + 1), "is too long"
        if told.get("minLength"):
            yield "", "is empty"
        if DATES in told.get("description", ""):
            yield "soon", "is no date"
    elif kind in {"integer", "number"}:
        yield "many", "is no number"
        if "minimum" in told:
            yield told["minimum"] - 1, "is too small"
        if "maximum" in told:
            yield told["maximum"] + 1, "is too large"
        if kind == "integer":
            yield told.get("minimum", 0) + 0.5, "is no whole number"
    elif kind == "boolean":
        yield "perhaps", "is neither true nor false"
        yield 7, "is neither true nor false"
    elif kind == "array":
        yield 7, "is no list"
        yield [{"no": "such"}], "holds what it cannot hold"
        if "maxItems" in told:
            yield ["x"] * (told["maxItems"] + 1), "has too many entries"
    else:
        raise AssertionError(f"no bad values are known for {told}")
