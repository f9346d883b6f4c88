"""What clients are told of changes, in both eras: of what they watch, and of what came and went; once, and no more.

Over a handshake connection with `resources/subscribe`, since 2026-07-28 by `subscriptions/listen`; in memory where
that is enough, over real pipes and sockets for the key paths.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.testing
from mcp import Client
from mcp.client.subscriptions import SubscriptionLost
from mcp.server.connection import Connection
from mcp.server.runner import aclose_shielded
from mcp.server.subscriptions import ResourcesListChanged, ResourceUpdated
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    LOG_LEVEL_META_KEY,
    EmptyResult,
    LoggingLevel,
    LoggingMessageNotificationParams,
    ResourceListChangedNotification,
    ResourceUpdatedNotification,
    SetLevelRequest,
    SetLevelRequestParams,
    SubscribeRequest,
    SubscribeRequestParams,
    UnsubscribeRequest,
    UnsubscribeRequestParams,
)

from supervisors import ChildSpec, Restart
from tests.serving.kit import (
    ERAS,
    Place,
    connected,
    front_of,
    http_client,
    http_server,
    in_memory,
    new_place,
    refuse,
    succeed,
    text_of,
)
from vespera_agents.front.http.limits import ORDINARY
from vespera_agents.serving.protocol.notifying import changes
from vespera_agents.serving.protocol.notifying.changes import GATHER_SECONDS, Changes
from vespera_agents.serving.protocol.notifying.watching import WATCHED_MAX, ChangesStatistics
from vespera_agents.serving.protocol.server import build_server
from vespera_agents.serving.tools.catalogue import TOOLS
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.runtime import Runtime, open_runtime
from vespera_agents.workspace import live_servers

LIST = "the list"
"""What is heard when resources came or went."""


class Heard:
    """What one client heard, in order."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._news = trio.Event()

    def hear(self, what: str) -> None:
        self.all.append(what)
        self._news.set()
        self._news = trio.Event()

    async def until(self, *what: str) -> None:
        """Wait until all of this was heard."""
        with trio.fail_after(20):
            while not set(what) <= set(self.all):
                await self._news.wait()

    def options(self, era: str) -> dict[str, Any]:
        """Give the options of a client that hears: since 2026-07-28 it listens instead."""
        return {"message_handler": self.on_message} if era == "legacy" else {}

    async def on_message(self, message: object) -> None:
        """Be the handler of a client of the handshake era."""
        if isinstance(message, ResourceUpdatedNotification):
            self.hear(message.params.uri)
        elif isinstance(message, ResourceListChangedNotification):
            self.hear(LIST)


