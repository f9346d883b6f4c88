"""Prices out of the table in the installation: every default model has one, and an unknown model is unknown."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vespera_agents.providers.exchange import ModelMessage, ModelRequest, Price, ToolSpec, Usage
from vespera_agents.providers.prices import cost_usd, price_of
from vespera_agents.providers.reading import provider_variables, read_providers
from vespera_agents.providers.settings import Kind
from vespera_agents.providers.spending import input_tokens_bound, micro_usd, most_usd


def test_every_default_model_of_a_vendor_has_a_price() -> None:
    """Else a limit of spending would put it out."""
    unknown = []
    for variable in provider_variables():
        (one,) = read_providers({}, False, {variable: "x"}).providers
        if one.kind is not Kind.OLLAMA and price_of(one.kind, one.models[0]) is None:
            unknown.append((one.kind.value, one.models[0]))
    assert unknown == []


def test_an_unknown_model_and_an_address_of_ones_own_have_no_price() -> None:
    assert price_of(Kind.OPENAI, "no-such-model-at-all") is None
    assert price_of(Kind.OPENAI_COMPATIBLE, "gpt-5-mini") is None
    assert price_of(Kind.OPENAI, "") is None


def test_a_price_is_plausible() -> None:
    price = price_of(Kind.OPENAI, "gpt-5-mini")
    assert price is not None
    assert 0.01 < price.input_usd < price.output_usd < 100
    assert price.cache_read_usd is None or price.cache_read_usd <= price.input_usd


def test_the_table_is_read_when_the_first_price_is_asked_for() -> None:
    program = "import sys, vespera_agents.providers.models; print('genai_prices' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("usd", "micro"), [(0.0, 0), (0.000001, 1), (0.0000011, 2), (0.1 + 0.2, 300_000), (1.1, 1_100_000)]
)
def test_amounts_are_rounded_up_but_not_for_the_last_bits_of_a_float(usd: float, micro: int) -> None:
    assert micro_usd(usd) == micro


def test_what_is_set_aside_is_never_less_than_what_an_answer_costs() -> None:
    tools = (ToolSpec("t", "does", {"type": "object"}),)
    request = ModelRequest(
        "m", "s" * 500, (ModelMessage("user", "\N{GRINNING FACE}" * 300),), tools, output_tokens_max=100
    )
    size = input_tokens_bound(request, 0, 1.25)
    assert size >= 500 + 1_200, "no tokenizer makes more tokens than bytes"
    assert input_tokens_bound(request, 100, 1.25) < size, "a count is a better bound"
    assert input_tokens_bound(request, 100, 4.0) >= 500, "a vendor that counts more is believed"
    price = Price(3.0, 15.0, 0.3, 3.75)
    most = most_usd(price, size, 100)
    for usage in (Usage(size, 100), Usage(size, 100, size, 0), Usage(size, 100, 0, size)):
        assert cost_usd(price, usage) <= most
