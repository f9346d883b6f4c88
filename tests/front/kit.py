"""What the tests of the front share: a place, a front of toy workers in a process of its own, a client of lines.

Not a test. Every read is bounded, and whatever a front has started is looked for after it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
TOY = Path(__file__).parent / "toy_worker.py"
SECONDS = 20.0
"""How long anything may take on a loaded machine; alone nothing takes 1 s."""
QUICK = {
    "ping_seconds": 0.05,
    "pong_seconds": SECONDS,
    "dump_seconds": 0.2,
    "end_seconds": SECONDS,
    "spare_delay_seconds": 0.0,
}
"""What happens often happens quickly. A worker may take its time: on a busy machine any may wait for a second."""
JUDGED_WHEN_TOLD = """
import os
from contextlib import suppress
import trio
from vespera_agents.front.vigil import Vigil
came, watch = Vigil._came, Vigil.watch
async def told(seconds, better):
    while not better.is_set() and not os.path.exists(f'judge-{seconds:g}'):
        await trio.sleep(0.01)
    if not better.is_set():
        open(f'judging-{seconds:g}', 'w').close()
def forget(seconds):
    with suppress(FileNotFoundError):
        os.unlink(f'judge-{seconds:g}')
async def came_when_told(self, seconds):
    await told(seconds, self._pong)
    if await came(self, seconds):
        return True
    forget(seconds)
    return False
async def watch_when_told(self, life):
    seconds = self._settings.start_seconds
    await told(seconds, life.process.became_ready)
    forget(seconds)
    await watch(self, life)
Vigil._came, Vigil.watch = came_when_told, watch_when_told
"""
"""Has the time of a worker that does not start or answer begin when a test says so, and run out once: see `judge`."""
JUDGED: dict[str, Any] = {"patch": JUDGED_WHEN_TOLD, "pong_seconds": 0.5, "dump_seconds": 0.2}


class Front:
    """A front in a process of its own, and the client at its pipes."""

    def __init__(self, place: Path, process: subprocess.Popen[bytes]) -> None:
        self.place = place
        self.process = process
        self._buffer = b""
        self._number = 0

    # ---- the client

    def send(self, *lines: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(line + b"\n" for line in lines))
        self.process.stdin.flush()

    def ask(self, method: str, params: Any = None, identifier: Any = None) -> Any:
        """Send a request and give its id."""
        self._number += 1
        identifier = self._number if identifier is None else identifier
        self.send(json.dumps({"jsonrpc": "2.0", "id": identifier, "method": method, "params": params}).encode())
        return identifier

    def line(self, seconds: float = SECONDS) -> bytes:
        """Read one line; an end or a delay is a failure."""
        assert self.process.stdout is not None
        descriptor, deadline = self.process.stdout.fileno(), time.monotonic() + seconds
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            assert left > 0, f"no line within {seconds} s; {self.log()}"
            assert select.select([descriptor], [], [], left)[0], f"no line within {seconds} s; {self.log()}"
            chunk = os.read(descriptor, 1 << 20)
            assert chunk, f"the front has closed its end; {self.log()}"
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def read(self, seconds: float = SECONDS) -> dict[str, Any]:
        return json.loads(self.line(seconds))

    def call(self, method: str, params: Any = None) -> Any:
        """Send a request and give its result; the next line must be its answer."""
        identifier = self.ask(method, params)
        answer = self.read()
        assert answer.get("id") == identifier, answer
        return answer["result"]

    def silent(self, seconds: float = 0.2) -> bool:
        """Say whether nothing comes for a while."""
        assert self.process.stdout is not None
        return not self._buffer and not select.select([self.process.stdout], [], [], seconds)[0]

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def wait(self, seconds: float = SECONDS) -> int:
        return self.process.wait(seconds)

    # ---- what the workers and the front wrote down

    def notes(self, name: str) -> list[str]:
        path = self.place / name
        return path.read_text().splitlines() if path.exists() else []

    def activations(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.notes("activated")]

    def heard(self) -> list[list[str]]:
        """Give what workers heard: generation, number, `new` or `repeated`, process."""
        return [line.split() for line in self.notes("heard")]

    def fail(self, step: str, how: str | int, times: int = 1) -> None:
        """Have workers fail at a step from now on."""
        (self.place / f"fail-{step}").write_text(f"{how} {times}")

    def judge(self, seconds: float) -> None:
        """Have those seconds of a front that is `JUDGED_WHEN_TOLD` begin, for one worker that is late then."""
        (self.place / f"judge-{seconds:g}").touch()

    def judges(self, seconds: float) -> bool:
        """Say whether they have begun."""
        return (self.place / f"judging-{seconds:g}").exists()

    def logs(self) -> list[Path]:
        return sorted((self.place / "state" / "vespera" / "logs").glob("*.log"))

    def log(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.logs())

    def errors(self) -> str:
        return (self.place / "stderr").read_text(errors="replace")

    def processes(self) -> list[int]:
        """List the processes that name the place, and are not dead."""
        listed = subprocess.run(["ps", "-ewwo", "pid,stat,args"], capture_output=True, text=True, check=True).stdout
        rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
        return [int(pid) for pid, state, args in rows if str(self.place) in args and not state.startswith("Z")]

    def workers(self) -> list[int]:
        return [pid for pid in self.processes() if pid != self.process.pid]

    def until(self, condition: Callable[[], object], seconds: float = SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.log() + self.errors()
            select.select([], [], [], 0.01)

    def spare_waits(self, count: int = 1) -> None:
        """Wait until that many spares have come to wait."""
        self.until(lambda: self.log().count("a spare waits") >= count)


def state(pid: int) -> str:
    """Give the kernel's letter for what a process does: S for one that waits, T for one that is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def program(place: Path, *, forker: bool, worker: str, patch: str = "", **settings: Any) -> str:
    """Give the program of a front of toy workers."""
    toy = f"sys.executable, {str(TOY)!r}, {str(place)!r}"
    words = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    forked = f"({toy}, 'fork')" if forker else "None"
    return (
        "import sys\n"
        "from supervisors import Backoff\n"
        "from vespera_agents.front.front import Settings, run_front\n"
        "backoff = Backoff(0.05, 0.2, reset_seconds=9.0)\n"
        f"{patch}\n"
        f"settings = Settings(worker={worker or f'({toy})'}, forker={forked}, backoff=backoff, {words})\n"
        "sys.exit(run_front(settings))\n"
    )