@asynccontextmanager
async def watching(client: Client, era: str, heard: Heard, *uris: str, lists: bool = True) -> AsyncIterator[None]:
    """Hear of what lies at some addresses, and of the list, in the way of the era."""
    if era == "legacy":
        # Of the list such a client hears in any case.
        for uri in uris:
            await subscribe(client, uri)
        yield
        for uri in uris:
            await client.session.send_request(UnsubscribeRequest(params=UnsubscribeRequestParams(uri=uri)), EmptyResult)
        return
    async with (
        client.listen(resources_list_changed=lists, resource_subscriptions=uris) as events,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(collect, events, heard)
        yield
        nursery.cancel_scope.cancel()


async def subscribe(client: Client, uri: str) -> None:
    await client.session.send_request(SubscribeRequest(params=SubscribeRequestParams(uri=uri)), EmptyResult)


async def collect(events: AsyncIterator[object], heard: Heard) -> None:
    async for event in events:
        heard.hear(event.uri if isinstance(event, ResourceUpdated) else LIST if event == ResourcesListChanged() else "")


@asynccontextmanager
async def over_stdio(place: Place, era: str, heard: Heard) -> AsyncIterator[Client]:
    async with connected(place, era, **heard.options(era)) as client:
        yield client


@asynccontextmanager
async def over_http(place: Place, era: str, heard: Heard) -> AsyncIterator[Client]:
    async with http_server(place) as server, http_client(server.url, era, **heard.options(era)) as client:
        yield client


@asynccontextmanager
async def inside(place: Place, era: str, heard: Heard) -> AsyncIterator[Client]:
    async with in_memory(place, era, **heard.options(era)) as (client, _):
        yield client


WAYS = (inside, over_stdio, over_http)
Way = Callable[[Place, str, Heard], AbstractAsyncContextManager[Client]]


def changes_of(runtime: Runtime) -> Changes:
    found = runtime.root.child_value("changes")
    assert isinstance(found, Changes)
    return found


async def begun(client: Client, title: str = "Work") -> tuple[str, str]:
    """Have a session with a ready task; gives their ids."""
    session = await succeed(client, "orchestrator_initialize_session")
    planned = await succeed(client, "orchestrator_plan_task", title=title, session=session["id"])
    return session["id"], planned["ready"][0]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("way", WAYS)
async def test_a_client_is_told_of_what_it_watches_and_of_what_comes(era: str, way: Way) -> None:
    with new_place() as place:
        heard = Heard()
        async with way(place, era, heard) as client:
            capabilities = client.server_capabilities
            assert capabilities.resources is not None
            assert (capabilities.resources.subscribe, capabilities.resources.list_changed) == (True, True)
            assert capabilities.tools is not None
            assert capabilities.tools.list_changed
            session, task = await begun(client)
            if era == "legacy":
                await heard.until(LIST)
            one, all_ = f"vespera://task/{task}", f"vespera://session/{session}"
            async with watching(client, era, heard, one, all_):
                # A workspace that was opened just now may be told of twice, but not after what came later.
                for title in ("Some work", "Other work"):
                    heard.all.clear()
                    await succeed(client, "orchestrator_update_task", task_id=task, title=title)
                    await heard.until(one, all_)
                assert LIST not in heard.all
                heard.all.clear()
                await succeed(client, "orchestrator_execute_task", task_id=task)
                work = {"summary": "s", "detailed_work": "text", "next_action": "complete"}
                await succeed(client, "orchestrator_complete_task", task_id=task, **work)
                await heard.until(one, all_, LIST)
            # Who watches no more hears no more.
            if era == "legacy":
                heard.all.clear()
                await succeed(client, "orchestrator_update_task", task_id=task, status="in_progress", reason="again")
                await succeed(client, "orchestrator_initialize_session", name="new")
                await heard.until(LIST)
                assert set(heard.all) == {LIST}


@pytest.mark.parametrize("era", ERAS)
async def test_what_another_process_did_is_heard_of_too(era: str) -> None:
    with new_place() as place:
        heard = Heard()
        async with connected(place, era) as other, inside(place, era, heard) as client:
            session, task = await begun(other)
            uri = f"vespera://task/{task}"
            async with watching(client, era, heard, uri):
                await succeed(other, "orchestrator_update_task", task_id=task, title="Other work")
                await heard.until(uri)
                heard.all.clear()
                await succeed(other, "orchestrator_initialize_session", name="another one")
                await heard.until(LIST)
                assert uri not in heard.all
            assert session


@pytest.mark.parametrize("era", ERAS)
async def test_a_burst_is_told_a_few_times(era: str) -> None:
    """A plan of 200 tasks is told once; edits in a row are told as often as bursts are gathered, and no oftener."""
    with new_place() as place:
        heard = Heard()
        async with inside(place, era, heard) as client:
            session, task = await begun(client)
            uri = f"vespera://session/{session}"
            async with watching(client, era, heard, uri):
                if era == "legacy":
                    await heard.until(LIST)
                await trio.sleep(4 * GATHER_SECONDS)
                heard.all.clear()
                subtasks = [{"key": f"k{number}", "title": f"T{number}"} for number in range(200)]
                await succeed(client, "orchestrator_plan_task", title="All", subtasks=subtasks, session=session)
                await heard.until(uri)
                await trio.sleep(4 * GATHER_SECONDS)
                assert heard.all == [uri]
                begin = trio.current_time()
                for number in range(50):
                    await succeed(client, "orchestrator_update_task", task_id=task, title=f"Title {number}")
                await trio.sleep(4 * GATHER_SECONDS)
                assert 1 < len(heard.all) < (trio.current_time() - begin) / GATHER_SECONDS + 3


@pytest.mark.parametrize("era", ERAS)
async def test_what_this_process_did_is_heard_of_without_looking_for_it(
    era: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "LOOK_SECONDS", 1_000.0)
    with new_place() as place:
        heard = Heard()
        async with inside(place, era, heard) as client:
            _, task = await begun(client)
            uri = f"vespera://task/{task}"
            async with watching(client, era, heard, uri):
                # No change of status, and a commit all the same.
                await succeed(client, "orchestrator_update_task", task_id=task, title="Other work")
                await heard.until(uri)


@pytest.mark.parametrize("era", ERAS)
async def test_a_task_is_told_of_when_what_is_shown_of_it_follows_another(era: str) -> None:
    with new_place() as place:
        heard = Heard()
        async with inside(place, era, heard) as client:
            await succeed(client, "orchestrator_initialize_session")
            subtasks = [{"key": "a", "title": "A"}, {"key": "b", "title": "B", "dependencies": ["a"]}]
            planned = await succeed(client, "orchestrator_plan_task", title="All", subtasks=subtasks)
            root, first, second = (f"vespera://task/{one['id']}" for one in planned["tasks"])
            async with watching(client, era, heard, root, second):
                await succeed(client, "orchestrator_update_task", task_id=first.rpartition("/")[2], title="AA")
                await heard.until(root, second)
                assert first not in heard.all


@pytest.mark.parametrize("era", ERAS)
async def test_an_address_is_told_as_it_was_spelled_and_of_any_open_workspace(era: str) -> None:
    with new_place() as place:
        heard = Heard()
        async with inside(place, era, heard) as client:
            await begun(client)
            other = place.root / "other"
            other.mkdir()
            far = await succeed(client, "orchestrator_initialize_session", working_directory=str(other))
            task = (await succeed(client, "orchestrator_plan_task", title="Far", session=far["id"]))["ready"][0]
            short, whole = f"vespera://task/{task[:12]}", f"vespera://task/{task}"
            async with watching(client, era, heard, short, whole):
                await trio.sleep(4 * GATHER_SECONDS)
                heard.all.clear()
                await succeed(client, "orchestrator_update_task", task_id=task, title="Further")
                await heard.until(short, whole)
                # What another workspace has is not listed, so the list has not changed.
                await succeed(client, "orchestrator_execute_task", task_id=task)
                work = {"summary": "s", "detailed_work": "text", "next_action": "complete"}
                await succeed(client, "orchestrator_complete_task", task_id=task, **work)
                await trio.sleep(4 * GATHER_SECONDS)
                assert LIST not in heard.all


@pytest.mark.parametrize("era", ERAS)
async def test_an_artifact_is_told_of_when_it_is_dropped(era: str) -> None:
    with new_place() as place:
        heard = Heard()
        async with inside(place, era, heard) as client:
            _, task = await begun(client)
            await succeed(client, "orchestrator_execute_task", task_id=task)
            work = {"summary": "s", "detailed_work": "text", "next_action": "needs_revision"}
            await succeed(client, "orchestrator_complete_task", task_id=task, **work)
            (digest,) = place.rows("SELECT sha256 FROM artifact")[0]
            uri = f"vespera://artifact/{digest}"
            async with watching(client, era, heard, uri):
                await succeed(client, "orchestrator_update_task", task_id=task, title="Other")
                await succeed(client, "orchestrator_delete_task", task_id=task, mode="delete", force=True)
                await heard.until(LIST)
                assert not place.rows("SELECT * FROM artifact")
                await heard.until(uri)


@pytest.mark.parametrize("era", ERAS)
async def test_the_tree_is_told_of_when_something_begins_or_ends_in_it(era: str) -> None:
    async def idle(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep_forever()

    with new_place() as place:
        heard = Heard()
        async with in_memory(place, era, **heard.options(era)) as (client, runtime):
            await begun(client)
            async with watching(client, era, heard, "vespera://tree"):
                await runtime.root.start_child(ChildSpec("new", idle, restart=Restart.TEMPORARY))
                await heard.until("vespera://tree")
                # Nothing but figures changes now.
                await trio.sleep(4 * GATHER_SECONDS)
                heard.all.clear()
                await client.list_tools()
                await trio.sleep(1.5)
                assert heard.all == []
                await runtime.root.terminate_child("new")
                await heard.until("vespera://tree")


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("vespera://task/task_none", "no task"),
        ("vespera://session/session_0", "no session"),
        ("vespera://artifact/abcdef", "no artifact"),
        ("vespera://role/tester", "nobody is told when its file changes"),
        ("vespera://artifact/abcdef?offset=1", "is a page"),
        ("file:///etc/passwd", "no resource"),
    ],
)
async def test_what_cannot_be_watched_is_refused_or_left_out(uri: str, words: str) -> None:
    with new_place() as place:
        async with in_memory(place, "legacy") as (client, runtime):
            await begun(client)
            before = place.state()
            with pytest.raises(MCPError, match=words) as caught:
                await subscribe(client, uri)
            assert caught.value.error.code == INVALID_PARAMS
            assert caught.value.error.data["uri"] == uri
            assert caught.value.error.data["next_action"] in str(caught.value)
            assert changes_of(runtime).statistics().watched == 0
            assert place.state() == before
    with new_place() as place:
        async with in_memory(place) as (client, _):
            await begun(client)
            async with client.listen(resource_subscriptions=[uri, "vespera://tree"]) as events:
                assert events.honored.resource_subscriptions == ["vespera://tree"]


