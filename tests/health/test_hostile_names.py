"""Names with quotes, line ends, escapes and 10,000 letters harm neither metrics, nor the feed, nor a terminal.

A share of what `make hostile` does with 100,000 actors, tasks and sessions. The page has a test of its own.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from unicodedata import category

import pytest
import trio
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.health.hostile import HOSTILE, live, main, names, start_actors
from tests.health.kit import CALM, Watched, fetch, numbers, watched_runtime
from tests.health.test_health_series import PROMTOOL
from tests.serving.kit import ROOT
from tests.unmeasured import unmeasured
from vespera_agents.health.observer.sections import NAME_LETTERS_MAX
from vespera_agents.serving.control import control_spec

EACH = 400
SEED = int(os.environ.get("HOSTILE_SEED", secrets.randbelow(10**6)))
"""Another one each time; HOSTILE_SEED repeats a run."""
LETTERS_MAX = 400
"""In a line that is printed for people."""
FORBIDDEN = {"Cc", "Cs", "Zl", "Zp"}
"""Kinds of characters that do something to a terminal, or end a line for somebody."""
TURNING = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""They turn the direction of what follows them, and so change what a line says."""


@dataclass
class Served:
    """A watched runtime that answers on its private socket."""

    watched: Watched
    project: Path
    actors: list[str]

    async def vespera(self, *words: str) -> str:
        """Run the command in a process of its own and give what it printed."""
        state = str(self.watched.place / "state")
        environment = {**unmeasured(), "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": state}
        with trio.fail_after(300):
            done = await trio.run_process(
                [sys.executable, "-m", "vespera_agents", *words, "--workspace", str(self.project)],
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env=environment,
            )
        assert done.stderr == b""
        assert done.returncode in {0, 1}, done.stdout
        return done.stdout.decode()


@asynccontextmanager
async def served(place: Path) -> AsyncGenerator[Served]:
    """Keep actors, tasks, sessions and a project with hostile names for the length of a block."""
    async with watched_runtime(place) as watched:
        # What `vespera health` says of a machine that is busy with other tests is not what is asked here.
        watched.health.model.settings = CALM
        opened = await watched.workspace('my "pro\'ject" \x1b[31m\n\u202e\U0001f680')
        await live(watched, opened, 20, random.Random(SEED))
        await watched.runtime.doors.start_child(control_spec(watched.runtime, opened))
        found = [*HOSTILE, *names(random.Random(SEED), 50, "n")]
        await start_actors(watched, found)
        yield Served(watched, opened.workspace.directory, found)


def living(actors: list[str]) -> list[str]:
    """Leave out those that crash, see `start_actors`."""
    return [name for number, name in enumerate(actors) if number % 50 != 49]


def harm(text: str) -> list[str]:
    """Find the lines that would do something to a terminal, or are too long for it."""
    return [
        line[:200]
        for line in text.split("\n")
        if len(line) > LETTERS_MAX or any(category(letter) in FORBIDDEN or letter in TURNING for letter in line)
    ]


@pytest.mark.unmeasured
async def test_hostile_names_of_actors_tasks_and_sessions_make_no_series(tmp_path: Path) -> None:
    async with watched_runtime(tmp_path) as watched:
        opened = await watched.workspace()
        before = await watched.numbers()
        await live(watched, opened, EACH, random.Random(SEED))
        after = await watched.numbers()
    assert after.keys() == before.keys(), f"HOSTILE_SEED={SEED} repeats this"
    assert after['vespera_actor_starts_total{kind="other"}'] == EACH
    assert after['vespera_tasks{specialist="other",status="pending"}'] > EACH / 2


async def test_the_exposition_with_all_of_them_alive_can_be_read_by_everybody(tmp_path: Path) -> None:
    async with served(tmp_path) as one:
        text = await one.watched.scrape()
        status, traced = await trio.to_thread.run_sync(fetch, one.watched.endpoint.url, "application/openmetrics-text")
    assert numbers(text)['vespera_actors{kind="other",state="running"}'] == len(
        [n for n in range(len(one.actors)) if n % 50 != 49]
    )
    assert text.isascii()
    assert status == 200
    assert len([*text_string_to_metric_families(traced)]) > 50
    if PROMTOOL is not None:
        checked = await trio.run_process(
            [PROMTOOL, "check", "metrics"], stdin=text.encode(), capture_stdout=True, capture_stderr=True, check=False
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


async def test_the_feed_tells_each_name_as_it_is(tmp_path: Path) -> None:
    async with served(tmp_path) as one:
        data = await one.watched.health.feed.snapshot()
        stacks = await one.watched.health.answers.stacks()
        told = json.loads(data)
        columns, rows = told["tree"]["columns"], told["tree"]["rows"]
        shown = {row[columns.index("name")] for row in rows}
        told_as = {
            name if len(name) <= NAME_LETTERS_MAX else f"{name[:NAME_LETTERS_MAX]}…" for name in living(one.actors)
        }
        assert told_as <= shown
        key = next(row[columns.index("key")] for row in rows if row[columns.index("name")] == "two\nlines")
        asked = await one.watched.health.answers.actor(key)
    # One line each, whatever is in it: lines are what the private socket and the stream of events are made of.
    assert all(answer is not None and b"\n" not in answer and answer.isascii() for answer in (data, stacks, asked))
    assert json.loads(asked)["name"] == "two\nlines"
    assert len(json.loads(stacks)["actors"]) >= len(living(one.actors))


COMMANDS = {
    "tree": ("tree",),
    "top": ("top", "--once"),
    "top as JSON": ("top", "--json"),
    "health": ("health",),
    "status": ("status",),
}


async def test_what_is_printed_does_nothing_to_a_terminal(tmp_path: Path) -> None:
    printed: dict[str, str] = {}
    async with served(tmp_path) as one:

        async def run(name: str) -> None:
            printed[name] = await one.vespera(*COMMANDS[name])

        async with trio.open_nursery() as nursery:
            for name in COMMANDS:
                nursery.start_soon(run, name)
    as_json = printed.pop("top as JSON")
    assert json.loads(as_json)
    assert as_json.isascii()
    assert {name: found for name, text in printed.items() if (found := harm(text))} == {}
    assert len(printed["tree"].splitlines()) > len(one.actors) * 0.9


def test_what_would_do_harm_is_found() -> None:
    bad = ["\x1b[31mred", "a\x07", "\x9b2J", "\u202eabc", "a\u2028b", "x" * 500, "\r"]
    assert harm("\n".join(["good \U0001f680 \u00e9", *bad])) == [line[:200] for line in bad]


def test_the_command_says_what_it_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--each", "30", "--seed", "1"]) == 0
    assert "30 actors, tasks and sessions" in capsys.readouterr().out
