"""Who may come in: a file of bearer tokens, and whose token a request bears.

One token on a line, `NAME:TOKEN` where principals differ; empty lines and lines that begin with `#` are left out. The
file is the owner's alone. Tokens are kept as hashes and compared in constant time; they are never logged nor shown.
Read once, at the start. Neighbours: `guard` asks for each request.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
from pathlib import Path
from typing import Final, final

from vespera_agents.front.http.errors import TokenFileRefused

__all__ = ["TOKEN_LETTERS_MIN", "Tokens", "read_tokens"]

TOKEN_LETTERS_MIN: Final = 16
"""Shorter tokens can be guessed."""
FILE_BYTES_MAX: Final = 1 << 20
TOKENS_MAX: Final = 1_000
DEFAULT_PRINCIPAL: Final = "token"
"""Whose a token without a name is."""
_LINE: Final = re.compile(r"(?:([A-Za-z0-9_.@-]{1,60}):)?([A-Za-z0-9._~+/-]+=*)", re.ASCII)
"""A token is what RFC 6750 lets a header carry."""
_ADVICE: Final = "Write one token on a line, or NAME:TOKEN, for example `head -c 32 /dev/urandom | base64`."


@final
class Tokens:
    """The tokens that open the door."""

    def __init__(self, principals: dict[bytes, str]) -> None:
        """Take principals by the hash of their token."""
        self._principals = tuple(principals.items())

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._principals)

    def principal(self, authorization: str | None) -> str | None:
        """Say whose token an Authorization header bears; None is nobody's."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        given = _hash(token.strip())
        found: str | None = None
        # All of them, so that the time does not tell which was nearly right.
        for known, name in self._principals:
            if hmac.compare_digest(known, given):
                found = name
        return found


def read_tokens(path: Path) -> Tokens:
    """Read the file of tokens.

    Raises:
        TokenFileRefused: it is missing, no regular file, not its owner's alone, or not well-formed.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise TokenFileRefused(f"the token file {path} cannot be read: {error.strerror}. {_ADVICE}") from error
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise TokenFileRefused(f"the token file {path} is not a regular file. {_ADVICE}")
        if about.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or about.st_uid not in {os.geteuid(), 0}:
            raise TokenFileRefused(
                f"the token file {path} can be read or changed by others. Make it yours alone: chmod 600 {path}"
            )
        data = os.read(descriptor, FILE_BYTES_MAX + 1)
    finally:
        os.close(descriptor)
    if len(data) > FILE_BYTES_MAX:
        raise TokenFileRefused(f"the token file {path} has more than {FILE_BYTES_MAX} bytes. {_ADVICE}")
    return Tokens(_parse(path, data.decode("utf-8", "replace")))


def _parse(path: Path, text: str) -> dict[bytes, str]:
    principals: dict[bytes, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        found = _LINE.fullmatch(entry)
        if found is None or len(found[2]) < TOKEN_LETTERS_MIN:
            # Without the line itself: it may be a token.
            raise TokenFileRefused(
                f"line {number} of the token file {path} is no token of at least {TOKEN_LETTERS_MIN} letters. {_ADVICE}"
            )
        principals[_hash(found[2])] = found[1] or DEFAULT_PRINCIPAL
    if not 0 < len(principals) <= TOKENS_MAX:
        raise TokenFileRefused(f"the token file {path} has {len(principals)} tokens, not 1 to {TOKENS_MAX}. {_ADVICE}")
    return principals


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
