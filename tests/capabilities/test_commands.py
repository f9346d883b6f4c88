"""Commands run to their end, whatever that end is; every command here is a real process."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors.guardian import Guardian, GuardianError, open_guardian
from vespera_agents.capabilities import CommandOutcome, run_command
from vespera_agents.capabilities import commands as commands_module
from vespera_agents.capabilities.programs import CannotRun, check_directory, find_program
from vespera_agents.work.models import CommandLine

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


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@dataclass
class Bench:
    """Where a test runs its commands; what they print is kept in `output`."""

    directory: Path
    mark: str
    guardian: Guardian
    output: bytearray = field(default_factory=bytearray)
    pieces: list[int] = field(default_factory=list)

    def keep(self, piece: bytes) -> None:
        self.output += piece
        self.pieces.append(len(piece))

    async def run(self, text: str, **more) -> CommandOutcome:
        return await self._run(CommandLine(text=text, timeout_seconds=more.pop("timeout_seconds", 60.0)), **more)

    async def sh(self, text: str, **more) -> CommandOutcome:
        line = {"text": text, "shell": True, "timeout_seconds": more.pop("timeout_seconds", 60.0)}
        return await self._run(CommandLine.model_validate(line), **more)

    async def _run(self, line: CommandLine, **more) -> CommandOutcome:
        given = {
            "directory": self.directory,
            "environment": {"PATH": os.environ["PATH"], MARK: self.mark},
            "sink": self.keep,
            "output_bytes_max": 1_000_000,
        }
        return await run_command(line, guardian=self.guardian, **(given | more))

    async def sh_out_of_time(self, text: str, clock: MockClock, ready: Callable[[], Awaitable[None]]) -> CommandOutcome:
        """Run a shell line whose time, a minute, is over as soon as it is ready, however long that takes it."""
        outcomes: list[CommandOutcome] = []

        async def run() -> None:
            outcomes.append(await self.sh(text, timeout_seconds=60.0))

        with trio.fail_after(60 + 60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                await ready()
                clock.jump(60)
        return outcomes[0]

    async def until_printed(self, wanted: bytes) -> None:
        with trio.fail_after(60):
            while wanted not in self.output:  # noqa: ASYNC110 - it is another process that prints
                await trio.sleep(0.005)

    async def until_up(self) -> None:
        await self.until_printed(b"up\n")

    async def until_its_state(self, wanted: str) -> None:
        """Wait until the command, whose first line is its process id, is in this state of /proc/PID/stat."""
        await self.until_printed(b"\n")
        stat = Path("/proc", self.output.split(b"\n")[0].decode(), "stat")
        with trio.fail_after(60):
            # The name before it is in parentheses, and may hold anything.
            while stat.read_text().rpartition(")")[2].split()[0] != wanted:  # noqa: ASYNC110, ASYNC240 - it is /proc
                await trio.sleep(0.005)


@pytest.fixture
def mark() -> Iterator[str]:
    """A mark for the environment of this test's commands; none of them may survive the test."""
    value = uuid.uuid4().hex
    yield value
    left = alive(value)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


@asynccontextmanager
async def opened(directory: Path, mark: str) -> AsyncIterator[Bench]:
    """Give a bench; when it closes, no group is left to the guardian and no descriptor is left open."""
    async with open_guardian(None) as guardian:
        descriptors = open_descriptors()
        yield Bench(directory, mark, guardian)
        assert alive(mark) == []
        figures = guardian.statistics()
        assert (figures.groups, figures.replacements) == (0, 0)
        assert open_descriptors() == descriptors


# Commands that end by themselves.


async def test_a_command_is_an_argument_list_and_its_output_reaches_the_sink(mark: str, tmp_path: Path) -> None:
    async with opened(tmp_path, mark) as bench:
        outcome = await bench.run("printf '%s|' 'two words' \"$HOME\" '*' ; echo")
        assert bench.output == b"two words|$HOME|*|;|echo|"
    assert (outcome.exit_status, outcome.signal_name, outcome.problem) == (0, None, None)
    assert outcome.succeeded
    assert not outcome.timed_out
    assert (outcome.output_bytes, outcome.output_dropped_bytes) == (25, 0)
    assert 0.0 < outcome.duration_seconds < 10.0
    assert outcome.describe().startswith("exit status 0 after ")


