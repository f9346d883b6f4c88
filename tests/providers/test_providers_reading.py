"""Providers out of the file and the environment: what counts, what is refused, and that no key is ever told."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from vespera_agents.providers.choosing import Policy
from vespera_agents.providers.exchange import Price
from vespera_agents.providers.reading import provider_variables, read_providers
from vespera_agents.providers.settings import KeyReference, Kind
from vespera_agents.workspace import WorkspaceError

SECRET = f"sk-{0x1F2E3D4C5B6A:016d}"


def read(text: str = "", *, trusted: bool = True, **environ: str):
    return read_providers(tomllib.loads(text).get("providers", {}), trusted, environ)


def test_a_whole_section_is_read(tmp_path: Path) -> None:
    found = read(
        f"""
        [providers]
        policy = "best"
        fallback = ["work", "ollama"]
        spend_usd_per_session = 2
        spend_usd_per_day = 10.5
        attempts_max = 5
        breaker_failures_max = 2
        environment = false
        [providers.work]
        kind = "openai-compatible"
        base_url = "https://models.example.com/v1/"
        key_env = "WORK_KEY"
        models = ["large", "small"]
        concurrency = 3
        strength = 0.8
        price = {{ input_usd = 1.0, output_usd = 4 }}
        [providers.anthropic]
        key_file = "{tmp_path}/key"
        """,
        OPENAI_API_KEY=SECRET,
    )
    work, anthropic = found.providers
    assert (work.kind, work.address, work.models) == (
        Kind.OPENAI_COMPATIBLE,
        "https://models.example.com/v1",
        ("large", "small"),
    )
    assert (work.key, work.price, work.concurrency, work.strength) == (
        KeyReference(env="WORK_KEY"),
        Price(1.0, 4.0),
        3,
        0.8,
    )
    assert (anthropic.kind, anthropic.key) == (Kind.ANTHROPIC, KeyReference(file=tmp_path / "key"))
    assert (found.policy, found.fallback, found.limited) == (Policy.BEST, ("work", "ollama"), True)
    assert (found.spend_usd_per_session, found.spend_usd_per_day) == (2, 10.5)
    assert (found.retry.attempts_max, found.breaker.failures_max) == (5, 2)


def test_each_variable_of_the_environment_makes_a_provider_with_a_model() -> None:
    for variable in provider_variables():
        found = read(**{variable: "127.0.0.1:9" if variable == "OLLAMA_HOST" else SECRET})
        (one,) = found.providers
        assert len(one.models) == 1
        assert one.key == (None if variable == "OLLAMA_HOST" else KeyReference(env=variable))
        assert SECRET not in repr(found)
    assert read().providers == ()
    assert read(OPENAI_API_KEY=" ").providers == ()


def test_a_file_that_is_not_trusted_counts_for_nothing() -> None:
    """Whoever clones a workspace would else send his key where the workspace says."""
    text = """
        [providers]
        spend_usd_per_day = 1000000
        [providers.openai]
        base_url = "https://evil.example.com/v1"
        key_env = "OPENAI_API_KEY"
        """
    found = read(text, trusted=False, OPENAI_API_KEY=SECRET)
    assert [one.address for one in found.providers] == ["https://api.openai.com/v1"]
    assert found.spend_usd_per_day is None
    assert "vespera trust" in (found.ignored or "")
    assert read(text, OPENAI_API_KEY=SECRET).providers[0].address == "https://evil.example.com/v1"


def test_a_vendors_key_goes_to_the_vendor_alone_unless_it_is_written_beside_another_address() -> None:
    assert read("[providers.openai]\nmodels = ['m']").providers[0].key == KeyReference(env="OPENAI_API_KEY")
    elsewhere = read("[providers.openai]\nbase_url = 'https://elsewhere.example.com'").providers[0]
    assert elsewhere.key is None


def test_the_configured_one_takes_the_place_of_its_like_of_the_environment() -> None:
    found = read("[providers.mine]\nkind = 'openai'", OPENAI_API_KEY=SECRET, GROQ_API_KEY=SECRET)
    assert [one.name for one in found.providers] == ["mine", "groq"]


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),  # noqa: S104 - what Ollama listens on
        ("https://box.example.com", "https://box.example.com:443"),
        ("box:8000", "http://box:8000"),
        ("[::1]:5", "http://[::1]:5"),
    ],
)
def test_ollama_is_where_it_says_that_it_listens(host: str, address: str) -> None:
    assert read(OLLAMA_HOST=host).providers[0].address == address


def test_the_lower_limit_of_file_and_environment_counts() -> None:
    text = "[providers]\nspend_usd_per_day = 5"
    assert read(text, VESPERA_SPEND_USD_PER_DAY="2").spend_usd_per_day == 2
    assert read(text, VESPERA_SPEND_USD_PER_DAY="20").spend_usd_per_day == 5
    assert read(VESPERA_SPEND_USD_PER_SESSION="0").spend_usd_per_session == 0
    with pytest.raises(WorkspaceError, match="VESPERA_SPEND_USD_PER_DAY"):
        read(VESPERA_SPEND_USD_PER_DAY="much")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[providers]\npolicy = 'dearest'", "cheapest"),
        ("[providers]\nspend_usd_per_day = -1", "spend_usd_per_day"),
        ("[providers]\nspend_usd_per_day = inf", "spend_usd_per_day"),
        ("[providers]\nspeed = 3", "unknown setting 'speed'"),
        ("[providers]\nfallback = ['nobody']", "fallback"),
        ("[providers]\nretry_min_seconds = 9\nretry_max_seconds = 2", "retry_min_seconds"),
        ("[providers.x]\nkind = 'nonsense'", "openai"),
        ("[providers.'a b']\nkind = 'openai'", "letters"),
        (f"[providers.openai]\nkey = '{SECRET}'", "key_env"),
        (f"[providers.openai]\napi_key = '{SECRET}'", "key_env"),
        (f"[providers.openai]\nkey_env = '{SECRET}'", "name of a variable"),
        ("[providers.openai]\nkey_env = 'A'\nkey_file = '/k'", "one of them"),
        ("[providers.openai]\nkey_file = 'relative'", "begins with /"),
        (f"[providers.openai]\nbase_url = 'https://me:{SECRET}@example.com'", "user or password"),
        ("[providers.openai]\nbase_url = 'http://example.com'\nkey_env = 'A'", "plain http"),
        ("[providers.x]\nkind = 'openai-compatible'", "base_url"),
        ("[providers.x]\nkind = 'scripted'", "script"),
        ("[providers.openai]\nconcurrency = 0", "concurrency"),
        ("[providers.openai]\nmodels = 'one'", "list"),
        ("[providers.openai]\nprice = { input_usd = 1 }", "output_usd"),
        ("[providers.openai]\ntemperature = 1", "unknown setting"),
    ],
)
def test_what_is_wrong_is_refused_with_what_may_stand_there_and_without_secrets(text: str, says: str) -> None:
    with pytest.raises(WorkspaceError, match=says) as caught:
        read(text)
    assert SECRET not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_too_many_providers_are_refused() -> None:
    text = "\n".join(f"[providers.p{n}]\nkind = 'ollama'" for n in range(17))
    with pytest.raises(WorkspaceError, match="17 providers"):
        read(text)
