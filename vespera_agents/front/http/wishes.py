"""What a program is asked to serve over HTTP: pure values.

The command line makes them, `listening` and `tokens` check them. Nothing here imports what serves.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

__all__ = ["HttpWish"]


@final
@dataclass(frozen=True, slots=True)
class HttpWish:
    """Where to serve, and for whom."""

    address: str
    """HOST:PORT; port 0 takes a free one."""
    token_file: Path | None = None
    """Who may come in; required where others than this machine's users can connect."""
    tls_cert: Path | None = None
    """PEM file with the certificate and its chain."""
    tls_key: Path | None = None
    """PEM file with its key."""
    allowed_hosts: tuple[str, ...] = ()
    """Names under which clients reach the address, beside the one that it names itself."""
