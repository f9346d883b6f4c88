"""The models of a workspace: who is there, when that changes, what is spent, and where all of it can be seen."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from tests.health.kit import Watched, watched_runtime
from vespera_agents.health.observer.sections import models_section
from vespera_agents.providers.circuit import Circuit
from vespera_agents.providers.errors import SpendLimitReached, Unavailable
from vespera_agents.providers.exchange import ModelMessage, ModelRequest, Need
from vespera_agents.providers.reading import provider_variables
from vespera_agents.providers.scripted import ScriptedProvider
from vespera_agents.specialists.sessions import OpenWorkspace
from vespera_agents.store.spending import spending_rows, spent
from vespera_agents.workspace import WorkspaceError, load_settings

REQUEST = ModelRequest("", "You help.", (ModelMessage("user", "Say hello."),), output_tokens_max=100)
SCRIPT = {
    "price": {"input_usd": 100.0, "output_usd": 100.0},
    "rules": [
        {"contains": ["break"], "fails": {"kind": "unavailable"}},
        {"contains": [""], "text": "Hello.", "usage": {"input_tokens": 100, "output_tokens": 100}},
    ],
}
CONFIG = """
[providers]
attempts_max = 1
breaker_failures_max = 2
spend_usd_per_session = 0.5
[providers.script]
kind = "scripted"
script = "{script}"
"""


@pytest.fixture(autouse=True)
def no_provider_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in provider_variables():
        monkeypatch.delenv(variable, raising=False)


def configure(watched: Watched, opened: OpenWorkspace, text: str = CONFIG, *, trusted: bool = True) -> None:
    script = watched.place / "script.json"
    script.write_text(json.dumps(SCRIPT))
    opened.workspace.config.write_text(text.format(script=script))
    if trusted:
        fingerprint = load_settings(opened.workspace, watched.runtime.registry).fingerprint
        assert fingerprint is not None
        watched.runtime.registry.trust(opened.workspace.directory, fingerprint)


async def test_without_a_provider_there_are_no_models_and_nothing_of_them_is_loaded(tmp_path: Path) -> None:
    async with watched_runtime(tmp_path) as watched:
        opened = await watched.workspace()
        assert opened.models() is None
        configure(watched, opened, trusted=False)
        assert opened.models() is None, "the owner has not trusted it"
        configure(watched, opened)
        models = opened.models()
        assert models is not None
        assert models.names == ("script",)
        assert opened.models() is models, "made once"


def test_a_server_that_starts_loads_no_provider() -> None:
    program = (
        "import json, sys, vespera_agents.specialists.runtime;"
        "print(json.dumps([name for name in sys.modules if '.providers' in name]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    # The words of an exchange are in messages between actors.
    words = {"vespera_agents.providers", "vespera_agents.providers.exchange", "vespera_agents.providers.errors"}
    assert set(json.loads(done.stdout)) <= words


async def test_a_change_of_the_file_counts_at_once_and_keeps_who_was_added_and_what_was_counted(tmp_path: Path) -> None:
    async with watched_runtime(tmp_path) as watched:
        opened = await watched.workspace()
        configure(watched, opened)
        opened.model_source.add(ScriptedProvider(name="client"))
        before = opened.models()
        assert before is not None
        await before.complete(REQUEST, Need("p", session_id="session_1", model="script"))
        configure(watched, opened, CONFIG + '[providers.another]\nkind = "scripted"\nscript = "{script}"\n')
        after = opened.models()
        assert after is not None
        assert after.names == ("script", "another", "client")
        assert after.figures.of("script", "scripted-1").output_tokens == 100
        opened.model_source.remove("client")
        assert after.names == ("script", "another")


async def test_a_provider_that_was_added_is_enough_to_have_models(tmp_path: Path) -> None:
    async with watched_runtime(tmp_path) as watched:
        opened = await watched.workspace()
        assert opened.models() is None
        opened.model_source.add(ScriptedProvider(name="client"))
        models = opened.models()
        assert models is not None
        assert (await models.complete(REQUEST, Need("p"))).provider == "client"


async def test_a_configuration_that_is_wrong_is_told(tmp_path: Path) -> None:
    async with watched_runtime(tmp_path) as watched:
        opened = await watched.workspace()
        configure(watched, opened, '[providers]\npolicy = "dearest"\n')
        with pytest.raises(WorkspaceError, match="policy"):
            opened.models()


async def test_spending_is_kept_in_the_store_and_its_limit_holds_for_two_servers(tmp_path: Path) -> None:
    async with watched_runtime(tmp_path / "a") as one, watched_runtime(tmp_path / "b") as two:
        (tmp_path / "shared").mkdir()
        opened = [await each.runtime.workspace(tmp_path / "shared") for each in (one, two)]
        for watched, each in zip((one, two), opened, strict=True):
            configure(watched, each, CONFIG.replace("{script}", str(tmp_path / "a" / "script.json")))
        answered = 0

        async def ask(each: OpenWorkspace, name: str) -> None:
            nonlocal answered
            models = each.models()
            assert models is not None
            for number in range(100):
                try:
                    await models.complete(REQUEST, Need(f"{name}{number}", session_id="session_1", context_tokens=50))
                except SpendLimitReached:
                    return
                answered += 1

        async with trio.open_nursery() as nursery:
            for number, each in enumerate(opened):
                nursery.start_soon(ask, each, f"p{number}")
        found = await opened[0].store.read(lambda connection: spent(connection, session_id="session_1"))
        assert found.spent == answered * 20_000, "2 cents an answer, by whichever server"
        assert found.reserved == 0
        assert 0.35 <= found.spent / 1_000_000 <= 0.5
        (row,) = await opened[1].store.read(spending_rows)
        assert (row.provider, row.model, row.calls) == ("script", "scripted-1", answered)


async def test_an_open_circuit_is_seen_in_health_metrics_and_the_observer(tmp_path: Path) -> None:
    async with watched_runtime(tmp_path) as watched:
        opened = await watched.workspace()
        before = await watched.numbers()
        assert before['vespera_llm_circuit_breaker_state{provider="other",state="closed"}'] == 1
        configure(watched, opened)
        models = opened.models()
        assert models is not None
        await models.complete(REQUEST, Need("p", session_id="session_1"))
        for number in range(2):
            with pytest.raises(Unavailable):
                await models.complete(replace(REQUEST, system="break"), Need(f"q{number}", session_id="session_1"))
        found = await watched.numbers()
        state = {name: value for name, value in found.items() if "circuit_breaker_state" in name}
        assert state == {
            f'vespera_llm_circuit_breaker_state{{provider="script",state="{one}"}}': int(one is Circuit.OPEN)
            for one in Circuit
        }, "one that is always closed would keep the alert silent that asks whether all are open"
        requests = {name: value for name, value in found.items() if "llm_requests_total" in name and value}
        assert requests == {
            'vespera_llm_requests_total{model="scripted-1",outcome="succeeded",provider="script"}': 1,
            'vespera_llm_requests_total{model="scripted-1",outcome="failed",provider="script"}': 2,
        }
        labels = 'model="scripted-1",provider="script"'
        assert found[f"vespera_llm_cost_usd_total{{{labels}}}"] == pytest.approx(0.02)
        assert found[f"vespera_llm_request_duration_seconds_count{{{labels}}}"] == 3
        assert found['vespera_llm_tokens_total{model="scripted-1",provider="script",type="input"}'] == 100
        assert found['vespera_llm_in_flight{provider="script"}'] == 0
        assert watched.health.model is not None
        verdict = await watched.health.model.examine()
        assert watched.health.model.measured.providers == {"script": "open"}
        assert [one.what for one in verdict.reasons if one.component == "provider script"] == ["its circuit is open"]
        (row,) = models_section(watched.runtime)
        assert (row["provider"], row["circuit"], row["cost_usd"]) == ("script", "open", pytest.approx(0.02))
        assert models.tree_detail()["open_circuits"] == "script"
