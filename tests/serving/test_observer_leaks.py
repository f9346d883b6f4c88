"""Nothing leaks: real servers full of strings that must not be seen, and everything that they show of themselves.

The strings stand in tokens, in the environment, in messages of actors, in prompts, descriptions, summaries, artifacts,
commands and their output. Titles of tasks and names of sessions are shown: that is what they are for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from trio.testing import MockClock

from tests.health.observing import fed_runtime
from tests.serving.kit import HttpServer, Place, http_client, new_place, refuse, serving_process, succeed
from vespera_agents.actors import Actor, Request, receives
from vespera_agents.health.metrics.measured import Measured
from vespera_agents.health.observer import blanking
from vespera_agents.health.observer.blanking import secrets_of
from vespera_agents.health.observer.feed import Feed

CANARY = "canary-7f3a"
TOKEN = f"{CANARY}-in-the-token-file"
SHOWN = "shown-5c21"


@pytest.fixture(name="place")
def a_place() -> Iterator[Place]:
    with new_place() as found:
        yield found


def watched(server: HttpServer) -> httpx2.AsyncClient:
    headers = {"authorization": f"Bearer {TOKEN}"}
    return httpx2.AsyncClient(base_url=server.url.removesuffix("/mcp"), headers=headers, timeout=20)


async def first_events(client: httpx2.AsyncClient, count: int) -> list[str]:
    found: list[str] = []
    async with client.stream("GET", "/observer/api/events") as response:
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                found.append(line)
            if len(found) == count:
                return found
    return found


async def everything(client: httpx2.AsyncClient, session: str) -> str:
    """Give all that a server shows to whoever may see it."""
    texts = await first_events(client, 4)
    picture: dict[str, Any] = json.loads(texts[0].removeprefix("data: "))
    keys = [row[0] for row in picture["tree"]["rows"]]
    assert len(keys) > 10
    paths = [f"/observer/api/actor?key={key}" for key in keys]
    paths += ["/observer/api/snapshot", "/observer/api/stacks", f"/observer/api/session?id={session}", "/healthz"]
    paths += ["/livez", "/readyz", "/metrics"]
    for path in paths:
        answer = await client.get(path, headers={"accept": "application/openmetrics-text"})
        assert answer.status_code in {200, 404, 503}, (path, answer.text)
        texts.append(answer.text)
    return "\n".join(texts)


async def test_a_server_shows_titles_and_no_content(place: Place) -> None:
    tokens = place.root / "tokens"
    tokens.write_text(f"{TOKEN}\n")
    tokens.chmod(0o600)
    environment = [f"{name}={CANARY}-{name}" for name in ("ANTHROPIC_API_KEY", "SECRET", "HARMLESS")]
    options = ["--http", "127.0.0.1:0", "--token-file", str(tokens)]
    async with serving_process(place, ["/usr/bin/env", *environment, *place.command, *options]) as server:
        async with http_client(server.url, token=TOKEN) as client:
            session = (await succeed(client, "orchestrator_initialize_session", name=f"{SHOWN} session"))["id"]
            place.trust('[commands]\nallow = ["echo"]\n')
            planned = await succeed(
                client,
                "orchestrator_plan_task",
                title=f"{SHOWN} title",
                description=f"{CANARY}-description: what to do about it",
                gates=[f"echo {CANARY}-gate"],
            )
            task = planned["tasks"][0]["id"]
            claim = await succeed(client, "orchestrator_execute_task", task_id=task)
            assert f"{CANARY}-description" in claim["prompt"]
            work = {"summary": f"{CANARY}-summary", "detailed_work": f"{CANARY}-work", "next_action": "complete"}
            await succeed(client, "orchestrator_complete_task", task_id=task, **work)
            await refuse(client, "orchestrator_get_status", "not_found", session=f"{CANARY}-session")
        async with watched(server) as watching:
            shown = await everything(watching, session)
            for path in ("/observer/api/snapshot", "/observer/", "/healthz", "/metrics"):
                nobody = await watching.get(path, headers={"authorization": f"Bearer {TOKEN}x"})
                assert nobody.status_code == 401
                assert CANARY not in nobody.text
        errors = "\n".join(server.errors)
    assert f"{SHOWN} title" in shown
    assert f"{SHOWN} session" in shown
    assert CANARY not in shown
    assert TOKEN not in errors
    assert "Traceback" not in errors


class Body:
    def __init__(self) -> None:
        self.text = f"{CANARY}-attribute"

    def __repr__(self) -> str:
        return f"{CANARY}-repr"


class Ask(Request[str]):
    def __repr__(self) -> str:
        return f"{CANARY}-request"


class Listener(Actor):
    def __init__(self) -> None:
        self.heard = f"{CANARY}-state"

    @receives
    async def take(self, message: Body) -> None:
        secret = f"{CANARY}-local {message.text}"  # noqa: F841 - it is seen in the stack
        await trio.sleep_forever()

    @receives
    def answer(self, _: Ask) -> str:
        return f"{CANARY}-answer"


class Crasher(Actor):
    @receives
    def crash(self, message: Body) -> None:
        secret = f"{CANARY}-local {message.text}"
        raise ValueError(len(secret))


class Quoter(Actor):
    @receives
    def refuse(self, key: str) -> None:
        raise ConnectionError(f"refused the key {key}")


async def test_messages_are_shown_by_their_types_wherever_they_are(autojump_clock: MockClock, tmp_path: Path) -> None:
    """In a mailbox, in a handler, in one that crashed, unhandled, dropped, asked for, and left over at an end."""
    async with fed_runtime(tmp_path) as (runtime, health):
        listener = await runtime.system.start(Listener, name="listener")
        crasher = await runtime.system.start(Crasher, name="crasher")
        leaver = await runtime.system.start(Listener, name="leaver")
        for _ in range(3):
            listener.tell(Body())
            crasher.tell(Body())
            leaver.tell(Body())
        crasher.tell(f"{CANARY}-unhandled")
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            # Virtual hours pass while a thread writes down a crash, and the question shall be asked all the while.
            nursery.start_soon(lambda: listener.ask(Ask(), timeout_seconds=1e9))
            await runtime.system.stop(leaver, timeout_seconds=0.1)
            await trio.sleep(2)
            shown = await all_that_is_known(health.feed)
            answers = [await health.answers.actor(key) for key in range(40)]
            stacks = await health.answers.stacks()
            nursery.cancel_scope.cancel()
        assert health.measured is not None
        measured: Measured = health.measured
        exposed = (await trio.to_thread.run_sync(measured.scrape, "application/openmetrics-text")).body
        all_of_it = b"\n".join([shown, *(answer or b"" for answer in answers), stacks or b"", exposed]).decode()
        assert re.search(r'"type": "Body"', all_of_it)
        assert "ValueError" in all_of_it
        assert CANARY not in all_of_it


async def all_that_is_known(feed: Feed) -> bytes:
    async with feed.watch() as viewer:
        return b"\n".join([(await viewer.next()).data for _ in range(4)])


async def test_an_error_that_quotes_a_secret_of_the_environment_is_shown_without_it(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blanking, "_own_secrets", lambda: secrets_of({"MODEL_API_KEY": f"{CANARY}-key"}))
    async with fed_runtime(tmp_path) as (runtime, health):
        quoter = await runtime.system.start(Quoter, name="quoter")
        quoter.tell(f"{CANARY}-key")
        await trio.sleep(2)
        shown = await all_that_is_known(health.feed)
        answers = [await health.answers.actor(key) for key in range(40)]
        all_of_it = b"\n".join([shown, *(answer or b"" for answer in answers)]).decode()
    assert "refused the key [MODEL_API_KEY]" in all_of_it
    assert CANARY not in all_of_it


def test_secrets_are_known_by_the_names_of_their_variables() -> None:
    environment = {
        "OPENAI_API_KEY": "sk-0123456789", "db_password": "correct horse", "GITHUB_TOKEN": "ghp_aaaaaaaa",
        "SSH_AUTH_SOCK": "/run/user/1000/agent", "SHORT_TOKEN": "yes", "HOME": "/nowhere/at/all", "LANG": "en_US.UTF-8",
    }  # fmt: skip
    assert {name for _, name in secrets_of(environment)} == {"OPENAI_API_KEY", "db_password", "GITHUB_TOKEN"}
