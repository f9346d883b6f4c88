"""Who Claude Code is here: its program, its models, what it is started with. Values only.

Neighbours: whoever reads a configuration makes one of these; `claude` is the provider made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from vespera_agents.providers.settings import ProviderSettings

__all__ = [
    "CONTEXT_TOKENS_MAX",
    "CREDENTIALS",
    "PROGRAM",
    "SPEND_USD_PER_TASK",
    "ClaudeCodeSettings",
    "claude_code_settings",
    "credential_name",
    "no_credential",
]

PROGRAM: Final = "claude"
"""What is started unless something else is configured: found in PATH."""
SPEND_USD_PER_TASK: Final = 2.0
"""What a task may cost unless something else is configured."""

CONTEXT_TOKENS_MAX: Final = 100_000
"""When it compacts its context unless something else is configured."""
CREDENTIALS: Final = ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN")
"""The variables in which it looks for a key, and for the token of a subscription."""


def no_credential() -> Mapping[str, str]:
    """Give none: the program knows a way of its own."""
    return {}


def credential_name(key_env: str | None) -> str:
    """Say in which variable it looks for a key that stands in a variable or file of the owner's."""
    return CREDENTIALS[1] if key_env == CREDENTIALS[1] else CREDENTIALS[0]


@final
@dataclass(frozen=True, slots=True)
class ClaudeCodeSettings:
    """One Claude Code."""

    home: Path
    """Where each task has the directory of its runs: of this user's only."""
    name: str = "claude-code"
    program: tuple[str, ...] = (PROGRAM,)
    """The program, best as a path, and arguments that come before ours."""
    models: tuple[str, ...] = ()
    """Its models, the default first; empty: its own default."""
    credential: Callable[[], Mapping[str, str]] = no_credential
    """Gives its secret by the name of the variable, read at the moment of each start.

    Raises a ProviderError where it cannot be read."""
    environment: tuple[str, ...] = ()
    """Names of further variables of ours that it gets, such as those of a proxy."""
    context_tokens_max: int = CONTEXT_TOKENS_MAX
    spend_usd_per_task: float = SPEND_USD_PER_TASK
    """What a task may cost where nobody says less."""


def claude_code_settings(found: ProviderSettings, home: Path, environ: Mapping[str, str]) -> ClaudeCodeSettings:
    """Make the settings of one that is configured.

    Args:
        found: the configuration.
        home: where its tasks have their directories.
        environ: where its key may be, read at the moment of each start.
    """
    key = found.key
    name = credential_name(None if key is None else key.env)
    return ClaudeCodeSettings(
        home,
        name=found.name,
        program=(found.program or PROGRAM,),
        models=found.models,
        credential=no_credential if key is None else lambda: {name: key.read(found.name, environ)},
        environment=found.environment,
        context_tokens_max=found.context_tokens_max or CONTEXT_TOKENS_MAX,
        spend_usd_per_task=SPEND_USD_PER_TASK if found.spend_usd_per_task is None else found.spend_usd_per_task,
    )
