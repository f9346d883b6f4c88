"""Generated calls, mutated lines and bodies: no crash, no hang, no traceback, and the next good call is answered.

A share of what `python -m tests.serving.fuzz` does at length; each failure tells the seed that repeats it.
"""

from __future__ import annotations

import json
import os
import random
import secrets
from collections.abc import Awaitable, Callable

import pytest
import trio
from hypothesis import Phase, find, settings
from hypothesis.errors import NoSuchExample
from jsonschema import Draft202012Validator

from tests.serving.fuzz.bodies import fuzz_bodies
from tests.serving.fuzz.calls import fuzz_calls
from tests.serving.fuzz.lines import Findings, fuzz_lines
from tests.serving.fuzz.messages import Ids
from tests.serving.fuzz.mutations import mutated_body
from tests.serving.fuzz.schema_values import arguments_for
from tests.serving.kit import Place, new_place
from vespera_agents.serving.tools.catalogue import TOOLS

Fuzz = Callable[[Place, str, int, int], Awaitable[Findings]]
SEED = int(os.environ.get("FUZZ_SEED", secrets.randbelow(10**6)))
"""Another one each time; FUZZ_SEED repeats a run."""
RUNS: dict[str, tuple[Fuzz, int]] = {
    "lines": (fuzz_lines, 5_000),
    "bodies": (fuzz_bodies, 1_500),
    "calls": (fuzz_calls, 400),
}
"""How much of each, in either era."""
PATIENCE_SECONDS = 300
"""What hangs takes longer; each takes a few seconds where it has a processor to itself."""
IDS = Ids("session_1", ("task_1", "task_2", "task_3", "task_4", "task_5"))


@pytest.mark.unmeasured
@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("name", RUNS)
async def test_whatever_a_client_sends_the_server_goes_on(name: str, era: str) -> None:
    fuzz, count = RUNS[name]
    with new_place() as place, trio.fail_after(PATIENCE_SECONDS):
        findings = await fuzz(place, era, count, SEED)
    faults = "\n".join(findings.faults)
    assert not findings.faults, f"FUZZ_SEED={SEED} repeats this: {findings}\n{faults}"
    assert findings.sent >= count
    # Neither of them alone would try much: rubbish stays at the door, and what is well-formed breaks nothing there.
    assert 0.2 * findings.answers < findings.errors < 0.99 * findings.answers


def test_a_mutation_is_the_same_for_the_same_seed_and_hardly_ever_for_another() -> None:
    def made(seed: int) -> list[bytes]:
        source = random.Random(seed)
        return [mutated_body(source, "modern", IDS) for _ in range(300)]

    assert made(1) == made(1)
    assert len({*made(1), *made(2)}) > 500


def test_mutations_reach_every_layer_of_a_reader() -> None:
    source = random.Random(1)
    bodies = [mutated_body(source, "legacy", IDS) for _ in range(3_000)]
    assert any(_not_utf8(body) for body in bodies)
    assert any(b"\0" in body for body in bodies)
    assert any(body.startswith(b"[{") for body in bodies), "no batch"
    assert any(b"NaN" in body for body in bodies)
    assert any(b"[" * 500 in body for body in bodies)
    assert any(len(body) > 50_000 for body in bodies)
    assert 0.3 < sum(_is_json(body) for body in bodies) / len(bodies) < 0.9


def _not_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return True
    return False


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


@pytest.mark.unmeasured
@pytest.mark.parametrize("name", TOOLS)
def test_generated_arguments_fit_a_schema_or_just_miss_it(name: str) -> None:
    schema = dict(TOOLS[name].input_schema)
    validator = Draft202012Validator(schema)
    strategy = arguments_for(schema, {})
    # Which example it is does not matter, so none is made small.
    quick = settings(max_examples=300, database=None, deadline=None, phases=(Phase.generate,))
    for wanted in (True, False):
        try:
            find(strategy, lambda given, wanted=wanted: validator.is_valid(given) is wanted, settings=quick)
        except NoSuchExample:
            pytest.fail(f"nothing that {'fits' if wanted else 'misses'} it was made for {name}")