async def test_nobody_watches_too_much() -> None:
    with new_place() as place:
        async with in_memory(place) as (client, _):
            with pytest.raises(MCPError, match="Watch the session instead"):
                async with client.listen(resource_subscriptions=["vespera://tree"] * (WATCHED_MAX + 1)):
                    pass
        async with in_memory(place, "legacy") as (client, runtime):
            _, task = await begun(client)
            known = changes_of(runtime)
            (subscriber,) = known._subscribers
            await subscribe(client, f"vespera://task/{task}")
            (subject,) = subscriber.watched.values()
            subscriber.watched.update({f"vespera://task/{number}": subject for number in range(WATCHED_MAX - 1)})
            await subscribe(client, f"vespera://task/{task}")
            with pytest.raises(MCPError, match="at most 500 addresses"):
                await subscribe(client, "vespera://tree")


@pytest.mark.parametrize("era", ERAS)
async def test_nothing_is_left_of_a_client_that_is_gone(era: str) -> None:
    with new_place() as place:
        heard = Heard()
        async with in_memory(place) as (_, runtime):
            server = server_of(runtime, place)
            for _ in range(3):
                async with Client(server, mode=era, **heard.options(era)) as client:
                    session, task = await begun(client)
                    async with watching(client, era, heard, f"vespera://task/{task}", f"vespera://session/{session}"):
                        counted = changes_of(runtime).statistics()
                        assert (counted.subscribers, counted.listeners) == ((1, 0) if era == "legacy" else (0, 1))
                        assert (counted.watched, counted.followed) == (2, 1)
                    if era == "legacy":
                        await subscribe(client, f"vespera://task/{task}")
                after = await settled(changes_of(runtime), lambda now: now.subscribers == now.listeners == 0)
                assert (after.watched, after.followed, after.dropped) == (0, 0, 0)
            assert runtime.workspaces[place.project].store._commit_listeners == []