async def test_a_shell_line_is_a_shell_line_and_its_failure_is_an_outcome(mark: str, tmp_path: Path) -> None:
    async with opened(tmp_path, mark) as bench:
        outcome = await bench.sh("echo out; echo err >&2; exit 3")
        assert bench.output == b"out\nerr\n"
    assert outcome.exit_status == 3
    assert not outcome.succeeded
    assert outcome.describe().startswith("exit status 3 after ")


async def test_directory_and_environment_are_the_given_ones_and_there_is_no_input_and_no_terminal(
    mark: str, tmp_path: Path
) -> None:
    async with opened(tmp_path, mark) as bench:
        await bench.sh("pwd; cat; env | sort; (: </dev/tty) 2>/dev/null && echo terminal")
        lines = bench.output.decode().splitlines()
    assert lines[0] == str(tmp_path)
    assert {line.partition("=")[0] for line in lines[1:]} <= {"PATH", MARK, "PWD", "OLDPWD", "SHLVL", "_"}
    assert f"{MARK}={mark}" in lines


async def test_a_command_leads_a_session_of_its_own(mark: str, tmp_path: Path) -> None:
    async with opened(tmp_path, mark) as bench:
        await bench.run(f"{sys.executable} -S -c 'import os; print(os.getpid() == os.getsid(0) == os.getpgid(0))'")
        assert bench.output == b"True\n"


async def test_bytes_that_are_no_text_reach_the_sink_unchanged(mark: str, tmp_path: Path) -> None:
    async with opened(tmp_path, mark) as bench:
        assert (await bench.run(r"printf '\377\000\200\n'")).succeeded
        assert bench.output == b"\xff\x00\x80\n"


async def test_output_arrives_while_the_command_runs(mark: str, tmp_path: Path) -> None:
    async with opened(tmp_path, mark) as bench, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: bench.sh("echo first; while ! test -e go; do sleep 0.01; done"))
        await bench.until_printed(b"first\n")
        (tmp_path / "go").touch()


async def test_a_flood_is_cut_at_the_limit_counted_and_never_kept(mark: str, tmp_path: Path) -> None:
    async with opened(tmp_path, mark) as bench:
        outcome = await bench.run("head -c 20000000 /dev/zero", output_bytes_max=100_001)
        assert len(bench.output) == outcome.output_bytes == 100_001
        assert outcome.output_dropped_bytes == 20_000_000 - 100_001
        assert max(bench.pieces) <= 65_536
        assert min(bench.pieces) > 0
        assert outcome.succeeded
        nothing = await bench.run("echo hello", output_bytes_max=0)
        assert (nothing.output_bytes, nothing.output_dropped_bytes) == (0, 6)


async def test_a_signal_is_named(mark: str, tmp_path: Path) -> None:
    async with opened(tmp_path, mark) as bench:
        outcome = await bench.sh("kill -SEGV $$")
        assert (outcome.exit_status, outcome.signal_name) == (None, "SIGSEGV")
        assert outcome.describe().startswith("killed by SIGSEGV after ")
        assert not outcome.succeeded
        assert (await bench.sh("kill -40 $$")).signal_name == "signal 40"


async def test_commands_run_side_by_side(mark: str, tmp_path: Path) -> None:
    async with opened(tmp_path, mark) as bench:
        meeting = tmp_path / "meeting"
        meeting.mkdir()
        outcomes: list[CommandOutcome] = []

        async def one() -> None:
            # Each waits until all ten are there, so one after another would never end well.
            wait = f"touch {meeting}/$$; until [ $(ls {meeting} | wc -l) -ge 10 ]; do sleep 0.02; done"
            outcomes.append(await bench.sh(wait, timeout_seconds=60.0))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(one)
        assert [outcome.succeeded for outcome in outcomes] == [True] * 10


# Commands that leave something behind.


