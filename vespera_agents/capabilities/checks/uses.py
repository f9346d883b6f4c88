"""What a project uses: the conditions of a plan, each with its reason.

A tool counts as used where the project configures it, or where its own scripts call it (Makefile, tox, nox, pre-commit,
the build server's files). A tool that is merely installed does not count. It runs no tool.
"""

from __future__ import annotations

import ast
import configparser
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from vespera_agents.capabilities.checks.examples import example_files
from vespera_agents.capabilities.checks.findings import CannotCheck
from vespera_agents.capabilities.checks.project import Table, documents, pyproject, read_text, table

__all__ = ["TOPICS", "Answer", "uses"]


@final
@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a project uses something."""

    holds: bool
    reason: str
    """Where it says so, or where that was looked for."""


def uses(root: Path, topic: str) -> Answer:
    """Say whether the project uses a tool or has such a part.

    Raises:
        CannotCheck: the topic is unknown, or the project's configuration cannot be read.
    """
    ask = TOPICS.get(topic)
    if ask is None:
        raise CannotCheck(f"{topic!r} is no topic; these are: {', '.join(sorted(TOPICS))}")
    return ask(_Setup(root, pyproject(root)))


_SCRIPTS: Final = (
    "Makefile",
    "makefile",
    "GNUmakefile",
    "justfile",
    "Justfile",
    "tox.ini",
    "noxfile.py",
    "tasks.py",
    ".pre-commit-config.yaml",
    ".gitlab-ci.yml",
    "azure-pipelines.yml",
    ".github/workflows/*.yml",
    ".github/workflows/*.yaml",
    ".circleci/config.yml",
    ".ci/*",
    "scripts/*",
)
"""Where a project calls its tools."""
_TEST_FILES: Final = ("test_*.py", "*_test.py")
_TEST_FILES_MAX: Final = 2_000
_SKIPPED: Final = frozenset({"build", "dist", "node_modules", "site-packages", "venv", "__pycache__"})


@final
@dataclass(slots=True)
class _Setup:
    """Where a project's configuration is."""

    root: Path
    pyproject: Table

    def configured(self, *sections: str) -> str | None:
        """Give the first place that configures one of these: `[tool.x]`, `setup.cfg [x]`, or a file."""
        for section in sections:
            if section.startswith("[tool."):
                if table(self.pyproject, *section.strip("[]").split(".")) is not None:
                    return f"{section} in pyproject.toml"
            elif section.startswith("["):
                name = section.strip("[]")
                for file in ("setup.cfg", "tox.ini"):
                    if any(found.partition(":")[0] == name or found == name for found in self._ini(file).sections()):
                        return f"{section} in {file}"
            elif (self.root / section).is_file():
                return section
        return None

    def called(self, pattern: str) -> str | None:
        """Give the script of the project in which a line has this, comments aside."""
        search = re.compile(rf"(?m)^(?!\s*#).*?(?:^|[\s/\"'`;&|@(,\[-]){pattern}")
        for glob in _SCRIPTS:
            for path in sorted(self.root.glob(glob)):
                text = read_text(path) if path.is_file() else None
                if text is not None and search.search(text):
                    return path.relative_to(self.root).as_posix()
        return None

    def option(self, file: str, section: str, names: tuple[str, ...]) -> str | None:
        """Give the first of these options that an ini file's section sets."""
        parser = self._ini(file)
        return next((name for name in names if parser.has_option(section, name)), None)

    def _ini(self, file: str) -> configparser.RawConfigParser:
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(read_text(self.root / file) or "")
        except configparser.Error as error:
            raise CannotCheck(f"{file} cannot be read ({error.message.splitlines()[0]}); correct it") from error
        return parser

    def test_files(self) -> Iterator[Path]:
        """Give the test files, wherever they lie below the root, hidden and built folders aside."""
        waiting = [self.root]
        seen = 0
        while waiting and seen < _TEST_FILES_MAX:
            folder = waiting.pop()
            for path in sorted(folder.iterdir()):
                if (
                    path.is_dir()
                    and not path.is_symlink()
                    and not path.name.startswith(".")
                    and path.name not in _SKIPPED
                ):
                    waiting.append(path)
                elif path.is_file() and any(path.match(pattern) for pattern in _TEST_FILES):
                    seen += 1
                    yield path


def _tool(name: str, sections: tuple[str, ...], call: str, hooks: str | None = None) -> Callable[[_Setup], Answer]:
    """Make the question whether a tool is configured or called."""

    def ask(setup: _Setup) -> Answer:
        place = setup.configured(*sections)
        if place is not None:
            return Answer(True, place)
        place = setup.called(rf"id:\s*(?:{hooks})\s*$") if hooks else None
        place = place or setup.called(call)
        if place is not None:
            return Answer(True, f"{place} runs {name}")
        return Answer(False, f"neither {_either(sections)} nor a script of the project that runs {name}")

    return ask


def _either(sections: tuple[str, ...]) -> str:
    return ", ".join(sections)


_ARGUMENT: Final = r"\s+(?:--?\w|\.|[\w$\"'{]+[/\w])"
"""What follows a program that is called rather than talked about."""


