"""Artifact files that no row names: which may be removed, and that none is lost that somebody is about to name."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vespera_agents.store import strays
from vespera_agents.store.artifacts import ArtifactFiles
from vespera_agents.store.commands import AddArtifacts, ClaimTask, FinishTask, NewArtifact, RemoveStrays
from vespera_agents.store.strays import find_strays
from vespera_agents.work.models import ArtifactKind, TaskStatus

HOUR = 3_600.0


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "artifacts"
    made.mkdir()
    return made


def put(directory: Path, text: str, age: float, now: float) -> str:
    """Write an artifact's file as if so many seconds ago."""
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    path = ArtifactFiles(directory).path(sha256)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    os.utime(path, (now - age, now - age))
    return sha256


def name(bench, sha256: str) -> None:
    new = NewArtifact(ArtifactKind.GENERAL, "named", "text/plain", 1, sha256)
    bench.apply(AddArtifacts("test", bench.session_id, None, (new,)))


def found(bench, directory: Path) -> list[str]:
    return [stray.name for stray in find_strays(bench.connection, directory, bench.now)]


def remove(bench, directory: Path, *names: str) -> list[str]:
    return bench.apply(RemoveStrays("test", str(directory), names))["names"]


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.rglob("*") if path.is_file()}


def test_only_what_is_old_and_named_by_nobody_is_found_and_removed(bench, directory) -> None:
    bench.now = time.time()
    old = put(directory, "old", 2 * HOUR, bench.now)
    young = put(directory, "young", HOUR / 2, bench.now)
    named = put(directory, "named", 9 * HOUR, bench.now)
    name(bench, named)
    (directory / "notes.txt").write_text("somebody's")
    os.utime(directory / "notes.txt", (0, 0))
    assert found(bench, directory) == [old]
    assert files(directory) >= {old, young, named}, "looking changes nothing"
    assert remove(bench, directory, old, young, named, "0" * 64, "../../etc/passwd", "notes.txt") == [old]
    assert files(directory) == {young, named, "notes.txt"}
    events = bench.connection.execute("SELECT what, detail FROM event WHERE what='strays_removed'").fetchall()
    assert events == [("strays_removed", "1 artifact files of 3 bytes")]


def test_what_waits_for_the_gates_of_begun_work_stays_until_that_has_ended(bench, directory, draft) -> None:
    bench.now = time.time() - 5 * HOUR
    (task,) = bench.plan(draft("a"))
    bench.apply(ClaimTask("test", task, "srv"))
    now = bench.now = time.time()
    before = put(directory, "written before the claim", 6 * HOUR, now)
    waiting = put(directory, "written after the claim", 4 * HOUR, now)
    ancient = put(directory, "from long ago", 40 * 24 * HOUR, now)
    assert sorted(found(bench, directory)) == sorted([before, ancient])
    assert remove(bench, directory, waiting) == []
    bench.apply(FinishTask("test", task, "srv", TaskStatus.REVIEW))
    assert waiting not in found(bench, directory), "gates run for a task in review, too"
    bench.apply(FinishTask("test", task, "srv", TaskStatus.COMPLETED))
    assert waiting in found(bench, directory)


def test_what_was_named_after_somebody_looked_stays(bench, directory) -> None:
    bench.now = time.time()
    sha256 = put(directory, "late", 2 * HOUR, bench.now)
    assert found(bench, directory) == [sha256]
    name(bench, sha256)
    assert remove(bench, directory, sha256) == []
    assert files(directory) == {sha256}


def test_the_same_bytes_written_anew_at_that_very_moment_stay(bench, directory, monkeypatch) -> None:
    bench.now = time.time()
    sha256 = put(directory, "again", 2 * HOUR, bench.now)
    rename: Callable[..., Path] = Path.rename

    def write_first(path: Path, target: Path) -> Path:
        if path.name == sha256:
            put(directory, "again", 0.0, bench.now)
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(strays.Path, "rename", write_first)
        assert remove(bench, directory, sha256) == []
    assert files(directory) == {sha256}, "it was moved back"


def test_what_a_removal_that_was_cut_off_had_moved_aside_comes_back_when_it_is_named(bench, directory) -> None:
    bench.now = time.time()
    sha256 = put(directory, "aside", 2 * HOUR, bench.now)
    path = ArtifactFiles(directory).path(sha256)
    path.rename(directory / f"removing-{sha256}")
    name(bench, sha256)
    assert remove(bench, directory) == []
    assert path.read_text() == "aside"
    other = put(directory, "nobody's", 2 * HOUR, bench.now)
    ArtifactFiles(directory).path(other).rename(directory / f"removing-{other}")
    assert found(bench, directory) == [f"removing-{other}"]
    assert remove(bench, directory, f"removing-{other}") == [f"removing-{other}"]
    assert files(directory) == {sha256}


async def test_a_file_on_its_way_in_stays_however_long_it_takes_and_what_is_left_of_a_dead_writer_goes(
    bench, directory
) -> None:
    bench.now = time.time()
    (directory / "incoming-dead").write_text("x")
    (directory / "incoming-young").write_text("x")
    os.utime(directory / "incoming-dead", (0, 0))
    with ArtifactFiles(directory).writer() as writer:
        writer.write(b"a line, and then hours of silence")
        (alive,) = {name for name in files(directory) if name not in {"incoming-dead", "incoming-young"}}
        os.utime(directory / alive, (0, 0))
        assert sorted(found(bench, directory)) == sorted([alive, "incoming-dead"])
        assert remove(bench, directory, alive, "incoming-dead", "incoming-young") == ["incoming-dead"]
        sha256, _ = await writer.finish()
    assert files(directory) == {sha256, "incoming-young"}
    assert found(bench, directory) == [], "its time is that of its arrival, not of its last line"


def test_links_lead_nowhere(bench, directory, tmp_path) -> None:
    bench.now = time.time()
    outside = tmp_path / "outside"
    outside.mkdir()
    sha256 = hashlib.sha256(b"x").hexdigest()
    (outside / sha256).write_text("x")
    os.utime(outside / sha256, (0, 0))
    (directory / sha256[:2]).symlink_to(outside)
    assert found(bench, directory) == []
    assert remove(bench, directory, sha256) == []
    assert (outside / sha256).exists()
