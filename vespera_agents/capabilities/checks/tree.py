"""Checks of the working tree as git sees it: is everything committed, and is anything too large.

What the files say is not looked at here (`secret_scan`, `links`).
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Final

from vespera_agents.capabilities.checks.findings import CannotCheck, Finding
from vespera_agents.capabilities.checks.project import allowed, git, tracked_files

__all__ = ["LARGE_BYTES", "find_large_files", "find_uncommitted", "is_left_by_a_tool"]

LARGE_BYTES: Final = 1_000_000
"""A tracked file above this is a finding."""

_LEFT_NAMES: Final = frozenset(
    {
        "__pycache__",
        ".coverage",
        ".eggs",
        ".hypothesis",
        ".mypy_cache",
        ".nox",
        ".pyright",
        ".pytest_cache",
        ".ruff_cache",
        ".tox",
        ".venv",
        ".vespera",
        "venv",
    }
)
_LEFT_SUFFIXES: Final = (".pyc", ".egg-info")
_STATES: Final = {
    "M": "changed",
    "A": "added",
    "D": "deleted",
    "R": "renamed",
    "C": "copied",
    "T": "changed in type",
    "U": "in conflict",
}


def is_left_by_a_tool(name: str) -> bool:
    """Whether a path is an environment, a cache or bytecode: made by tools, such as those of the same plan."""
    parts = PurePosixPath(name.rstrip("/")).parts
    return any(part in _LEFT_NAMES or part.endswith(_LEFT_SUFFIXES) for part in parts)


def find_uncommitted(root: Path) -> list[Finding]:
    """Find files that are not committed as they are, and files that git does not know.

    What tools leave behind (caches, bytecode, environments, `*.egg-info`) does not count while git does not track it.
    """
    findings: list[Finding] = []
    fields = iter(git(root, "status", "--porcelain=v1", "-z", "--untracked-files=all", "--", ".").split("\0"))
    prefix = git(root, "rev-parse", "--show-prefix").strip()
    for field in fields:
        if not field:
            continue
        state, name = field[:2], field[3:].removeprefix(prefix)
        if "R" in state or "C" in state:
            next(fields)
        if state == "??":
            if not is_left_by_a_tool(name):
                findings.append(Finding(name, None, "git does not know this file; commit, remove or ignore it"))
            continue
        said = _STATES.get(state.strip()[0], "changed")
        findings.append(Finding(name, None, f"{said} but not committed; commit it, or undo it with git restore"))
    if not findings and not git(root, "rev-list", "--all", "--max-count=1").strip():
        raise CannotCheck("this repository has no commit yet; commit what is to be released")
    return findings


def find_large_files(root: Path) -> list[Finding]:
    """Find tracked files above a megabyte, the largest first."""
    names = tracked_files(root)
    if not names:
        raise CannotCheck("git tracks no file here; git add what belongs to the project")
    sizes = {name: (root / name).stat().st_size for name in names}
    large = {name for name, size in sizes.items() if size > LARGE_BYTES}
    large -= allowed(root, "large-files-allow", large)
    advice = "keep it out of git, use Git LFS, or allow it under [tool.vespera.checks] large-files-allow"
    return [
        Finding(name, None, f"{sizes[name] / 1_000_000:.1f} MB; {advice}")
        for name in sorted(large, key=lambda name: (-sizes[name], name))
    ]