async def test_a_background_child_that_holds_the_output_open_is_killed_soon_after_the_command(
    mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_clock: MockClock
) -> None:
    monkeypatch.setattr(commands_module, "DRAIN_SECONDS", 60.0)
    async with opened(tmp_path, mark) as bench:

        async def late() -> None:
            await bench.until_its_state("Z")
            # Its end has been noticed, and its output is read on.
            await wait_all_tasks_blocked(0.01)
            (tmp_path / "go").touch()
            await bench.until_printed(b"late\n")

        script = "sleep 300 & (until test -e go; do sleep 0.01; done; echo late) & echo $$"
        # The command itself has ended by then: the minute that is over is the one for reading on.
        outcome = await bench.sh_out_of_time(script, jump_clock, late)
        assert (outcome.exit_status, outcome.timed_out) == (0, False)
        assert outcome.duration_seconds < 60.0
        assert bench.output.split(b"\n")[1:] == [b"late", b""]  # what comes at once is still read


async def test_a_background_child_that_closed_the_output_is_killed_at_once(
    mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands_module, "DRAIN_SECONDS", 30.0)
    async with opened(tmp_path, mark) as bench:
        started_at = time.monotonic()
        outcome = await bench.sh("(trap '' TERM HUP; sleep 300) >/dev/null 2>&1 & exit 4")
        assert outcome.exit_status == 4
        assert time.monotonic() - started_at < 20.0


async def test_a_daemon_that_escaped_and_floods_the_output_holds_nothing_up(mark: str, tmp_path: Path) -> None:
    async with opened(tmp_path, mark) as bench:
        started_at = time.monotonic()

        def hear(piece: bytes) -> None:
            bench.keep(piece)
            (tmp_path / "go").touch()

        # The command ends when the flood has come.
        script = "setsid yes & until test -e go; do sleep 0.01; done"
        outcome = await bench.sh(script, output_bytes_max=10, sink=hear)
        # Its own session is beyond a process group's reach, as documented; the closed pipe ends this one.
        assert outcome.exit_status == 0
        assert outcome.output_bytes == 10
        assert time.monotonic() - started_at < 10.0
        while alive(mark):  # noqa: ASYNC110 - it is another process that ends
            await trio.sleep(0.01)


# Commands that are ended.


async def test_a_command_out_of_time_gets_sigterm_and_may_clean_up(
    mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_clock: MockClock
) -> None:
    monkeypatch.setattr(commands_module, "TIMEOUT_GRACE_SECONDS", 20.0)
    async with opened(tmp_path, mark) as bench:
        script = "trap 'echo cleaning; exit 0' TERM; sleep 300 & echo up; wait"
        outcome = await bench.sh_out_of_time(script, jump_clock, bench.until_up)
        assert bench.output == b"up\ncleaning\n"
    assert outcome.timed_out
    assert not outcome.succeeded
    assert outcome.exit_status == 0
    assert outcome.describe() == "timed out after 60 s"


async def test_a_command_out_of_time_that_ignores_sigterm_is_killed_with_its_group(
    mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_clock: MockClock
) -> None:
    monkeypatch.setattr(commands_module, "TIMEOUT_GRACE_SECONDS", 0.3)
    async with opened(tmp_path, mark) as bench:
        script = "trap '' TERM; sleep 300 & (sleep 300; echo) & echo up; while :; do sleep 1; done"
        outcome = await bench.sh_out_of_time(script, jump_clock, bench.until_up)
    assert (outcome.timed_out, outcome.exit_status, outcome.signal_name) == (True, None, "SIGKILL")
    assert 60.3 <= outcome.duration_seconds < 75.0


async def test_a_stopped_command_out_of_time_is_woken_to_end(
    mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_clock: MockClock
) -> None:
    monkeypatch.setattr(commands_module, "TIMEOUT_GRACE_SECONDS", 20.0)
    async with opened(tmp_path, mark) as bench:
        script = "echo $$; kill -STOP $$; echo never"
        outcome = await bench.sh_out_of_time(script, jump_clock, lambda: bench.until_its_state("T"))
        assert outcome.signal_name == "SIGTERM"
        assert b"never" not in bench.output


async def test_cancelling_ends_the_whole_group_and_goes_on_as_a_plain_cancellation(
    mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands_module, "CANCEL_GRACE_SECONDS", 20.0)
    async with opened(tmp_path, mark) as bench:
        seen: list[BaseException] = []

        async def doomed() -> None:
            try:
                script = "trap 'echo cleaning; exit 0' TERM; sleep 300 & (sleep 300; :) & echo up; wait"
                await bench.sh(script)
            except trio.Cancelled as error:
                seen.append(error)
                assert alive(mark) == []
                raise

        async with trio.open_nursery() as nursery:
            nursery.start_soon(doomed)
            await bench.until_printed(b"up\n")
            nursery.cancel_scope.cancel()
        assert len(seen) == 1
        assert bench.output == b"up\ncleaning\n"  # its last words are read


