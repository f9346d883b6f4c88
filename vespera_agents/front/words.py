"""The words of `vespera serve`, as far as they can be read without a library: options with values, and two flags.

What is written any other way is not understood here and goes the long way, through the command line's own library,
which says what is wrong with it. Neighbours: `__main__` starts the first worker by these; `serving.wishes` makes of
them what shall be served.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["HTTP_VARIABLE", "IN_PROCESS", "LOG_FORMAT", "NO_SPARE", "quick_words", "read_words"]

LOG_FORMAT: Final = "--log-format"
"""How everything that is said is written; the front says things, too."""
OPTIONS: Final = (
    "--workspace",
    "--metrics",
    "--tools",
    "--http",
    "--token-file",
    "--tls-cert",
    "--tls-key",
    "--allowed-host",
    "--lease-minutes",
    LOG_FORMAT,
    "--log-level",
)
"""Each takes a value."""
REPEATED: Final = "--allowed-host"
"""The one that may be given several times."""
HTTP_VARIABLE: Final = "VESPERA_HTTP"
"""The environment variable in which a worker that serves HTTP finds what it must know of its front's address."""
IN_PROCESS: Final = "--in-process"
"""Serve without a front."""
NO_SPARE: Final = "--no-spare"
"""Have no process that waits for the worker's death."""
_QUICK: Final = frozenset({"--workspace", "--metrics", "--tools", NO_SPARE})
"""What any value will do for, as far as a front is concerned; a worker says what is wrong with it."""


def read_words(words: Sequence[str]) -> dict[str, list[str]] | None:
    """Give the options of a plain `serve` with their values, a flag with none; None if it is not plain."""
    if not words or words[0] != "serve":
        return None
    given: dict[str, list[str]] = {}
    rest = iter(words[1:])
    for word in rest:
        if word in {IN_PROCESS, NO_SPARE}:
            given[word] = []
            continue
        name, equals, value = word.partition("=")
        text = value if equals else next(rest, "")
        repeated = name in given and name != REPEATED
        if name not in OPTIONS or repeated or not text or text.startswith("-"):
            return None
        given.setdefault(name, []).append(text)
    return given


def quick_words(words: Sequence[str]) -> list[str] | None:
    """Give the words of a worker, if nothing is left to check but what a worker checks; None sends them on."""
    given = read_words(words)
    if given is None or not _QUICK.issuperset(given):
        return None
    return worker_words(given)


def worker_words(given: Mapping[str, Sequence[str]]) -> list[str]:
    """Give the words for a worker."""
    return [f"{name}={value}" for name, values in given.items() for value in values]
