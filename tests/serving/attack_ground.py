"""The ground for attacks: a project full of traps, a directory beside it that must stay as it is, and secrets.

Not a test. Neighbours: `attacks` walks over it, `test_attacks` looks at it before and after.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.serving.kit import Place

OUTSIDE = "canary-of-the-outside-5d1f"
ENVIRONMENT = "canary-of-the-environment-93ab"
TOKEN = "canary-of-the-token-file-c407aaaaaaaaaaaaaaaa"  # noqa: S105 - nobody's
CANARIES = (OUTSIDE, ENVIRONMENT, TOKEN)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What a terminal would act on, or that turns text around."""
Snapshot = dict[str, tuple[object, ...]]


@contextlib.contextmanager
def new_ground() -> Iterator[Ground]:
    """Lay the ground, and take it away."""
    ground = Ground(Path(tempfile.mkdtemp(prefix="vsa-")).resolve())
    try:
        for name in ("project", "home", "state", "runtime"):
            (ground.root / name).mkdir()
        ground.lay()
        yield ground
    finally:
        shutil.rmtree(ground.root)


def assert_nothing_leaked(text: str) -> None:
    """See that neither a secret nor our insides are in a text."""
    for word in (*CANARIES, "Traceback"):
        assert word not in text, text[-2_000:]


@dataclass(frozen=True)
class Ground(Place):
    """A place with traps in it, whose servers know a secret."""

    @property
    def outside(self) -> Path:
        return self.root / "outside"

    @property
    def token_file(self) -> Path:
        return self.root / "tokens"

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, "VESPERA_TEST_SECRET": ENVIRONMENT}

    def lay(self) -> None:
        """Put everything in its place."""
        self.outside.mkdir()
        for name in ("secret.txt", "plan.md"):
            (self.outside / name).write_text(f"# {OUTSIDE}\n## Phase 1: Do\n### first\n{OUTSIDE}\n")
        self.token_file.touch(0o600)
        self.token_file.write_text(f"{TOKEN}\n")
        project = self.project
        (project / "inner").mkdir()
        links = {
            "link_file": self.outside / "secret.txt", "link_dir": self.outside, "inner/up": Path("../../outside"),
            "link_etc": Path("/etc"), "dangling": self.outside / "new.txt", "loop": Path("loop"), "ping": Path("pong"),
            "pong": Path("ping"), "link_environ": Path("/proc/self/environ"), "link_zero": Path("/dev/zero"),
        }  # fmt: skip
        for name, target in links.items():
            (project / name).symlink_to(target)
        os.mkfifo(project / "fifo")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(project / "socket"))

    def snapshot(self) -> Snapshot:
        """Give what everything outside `.vespera` is, down to the times of its last change."""
        found: Snapshot = {}
        for top in (self.project, self.outside, self.root / "home", self.root / "runtime", self.token_file):
            for path in (top, *sorted(top.rglob("*"))):
                inside = path.relative_to(self.root).parts
                if ".vespera" in inside:
                    continue
                about = path.lstat()
                regular = path.is_file() and not path.is_symlink()
                digest = hashlib.sha256(path.read_bytes()).hexdigest() if regular else ""
                target = str(path.readlink()) if path.is_symlink() else ""
                # The project's own time changes with `.vespera` in it.
                when = 0 if path == self.project else about.st_ctime_ns
                found["/".join(inside)] = (about.st_mode, about.st_uid, when, digest, target)
        return found

    def leaks(self, where: Path | None = None) -> list[str]:
        """Name every file of ours that holds a canary."""
        tops = (self.workspace.dot, self.root / "state") if where is None else (where,)
        found: list[str] = []
        for path in (one for top in tops for one in top.rglob("*")):
            if path.is_file() and not path.is_symlink():
                data = path.read_bytes()
                found += [f"{canary} in {path}" for canary in CANARIES if canary.encode() in data]
        return found
