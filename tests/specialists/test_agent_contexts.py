"""Five specialists side by side, each with a context of 100,000 tokens: none ever sees a text of another."""

from __future__ import annotations

import json
import random
import resource
import sys

from vespera_agents.context import count_tokens
from vespera_agents.providers.scripted import ScriptedProvider
from vespera_agents.providers.scripts import Answer, Failure, Rule, Script, ScriptedCall
from vespera_agents.specialists.agent.history import specs_text
from vespera_agents.work.plans import read_plan  # noqa: F401 - loaded before the memory is measured

SPECIALISTS = 5
LIMIT = 100_000
FILES = 13
FILE_WORDS = 4_200
"""Some 7,000 tokens."""
WORDS = ("river", "stone", "over", "bridge", "lantern", "quiet", "morning", "signal", "harbour", "ledger")


def canary(owner: int) -> str:
    return f"CANARY{owner}X"


def test_words_make_a_file_of_the_wanted_size():
    assert 4_000 < count_tokens(text(1, 1)) < 10_000


def text(owner: int, number: int) -> str:
    dice = random.Random(f"{owner}/{number}")
    lines = [" ".join(dice.choices(WORDS, k=12)) for _ in range(FILE_WORDS // 12)]
    return f"{canary(owner)} file {number}\n" + f"\n{canary(owner)} ".join(lines)


def script() -> Script:
    rules: list[Rule] = []
    for owner in range(SPECIALISTS):
        mine = f"## Your task\n\nt{owner} (task"
        for number in range(FILES):
            asks = ScriptedCall("read_file", {"path": f"o{owner}/f{number}", "lines": 2_000})
            rules.append(Rule(Answer(f"{canary(owner)} says {number}", (asks,)), contains=(mine,), times_max=1))
        hands_in = ScriptedCall("hand_in", {"summary": f"{canary(owner)} is done", "next_action": "complete"})
        rules.append(Rule(Answer(calls=(hands_in,)), contains=(mine,)))
    summary = Rule(Answer("a summary"), contains=("You shorten the account",))
    # The prose of the report is the one text that tells of all of them.
    prose = Rule(Answer(fails=Failure()), contains=("as it was gathered from its tasks",))
    return Script(rules=(prose, summary, *rules))


async def test_no_text_of_one_is_ever_in_the_context_of_another(house, home, capsys):
    roles = home / ".vespera" / "roles"
    roles.mkdir(parents=True)
    role = {"role_definition": "You read.", "tools": ["read_file"], "context_tokens_max": LIMIT}
    (roles / "reader.yaml").write_text(json.dumps({"reader": role}))
    for owner in range(SPECIALISTS):
        (home / f"o{owner}").mkdir()
        for number in range(FILES):
            (home / f"o{owner}" / f"f{number}").write_text(text(owner, number))
    tasks = [
        f"### t{owner}\n```yaml\nspecialist: reader\n```\nThe secret word is {canary(owner)}.\n"
        for owner in range(SPECIALISTS)
    ]
    plan = "\n".join([f"---\nid: SIDE\nconcurrency: {SPECIALISTS}\n---\n# Side by side\n## Phase 1: All\n", *tasks])
    provider = ScriptedProvider(script())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with house() as h:
        h.opened.model_source.add(provider)
        result = await h.run(plan)
        assert result.counts == {"completed": SPECIALISTS}
        specialists = {counts.role: counts for counts in h.opened.context_figures.statistics()}
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    largest = dict.fromkeys(range(SPECIALISTS), 0)
    for request in provider.asked:
        if "as it was gathered from its tasks" in request.system:
            continue
        whole = request.system + request.messages[0].text
        (owner,) = [one for one in range(SPECIALISTS) if canary(one) in whole]
        sizes = (request.system, specs_text(request.tools), request.messages[0].text)
        tokens = sum(map(count_tokens, sizes))
        assert tokens <= LIMIT
        largest[owner] = max(largest[owner], tokens)
    assert min(largest.values()) > LIMIT * 0.5
    assert specialists["reader"].compactions + specialists["reader"].respawns >= SPECIALISTS
    assert provider.figures.in_flight_peak > 1, "they work side by side"
    with capsys.disabled():
        sys.stdout.write(
            f"\n{SPECIALISTS} specialists, largest contexts {sorted(largest.values())} of {LIMIT} tokens, "
            f"{len(provider.asked)} requests; peak memory {before // 1024} MB before, {after // 1024} MB after\n"
        )
