"""The interface of `vespera top`, driven through Textual's pilot against real servers. Every wait is bounded."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unmeasured import unmeasured
from vespera_agents.cli.top import views
from vespera_agents.cli.top.app import TopApp
from vespera_agents.workspace import Workspace, open_workspace

ROOT = Path(__file__).resolve().parents[2]
SERVER = Path(__file__).with_name("observed_server.py")
SECONDS_MAX = 60
"""How long anything on the screen may take on a loaded machine."""
HOSTILE = (
    "\x1b[31mred\x1b]0;title\x07 [bold red]x[/] \x9b2J\u202etfel\u2066\n\ttab",
    "\u05e9\u05dc\u05d5\u05dd \u4f60\u597d e" + "\u0301" * 50,
    "z" * 10_000,
)
STEERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Observed:
    """A server process that obeys."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def tell(self, *words: object) -> None:
        line = json.dumps(words)
        print(line, file=self.process.stdin, flush=True)
        assert self.process.stdout.readline().strip() == line


@contextmanager
def observed(workspace: Path) -> Iterator[Observed]:
    process = subprocess.Popen(
        [sys.executable, "-W", "error", str(SERVER), str(workspace), str(workspace / ".state")],
        env={**unmeasured(), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == '["up"]\n'
        yield Observed(process)
    finally:
        process.kill()
        process.communicate()


class Seen:
    """A running app, and what stands on its screen."""

    def __init__(self, app: TopApp, pilot) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def lines(self) -> list[str]:
        return [strip.text.rstrip() for strip in self.app.screen._compositor.render_strips()]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    async def until(self, *texts: str, without: str = "\0") -> str:
        """Wait until all texts are on the screen."""
        shown = self.text
        try:
            async with asyncio.timeout(SECONDS_MAX):
                while without in shown or not all(text in shown for text in texts):
                    await self.pilot.pause(0.05)
                    shown = self.text
        except TimeoutError:
            pytest.fail(f"not all of {texts}, without {without!r}:\n{shown}")
        return shown

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        self.app.draw()


def watch(
    workspace: Path | Workspace,
    story: Callable[[Seen], Awaitable[None]],
    size: tuple[int, int] = (150, 40),
) -> TopApp:
    """Run the interface without a terminal while a story happens; see that nothing is left behind."""
    app = TopApp(open_workspace(workspace) if isinstance(workspace, Path) else workspace)

    async def bounded() -> None:
        async with asyncio.timeout(5 * SECONDS_MAX):
            async with app.run_test(size=size) as pilot:
                await story(Seen(app, pilot))
            ours = {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}
            assert not ours, "no task outlives the app"

    asyncio.run(bounded())
    return app


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    return directory


def test_the_story_of_an_operator(project: Path) -> None:
    with observed(project) as server:
        server.tell("spawn", "alpha", "beta", "gamma", *HOSTILE)

        async def story(seen: Seen) -> None:
            await tree_unfolds(seen)
            await actors_are_sorted_and_filtered(seen, server)
            await an_actor_is_opened(seen)
            await a_restart_happens(seen, server)
            await a_stall_is_seen(seen, server)
            await narrow_terminals_are_served(seen)

        watch(project, story)


async def tree_unfolds(seen: Seen) -> None:
    await seen.until("health", "workspaces", "alpha", "running", "healthy", "6 actors")
    await seen.press("home", "left")
    await seen.until("▸ (", without="workspaces")
    await seen.press("space")
    await seen.until("├─ ▾ workspaces", "alpha")
    await seen.press("slash", *"PH cl", "enter")
    shown = await seen.until('only those with "PH cl"', "└─ alpha", without="beta")
    assert "workspaces" not in shown.split("only those")[1]
    await seen.press("escape")
    await seen.until("beta", without="only those")
    assert not STEERS.search(seen.text.replace("\n", "")), "nothing that steers a terminal is drawn"
    # The marks of Rich and Textual are text like any other.
    await seen.until("red [bold red]x[/] tfel tab")


async def actors_are_sorted_and_filtered(seen: Seen, server: Observed) -> None:
    server.tell("hang", "beta")
    for _ in range(3):
        server.tell("note", "beta")
    await seen.press("2")
    await seen.until("6 actors by mailbox", "Mailbox ▼", "beta", "3/100")
    rows = seen.app.listings["actors"].grid.rows
    assert rows[0].cells()[0] == "beta"
    await seen.press("S", "S", "S")
    await seen.until("6 actors by actor", "Actor ▲")
    names = [row.cells()[0] for row in seen.app.listings["actors"].grid.rows]
    assert names.index("alpha") < names.index("beta") < names.index("gamma")
    await seen.press("r")
    assert [row.cells()[0] for row in seen.app.listings["actors"].grid.rows] == names[::-1]
    grid = seen.app.listings["actors"].grid
    await seen.pilot.click(grid, offset=(3, 2))
    assert grid.cursor == 1, "the head takes the first line"
    await seen.press("slash", *"beta", "enter")
    await seen.until('"beta"', without="alpha")
    assert len(seen.app.listings["actors"].grid.rows) == 1


async def an_actor_is_opened(seen: Seen) -> None:
    await seen.press("enter")
    shown = await seen.until("root/beta", "actor of Clerk", "Mailbox, the next first", "Note", "Waits in")
    assert re.search(r"observed_server.py:\d+ in (Clerk.)?hang", shown)
    assert "none that is known" in shown


async def a_restart_happens(seen: Seen, server: Observed) -> None:
    await seen.press("2", "escape")
    server.tell("crash", "gamma", "out of [red]paper\x1b[31m\u202e")
    await seen.press("4")
    await seen.until("child crashed", "ValueError: out of [red]paper", "root/gamma")
    await seen.press("2", "slash", *"gamma", "enter", "enter")
    await seen.until("root/gamma", "restarted 1 time", "Last crash", "observed_server.py", "raise ValueError")
    assert not STEERS.search(seen.text.replace("\n", ""))


async def a_stall_is_seen(seen: Seen, server: Observed) -> None:
    # On a machine that gives the server no processor meanwhile, that time is not counted as blocked.
    server.tell("block", "alpha", 2.5)
    await seen.press("6")
    shown = await seen.until("blocked", "alpha", "observed_server.py")
    assert re.search(r"\b(?:2\.[5-9]|[3-9]\.\d|\d\d\.\d) s", shown), "it tells for how long"
    # On a busy machine others may have held up the loop as well.
    shown = await seen.until("in Clerk.block", without=" 0 stalls ")
    assert re.search(r" [1-9]\d* stalls? ", shown)


async def narrow_terminals_are_served(seen: Seen) -> None:
    for width, height in ((1, 1), (40, 12)):
        await seen.pilot.resize_terminal(width, height)
        for tab in "123456":
            await seen.press(tab)
        assert all(len(line) <= width for line in seen.lines)
    await seen.press("1")
    await seen.until("workspaces")


def test_of_ten_thousand_actors_only_those_in_sight_are_drawn(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    cells = views.ActorRow.cells

    def counted(row: views.ActorRow):
        drawn.append(row.node.name)
        return cells(row)

    monkeypatch.setattr(views.ActorRow, "cells", counted)
    with observed(project) as server:
        server.tell("crowd", 10_000)

        async def story(seen: Seen) -> None:
            await seen.press("2")
            await seen.until("10,000 actors", "crowd-00000")
            await seen.press("S", "S", "S")
            drawn.clear()
            await seen.press("end")
            await seen.until("crowd-09999")
            await seen.press("home", *["pagedown"] * 3)
            assert len(set(drawn)) < 500
            await seen.press("slash", *"-0777", "enter")
            await seen.until("crowd-07779", without="crowd-00000")
            await seen.press("escape", "1")
            # So many children are folded until somebody wants them.
            await seen.until("root", without="crowd-")

        watch(project, story)


def test_a_server_that_is_killed_is_waited_for_and_the_next_one_is_shown(project: Path) -> None:
    async def story(seen: Seen) -> None:
        with observed(project) as first:
            first.tell("spawn", "alpha")
            await seen.until("alpha", "healthy", without="disconnected")
            await seen.press("end", "enter")
            await seen.until("root/alpha", "Mailbox, the next first")
            first.process.send_signal(signal.SIGSTOP)
            await seen.until("no word for", "root/alpha")
            first.process.kill()
            first.process.wait(10)
            await seen.until("disconnected since", "no server runs on", "root/alpha", "What supervisors told")
        with observed(project) as second:
            second.tell("spawn", "omega")
            await seen.until("root/alpha", "It is gone", without="disconnected")
            second.tell("spawn", "alpha")
            await seen.until("root/alpha", "0 messages handled", without="It is gone")
            await seen.press("1")
            await seen.until("omega")
            await seen.press("4")
            await seen.until("connected")
            await seen.press("end")
            await seen.until("connection lost")

    with observed(project):
        pass
    watch(project, story)


def test_behind_a_front_the_next_worker_is_shown(vespera) -> None:
    process = vespera.start("serve", stdin=subprocess.PIPE)

    async def story(seen: Seen) -> None:
        await seen.until("generation 1")
        worker = int(str(seen.app.mirror.server["pid"]))
        os.kill(worker, signal.SIGKILL)
        await seen.until("generation 2", "1 of its workers crashed", without="disconnected")
        await seen.press("4")
        await seen.until("connected")
        await seen.press("end")
        await seen.until("connection lost")

    watch(vespera.workspace, story)
    process.communicate(timeout=20)
    assert process.returncode == 0
