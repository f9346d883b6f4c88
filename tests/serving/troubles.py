"""Not a test: what a machine can do to a server, for real: disks that fill up, limits, clocks that are set.

Where the tests run as root, a small disk is mounted; else the limits of the server's process stand for it, so that
nothing is skipped anywhere.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vespera_agents.workspace import Workspace, live_servers

DISK_BYTES = 12 * 1024 * 1024
CLOCK = """
import time
from pathlib import Path
_real = time.time
_offset = Path(__file__).with_name("offset")
def _set():
    try:
        return _real() + float(_offset.read_text() or 0)
    except (OSError, ValueError):
        return _real()
time.time = _set
"""
"""A `sitecustomize` that lets a file say how wrong the clock of a process is."""


def process_of(workspace: Workspace) -> int:
    """Give the id of the one process that serves a workspace."""
    (server,) = live_servers(workspace)
    return server.pid


@dataclass(frozen=True)
class Disk:
    """A place that can be filled."""

    directory: Path
    mounted: bool

    @contextlib.contextmanager
    def full(self, process: int) -> Iterator[None]:
        """Leave no room as long as the block lasts; without a disk of its own, for this process."""
        if not self.mounted:
            with limited(process, resource.RLIMIT_FSIZE, 4_096):
                yield
            return
        filler = self.directory / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            for size in (65_536, 4_096, 512):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"x" * size)
        try:
            yield
        finally:
            filler.unlink()

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """Let nobody write there as long as the block lasts; nothing may be open for writing."""
        if self.mounted:
            subprocess.run(["mount", "-o", "remount,ro", str(self.directory)], check=True)
        else:
            self.directory.chmod(0o500)
        try:
            yield
        finally:
            if self.mounted:
                subprocess.run(["mount", "-o", "remount,rw", str(self.directory)], check=True)
            else:
                self.directory.chmod(0o700)


@contextlib.contextmanager
def small_disk(directory: Path) -> Iterator[Disk]:
    """Make a directory a disk of its own where we may."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(directory)]
    mounted = os.geteuid() == 0 and subprocess.run(command, check=False, capture_output=True).returncode == 0
    try:
        yield Disk(directory, mounted)
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(directory)], check=True)


@contextlib.contextmanager
def limited(process: int, what: int, soft: int) -> Iterator[None]:
    """Lower a limit of a running process as long as the block lasts."""
    before = resource.prlimit(process, what)
    resource.prlimit(process, what, (soft, before[1]))
    try:
        yield
    finally:
        resource.prlimit(process, what, before)


@dataclass(frozen=True)
class Clock:
    """The clock of every process that is started with this directory in its PYTHONPATH."""

    directory: Path

    def make(self) -> None:
        """Make it, and let it be right."""
        self.directory.mkdir()
        (self.directory / "sitecustomize.py").write_text(CLOCK)

    def set(self, seconds: float) -> None:
        """Set it that much forward, or back."""
        new = self.directory / "new"
        new.write_text(str(seconds))
        new.replace(self.directory / "offset")