async def test_cancelling_a_command_that_ignores_sigterm_is_bounded(mark: str, tmp_path: Path) -> None:
    async with opened(tmp_path, mark) as bench:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                script = "trap '' TERM; (sleep 300; :) & echo up; while :; do sleep 1; done"
                nursery.start_soon(lambda: bench.sh(script))
                await bench.until_printed(b"up\n")
                cancelled_at = time.monotonic()
                scope.cancel()
        assert time.monotonic() - cancelled_at < commands_module.CANCEL_GRACE_SECONDS + 5.0
        assert alive(mark) == []


async def test_cancelling_within_the_grace_of_a_timeout_ends_the_group_too(
    mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_clock: MockClock
) -> None:
    monkeypatch.setattr(commands_module, "TIMEOUT_GRACE_SECONDS", 20.0)
    async with opened(tmp_path, mark) as bench:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                script = "trap 'echo asked' TERM; echo up; while :; do sleep 0.01; done"
                nursery.start_soon(lambda: bench.sh(script, timeout_seconds=60.0))
                await bench.until_up()
                jump_clock.jump(60)
                await bench.until_printed(b"asked\n")
                scope.cancel()
        assert scope.cancelled_caught


async def test_a_command_is_not_started_by_a_cancelled_caller(mark: str, tmp_path: Path) -> None:
    async with opened(tmp_path, mark) as bench:
        with trio.CancelScope() as scope:
            scope.cancel()
            await bench.run("touch ran")
        assert scope.cancelled_caught
        assert bench.guardian.statistics().registered == 0
    assert not (tmp_path / "ran").exists()


async def test_a_sink_that_raises_ends_the_command_and_its_exception_comes_out_plain(mark: str, tmp_path: Path) -> None:
    def full(_: bytes) -> None:
        raise OSError(28, "No space left on device")

    async with opened(tmp_path, mark) as bench:
        with pytest.raises(OSError, match="No space left"):
            await bench.sh("echo hello; sleep 300", sink=full)
        assert alive(mark) == []