def server_of(runtime: Runtime, place: Place) -> Any:
    return build_server(Orchestrator(runtime, place.project))


async def settled(told: Changes, holds: Callable[[ChangesStatistics], bool]) -> ChangesStatistics:
    with trio.fail_after(20):
        while not holds(told.statistics()):  # noqa: ASYNC110 - a connection's end tells nobody
            await trio.sleep(0.01)
    return told.statistics()


# ---- clients that do not read, and ends


class Deaf:
    """The other end of a connection, which reads nothing."""

    async def notify(self, *_: object) -> None:
        await trio.sleep_forever()

    async def send_raw_request(self, *_: object) -> dict[str, Any]:
        raise AssertionError


class Listening(Deaf):
    """The other end of a connection, which reads."""

    def __init__(self) -> None:
        self.read: list[str] = []

    async def notify(self, *message: object) -> None:
        self.read.append(str(message[0]))

    async def until(self, count: int) -> None:
        """Wait until so many messages were read."""
        with trio.fail_after(20):
            while len(self.read) < count:  # noqa: ASYNC110 - two tasks in one test
                await trio.sleep(0.005)


class Breaking(Listening):
    """The other end of a connection, whose first message breaks whoever writes it."""

    async def notify(self, *message: object) -> None:
        if self.read:
            await super().notify(*message)
            return
        self.read.append("broken")
        raise RuntimeError("planted")


