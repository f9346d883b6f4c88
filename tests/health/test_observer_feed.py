"""The feed of the observer: one picture, then a change each second, the same for all, and nothing for nobody."""

from __future__ import annotations

import json
import random
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from supervisors import ChildState, Supervisor, TreeNode, supervisor_spec
from tests.health.observing import Watcher, even_work, fed_runtime
from vespera_agents.actors import Actor, ActorRef, MailboxSpec, receives
from vespera_agents.health import FeedRefused
from vespera_agents.health.observer import feed as feed_module
from vespera_agents.health.observer import telling as telling_module
from vespera_agents.health.observer.feed import FORGET_SECONDS, VIEWERS_MAX
from vespera_agents.health.observer.frames import BEHIND_MAX, BYTES_MAX, CHANGES_MAX, Frames
from vespera_agents.health.observer.sections import NAME_LETTERS_MAX
from vespera_agents.health.observer.tree import SLICE_ROWS, ObservedTree


@pytest.fixture(autouse=True)
def work_is_even(monkeypatch: pytest.MonkeyPatch) -> None:
    even_work(monkeypatch)


@dataclass(frozen=True)
class Crash:
    why: str


@dataclass(frozen=True)
class Wait:
    seconds: float


class Toy(Actor):
    @receives
    def crash(self, message: Crash) -> None:
        raise RuntimeError(message.why)

    @receives
    async def wait(self, message: Wait) -> None:
        await trio.sleep(message.seconds)


