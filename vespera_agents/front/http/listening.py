"""The socket that clients connect to, opened before the tree is built, and what follows from its address.

It outlives the door: a door restarted by its supervisor goes on accepting. Not here: what happens to a connection
(`door`) and to a request (`entrance`). Neighbours: `wishes` says what is asked for.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from vespera_agents.front.http.entrance import ENDPOINT, Entrance, Hosts, host_of
from vespera_agents.front.http.errors import AddressRefused, CertificateRefused
from vespera_agents.front.http.tokens import read_tokens
from vespera_agents.front.http.wishes import HttpWish

__all__ = ["FULL", "Listening", "allow_descriptors", "listen"]

BACKLOG: Final = 512
"""Connections that the system keeps for us while we are busy; 50 clients may come at once."""
_WORDS: Final = (
    b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"too many connections are open. Try again."}}'
)
FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(_WORDS), _WORDS)
)
"""What a connection hears that is one too many."""
DESCRIPTORS: Final = 4_096
"""Each request under way has a connection to its client and one to the worker; often only 1,024 files may be open."""
LOOPBACK: Final = "127.0.0.1"
_PORT_MAX: Final = 65_535
_ADVICE: Final = f"Write HOST:PORT, for example {LOOPBACK}:8765 or [::1]:8765; port 0 takes a free one."


@final
@dataclass(frozen=True, slots=True)
class Listening:
    """An address that is listened on."""

    socket: socket.socket
    """The listening socket."""
    url: str
    """Where clients find the endpoint."""
    entrance: Entrance | None
    """What a request passes before its body is read; None where a front has asked already."""
    tls: ssl.SSLContext | None
    """With what connections are encrypted."""
    private: str | None = None
    """The path of the socket where only a front connects, which says whom it stands for; None where clients do."""


@contextmanager
def listen(wish: HttpWish) -> Generator[Listening]:
    """Listen as wished while the block lasts.

    Raises:
        AddressRefused: the address is none, is taken, or open to others without a token.
        TokenFileRefused: the tokens cannot be used.
        CertificateRefused: the certificate cannot be used.
    """
    host, port = _parse(wish.address)
    tokens = None if wish.token_file is None else read_tokens(wish.token_file)
    tls = _tls(wish.tls_cert, wish.tls_key)
    family, address = _resolve(host, port)
    loopback = ipaddress.ip_address(address[0].partition("%")[0]).is_loopback
    if tokens is None and not loopback:
        raise AddressRefused(
            f"{wish.address} can be reached from other machines, and no token is asked for. "
            f"Give --token-file FILE, or serve on {LOOPBACK} or [::1]."
        )
    with _bind(family, address, wish.address) as bound:
        bound.listen(BACKLOG)
        bound.setblocking(False)
        number = int(bound.getsockname()[1])
        shown = f"[{host}]" if ":" in host else host
        url = f"{'http' if tls is None else 'https'}://{shown}:{number}{ENDPOINT}"
        names = {host_of(one.lower()) for one in wish.allowed_hosts} | {host.lower()}
        if loopback:
            names.add("localhost")
        yield Listening(bound, url, Entrance(Hosts(loopback, frozenset(names)), tokens), tls)


def allow_descriptors() -> None:
    """Let this process, and what it starts, have as many open files as its connections at both sides may need."""
    # Only where there is a front, which is where there is such a limit.
    import resource  # noqa: PLC0415

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _parse(text: str) -> tuple[str, int]:
    """Read HOST:PORT; an empty host is loopback, an IPv6 host stands in brackets."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\s:/\[\]]*)):([0-9]{1,5})", text.strip(), re.ASCII)
    if found is None or int(found[3]) > _PORT_MAX:
        raise AddressRefused(f"{text!r} is not an address. {_ADVICE}")
    return found[1] or found[2] or LOOPBACK, int(found[3])


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise AddressRefused(f"{host!r} is not known as an address of this machine: {error}. {_ADVICE}") from error
    family, _, _, _, address = found[0]
    return family, (str(address[0]), port)


@contextmanager
def _bind(family: socket.AddressFamily, address: tuple[str, int], shown: str) -> Generator[socket.socket]:
    # With the protocol named: trio takes TCP_NODELAY for meaningless on a socket without it, and a call takes 44 ms.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            bound.bind(address)
        except OSError as error:
            reason = error.strerror or str(error)
            raise AddressRefused(
                f"{shown} cannot be listened on: {reason}. Free it, or give another HOST:PORT; port 0 takes a free one."
            ) from error
        yield bound


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise CertificateRefused(
            "a certificate needs its key and a key its certificate. Give --tls-cert and --tls-key."
        )
    for path in (certificate, key):
        if not path.is_file():
            raise CertificateRefused(f"{path} is not a file. Give PEM files in --tls-cert and --tls-key.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # An encrypted key would ask the terminal for its password; there is none here.
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        raise CertificateRefused(
            f"{certificate} and {key} cannot be used: {error}. "
            "Give a certificate and its own key as PEM files, the key without a password."
        ) from error
    return context


def _no_password() -> str:
    raise ValueError("the key has a password")
