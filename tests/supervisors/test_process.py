"""An OS process as a child, with real processes: ready, output, exit status, restart, stop, and no orphan."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

import supervisors
from supervisors import ChildState, ExitKind, ReportKind, Restart, SpecError, StartFailed, Supervisor, render_tree
from supervisors import process as process_module
from supervisors.guarded_process import GuardedProcess
from supervisors.guardian import open_guardian
from supervisors.process import LATE_SECONDS, LINE_BYTES_MAX, ProcessChild, ProcessFailed, Program, Ready, process_spec

ROOT = Path(supervisors.__file__).parents[1]
DOOMED = Path(__file__).with_name("doomed_tree.py")
MARK = "VESPERA_TEST_MARK"


def alive(mark: str) -> list[int]:
    """Return the running processes whose environment carries the mark."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


async def appeared(mark: str, least: int) -> None:
    """Wait, bounded, until so many marked processes run; one in the middle of exec() shows no environment."""
    with trio.fail_after(10):
        while len(alive(mark)) < least:  # noqa: ASYNC110 - somebody else's processes tell nobody that they have begun
            await trio.sleep(0.01)


async def gone(mark: str) -> None:
    """Wait, bounded, until no marked process runs."""
    with trio.fail_after(10):
        while alive(mark):  # noqa: ASYNC110 - somebody else's processes tell nobody that they are gone
            await trio.sleep(0.01)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def mark() -> Iterator[str]:
    """A mark for the environment of this test's programs; none of them may survive the test."""
    value = uuid.uuid4().hex
    yield value
    left = alive(value)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


class Cast:
    """Programs of one test: their lines, and an event for each new one."""

    def __init__(self, mark: str) -> None:
        self.environment = {"PATH": os.environ["PATH"], MARK: mark}
        self.out: list[bytes] = []
        self.err: list[bytes] = []
        self.said = trio.Event()

    def program(self, script: str, **options: object) -> Program:
        settings: dict[str, object] = {"on_stdout": self.hear, "on_stderr": self.err.append, **options}
        return Program(argv=("/bin/sh", "-c", script), environment=self.environment, **settings)

    def hear(self, line: bytes) -> None:
        self.out.append(line)
        self.said.set()
        self.said = trio.Event()

    async def lines(self, count: int) -> list[bytes]:
        with trio.fail_after(10):
            while len(self.out) < count:
                await self.said.wait()
        return self.out


@pytest.fixture
def cast(mark: str) -> Cast:
    """The programs of one test."""
    return Cast(mark)


async def test_a_program_is_ready_with_its_first_line_and_its_output_comes_by_the_line(cast, running) -> None:
    program = cast.program("echo oops >&2; echo listening on 80; printf 'a\\nb'; exec sleep 300", ready=Ready.LINE)
    async with open_guardian(None) as guardian:
        supervisor = Supervisor([process_spec("web", program, guardian=guardian)], name="top")
        async with running(supervisor):
            value = supervisor.child_value("web")
            assert isinstance(value, ProcessChild)
            assert value.greeting == b"listening on 80"
            assert (await cast.lines(2))[:2] == [b"listening on 80", b"a"]
            assert f"program=sh pid={value.pid}" in render_tree(supervisor.snapshot())
    # What had no newline is handed over when the pipe ends.
    assert cast.out == [b"listening on 80", b"a", b"b"]
    assert cast.err == [b"oops"]


async def test_lines_before_the_one_that_says_ready_are_only_output(cast, running) -> None:
    program = cast.program("echo loading; echo ready now; exec sleep 300", ready=Ready.LINE, ready_prefix=b"ready")
    async with open_guardian(None) as guardian:
        supervisor = Supervisor([process_spec("web", program, guardian=guardian)], name="top")
        async with running(supervisor):
            assert supervisor.child_value("web").greeting == b"ready now"
            assert cast.out == [b"loading", b"ready now"]


async def test_a_program_can_say_ready_on_a_descriptor_of_its_own(cast, running) -> None:
    script = "echo output; echo up >/dev/fd/$READY_DESCRIPTOR; exec sleep 300"
    async with open_guardian(None) as guardian:
        spec = process_spec("web", cast.program(script, ready=Ready.DESCRIPTOR), guardian=guardian)
        supervisor = Supervisor([spec], name="top")
        async with running(supervisor):
            assert supervisor.child_value("web").greeting == b"up"
            assert await cast.lines(1) == [b"output"]


async def test_a_program_that_is_not_ready_in_time_is_a_start_timeout_and_gone(cast, mark, outcome) -> None:
    program = cast.program("echo not yet; exec sleep 300", ready=Ready.LINE, ready_prefix=b"ready")
    async with open_guardian(None) as guardian:
        spec = process_spec("web", program, guardian=guardian, start_timeout_seconds=0.2)
        error = await outcome(Supervisor([spec], name="top"))
        assert isinstance(error, StartFailed)
        assert error.exit.kind is ExitKind.START_TIMEOUT
        assert alive(mark) == []
        assert guardian.statistics().groups == 0


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("exit 0", "exited with status 0 before it was ready"),
        ("exit 3", "exited with status 3 before it was ready"),
        ("kill -9 $$", "was killed by SIGKILL before it was ready"),
    ],
)
async def test_an_end_before_ready_is_a_failed_start_whatever_its_status(cast, outcome, script, says) -> None:
    async with open_guardian(None) as guardian:
        spec = process_spec("web", cast.program(script, ready=Ready.LINE), guardian=guardian)
        error = await outcome(Supervisor([spec], name="top"))
    assert isinstance(error, StartFailed)
    assert isinstance(error.__cause__, ProcessFailed)
    assert says in str(error)


