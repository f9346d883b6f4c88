"""Sessions, tasks and artifacts by address."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, BlobResourceContents, TextResourceContents

from supervisors import ChildSpec, Supervisor, supervisor_spec
from tests.serving.kit import ERAS, Place, in_memory, new_place, succeed
from vespera_agents.serving.protocol.notifying import changes
from vespera_agents.serving.protocol.pages import cursor_of
from vespera_agents.serving.protocol.reading.requests import ARTIFACT_TTL_MS, PAGE_META
from vespera_agents.serving.protocol.reading.resources import PAGE_BYTES_MAX, TREE_NODES_MAX
from vespera_agents.serving.protocol.server import build_server
from vespera_agents.specialists import pruning
from vespera_agents.specialists.callbacks import outbox
from vespera_agents.specialists.orchestrator import Orchestrator
from vespera_agents.specialists.roles import load_roles
from vespera_agents.specialists.runtime import open_runtime
from vespera_agents.store.readers import READERS_MAX


@asynccontextmanager
async def handed_in(era: str = "auto", text: str = "", **files: bytes) -> AsyncIterator[tuple[Place, Client, str]]:
    """Have a task whose work was handed in: a text, and files whose names end in their types."""
    with new_place() as place:
        async with in_memory(place, era) as (client, _):
            await succeed(client, "orchestrator_initialize_session")
            planned = await succeed(client, "orchestrator_plan_task", title="Work")
            task = planned["ready"][0]
            await succeed(client, "orchestrator_execute_task", task_id=task)
            names = [name.replace("_", ".") for name in files]
            for name, data in zip(names, files.values(), strict=True):
                (place.project / name).write_bytes(data)
            work = {"summary": "s", "detailed_work": text, "next_action": "complete", "file_paths": names}
            await succeed(client, "orchestrator_complete_task", task_id=task, **work)
            yield place, client, task


def address(place: Place, name: str) -> str:
    (digest,) = place.rows("SELECT sha256 FROM artifact WHERE name=?", name)[0]
    return f"vespera://artifact/{digest}"


@pytest.mark.parametrize("era", ERAS)
async def test_a_session_and_a_task_are_read_as_json(era: str) -> None:
    async with handed_in(era, "text") as (place, client, task):
        session = place.rows("SELECT id FROM session")[0][0]
        contents = (await client.read_resource(f"vespera://session/{session}")).contents
        assert isinstance(contents[0], TextResourceContents)
        assert json.loads(contents[0].text)["counts"]["completed"] == 1
        contents = (await client.read_resource(f"vespera://task/{task}")).contents
        assert isinstance(contents[0], TextResourceContents)
        shown = json.loads(contents[0].text)
        assert (shown["id"], shown["summary"], len(shown["artifacts"])) == (task, "s", 1)


async def test_the_list_names_sessions_and_recent_artifacts_once() -> None:
    async with handed_in("auto", "same", a_txt=b"same", b_bin=b"\0\1") as (place, client, _):
        listed = (await client.list_resources()).resources
        assert len(place.rows("SELECT id FROM artifact")) == 3
        kinds = [one.uri.partition("//")[2].partition("/")[0] for one in listed]
        assert kinds == ["session", "artifact", "artifact", "tree", *["role"] * len(load_roles())]
        assert {one.size for one in listed[1:3]} == {4, 2}
        templates = (await client.list_resource_templates()).resource_templates
        assert [one.name for one in templates] == ["session", "notes", "note", "task", "artifact", "role"]


async def test_text_comes_as_text_and_other_bytes_as_bytes() -> None:
    files = {"a_txt": "größe".encode(), "b_bin": bytes(range(256)), "c_json": b"{}", "d_txt": b"\xff\xfe broken"}
    async with handed_in("auto", "", **files) as (place, client, _):
        contents = (await client.read_resource(address(place, "a.txt"))).contents
        assert isinstance(contents[0], TextResourceContents)
        assert contents[0].text == "größe"
        assert contents[0].meta is None
        assert len(contents) == 1
        contents = (await client.read_resource(address(place, "c.json"))).contents
        assert isinstance(contents[0], TextResourceContents)
        for name, data in (("b.bin", files["b_bin"]), ("d.txt", files["d_txt"])):
            contents = (await client.read_resource(address(place, name))).contents
            assert isinstance(contents[0], BlobResourceContents)
            assert base64.b64decode(contents[0].blob) == data


async def test_a_large_artifact_is_read_in_pages_cut_between_characters() -> None:
    text = "aé" * 700_000
    async with handed_in("auto", text) as (place, client, _):
        uri: str | None = address(place, "work on Work")
        read, pages = "", 0
        while uri is not None:
            contents = (await client.read_resource(uri)).contents
            assert isinstance(contents[0], TextResourceContents)
            page = (contents[0].meta or {})[PAGE_META]
            assert (page["size"], page["bytes"]) == (len(text.encode()), len(contents[0].text.encode()))
            assert page["bytes"] <= PAGE_BYTES_MAX
            assert isinstance(contents[1], TextResourceContents)
            assert contents[1].text.startswith("These are the bytes ")
            read += contents[0].text
            pages += 1
            uri = page.get("next")
        assert read == text
        assert pages == 3


async def test_a_page_is_as_small_as_asked_for() -> None:
    async with handed_in("auto", "0123456789") as (place, client, _):
        uri = address(place, "work on Work")
        contents = (await client.read_resource(f"{uri}?offset=4&limit=4")).contents
        assert isinstance(contents[0], TextResourceContents)
        assert contents[0].text == "4567"
        contents = (await client.read_resource(f"{uri}?offset=10")).contents
        assert isinstance(contents[0], TextResourceContents)
        assert contents[0].text == ""
        contents = (await client.read_resource(uri[: len("vespera://artifact/") + 10])).contents
        assert isinstance(contents[0], TextResourceContents)
        assert contents[0].text == "0123456789"


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("vespera://artifact/0000", "no artifact"),
        ("vespera://artifact/A?offset=11", "beyond"),
        ("vespera://artifact/A?offset=-1", "asks for no page"),
        ("vespera://artifact/A?limit=3", "too small"),
        ("vespera://artifact/A?page=3", "asks for no page"),
        ("vespera://artifact/A?offset=99999999999999999999", "asks for no page"),
        ("vespera://artifact/../../../etc/passwd", "no artifact"),
        ("vespera://task/task_none", "no task"),
        ("vespera://task/task_none?x=1", "query"),
        ("vespera://session/session_0", "no session"),
        ("vespera://session/", "no resource"),
        ("vespera://tree?depth=1", "no resource"),
        ("vespera://role/implementor", "Read one of: implementer"),
        ("vespera://role/..%2F..%2Fetc", "no role"),
        ("vespera://[/", "no resource"),
        ("vespera://task/" + "a" * 2_000, "no resource"),
        ("file:///etc/passwd", "no resource"),
    ],
)
async def test_a_wrong_address_is_refused_with_what_to_do(uri: str, words: str) -> None:
    async with handed_in("auto", "0123456789") as (place, client, _):
        uri = uri.replace("artifact/A", address(place, "work on Work").removeprefix("vespera://"))
        with pytest.raises(MCPError, match=words) as caught:
            await client.read_resource(uri)
        assert "\nNext: " in str(caught.value)
        data = caught.value.error.data
        assert data["uri"] == uri
        assert caught.value.error.code == INVALID_PARAMS
        assert (
            str(caught.value)
            == f"{data['what']}{'' if data['what'].endswith('?') else '.'}\nNext: {data['next_action']}"
        )


async def test_the_list_says_why_it_cannot_be_given() -> None:
    with new_place() as place:
        async with in_memory(place) as (client, _):
            place.project.rmdir()
            with pytest.raises(MCPError, match="Next: ") as caught:
                await client.list_resources()
            assert caught.value.error.code == INTERNAL_ERROR
            place.project.mkdir()


@asynccontextmanager
async def paged(place: Place, era: str, entries: int) -> AsyncIterator[Client]:
    """Have a client of a server whose lists have small pages."""
    async with open_runtime("serve", registry=place.registry) as runtime:
        server = build_server(Orchestrator(runtime, place.project), page_entries=entries)
        async with Client(server, mode=era) as client:
            yield client


@pytest.mark.parametrize("era", ERAS)
async def test_the_tree_is_read_as_it_runs(era: str) -> None:
    async with handed_in(era, "text") as (_, client, _):
        contents = (await client.read_resource("vespera://tree")).contents
        assert isinstance(contents[0], TextResourceContents)
        tree = json.loads(contents[0].text)
        assert (tree["id"], tree["state"]) == ("root", "running")
        assert {"workspaces", "doors"} <= {child["id"] for child in tree["children"]}
        assert "children_left_out" not in contents[0].text


async def test_a_large_tree_is_cut_below_and_says_where() -> None:
    async def idle(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep_forever()

    with new_place() as place:
        async with in_memory(place) as (client, runtime):
            crowd = Supervisor([ChildSpec(str(number), idle) for number in range(TREE_NODES_MAX)], name="crowd")
            await runtime.root.start_child(supervisor_spec("crowd", lambda: crowd))
            contents = (await client.read_resource("vespera://tree")).contents
            assert isinstance(contents[0], TextResourceContents)
            tree = json.loads(contents[0].text)
            (cut,) = [child for child in tree["children"] if child["id"] == "crowd"]
            assert 0 < cut["children_left_out"] < 100
            assert len(cut["children"]) + cut["children_left_out"] == TREE_NODES_MAX
            assert contents[0].text.count('"incarnation"') == TREE_NODES_MAX


@pytest.mark.parametrize("era", ERAS)
async def test_a_role_is_read_as_the_file_that_would_define_it(era: str) -> None:
    with new_place() as place:
        async with in_memory(place, era) as (client, _):
            await succeed(client, "orchestrator_initialize_session")
            roles = place.project / ".vespera" / "roles"
            roles.mkdir(exist_ok=True)
            (roles / "own.yaml").write_text("pilot:\n  role_definition: You fly.\n")
            for name, meant in (("pilot", "pilot"), ("coder", "implementer"), ("Implementer", "implementer")):
                contents = (await client.read_resource(f"vespera://role/{name}")).contents
                assert isinstance(contents[0], TextResourceContents)
                assert contents[0].mime_type == "application/yaml"
                copies = place.root / "copies"
                copies.mkdir(exist_ok=True)
                (copies / "copy.yaml").write_text(contents[0].text.replace(f"{meant}:", "copy:"))
                assert load_roles(copies)["copy"] == load_roles(roles)[meant].model_copy(update={"name": "copy"})
            listed = [one.name for one in (await client.list_resources()).resources]
            assert "pilot" in listed


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("entries", [1, 3, 7])
async def test_the_pages_of_a_list_are_the_list(era: str, entries: int) -> None:
    with new_place() as place:
        async with in_memory(place) as (client, _):
            for number in range(4):
                found = await succeed(client, "orchestrator_initialize_session", name=f"s{number}")
                planned = await succeed(client, "orchestrator_plan_task", title=f"Work {number}", session=found["id"])
                task = planned["ready"][0]
                await succeed(client, "orchestrator_execute_task", task_id=task)
                work = {"summary": "s", "detailed_work": f"text {number % 3}", "next_action": "complete"}
                await succeed(client, "orchestrator_complete_task", task_id=task, **work)
            whole = [one.uri for one in (await client.list_resources()).resources]
            tools = [one.name for one in (await client.list_tools()).tools]
        assert len(whole) == 4 + 3 + 1 + len(load_roles())
        async with paged(place, era, entries) as client:
            gathered: list[str] = []
            cursor: str | None = None
            while True:
                page = await client.list_resources(cursor=cursor)
                assert 0 < len(page.resources) <= entries
                gathered += [one.uri for one in page.resources]
                cursor = page.next_cursor
                if cursor is None:
                    break
            assert gathered == whole
            names: list[str] = []
            while cursor is not None or not names:
                listed = await client.list_tools(cursor=cursor)
                names += [one.name for one in listed.tools]
                cursor = listed.next_cursor
            assert names == tools
            names = []
            while cursor is not None or not names:
                prompts = await client.list_prompts(cursor=cursor)
                names += [one.name for one in prompts.prompts]
                cursor = prompts.next_cursor
            assert len(names) == len(set(names)) == 4


async def test_a_page_stays_true_while_artifacts_are_added() -> None:
    files = {"b_txt": b"two", "c_txt": b"three"}
    async with handed_in("auto", "one", **files) as (place, _, _), paged(place, "auto", 2) as client:
        page = await client.list_resources()
        await succeed(client, "orchestrator_synthesize_results")
        rest = await client.list_resources(cursor=page.next_cursor)
        assert not {one.uri for one in page.resources} & {one.uri for one in rest.resources}
        assert [one.uri.partition("//")[2].partition("/")[0] for one in rest.resources] == ["artifact", "artifact"]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "cursor",
    [
        "", "x", "é", "{}", "a" * 100_000, cursor_of("tools", "", -1), cursor_of("tools", "", 10**6),
        cursor_of("nothing", "", 1), cursor_of("tools", "x", 1), cursor_of("resources", "x", 1),
        cursor_of("prompts", "", "1"), cursor_of("resources", "artifact", 1 << 63),
    ],
)  # fmt: skip
async def test_a_cursor_that_was_not_given_out_is_refused(era: str, cursor: str) -> None:
    with new_place() as place:
        async with in_memory(place, era) as (client, _):
            for listing in (
                client.list_tools,
                client.list_prompts,
                client.list_resource_templates,
                client.list_resources,
            ):
                with pytest.raises(MCPError, match=r"(?s)cursor .*Next: Leave it out") as caught:
                    await listing(cursor=cursor)
                assert caught.value.error.code == INVALID_PARAMS
                assert caught.value.error.data["kind"] == "invalid_input"


async def test_what_never_changes_may_be_kept_by_a_client_and_nothing_else_of_a_session() -> None:
    async with handed_in("auto", "text") as (place, client, task):
        read = await client.read_resource(address(place, "work on Work"))
        assert (read.ttl_ms, read.cache_scope) == (ARTIFACT_TTL_MS, "private")
        for uri in (f"vespera://task/{task}", "vespera://tree", "vespera://role/tester"):
            read = await client.read_resource(uri)
            assert (read.ttl_ms, read.cache_scope) == (0, "private")
        resources = await client.list_resources()
        assert (resources.ttl_ms, resources.cache_scope) == (0, "private")
        for listed in (await client.list_tools(), await client.list_prompts(), await client.list_resource_templates()):
            assert (listed.ttl_ms, listed.cache_scope) == (300_000, "public")


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("request_kind", ["read", "call"])
async def test_a_cancelled_request_gives_up_its_place_at_the_store(
    era: str, request_kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All reading threads are busy, so that a further read waits for one; cancelled, it waits no more."""
    # Whatever looks into the store by itself would wait for a thread, too, and for as long as all of them are busy.
    for module, pause in ((outbox, "LOOK_SECONDS"), (pruning, "_FIRST_LOOK_SECONDS"), (changes, "GATHER_SECONDS")):
        monkeypatch.setattr(module, pause, 600.0)
    with new_place() as place:
        async with in_memory(place, era) as (client, runtime):
            await succeed(client, "orchestrator_initialize_session")
            planned = await succeed(client, "orchestrator_plan_task", title="Work")
            task = planned["ready"][0]
            store = runtime.workspaces[place.project].store
            limiter = store._readers._limiter
            async with trio.open_nursery() as nursery:
                for _ in range(READERS_MAX):
                    nursery.start_soon(store.read, count_for_ever)
                await until(lambda: limiter.statistics().borrowed_tokens == READERS_MAX)
                with trio.CancelScope() as scope:
                    nursery.start_soon(cancel_when, lambda: limiter.statistics().tasks_waiting == 1, scope)
                    if request_kind == "read":
                        await client.read_resource(f"vespera://task/{task}")
                    else:
                        await client.call_tool("orchestrator_query_tasks", {})
                assert scope.cancelled_caught
                await until(lambda: limiter.statistics().tasks_waiting == 0)
                nursery.cancel_scope.cancel()
            # The queries of those who gave up were interrupted: the places are free again.
            await until(lambda: limiter.statistics().borrowed_tokens == 0)
            await client.read_resource(f"vespera://task/{task}")


def count_for_ever(connection: sqlite3.Connection) -> None:
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    ).fetchone()


async def until(holds: Callable[[], bool]) -> None:
    with trio.fail_after(30):
        while not holds():  # noqa: ASYNC110 - nothing tells when a reading thread is taken or given back
            await trio.sleep(0.005)


async def cancel_when(holds: Callable[[], bool], scope: trio.CancelScope) -> None:
    await until(holds)
    scope.cancel()
