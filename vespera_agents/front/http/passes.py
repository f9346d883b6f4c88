"""How a browser comes in that can show no bearer token: it shows one once, and gets a cookie for the observer's pages.

A browser sends no Authorization header when it opens a page. So `/observer/enter` takes a token from a form, or a word
that is good for one use out of an address that we printed ourselves, and answers with a cookie that scripts cannot read
and other sites cannot send. The cookie says whose it is and until when, under a seal of this process: nothing is kept
for it, and it is worth nothing after the end of the process. Neighbours: `entrance` looks at it, `tokens` knows tokens.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final
from urllib.parse import parse_qs

__all__ = ["ENTER", "FORM_BYTES_MAX", "OBSERVER", "Entered", "Passes", "sign_in_page"]

OBSERVER: Final = "/observer"
ENTER: Final = f"{OBSERVER}/enter"
COOKIE_SECONDS: Final = 12 * 3_600
ONCE_SECONDS: Final = 600.0
ONCE_MAX: Final = 100
"""Words for one use that are good at once."""
FORM_BYTES_MAX: Final = 4_096
"""Of a body from somebody who has not shown a token yet."""

Headers = tuple[tuple[bytes, bytes], ...]

POLICY: Final = b"default-src 'none'; style-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
_HEADERS: Final[Headers] = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", POLICY),
    # Not "no-referrer": with that a browser sends the form with the origin "null", which may not call.
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
)


_FORM: Final = (
    f'<form method="post" action="{ENTER}"><p><label>A token from the token file of the server:<br>'
    '<input type="password" name="token" autocomplete="off" required autofocus></label></p>'
    "<p><button>Open</button></p></form>"
)


@final
@dataclass(frozen=True, slots=True)
class Entered:
    """What is answered who wants to come in."""

    status: int
    headers: Headers
    body: bytes = b""


@final
class Passes:
    """What this process gave out to browsers."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        """Begin with none; `clock` gives seconds since the epoch."""
        self._clock = clock
        self._seal = os.urandom(32)
        # The name is another one for each process: cookies are the same for all ports of a host.
        self._name = f"vespera_observer_{secrets.token_hex(4)}"
        self._once: dict[bytes, tuple[str, float]] = {}

    def once(self, principal: str) -> str:
        """Give a word that lets whoever shows it come in as `principal`, once and within ten minutes."""
        word = secrets.token_urlsafe(32)
        while len(self._once) >= ONCE_MAX:
            del self._once[next(iter(self._once))]
        self._once[_hash(word)] = (principal, self._clock() + ONCE_SECONDS)
        return word

    def redeem(self, word: str) -> str | None:
        """Say who comes in with a word; it is good for nothing afterwards."""
        principal, until = self._once.pop(_hash(word), ("", 0.0))
        return principal if until > self._clock() else None

    def cookie(self, principal: str, *, encrypted: bool) -> bytes:
        """Give the value of a Set-Cookie header for somebody.

        Args:
            principal: who.
            encrypted: whether the connection is; then the cookie is sent over no other.
        """
        about = f"{principal}.{int(self._clock()) + COOKIE_SECONDS}"
        cookie = (
            f"{self._name}={about}.{self._sealed(about)}; Path={OBSERVER}; Max-Age={COOKIE_SECONDS}; "
            f"HttpOnly; SameSite=Strict{'; Secure' if encrypted else ''}"
        )
        return cookie.encode("ascii", "replace")

    def principal(self, cookies: str | None) -> str | None:
        """Say whose cookie is among those of a request; None is nobody's."""
        for cookie in (cookies or "").split(";"):
            name, _, value = cookie.strip().partition("=")
            if name != self._name:
                continue
            about, _, seal = value.rpartition(".")
            principal, _, until = about.rpartition(".")
            if hmac.compare_digest(seal.encode("utf-8", "replace"), self._sealed(about).encode()):
                return principal if int(until) > self._clock() else None
        return None

    def _sealed(self, about: str) -> str:
        return hmac.new(self._seal, about.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def sign_in_page(status: int = 200, words: str = "", *, asks: bool = True) -> Entered:
    """Give the page of who may not come in yet.

    Args:
        status: of the answer.
        words: what was wrong.
        asks: whether a token would help.
    """
    said = f"<p role=alert>{html.escape(words)}</p>" if words else ""
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Vespera observer</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<main><h1>Vespera observer</h1>{said}"
        f"{_FORM if asks else ''}"
        f'<p><a href="{OBSERVER}/">I have been here before</a></p></main></html>'
    )
    return Entered(status, _HEADERS, page.encode())


def token_of(body: bytes) -> str:
    """Give the token that a form brings; empty where it brings none."""
    return _one(body.decode("utf-8", "replace"), "token")


def word_of(query: str) -> str:
    """Give the word for one use that an address brings; empty where it brings none."""
    return _one(query, "once")


def _one(text: str, name: str) -> str:
    try:
        return parse_qs(text, max_num_fields=4).get(name, [""])[0]
    except ValueError:
        return ""


def _hash(word: str) -> bytes:
    return hashlib.sha256(word.encode("utf-8", "replace")).digest()
