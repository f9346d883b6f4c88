"""`vespera providers`: what there is, whether it works, what a task would go to; and never a key."""

from __future__ import annotations

import json
import sqlite3

import pytest

from vespera_agents.providers.reading import provider_variables

SECRET = f"sk-{0x1F2E3D4C5B6A:016d}"
SCRIPT = """
price = { input_usd = 1.0, output_usd = 2.0 }
[[rules]]
contains = ["ready"]
text = "ready"
usage = { input_tokens = 1000, output_tokens = 500 }
"""
CONFIG = """
[providers]
policy = "best"
spend_usd_per_day = 1.0
[providers.script]
kind = "scripted"
script = "{place}/script.toml"
[providers.work]
kind = "openai-compatible"
base_url = "https://models.example.com/v1"
key_env = "WORK_KEY"
models = ["large"]
"""


@pytest.fixture
def configured(vespera, monkeypatch):
    for variable in provider_variables():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("WORK_KEY", SECRET)
    vespera.write("script.toml", SCRIPT)
    vespera.write(".vespera/config.toml", CONFIG.format(place=vespera.workspace))
    return vespera


def test_without_any_it_says_how_to_have_one(vespera, monkeypatch):
    for variable in provider_variables():
        monkeypatch.delenv(variable, raising=False)
    for words in (("list",), ("check",), ("explain", "write a poem")):
        done = vespera("providers", *words)
        assert "OLLAMA_HOST" in done.stdout
    assert done.returncode == 1


def test_trust_shows_where_keys_would_go_and_list_what_counts(configured):
    untrusted = configured("providers", "list")
    assert "run `vespera trust`" in untrusted.stdout
    assert "work" not in untrusted.stdout
    trust = configured("trust", "--yes")
    assert "work: https://models.example.com/v1, the key in WORK_KEY" in trust.stdout
    listed = configured("providers", "list")
    assert listed.returncode == 0
    assert "key: in WORK_KEY" in listed.stdout
    assert "large: " in listed.stdout
    assert "price unknown" in listed.stdout
    assert "a day (UTC): $1.00; today $0.0000" in listed.stdout
    document = json.loads(configured("providers", "list", "--json").stdout)
    assert [one["name"] for one in document["providers"]] == ["script", "work"]
    assert SECRET not in trust.stdout + listed.stdout + json.dumps(document)


def test_check_tells_what_is_wrong_and_asks_only_with_call(configured, monkeypatch):
    configured("trust", "--yes")
    done = configured("providers", "check")
    assert done.returncode == 1
    assert "price" in done.stdout, "a limit is set and nobody knows what work costs"
    assert not (configured.workspace / ".vespera" / "vespera.db").exists()
    asked = configured("providers", "check", "script", "--call")
    assert (asked.returncode, asked.stderr) == (0, "")
    assert "scripted-1 answered 'ready' for $0.002" in asked.stdout
    with sqlite3.connect(configured.workspace / ".vespera" / "vespera.db") as connection:
        assert connection.execute("SELECT provider, calls, micro_usd FROM spending").fetchall() == [("script", 1, 2000)]
    connection.close()
    assert "today $0.0020" in configured("providers", "list").stdout
    monkeypatch.delenv("WORK_KEY")
    assert "the variable WORK_KEY holds no key" in configured("providers", "check", "work").stdout
    assert configured("providers", "check", "nobody").returncode == 2


def test_explain_ranks_them_and_says_why_others_are_out(configured):
    configured("trust", "--yes")
    done = configured("providers", "explain", "write a poem")
    assert done.returncode == 0
    assert "policy best" in done.stdout
    assert "script/scripted-1" in done.stdout
    assert "capability" in done.stdout
    document = json.loads(configured("providers", "explain", "x", "--context-tokens", "9000000", "--json").stdout)
    assert all(one["out"] for one in document["candidates"])
    assert configured("providers", "explain", "x", "--policy", "dearest").returncode == 2


def test_explain_knows_a_task_by_its_id(configured):
    configured.write("plan.md", "---\nid: ONE\n---\n## Phase 1: Think\nThink hard about it.\n")
    configured("run", "plan.md")
    configured("trust", "--yes")
    with sqlite3.connect(configured.workspace / ".vespera" / "vespera.db") as connection:
        (task,) = connection.execute("SELECT id FROM task WHERE title = 'Phase 1: Think'").fetchone()
    connection.close()
    assert f"{task} (Phase 1: Think)" in configured("providers", "explain", task).stdout


def test_claude_code_is_listed_checked_and_explained_and_never_started(configured):
    program = configured.workspace / "claude"
    with (configured.workspace / ".vespera" / "config.toml").open("a") as file:
        file.write(f'[providers.claude]\nkind = "claude-code"\nprogram = "{program}"\n')
    configured("trust", "--yes")
    listed = configured("providers", "list")
    assert listed.returncode == 0, listed.stderr
    assert "works on whole tasks, and says what each has cost" in listed.stdout
    document = json.loads(configured("providers", "list", "--json").stdout)
    assert document["providers"][-1]["kind"] == "claude-code"
    missing = configured("providers", "check", "claude")
    assert missing.returncode == 1
    assert "there is no program" in missing.stdout
    (told,) = json.loads(configured("providers", "check", "claude", "--json").stdout)
    assert told["problems"]
    assert told["said"] == ""
    program.write_text("#!/bin/sh\ntouch begun\n")
    program.chmod(0o755)
    for call in ([], ["--call"]):
        there = configured("providers", "check", "claude", *call)
        assert (there.returncode, there.stderr) == (0, "")
        assert "its program is there" in there.stdout
    assert "asked by name only" in configured("providers", "explain", "write a poem").stdout
    assert not (configured.workspace / "begun").exists()
