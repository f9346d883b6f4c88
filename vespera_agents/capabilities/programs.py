"""Find the program that a command names, as the command's own directory and PATH have it.

A missing program is an answer with a next step, not a shell's status 127. It looks and starts nothing; `commands.py`
runs what is found here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import final

_SHEBANG_BYTES_MAX = 256
"""The kernel reads as much of a script's first line."""


@final
class CannotRun(Exception):
    """A command cannot be run as it stands; the message says why and what to do."""


def check_directory(directory: Path) -> None:
    """Raise CannotRun unless a command can run in `directory`."""
    if not directory.exists():
        raise CannotRun(f"no such directory: {directory}; create it or correct the plan")
    if not directory.is_dir():
        raise CannotRun(f"not a directory: {directory}; name the directory to run in")
    if not os.access(directory, os.X_OK):
        raise CannotRun(f"no permission to enter the directory {directory}; grant it with chmod u+x")


def find_program(name: str, directory: Path, environment: Mapping[str, str]) -> str:
    """Return the path of the program that `name` means for a command in `directory` with this environment.

    A name with a slash is relative to the directory; any other is looked up in the environment's PATH, whose
    relative and empty entries are relative to the directory too, as for any program started there.

    Raises:
        CannotRun: there is none, it is not executable, or it is a script whose interpreter is missing.
    """
    if "/" in name:
        candidates = [directory / name]
    else:
        entries = environment.get("PATH", os.defpath).split(os.pathsep)
        candidates = [directory / entry / name for entry in entries]
    found = next((path for path in candidates if path.is_file() and os.access(path, os.X_OK)), None)
    if found is None:
        present = next((path for path in candidates if path.is_file()), None)
        if present is not None:
            raise CannotRun(f"not executable: {present}; run chmod +x on it or call its interpreter")
        raise CannotRun(f"not found: {name}; install it or correct the command")
    interpreter = _interpreter(found)
    if interpreter is not None and not (directory / interpreter).exists():
        raise CannotRun(f"not found: {interpreter}, the interpreter of {found}; install it or reinstall {name}")
    return str(Path(os.path.abspath(found)))  # noqa: PTH100 - resolve() would leave a virtual environment


def _interpreter(program: Path) -> str | None:
    """Return what a script's first line names, or None for anything but a script."""
    try:
        with program.open("rb") as file:
            first = file.readline(_SHEBANG_BYTES_MAX)
    except OSError:
        # Executable but not readable is a right that binaries can have.
        return None
    words = first[2:].split() if first.startswith(b"#!") else []
    return os.fsdecode(words[0]) if words else None
