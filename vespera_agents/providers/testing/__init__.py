"""A vendor on this machine: small servers that speak each wire format, for tests and measurements.

server    `open_vendor_server`: HTTP, what it was asked, and when a client left
replies   what it is to answer, and what is to go wrong
chat      OpenAI's chat, and how Groq and others differ from it
formats   the other formats: OpenAI's responses, Anthropic, Google, Cohere
"""

from __future__ import annotations

from vespera_agents.providers.testing.replies import Complaint, Reply
from vespera_agents.providers.testing.server import SeenRequest, VendorServer, open_vendor_server

__all__ = ["Complaint", "Reply", "SeenRequest", "VendorServer", "open_vendor_server"]
