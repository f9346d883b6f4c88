"""What one provider is configured with: whose wire it speaks, where it is, and where its key is to be found.

A key is never here, only where it is: it is read at the moment of use, and no repr, error or log can show it.
Values only. Neighbours: `wire` opens a provider from these, `scripted` the one that reads its answers from a file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, final

from vespera_agents.providers.errors import NotConfigured
from vespera_agents.providers.exchange import Price

__all__ = ["PRESETS", "KeyReference", "Kind", "Preset", "ProviderSettings"]

_KEY_BYTES_MAX: Final = 16_384
_LOCAL_TOKENS: Final = 32_768
"""A server at home has the context that it was started with, often less than the model could have: its owner knows."""


class Kind(StrEnum):
    """Whose provider it is: what decides about its address and the words that it is spoken to with."""

    OPENAI = "openai"
    OPENAI_RESPONSES = "openai-responses"
    ANTHROPIC = "anthropic"
    GOOGLE = "google"
    GROQ = "groq"
    COHERE = "cohere"
    OLLAMA = "ollama"
    LMSTUDIO = "lmstudio"
    VLLM = "vllm"
    MISTRAL = "mistral"
    DEEPSEEK = "deepseek"
    OPENROUTER = "openrouter"
    OPENAI_COMPATIBLE = "openai-compatible"
    """Any address that speaks OpenAI's chat; `base_url` says which."""
    SCRIPTED = "scripted"
    """The one that answers out of a file, see `scripts`."""
    CLAUDE_CODE = "claude-code"
    """A program that carries out whole tasks, see `claude_code`."""


@final
@dataclass(frozen=True, slots=True)
class Preset:
    """What is known of a kind before anybody configures anything."""

    base_url: str | None = None
    """Its address; None: the vendor's own library knows it, or it must be given."""
    needs_key: bool = True
    local: bool = False
    """Runs on a machine of the owner's, unless `base_url` says otherwise."""
    context_tokens_max: int = 128_000
    """What is safe to assume of a model of it, unless `ProviderSettings.context_tokens_max` says."""
    output_tokens_max: int = 8_192


PRESETS: Final[Mapping[Kind, Preset]] = {
    Kind.OPENAI: Preset("https://api.openai.com/v1"),
    Kind.OPENAI_RESPONSES: Preset("https://api.openai.com/v1"),
    Kind.ANTHROPIC: Preset("https://api.anthropic.com", context_tokens_max=200_000),
    Kind.GOOGLE: Preset("https://generativelanguage.googleapis.com", context_tokens_max=1_000_000),
    Kind.GROQ: Preset("https://api.groq.com"),
    Kind.COHERE: Preset("https://api.cohere.com"),
    Kind.OLLAMA: Preset("http://127.0.0.1:11434", needs_key=False, local=True, context_tokens_max=_LOCAL_TOKENS),
    Kind.LMSTUDIO: Preset("http://127.0.0.1:1234/v1", needs_key=False, local=True, context_tokens_max=_LOCAL_TOKENS),
    Kind.VLLM: Preset("http://127.0.0.1:8000/v1", needs_key=False, local=True, context_tokens_max=_LOCAL_TOKENS),
    Kind.MISTRAL: Preset("https://api.mistral.ai/v1"),
    Kind.DEEPSEEK: Preset("https://api.deepseek.com"),
    Kind.OPENROUTER: Preset("https://openrouter.ai/api/v1"),
    Kind.OPENAI_COMPATIBLE: Preset(needs_key=False),
    Kind.SCRIPTED: Preset(needs_key=False, local=True),
    Kind.CLAUDE_CODE: Preset(needs_key=False),
}
"""What is known of each kind."""


@final
@dataclass(frozen=True, slots=True)
class KeyReference:
    """Where a key is: in a variable of the environment, or in a file. Exactly one of them."""

    env: str | None = None
    """The name of the variable."""
    file: Path | None = None
    """A file that holds the key and nothing else."""

    def __post_init__(self) -> None:
        assert (self.env is None) != (self.file is None), "a key is in one place"

    def read(self, provider: str, environ: Mapping[str, str] = os.environ) -> str:
        """Give the key, read anew each time; the caller keeps it no longer than a request.

        Raises:
            NotConfigured: there is none.
        """
        if self.env is not None:
            key = environ.get(self.env, "").strip()
        else:
            assert self.file is not None, "see __post_init__"
            try:
                with self.file.open("rb") as file:
                    key = file.read(_KEY_BYTES_MAX).decode().strip()
            except (OSError, UnicodeDecodeError):
                key = ""
        # A header takes nothing else, and who complains of one that it cannot take would quote it.
        if key and key.isascii() and key.isprintable() and " " not in key:
            return key
        place = "the file of its key" if self.env is None else f"the variable {self.env}"
        raise NotConfigured(provider, f"{place} holds no key", "Put the key alone there, as one word, and try again")


@final
@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """One provider, as its owner configured it."""

    name: str
    """What it is called in reports, metrics and `provider/model`."""
    kind: Kind
    base_url: str | None = None
    """None: that of the preset."""
    key: KeyReference | None = None
    models: tuple[str, ...] = ()
    """The default first; empty: whatever a request names."""
    context_tokens_max: int | None = None
    """None: what is known of the model, or what is safe to assume."""
    output_tokens_max: int | None = None
    price: Price | None = None
    """None: the price table's."""
    options: Mapping[str, object] = field(default_factory=dict[str, object])
    """Added to the body of each request, as the vendor names them (`{"top_p": 0.9}`)."""
    connect_timeout_seconds: float = 10.0
    first_byte_timeout_seconds: float = 60.0
    """How long it may be silent, before the answer and within it; local models load for long."""
    concurrency: int = 8
    """Requests that it gets at once from one process, at least 1."""
    strength: float | None = None
    """How strong its models are, 0 to 1; None: judged by their price."""
    script: Path | None = None
    """The file of the kind `scripted`."""
    paid: Path | None = None
    """Where the kind `scripted` writes a line for each call that it answered."""
    program: str | None = None
    """What the kind `claude-code` runs, a path or a name; None: `claude`."""
    environment: tuple[str, ...] = ()
    """Names of further variables that the kind `claude-code` gets, such as those of a proxy."""
    spend_usd_per_task: float | None = None
    """What a task may cost that the kind `claude-code` carries out; None: its own default."""

    @property
    def address(self) -> str | None:
        """Where it is."""
        return self.base_url or PRESETS[self.kind].base_url
