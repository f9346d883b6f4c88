"""The guardian, with real processes: what it kills, what it leaves alone, and when its lock opens."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from supervisors import guardian as guardian_module
from supervisors import guardian_process
from supervisors.guarded_process import start_guarded
from supervisors.guardian import Guardian, GuardianError, open_guardian, wait_until_released

ROOT = Path(guardian_module.__file__).parents[1]
DOOMED = Path(__file__).with_name("doomed.py")
MARK = "VESPERA_TEST_MARK"


def alive(mark: str) -> list[int]:
    """Return the running processes whose environment carries the mark; a zombie has no environment any more."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def appeared(mark: str, least: int = 1, seconds: float = 5.0) -> bool:
    """Say whether so many marked processes are there within the bound: in the middle of exec() one shows nothing."""
    deadline = time.monotonic() + seconds
    while len(alive(mark)) < least:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def gone(mark: str, seconds: float = 5.0) -> bool:
    """Say whether every marked process is gone within the bound."""
    deadline = time.monotonic() + seconds
    while alive(mark):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def kill_and_wait(pid: int) -> None:
    """Kill a child and wait until it is dead, but leave it to its owner to collect."""
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@pytest.fixture
def mark() -> Iterator[str]:
    """A mark for the environment of this test's commands; none of them may survive the test."""
    value = uuid.uuid4().hex
    yield value
    left = alive(value)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def sleeper(mark: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "300"], env={**os.environ, MARK: mark}, start_new_session=True)


