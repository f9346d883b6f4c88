"""Opening a provider: what it needs is said before anything is sent, and nothing is imported before it is needed."""

import re
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from vespera_agents.providers import errors
from vespera_agents.providers.exchange import ModelMessage, ModelRequest
from vespera_agents.providers.settings import PRESETS, KeyReference, Kind, ProviderSettings
from vespera_agents.providers.wire import open_provider
from vespera_agents.providers.wire.connections import KeyBearer

ROOT = Path(__file__).resolve().parent.parent.parent
GUIDE = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", GUIDE, re.DOTALL)


@pytest.mark.parametrize("text", ["", "  \n", "two words", "one\ntwo", "caf\u00e9", "bell\x07"])
@pytest.mark.parametrize("place", ["env", "file"])
def test_a_place_without_a_usable_key_is_told_without_what_is_there(tmp_path: Path, text: str, place: str) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    reference = KeyReference(env="SOME_KEY") if place == "env" else KeyReference(file=file)
    with pytest.raises(errors.NotConfigured) as caught:
        reference.read("here", {"SOME_KEY": text})
    assert text.strip() == "" or text.strip() not in str(caught.value)


def test_a_key_is_read_anew_and_without_white_space(tmp_path: Path) -> None:
    file = tmp_path / "key"
    reference = KeyReference(file=file)
    with pytest.raises(errors.NotConfigured):
        reference.read("here")
    for key in ("sk-1", "sk-2"):
        file.write_text(f"{key}\n")
        assert reference.read("here") == key
    assert KeyReference(env="SOME_KEY").read("here", {"SOME_KEY": " sk-3 "}) == "sk-3"


@pytest.mark.parametrize("kind", [Kind.OPENAI, Kind.ANTHROPIC, Kind.GOOGLE], ids=str)
async def test_a_key_is_put_onto_requests_for_the_configured_address_only(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-1")
    bearer = KeyBearer(ProviderSettings("here", kind, "https://api.example/v1", KeyReference(env="SOME_KEY")))
    request = httpx2.Request("POST", "https://api.example:443/v1/chat")
    await bearer(request)
    assert any("sk-1" in value for value in request.headers.values())
    for address in ("http://api.example/v1", "https://api.example:8443/v1", "https://api.example.evil/v1"):
        request = httpx2.Request("POST", address)
        with pytest.raises(errors.NotConfigured):
            await bearer(request)
        assert not any("sk-1" in value for value in request.headers.values())


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        (ProviderSettings("here", Kind.OPENAI), "key_env"),
        (ProviderSettings("here", Kind.OPENAI_COMPATIBLE), "base_url"),
        (ProviderSettings("here", Kind.SCRIPTED), "script"),
        (ProviderSettings("here", Kind.COHERE, key=KeyReference(env="K"), options={"top_x": 1}), "top_p"),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_what_is_missing_is_told_with_what_to_do(settings: ProviderSettings, advice: str) -> None:
    with pytest.raises(errors.NotConfigured, match=advice):
        open_provider(settings)


@pytest.mark.parametrize("kind", [kind for kind in Kind if PRESETS[kind].local and kind is not Kind.SCRIPTED], ids=str)
def test_what_runs_at_home_costs_nothing_and_leaves_nothing(kind: Kind) -> None:
    provider = open_provider(ProviderSettings("home", kind))
    price = provider.price("any")
    assert provider.capabilities("any").local
    assert price is not None
    assert (price.input_usd, price.output_usd) == (0, 0)
    away = open_provider(ProviderSettings("away", kind, "http://gpu.example:8000/v1"))
    assert not away.capabilities("any").local
    assert away.price("any") is None


def test_opening_every_provider_imports_no_library_of_a_vendor() -> None:
    program = (
        "import sys\n"
        "from vespera_agents.providers.settings import *\n"
        "from vespera_agents.providers.wire import open_provider\n"
        "for kind in Kind:\n"
        "    if kind is not Kind.SCRIPTED:\n"
        "        open_provider(ProviderSettings('p', kind, 'http://127.0.0.1:1/v1', KeyReference(env='K')))\n"
        "print([name for name in ('pydantic_ai', 'openai', 'anthropic', 'google', 'groq', 'cohere', 'httpx', 'httpx2',"
        " 'tiktoken', 'genai_prices') if name in sys.modules])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.stdout, run.stderr) == ("[]\n", "")


async def test_a_library_that_is_not_installed_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anthropic", None)
    settings = ProviderSettings("here", Kind.ANTHROPIC, key=KeyReference(env="PATH"), models=("some-model",))
    with pytest.raises(errors.NotConfigured, match=r"anthropic.*Install vespera-agents\[anthropic\]"):
        await open_provider(settings).complete(ModelRequest("", "", (ModelMessage("user", "Hello."),)))


@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
@pytest.mark.parametrize(("program", "output"), PROGRAMS, ids=lambda text: text.partition("\n")[0][:20])
def test_the_programs_of_the_guide_run_and_print_what_it_says(
    program: str, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(PROGRAMS) >= 2
    exec(compile(program, "docs/providers.md", "exec"), {"__name__": "guide"})  # noqa: S102 - it is our own guide
    assert capsys.readouterr().out == output
