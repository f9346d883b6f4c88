"""Who sent a request, and over which connection: what a transport knows of the other side.

The HTTP door puts an Identity into the scope of each request, the link gives it as the request itself; one without
came over standard input and output, or in this process. Not what a client calls itself: that is only a name, and
anybody may use it. Neighbours: `callers` makes command keys of it, `fairness` keeps clients apart by it.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Final, Literal, cast, final

from mcp.server.context import ServerRequestContext

__all__ = ["LOCAL", "Identity", "identity_of", "identity_of_scope", "put_identity"]

_SCOPE_KEY: Final = "vespera.identity"


@final
@dataclass(frozen=True, slots=True)
class Identity:
    """The other side of a request, as far as its transport knows it."""

    principal: str | None
    """Whose token the request bore; None where no token is asked for."""
    connection: str | None
    """The id of its session with the server, where the transport has sessions: HTTP before 2026-07-28."""
    transport: Literal["stdio", "http"]
    """How it came."""
    sequence: str | None = field(default=None, compare=False)
    """The number that the front gave the request; None without a front."""
    repeated: bool = field(default=False, compare=False)
    """Whether an earlier worker may have begun it."""


LOCAL: Final = Identity(None, None, "stdio")
"""The one client at the other end of a pipe."""


def identity_of(ctx: ServerRequestContext[dict[str, object]]) -> Identity:
    """Say who sent a request."""
    request = cast("object", ctx.request)
    if isinstance(request, Identity):
        return request
    return LOCAL if request is None else identity_of_scope(getattr(request, "scope", {}))


def identity_of_scope(scope: MutableMapping[str, object]) -> Identity:
    """Say whose an HTTP exchange is."""
    found = scope.get(_SCOPE_KEY)
    return found if isinstance(found, Identity) else LOCAL


def put_identity(scope: MutableMapping[str, object], identity: Identity) -> None:
    """Let the requests of an HTTP exchange be those of an identity."""
    scope[_SCOPE_KEY] = identity
