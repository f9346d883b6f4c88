"""`vespera callbacks`: what is shown shows no secret, replaying goes through the store, a test is a real request."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner, Result

from tests.specialists.callback_receiver import configure, receiving
from vespera_agents.cli import app
from vespera_agents.specialists import Call, Orchestrator, open_runtime
from vespera_agents.store import CommandKey
from vespera_agents.store.callbacks import callbacks
from vespera_agents.store.outbox import CallbackStatus
from vespera_agents.work.drafts import TaskDraft


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    directory = tmp_path / "project"
    directory.mkdir()
    return directory


def vespera(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["callbacks", *arguments], standalone_mode=False)


async def work(home: Path, url: str, *, until: CallbackStatus) -> None:
    """Complete one task, and wait until both of its callbacks have got so far."""
    configure(home, url, attempts_max=1)
    async with open_runtime("serve") as runtime:
        opened = await runtime.workspace(home)
        facade = Orchestrator(runtime, home)
        await facade.sessions.initialize(Call("mcp:test", CommandKey("t", "open")), None, None)
        call = Call("mcp:test", CommandKey("t", "plan"))
        planned = await facade.tasks.plan(call, (TaskDraft(key="a", title="a"),), None)
        await facade.work.execute(Call("mcp:test", CommandKey("t", "claim")), planned.tasks[0].id)
        with trio.fail_after(10):
            while not await opened.store.read(callbacks, [until], None, 1):  # noqa: ASYNC110 - a row has no event
                await trio.sleep(0.01)


async def replayed(home: Path) -> tuple[list[Result], list[dict]]:
    """Have everything fail at first; then replay it, with a receiver that takes it and a server that sends it."""
    results: list[Result] = []
    async with receiving() as receiver:
        receiver.answers = lambda _: "500 No"
        await work(home, receiver.url, until=CallbackStatus.DEAD)
        run = partial(trio.to_thread.run_sync, vespera)
        results.append(await run("list", "--workspace", str(home)))
        results.append(await run("list", "--json", "--workspace", str(home)))
        identifier = json.loads(results[1].stdout)["callbacks"][0]["id"]
        results.append(await run("show", identifier[:16], "--workspace", str(home)))
        results.append(await run("show", identifier, "--json", "--workspace", str(home)))
        results.append(await run("test", "bench", "--workspace", str(home)))
        receiver.answers = lambda _: "204 Taken"
        results.append(await run("test", "bench", "--workspace", str(home)))
        results.append(await run("replay", "--dead", "--target", "nobody", "--workspace", str(home)))
        results.append(await run("replay", identifier, "--workspace", str(home)))
        seen = len(receiver.bodies)
        async with open_runtime("serve") as runtime:
            await runtime.workspace(home)
            await receiver.until(seen + 1)
        assert receiver.forged == 0
        return results, receiver.bodies


def test_callbacks_are_listed_shown_tried_and_replayed(home: Path) -> None:
    results, bodies = trio.run(replayed, home)
    listed, document, shown, whole, refused, taken, none, one = results
    assert "1 dead" in listed.output
    assert "the receiver answered 500" in listed.output
    told = json.loads(document.stdout)
    assert told["counts"]["bench"] == {"pending": 0, "delivered": 0, "dead": 1}
    assert told["targets"]["bench"]["registered"] is True
    assert "on_task_start" in shown.output
    assert json.loads(whole.stdout)["body"] == bodies[0]
    assert (refused.return_value, taken.return_value, none.return_value, one.return_value) == (1, 0, 1, 0)
    assert [body["event"] for body in bodies] == ["on_task_start", "test", "test", "on_task_start"]
    assert bodies[3] == bodies[0]
    assert "secret" not in "".join(result.output for result in results)


def test_nobody_is_told_of_anything_until_the_owner_trusts_the_file(home: Path) -> None:
    configure(home, "https://chat.example/hook/secret-path", trusted=False)
    shown = vespera("list", "--workspace", str(home)).output
    assert "vespera trust" in shown
    assert "No target is configured" in shown
    asked = CliRunner().invoke(app, ["trust", "--workspace", str(home)], input="y\n", standalone_mode=False)
    assert "bench: https://chat.example, on_task_start" in asked.output
    assert "secret-path" not in asked.output
    assert "bench: https://chat.example, on_task_start" in vespera("list", "--workspace", str(home)).output


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "callback_none"),
        ("test", "nobody"),
        ("replay", "callback_none"),
        ("replay",),
        ("replay", "--dead", "x"),
    ],
    ids=" ".join,
)
def test_what_is_not_there_is_said_with_what_to_do(home: Path, arguments: tuple[str, ...]) -> None:
    configure(home, "https://chat.example/")
    result = vespera(*arguments, "--workspace", str(home))
    assert result.exception is not None
    assert str(result.exception)
