"""What specialists have built up goes over to the next worker, or is made anew from the store: it is only a cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from tests.specialists.one_front import OneFront, one_front
from vespera_agents.context.packing import DamagedPack, HeldContext, pack, unpack
from vespera_agents.context.sections import Section
from vespera_agents.context.sources import Source
from vespera_agents.specialists import handing_over
from vespera_agents.specialists.handing_over import hand_over, take_over
from vespera_agents.specialists.specialist import CarryOut, HandOver
from vespera_agents.store import queries

CANARY = "the canary of this piece of work"


@pytest.fixture
def front() -> Iterator[OneFront]:
    with one_front() as one:
        yield one


def file_of(home: Path, front: OneFront) -> Path:
    return home / ".vespera" / "servers" / f"{front.server}.handover"


async def begin(first, draft) -> str:
    """Have a task claimed that builds on another one, and give its id."""
    await first.begin()
    ids = await first.plan(draft("base"), draft("top", "base", description=CANARY, specialist="architect"))
    await first.do(ids["base"], summary="what was found out", detailed_work="the found")
    await first.claim(ids["top"])
    return ids["top"]


async def held_by(house) -> list[HeldContext]:
    """Ask every specialist what it holds."""
    found = [
        await ref.ask(HandOver()) for one in house.opened.sessions.values() for _, ref in one.running_specialists()
    ]
    return [one for one in found if one is not None]


async def told(house) -> list[str]:
    """Read from the audit trail what became of contexts."""
    rows = await house.opened.store.read(
        lambda connection: connection.execute(
            "SELECT what FROM event WHERE what LIKE 'context~_%' ESCAPE '~' ORDER BY seq"
        ).fetchall()
    )
    return [what for (what,) in rows]


async def test_the_next_worker_holds_what_the_last_one_held_and_where_it_came_from(house, home, draft, front) -> None:
    async with house(front=front) as first:
        task_id = await begin(first, draft)
        before = [one for one in await held_by(first) if one.task_id == task_id]
        handed = await hand_over(first.opened)
        assert handed.task_ids == (task_id,)
        assert handed.left_out == ()
    assert file_of(home, front).exists()
    front.replace()
    async with house(front=front) as second:
        found = await take_over(second.opened, handed.task_ids)
        assert (found.taken, found.rebuilt, found.problems) == ((task_id,), (), ())
        assert await held_by(second) == before
        (held,) = before
        assert any(CANARY in section.text for section in held.sections)
        assert {source.kind for source in held.sources} == {"role", "task", "artifact"}
        assert Source("task", task_id, str((await second.show(task_id)).version)) in held.sources
        assert held.context_tokens > 0
        assert await told(second) == ["context_taken_over"]
    assert not file_of(home, front).exists()


def corrupted(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(CANARY.encode())] ^= 1
    path.write_bytes(data)


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def grown(path: Path) -> None:
    os.truncate(path, handing_over.FILE_BYTES_MAX * 3)


def of_another_version(path: Path) -> None:
    content = b'{"task":"of another version"}'
    path.write_bytes(hashlib.sha256(content).hexdigest().encode() + b" " + content + b"\nend 1\n")


def linked(path: Path) -> None:
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))


def binary(path: Path) -> None:
    path.write_bytes(os.urandom(4_096))


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (Path.unlink, "not there"),
        (corrupted, "checksum"),
        (cut_off, "cut off"),
        (grown, "bytes"),
        (of_another_version, "another version"),
        (linked, "cannot be read"),
        (binary, "cut off"),
        (a_directory, "cannot be read"),
    ],
)
async def test_what_cannot_be_read_is_reported_and_made_anew(
    house, home, draft, front, damage: Callable[[Path], object], word: str
) -> None:
    async with house(front=front) as first:
        task_id = await begin(first, draft)
        handed = await hand_over(first.opened)
    damage(file_of(home, front))
    front.replace()
    async with house(front=front) as second:
        found = await take_over(second.opened, handed.task_ids)
        assert found.taken == ()
        assert [one.partition(":")[0] for one in found.rebuilt] == [task_id]
        assert any(word in problem for problem in found.problems), found.problems
        (held,) = await held_by(second)
        assert held.task_id == task_id
        assert any(CANARY in section.text for section in held.sections)
        assert await told(second) == ["context_rebuilt"]


@pytest.mark.parametrize(("damage", "problems"), [(corrupted, 1), (Path.unlink, 0)], ids=["damaged", "missing"])
async def test_where_nobody_says_what_was_handed_over_what_is_damaged_is_still_told(
    house, home, draft, front, damage: Callable[[Path], object], problems: int
) -> None:
    async with house(front=front) as first:
        await begin(first, draft)
        await hand_over(first.opened)
    damage(file_of(home, front))
    front.replace()
    async with house(front=front) as second:
        found = await take_over(second.opened, None)
        assert (found.taken, found.rebuilt, len(found.problems)) == ((), (), problems)


async def test_what_was_made_of_rows_that_changed_is_made_anew_and_says_which(house, draft, front) -> None:
    async with house(front=front) as first:
        task_id = await begin(first, draft)
        handed = await hand_over(first.opened)
        version = (await first.show(task_id)).version
        await first.opened.store.execute(_Touch("test", task_id), first.opened.key())
        assert (await first.show(task_id)).version == version + 1
    front.replace()
    async with house(front=front) as second:
        found = await take_over(second.opened, handed.task_ids)
        assert found.taken == ()
        assert found.rebuilt == (f"{task_id}: the task {task_id} was changed",)
        (held,) = await held_by(second)
        assert Source("task", task_id, str(version + 1)) in held.sources


class _Touch:
    """A change of a row, whoever makes it."""

    def __init__(self, by: str, task_id: str) -> None:
        self.by = by
        self._task_id = task_id

    def fingerprint(self) -> bytes:
        return self._task_id.encode()

    def apply(self, transaction) -> None:
        transaction.execute("UPDATE task SET version=version+1 WHERE id=?", (self._task_id,))


async def test_a_context_whose_role_was_changed_is_made_anew(house, draft, front, home) -> None:
    async with house(front=front) as first:
        task_id = await begin(first, draft)
        handed = await hand_over(first.opened)
    roles = home / ".vespera" / "roles"
    roles.mkdir(exist_ok=True)
    (roles / "own.yaml").write_text("architect:\n  role_definition: Draw before you build.\n")
    front.replace()
    async with house(front=front) as second:
        found = await take_over(second.opened, handed.task_ids)
        assert found.rebuilt == (f"{task_id}: the role architect was changed",)
        (held,) = await held_by(second)
        assert "Draw before you build." in held.sections[0].text


async def test_what_has_ended_meanwhile_is_held_by_nobody(house, draft, front) -> None:
    async with house(front=front) as first:
        task_id = await begin(first, draft)
        handed = await hand_over(first.opened)
        await first.hand_in(task_id)
        assert (await hand_over(first.opened)).task_ids == ()
    front.replace()
    async with house(front=front) as second:
        found = await take_over(second.opened, handed.task_ids)
        assert (found.taken, found.rebuilt) == ((), ())
        assert await held_by(second) == []


async def test_two_tasks_of_one_role_come_back_to_two_specialists(house, draft, front) -> None:
    async with house(front=front) as first:
        await first.begin()
        ids = await first.plan(draft("one"), draft("two"))
        live = await first.opened.session((await first.show(ids["one"])).session_id)
        role = first.opened.role("generic")
        await first.claim(ids["one"])
        async with live.borrow(role):
            # The one that holds the first task's context is lent, so the second task's is another's.
            await first.claim(ids["two"])
        handed = await hand_over(first.opened)
        assert len(handed.task_ids) == 2
    front.replace()
    async with house(front=front) as second:
        found = await take_over(second.opened, handed.task_ids)
        assert sorted(found.taken) == sorted(handed.task_ids)
        assert sorted(one.task_id for one in await held_by(second)) == sorted(handed.task_ids)


async def test_what_is_too_large_is_left_out_and_said(house, draft, front, monkeypatch) -> None:
    monkeypatch.setattr(handing_over, "PACK_BYTES_MAX", 100)
    async with house(front=front) as first:
        task_id = await begin(first, draft)
        handed = await hand_over(first.opened)
        assert handed.task_ids == ()
        assert handed.left_out[0].startswith(f"{task_id}: its context takes ")


async def test_a_specialist_at_work_holds_nobody_up(house, draft, front, sh) -> None:
    async with house(front=front) as first:
        session_id = await first.begin()
        ids = await first.plan(draft("long", run=sh("sleep 30")))
        task = await first.opened.store.read(queries.task, ids["long"])
        live = await first.opened.session(session_id)
        scope = trio.CancelScope()
        async with trio.open_nursery() as nursery:

            async def work() -> None:
                async with live.borrow(first.opened.role("generic")) as specialist:
                    await specialist.ask(CarryOut(task, lambda _: None, scope))

            nursery.start_soon(work)
            await trio.sleep(0.2)
            with trio.fail_after(10):
                handed = await hand_over(first.opened)
            assert handed.task_ids == ()
            scope.cancel()


def test_a_pack_says_when_it_is_not_what_was_written() -> None:
    held = HeldContext("session_1", "task_1", "tester", 7, (Section("Your task", "do it é"),))
    line = pack(held)
    assert b"\n" not in line
    assert unpack(line) == held
    for spoiled in (line[:-1], line[1:], b"", b" ", line.replace(b"do it", b"do at"), line + b" "):
        with pytest.raises(DamagedPack):
            unpack(spoiled)
