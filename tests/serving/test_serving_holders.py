"""Who holds what a request claims: one client of several, one of a few that look alike, or the only one at a pipe."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from mcp import Client
from mcp_types import CallToolResult

from tests.serving.kit import ERAS, http_client, http_server, new_place, refuse, succeed, text_of
from tests.serving.tasks_client import Known, begun, status
from vespera_agents.serving.protocol.callers import CLIENT_META, Callers, holder_of
from vespera_agents.serving.protocol.identity import LOCAL, Identity
from vespera_agents.work.errors import InvalidInput


def http(principal: str | None = None, connection: str | None = None) -> Identity:
    return Identity(principal, connection, "http")


def test_the_one_client_at_a_pipe_is_the_server_itself() -> None:
    assert holder_of(LOCAL, "claude", {CLIENT_META: "one"}) is None
    assert Callers(lambda: "srv_1").call("claude", None).holder is None


def test_clients_are_told_apart_by_principal_name_session_and_their_own_word() -> None:
    holders = [
        holder_of(identity, name, meta)
        for identity in (http("anna", "s1"), http("anna", "s2"), http("ben", "s1"), http(None, "s1"))
        for name in ("claude", "cursor")
        for meta in (None,)
    ]
    holders += [
        holder_of(http(principal), "claude", {CLIENT_META: own}) for principal in ("anna", None) for own in ("1", "2")
    ]
    names = [holder.name for holder in holders if holder is not None and holder.certain]
    assert len(set(names)) == len(holders) == 12
    assert all("s1" not in name and "s2" not in name for name in names), "a session's id is a secret of its client"
    assert names[0].startswith("anna:claude#")


def test_the_same_client_has_the_same_name_in_each_request() -> None:
    assert holder_of(http("a", "s"), "c", None) == holder_of(http("a", "s"), "c", {CLIENT_META: "ignored"})
    assert holder_of(http("a"), "c", {CLIENT_META: "x"}) == holder_of(http("a"), "c", {CLIENT_META: "x"})


def test_a_client_without_a_session_or_a_word_of_its_own_may_be_two() -> None:
    alike = holder_of(http("anna"), "claude", {})
    assert alike is not None
    assert not alike.certain
    assert alike.name == "anna:claude"


def test_no_name_of_a_client_can_pass_for_another_holder() -> None:
    for name in ("srv_1/conductor", "cli:anna", "a#b", "x/y"):
        call = Callers(lambda: "srv_1").call(name, None, http(name, name))
        assert call.holder is not None
        assert not set("/ ") & set(call.holder.name)
        assert call.holder.name.count("#") == 1
        assert not call.holder.durable


@pytest.mark.parametrize("word", ["", "  ", "x" * 201, "\ud800", 7, ["a"]])
def test_a_word_of_its_own_that_is_no_text_is_refused(word: object) -> None:
    with pytest.raises(InvalidInput, match=r"io\.vespera/client"):
        holder_of(http(), "claude", {CLIENT_META: word})


# Over real HTTP ------------------------------------------------------------------------------------------------------


async def plan(client: Client, *titles: str) -> list[str]:
    await succeed(client, "orchestrator_initialize_session")
    subtasks = [{"title": title} for title in titles]
    planned = await succeed(client, "orchestrator_plan_task", subtasks=subtasks)
    return [task["id"] for task in planned["tasks"]]


async def tell(client: Client, me: str, tool: str, **arguments: object) -> CallToolResult:
    """Call a tool as a client that says which one it is."""
    return await client.call_tool(f"orchestrator_{tool}", arguments, meta={CLIENT_META: me})


@pytest.mark.parametrize("era", ERAS)
async def test_two_clients_of_one_http_server_never_share_a_claim(era: str) -> None:
    with new_place() as place:
        async with http_server(place) as server:
            async with http_client(server.url, era, "one") as one, http_client(server.url, era, "two") as two:
                (task,) = await plan(one, "a")
                await succeed(one, "orchestrator_execute_task", task_id=task)
                state = place.state()
                assert "being worked on" in await refuse(two, "orchestrator_execute_task", "conflict", task_id=task)
                work: dict[str, Any] = {"task_id": task, "summary": "done", "next_action": "complete"}
                assert "is held by" in await refuse(two, "orchestrator_complete_task", "conflict", **work)
                assert place.state() == state
                await succeed(one, "orchestrator_complete_task", **work)
            assert place.status("a") == "completed"


async def test_windows_of_one_modern_client_are_told_apart_by_their_own_word_or_not_at_all() -> None:
    with new_place() as place:
        async with (
            http_server(place) as server,
            http_client(server.url, "auto", "claude") as one,
            http_client(server.url, "auto", "claude") as two,
        ):
            named, nameless = await plan(one, "named", "nameless")
            assert not (await tell(one, "left", "execute_task", task_id=named)).is_error
            mine = await tell(one, "left", "execute_task", task_id=named)
            assert mine.structured_content is not None
            assert mine.structured_content["already_yours"]
            assert (await tell(two, "right", "execute_task", task_id=named)).is_error
            work = {"summary": "done", "next_action": "complete"}
            assert (await tell(two, "right", "complete_task", task_id=named, **work)).is_error
            assert place.status("named") == "in_progress"
            assert not (await tell(two, "left", "complete_task", task_id=named, **work)).is_error
            await succeed(one, "orchestrator_execute_task", task_id=nameless)
            for client in (one, two):
                text = await refuse(client, "orchestrator_execute_task", "conflict", task_id=nameless)
                assert "set it to pending" in text
            await succeed(two, "orchestrator_complete_task", task_id=nameless, **work)


@pytest.mark.parametrize("era", ERAS)
async def test_what_a_client_that_went_away_had_claimed_can_be_taken_by_another(era: str) -> None:
    with new_place() as place:
        # A lease of six seconds: the client that stays is heard of far more often.
        async with http_server(place, "--lease-minutes", "0.1") as server:
            async with http_client(server.url, era, "gone") as gone:
                lost, kept = await plan(gone, "lost", "kept")
                await succeed(gone, "orchestrator_execute_task", task_id=lost)
            async with http_client(server.url, era, "there") as there:
                await succeed(there, "orchestrator_execute_task", task_id=kept)
                with trio.fail_after(60):
                    while True:
                        taken = await there.call_tool("orchestrator_execute_task", {"task_id": lost})
                        if not taken.is_error:
                            break
                        assert "being worked on" in text_of(taken)
                        await there.list_tools()
                        await trio.sleep(0.1)
                assert (place.status("kept"), place.status("lost")) == ("in_progress", "in_progress")
        told = place.rows("SELECT detail FROM event WHERE after='pending' AND before='in_progress'")
        assert len(told) == 1
        assert "gone" in told[0][0]
        assert "not heard of" in told[0][0]


async def test_a_client_that_only_looks_after_its_long_work_keeps_its_claims() -> None:
    with new_place() as place:
        async with (
            http_server(place, "--lease-minutes", "0.05") as server,
            http_client(server.url, "auto", "patient", extensions=[Known()]) as patient,
        ):
            kept, lost = await plan(patient, "kept", "lost")
            await succeed(patient, "orchestrator_execute_task", task_id=kept)
            work = await begun(patient, "orchestrator_synthesize_results")

            async def look() -> None:
                while True:
                    await status(patient, work.task_id)
                    await trio.sleep(0.1)

            async with trio.open_nursery() as nursery:
                # Also while the other one connects, which on a slow machine takes longer than a lease.
                nursery.start_soon(look)
                async with http_client(server.url, "auto", "gone") as gone:
                    await succeed(gone, "orchestrator_execute_task", task_id=lost)
                with trio.fail_after(60):
                    # Who claimed last and went away loses the claim; by then the first one's lease would be over, too.
                    while place.status("lost") == "in_progress":  # noqa: ASYNC110 - it happens in another process
                        await trio.sleep(0.1)
                assert place.status("kept") == "in_progress"
                nursery.cancel_scope.cancel()
