"""Small git repositories and distributions that the tests of the checks look at.

A project is real: git commits it, and pip can install its wheels. Wheels and sdists are put together here, because a
build backend would cost seconds for each.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from vespera_agents.capabilities.checks.catalogue import run_check

__all__ = ["METADATA", "Project", "make_sdist", "make_wheel"]

METADATA = """Metadata-Version: 2.4
Name: acorn
Version: 1.2.0
Summary: An acorn.
Author: An oak
License-Expression: MIT
Requires-Python: >=3.11
Description-Content-Type: text/markdown

# Acorn
"""
_GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_AUTHOR_NAME": "A tester",
    "GIT_AUTHOR_EMAIL": "tester@example.org",
    "GIT_COMMITTER_NAME": "A tester",
    "GIT_COMMITTER_EMAIL": "tester@example.org",
}


class Project:
    """A directory under git."""

    def __init__(self, root: Path, files: Mapping[str, str] | None = None) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")
        if files is not None:
            self.commit(files)

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.root,
            env={**os.environ, **_GIT},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def commit(self, files: Mapping[str, str] | None = None) -> None:
        self.write(files or {})
        self.git("add", "--all")
        self.git("commit", "-q", "--allow-empty", "-m", "A change")

    def check(self, name: str, *arguments: str) -> tuple[int, list[str]]:
        """Run a check as the command does; give its exit status and its lines."""
        lines: list[str] = []
        return run_check(name, self.root, arguments, write=lines.append), lines


def make_wheel(folder: Path, files: Mapping[str, str], metadata: str = METADATA, scripts: str = "") -> Path:
    """Put a wheel together as a build backend would."""
    folder.mkdir(parents=True, exist_ok=True)
    info = "acorn-1.2.0.dist-info"
    inside = dict(files)
    inside[f"{info}/METADATA"] = metadata
    inside[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    if scripts:
        inside[f"{info}/entry_points.txt"] = f"[console_scripts]\n{scripts}\n\n[other]\na = b\n"
    inside[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*inside, f"{info}/RECORD"])
    path = folder / "acorn-1.2.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in inside.items():
            archive.writestr(name, text)
    return path


def make_sdist(folder: Path, files: Mapping[str, str], metadata: str = METADATA) -> Path:
    """Put an sdist together as a build backend would."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "acorn-1.2.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in {"PKG-INFO": metadata, **files}.items():
            member = tarfile.TarInfo(f"acorn-1.2.0/{name}")
            data = text.encode()
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path
