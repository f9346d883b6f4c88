"""Values for a JSON schema as our tools list it: valid ones, and ones that just miss it.

Not a test. Ids, cursors and names come from a world, so that calls get behind the first look at their arguments.
Neighbours: `calls` makes the calls; `contract/bad_values.py` lists what is surely refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

Strategy = st.SearchStrategy[Any]

_TEXTS: Strategy = st.one_of(
    st.sampled_from((
        "a word", "", " ", "A B* -c", "2026-03-31", "2026-03-31T12:00:00Z", "0001-01-01", "9999-12-31T23:59:59+23:59",
        "In Progress", "coder", "[]", '["a", "b"]', '[{"title": "x"}]', '{"on": "a"}', "[1, NaN]", '["\\ud800"]',
        "null",
        '[{"\\ud800": 1}]', "[" * 900 + "]" * 900, '[{"subtasks": ' * 40 + "[]" + "}]" * 40, "notes.txt", "plan.md",
        "../x", "inner", "test -f notes.txt", "test -f 'open", "true; rm x", "\0", "\x1b[31m", "\u202e", "'; --",
        "NEAR(",
        '"', "title:x", "a AND", "{0}{}", "%s", "x" * 300, "y" * 5_000,
    )),
    st.text(max_size=40),
)  # fmt: skip
_NUMBERS: Strategy = st.one_of(
    st.integers(-2, 250),
    st.sampled_from((0.5, -0.0, 1e308, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 10**30, 500, 10**5, "7", True)),
    st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip
_ANYTHING: Strategy = st.recursive(
    st.one_of(st.none(), st.booleans(), _NUMBERS, _TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXTS, inner, max_size=3)),
    max_leaves=6,
)
MISSES = 12
"""One of so many values misses its schema on purpose."""


def arguments_for(schema: Mapping[str, Any], known: Mapping[str, tuple[str, ...]]) -> Strategy:
    """Give a strategy for the arguments of a tool.

    Args:
        schema: the tool's own inputSchema.
        known: ids and names that mean something, by the name of the parameter.
    """
    return _object(schema, schema, known)


def _object(schema: Mapping[str, Any], root: Mapping[str, Any], known: Mapping[str, tuple[str, ...]]) -> Strategy:
    properties: Mapping[str, Any] = schema.get("properties", {})
    required = set(schema.get("required", ()))
    # Deferred, because a breakdown holds breakdowns.
    values = {name: st.deferred(lambda n=name: _mostly(_value(n, properties[n], root, known))) for name in properties}
    whole = st.fixed_dictionaries(
        {name: value for name, value in values.items() if name in required},
        optional={name: value for name, value in values.items() if name not in required},
    )
    few = st.lists(st.sampled_from(sorted(properties)), max_size=4, unique=True) if properties else st.just([])
    # A dozen optional values at once are hardly ever allowed together: mostly a few of them are given.
    some = st.tuples(whole, few).map(lambda pair: {k: v for k, v in pair[0].items() if k in required or k in pair[1]})
    near = st.tuples(some, st.dictionaries(_TEXTS, _ANYTHING, max_size=1)).map(lambda pair: {**pair[1], **pair[0]})
    without = some.map(lambda given: dict(list(given.items())[1:]))
    return st.integers(0, MISSES).flatmap(
        lambda n: near if n == 0 else without if n == 1 else whole if n == 2 else some
    )


def _mostly(good: Strategy) -> Strategy:
    return st.integers(0, MISSES).flatmap(lambda number: _ANYTHING if number == 0 else good)


def _value(  # noqa: PLR0911 - one for each kind of schema
    name: str, told: Mapping[str, Any], root: Mapping[str, Any], known: Mapping[str, tuple[str, ...]]
) -> Strategy:
    if name in known and told.get("type", "string") == "string":
        return st.sampled_from(known[name])
    if "$ref" in told:
        return _object(root, root, known)
    if "anyOf" in told:
        return st.one_of(*(_value(name, one, root, known) for one in told["anyOf"]))
    if "enum" in told:
        return st.sampled_from(told["enum"])
    kind = told.get("type")
    if kind == "object":
        return _object(told, root, known)
    if kind == "array":
        one = st.sampled_from(known[name]) if name in known else _value(name, told["items"], root, known)
        return st.lists(one, max_size=3)
    if kind == "boolean":
        return st.booleans()
    if kind in {"integer", "number"}:
        within = st.integers(told.get("minimum", 0), told.get("maximum", 10_000))
        return st.one_of(within, _NUMBERS)
    return _TEXTS if kind == "string" else _ANYTHING
