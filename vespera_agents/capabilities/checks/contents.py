"""The contents check: what lies in the sdist and the wheel, and what is missing from them.

It compares file names with the names that git tracks; what the files say is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final

from vespera_agents.capabilities.checks.distributions import (
    Distribution,
    newest_sdist,
    newest_wheel,
    top_level_names,
)
from vespera_agents.capabilities.checks.findings import Finding
from vespera_agents.capabilities.checks.project import tracked_files

__all__ = ["find_content_faults"]

_NEVER: Final = frozenset(
    {
        ".coverage",
        ".DS_Store",
        ".env",
        ".git",
        ".hypothesis",
        ".idea",
        ".mypy_cache",
        ".nox",
        ".pypirc",
        ".pytest_cache",
        ".ruff_cache",
        ".tox",
        ".venv",
        ".vespera",
        "__pycache__",
        "node_modules",
        "venv",
    }
)
"""What belongs to one machine and to no distribution."""
_NOT_IMPORTED: Final = frozenset(
    {"benchmarks", "build", "conftest", "doc", "docs", "examples", "scripts", "setup", "test", "tests", "tools"}
)
"""Top-level names that would shadow everybody else's in site-packages."""
_TEST_FOLDERS: Final = frozenset({"test", "tests"})
_SHIPPED: Final = (".py", ".pyi")
_FINDINGS_PER_KIND_MAX: Final = 20


def find_content_faults(root: Path, folder: str | None = None) -> list[Finding]:
    """Find what should not be in the newest distributions, and what should."""
    wheel, sdist = newest_wheel(root, folder), newest_sdist(root, folder)
    tracked = tracked_files(root)
    findings = [*_strays(sdist), *_strays(wheel)]
    findings += [
        Finding(wheel.file, None, f"installs a top-level {name!r} beside everybody else's; leave it out of the wheel")
        for name in top_level_names(wheel)
        if name in _NOT_IMPORTED
    ]
    findings += _missing(wheel, tracked)
    for names in (
        ("pyproject.toml", "setup.py"),
        _like(tracked, "LICENSE", "LICENCE", "COPYING"),
        _like(tracked, "README"),
    ):
        if names and not set(names) & set(sdist.names):
            findings.append(Finding(sdist.file, None, f"{' or '.join(names)} is missing; include it in the sdist"))
    return findings


def _strays(built: Distribution) -> list[Finding]:
    roots: dict[str, int] = {}
    for name in built.names:
        parts = PurePosixPath(name).parts
        index = next((at for at, part in enumerate(parts) if part in _NEVER or part.endswith(".pyc")), None)
        if index is not None:
            place = "/".join(parts[: index + 1])
            roots[place] = roots.get(place, 0) + 1
    advice = "it belongs to one machine; exclude it in the build's configuration, or add it to .gitignore"
    return [
        Finding(built.file, None, f"holds {place} ({count} files); {advice}")
        for place, count in sorted(roots.items())[:_FINDINGS_PER_KIND_MAX]
    ]


def _missing(wheel: Distribution, tracked: Iterable[str]) -> list[Finding]:
    """Find modules and type marks of the shipped packages that git tracks and the wheel does not hold."""
    packages = set(top_level_names(wheel))
    shipped = set(wheel.names)
    findings: list[Finding] = []
    for name in tracked:
        parts = PurePosixPath(name).parts
        inside = parts[1:] if parts[0] == "src" else parts
        wanted = inside and (inside[-1].endswith(_SHIPPED) or inside[-1] == "py.typed")
        if len(inside) < 2 or inside[0] not in packages or not wanted or _TEST_FOLDERS & set(inside):  # noqa: PLR2004
            continue
        if not any("/".join(inside) == held or held.endswith("lib/" + "/".join(inside)) for held in shipped):
            findings.append(Finding(name, None, f"is not in {wheel.file}; include it, or move it out of the package"))
    return findings[:_FINDINGS_PER_KIND_MAX]


def _like(names: Iterable[str], *stems: str) -> list[str]:
    return [name for name in names if "/" not in name and name.upper().partition(".")[0].startswith(stems)]
