"""Providers behind an address: eight wire formats, spoken by the vendors' own libraries on trio.

opening       `open_provider`: from a configuration to a provider
provider      what all of them share: one request, one exchange
streaming     an answer on its way
vendors       which library speaks to whom, imported with the first request
connections   HTTP clients that put the key onto a request at the last moment
translating   our words to the libraries' and back
counted       what an exchange took, where the vendor does not say it
failures      their errors as ours
"""

from __future__ import annotations

from vespera_agents.providers.wire.opening import open_provider

__all__ = ["open_provider"]
