"""What a request must show before its body is read: path, host, where its page comes from, whose token it bears.

Only its head is looked at, so strangers fill no room. The front asks, and a server without one; a worker behind a front
is told who came. Pure. Neighbours: `tokens` knows the tokens, `connection` and the guard of `transports.http` ask.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

from vespera_agents.front.http.refusals import Refused
from vespera_agents.front.http.tokens import Tokens

__all__ = ["ENDPOINT", "Entrance", "Hosts", "host_of"]

ENDPOINT: Final = "/mcp"


@final
@dataclass(frozen=True, slots=True)
class Hosts:
    """The hosts that a request may name, as its own address or as where its page comes from.

    A browser can be made to send requests here by a page whose name was rebound to our address. It names that page's
    host in both headers, so they must be names that we know. An address in numbers cannot be rebound.
    """

    loopback: bool
    """Whether only this machine can connect."""
    names: frozenset[str]
    """Names that are ours, in small letters."""

    def serves(self, host: str | None) -> bool:
        """Say whether a Host header names us, on any port."""
        name = host_of(host or "")
        if name in self.names:
            return True
        address = _numeric(name)
        return address is not None and (address.is_loopback or not self.loopback)

    def trusts(self, origin: str | None) -> bool:
        """Say whether a page of that origin may call; a client that is no browser sends none."""
        if origin is None:
            return True
        scheme, colon, rest = origin.partition("://")
        if not colon or scheme not in {"http", "https"}:
            return False
        name = host_of(rest)
        if name in self.names:
            return True
        address = _numeric(name)
        return address is not None and address.is_loopback and self.loopback


@final
@dataclass(frozen=True, slots=True)
class Entrance:
    """Who may come in."""

    hosts: Hosts
    """Which hosts requests may name."""
    tokens: Tokens | None
    """Whose tokens are asked for; None lets everybody in who can connect."""

    def principal(self, path: str, headers: Mapping[bytes, str]) -> str | None:
        """Let a request in, and say whose token it bears; None where none is asked for.

        Args:
            path: what it is for, without a query.
            headers: by name in small letters.

        Raises:
            Refused: it may not come in.
        """
        if path.removesuffix("/") != ENDPOINT:
            raise Refused(404, f"there is nothing here. The MCP endpoint is {ENDPOINT}.")
        if not self.hosts.serves(headers.get(b"host")):
            raise Refused(
                421,
                "the Host header names another server. Use the address that `vespera serve` printed, "
                "or allow the name with --allowed-host.",
            )
        if not self.hosts.trusts(headers.get(b"origin")):
            raise Refused(403, "pages of this origin may not call. Allow its host with --allowed-host.")
        if self.tokens is None:
            return None
        principal = self.tokens.principal(headers.get(b"authorization"))
        if principal is None:
            raise Refused(
                401,
                "a bearer token is needed. Send `Authorization: Bearer TOKEN` with one from the token file.",
                (b"www-authenticate", b'Bearer realm="vespera"'),
            )
        return principal


def host_of(authority: str) -> str:
    """Give the host of HOST[:PORT] in small letters, an IPv6 address without its brackets; nonsense gives nothing."""
    found = re.fullmatch(r"(?:\[([0-9a-f:.]+)\]|([^\s:/@\[\]]+))(?::[0-9]{1,5})?", authority.lower(), re.ASCII)
    return "" if found is None else found[1] or found[2]


def _numeric(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
