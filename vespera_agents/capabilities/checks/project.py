"""A project as the checks see it: its files as git has them, its configuration, its own Python.

It judges nothing. It asks git by running it, in the environment that a plan's commands have (`environment.py`), so that
a check finds the same programs as the task beside it.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, cast, final

from vespera_agents.capabilities.checks.findings import CannotCheck
from vespera_agents.capabilities.environment import command_environment

__all__ = [
    "MARKDOWN",
    "Ran",
    "Table",
    "allowed",
    "documents",
    "git",
    "offered_files",
    "project_python",
    "pyproject",
    "read_text",
    "run",
    "strings",
    "table",
    "tracked_files",
]

GIT_TIMEOUT_SECONDS: Final = 60.0
TEXT_BYTES_MAX: Final = 16 * 1024 * 1024
"""A larger file is not read as text."""
MARKDOWN: Final = (".md", ".markdown")
"""How names of documents end."""
_DOCUMENT_FOLDERS: Final = ("docs", "doc")
_BINARY_LOOK_BYTES: Final = 8192
_TAIL_BYTES: Final = 64 * 1024

Table = Mapping[str, object]
"""A table of a TOML document."""


@final
@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended."""

    status: int | None
    """Its exit status (negative: killed by that signal); None when its time was up."""
    output: str
    """The end of what it wrote."""

    def last_lines(self, count: int = 1) -> str:
        """Give the last lines that say something, joined."""
        said = [line.strip() for line in self.output.splitlines() if line.strip()]
        return " / ".join(said[-count:]) or "no output"


def run(argv: Sequence[str | Path], *, directory: Path, environment: Mapping[str, str], timeout_seconds: float) -> Ran:
    """Run a program to its end, without input.

    It stays in this process's group: when a check runs as a task, the guardian of that task ends the program too.

    Raises:
        CannotCheck: it cannot be started.
    """
    with tempfile.TemporaryFile() as output:
        try:
            done = subprocess.run(
                [os.fspath(word) for word in argv],
                cwd=directory,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=timeout_seconds,
                check=False,
            )
            status = done.returncode
        except subprocess.TimeoutExpired:
            status = None
        except OSError as error:
            raise CannotCheck(f"{argv[0]} cannot be started ({error.strerror}); install it or repair it") from error
        # A file, not a pipe: what a killed program leaves running may hold a pipe open for ever.
        output.seek(max(0, output.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return Ran(status, output.read().decode(errors="replace"))


def git(root: Path, *arguments: str) -> str:
    """Ask git something about the project and give its answer.

    Raises:
        CannotCheck: the project is in no git work tree, or git is missing.
    """
    environment = command_environment(root, os.environ, {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"})
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotCheck(f"git did not answer in {root} ({error}); install git or look at the repository") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        reason = said[0] if said else f"exit status {done.returncode}"
        raise CannotCheck(f"git says: {reason}. A release is made from a git repository: git init, git add, git commit")
    return done.stdout.decode(errors="surrogateescape")


def tracked_files(root: Path) -> list[str]:
    """Give the files below the root that git tracks and that are there, in order."""
    return _files(root, "-c")


def offered_files(root: Path) -> list[str]:
    """Give the files below the root that git tracks or would take, in order."""
    return _files(root, "-co")


def _files(root: Path, which: str) -> list[str]:
    names = git(root, "ls-files", "-z", which, "--exclude-standard").split("\0")
    return sorted({name for name in names if name and (root / name).is_file()})


def documents(root: Path) -> list[str]:
    """Give the Markdown files that readers start from: those in the root, and those below docs."""
    return [
        name
        for name in offered_files(root)
        if name.lower().endswith(MARKDOWN)
        and (parts := PurePosixPath(name).parts)[0] in {parts[-1], *_DOCUMENT_FOLDERS}
    ]


def read_text(path: Path) -> str | None:
    """Give a text file's text; None for a binary, a huge or an unreadable one."""
    try:
        if path.stat().st_size > TEXT_BYTES_MAX:
            return None
        data = path.read_bytes()
    except OSError:
        return None
    if b"\0" in data[:_BINARY_LOOK_BYTES]:
        return None
    return data.decode(errors="replace")


def pyproject(root: Path) -> Table:
    """Give the project's `pyproject.toml`, empty when there is none.

    Raises:
        CannotCheck: it is no valid TOML.
    """
    try:
        return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CannotCheck(f"pyproject.toml cannot be read ({error}); correct it") from error


def table(document: Table, *keys: str) -> Table | None:
    """Give the table under these keys, None where there is none."""
    found = document
    for key in keys:
        value = found.get(key)
        if not isinstance(value, Mapping):
            return None
        found = cast("Table", value)
    return found


def strings(value: object) -> list[str]:
    """Give the strings of a TOML array; of anything else, none."""
    return [entry for entry in cast("list[object]", value) if isinstance(entry, str)] if isinstance(value, list) else []


def allowed(root: Path, key: str, names: Iterable[str]) -> set[str]:
    """Give the files that the owner allows under `[tool.vespera.checks]`, by shell patterns."""
    patterns = strings((table(pyproject(root), "tool", "vespera", "checks") or {}).get(key))
    return {name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)}


def project_python(environment: Mapping[str, str]) -> str:
    """Give the Python that the project's commands mean; without one on the PATH, the one that runs this."""
    path = environment.get("PATH", os.defpath)
    return shutil.which("python", path=path) or shutil.which("python3", path=path) or sys.executable