def spawn_front(
    place: Path, text: str, *, hangup: signal.Handlers = signal.SIG_DFL, terminal: int | None = None, **options: Any
) -> subprocess.Popen[bytes]:
    """Start a front.

    Args:
        place: where it lives.
        text: its program.
        hangup: what SIGHUP does when it begins; under nohup it is ignored, also in whatever the tests start.
        terminal: the one that it shall have, in a session of its own.
        options: what else it shall be started with.
    """

    def prepare() -> None:
        signal.signal(signal.SIGHUP, hangup)
        if terminal is not None:
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    state = place / "state"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(state), "HOME": str(place)}
    with (place / "stderr").open("ab") as errors:
        streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors, **options}
        # The place is named once more, so that the front itself is among its processes.
        return subprocess.Popen(
            [sys.executable, "-c", text, str(place)],
            env=environment,
            cwd=place,
            preexec_fn=prepare,  # noqa: PLW1509 - no test starts it beside threads
            start_new_session=terminal is not None,
            **streams,
        )


@contextlib.contextmanager
def new_place() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="vsf-")).resolve()
    try:
        yield place
    finally:
        shutil.rmtree(place)


@contextlib.contextmanager
def started(
    *,
    forker: bool = False,
    spare: bool = False,
    worker: str = "",
    failing: Any = None,
    **settings: Any,
) -> Iterator[Front]:
    """Start a front of toy workers, `patch` run before; whatever it leaves behind is a failure, and killed.

    Args:
        forker: whether it has a process that forks.
        spare: whether it has a spare.
        worker: the command of its workers, as Python writes it; the toy's if empty.
        failing: how the first worker fails, by step: it may be past that before a test could say so.
        settings: what else the front is told.
    """
    with new_place() as place:
        for step, how in (failing or {}).items():
            (place / f"fail-{step}").write_text(f"{how} 1")
        text = program(place, forker=forker, worker=worker, spare=spare, **{**QUICK, **settings})
        front = Front(place, spawn_front(place, text))
        try:
            yield front
        finally:
            front.process.kill()
            front.process.wait()
            for stream in (front.process.stdin, front.process.stdout):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
            left = _left(front)
        assert not left, front.log()


def _left(front: Front) -> list[int]:
    """Wait a while for the processes of a front to be gone, then kill them; gives those that were left."""
    with contextlib.suppress(AssertionError):
        front.until(lambda: not front.processes())
    left = front.processes()
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return left