def connection(other_end: Any) -> Connection:
    """Have a connection of the handshake era."""
    return Connection.for_loop(other_end)


async def test_a_client_that_does_not_read_is_told_no_more_and_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "SEND_SECONDS", 2.0)
    with new_place() as place:
        async with open_runtime("serve", registry=place.registry) as runtime:
            told = Changes(Orchestrator(runtime, place.project))
            deaf, other = connection(Deaf()), connection(listening := Listening())
            stuck = told.connect(deaf)
            told.connect(other)
            await told.begin()
            for number in range(1, 101):
                await told.publish(ResourcesListChanged())
                await listening.until(number)
                assert len(stuck.pending) <= 1
            counted = await settled(told, lambda now: now.dropped == 1)
            assert counted.subscribers == 1
            assert stuck.gone
            await told.publish(ResourcesListChanged())
            await listening.until(101)
            assert len(listening.read) == 101
            await aclose_shielded(other)
            await aclose_shielded(deaf)
            assert told.statistics().subscribers == 0


async def test_after_a_crash_clients_are_told_again() -> None:
    with new_place() as place:
        async with open_runtime("serve", registry=place.registry) as runtime:
            told = Changes(Orchestrator(runtime, place.project))
            told.connect(connection(broken := Breaking()))
            told.connect(connection(listening := Listening()))
            await told.begin()
            await told.publish(ResourcesListChanged())
            # Its writer has died of it, and with that one the child that looks for changes: a new one writes again.
            await broken.until(1)
            listening.read.clear()
            await told.publish(ResourcesListChanged())
            await broken.until(2)
            await listening.until(1)
            assert broken.read == ["broken", "notifications/resources/list_changed"]
            assert listening.read[-1] == "notifications/resources/list_changed"
            assert runtime.root.which_children()[-1].id == "changes"


async def test_two_servers_on_one_tree_find_their_changes_apart() -> None:
    with new_place() as place:
        async with in_memory(place, "legacy") as (first, runtime):
            heard = Heard()
            async with Client(server_of(runtime, place), mode="legacy", **heard.options("legacy")) as second:
                await begun(first)
                await heard.until(LIST)
                names = {child.id for child in runtime.root.which_children()}
                assert {"changes", "changes-2"} <= names
                assert (await second.list_tools()).tools


@pytest.mark.parametrize("way", [over_stdio, over_http])
async def test_a_stream_ends_in_good_order_with_its_server(way: Way) -> None:
    for _ in range(3):
        stream, took_seconds = await _end_of_a_stream(way)
        if stream == "in order":
            return
        # A server that a busy machine leaves waiting for longer cuts its streams, as it shall; alone it takes 0.02 s.
        assert took_seconds > ORDINARY.last_answers_seconds
    raise AssertionError("no server ends its stream")


