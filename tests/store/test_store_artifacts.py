"""Artifacts as files: whole or not at all, once each, and honest about damage."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vespera_agents.store import artifacts
from vespera_agents.store.artifacts import ArtifactFiles
from vespera_agents.store.errors import ArtifactMissing, StoreUnavailable
from vespera_agents.work.errors import InvalidInput


@pytest.fixture
def files(tmp_path: Path) -> ArtifactFiles:
    return ArtifactFiles(tmp_path)


def everything(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


async def test_bytes_are_kept_under_their_hash_and_read_back_in_parts(files: ArtifactFiles, tmp_path: Path) -> None:
    data = b"line\n" * 1_000
    sha256 = await files.save(data)
    assert sha256 == hashlib.sha256(data).hexdigest()
    assert everything(tmp_path) == [f"{sha256[:2]}/{sha256}"]
    assert await files.read(sha256) == data
    assert await files.read(sha256, offset=5, limit=10) == b"line\nline\n"
    assert await files.read(sha256, offset=10_000) == b""


async def test_the_same_bytes_are_kept_once_however_they_arrive(files: ArtifactFiles, tmp_path: Path) -> None:
    first = await files.save(b"abcdef")
    with files.writer() as writer:
        for piece in (b"ab", b"", b"cdef"):
            writer.write(piece)
        assert await writer.finish() == (first, 6)
        assert writer.size == 6
    assert everything(tmp_path) == [f"{first[:2]}/{first}"]


async def test_what_is_not_finished_leaves_nothing(files: ArtifactFiles, tmp_path: Path) -> None:
    with pytest.raises(KeyError), files.writer() as writer:
        writer.write(b"half")
        raise KeyError
    assert everything(tmp_path) == []


async def test_empty_bytes_are_an_artifact_too(files: ArtifactFiles) -> None:
    assert await files.read(await files.save(b"")) == b""


async def test_a_missing_or_damaged_file_is_said(files: ArtifactFiles) -> None:
    with pytest.raises(ArtifactMissing, match="No such file"):
        await files.read("ab" * 32)
    sha256 = await files.save(b"what was meant")
    files.path(sha256).write_bytes(b"what was not")
    with pytest.raises(ArtifactMissing, match="not what they were"):
        await files.read(sha256)
    assert await files.read(sha256, offset=5, limit=3) == b"was"


async def test_more_bytes_than_an_artifact_holds_are_refused_and_not_kept(files, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(artifacts, "ARTIFACT_BYTES_MAX", 10)
    await files.save(b"x" * 10)
    with pytest.raises(InvalidInput, match="11 bytes"):
        await files.save(b"x" * 11)
    assert len(everything(tmp_path)) == 1


async def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    for directory in (tmp_path / "a file", tmp_path / "missing" / "artifacts"):
        with pytest.raises(StoreUnavailable, match=r"Look at \.vespera/artifacts"):
            await ArtifactFiles(directory).save(b"x")


async def test_a_directory_of_artifacts_that_was_removed_is_made_anew(tmp_path: Path) -> None:
    files = ArtifactFiles(tmp_path / "artifacts")
    assert await files.read(await files.save(b"x")) == b"x"


FULL = """
import resource, sys
from pathlib import Path
import trio
from vespera_agents.store.artifacts import ArtifactFiles
from vespera_agents.store.errors import StoreUnavailable
async def main(files):
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
    for size in (60_000, 40_000):
        with files.writer() as writer:
            for _ in range(size // 1_000):
                writer.write(b"x" * 1_000)
            try:
                print(*await writer.finish())
            except StoreUnavailable as error:
                print("unavailable")
trio.run(main, ArtifactFiles(Path(sys.argv[1])))
"""


def test_a_full_disk_fails_one_artifact_and_the_next_may_fit(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    refused, kept = done.stdout.splitlines()
    assert refused == "unavailable"
    sha256, size = kept.split()
    assert size == "40000"
    assert everything(tmp_path) == [f"{sha256[:2]}/{sha256}"]


CRASH = """
import os, signal, sys
from pathlib import Path
import trio
from vespera_agents.store.artifacts import ArtifactFiles
left = int(sys.argv[2])
def die_in_time(frame, event, function):
    global left
    if event == "c_call" and function.__name__ in ("open", "write", "flush", "fsync", "mkdir", "replace", "close"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
import threading
async def main(files):
    threading.setprofile(die_in_time)
    sys.setprofile(die_in_time)
    await files.save(b"whole" * 10_000)
trio.run(main, ArtifactFiles(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("calls", [1, 2, 3, 4, 6])
def test_a_crash_between_any_two_steps_leaves_the_whole_file_or_none(tmp_path: Path, calls: int) -> None:
    done = subprocess.run([sys.executable, "-c", CRASH, str(tmp_path), str(calls)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    for name in everything(tmp_path):
        if "/" in name:
            assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == Path(name).name
        else:
            assert name.startswith("incoming-")
