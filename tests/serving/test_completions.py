"""Completion: what is offered for the beginning of an id, in which order, and at which cost."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, Completion, PromptReference, ResourceTemplateReference

from tests.serving.kit import ERAS, Place, connected, in_memory, new_place, succeed
from vespera_agents.serving.protocol.reading.resources import TEMPLATES
from vespera_agents.store.completing import LOOKED_AT_MAX, MATCHES_MAX, artifact_hashes, session_ids, task_ids
from vespera_agents.store.schema import migrate

ADDRESS = {one.name: one.uri_template for one in TEMPLATES}


@asynccontextmanager
async def planned(era: str = "auto", tasks: int = 3) -> AsyncIterator[tuple[Place, Client, list[str]]]:
    """Have a session with some ready tasks; gives their ids."""
    with new_place() as place:
        async with in_memory(place, era) as (client, _):
            await succeed(client, "orchestrator_initialize_session", name="first")
            subtasks = [{"key": f"k{number}", "title": f"T{number}"} for number in range(tasks)]
            found = await succeed(client, "orchestrator_plan_task", title="All", subtasks=subtasks)
            yield place, client, [one["id"] for one in found["tasks"]]


async def offered(client: Client, prompt: str, argument: str, value: str, **others: str) -> Completion:
    result = await client.complete(PromptReference(name=prompt), {"name": argument, "value": value}, others or None)
    return result.completion


async def addressed(client: Client, template: str, argument: str, value: str) -> Completion:
    result = await client.complete(ResourceTemplateReference(uri=template), {"name": argument, "value": value})
    return result.completion


@pytest.mark.parametrize("era", ERAS)
async def test_a_task_is_offered_by_the_beginning_of_its_id_with_or_without_its_prefix(era: str) -> None:
    async with planned(era) as (_, client, ids):
        assert client.server_capabilities.completions is not None
        for task in ids:
            for beginning in (task, task[:9], task.removeprefix("task_"), task[5:9].upper(), f" {task} "):
                assert task in (await addressed(client, ADDRESS["task"], "id", beginning)).values
        for beginning in ("", "t", "task", "task_"):
            found = await addressed(client, ADDRESS["task"], "id", beginning)
            assert (sorted(found.values), found.total, found.has_more) == (sorted(ids), 4, False)
        for beginning in ("task_%", "x", "_", "é", "task_task_", "0' OR 1=1", "\0", "\ud800"):
            assert await addressed(client, ADDRESS["task"], "id", beginning) == Completion(
                values=[], total=0, has_more=False
            )


@pytest.mark.parametrize("era", ERAS)
async def test_tasks_that_are_likely_meant_come_first(era: str) -> None:
    async with planned(era) as (_, client, ids):
        root, one, two, three = ids
        await succeed(client, "orchestrator_execute_task", task_id=one)
        await succeed(client, "orchestrator_execute_task", task_id=two)
        work = {"summary": "s", "next_action": "needs_revision"}
        await succeed(client, "orchestrator_complete_task", task_id=two, **work)
        assert (await offered(client, "execute_task", "task_id", "")).values == [three, one, two, root]
        assert (await offered(client, "review_task", "task_id", "")).values[0] == two
        await succeed(client, "orchestrator_cancel_task", task_id=three, reason="no")
        assert (await offered(client, "execute_task", "task_id", "task_")).values[-1] == three
        found = await addressed(client, ADDRESS["task"], "id", "")
        assert found.values[-1] == three
        # The same with a beginning that is long enough for the index.
        for task in ids:
            assert (await offered(client, "review_task", "task_id", task[:8])).values[0][:8] == task[:8]


@pytest.mark.parametrize("era", ERAS)
async def test_with_a_session_chosen_only_its_tasks_are_offered(era: str) -> None:
    async with planned(era) as (_, client, ids):
        first = (await offered(client, "plan_work", "session", "")).values
        other = (await succeed(client, "orchestrator_initialize_session", name="second"))["id"]
        mine = (await succeed(client, "orchestrator_plan_task", title="Mine", session=other))["ready"]
        assert (await offered(client, "plan_work", "session", "")).values == [other, *first]
        for beginning in (other, other.removeprefix("session_"), other[:12]):
            assert other in (await offered(client, "hand_over_session", "session", beginning)).values
        found = await offered(client, "execute_task", "task_id", "", session=other)
        assert (found.values, found.total) == (mine, 1)
        assert (await offered(client, "execute_task", "task_id", mine[0], session=other)).values == mine
        assert (await offered(client, "execute_task", "task_id", mine[0], session=first[0])).values == []
        assert (await offered(client, "execute_task", "task_id", ids[0][:9], session=first[0])).values == ids[:1]
        # A session that is not typed to its end yet offers nothing, and complains of nothing.
        for session in ("session_", "\ud800"):
            assert (await offered(client, "execute_task", "task_id", "", session=session)).values == []


@pytest.mark.parametrize("era", ERAS)
async def test_artifacts_roles_and_plain_texts_are_completed_as_far_as_they_can_be(era: str) -> None:
    async with planned(era) as (place, client, ids):
        await succeed(client, "orchestrator_execute_task", task_id=ids[1])
        work = {"summary": "s", "detailed_work": "text", "next_action": "complete"}
        await succeed(client, "orchestrator_complete_task", task_id=ids[1], **work)
        await succeed(client, "orchestrator_synthesize_results")
        hashes = [row[0] for row in place.rows("SELECT sha256 FROM artifact ORDER BY seq DESC")]
        assert (await addressed(client, ADDRESS["artifact"], "sha256", "")).values == hashes
        for digest in hashes:
            assert (await addressed(client, ADDRESS["artifact"], "sha256", digest[:6])).values == [digest]
        assert (await addressed(client, ADDRESS["artifact"], "offset", "1")).values == []
        assert (await addressed(client, ADDRESS["role"], "name", "de")).values == ["debugger", "devops"]
        assert (await offered(client, "execute_task", "specialist", "Imp")).values == ["implementer"]
        assert (await offered(client, "execute_task", "specialist", "coder")).values == ["implementer"]
        assert (await offered(client, "plan_work", "goal", "make")).values == []


@pytest.mark.parametrize("era", ERAS)
async def test_what_cannot_be_completed_is_refused_with_what_can(era: str) -> None:
    async with planned(era) as (_, client, _):
        for wrong, words in (
            (offered(client, "tea", "x", ""), "no prompt 'tea'"),
            (offered(client, "execute_task", "task", ""), "Complete one of: task_id, specialist, session"),
            (addressed(client, "vespera://tea/{id}", "id", ""), "no address 'vespera://tea/{id}'"),
            (addressed(client, ADDRESS["task"], "name", ""), "Complete one of: id"),
        ):
            with pytest.raises(MCPError, match="Next: ") as caught:
                await wrong
            assert words in str(caught.value)
            assert caught.value.error.code == INVALID_PARAMS
            assert caught.value.error.data["next_action"]


async def test_a_task_of_another_open_workspace_is_offered_after_those_at_home() -> None:
    async with planned() as (place, client, ids):
        other = place.root / "other"
        other.mkdir()
        session = await succeed(client, "orchestrator_initialize_session", working_directory=str(other))
        mine = (await succeed(client, "orchestrator_plan_task", title="Far", session=session["id"]))["ready"]
        found = await addressed(client, ADDRESS["task"], "id", "")
        assert (found.values[-1:], sorted(found.values), found.total) == (mine, sorted([*ids, *mine]), 5)


@pytest.mark.parametrize("era", ERAS)
async def test_ids_are_completed_over_standard_output_too(era: str) -> None:
    with new_place() as place:
        async with connected(place, era) as client:
            await succeed(client, "orchestrator_initialize_session")
            (task,) = (await succeed(client, "orchestrator_plan_task", title="Far"))["ready"]
            assert (await offered(client, "execute_task", "task_id", task[:7])).values == [task]


# ---- many rows


@contextlib.contextmanager
def filled(tasks: int) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        migrate(connection)
        connection.execute(
            "INSERT INTO session(id, name, directory, status, created, updated) VALUES ('session_1','s','/','open',1,1)"
        )
        connection.executemany(
            "INSERT INTO task(seq, id, session_id, position, title, description, task_type, complexity, specialist,"
            " status, created, updated) VALUES (?,?,'session_1',?,'t','','standard','simple','generic',?,1,1)",
            (
                (
                    number,
                    f"task_{number * 2654435761 % (1 << 48):012x}",
                    number,
                    "in_progress" if number == 7 else "pending",
                )
                for number in range(tasks)
            ),
        )
        yield connection


def test_a_hundred_are_offered_and_that_there_are_more_is_said() -> None:
    with filled(MATCHES_MAX + 50) as connection:
        found = task_ids(connection, "")
        assert (len(found.values), found.total, found.has_more) == (MATCHES_MAX, MATCHES_MAX + 50, True)
        assert found.values[0] == f"task_{7 * 2654435761:012x}"
        assert task_ids(connection, "", "session_1") == found
        assert task_ids(connection, "00") == found
        few = task_ids(connection, "000")
        assert (few.values[0], len(few.values), few.total, few.has_more) == (found.values[0], 26, 26, False)
        assert task_ids(connection, "", "session_2").values == ()


def test_no_beginning_reads_a_large_store() -> None:
    with filled(100_000) as connection:
        known = f"{7 * 2654435761:012x}"
        for beginning in ("", "0", "00", known[:3], known[:5], known):
            steps = 0

            def count() -> None:
                nonlocal steps
                steps += 1

            connection.set_progress_handler(count, 1_000)
            found = task_ids(connection, beginning, "session_1", ("ready",))
            connection.set_progress_handler(None, 0)
            assert found.values or beginning in {"0", "00"}
            assert all(value.startswith(f"task_{beginning}") for value in found.values)
            # All rows would take some million steps.
            assert steps < 100, (beginning, steps)
        found = task_ids(connection, "")
        assert (len(found.values), found.total, found.has_more) == (MATCHES_MAX, 100_000, True)
        found = task_ids(connection, "0")
        assert (found.total, found.has_more) == (None, True)
        assert LOOKED_AT_MAX < 100_000
        assert session_ids(connection, "1").values == ("session_1",)
        assert artifact_hashes(connection, "") == artifact_hashes(connection, "abc")
