"""What providers there are, out of a workspace's `[providers]` and the owner's environment.

    [providers]
    policy = "cheapest"                 # cheapest | fastest | best | local
    fallback = ["work", "ollama"]       # who is asked when the first choice fails; by score without it
    spend_usd_per_session = 2.0
    spend_usd_per_day = 10.0
    [providers.work]
    kind = "openai-compatible"
    base_url = "https://models.example.com/v1"
    key_env = "WORK_KEY"                # or key_file; never the key itself
    models = ["large", "small"]         # the default first
    price = { input_usd = 1.0, output_usd = 4.0 }   # for a million tokens

The section counts only in a file that its owner trusted: whoever cloned a workspace would else send his keys where it
says. The environment is the owner's, so a variable such as OPENAI_API_KEY always makes a provider. Pure but for no
file: keys are not read here. Neighbours: `configuration` holds what comes out, `specialists.models` asks.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple, NoReturn, cast
from urllib.parse import urlsplit

from vespera_agents.providers.choosing import Policy
from vespera_agents.providers.configuration import BreakerSettings, ModelsSettings, RetrySettings
from vespera_agents.providers.exchange import Price
from vespera_agents.providers.settings import PRESETS, KeyReference, Kind, ProviderSettings
from vespera_agents.workspace.errors import WorkspaceError

__all__ = ["SPEND_PER_DAY", "SPEND_PER_SESSION", "provider_tables", "provider_variables", "read_providers"]

PROVIDERS_MAX: Final = 16
MODELS_MAX: Final = 16
"""Models of one provider."""
SPEND_PER_SESSION: Final = "VESPERA_SPEND_USD_PER_SESSION"
SPEND_PER_DAY: Final = "VESPERA_SPEND_USD_PER_DAY"
"""Variables with limits of spending; of these and the file's the lower one counts."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OLLAMA_HOST: Final = "OLLAMA_HOST"
_OLLAMA_PORT: Final = 11434


class _Known(NamedTuple):
    """A vendor that is there as soon as a variable is set."""

    kind: Kind
    variables: tuple[str, ...]
    model: str
    """Unless the variable VESPERA_<KIND>_MODEL names another."""


_KNOWN: Final = (
    _Known(Kind.OLLAMA, (_OLLAMA_HOST,), "llama3.2"),
    _Known(Kind.OPENAI, ("OPENAI_API_KEY",), "gpt-5-mini"),
    _Known(Kind.ANTHROPIC, ("ANTHROPIC_API_KEY",), "claude-sonnet-4-5"),
    _Known(Kind.GOOGLE, ("GEMINI_API_KEY", "GOOGLE_API_KEY"), "gemini-2.5-flash"),
    _Known(Kind.GROQ, ("GROQ_API_KEY",), "llama-3.3-70b-versatile"),
    _Known(Kind.COHERE, ("CO_API_KEY",), "command-a-03-2025"),
    _Known(Kind.MISTRAL, ("MISTRAL_API_KEY",), "mistral-medium-latest"),
    _Known(Kind.DEEPSEEK, ("DEEPSEEK_API_KEY",), "deepseek-chat"),
    _Known(Kind.OPENROUTER, ("OPENROUTER_API_KEY",), "openai/gpt-5-mini"),
)


def provider_variables() -> tuple[str, ...]:
    """Name the variables of the environment that make a provider."""
    return tuple(variable for known in _KNOWN for variable in known.variables)