def paths_of(node: TreeNode, above: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    here = (*above, node.id)
    return {here}.union(*(paths_of(child, here) for child in node.children))


async def test_a_viewer_sees_a_picture_and_then_what_changes_and_nothing_else(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with fed_runtime(tmp_path) as (runtime, health), AsyncExitStack() as stack:
        one = await runtime.system.start(Toy, name="one", mailbox=MailboxSpec(7))
        two = await runtime.system.start(Toy, name="two")
        viewer = await stack.enter_async_context(health.feed.watch())
        watcher = Watcher(viewer)
        picture = await watcher.hear()
        assert picture["v"] == 1
        assert watcher.paths() == paths_of(runtime.root.snapshot())
        seen = watcher.named("one")
        assert (seen["kind"], seen["capacity"], seen["state"], seen["handled"]) == ("Toy", 7, "running", 0)
        assert watcher.named("feed")["kind"] == "", "what is no actor has no mailbox"
        assert watcher.named("feed")["mailbox"] is None

        one.tell(Wait(2.5))
        one.tell(Wait(0.1))
        change = await watcher.hear()
        assert [row[2] for row in change["tree"]["rows"] if row[2] in {"one", "two"}] == ["one"], "two did nothing"
        assert (watcher.named("one")["mailbox"], watcher.named("one")["handled"]) == (1, 0)
        change = await watcher.hear()
        assert not [row for row in change.get("tree", {}).get("rows", []) if row[2] == "one"], "that it is busy goes on"
        for _ in range(3):
            await watcher.hear()
        assert (watcher.named("one")["mailbox"], watcher.named("one")["handled"]) == (0, 2)

        two.tell(Crash("on purpose"))
        await watcher.hear()
        again = watcher.named("two")
        assert (again["incarnation"], again["restarts"], again["key"]) == (2, 1, watcher.named("two")["key"])
        kinds = [entry["kind"] for entry in watcher.log if (entry["offender"] or {}).get("id") == "two"]
        assert kinds == ["child_started", "child_crashed", "child_restarted"]
        await runtime.system.stop(two)
        await watcher.hear()
        assert "two" not in {node["name"] for node in watcher.nodes.values()}
        assert watcher.pictures == 1


async def test_what_was_told_adds_up_to_the_tree_whatever_happens_in_it(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    chance = random.Random(7)
    async with fed_runtime(tmp_path) as (runtime, health), health.feed.watch() as viewer:
        watcher = Watcher(viewer)
        await watcher.hear()
        actors: list[ActorRef[Toy]] = []
        names = iter(range(1_000_000))
        for _ in range(40):
            for _ in range(chance.randrange(6)):
                match chance.randrange(5):
                    case 0:
                        actors.append(runtime.system.spawn(Toy))
                    case 1 if actors:
                        await runtime.system.stop(actors.pop(chance.randrange(len(actors))))
                    case 2 if actors:
                        chance.choice(actors).tell(Wait(chance.random()))
                    case 3:
                        name = f"branch-{next(names)}"
                        inner = supervisor_spec("inner", lambda: Supervisor(name="inner"))
                        await runtime.root.start_child(
                            supervisor_spec(name, lambda inner=inner: Supervisor([inner], name="b"))
                        )
                    case _:
                        found = [one.id for one in runtime.root.which_children() if one.id.startswith("branch-")]
                        if found:
                            await runtime.root.terminate_child(found[0])
                            if chance.random() < 0.5:
                                await runtime.root.delete_child(found[0])
            await watcher.hear()
        await watcher.hear()
        assert watcher.paths() == paths_of(runtime.root.snapshot())
        async with health.feed.watch() as late:
            fresh = Watcher(late)
            await fresh.hear()
        assert fresh.lasting() == watcher.lasting()
        assert fresh.log == watcher.log[-len(fresh.log) :]
        assert fresh.history == watcher.history
        assert {name: watcher.told[name] for name in ("server", "sessions", "context", "health")} == {
            name: fresh.told[name] for name in ("server", "sessions", "context", "health")
        }
        assert watcher.pictures == 1


async def test_a_picture_has_the_times_of_its_own_moment(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with fed_runtime(tmp_path) as (runtime, health), health.feed.watch() as viewer:
        busy = await runtime.system.start(Toy, name="busy")
        await runtime.system.start(Toy, name="idle")
        busy.tell(Wait(1_000))
        busy.tell(Wait(1))
        for _ in range(31):
            await viewer.next()
        async with health.feed.watch() as late:
            watcher = Watcher(late)
            await watcher.hear()
        assert watcher.named("idle")["lived_seconds"] > 25
        assert min(watcher.named("busy")[name] for name in ("busy_seconds", "oldest_seconds")) > 25


async def test_names_may_be_anything_and_are_told_as_far_as_a_screen_goes(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    names = ['"quoted\\"', "two\nlines\r\n\r\ndata: {}", "\x00\x1b[31m", "\ud800", "\u202egnp.exe", "{}", "ж" * 10_000]
    async with fed_runtime(tmp_path) as (runtime, health), AsyncExitStack() as stack:
        for name in names:
            (await runtime.system.start(Toy, name=name)).tell(Crash(name))
            await trio.sleep(10)
        viewer = await stack.enter_async_context(health.feed.watch())
        watcher = Watcher(viewer)
        await watcher.hear()
        seen = {node["name"] for node in watcher.nodes.values() if node["kind"] == "Toy"}
        assert seen == {*names[:-1], f"{'ж' * NAME_LETTERS_MAX}…"}
        frame = await health.feed.snapshot()
        assert b"\n" not in frame
        assert b"\r" not in frame
        assert len(frame) < 200_000, "6 bytes for a letter, and a name stands in the tree, and in the log four times"
        for key, node in watcher.nodes.items():
            told = json.loads(await health.answers.actor(key) or b"null")
            assert told["name"] == node["name"]


async def test_what_all_viewers_see_is_made_once(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with fed_runtime(tmp_path) as (_, health):
        async with health.feed.watch() as one, health.feed.watch() as two:
            for _ in range(4):
                assert (await one.next()).data is (await two.next()).data
        assert health.feed.statistics().changes == 4


async def test_nothing_is_looked_at_while_nobody_watches_but_the_history_is_kept(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with fed_runtime(tmp_path) as (runtime, health):
        await runtime.system.start(Toy)
        await trio.sleep(20)
        idle = health.feed.statistics()
        assert (idle.nodes, idle.changes, idle.work_seconds) == (0, 0, 0.0)
        first = json.loads(await health.feed.snapshot())
        assert 18 <= len(first["history"]["rows"]) <= 21
        assert health.feed.statistics().nodes > 0
        await trio.sleep(FORGET_SECONDS + 2)
        after = health.feed.statistics()
        assert (after.viewers, after.nodes, after.kept_bytes) == (0, 0, 0)
        await trio.sleep(400)
        assert health.feed.statistics().work_seconds == after.work_seconds
        later = json.loads(await health.feed.snapshot())
        assert len(later["history"]["rows"]) == 300
        assert later["seq"] > first["seq"], "a number never means two things"
        keys = [row[0] for row in later["tree"]["rows"]]
        assert len(set(keys)) == len(keys)


async def test_who_is_too_slow_gets_a_picture_in_place_of_what_it_missed(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with fed_runtime(tmp_path) as (_, health), health.feed.watch() as viewer:
        watcher = Watcher(viewer)
        await watcher.hear()
        await trio.sleep(BEHIND_MAX - 2)
        before = watcher.told["seq"]
        assert (await watcher.hear())["seq"] == before + 1, "what is kept is told one by one"
        await trio.sleep(BEHIND_MAX + 2)
        await watcher.hear()
        assert watcher.pictures == 2
        await watcher.hear()
        assert watcher.pictures == 2


async def test_who_comes_back_within_a_minute_is_told_what_it_missed(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with fed_runtime(tmp_path) as (_, health), health.feed.watch() as stays:
        async with health.feed.watch() as viewer:
            last = await viewer.next()
            name = health.feed.event_id(last)
        for _ in range(CHANGES_MAX - 10):
            await stays.next()
        for said in (name, str(last.seq)):
            async with health.feed.watch(said) as viewer:
                missed = await viewer.next()
                assert missed.seq == last.seq + 1
                assert b'"v":' not in missed.data[:10]
        for strange in (f"another/1/{last.seq}", "", "none", "-1", "9" * 40, "999999", "0", f"{name}\n"):
            async with health.feed.watch(strange) as viewer:
                assert (await viewer.next()).data.startswith(b'{"v":1'), strange
        for _ in range(20):
            await stays.next()
        async with health.feed.watch(name) as viewer:
            assert (await viewer.next()).data.startswith(b'{"v":1'), "that is no longer kept"


async def test_one_viewer_too_many_is_told_so_and_the_end_of_the_feed_ends_them_all(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with fed_runtime(tmp_path) as (runtime, health):
        branch = runtime.root.child_value("health")
        assert isinstance(branch, Supervisor)
        async with trio.open_nursery() as nursery:
            ended: list[str] = []

            async def view(*, task_status: trio.TaskStatus[None]) -> None:
                try:
                    async with health.feed.watch() as viewer:
                        await viewer.next()
                        task_status.started()
                        while True:
                            await viewer.next()
                except FeedRefused as refused:
                    ended.append(str(refused))

            for _ in range(VIEWERS_MAX):
                await nursery.start(view)
            with pytest.raises(FeedRefused, match="Close one of them"):
                async with health.feed.watch():
                    pass
            await branch.terminate_child("feed")
            await trio.testing.wait_all_tasks_blocked()
            assert len(ended) == VIEWERS_MAX
        assert health.feed.statistics().viewers == 0
        with pytest.raises(FeedRefused, match="does not run"):
            await health.feed.snapshot()
        await branch.restart_child("feed")
        assert b'"rows"' in await health.feed.snapshot()


async def test_a_feed_that_keeps_crashing_takes_nothing_else_with_it(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    async with fed_runtime(tmp_path) as (runtime, health):
        with monkeypatch.context() as patch:
            patch.setattr(telling_module, "server_section", broken)
            for _ in range(10):
                with pytest.raises(FeedRefused):
                    await health.feed.snapshot()
                await trio.sleep(1)
        branch = runtime.root.child_value("health")
        assert isinstance(branch, Supervisor)
        assert branch.which_child("watchdog").state is ChildState.RUNNING
        await trio.sleep(300)
        assert b'"rows"' in await health.feed.snapshot()


async def test_who_was_busy_while_the_feed_was_restarted_goes_on_with_a_picture(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with fed_runtime(tmp_path) as (runtime, health):
        branch = runtime.root.child_value("health")
        assert isinstance(branch, Supervisor)
        async with health.feed.watch() as viewer:
            first = await viewer.next()
            await branch.terminate_child("feed")
            await branch.restart_child("feed")
            with trio.fail_after(5):
                told = json.loads((await viewer.next()).data)
        assert "v" in told
        assert told["seq"] > first.seq


async def test_a_large_tree_is_looked_through_in_small_slices(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with fed_runtime(tmp_path) as (runtime, _):
        for _ in range(4 * SLICE_ROWS):
            runtime.system.spawn(Toy)
        await trio.testing.wait_all_tasks_blocked()
        tree = ObservedTree(runtime.root)
        known = 0
        for _ in tree.look():
            assert len(tree) - known <= SLICE_ROWS
            known = len(tree)
        assert known > 4 * SLICE_ROWS
        assert len(tree.take().changed) == known + 1
        for _ in tree.look():
            pass
        assert len(tree.take().changed) <= 3, "what has not changed is not written again"
        assert max(len(part) for part in tree.written()) <= SLICE_ROWS


async def test_a_tree_that_changes_completely_takes_longer_and_no_more_of_the_loop(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a share so small that a thousand rows take seconds: work is real time here, and rest is virtual."""
    assert feed_module.WORK_SHARE < 0.02, "the promise; what is told beside the tree has the rest"
    monkeypatch.setattr(feed_module, "WORK_SHARE", 0.0002)
    monkeypatch.setattr(feed_module, "time", time)
    async with fed_runtime(tmp_path) as (runtime, health):
        actors = [runtime.system.spawn(Toy) for _ in range(1_000)]
        async with health.feed.watch() as viewer:
            watcher = Watcher(viewer)
            await watcher.hear()
            for _ in range(10):
                await watcher.hear()
            for actor in actors:
                actor.tell(Wait(0))
            began, told = trio.current_time(), set[str]()
            while len(told) < len(actors):
                change = await watcher.hear()
                told |= {row[2] for row in change.get("tree", {}).get("rows", []) if row[8] == "Toy"}
            spent = trio.current_time() - began
        assert spent > 4, "not within two seconds, as it would without a rest"


def test_changes_are_kept_within_bounds() -> None:
    frames = Frames()
    for _ in range(3 * CHANGES_MAX):
        frames.add(b"x" * 1_000)
    assert frames.kept_bytes == 1_000 * CHANGES_MAX
    assert not frames.follows(2 * CHANGES_MAX)
    assert frames.follows(2 * CHANGES_MAX + 1)
    assert frames.follows(3 * CHANGES_MAX)
    assert not frames.follows(3 * CHANGES_MAX + 1)
    for _ in range(10):
        frames.add(b"x" * (BYTES_MAX // 4))
    assert frames.kept_bytes <= BYTES_MAX
    frames.add(b"x" * (2 * BYTES_MAX))
    assert frames.kept_bytes == 2 * BYTES_MAX, "the last one is kept, whatever its size: viewers wait for it"
    last = frames.seq
    frames.clear()
    assert not frames.follows(last)
    assert frames.after(frames.seq) is None
