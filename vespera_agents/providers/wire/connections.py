"""HTTP clients for the vendors' libraries, which put the key onto a request at the last moment.

The libraries are given a placeholder for the key, so that none of their objects, errors and logs can hold it; a request
gets the real one when it is sent, and only if it goes to the configured address. The limits of silence are set in the
same place, because each library has others. Neighbours: `vendors` gives these to the libraries.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, final
from urllib.parse import urlsplit

from vespera_agents.providers.errors import NotConfigured
from vespera_agents.providers.settings import Kind, ProviderSettings

if TYPE_CHECKING:
    import httpx
    import httpx2

__all__ = ["PLACEHOLDER", "KeyBearer", "is_loopback", "open_client", "open_older_client", "responses_kept"]

PLACEHOLDER: Final = "added-when-sent"
"""What the libraries get for a key."""
_KEY_HEADERS: Final = {Kind.ANTHROPIC: ("x-api-key", ""), Kind.GOOGLE: ("x-goog-api-key", "")}
_DEFAULT_KEY_HEADER: Final = ("authorization", "Bearer ")
_FOREIGN_HEADERS: Final = frozenset({b"authorization", b"x-api-key", b"x-goog-api-key"})
"""A library may have taken one of these from the environment, for another address."""
_OWN_HEADERS: Final = frozenset({b"openai-organization", b"openai-project"})
"""Of the owner's account at OpenAI, which nobody else needs to know."""
_KEPT: ContextVar[list[httpx.Response | httpx2.Response] | None] = ContextVar("_KEPT", default=None)
_PORTS: Final = {"http": 80, "https": 443}


@final
class KeyBearer:
    """What is done with each request of one provider before it leaves, and with the head of its response."""

    __slots__ = ("_header", "_origin", "_prefix", "_settings", "_timeouts", "_unwanted")

    def __init__(self, settings: ProviderSettings) -> None:
        address = settings.address
        assert address is not None, "an address is checked before"
        parts = urlsplit(address)
        self._settings = settings
        self._origin = (parts.scheme, (parts.hostname or "").strip("[]"), parts.port or _PORTS.get(parts.scheme))
        self._header, self._prefix = _KEY_HEADERS.get(settings.kind, _DEFAULT_KEY_HEADER)
        at_home = settings.kind in {Kind.OPENAI, Kind.OPENAI_RESPONSES}
        unwanted = _FOREIGN_HEADERS if at_home else _FOREIGN_HEADERS | _OWN_HEADERS
        # What is set is not taken off before.
        self._unwanted = unwanted - {self._header.encode()} if settings.key is not None else unwanted
        silence_seconds = settings.first_byte_timeout_seconds
        self._timeouts = {
            "connect": settings.connect_timeout_seconds,
            "read": silence_seconds,
            "write": silence_seconds,
            "pool": settings.connect_timeout_seconds,
        }

    async def __call__(self, request: httpx.Request | httpx2.Request) -> None:
        """Put the key and the limits of silence onto a request.

        Raises:
            NotConfigured: there is no key, or the request would go elsewhere.
        """
        url, settings = request.url, self._settings
        if (url.scheme, url.host.strip("[]"), url.port or _PORTS.get(url.scheme)) != self._origin:
            what = "a request would have gone to another address than the configured one"
            raise NotConfigured(settings.name, what, "Set base_url to the address itself, not to one that redirects")
        # Looking for each of them by its name in the client's headers would take four times as long as this.
        for name in self._unwanted & {name.lower() for name, _ in request.headers.raw}:
            del request.headers[name.decode()]
        if settings.key is not None:
            request.headers[self._header] = self._prefix + settings.key.read(settings.name)
        request.extensions["timeout"] = dict(self._timeouts)

    async def begun(self, response: httpx.Response | httpx2.Response) -> None:
        """Look at a response of which only the head has come.

        Raises:
            NotConfigured: it sends the request on to somewhere else.
        """
        if response.has_redirect_location:
            what = "it sends requests on to another address"
            raise NotConfigured(self._settings.name, what, "Set base_url to the address itself")
        if (kept := _KEPT.get()) is not None:
            kept.append(response)


@contextmanager
def responses_kept() -> Generator[list[httpx.Response | httpx2.Response]]:
    """Collect the responses that begin within the block, in this task, so that they can be closed.

    What a library hands out to read from may be a generator of generators; leaving the outermost closes no connection.
    """
    kept: list[httpx.Response | httpx2.Response] = []
    token = _KEPT.set(kept)
    try:
        yield kept
    finally:
        _KEPT.reset(token)


def is_loopback(address: str) -> bool:
    """Whether an address is this machine."""
    host = urlsplit(address).hostname or ""
    return host in {"localhost", "::1"} or host.startswith("127.")


def open_client(settings: ProviderSettings) -> httpx2.AsyncClient:
    """Open the client that most libraries take."""
    import httpx2  # noqa: PLC0415 - only who asks a provider pays for the import

    timeout = httpx2.Timeout(settings.first_byte_timeout_seconds, connect=settings.connect_timeout_seconds)
    bearer = KeyBearer(settings)
    hooks = {"request": [bearer], "response": [bearer.begun]}
    return httpx2.AsyncClient(
        verify=_is_secure(settings), timeout=timeout, trust_env=_asks_proxies(settings), event_hooks=hooks
    )


def open_older_client(settings: ProviderSettings) -> httpx.AsyncClient:
    """Open the client that the libraries of Groq and Cohere take."""
    import httpx  # noqa: PLC0415 - as above

    timeout = httpx.Timeout(settings.first_byte_timeout_seconds, connect=settings.connect_timeout_seconds)
    bearer = KeyBearer(settings)
    hooks = {"request": [bearer], "response": [bearer.begun]}
    return httpx.AsyncClient(
        verify=_is_secure(settings), timeout=timeout, trust_env=_asks_proxies(settings), event_hooks=hooks
    )


def _is_secure(settings: ProviderSettings) -> bool:
    """Whether certificates are needed: reading them takes 30 ms, and a request cannot leave for another address."""
    return not (settings.address or "").startswith("http:")


def _asks_proxies(settings: ProviderSettings) -> bool:
    """Whether the environment may name a proxy: never for this machine, where a proxy would find another one."""
    return not is_loopback(settings.address or "")