async def test_a_program_that_cannot_be_found_or_started_is_a_failed_start(outcome, tmp_path) -> None:
    async with open_guardian(None) as guardian:
        missing = process_spec("web", Program(argv=("/no/such/program",), ready=Ready.LINE), guardian=guardian)
        error = await outcome(Supervisor([missing], name="top"))
        assert "status 127" in str(error)
        nowhere = process_spec("web", Program(argv=("true",), directory=tmp_path / "gone"), guardian=guardian)
        error = await outcome(Supervisor([nowhere], name="top"))
        assert isinstance(error.__cause__, FileNotFoundError)


@pytest.mark.parametrize(
    ("restart", "end", "kind", "again"),
    [
        (Restart.PERMANENT, "exit 0", "child_ended", True),
        (Restart.TRANSIENT, "exit 0", "child_ended", False),
        (Restart.TRANSIENT, "exit 75", "child_ended", False),
        (Restart.TRANSIENT, "exit 7", "child_crashed", True),
        (Restart.TRANSIENT, "kill -11 $$", "child_crashed", True),
        (Restart.TEMPORARY, "exit 7", "child_crashed", False),
    ],
)
async def test_an_exit_status_is_a_normal_end_or_a_crash_and_the_restart_rules_follow(
    cast, running, recorder, tmp_path, restart, end, kind, again
) -> None:
    second = tmp_path / "second"
    script = f"echo up; if [ -e {second} ]; then exec sleep 300; fi; touch {second}; {end}"
    program = cast.program(script, ready=Ready.LINE, normal_statuses=frozenset({0, 75}))
    over = trio.Event()

    def on_report(report) -> None:
        recorder.on_report(report)
        if report.kind is ReportKind.CHILD_RESTARTED or (not again and report.kind.value == kind):
            over.set()

    listener = type("Listener", (), {"on_report": staticmethod(on_report)})()
    async with open_guardian(None) as guardian:
        spec = process_spec("web", program, guardian=guardian, restart=restart)
        async with running(Supervisor([spec], name="top", listener=listener)):
            with trio.fail_after(10):
                await over.wait()
            kinds = recorder.kinds()
    assert kind in kinds
    assert ("child_restarted" in kinds) == again


async def test_stop_is_sigterm_and_what_the_program_says_then_is_heard(cast, mark, running) -> None:
    script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done"
    async with open_guardian(None) as guardian:
        supervisor = Supervisor(
            [process_spec("web", cast.program(script, ready=Ready.LINE), guardian=guardian)], name="top"
        )
        async with running(supervisor):
            await supervisor.terminate_child("web")
            assert supervisor.which_child("web").state is ChildState.DOWN
            assert cast.out == [b"up", b"bye"]
            assert guardian.statistics().groups == 0
            assert alive(mark) == []


@pytest.mark.parametrize("shutdown_seconds", [0.2, 0.0])
async def test_a_program_that_ignores_sigterm_is_killed_with_its_group(
    cast, mark, running, recorder, shutdown_seconds
) -> None:
    script = "trap '' TERM; (trap '' TERM; sleep 300) & echo up; wait; sleep 300"
    async with open_guardian(None) as guardian:
        program = cast.program(script, ready=Ready.LINE)
        spec = process_spec("web", program, guardian=guardian, shutdown_seconds=shutdown_seconds)
        supervisor = Supervisor([spec], name="top", listener=recorder)
        async with running(supervisor):
            await appeared(mark, 2)
            began = trio.current_time()
            await supervisor.terminate_child("web")
            # Later than that its supervisor would use force, which is not how it should end.
            assert shutdown_seconds <= trio.current_time() - began < shutdown_seconds + LATE_SECONDS - 2
            assert alive(mark) == []
    assert recorder.of(ReportKind.CHILD_FENCED) == []


async def test_what_a_leader_leaves_behind_is_killed_before_it_is_restarted(cast, mark, running, tmp_path) -> None:
    second = tmp_path / "second"
    script = f"if [ -e {second} ]; then echo $$; exec sleep 300; fi; touch {second}; sleep 300 & echo up; exit 1"
    async with open_guardian(None) as guardian:
        spec = process_spec("web", cast.program(script, ready=Ready.LINE), guardian=guardian)
        async with running(Supervisor([spec], name="top")):
            first, second_pid = await cast.lines(2)
            assert first == b"up"
            with trio.fail_after(10):
                # In the middle of exec() it shows no environment.
                while int(second_pid) not in (living := alive(mark)):  # noqa: ASYNC110 - as in `appeared`
                    await trio.sleep(0.01)
            assert living == [int(second_pid)]


