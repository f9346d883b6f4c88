"""Callbacks from a change to a receiver that misbehaves: real rows, real connections, a real tree."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio
import trustme
from trio.testing import wait_all_tasks_blocked

from supervisors import Supervisor
from tests.specialists.callback_receiver import OK, SECRET, configure, receiving
from vespera_agents.providers.errors import SpendLimitReached
from vespera_agents.specialists import Call, Orchestrator
from vespera_agents.specialists.callbacks import delivery, hearing, outbox, retrying
from vespera_agents.specialists.callbacks.delivery import Delivery
from vespera_agents.specialists.callbacks.figures import CallbackFigures
from vespera_agents.specialists.callbacks.hearing import Happening
from vespera_agents.specialists.callbacks.outbox import configured_targets
from vespera_agents.specialists.runtime import open_runtime
from vespera_agents.specialists.spending import StoreLedger
from vespera_agents.store import CommandKey
from vespera_agents.store.callbacks import callbacks
from vespera_agents.store.commands import FinishTask
from vespera_agents.store.commands.callbacks import ReplayCallbacks
from vespera_agents.store.outbox import CallbackEvent, CallbackStatus
from vespera_agents.work.models import TaskStatus
from vespera_agents.workspace import Registry, Workspace

BOTH = ["on_task_start", "on_task_complete"]
ORDERED = ["on_task_start", "on_task_complete"]


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits a second for what is looked at once a second."""
    monkeypatch.setattr(outbox, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(delivery, "POLL_SECONDS", 0.05)


async def rows(h, *statuses: CallbackStatus):
    found = await h.opened.store.read(callbacks, statuses or list(CallbackStatus), None, 1_000)
    return sorted(found, key=lambda row: row.seq)


async def until(condition, seconds: float = 10.0) -> None:
    with trio.fail_after(seconds):
        while not await condition():  # noqa: ASYNC110 - a row has no event
            await trio.sleep(0.01)


async def none_waits(h) -> bool:
    return not await rows(h, CallbackStatus.PENDING)


async def test_what_happens_is_told_signed_and_in_order_and_no_library_is_loaded_before(house, home, draft) -> None:
    async with receiving() as receiver:
        configure(home, receiver.url)
        async with house() as h:
            await h.begin()
            ids = await h.plan(draft("a"), draft("b"))
            await h.do(ids["a"])
            await h.claim(ids["b"])
            await h.hand_in(ids["b"], next_action="blocked", summary="stuck")
            await receiver.until(4)
            await until(lambda: none_waits(h))
            assert receiver.told(ids["a"]) == ORDERED
            assert receiver.told(ids["b"]) == ["on_task_start", "on_help_needed"]
            assert receiver.forged == 0
            assert len({one["vespera-id"] for one in receiver.headers}) == 4
            first = receiver.headers[0]
            assert (first["vespera-attempt"], first["content-type"]) == ("1", "application/json")
            assert first["line"] == "POST /hook/secret-path HTTP/1.1"
            figures = h.opened.callbacks.statistics()
            assert (figures.delivered, figures.failed, figures.given_up, figures.repeated) == (4, 0, 0, 0)


async def test_a_task_whose_first_one_fails_waits_and_holds_up_no_other_task(house, home, draft) -> None:
    async with receiving() as receiver:
        failing: list[str] = []
        receiver.answers = lambda body: "500 No" if body["task"]["id"] in failing else OK
        # It goes on failing for as long as the others take, and must not be given up meanwhile.
        configure(home, receiver.url, events=BOTH, attempts_max=100)
        async with house() as h:
            await h.begin()
            ids = await h.plan(draft("bad"), *(draft(f"t{number}") for number in range(5)))
            failing.append(ids["bad"])
            for task in ids.values():
                await h.do(task)
            good = [task for name, task in ids.items() if name != "bad"]
            await until_told(receiver, good)
            assert set(receiver.told(ids["bad"])) == {"on_task_start"}
            failing.clear()
            await until(lambda: none_waits(h))
            told = receiver.told(ids["bad"])
            assert told == ["on_task_start"] * (len(told) - 1) + ["on_task_complete"]
            # The same event keeps its id at every attempt: whoever took it before knows it again.
            ids_sent = [headers["vespera-id"] for headers in receiver.headers]
            assert ids_sent.count(told_id(receiver)) == len(told) - 1


async def until_told(receiver, tasks: list[str]) -> None:
    async def told() -> bool:
        return all(receiver.told(task) == ORDERED for task in tasks)

    await until(told)


def told_id(receiver) -> str:
    ids = [one["id"] for one in receiver.bodies]
    return max(set(ids), key=ids.count)


async def test_a_receiver_that_hangs_is_tried_again(house, home, draft) -> None:
    async with receiving() as receiver:
        receiver.answers = lambda _: None if len(receiver.bodies) == 1 else OK
        # So short a time may also be over before a request has come, so it is not counted how many it takes.
        configure(home, receiver.url, events=["on_task_start"], timeout_seconds=0.3, attempts_max=100)
        async with house() as h:
            await h.begin()
            ids = await h.plan(draft("a"))
            await h.claim(ids["a"])
            await until(lambda: none_waits(h))
            assert len({one["id"] for one in receiver.bodies}) == 1
            (row,) = await rows(h)
            assert row.status == "delivered"
            assert row.attempts == row.failures + 1 >= 2


async def test_a_receiver_that_redirects_breaks_off_or_is_busy_is_tried_again(house, home, draft) -> None:
    async with receiving() as receiver, receiving() as elsewhere:
        answers = iter([
            ("302 Found", f"Location: {elsewhere.url}\r\n"), ("307 Again", f"Location: {elsewhere.url}\r\n"),
            ("429 Slowly", "Retry-After: 0.1\r\n"), ("503 Later", "Retry-After: 0.1\r\n"), "garbage", OK,
        ])  # fmt: skip
        receiver.answers = lambda _: next(answers)
        configure(home, receiver.url, events=["on_task_start"])
        async with house() as h:
            await h.begin()
            ids = await h.plan(draft("a"))
            await h.claim(ids["a"])
            await receiver.until(6)
            await until(lambda: none_waits(h))
            assert len({one["id"] for one in receiver.bodies}) == 1
            assert [one["vespera-attempt"] for one in receiver.headers] == list("123456")
            assert elsewhere.bodies == []
            (row,) = await rows(h)
            assert (row.status, row.attempts, row.failures) == ("delivered", 6, 5)


async def test_what_is_given_up_is_kept_says_why_and_can_be_replayed(house, home, draft) -> None:
    async with receiving() as receiver:
        receiver.answers = lambda _: "500 No"
        configure(home, receiver.url, events=BOTH, attempts_max=3)
        async with house() as h:
            await h.begin()
            ids = await h.plan(draft("a"))
            await h.do(ids["a"])
            await until(lambda: none_waits(h))
            dead = await rows(h, CallbackStatus.DEAD)
            assert [(row.event, row.failures, row.problem) for row in dead] == [
                (event, 3, "the receiver answered 500") for event in BOTH
            ]
            assert receiver.told() == ["on_task_start"] * 3 + ["on_task_complete"] * 3
            receiver.answers = lambda _: OK
            await h.opened.store.execute(ReplayCallbacks("test"), h.opened.key())
            await until(lambda: none_waits(h))
            assert [one["id"] for one in receiver.bodies[-2:]] == [row.id for row in dead]
            assert h.opened.callbacks.statistics().given_up == 2


async def test_a_receiver_that_is_not_there_is_told_of_in_words(house, home, draft) -> None:
    # Nobody listens, and nobody else gets the port meanwhile.
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://localhost:{held.getsockname()[1]}/"
        configure(home, url, events=["on_task_start"], attempts_max=1)
        async with house() as h:
            await h.begin()
            ids = await h.plan(draft("a"))
            await h.claim(ids["a"])
            await until(lambda: none_waits(h))
            assert [row.problem for row in await rows(h)] == ["the connection failed: Connection refused"]


async def test_a_target_that_is_away_uses_up_few_attempts(house, home, draft, monkeypatch) -> None:
    # Half a second may be over before this test has looked.
    monkeypatch.setattr(retrying, "_PAUSE_SECONDS", 30.0)
    async with receiving() as receiver:
        receiver.answers = lambda _: "503 Away"
        configure(home, receiver.url, events=["on_task_start"], attempts_max=100, concurrency=2)
        async with house() as h:
            await h.begin()
            ids = await h.plan(*(draft(f"t{number}") for number in range(30)))
            for task in ids.values():
                await h.claim(task)
            # Twenty failures in a row, and it gets a pause; what is sent beside the twentieth comes, too.
            await receiver.until(20)
            await trio.sleep(0.3)
            assert len(receiver.bodies) <= 23


async def test_no_more_requests_at_once_than_are_allowed(house, home, draft) -> None:
    async with receiving() as receiver:
        receiver.held = trio.Event()
        configure(home, receiver.url, events=["on_task_start"], concurrency=3)
        async with house() as h:
            await h.begin()
            ids = await h.plan(*(draft(f"t{number}") for number in range(9)))
            for task in ids.values():
                await h.claim(task)
            await receiver.until(3)
            receiver.held.set()
            await until(lambda: none_waits(h))
            assert receiver.at_once_max == 3


async def test_an_address_that_may_not_be_spoken_to_gets_no_byte(house, home, draft) -> None:
    async with receiving() as receiver:
        url = receiver.url.replace("http:", "https:")
        configure(home, url, allow_private=False, attempts_max=1, events=["on_task_start"])
        async with house() as h:
            await h.begin()
            await h.claim((await h.plan(draft("a")))["a"])
            await until(lambda: none_waits(h))
            (row,) = await rows(h, CallbackStatus.DEAD)
            assert "private" in str(row.problem)
            assert receiver.bodies == []


async def test_a_certificate_is_verified_against_the_name(house, home, tmp_path: Path, draft) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    async with receiving(context) as receiver:
        configure(home, receiver.url, events=["on_task_start"], attempts_max=1, ca_file=str(tmp_path / "ca.pem"))
        async with house() as h:
            await h.begin()
            ids = await h.plan(draft("a"), draft("b"), draft("c"))
            await h.claim(ids["a"])
            # Not only until it is there: what is not yet noted as delivered is sent again with the changed settings.
            await until(lambda: none_waits(h))
            configure(home, receiver.url, events=["on_task_start"], attempts_max=1)
            await until(lambda: settings_are(h, ca_file=None))
            await h.claim(ids["b"])
            other = receiver.url.replace("localhost", "127.0.0.1")
            await until(lambda: none_waits(h))
            configure(home, other, events=["on_task_start"], attempts_max=1, ca_file=str(tmp_path / "ca.pem"))
            await until(lambda: settings_are(h, url=other))
            await h.claim(ids["c"])
            await until(lambda: none_waits(h))
            dead = await rows(h, CallbackStatus.DEAD)
            assert ["certificate does not hold" in str(row.problem) for row in dead] == [True, True]
            assert len(receiver.bodies) == 1


async def settings_are(h, **wanted: object) -> bool:
    """Wait until a changed configuration is in use: it is looked at once a second."""
    running = h.opened.callbacks._outbox._deliveries.get("bench")
    return running is not None and all(getattr(running[0], name) == value for name, value in wanted.items())


async def test_two_servers_on_one_workspace_deliver_once_and_the_second_goes_on_for_the_first(
    house, home, draft
) -> None:
    async with receiving() as receiver:
        configure(home, receiver.url, events=BOTH)
        async with open_runtime("serve") as other:
            async with house() as h:
                theirs = await other.workspace(home)
                await h.begin()
                ids = await h.plan(*(draft(f"t{number}") for number in range(10)))
                for task in ids.values():
                    await h.do(task)
                await receiver.until(20)
                await until(lambda: none_waits(h))
                assert len(receiver.bodies) == 20
                delivered = h.opened.callbacks.statistics().delivered, theirs.callbacks.statistics().delivered
                assert delivered == (20, 0)
                assert theirs.callbacks._outbox._deliveries == {}
            # The second one writes for the targets that the first one registered, and leads from now on.
            facade = Orchestrator(other, home)
            call = Call("mcp:test", CommandKey("test", "one more"))
            planned = await facade.tasks.plan(call, (draft("late"),), None)
            await facade.work.execute(Call("mcp:test", CommandKey("test", "claim")), planned.tasks[0].id)
            await receiver.until(21)


async def test_a_delivery_that_crashes_is_begun_anew_and_sessions_do_not_notice(
    house, home, draft, monkeypatch
) -> None:
    async with receiving() as receiver:
        configure(home, receiver.url, events=["on_task_start"])
        async with house() as h:
            session = await h.opened.session(await h.begin())
            ids = await h.plan(draft("a"))

            whole, crashes = Delivery._end_of, list[str]()

            def broken(self, row, answer):
                if not crashes:
                    crashes.append(row.id)
                    raise RuntimeError("planted")
                return whole(self, row, answer)

            monkeypatch.setattr(Delivery, "_end_of", broken)
            await h.claim(ids["a"])
            await receiver.until(2)
            await until(lambda: none_waits(h))
            assert len({one["id"] for one in receiver.bodies}) == 1
            assert await h.opened.session(session.session_id) is session
            assert h.opened.callbacks.statistics().repeated == 1


async def test_a_file_that_is_not_trusted_or_not_right_sends_nothing_new(house, home, draft, caplog) -> None:
    async with receiving() as receiver:
        configure(home, receiver.url, trusted=False)
        assert configured_targets(Workspace(home.resolve()), Registry(), {}) == {}
        async with house() as h:
            await h.begin()
            await h.claim((await h.plan(draft("a")))["a"])
            assert await rows(h) == []
            configure(home, receiver.url, timeout_seconds="soon")
            await until(lambda: warned(caplog))
        assert receiver.bodies == []


async def warned(caplog) -> bool:
    return "timeout_seconds" in caplog.text


async def test_no_command_gets_the_secret_of_a_target(house, home, draft, sh, monkeypatch) -> None:
    monkeypatch.setenv("VESPERA_CALLBACK_URL", "https://nobody.invalid/")
    monkeypatch.setenv("VESPERA_CALLBACK_SECRET", SECRET)
    async with house() as h:
        await h.run("# Plan\n## Phase 1\n### show\n```yaml\nrun: env\n```\n")
        texts = [path.read_bytes() for path in (h.opened.workspace.artifacts).rglob("*") if path.is_file()]
        assert any(b"PATH=" in text for text in texts)
        assert not any(SECRET.encode() in text for text in texts)


async def test_functions_in_this_process_hear_and_one_that_raises_or_hangs_harms_nobody(
    house, draft, monkeypatch
) -> None:
    monkeypatch.setattr(hearing, "HEARING_SECONDS", 0.05)
    heard: list[Happening] = []
    tried: list[str] = []

    async def good(happening: Happening) -> None:
        heard.append(happening)

    async def raises(happening: Happening) -> None:
        tried.append(str(happening.task_id))
        raise RuntimeError("planted")

    async def hangs(_: Happening) -> None:
        await trio.sleep_forever()

    async with house() as h:
        for hears in (raises, hangs, good):
            await h.opened.callbacks.on_task_start(hears)
        await h.opened.callbacks.on_error(good)
        await h.opened.callbacks.on_budget_low(good)
        session = await h.begin()
        live = await h.opened.session(session)
        ids = await h.plan(draft("a"), draft("b"))
        await h.claim(ids["a"])
        await h.claim(ids["b"])
        failed = FinishTask("test", ids["b"], h.opened.server, TaskStatus.FAILED)
        await h.opened.store.execute(failed, h.opened.key())
        assert await h.opened.callbacks.tell(CallbackEvent.BUDGET_LOW, session_id=session, once="a") is True
        assert await h.opened.callbacks.tell(CallbackEvent.BUDGET_LOW, session_id=session, once="a") is False

        async def all_heard() -> bool:
            return len(heard) == 4 and len(tried) == 2 and h.opened.callbacks.statistics().handler_failures == 2

        await until(all_heard)
        assert {(one.event, one.task_id) for one in heard} == {
            ("on_task_start", ids["a"]),
            ("on_task_start", ids["b"]),
            ("on_error", ids["b"]),
            ("on_budget_low", None),
        }
        assert await h.opened.session(session) is live


async def test_a_function_that_is_too_slow_loses_the_oldest_and_they_are_counted(monkeypatch) -> None:
    monkeypatch.setattr(hearing, "WAITING_MAX", 2)
    figures, heard = CallbackFigures(), list[object]()

    async def hears(happening: Happening) -> None:
        heard.append(happening.task_id)

    slow = hearing.Hearing("slow", CallbackEvent.ERROR, hears, figures)
    for number in range(4):
        slow.tell(Happening(CallbackEvent.ERROR, None, str(number)))
    async with trio.open_nursery() as nursery:
        await nursery.start(slow.run)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert (heard, figures.dropped) == (["2", "3"], 2)


async def test_a_deadline_that_is_near_is_told_once(house, home, draft) -> None:
    async with receiving() as receiver:
        configure(home, receiver.url, events=["on_deadline_near"], deadline_near_seconds=60.0)
        async with house() as h:
            heard: list[Happening] = []

            async def hears(happening: Happening) -> None:
                heard.append(happening)

            await h.opened.callbacks.on_deadline_near(hears)
            await h.begin()
            ids = await h.plan(draft("soon", due=time.time() + 30), draft("later", due=time.time() + 3_600))
            looking = h.opened.callbacks._outbox
            await looking._look_at_deadlines()
            await looking._look_at_deadlines()
            await receiver.until(1)
            assert [one["task"]["id"] for one in receiver.bodies] == [ids["soon"]]
            await wait_all_tasks_blocked()
            assert [one.task_id for one in heard] == [ids["soon"]]


async def test_a_limit_of_spending_that_is_near_is_told_once_and_so_is_one_that_refuses(house) -> None:
    heard: list[Happening] = []

    async def hears(happening: Happening) -> None:
        heard.append(happening)

    async with house() as h:
        session = await h.begin()
        await h.opened.callbacks.on_budget_low(hears)
        tells = h.opened.callbacks.budget_low
        for _ in range(2):
            # As after a restart: the rows know that it was told, the process does not.
            ledger = StoreLedger(h.opened.store, h.opened.key, usd_per_session=1.0, usd_per_day=100.0, low=tells)
            for number in range(5):
                await ledger.reserve(f"{number}", session, 0.2)
            with pytest.raises(SpendLimitReached):
                await ledger.reserve("5", session, 0.2)
            for number in range(5):
                await ledger.release(f"{number}")

        async def both() -> bool:
            return len(heard) == 2

        await until(both)
        await wait_all_tasks_blocked()
        assert [dict(one.facts) for one in heard] == [
            {"limit": "session", "used_usd": 0.8, "limit_usd": 1.0},
            {"refused": True},
        ]
        assert {one.session_id for one in heard} == {session}


async def test_whoever_ends_may_wait_until_all_is_told_and_no_longer_than_he_wants(house, home, draft) -> None:
    async with receiving() as receiver:
        configure(home, receiver.url, events=BOTH)
        async with house() as h:
            await h.begin()
            ids = await h.plan(draft("a"), draft("b"))
            await h.do(ids["a"])
            await h.opened.callbacks.drain(10.0)
            assert receiver.told() == ORDERED
            receiver.held = trio.Event()
            await h.claim(ids["b"])
            with trio.fail_after(5):
                await h.opened.callbacks.drain(0.1)
            assert not await none_waits(h)


async def test_callbacks_are_the_last_child_of_the_workspaces_tree(house) -> None:
    async with house() as h:
        supervisor = h.opened._supervisor
        assert isinstance(supervisor, Supervisor)
        assert [child.id for child in supervisor.which_children()][-1] == "callbacks"


def test_a_workspace_without_anything_to_send_loads_no_library_for_http() -> None:
    program = "import sys, vespera_agents.specialists.sessions; print('h11' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split()[0] == "False"