@asynccontextmanager
async def doomed(moment: str, lock: Path, mark: str, where: Path) -> AsyncIterator[tuple[trio.Process, int]]:
    """Run `doomed.py` up to its moment; give the process and its guardian's process id."""
    process = await trio.lowlevel.open_process(
        [sys.executable, str(DOOMED), moment, str(lock), mark, str(where)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        said = b""
        while not said.endswith(b"\n"):
            chunk = await process.stdout.receive_some(100)
            assert chunk, "doomed.py ended before its moment"
            said += chunk
        yield process, int(said.split()[1])
    finally:
        process.kill()
        await process.wait()
        await process.stdout.aclose()


# The script's own functions, in this process.


def test_the_pipe_is_read_to_its_end_and_bad_lines_name_no_group() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"+500\n+70")
    os.write(writing, b"0\n-500\n\n+0\n+1\n-1\n+abc\n*900\n+-5\n-800\n+600\n+12345")
    os.close(writing)
    assert guardian_process.groups_at_the_end(reading) == {700, 600}
    os.close(reading)


def test_a_group_is_killed_until_it_is_gone_although_its_zombie_is_not_collected(mark: str) -> None:
    process = sleeper(mark)
    assert guardian_process.group_is_alive(process.pid)
    assert guardian_process.kill_until_gone({process.pid}, 5.0) == set()
    os.killpg(process.pid, 0)  # the zombie still counts as a member for the kernel
    assert not guardian_process.group_is_alive(process.pid)
    assert process.wait(10) == -signal.SIGKILL
    assert not guardian_process.group_is_alive(process.pid)
    assert not guardian_process.signal_group(process.pid, signal.SIGTERM)


def test_without_a_proc_of_its_own_it_believes_the_kernel_and_gives_up_after_its_bound(
    mark: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(guardian_process, "_PROC", str(tmp_path))
    process = sleeper(mark)
    assert guardian_process.kill_until_gone({process.pid}, 0.05) == {process.pid}  # a zombie, for all it can see
    process.wait(10)
    assert guardian_process.kill_until_gone({process.pid}, 5.0) == set()


def test_a_group_that_took_another_users_rights_is_alive_as_long_as_proc_shows_it(
    mark: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(group: int, number: int) -> None:
        raise PermissionError

    process = sleeper(mark)
    with monkeypatch.context() as patch:
        patch.setattr(os, "killpg", refuse)
        assert not guardian_process.signal_group(process.pid, signal.SIGTERM)
        assert guardian_process.group_is_alive(process.pid)
        patch.setattr(guardian_process, "_PROC", str(tmp_path))
        assert not guardian_process.group_is_alive(process.pid)  # macOS: zombies only
    process.kill()
    process.wait(10)


def test_the_script_says_ready_ignores_signals_and_kills_what_is_left(mark: str) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    process = sleeper(mark)
    pipe, ours = os.pipe()
    ready, theirs = os.pipe()
    try:
        os.write(ours, b"+%d\n" % process.pid)
        os.close(ours)
        assert guardian_process.main(pipe, theirs) == 0
        assert os.read(ready, 100) == b"ready\n"
        assert [signal.getsignal(number) for number in numbers] == [signal.SIG_IGN] * 3
    finally:
        for number, action in zip(numbers, before, strict=True):
            signal.signal(number, action)
        for descriptor in (pipe, ready, theirs):
            os.close(descriptor)
    assert process.wait(10) == -signal.SIGKILL


# A supervising process that ends in order.


async def test_closing_kills_what_is_registered_and_nothing_else(mark: str, tmp_path: Path) -> None:
    kept, left = sleeper(mark), sleeper(mark)
    async with open_guardian(tmp_path / "lock") as guardian:
        guardian.register(kept.pid)
        guardian.register(left.pid)
        guardian.unregister(kept.pid)
        figures = guardian.statistics()
        assert (figures.groups, figures.registered, figures.replacements) == (1, 2, 0)
    assert left.wait(10) == -signal.SIGKILL
    assert kept.poll() is None
    kept.kill()
    kept.wait(10)
    await wait_until_released(tmp_path / "lock", 0.0)


async def test_closing_is_finished_also_when_it_is_cancelled(mark: str) -> None:
    left = sleeper(mark)
    with trio.CancelScope() as scope:
        async with open_guardian(None) as guardian:
            guardian.register(left.pid)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert left.poll() == -signal.SIGKILL


async def test_a_closed_guardian_registers_nothing() -> None:
    async with open_guardian(None) as guardian:
        with pytest.raises(ValueError, match="no process group"):
            guardian.register(1)
    with pytest.raises(GuardianError, match="closed"):
        guardian.register(12345)
    guardian.unregister(12345)
    await guardian.close()


async def test_the_guardian_ignores_what_ends_its_parents_group_and_lives_in_a_session_of_its_own(mark: str) -> None:
    left = sleeper(mark)
    async with open_guardian(None) as guardian:
        pid = guardian.statistics().pid
        assert os.getsid(pid) == pid
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
        guardian.register(left.pid)
    assert left.wait(10) == -signal.SIGKILL
    assert guardian.statistics().replacements == 0


# A guardian in trouble.


async def test_a_killed_guardian_is_replaced_at_the_next_registration_and_the_lock_is_never_free(
    mark: str, tmp_path: Path
) -> None:
    first, second = sleeper(mark), sleeper(mark)
    async with open_guardian(tmp_path / "lock") as guardian:
        guardian.register(first.pid)
        killed = guardian.statistics().pid
        kill_and_wait(killed)
        guardian.unregister(second.pid)  # noticed, and harmless
        with pytest.raises(GuardianError, match=f"process {os.getpid()} runs"):
            await wait_until_released(tmp_path / "lock", 0.0)
        guardian.register(second.pid)
        figures = guardian.statistics()
        assert figures.replacements == 1
        assert figures.pid != killed
        with pytest.raises(GuardianError):
            await wait_until_released(tmp_path / "lock", 0.0)
    assert first.wait(10) == second.wait(10) == -signal.SIGKILL
    await wait_until_released(tmp_path / "lock", 0.0)


async def test_a_guardian_that_cannot_be_replaced_is_a_clear_error_and_registers_nothing(
    mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = sleeper(mark)
    async with open_guardian(None) as guardian:
        kill_and_wait(guardian.statistics().pid)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/nonexistent/python")
            with pytest.raises(GuardianError, match="did not start"):
                guardian.register(process.pid)
            assert guardian.statistics().groups == 0
        guardian.register(process.pid)
    assert process.wait(10) == -signal.SIGKILL


async def test_a_guardian_that_does_not_read_is_a_clear_error(mark: str) -> None:
    process = sleeper(mark)
    async with open_guardian(None) as guardian:
        os.kill(guardian.statistics().pid, signal.SIGSTOP)
        with pytest.raises(GuardianError, match="does not read"):
            for _ in range(100_000):
                guardian.register(process.pid)
        os.kill(guardian.statistics().pid, signal.SIGCONT)
    assert process.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("executable", "message"), [("/nonexistent/python", "did not start"), ("/bin/false", "ended before it was ready")]
)
async def test_a_guardian_that_does_not_start_is_a_clear_error(
    executable: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(GuardianError, match=message):
        async with open_guardian(tmp_path / "lock"):
            pass
    await wait_until_released(tmp_path / "lock", 0.0)


async def test_a_guardian_is_collected_when_its_start_is_cancelled(tmp_path: Path) -> None:
    descriptors = open_descriptors()
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_guardian(tmp_path / "lock"):
            pytest.fail("the start was cancelled")
    assert open_descriptors() == descriptors
    await wait_until_released(tmp_path / "lock", 0.0)


async def test_where_no_pidfd_exists_exits_are_noticed_by_looking(mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    left = sleeper(mark)
    async with open_guardian(None) as guardian:
        guardian.register(left.pid)
    assert left.wait(10) == -signal.SIGKILL


# The lock.


async def test_a_lock_that_is_held_is_waited_for_and_then_named_with_its_holder(tmp_path: Path) -> None:
    async with open_guardian(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
        with pytest.raises(GuardianError, match=r"still locked after 0\.05 s"):
            async with open_guardian(tmp_path / "lock", lock_timeout_seconds=0.05):
                pytest.fail("two runs hold one lock")
    async with open_guardian(tmp_path / "lock"):
        pass


async def test_a_lock_that_was_never_taken_is_free(tmp_path: Path) -> None:
    await wait_until_released(tmp_path / "missing", 0.0)
    assert not (tmp_path / "missing").exists()


async def test_a_lock_file_that_cannot_be_made_or_locked_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(GuardianError, match="make its directory first"):
        async with open_guardian(tmp_path / "missing" / "lock"):
            pass

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(guardian_module.fcntl, "flock", refuse)
    with pytest.raises(GuardianError, match="local file system"):
        async with open_guardian(tmp_path / "lock"):
            pass


# A supervising process that is killed.


@pytest.mark.parametrize(
    "moment",
    ["before the registration", "between registration and go", "while commands run", "after the leader's exit"],
)
async def test_a_kill_9_of_the_supervising_process_leaves_no_command(moment: str, mark: str, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    async with doomed(moment, lock, mark, tmp_path) as (process, _):
        assert appeared(mark), "the moment was not reached"
        assert (tmp_path / "ran").exists() == (moment in {"while commands run", "after the leader's exit"})
        process.kill()
        await process.wait()
        await wait_until_released(lock, 10.0)
        if moment == "before the registration":
            assert gone(mark)  # nobody's but its own: the gate sees the end of its pipe
        assert alive(mark) == []
    assert (tmp_path / "ran").exists() == (moment in {"while commands run", "after the leader's exit"})


async def test_the_lock_stays_held_until_the_commands_of_the_dead_run_are_gone(mark: str, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    async with doomed("while commands run", lock, mark, tmp_path) as (process, guardian_pid):
        os.kill(guardian_pid, signal.SIGSTOP)
        try:
            process.kill()
            await process.wait()
            with pytest.raises(GuardianError, match=f"process {process.pid} runs, or commands that it started"):
                await wait_until_released(lock, 0.1)
            assert appeared(mark, 3)
        finally:
            os.kill(guardian_pid, signal.SIGCONT)
        await wait_until_released(lock, 10.0)
        assert alive(mark) == []


@pytest.mark.parametrize("round_", range(5))
async def test_a_kill_9_at_a_random_moment_of_a_storm_of_commands_leaves_none(
    round_: int, mark: str, tmp_path: Path
) -> None:
    lock = tmp_path / "lock"
    async with doomed("in a storm", lock, mark, tmp_path) as (process, _):
        await trio.sleep(random.uniform(0.01, 0.3))
        process.kill()
        await process.wait()
        await wait_until_released(lock, 10.0)
        assert gone(mark)


async def test_a_stopped_group_is_killed_too(mark: str, tmp_path: Path) -> None:
    async with doomed("while commands run", tmp_path / "lock", mark, tmp_path) as (process, _):
        for pid in alive(mark):
            os.kill(pid, signal.SIGSTOP)
        process.kill()
        await process.wait()
        await wait_until_released(tmp_path / "lock", 10.0)
        assert alive(mark) == []


# The gate.


async def test_a_program_that_cannot_be_registered_does_not_run(mark: str, tmp_path: Path) -> None:
    async with open_guardian(None) as guardian:
        pass
    with pytest.raises(GuardianError, match="closed"):
        start_guarded(guardian, ["/usr/bin/touch", "ran"], directory=tmp_path, environment={MARK: mark}, output=2)
    assert not (tmp_path / "ran").exists()


async def test_a_program_killed_behind_its_gate_ends_with_that_signal(
    mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def register(self: Guardian, group: int) -> None:
        kill_and_wait(group)

    async with open_guardian(None) as guardian:
        monkeypatch.setattr(Guardian, "register", register)
        process = start_guarded(
            guardian, ["/usr/bin/touch", "ran"], directory=tmp_path, environment={MARK: mark}, output=2
        )
        assert await process.finish() == -signal.SIGKILL
    assert not (tmp_path / "ran").exists()


async def test_a_group_that_cannot_be_killed_stays_registered_and_the_wait_is_bounded(
    mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_guardian(None) as guardian:
        process = start_guarded(guardian, ["/bin/sleep", "300"], directory=tmp_path, environment={MARK: mark}, output=2)
        with monkeypatch.context() as patch:
            patch.setattr("supervisors.guarded_process.signal_group", lambda *_: False)
            patch.setattr("supervisors.guarded_process.KILL_SECONDS_MAX", 0.05)
            assert await process.finish() is None
        assert guardian.statistics().groups == 1
        assert await process.finish() == -signal.SIGKILL
        assert await process.finish() == -signal.SIGKILL
        assert not process.signal_group(signal.SIGTERM)
        assert guardian.statistics().groups == 0


async def test_a_directory_that_is_gone_is_an_os_error_and_leaks_no_descriptor(mark: str, tmp_path: Path) -> None:
    async with open_guardian(None) as guardian:
        descriptors = open_descriptors()
        with pytest.raises(OSError):
            start_guarded(guardian, ["/bin/true"], directory=tmp_path / "gone", environment={MARK: mark}, output=2)
        assert open_descriptors() == descriptors


async def test_a_program_inherits_nothing_but_its_output(mark: str, tmp_path: Path) -> None:
    async with open_guardian(tmp_path / "lock") as guardian:
        reading, writing = os.pipe()
        process = start_guarded(
            guardian, ["/bin/ls", "/proc/self/fd"], directory=tmp_path, environment={MARK: mark}, output=writing
        )
        os.close(writing)
        await process.wait()
        assert await process.finish() == 0
        assert os.read(reading, 1000).split() == [b"0", b"1", b"2", b"3"]  # 3 is ls's own
        os.close(reading)
