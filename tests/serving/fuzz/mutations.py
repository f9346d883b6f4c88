"""Seeded mutations: a good message in, a line or a body that no client should send out.

Not a test. Some of what comes out is still good: a fuzzer that sends nothing but rubbish never gets behind the reader.
Neighbours: `messages` has what is spoiled.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

from tests.serving.fuzz.messages import Ids, good_messages, handshake

_ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, -0.0, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 10**40, 1e308, float("nan"),
    float("inf"), float("-inf"), "", " ", "0", "null", "x" * 5_000, "\0", "a\0b", "\r\n", "\ud800", "\udfff\ud800",
    "\u202e\u200b\ufeff", "é\u0301", "\U0010ffff", "%s%n{}{0}${x}{{7*7}}", "../../etc/passwd", "' OR 1=1 --", [], {},
    [[]], [None], [1, "a", {}], {"": ""}, {"a": {"b": {"c": []}}}, {"__class__": "x"}, ["x"] * 300, {"$ref": "#"},
)  # fmt: skip
_METHODS = (
    "tools/call",
    "tools/list",
    "ping",
    "initialize",
    "prompts/get",
    "resources/read",
    "",
    "rpc.x",
    "tools/call\0",
)
_TOKENS: tuple[Any, ...] = (0, -1, 1.5, "", "p", None, True, [], {}, "x" * 10_000, 2**70)


def mutated_line(source: random.Random, era: str, ids: Ids) -> bytes:
    """Give one line to send, without its end; it may hold a CR, and never an LF."""
    return mutated_body(source, era, ids).replace(b"\n", b" ")


def mutated_body(source: random.Random, era: str, ids: Ids) -> bytes:
    """Give one body to send."""
    other = "legacy" if era == "modern" else "modern"
    # Now and then a message of the other era.
    messages = good_messages(era if source.random() < 0.9 else other, ids)
    message = copy.deepcopy(source.choice(messages)) if source.random() < 0.97 else handshake(_odd(source))
    if "id" in message and source.random() < 0.5:
        message["id"] = source.randrange(1_000_000)
    for _ in range(source.choice((0, 1, 1, 1, 2, 3))):
        if not _places(message, []):
            break
        source.choice(_ON_VALUES)(source, message)
    if source.random() < 0.06 and _places(message, []):
        _nested(source, message)
    data = json.dumps(message, ensure_ascii=source.random() < 0.7).encode(errors="surrogatepass")
    for _ in range(source.choice((0, 0, 0, 1, 1, 2))):
        data = source.choice(_ON_BYTES)(source, data)
    return data


def _odd(source: random.Random, *more: Any) -> Any:
    """Give an odd value, which the next mutations may spoil further."""
    return copy.deepcopy(source.choice((*_ODD, *more)))


def _places(value: Any, found: list[tuple[Any, Any]], depth: int = 0) -> list[tuple[Any, Any]]:
    """List the places in a message that can hold another value; what lies very deep is left alone."""
    if depth > 12:
        return found
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in entries:
        found.append((value, key))
        _places(one, found, depth + 1)
    return found


def _odd_value(source: random.Random, message: Any) -> None:
    where, key = source.choice(_places(message, []))
    where[key] = _odd(source)


def _odd_argument(source: random.Random, message: Any) -> None:
    arguments = (message.get("params") or {}).get("arguments") if isinstance(message.get("params"), dict) else None
    if isinstance(arguments, dict) and arguments:
        key = source.choice(list(arguments))
        arguments[key] = _odd(source, [arguments[key]], json.dumps(arguments[key]))
    else:
        _odd_value(source, message)


def _without(source: random.Random, message: Any) -> None:
    where, key = source.choice(_places(message, []))
    del where[key]


def _more(source: random.Random, message: Any) -> None:
    where, _ = source.choice(_places(message, []))
    if isinstance(where, dict):
        where[source.choice(("", "x", "id", "_meta", "\0", "\ud800", "method", "k" * 2_000))] = _odd(source)
    else:
        where.append(_odd(source))


def _nested(source: random.Random, message: Any) -> None:
    where, key = source.choice(_places(message, []))
    value: Any = "x"
    for _ in range(source.choice((3, 20, 120, 190, 300, 600))):
        value = [value] if source.random() < 0.5 else {"subtasks": value}
    where[key] = value


def _nested_text(source: random.Random, message: Any) -> None:
    """Hide something deep in a text that is read as a list, where lists are awaited."""
    where, key = source.choice(_places(message, []))
    depth = source.choice((5, 90, 200, 400, 900, 50_000))
    where[key] = source.choice(("[" * depth + "]" * depth, '[{"subtasks":' * depth + "[]" + "}]" * depth,
                                '[{"\\ud800": 1}]', "[NaN, Infinity]", f"[{'9' * 5_000}]", "[" * depth))  # fmt: skip


def _odd_type(source: random.Random, message: Any) -> None:
    message[source.choice(("id", "method", "params", "jsonrpc", "result", "error"))] = _odd(source, *_METHODS)


def _meta(source: random.Random, message: Any) -> None:
    params = message.setdefault("params", {})
    if isinstance(params, dict):
        meta = params.get("_meta")
        told = dict(meta) if isinstance(meta, dict) else {}
        key = source.choice((
            "progressToken", "io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientInfo",
            "io.modelcontextprotocol/clientCapabilities", "io.modelcontextprotocol/logLevel", "io.vespera/key",
            "io.modelcontextprotocol/subscriptionId", "traceparent", "io.modelcontextprotocol/task",
        ))  # fmt: skip
        told[key] = _odd(source, *_TOKENS)
        params["_meta"] = told if source.random() < 0.9 else _odd(source)


def _state(source: random.Random, message: Any) -> None:
    params = message.setdefault("params", {})
    if isinstance(params, dict):
        params["requestState"] = _odd(source, "AAAA.BBBB")
        params["inputResponses"] = _odd(source, {"roots": {"roots": [{"uri": "file:///etc"}]}})


def _cursor(source: random.Random, message: Any) -> None:
    params = message.setdefault("params", {})
    if isinstance(params, dict):
        target = params["arguments"] if isinstance(params.get("arguments"), dict) else params
        target["cursor"] = _odd(source, "e30", "W10", "bnVsbA==", "WzFlMzA5XQ", "[" * 3_000)


def _flip(source: random.Random, data: bytes) -> bytes:
    spoiled = bytearray(data)
    for _ in range(source.choice((1, 1, 2, 8))):
        if spoiled:
            spoiled[source.randrange(len(spoiled))] ^= 1 << source.randrange(8)
    return bytes(spoiled)


def _cut(source: random.Random, data: bytes) -> bytes:
    return data[: source.randrange(len(data) + 1)]


def _twice(source: random.Random, data: bytes) -> bytes:
    middle = source.randrange(len(data) + 1)
    return source.choice((data + data, data[:middle] + data, data[middle:] + data[:middle]))


def _batch(source: random.Random, data: bytes) -> bytes:
    return b"[" + b",".join([data] * source.choice((0, 1, 2, 50))) + b"]"


def _noise(source: random.Random, data: bytes) -> bytes:
    middle = source.randrange(len(data) + 1)
    spoiler = source.choice((
        b"\0", b"\r", b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\\ud800",
        b"\x1b[2J",
        b"\\u0000", b"NaN", b"1e999", b"-", b"[" * 100, b"[" * 20_000, b'{"a":' * 5_000, b"9" * 6_000, b" " * 5_000,
        source.randbytes(40),
    ))  # fmt: skip
    return data[:middle] + spoiler + data[middle:]


def _rubbish(source: random.Random, data: bytes) -> bytes:
    return source.choice((
        b"", b"   ", b"null", b"0", b'""', b"{}", b"[]", b"{", source.randbytes(source.randrange(1, 300)),
        data.decode(errors="replace").encode("utf-16"), b"x" * 100_000, b"Content-Length: 5\r\n\r\n", b"\r",
        b"GET / HTTP/1.1\r", b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}',
        b'{"jsonrpc":"2.0","method":"ping","id":null}',
    ))  # fmt: skip


def _number(source: random.Random, data: bytes) -> bytes:
    """Put another number, as it is written, where one stands."""
    digits = [place for place, one in enumerate(data) if 48 <= one <= 57]
    if not digits:
        return data
    place = source.choice(digits)
    written = source.choice(
        (b"1e400", b"-0", b"1E5", b"00", b"0x10", b"1_0", b"9" * 400, b"1." + b"0" * 400, b"NaN", b"-Infinity")
    )
    return data[:place] + written + data[place + 1 :]


_ON_VALUES: tuple[Callable[[random.Random, Any], None], ...] = (
    _odd_value, _odd_argument, _odd_argument, _without, _more, _nested_text, _odd_type, _meta, _state, _cursor,
)  # fmt: skip
_ON_BYTES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _flip, _flip, _cut, _twice, _batch, _noise, _noise, _rubbish, _number,
)  # fmt: skip