def _mypy_files(setup: _Setup) -> Answer:
    """Whether mypy's own configuration says what to check, so that it needs no argument."""
    wanted = ("files", "packages", "modules")
    settings = table(setup.pyproject, "tool", "mypy") or {}
    found = next((name for name in wanted if settings.get(name)), None)
    if found is not None:
        return Answer(True, f"{found} under [tool.mypy] in pyproject.toml")
    for file in ("mypy.ini", ".mypy.ini", "setup.cfg"):
        found = setup.option(file, "mypy", wanted)
        if found is not None:
            return Answer(True, f"{found} under [mypy] in {file}")
    return Answer(False, "mypy's configuration sets neither files, packages nor modules")


def _imports(path: Path) -> set[str]:
    try:
        tree = ast.parse(read_text(path) or "")
    except (SyntaxError, ValueError):
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


_PYTEST_SECTIONS: Final = (
    "[tool.pytest.ini_options]",
    "[tool.pytest]",
    "pytest.ini",
    "[pytest]",
    "[tool:pytest]",
    "conftest.py",
    "tests/conftest.py",
)


def _unittest(setup: _Setup) -> Answer:
    place = setup.configured(*_PYTEST_SECTIONS)
    if place is not None:
        return Answer(False, f"the tests are for pytest: {place}")
    files = [path for path in setup.test_files() if path.name.startswith("test")]
    if not files:
        return Answer(False, "there is no test_*.py")
    for path in files:
        name = path.relative_to(setup.root).as_posix()
        if not name.startswith("tests/") or not (imported := _imports(path)) & {"unittest"} or "pytest" in imported:
            return Answer(False, f"{name} is not below tests or does not use unittest alone")
    return Answer(True, f"tests/ holds {len(files)} test files, all of them for unittest")


def _pytest(setup: _Setup) -> Answer:
    place = setup.configured(*_PYTEST_SECTIONS)
    if place is not None:
        return Answer(True, place)
    if _unittest(setup).holds:
        return Answer(False, "the tests are for unittest")
    first = next(setup.test_files(), None)
    if first is None:
        return Answer(False, "there are no tests: no test_*.py and no *_test.py")
    return Answer(True, f"tests such as {first.relative_to(setup.root).as_posix()}")


def _docs(setup: _Setup) -> Answer:
    names = documents(setup.root)
    if names:
        return Answer(True, f"{len(names)} documents, {names[0]} first")
    return Answer(False, "there is neither a Markdown file in the root nor one below docs")


def _examples(setup: _Setup) -> Answer:
    files = example_files(setup.root)
    return Answer(True, f"{len(files)} programs in examples") if files else Answer(False, "there is no examples/*.py")


def _floors(setup: _Setup) -> Answer:
    if (setup.root / "tests" / "test_floors.py").is_file():
        return Answer(True, "tests/test_floors.py")
    return Answer(False, "there is no tests/test_floors.py")


def _packaging(setup: _Setup) -> Answer:
    for section in ("build-system", "project"):
        if table(setup.pyproject, section) is not None:
            return Answer(True, f"[{section}] in pyproject.toml")
    if (setup.root / "setup.py").is_file():
        return Answer(True, "setup.py")
    return Answer(False, "nothing to build: no [build-system] and no [project] in pyproject.toml, and no setup.py")


_BY_RUFF: Final = _tool("ruff format", ("[tool.ruff.format]",), r"ruff format\b", "ruff-format")


def _ruff_format(setup: _Setup) -> Answer:
    """Whether ruff formats, too: many projects only lint with it."""
    for file in ("ruff.toml", ".ruff.toml"):
        if re.search(r"(?m)^\[format\]", read_text(setup.root / file) or ""):
            return Answer(True, f"[format] in {file}")
    return _BY_RUFF(setup)


TOPICS: Final[Mapping[str, Callable[[_Setup], Answer]]] = {
    "black": _tool("black", ("[tool.black]",), rf"black{_ARGUMENT}", "black(?:-jupyter)?"),
    "docs": _docs,
    "examples": _examples,
    "flake8": _tool("flake8", ("[flake8]", ".flake8", "[tool.flake8]"), rf"flake8(?:{_ARGUMENT}|\s*$)", "flake8"),
    "floors": _floors,
    "import-linter": _tool(
        "import-linter", ("[tool.importlinter]", "[importlinter]", ".importlinter"), r"lint-imports\b", "import-linter"
    ),
    "mypy": _tool("mypy", ("[tool.mypy]", "mypy.ini", ".mypy.ini", "[mypy]"), rf"mypy(?:{_ARGUMENT}|\s*$)", "mypy"),
    "mypy-files": _mypy_files,
    "packaging": _packaging,
    "pyright": _tool("pyright", ("[tool.pyright]", "pyrightconfig.json"), r"pyright(?:\s+[-.\w]|\s*$)", "pyright"),
    "pytest": _pytest,
    "ruff-format": _ruff_format,
    "ruff-lint": _tool("ruff", ("[tool.ruff]", "ruff.toml", ".ruff.toml"), r"ruff check\b", "ruff|ruff-check"),
    "unittest": _unittest,
}
"""What can be asked for."""
