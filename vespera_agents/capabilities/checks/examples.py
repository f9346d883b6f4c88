"""The example check: every program in `examples/` runs to its end with the project's own Python.

What an example prints is not judged. Each runs in the project's root, as its readers run it, with the project's
sources importable, and is bounded in time.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from vespera_agents.capabilities.checks.findings import CannotCheck, Finding
from vespera_agents.capabilities.checks.project import project_python, run
from vespera_agents.capabilities.environment import command_environment

__all__ = ["EXAMPLE_TIMEOUT_SECONDS", "example_files", "find_failing_examples"]

EXAMPLE_TIMEOUT_SECONDS: Final = 60.0
"""How long one example may run."""


def example_files(root: Path) -> list[Path]:
    """Give the programs in `examples/`; a name that begins with an underscore is a part of another."""
    return sorted(path for path in (root / "examples").glob("*.py") if not path.name.startswith("_") and path.is_file())


def find_failing_examples(root: Path, timeout_seconds: float = EXAMPLE_TIMEOUT_SECONDS) -> list[Finding]:
    """Run every example and find those that fail or do not end."""
    paths = example_files(root)
    if not paths:
        raise CannotCheck("there is no examples/*.py; write one, or leave this check out")
    environment = command_environment(root, os.environ, {})
    sources = [str(folder) for folder in (root / "src", root) if folder.is_dir()]
    path = os.pathsep.join([*sources, *filter(None, [environment.get("PYTHONPATH")])])
    environment |= {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    python = project_python(environment)
    findings: list[Finding] = []
    for example in paths:
        name = example.relative_to(root).as_posix()
        ran = run([python, name], directory=root, environment=environment, timeout_seconds=timeout_seconds)
        if ran.status is None:
            findings.append(Finding(name, None, f"still runs after {timeout_seconds:.6g} s; make it end by itself"))
        elif ran.status != 0:
            findings.append(Finding(name, None, f"exit status {ran.status}: {ran.last_lines()}; repair it"))
    return findings
