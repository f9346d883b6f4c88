"""Sessions, tasks and artifacts by address."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import BlobResourceContents, TextResourceContents

from tests.serving.kit import ERAS, Place, in_memory, new_place, succeed
from vespera_agents.serving.protocol.resources import PAGE_BYTES_MAX
from vespera_agents.serving.protocol.reading import PAGE_META


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
        assert [one.uri.partition("//")[2].partition("/")[0] for one in listed] == ["session", "artifact", "artifact"]
        assert {one.size for one in listed[1:]} == {4, 2}
        templates = (await client.list_resource_templates()).resource_templates
        assert [one.name for one in templates] == ["session", "task", "artifact"]


async def test_text_comes_as_text_and_other_bytes_as_bytes() -> None:
    files = {"a_txt": "größe".encode(), "b_bin": bytes(range(256)), "c_json": b"{}", "d_txt": b"\xff\xfe broken"}
    async with handed_in("auto", **files) as (place, client, _):
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
        ("vespera://tree", "no resource"),
        ("file:///etc/passwd", "no resource"),
    ],
)
async def test_a_wrong_address_is_refused_with_what_to_do(uri: str, words: str) -> None:
    async with handed_in("auto", "0123456789") as (place, client, _):
        uri = uri.replace("artifact/A", address(place, "work on Work").removeprefix("vespera://"))
        with pytest.raises(MCPError, match=words) as caught:
            await client.read_resource(uri)
        assert "\nNext: " in str(caught.value)
        assert caught.value.error.data["uri"] == uri


async def test_the_list_says_why_it_cannot_be_given() -> None:
    with new_place() as place:
        async with in_memory(place) as (client, _):
            place.project.rmdir()
            with pytest.raises(MCPError, match="Next: "):
                await client.list_resources()
            place.project.mkdir()
