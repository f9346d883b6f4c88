"""From the configuration of one provider to the provider.

Nothing is imported, connected or read here: that comes with the first request. Neighbours: `provider`, `scripted`.
"""

from __future__ import annotations

from typing import Final

from vespera_agents.providers.errors import NotConfigured
from vespera_agents.providers.exchange import Provider
from vespera_agents.providers.scripted import open_scripted
from vespera_agents.providers.settings import PRESETS, Kind, ProviderSettings
from vespera_agents.providers.wire.provider import WireProvider
from vespera_agents.providers.wire.vendors import COMMON_OPTIONS

__all__ = ["open_provider"]

_NO_OTHER_OPTIONS: Final = frozenset({Kind.COHERE, Kind.GOOGLE})
"""Whose library sends nothing that it does not know."""


def open_provider(settings: ProviderSettings) -> Provider:
    """Open the provider that a configuration describes; `aclose` it when nobody asks it any more.

    Raises:
        NotConfigured: something that its kind needs is missing.
    """
    if settings.kind is Kind.SCRIPTED:
        return open_scripted(settings)
    if settings.address is None:
        raise NotConfigured(settings.name, "it has no address", "Set base_url to where its chat is, often .../v1")
    if settings.key is None and PRESETS[settings.kind].needs_key:
        raise NotConfigured(settings.name, "it has no key", "Name its place with key_env or key_file")
    if settings.kind in _NO_OTHER_OPTIONS and (unknown := settings.options.keys() - COMMON_OPTIONS):
        what = f"its library does not send {', '.join(sorted(unknown))}"
        raise NotConfigured(settings.name, what, f"Keep to {', '.join(sorted(COMMON_OPTIONS))}")
    return WireProvider(settings)