async def _end_of_a_stream(way: Way) -> tuple[str, float]:
    """Have a server end; gives how the stream of its client ended, and how long that took."""
    with new_place() as place:
        ended: list[str] = []

        async def listen(client: Client, *, task_status: trio.TaskStatus[None]) -> None:
            try:
                async with client.listen(resources_list_changed=True) as events:
                    task_status.started()
                    async for _ in events:
                        pass
            except SubscriptionLost:
                ended.append("lost")
            else:
                ended.append("in order")

        async with trio.open_nursery() as nursery, way(place, "auto", Heard()) as client:
            await nursery.start(listen, client)
            (record,) = live_servers(place.workspace)
            front, begin = front_of(record.pid), trio.current_time()
            os.kill(front, signal.SIGTERM)
            with trio.fail_after(20):
                while not ended:  # noqa: ASYNC110 - two tasks in one test
                    await trio.sleep(0.01)
            took_seconds = trio.current_time() - begin
        return ended[0], took_seconds


@pytest.mark.parametrize("way", [over_stdio, over_http])
async def test_a_stream_goes_on_however_often_and_however_its_worker_ends(way: Way) -> None:
    with new_place() as place:
        heard = Heard()
        async with way(place, "auto", heard) as client, watching(client, "auto", heard):
            for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGKILL):
                (record,) = live_servers(place.workspace)
                os.kill(record.pid, number)
                with trio.fail_after(20):
                    while live_servers(place.workspace) in ([], [record]):  # noqa: ASYNC110 - of another process
                        await trio.sleep(0.01)
                heard.all.clear()
                await begun(client)
                await heard.until(LIST)


# ---- the client's log


def broken_tool(name: str) -> Any:
    async def invoke(*_: object) -> Any:
        raise ZeroDivisionError("secret words")

    return replace(TOOLS[name], invoke=invoke)


@asynccontextmanager
async def faulty(era: str, log: list[LoggingMessageNotificationParams]) -> AsyncIterator[Client]:
    """Have a client, which keeps a log, of a server with a broken tool."""

    async def keep(params: LoggingMessageNotificationParams) -> None:
        log.append(params)

    with new_place() as place:
        async with open_runtime("serve", registry=place.registry) as runtime:
            tools = {**TOOLS, QUERY: broken_tool(QUERY)}
            server = build_server(Orchestrator(runtime, place.project), tools)
            async with Client(server, mode=era, logging_callback=keep) as client:
                await client.list_tools()
                yield client


QUERY = "orchestrator_query_tasks"


@pytest.mark.parametrize(
    ("level", "sent"), [(None, False), ("debug", True), ("error", True), ("critical", False), ("emergency", False)]
)
@pytest.mark.parametrize("era", ERAS)
async def test_a_fault_of_ours_reaches_the_log_of_a_client_that_asked_for_it(
    era: str, level: LoggingLevel | None, sent: bool
) -> None:
    log: list[LoggingMessageNotificationParams] = []
    async with faulty(era, log) as client:
        assert client.server_capabilities.logging is not None
        meta: Any = None
        if level is not None and era == "legacy":
            request = SetLevelRequest(params=SetLevelRequestParams(level=level))
            await client.session.send_request(request, EmptyResult)
        elif level is not None:
            meta = {LOG_LEVEL_META_KEY: level}
        result = await client.call_tool(QUERY, {}, meta=meta)
        assert result.is_error
        # What the client caused itself is no message.
        await refuse(client, "orchestrator_execute_task", "not_found", task_id="task_none")
        await trio.testing.wait_all_tasks_blocked()
        assert len(log) == int(sent)
        if sent:
            assert (log[0].level, log[0].logger) == ("error", "vespera_agents.serving")
            assert log[0].data["doing"] == QUERY
            assert log[0].data["kind"] == "internal_error"
            assert log[0].data["what"] in text_of(result)
            assert "secret words" not in str(log[0].data)


async def test_a_level_that_does_not_exist_is_refused() -> None:
    async with faulty("legacy", []) as client:
        with pytest.raises(MCPError) as caught:
            await client.session.send_request(
                SetLevelRequest.model_construct(
                    method="logging/setLevel", params=SetLevelRequestParams.model_construct(level="loud")
                ),
                EmptyResult,
            )
        assert caught.value.error.code == INVALID_PARAMS
