"""The environment of a command: what the user has, without what only makes sense for the process that starts it.

Pure apart from one look for a `.venv`. It does not decide which variables a plan may set (those are `extra`), and it
reads no `os.environ`: the caller passes it in. `commands.py` runs commands in what this returns.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Final

DROPPED: Final = frozenset(
    {
        # Where this process's Python lives: another Python would look there for its standard library or packages.
        "VIRTUAL_ENV",
        "VIRTUAL_ENV_PROMPT",
        "PYTHONHOME",
        "PYTHONEXECUTABLE",
        "__PYVENV_LAUNCHER__",
        # Someone measures *this* process; a user's command measured too would leave data files in the user's project.
        "COVERAGE_PROCESS_START",
        "COVERAGE_PROCESS_CONFIG",
        # A test of *this* process runs; the user's pytest would take itself for one of its workers.
        "PYTEST_CURRENT_TEST",
        "PYTEST_XDIST_TESTRUNUID",
        "PYTEST_XDIST_WORKER",
        "PYTEST_XDIST_WORKER_COUNT",
        # Started by make: a `make` in a plan would look for the outer one's job server.
        "MAKEFLAGS",
        "MAKELEVEL",
        "MAKE_TERMERR",
        "MAKE_TERMOUT",
        "MFLAGS",
        # Started by a git hook: git would work on the hook's repository, wherever the command runs.
        "GIT_DIR",
        "GIT_INDEX_FILE",
        "GIT_PREFIX",
        "GIT_WORK_TREE",
        # Output goes to a file: the width and colour of the starter's terminal say nothing about it.
        "CLICOLOR_FORCE",
        "COLUMNS",
        "FORCE_COLOR",
        "LINES",
        "NO_COLOR",
        # Where the starter came from; PWD is set below.
        "OLDPWD",
    }
)
"""Variables of the starting process that mislead a command. A plan that wants one sets it itself."""


def command_environment(directory: Path, base: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """Give the whole environment for a command that runs in `directory`.

    PATH begins with the project's own `.venv/bin`, so that `pytest` means the project's pytest without anyone
    activating anything. It ends with the running interpreter's scripts directory, so that `python` and the tools
    installed beside Vespera are found on a machine that has no others; being last, it never hides the user's.

    PYTHONUNBUFFERED=1: a pipe makes Python hold its output back, and the last lines before a kill would be lost.
    TERM=dumb: nothing behind the output can move a cursor. CI is left as it is: pretending would change what runs.

    Args:
        directory: where the command will run; a relative one is made absolute.
        base: the user's environment, usually `os.environ`.
        extra: what the caller sets on purpose; it wins over everything, also over what is dropped.
    """
    here = Path(os.path.abspath(directory))  # noqa: PTH100 - resolve() would replace a link that the user chose
    environment = {name: value for name, value in base.items() if name not in DROPPED}
    own = here / ".venv" / "bin"
    path = [str(own)] if own.is_dir() else []
    path += [base.get("PATH") or os.defpath, sysconfig.get_path("scripts")]
    environment |= {"PATH": os.pathsep.join(path), "PWD": str(here), "PYTHONUNBUFFERED": "1", "TERM": "dumb"}
    return environment | dict(extra)
