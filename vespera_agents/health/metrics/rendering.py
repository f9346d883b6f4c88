"""From a registry to the text that a scraper takes, in the format that it asks for.

For every way to the metrics that is not prometheus_client's own application: the HTTP door, and the control socket.
Called in a thread, never in the event loop. Neighbours: `endpoint` serves the same from a thread of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast, final

from prometheus_client import CollectorRegistry, exposition

__all__ = ["Exposition", "render"]

_Encoder = Callable[[object], bytes]


@final
@dataclass(frozen=True, slots=True)
class Exposition:
    """What a scraper gets."""

    content_type: str
    body: bytes


def render(registry: CollectorRegistry, accept: str = "", names: Sequence[str] = ()) -> Exposition:
    """Scrape.

    Args:
        registry: what is scraped.
        accept: the scraper's Accept header.
        names: families, or series of them, that are wanted; all unless given.
    """
    # By name, because their annotations say less than strict checking takes.
    choose = cast("Callable[[str], tuple[_Encoder, str]]", vars(exposition)["choose_encoder"])
    encode, content_type = choose(accept)
    restricted = cast("Callable[[Sequence[str]], object]", registry.restricted_registry)
    return Exposition(content_type, encode(restricted(names) if names else registry))
