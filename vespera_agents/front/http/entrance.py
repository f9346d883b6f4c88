"""What a request must show before its body is read: path, host, where its page comes from, whose token it bears.

Only its head is looked at, so strangers fill no room. The front asks, and a server without one; a worker behind a front
is told who came. Neighbours: `tokens` knows the tokens, `passes` what browsers have instead; `connection` and the guard
of `transports.http` ask.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, final

from vespera_agents.front.http.passes import (
    ENTER,
    FORM_BYTES_MAX,
    OBSERVER,
    Entered,
    Passes,
    sign_in_page,
    token_of,
    word_of,
)
from vespera_agents.front.http.refusals import Refused
from vespera_agents.front.http.tokens import Tokens

__all__ = ["ENDPOINT", "HEALTHZ", "LIVEZ", "METRICS", "PROBES", "READYZ", "Entrance", "Hosts", "host_of"]

ENDPOINT: Final = "/mcp"
LIVEZ: Final = "/livez"
READYZ: Final = "/readyz"
HEALTHZ: Final = "/healthz"
METRICS: Final = "/metrics"
PROBES: Final = frozenset({LIVEZ, READYZ})
"""What a load balancer asks, which has no token: the answers name nobody and nothing."""
_STRANGERS: Final = frozenset({ENTER, *PROBES})
"""What may be asked for without a token."""
_OPENED: Final = frozenset({OBSERVER, f"{OBSERVER}/", ENTER})
"""What a link on any page may open."""
_ASK_AGAIN: Final = "An address lets one browser in, once. Open the one that was printed last."
_UNKEPT: Final = ((b"cache-control", b"no-store"), (b"referrer-policy", b"no-referrer"))
_PAGES: Final = frozenset({ENDPOINT, HEALTHZ, METRICS, *PROBES})


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
    passes: Passes = field(default_factory=Passes)
    """What browsers have instead of a token, which they cannot send."""

    def principal(self, path: str, headers: Mapping[bytes, str]) -> str | None:
        """Let a request in, and say whose token it bears; None where none is asked for.

        Args:
            path: what it is for, without a query.
            headers: by name in small letters.

        Raises:
            Refused: it may not come in.
        """
        observed = path == OBSERVER or path.startswith(f"{OBSERVER}/")
        if not observed and path.removesuffix("/") not in _PAGES:
            raise Refused(404, f"there is nothing here. The MCP endpoint is {ENDPOINT}.")
        if not self.hosts.serves(headers.get(b"host")):
            raise Refused(
                421,
                "the Host header names another server. Use the address that `vespera serve` printed, "
                "or allow the name with --allowed-host.",
            )
        if not self.hosts.trusts(headers.get(b"origin")):
            raise Refused(403, "pages of this origin may not call. Allow its host with --allowed-host.")
        if observed:
            return self._watcher(path, headers)
        if self.tokens is None or path in PROBES:
            return None
        principal = self.tokens.principal(headers.get(b"authorization"))
        if principal is None:
            raise Refused(
                401,
                "a bearer token is needed. Send `Authorization: Bearer TOKEN` with one from the token file.",
                (b"www-authenticate", b'Bearer realm="vespera"'),
            )
        return principal

    def body_bytes_max(self, path: str, usual: int) -> int:
        """Give how long a body may be: where no token is asked for, a form fits and hardly more.

        Args:
            path: what the request is for, without a query.
            usual: for whoever has shown who it is.
        """
        return min(usual, FORM_BYTES_MAX) if path in _STRANGERS else usual

    def enter(self, method: str, target: str, body: bytes, *, encrypted: bool) -> Entered | None:
        """Answer a browser that was let in to show who it is; None for any other request.

        Args:
            method: of the request.
            target: its path, and its query.
            body: what came with it.
            encrypted: whether its connection is.
        """
        path, _, query = target.partition("?")
        if path != ENTER:
            return None
        principal: str | None = None
        if self.tokens is None:
            return Entered(303, ((b"location", f"{OBSERVER}/".encode()), *_UNKEPT))
        if method == "POST":
            principal = self.tokens.principal(f"Bearer {token_of(body)}")
        elif word := word_of(query):
            principal = self.passes.redeem(word)
        elif method in {"GET", "HEAD"}:
            return sign_in_page(words="" if self.tokens.count else _ASK_AGAIN, asks=bool(self.tokens.count))
        if principal is None:
            words = "That is no token of this server." if method == "POST" else _ASK_AGAIN
            return sign_in_page(401, words, asks=bool(self.tokens.count))
        cookie = self.passes.cookie(principal, encrypted=encrypted)
        return Entered(303, ((b"location", f"{OBSERVER}/".encode()), (b"set-cookie", cookie), *_UNKEPT))

    def _watcher(self, path: str, headers: Mapping[bytes, str]) -> str | None:
        """Let in who watches: only pages of ours, and in what else is no browser; see `principal`."""
        origin = headers.get(b"origin")
        if origin is not None and origin.partition("://")[2].lower() != headers.get(b"host", "").lower():
            raise Refused(403, "only its own page may ask the observer.")
        opens = headers.get(b"sec-fetch-mode") == "navigate" and headers.get(b"sec-fetch-dest") == "document"
        foreign = headers.get(b"sec-fetch-site", "none") not in {"none", "same-origin"}
        if foreign and not (opens and path in _OPENED):
            raise Refused(403, "only its own page may ask the observer.")
        if self.tokens is None or path == ENTER:
            return None
        principal = self.tokens.principal(headers.get(b"authorization")) or self.passes.principal(
            headers.get(b"cookie")
        )
        if principal is None:
            if opens or "text/html" in headers.get(b"accept", ""):
                raise Refused(303, f"a token is needed: open {ENTER}.", (b"location", ENTER.encode()))
            raise Refused(
                401,
                f"a token is needed. Send `Authorization: Bearer TOKEN`, or open {ENTER} in a browser.",
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