def provider_tables(section: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    """Give the tables of a section: each is a provider, and the rest is about all of them."""
    return {name: cast("Mapping[str, object]", one) for name, one in section.items() if isinstance(one, Mapping)}


def read_providers(section: Mapping[str, object], trusted: bool, environ: Mapping[str, str]) -> ModelsSettings:
    """Read what providers there are and how they are used together.

    Args:
        section: `[providers]` of the workspace's file; empty where there is none.
        trusted: whether the owner trusted exactly this text.
        environ: the owner's environment; only names and addresses are taken from it, no key.

    Raises:
        WorkspaceError: a setting is not valid; says which, and what may stand there.
    """
    if section and not trusted:
        why = "[providers] of .vespera/config.toml does not count until its owner trusts it: run `vespera trust`"
        return _limited(ModelsSettings(providers=_of_environment(environ), ignored=why), environ)
    table = _Table("[providers]", section)
    tables = provider_tables(section)
    configured = tuple(_provider(name, value) for name, value in tables.items())
    found = configured
    if table.flag("environment", default=True):
        # Configured ones come first, and take the place of their like.
        names, kinds = {one.name for one in configured}, {one.kind for one in configured}
        found += tuple(one for one in _of_environment(environ) if one.name not in names and one.kind not in kinds)
    if len(found) > PROVIDERS_MAX:
        raise WorkspaceError(f"[providers] has {len(found)} providers; {PROVIDERS_MAX} are allowed. Remove some.")
    retry, breaker = RetrySettings(), BreakerSettings()
    settings = ModelsSettings(
        providers=found,
        policy=table.policy("policy", Policy.CHEAPEST),
        # One of the environment may be missing on this machine, and the file is right all the same.
        fallback=table.names("fallback", [one.name for one in found] + [known.kind.value for known in _KNOWN]),
        retry=replace(
            retry,
            attempts_max=int(table.number("attempts_max", retry.attempts_max, 1, 10)),
            min_seconds=table.number("retry_min_seconds", retry.min_seconds, 0.01, 600),
            max_seconds=table.number("retry_max_seconds", retry.max_seconds, 0.01, 3_600),
            patience_seconds=table.number("patience_seconds", retry.patience_seconds, 0, 3_600),
        ),
        breaker=replace(
            breaker,
            failures_max=int(table.number("breaker_failures_max", breaker.failures_max, 1, 1_000)),
            min_seconds=table.number("breaker_min_seconds", breaker.min_seconds, 0.1, 86_400),
            max_seconds=table.number("breaker_max_seconds", breaker.max_seconds, 0.1, 86_400),
        ),
        spend_usd_per_session=table.amount("spend_usd_per_session"),
        spend_usd_per_day=table.amount("spend_usd_per_day"),
    )
    if settings.retry.min_seconds > settings.retry.max_seconds:
        raise WorkspaceError("[providers] retry_min_seconds is larger than retry_max_seconds. Correct it.")
    table.nothing_else(tables)
    return _limited(settings, environ)


def _provider(name: str, value: Mapping[str, object]) -> ProviderSettings:
    table = _Table(f"[providers.{name}]", value)
    if not _NAME.fullmatch(name):
        raise WorkspaceError(
            f"[providers.{name}]: a provider's name has letters, digits, _, - and ., at most 40 of them. Rename it."
        )
    for secret in ("key", "api_key", "token", "password"):
        if secret in value:
            raise WorkspaceError(
                f"{table.place} holds {secret}. Keys do not belong into this file: take it out, put it into a variable "
                'of the environment or a file, and say where with key_env = "NAME" or key_file = "path".'
            )
    kind = table.kind("kind", name)
    found = ProviderSettings(
        name=name,
        kind=kind,
        base_url=table.address("base_url"),
        key=table.key(),
        models=table.texts("models"),
        context_tokens_max=table.count("context_tokens_max"),
        output_tokens_max=table.count("output_tokens_max"),
        price=table.price("price"),
        options=table.mapping("options"),
        connect_timeout_seconds=table.number("connect_timeout_seconds", 10.0, 0.1, 3_600),
        first_byte_timeout_seconds=table.number("first_byte_timeout_seconds", 60.0, 0.1, 3_600),
        concurrency=int(table.number("concurrency", 8, 1, 1_000)),
        strength=table.ratio("strength"),
        script=table.path("script"),
        paid=table.path("paid"),
        program=table.text("program"),
        environment=table.texts("environment"),
        spend_usd_per_task=table.amount("spend_usd_per_task"),
    )
    table.nothing_else({})
    if found.address is None and kind not in {Kind.SCRIPTED, Kind.CLAUDE_CODE}:
        raise WorkspaceError(f'{table.place} needs base_url = "https://...", where it is. Add it.')
    if kind is Kind.SCRIPTED and found.script is None:
        raise WorkspaceError(f'{table.place} needs script = "/path/to/script". Add it.')
    if found.key is not None and not _is_safe(found.address or ""):
        raise WorkspaceError(f"{table.place}: its key would go over plain http to {found.address}. Use https.")
    if found.key is None and found.base_url is None and PRESETS[kind].needs_key:
        # A vendor's own key goes to the vendor alone; to another address only what is written beside it.
        known = Kind.OPENAI if kind is Kind.OPENAI_RESPONSES else kind
        variables = next(one.variables for one in _KNOWN if one.kind is known)
        found = replace(found, key=KeyReference(env=variables[0]))
    return found


def _of_environment(environ: Mapping[str, str]) -> tuple[ProviderSettings, ...]:
    """Give a provider for each variable that is set."""
    found: list[ProviderSettings] = []
    for known in _KNOWN:
        variable = next((one for one in known.variables if environ.get(one, "").strip()), None)
        if variable is None:
            continue
        model = environ.get(f"VESPERA_{known.kind.name}_MODEL", "").strip() or known.model
        if known.kind is Kind.OLLAMA:
            address = _ollama_address(environ[variable].strip())
            found.append(ProviderSettings(known.kind.value, known.kind, base_url=address, models=(model,)))
        else:
            key = KeyReference(env=variable)
            found.append(ProviderSettings(known.kind.value, known.kind, key=key, models=(model,)))
    return tuple(found)


def _ollama_address(host: str) -> str:
    """Make an address of OLLAMA_HOST, which is also what Ollama listens on: a host, a port, or an address."""
    parts = urlsplit(host if "://" in host else f"http://{host}")
    name = parts.hostname or "127.0.0.1"
    # Everybody's address is where it listens, not where it is.
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(name, f"[{name}]" if ":" in name else name)  # noqa: S104
    port = parts.port or (443 if parts.scheme == "https" else _OLLAMA_PORT)
    return f"{parts.scheme}://{name}:{port}"


def _limited(settings: ModelsSettings, environ: Mapping[str, str]) -> ModelsSettings:
    """Take the limits of the environment where they are lower."""
    limits: list[float | None] = []
    for variable, before in (
        (SPEND_PER_SESSION, settings.spend_usd_per_session),
        (SPEND_PER_DAY, settings.spend_usd_per_day),
    ):
        text = environ.get(variable, "").strip()
        try:
            limit = float(text) if text else None
        except ValueError:
            limit = -1.0
        if limit is not None and not 0.0 <= limit < float("inf"):
            raise WorkspaceError(f"the variable {variable} is an amount in US dollars, not {text!r}. Correct it.")
        both = [one for one in (limit, before) if one is not None]
        limits.append(min(both) if both else None)
    return replace(settings, spend_usd_per_session=limits[0], spend_usd_per_day=limits[1])


def _is_safe(address: str) -> bool:
    """Say whether a key may go there: enciphered, or without leaving the machine."""
    parts = urlsplit(address)
    if parts.scheme == "https" or parts.hostname == "localhost" or not address:
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


class _Table:
    """A table of the file, whose values are taken out one by one."""

    def __init__(self, place: str, values: Mapping[str, object]) -> None:
        self.place = place
        self._values = values
        self._taken: set[str] = set()

    def nothing_else(self, tables: Mapping[str, object]) -> None:
        """Refuse what nobody took."""
        rest = sorted(self._values.keys() - self._taken - tables.keys())
        if rest:
            known = ", ".join(sorted(self._taken))
            raise WorkspaceError(f"{self.place} has an unknown setting {rest[0]!r}. Known are {known}. Correct it.")

    def flag(self, name: str, *, default: bool) -> bool:
        value = self._take(name, default)
        return value if isinstance(value, bool) else self._wrong(name, "true or false")

    def number(self, name: str, default: float, low: float, high: float) -> float:
        value = self._take(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self._wrong(name, f"a number from {low:g} to {high:g}")
        return value

    def amount(self, name: str) -> float | None:
        return None if self._take(name, None) is None else self.number(name, 0.0, 0.0, 1_000_000.0)

    def ratio(self, name: str) -> float | None:
        return None if self._take(name, None) is None else self.number(name, 0.0, 0.0, 1.0)

    def count(self, name: str) -> int | None:
        return None if self._take(name, None) is None else int(self.number(name, 0.0, 1, 100_000_000))

    def text(self, name: str) -> str | None:
        value = self._take(name, None)
        if value is None or (isinstance(value, str) and value.strip()):
            return value
        return self._wrong(name, "a text")

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._take(name, [])
        if not isinstance(value, list):
            self._wrong(name, "a list of texts")
        listed = cast("list[object]", value)
        texts = tuple(one for one in listed if isinstance(one, str) and one.strip())
        if len(texts) != len(listed) or len(texts) > MODELS_MAX:
            self._wrong(name, f"a list of at most {MODELS_MAX} texts")
        return texts

    def names(self, name: str, known: list[str]) -> tuple[str, ...]:
        texts = self.texts(name)
        for one in texts:
            if one not in known:
                self._wrong(name, f"a list of providers, of which there are {', '.join(known) or 'none'}")
        return texts

    def mapping(self, name: str) -> Mapping[str, object]:
        value = self._take(name, {})
        return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else self._wrong(name, "a table")

    def path(self, name: str) -> Path | None:
        text = self.text(name)
        if text is None:
            return None
        path = Path(text).expanduser()
        return path if path.is_absolute() else self._wrong(name, "a path that begins with / or ~")

    def policy(self, name: str, default: Policy) -> Policy:
        value = self._take(name, default.value)
        return Policy(value) if value in set(Policy) else self._wrong(name, f"one of {', '.join(Policy)}")

    def kind(self, name: str, default: str) -> Kind:
        value = self._take(name, default)
        return Kind(value) if value in set(Kind) else self._wrong(name, f"one of {', '.join(Kind)}")

    def address(self, name: str) -> str | None:
        text = self.text(name)
        if text is None:
            return None
        parts = urlsplit(text)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            self._wrong(name, "an address that begins with https:// or http://")
        if parts.username is not None or parts.password is not None:
            # Not shown: what stands before the @ is a secret.
            raise WorkspaceError(f"{self.place} {name} holds a user or password. Use key_env or key_file instead.")
        return text.rstrip("/")

    def key(self) -> KeyReference | None:
        variable, file = self.text("key_env"), self.path("key_file")
        if variable is not None and file is not None:
            raise WorkspaceError(f"{self.place} has key_env and key_file. Keep one of them.")
        if variable is not None and not _VARIABLE.fullmatch(variable):
            # Not shown: somebody may have put the key itself there.
            raise WorkspaceError(f"{self.place} key_env is the name of a variable, not a key. Correct it.")
        return None if variable is None and file is None else KeyReference(variable, file)

    def price(self, name: str) -> Price | None:
        if self._take(name, None) is None:
            return None
        table = _Table(f"{self.place} {name}", self.mapping(name))
        inputs, outputs = table.amount("input_usd"), table.amount("output_usd")
        if inputs is None or outputs is None:
            return self._wrong(name, "{ input_usd = 1.0, output_usd = 4.0 }, US dollars for a million tokens")
        price = Price(inputs, outputs, table.amount("cache_read_usd"), table.amount("cache_write_usd"))
        table.nothing_else({})
        return price

    def _take(self, name: str, default: object) -> object:
        self._taken.add(name)
        return self._values.get(name, default)

    def _wrong(self, name: str, what: str) -> NoReturn:
        raise WorkspaceError(f"{self.place} {name} is {what}. Correct it.")
