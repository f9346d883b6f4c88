"""What `vespera serve` was asked for, read from its words without a library: a client waits while this starts.

Whatever these few lines do not understand, `--help` and mistakes included, is nobody's wish here; the commands of the
command line say what is wrong with it. Neighbours: `cli.serving` serves in this process, `worker` behind a front.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar, final

from vespera_agents.front.http.wishes import HttpWish
from vespera_agents.front.words import HTTP_VARIABLE, IN_PROCESS, LOG_FORMAT, NO_SPARE, REPEATED, read_words
from vespera_agents.serving.postponed import postpone

__all__ = ["GC_THRESHOLDS", "LEASE_MINUTES", "LOG_FORMATS", "LOG_LEVELS", "ServeWish", "imported", "plain_serve"]

T = TypeVar("T")

_ONLY_HTTP: Final = ("--token-file", "--tls-cert", "--tls-key", REPEATED)
LEASE_MINUTES: Final = (0.01, 10_080.0)
"""The shortest and the longest lease."""
LOG_FORMATS: Final = ("console", "json")
LOG_LEVELS: Final = ("info", "warning", "error")
GC_THRESHOLDS: Final = (20_000, 20, 50)
"""What `gc.set_threshold` takes: 20,000 new objects, some megabytes, between two collections of the youngest ones.
A call makes some hundreds, nearly none of which only a collection would find; with the default of 700 nearly every call
paid for one."""


@final
@dataclass(frozen=True, slots=True)
class ServeWish:
    """What to serve."""

    workspace: Path
    metrics: str | None = None
    """HOST:PORT."""
    tools: str = "core"
    """`core`, `full`, or names between commas."""
    http: HttpWish | None = None
    """Serve HTTP instead of standard input and output."""
    lease_minutes: float = 60.0
    """How long one of several clients that is not heard of keeps its claims."""
    behind: str | None = field(default=None, kw_only=True)
    """Of a worker that serves HTTP: what it must know of its front's address."""
    in_process: bool = field(default=False, kw_only=True)
    """Whether to serve without a front."""
    spare: bool = field(default=True, kw_only=True)
    """Whether a process waits for the worker's death."""
    log_format: str = field(default="console", kw_only=True)
    """How the log is written: one of `LOG_FORMATS`."""
    log_level: str = field(default="warning", kw_only=True)
    """From which of `LOG_LEVELS` on."""

    def told(self, environment: MutableMapping[str, str]) -> ServeWish:
        """Add what a front says in the environment, and take it out: it is for nobody whom the worker starts."""
        return replace(self, behind=environment.pop(HTTP_VARIABLE, None))

    def words(self) -> list[str]:
        """Give the words that a worker behind a front reads it from."""
        words = [f"--workspace={self.workspace}", f"--tools={self.tools}", f"--lease-minutes={self.lease_minutes!r}"]
        words += [f"{LOG_FORMAT}={self.log_format}", f"--log-level={self.log_level}"]
        return words if self.metrics is None else [*words, f"--metrics={self.metrics}"]


def plain_serve(words: Sequence[str]) -> ServeWish | None:
    """Read the arguments of the process when they are a plain `serve`; None sends them the long way."""
    given = read_words(words)
    if given is None:
        return None
    first = {name: values[0] for name, values in given.items() if values}
    address = first.get("--http")
    if address is None and any(name in given for name in _ONLY_HTTP):
        return None
    try:
        minutes = float(first.get("--lease-minutes", "60"))
    except ValueError:
        return None
    if not LEASE_MINUTES[0] <= minutes <= LEASE_MINUTES[1]:
        return None
    log_format, log_level = first.get(LOG_FORMAT, LOG_FORMATS[0]), first.get("--log-level", "warning")
    if log_format not in LOG_FORMATS or log_level not in LOG_LEVELS:
        return None
    certificate, key, tokens = (_path(first.get(name)) for name in ("--tls-cert", "--tls-key", "--token-file"))
    http = None if address is None else HttpWish(address, tokens, certificate, key, tuple(given.get(REPEATED, ())))
    return ServeWish(
        Path(first.get("--workspace", ".")),
        first.get("--metrics"),
        first.get("--tools", "core"),
        http,
        minutes,
        in_process=IN_PROCESS in given,
        spare=NO_SPARE not in given,
        log_format=log_format,
        log_level=log_level,
    )


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def imported(load: Callable[[], T]) -> T:
    """Import what serves, and give what was imported; from then on garbage is looked for as a server can afford it."""
    # What is imported stays for ever: looking through it for garbage, now and later, took a tenth of the start.
    gc.disable()
    postpone("mcp")
    postpone("mcp.server")
    loaded = load()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()
    return loaded
