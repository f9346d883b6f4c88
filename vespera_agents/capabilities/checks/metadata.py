"""The metadata check: what the package index will show, in `pyproject.toml` and in what was built from it.

Whether the distributions work is not judged here (`wheel`), nor what else is in them (`contents`).
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Final, cast

from vespera_agents.capabilities.checks.distributions import Distribution, newest_sdist, newest_wheel
from vespera_agents.capabilities.checks.findings import CannotCheck, Finding
from vespera_agents.capabilities.checks.project import Table, pyproject, read_text, strings, table

__all__ = ["find_metadata_faults", "known_classifiers", "same_version"]

_FILE: Final = "pyproject.toml"
_WANTED: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "description": (("description",), 'description = "one line that says what it is"'),
    "readme": (("readme",), 'readme = "README.md"'),
    "requires-python": (("requires-python",), 'requires-python = ">=3.11", or whichever you test'),
    "license": (("license", "license-files"), 'license = "MIT", or another SPDX expression'),
    "authors": (("authors", "maintainers"), 'authors = [{ name = "..." }]'),
}
"""What `[project]` needs beside name and version: the keys that give it, and what to write."""
_BUILT: Final[Mapping[str, tuple[str, ...]]] = {
    "description": ("Summary",),
    "requires-python": ("Requires-Python",),
    "license": ("License-Expression", "License", "License-File"),
    "authors": ("Author", "Author-email", "Maintainer", "Maintainer-email"),
}
"""The same in METADATA."""
_STAGES: Final = {"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc", "rev": "post", "r": "post"}
_UNKNOWN: Final = "the index knows no such classifier; look it up in the index's list of classifiers"
_OPEN_CLASSIFIERS: Final = ("Private ::",)
"""The index refuses these on purpose, and that is what they are for."""


def find_metadata_faults(root: Path, folder: str | None = None) -> list[Finding]:
    """Find what is missing or wrong in the metadata, written and built.

    Args:
        root: the project.
        folder: where the distributions are; None looks in the usual folders and does without when there are none.
    """
    project = table(pyproject(root), "project")
    wheel = _built(newest_wheel, root, folder, required=folder is not None)
    sdist = _built(newest_sdist, root, folder, required=folder is not None)
    built = [one for one in (wheel, sdist) if one is not None]
    if project is None and not built:
        raise CannotCheck("pyproject.toml has no [project] and nothing is built; run python -m build, then this again")
    findings = [] if project is None else _written_faults(root, project)
    for one in built:
        findings += _built_faults(one, project)
    if wheel is not None and sdist is not None:
        findings += _disagreements(wheel, sdist)
    return findings


def _built(
    read: Callable[[Path, str | None], Distribution], root: Path, folder: str | None, *, required: bool
) -> Distribution | None:
    try:
        return read(root, folder)
    except CannotCheck:
        if required:
            raise
        return None


def _written_faults(root: Path, project: Table) -> list[Finding]:
    lines = (read_text(root / _FILE) or "").splitlines()
    start = next((number for number, line in enumerate(lines, 1) if line.strip() == "[project]"), 1)
    dynamic = strings(project.get("dynamic"))
    findings: list[Finding] = []

    def line_of(key: str) -> int:
        pattern = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=")
        return next((at for at, line in enumerate(lines[start:], start + 1) if pattern.match(line)), start)

    if not isinstance(project.get("name"), str):
        findings.append(Finding(_FILE, start, "[project] has no name; add one"))
    if not isinstance(project.get("version"), str) and "version" not in dynamic:
        findings.append(Finding(_FILE, start, '[project] has no version; add one, or dynamic = ["version"]'))
    for what, (keys, advice) in _WANTED.items():
        if not any(project.get(key) or key in dynamic for key in keys):
            findings.append(Finding(_FILE, start, f"[project] has no {what}; add {advice}"))
    readme = _readme_file(project.get("readme"))
    if readme is not None and not (read_text(root / readme) or "").strip():
        findings.append(
            Finding(_FILE, line_of("readme"), f"{readme} is missing or empty; write it or name another file")
        )
    findings += [
        Finding(_FILE, line_of("license-files"), f"no file matches {place}; add the licence's text")
        for place in strings(project.get("license-files"))
        if not any(root.glob(place))
    ]
    for classifier in _unknown(strings(project.get("classifiers"))):
        line = next((at for at, line in enumerate(lines, 1) if classifier in line), start)
        findings.append(Finding(_FILE, line, f"{classifier!r}: {_UNKNOWN}"))
    return findings


def _readme_file(readme: object) -> str | None:
    if isinstance(readme, Mapping):
        readme = cast("Table", readme).get("file")
    return readme if isinstance(readme, str) else None


def _unknown(classifiers: Iterable[str]) -> list[str]:
    known = known_classifiers()
    if known is None:
        return []
    return [name for name in classifiers if name not in known and not name.startswith(_OPEN_CLASSIFIERS)]


def known_classifiers() -> Collection[str] | None:
    """Give the classifiers that the index knows, where the package that lists them is installed."""
    if importlib.util.find_spec("trove_classifiers") is None:
        return None
    return cast("Collection[str]", importlib.import_module("trove_classifiers").classifiers)


def _built_faults(built: Distribution, project: Table | None) -> list[Finding]:
    faults = [
        f"its metadata has no {what}; say it in the project's configuration"
        for what, fields in _BUILT.items()
        if project is None and not any(built.header(field) for field in fields)
    ]
    if not built.description():
        faults.append("its metadata has no long description; name the readme in the project's configuration")
    elif not built.header("Description-Content-Type") and built.description().startswith("#"):
        faults.append("its description is Markdown and is called plain text; set its content type to text/markdown")
    if project is None:
        faults += [f"{name!r}: {_UNKNOWN}" for name in _unknown(built.headers("Classifier"))]
        return [Finding(built.file, None, fault) for fault in faults]
    name, version, requires = project.get("name"), project.get("version"), project.get("requires-python")
    if isinstance(name, str) and _canonical(name) != _canonical(built.header("Name")):
        faults.append(f"is named {built.header('Name')!r}, and pyproject.toml says {name!r}; build it again")
    if isinstance(version, str) and not same_version(version, built.header("Version")):
        faults.append(f"has version {built.header('Version')}, and pyproject.toml says {version}; build it again")
    if isinstance(requires, str) and _specifiers(requires) != _specifiers(built.header("Requires-Python")):
        said = built.header("Requires-Python") or "nothing"
        faults.append(f"requires Python {said}, and pyproject.toml says {requires}; build it again")
    return [Finding(built.file, None, fault) for fault in faults]


def _disagreements(wheel: Distribution, sdist: Distribution) -> list[Finding]:
    return [
        Finding(
            wheel.file,
            None,
            f"{field} is {wheel.header(field)!r}, in {sdist.file} {sdist.header(field)!r}; build both again",
        )
        for field in ("Name", "Version", "Summary", "Requires-Python")
        if _canonical(wheel.header(field)) != _canonical(sdist.header(field))
    ]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _specifiers(text: str) -> set[str]:
    return {re.sub(r"\s", "", part) for part in text.split(",") if part.strip()}


def same_version(one: str, other: str) -> bool:
    """Whether two spellings mean the same version, as PEP 440 reads them."""
    return _version_key(one) == _version_key(other)


def _version_key(version: str) -> tuple[str, ...]:
    public, _, local = version.strip().lower().removeprefix("v").partition("+")
    words: list[str] = []
    for word in re.findall(r"\d+|[a-z]+|!", public):
        if word.isdigit():
            words.append(str(int(word)))
            continue
        # `1.0.rc1`, `1.0-rc.1` and `1.0rc1` are one version; so are 1.0 and 1.0.0.
        while words and words[-1] == "0" and word != "!" and not {"a", "b", "rc", "post", "dev"} & set(words):
            words.pop()
        words.append(_STAGES.get(word, word))
    if all(word.isdigit() or word == "!" for word in words):
        while len(words) > 1 and words[-1] == "0":
            words.pop()
    elif not words[-1].isdigit():
        words.append("0")
    return (*words, "+", *re.findall(r"\w+", local))
