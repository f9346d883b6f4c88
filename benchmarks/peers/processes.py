"""The benchmark's end of the pipe: one process for each peer, alive for the whole run, asked for one round at a time.

Every wait is bounded, and a process is ended by its own handle. A peer that is not installed, does not start, answers
late or counts wrong is no error here: it is a reason, in one line, that takes its place in the table.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final, final

from benchmarks.peers import HOW_TO_INSTALL, PEERS, Peer

ROOT: Final = Path(__file__).resolve().parent.parent.parent
ENVIRONMENT: Final = ROOT / ".venv-peers"
"""What `make bench-peers` creates. It holds `NAME.failed` with pip's words for each peer that did not install."""
ANSWER_SECONDS_MAX: Final = 60.0
"""How long a start or a round may take."""
END_SECONDS_MAX: Final = 5.0
"""How long a process may take to end by itself once its pipe is closed."""
ANSWER_BYTES_MAX: Final = 65_536
PLACES: Final = re.compile(r"\w+:/\S*|(?<!\w)/\S+")
"""Addresses and absolute paths."""


class PeerError(Exception):
    """A peer could not be measured; the text says why, in one line."""


@final
class PeerProcess:
    """One peer in its own process, or the reason why there is none."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        """What it runs."""
        self.reason = ""
        """Why it is not measured, or not any more; empty while all is well."""
        self.version = ""
        """What its script says that it is."""
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._unread = b""

    @property
    def title(self) -> str:
        """Its name with its version, or with the reason why it is not measured."""
        return f"{self.peer.title}: {self.reason}" if self.reason else f"{self.peer.title} {self.version}".strip()

    def start(self, environment: Path = ENVIRONMENT, root: Path = ROOT) -> None:
        """Start its script; a failure becomes its reason."""
        try:
            python = _python_of(self.peer, environment)
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
            self._process = subprocess.Popen(
                [python, "-W", "ignore", "-m", f"benchmarks.peers.{self.peer.script}"],
                cwd=root,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
            )
            self.version = str(self._answer()["version"])
        except (PeerError, OSError) as error:
            self._fail(str(error))

    def round(self, measure: str, count: int) -> float | None:
        """Let it do one round, and return how many it did per second; None when it has a reason not to."""
        process = self._process
        if self.reason or process is None:
            return None
        question = {"measure": measure, "count": count}
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(question).encode() + b"\n")
            process.stdin.flush()
            answer = self._answer()
        except (PeerError, OSError) as error:
            self._fail(str(error))
            return None
        if answer["handled"] != count:
            self._fail(f"{measure}: its handlers counted {answer['handled']} of {count} messages")
            return None
        return count / float(str(answer["seconds"]))

    def end(self) -> None:
        """Let its process end, and end it by force if it does not."""
        if self._process is not None:
            with suppress(OSError):
                assert self._process.stdin is not None
                self._process.stdin.close()
            try:
                self._process.wait(END_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None
        if self._errors is not None:
            self._errors.close()
            self._errors = None

    def _fail(self, reason: str) -> None:
        self.reason = one_line(reason)
        if self._process is not None:
            self._process.kill()
        self.end()

    def _answer(self) -> dict[str, object]:
        assert self._process is not None
        assert self._process.stdout is not None
        due = time.monotonic() + ANSWER_SECONDS_MAX
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, due - time.monotonic())):
                    raise PeerError(f"no answer within {ANSWER_SECONDS_MAX:g} s")
                read = os.read(self._process.stdout.fileno(), ANSWER_BYTES_MAX)
                if not read:
                    raise PeerError(self._last_words())
                self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        answer: dict[str, object] = json.loads(line)
        if "error" in answer:
            raise PeerError(str(answer["error"]))
        return answer

    def _last_words(self) -> str:
        assert self._errors is not None
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return f"its script ended: {said[-1] if said else 'without a word'}"


@contextmanager
def running_peers(peers: Sequence[Peer] = PEERS, environment: Path = ENVIRONMENT) -> Iterator[list[PeerProcess]]:
    """Start every peer, and end all of them."""
    processes = [PeerProcess(peer) for peer in peers]
    try:
        for process in processes:
            process.start(environment)
        yield processes
    finally:
        for process in processes:
            process.end()


def one_line(text: str, length_max: int = 160) -> str:
    """Return the text in one line that a table can hold, without any address or directory of this machine."""
    flat = " ".join(PLACES.sub("...", text).replace("|", "/").split())
    return flat if len(flat) <= length_max else flat[: length_max - 3] + "..."


def _python_of(peer: Peer, environment: Path) -> str:
    if not peer.distribution:
        return sys.executable
    python = environment / "bin" / "python"
    if not python.exists():
        raise PeerError(HOW_TO_INSTALL)
    failed = environment / f"{peer.distribution}.failed"
    if failed.exists():
        lines = failed.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["pip said nothing"]
        errors = [line for line in lines if line.startswith("ERROR")]
        raise PeerError(f"did not install: {errors[0] if errors else lines[-1]}")
    return str(python)