async def test_a_group_that_cannot_be_killed_is_reported(
    mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_guardian(None) as guardian:
        bench = Bench(tmp_path, mark, guardian)
        with monkeypatch.context() as patch:
            patch.setattr("supervisors.guarded_process.signal_group", lambda *_: False)
            patch.setattr("supervisors.guarded_process.KILL_SECONDS_MAX", 0.05)
            patch.setattr(commands_module, "TIMEOUT_GRACE_SECONDS", 0.05)
            with pytest.warns(ResourceWarning, match="still running"):
                outcome = await bench.run("sleep 300", timeout_seconds=0.05)
        assert not outcome.succeeded
        assert "cannot be killed" in outcome.describe()
        assert guardian.statistics().groups == 1
    assert alive(mark) == []  # the guardian has tried again


# Commands that cannot run.


async def test_a_missing_program_is_a_problem_with_a_next_step(mark: str, tmp_path: Path) -> None:
    async with opened(tmp_path, mark) as bench:
        outcome = await bench.run("no-such-program --version")
    assert outcome.describe() == outcome.problem == "not found: no-such-program; install it or correct the command"
    assert (outcome.exit_status, outcome.signal_name, outcome.duration_seconds) == (None, None, 0.0)
    assert not outcome.succeeded


async def test_a_missing_directory_is_a_problem(mark: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with opened(tmp_path, mark) as bench:
        assert "no such directory" in (await bench.run("true", directory=tmp_path / "gone")).describe()
        assert "not a directory" in (await bench.run("true", directory=tmp_path / "file")).describe()


async def test_a_command_that_the_system_refuses_is_a_problem(mark: str, tmp_path: Path) -> None:
    async with opened(tmp_path, mark) as bench:
        huge = {"PATH": os.environ["PATH"], MARK: mark, "HUGE": "x" * 4_000_000}
        outcome = await bench.run("true", environment=huge)
        assert outcome.describe().startswith("true could not be started: ")
        nul = await bench.run("true", environment={"PATH": os.environ["PATH"], "BAD": "\0"})
        assert nul.problem is not None


async def test_without_a_guardian_nothing_runs(mark: str, tmp_path: Path) -> None:
    async with open_guardian(None) as guardian:
        pass
    with pytest.raises(GuardianError):
        await Bench(tmp_path, mark, guardian).run("touch ran")
    assert not (tmp_path / "ran").exists()


# Which program is meant.


def program(path: Path, text: str = "#!/bin/sh\necho $0\n", *, executable: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(stat.S_IRWXU if executable else stat.S_IRUSR | stat.S_IWUSR)
    return path


def test_a_program_is_looked_up_in_the_commands_own_path_and_directory(tmp_path: Path) -> None:
    first, second = program(tmp_path / "one" / "tool"), program(tmp_path / "two" / "tool")
    here = program(tmp_path / "tool")
    assert find_program("tool", tmp_path, {"PATH": f"{tmp_path}/none:{tmp_path}/two:{tmp_path}/one"}) == str(second)
    assert find_program("tool", tmp_path, {"PATH": "one:two"}) == str(first)
    assert find_program("tool", tmp_path, {"PATH": ":one"}) == str(here)
    assert find_program("./one/../tool", tmp_path, {"PATH": ""}) == str(here)
    assert find_program(str(first), Path("/"), {}) == str(first)
    assert find_program("sh", tmp_path, {}).endswith("/sh")


def test_a_file_that_is_not_executable_is_passed_over_and_named_if_there_is_no_other(tmp_path: Path) -> None:
    program(tmp_path / "one" / "tool", executable=False)
    with pytest.raises(CannotRun, match=r"not executable: .*/one/tool; run chmod \+x"):
        find_program("tool", tmp_path, {"PATH": "one:two"})
    with pytest.raises(CannotRun, match="not executable"):
        find_program("one/tool", tmp_path, {})
    second = program(tmp_path / "two" / "tool")
    assert find_program("tool", tmp_path, {"PATH": "one:two"}) == str(second)
    with pytest.raises(CannotRun, match="not found: one;"):
        find_program("one", tmp_path, {"PATH": "."})  # a directory is no program


def test_a_script_whose_interpreter_is_gone_says_so(tmp_path: Path) -> None:
    program(tmp_path / "tool", "#!/gone/bin/python -I\n")
    with pytest.raises(CannotRun, match=r"not found: /gone/bin/python, the interpreter of .*/tool; install"):
        find_program("./tool", tmp_path, {})
    for text in ("#!\n", "echo no first line\n", ""):
        program(tmp_path / "tool", text)
        assert find_program("./tool", tmp_path, {}) == str(tmp_path / "tool")


def test_a_program_that_cannot_be_read_is_left_to_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = program(tmp_path / "tool", "#!/gone\n")

    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(self, mode)

    monkeypatch.setattr(Path, "open", refuse)
    assert find_program("./tool", tmp_path, {}) == str(tool)


def test_a_directory_that_must_not_be_entered_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, whom nothing stops
    with pytest.raises(CannotRun, match="no permission to enter"):
        check_directory(tmp_path)


async def test_a_script_without_a_first_line_runs_as_a_shell_would_run_it(mark: str, tmp_path: Path) -> None:
    program(tmp_path / "tool", "echo plain $1\n")
    async with opened(tmp_path, mark) as bench:
        assert (await bench.run("./tool text")).succeeded
        assert bench.output == b"plain text\n"


# What an outcome says of itself.


@pytest.mark.parametrize(
    ("outcome", "sentence"),
    [
        (CommandOutcome(2, None, 1.34, False, 0, 0), "exit status 2 after 1.3 s"),
        (CommandOutcome(None, "SIGKILL", 0.04, False, 0, 0), "killed by SIGKILL after 0.0 s"),
        (CommandOutcome(None, "SIGTERM", 120.4, True, 0, 0, None, 120.0), "timed out after 120 s"),
        (CommandOutcome(None, "SIGTERM", 7.25, True, 0, 0), "timed out after 7.25 s"),
        (CommandOutcome(None, None, 0.0, False, 0, 0, "not found: xyz; install it"), "not found: xyz; install it"),
    ],
)
def test_an_outcome_describes_itself_in_a_few_words(outcome: CommandOutcome, sentence: str) -> None:
    assert outcome.describe() == sentence
    assert not outcome.succeeded
