"""The shared context of a session, through the facade: texts of any length, a model's tools, and who reads what."""

from __future__ import annotations

import json

import pytest

from vespera_agents.providers.exchange import ToolCall
from vespera_agents.serving.protocol.reading.resources import read_resource
from vespera_agents.specialists.sharing import PAGE_CHARACTERS_MAX, NoteTools, notes_for, read_note, share, withdraw
from vespera_agents.store import CommandKey
from vespera_agents.store.notes import INLINE_BYTES_MAX, NOTE_BYTES_MAX, USER
from vespera_agents.work.errors import InvalidInput, NotFound

CANARY = "CANARY-7e1f"


def key(name: str) -> CommandKey:
    return CommandKey("test", name)


async def put(h, session: str, name: str, text: str, role: str = "analyst", **more):
    return await share(h.opened, key(f"{name}/{more}"), session, name, text, by="test", role=role, **more)


@pytest.mark.parametrize("letters", [0, 10, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 300_000])
async def test_a_text_of_any_length_comes_back_whole(house, letters: int):
    text = "ü" * (letters // 2) + "x" * (letters % 2)
    async with house() as h:
        session = await h.begin()
        await put(h, session, "long", text)
        found, whole = await read_note(h.opened, session, "long", "tester")
        assert whole == text
        assert found.size == letters
        assert (found.sha256 is not None) == (letters > INLINE_BYTES_MAX)
        (listed,) = await notes_for(h.opened, session, "tester")
        assert text.startswith(listed.text)


async def test_too_long_a_text_is_refused_before_anything_is_kept(house):
    async with house() as h:
        session = await h.begin()
        with pytest.raises(InvalidInput, match="more than a shared note may hold"):
            await put(h, session, "long", "x" * (NOTE_BYTES_MAX + 1))
        assert not any(path.is_file() for path in h.opened.workspace.artifacts.rglob("*"))


async def test_a_note_for_a_role_that_does_not_exist_is_refused(house):
    async with house() as h:
        session = await h.begin()
        with pytest.raises(InvalidInput, match="there is no role 'chef'"):
            await put(h, session, "soup", "salt", visible_to=["chef"])
        made = await put(h, session, "code", "x", visible_to=["Coder", "implementer"])
        assert made["visible_to"] == ["implementer"]


async def test_a_role_gets_nothing_by_any_way_that_it_may_not_see(house, draft):
    async with house() as h:
        session = await h.begin()
        await put(h, session, "secret", CANARY, visible_to=["reviewer"])
        await put(h, session, "open", "for everybody")
        mine, theirs = (await h.plan(draft("a", specialist="reviewer"), draft("b", specialist="tester"))).values()
        assert CANARY in (await h.claim(mine)).prompt
        other = (await h.claim(theirs)).prompt
        assert CANARY not in other
        assert "secret" not in other
        assert "for everybody" in other
        tools = NoteTools(h.opened, session, "tester", "test")
        for number, arguments in enumerate(({}, {"name": "secret"})):
            answer = await tools.call(ToolCall("1", "read_notes", arguments), key(f"read/{number}"))
            assert CANARY not in answer.text
            assert answer.is_error == bool(arguments)
        assert [one.name for one in await notes_for(h.opened, session, "tester")] == ["open"]


async def test_a_model_shares_reads_page_by_page_and_hears_what_it_did_wrong(house):
    async with house() as h:
        session = await h.begin()
        tools = NoteTools(h.opened, session, "analyst", "test")

        async def call(tool: str, number: int, **arguments: object):
            return await tools.call(ToolCall(str(number), tool, arguments), key(f"step/{number}"))

        assert "Nobody has shared anything" in (await call("read_notes", 0)).text
        text = "".join(f"line {number:07d}\n" for number in range(3_000))
        assert "version 1, 39000 bytes, visible to all roles" in (await call("share_note", 1, name="n", text=text)).text
        # Done once more after a crash, it is the same share.
        assert "version 1" in (await call("share_note", 1, name="n", text=text)).text
        listed = (await call("read_notes", 2)).text
        assert listed == "- n (of the analyst, version 1, 39000 bytes): line 0000000"
        pages, offset = "", 0
        while offset < len(text):
            page = (await call("read_notes", 3, name="n", offset=offset)).text.partition("\n\n")[2]
            pages += page[:PAGE_CHARACTERS_MAX]
            offset += PAGE_CHARACTERS_MAX
        assert pages == text
        wrong = await call("share_note", 4, name="n", text="other")
        assert wrong.is_error
        assert "expected_version=1" in wrong.text
        assert "name: Field required" in (await call("share_note", 5, text="nameless")).text
        assert "Extra inputs" in (await call("read_notes", 6, nmae="n")).text
        assert (tools.statistics().shared, tools.statistics().refused) == (2, 3)
        assert {spec.name for spec in tools.specs()} == {"share_note", "read_notes"}


async def test_the_user_reads_everything_by_address_and_is_told_of_it_on_resuming(house):
    async with house() as h:
        session = await h.begin()
        long = "word " * 2_000
        await put(h, session, "a b%", CANARY, visible_to=["reviewer"])
        await put(h, session, "long", long)
        content = await read_resource(h.orchestrator, f"vespera://session/{session}/notes")
        assert isinstance(content.data, str)
        first, second = json.loads(content.data)["notes"]
        assert (first["name"], first["visible_to"], first["size"], "text" in first) == ("long", "all", 10_000, False)
        assert (second["text"], second["owner"], second["visible_to"]) == (CANARY, "analyst", ["reviewer"])
        assert (await read_resource(h.orchestrator, first["uri"])).data == long
        assert (await read_resource(h.orchestrator, second["uri"])).data == CANARY
        resumed = await h.sessions.resume(session)
        assert resumed.shared_notes[0] == "long (of the analyst, version 1, 10000 bytes)"
        await withdraw(h.opened, key("away"), session, "long", by="test", role=USER)
        with pytest.raises(NotFound):
            await read_resource(h.orchestrator, first["uri"])
        with pytest.raises(NotFound):
            await read_resource(h.orchestrator, f"vespera://session/{session}/nothing")


async def test_a_briefing_tells_of_a_long_note_where_all_of_it_is(house, draft):
    async with house() as h:
        session = await h.begin()
        await put(h, session, "plan b", "word " * 2_000)
        (task,) = (await h.plan(draft("a", specialist="tester"))).values()
        prompt = (await h.claim(task)).prompt
        assert "## Shared note: plan b (of the analyst, version 1, 10000 bytes)" in prompt
        assert f"vespera://session/{session}/notes/plan%20b" in prompt