async def test_a_callback_that_raises_is_a_crash_of_the_child_and_its_program_is_stopped(
    cast, mark, running, recorder
) -> None:
    def on_stdout(line: bytes) -> None:
        if line == b"bad":
            raise ValueError("cannot read this")

    program = cast.program("echo good; echo bad; exec sleep 300", ready=Ready.LINE, on_stdout=on_stdout)
    async with open_guardian(None) as guardian:
        spec = process_spec("web", program, guardian=guardian, restart=Restart.TEMPORARY)
        supervisor = Supervisor([spec], name="top", listener=recorder)
        async with running(supervisor):
            over = trio.Event()
            supervisor.watch("web", lambda _: over.set())
            with trio.fail_after(10):
                await over.wait()
            assert alive(mark) == []
    assert [report.reason for report in recorder.of(ReportKind.CHILD_CRASHED)] == ["ValueError: cannot read this"]


async def test_a_line_without_end_comes_in_pieces(cast, running) -> None:
    script = f"head -c {LINE_BYTES_MAX * 2 + 5} /dev/zero; echo; exec sleep 300"
    async with open_guardian(None) as guardian:
        spec = process_spec("web", cast.program(script, ready=Ready.LINE), guardian=guardian)
        async with running(Supervisor([spec], name="top")):
            with trio.fail_after(10):
                while sum(map(len, cast.out)) < LINE_BYTES_MAX * 2 + 5:
                    await cast.said.wait()
    assert max(map(len, cast.out)) <= 2 * LINE_BYTES_MAX


async def test_a_program_that_left_its_group_holds_up_its_end_by_a_bounded_time(
    cast, mark, running, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(process_module, "DRAIN_SECONDS_MAX", 0.1)
    pid = tmp_path / "pid"
    script = f"setsid sh -c 'echo $$ >{pid}; exec sleep 300' & while [ ! -s {pid} ]; do :; done; echo up; sleep 300"
    async with open_guardian(None) as guardian:
        spec = process_spec("web", cast.program(script, ready=Ready.LINE), guardian=guardian, shutdown_seconds=0.0)
        supervisor = Supervisor([spec], name="top")
        async with running(supervisor):
            began = trio.current_time()
            await supervisor.terminate_child("web")
            assert trio.current_time() - began < LATE_SECONDS - 2  # then its supervisor would use force
        os.kill(int(pid.read_text()), signal.SIGKILL)
        await gone(mark)


async def test_a_group_that_cannot_be_killed_is_said_to_be_so(cast, outcome, monkeypatch) -> None:
    finish = GuardedProcess.finish

    async def resist(self) -> None:
        await finish(self)

    monkeypatch.setattr(GuardedProcess, "finish", resist)
    async with open_guardian(None) as guardian:
        spec = process_spec("web", cast.program("exit 0", ready=Ready.LINE), guardian=guardian)
        assert "could not be killed" in str(await outcome(Supervisor([spec], name="top")))


def test_a_signal_without_a_name_is_named_by_its_number() -> None:
    assert "killed by signal 99" in str(ProcessFailed("prog", -99, ready=True))


async def test_the_descriptors_of_a_thousand_lines_and_ten_lives_are_all_closed(cast, running) -> None:
    async with open_guardian(None) as guardian:
        spec = process_spec("web", cast.program("exec sleep 300"), guardian=guardian, shutdown_seconds=0.0)
        supervisor = Supervisor([spec], name="top")
        async with running(supervisor):
            before = open_descriptors()
            for _ in range(10):
                await supervisor.terminate_child("web")
                await supervisor.restart_child("web")
            assert open_descriptors() == before


@pytest.mark.parametrize("moment", ["running", "starting", "crashing"])
async def test_no_orphan_survives_a_supervising_process_that_is_killed(mark, moment) -> None:
    """Acceptance: no orphan survives its supervisor, also when that is killed with SIGKILL."""
    doomed = await trio.lowlevel.open_process(
        [sys.executable, str(DOOMED), moment],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), MARK: mark},
    )
    try:
        with trio.fail_after(30):
            assert (await doomed.stdout.receive_some(100)).startswith(b"at")
        await appeared(mark, 2)  # itself and its guardian, and its programs where they run just now
    finally:
        doomed.kill()
        await doomed.wait()
        await doomed.stdout.aclose()
    await gone(mark)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Program(argv=()), "needs an argv"),
        (lambda: Program(argv=("",)), "needs an argv"),
        (lambda: Program(argv=("true",), ready_prefix=b"x"), "ready_prefix"),
        (lambda: process_spec("web", ["true"], guardian=None, shutdown_seconds=-1.0), "shutdown_seconds"),
    ],
)
def test_a_program_that_makes_no_sense_is_refused(make, says) -> None:
    with pytest.raises(SpecError, match=says):
        make()


async def test_a_plain_argv_is_started_at_once_and_its_output_is_dropped(running) -> None:
    async with open_guardian(None) as guardian:
        supervisor = Supervisor([process_spec("cat", ["sleep", "300"], guardian=guardian)], name="top")
        async with running(supervisor):
            assert supervisor.child_value("cat").greeting == b""
