"""What can be wrong with the wish to serve HTTP; each message says what to do next.

HttpError
├── AddressRefused        no HOST:PORT, not bindable, or open to others without a token
├── TokenFileRefused      the file with the tokens cannot be used
└── CertificateRefused    the certificate or its key cannot be used
"""

from __future__ import annotations

from typing import final

__all__ = ["AddressRefused", "CertificateRefused", "HttpError", "TokenFileRefused"]


class HttpError(Exception):
    """HTTP cannot be served as wished."""


@final
class AddressRefused(HttpError):
    """The address is none, is taken, or must not be opened like this."""


@final
class TokenFileRefused(HttpError):
    """The file with the tokens is missing, readable by others, or not well-formed."""


@final
class CertificateRefused(HttpError):
    """The certificate or its key is missing, or they do not belong together."""
