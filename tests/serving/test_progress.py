"""Progress of calls: with messages, strictly increasing, only for who asked, and never in the way of the work."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio
from mcp import Client

from tests.serving.kit import ERAS, connected, in_memory, new_place, succeed
from vespera_agents.serving.protocol.progress import Context, reporting

Heard = list[tuple[float, float | None, str | None]]


@pytest.fixture
def place():
    with new_place() as made:
        yield made


async def heard(client: Client, tool: str, **arguments: object) -> Heard:
    """Call a tool and write down what comes before its answer."""
    found: Heard = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        found.append((progress, total, message))

    result = await client.call_tool(tool, arguments, progress_callback=hear)
    assert not result.is_error, result
    return found


@pytest.mark.parametrize("era", ERAS)
async def test_long_calls_tell_how_far_they_are(place, era):
    (place.project / "plan.md").write_text("# A plan\n## Phase 1: Only\n- a\n- b\n")
    place.workspace.make()
    place.trust('[commands]\nallow = ["sh -c"]\n')
    async with connected(place, era) as client:
        calls = [await heard(client, "orchestrator_initialize_session", working_directory=str(place.project))]
        calls.append(await heard(client, "orchestrator_plan_task", plan_path="plan.md"))
        gates = ["sh -c 'sleep 0.05'", "sh -c 'sleep 0.06'", "sh -c 'sleep 0.07'"]
        (task_id,) = (await succeed(client, "orchestrator_plan_task", title="a", gates=gates))["root_task_ids"]
        await succeed(client, "orchestrator_execute_task", task_id=task_id)
        work = {"task_id": task_id, "summary": "done", "next_action": "complete"}
        calls.append(await heard(client, "orchestrator_complete_task", **work))
        assert [message for _, _, message in calls[-1]] == [f"gate `{gate}`" for gate in gates]
        calls.append(await heard(client, "orchestrator_synthesize_results"))
    for told in calls:
        assert told, "each of these tells something"
        values = [value for value, _, _ in told]
        assert values == sorted(set(values)), "strictly increasing"
        assert all(message and total for _, total, message in told)


async def test_who_did_not_ask_hears_nothing(place, monkeypatch):
    async with in_memory(place, "legacy") as (client, _):
        sent: list[object] = []

        async def count(*given: object) -> None:
            sent.append(given)

        monkeypatch.setattr("mcp.server.session.ServerSession.report_progress", count)
        await succeed(client, "orchestrator_initialize_session", working_directory=str(place.project))
        assert sent == []


class Slow:
    """The session of a request whose client takes its time with each notification."""

    def __init__(self, seconds: float, token: str | None = "token") -> None:  # noqa: S107 - no password
        self.meta: Any = {"progress_token": token} if token else {}
        self.session = self
        self.seconds = seconds
        self.got: Heard = []

    async def report_progress(self, progress: float, total: float | None, message: str | None) -> None:
        await trio.sleep(self.seconds)
        self.got.append((progress, total, message))


async def test_a_slow_client_gets_the_newest_and_holds_up_nobody(autojump_clock):
    slow = Slow(0.3)
    began = trio.current_time()
    async with reporting(cast("Context", slow)) as report:
        assert report is not None
        for number in range(1_000):
            report(number, 1_000, f"step {number}")
            if number == 0:
                await trio.sleep(0.01)
        assert trio.current_time() - began < 0.02
    assert [value for value, _, _ in slow.got] == [0, 999], "the last word is said before the answer"


async def test_a_client_that_reads_nothing_gets_its_answer_all_the_same(autojump_clock):
    dead = Slow(1_000_000)
    began = trio.current_time()
    async with reporting(cast("Context", dead)) as report:
        assert report is not None
        report(1, None, "one")
    assert trio.current_time() - began < 2
    assert dead.got == []


async def test_what_does_not_increase_is_dropped(autojump_clock):
    quick = Slow(0)
    async with reporting(cast("Context", quick)) as report:
        assert report is not None
        for value in (0, 0, 1, 0.5, 1, 3, 2):
            report(value, 3, str(value))
            await trio.sleep(0.01)
    assert [value for value, _, _ in quick.got] == [0, 1, 3]


async def test_without_a_token_there_is_nobody_to_tell(autojump_clock):
    async with reporting(cast("Context", Slow(0, None))) as report:
        assert report is None
