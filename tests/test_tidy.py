"""The house stays tidy: sizes, names, words, counted exceptions, and what may lie in the repository.

Each rule is a pure function from text to complaints, so each is also shown to fail on a small bad sample. Who may
import whom is the business of `test_floors.py`. The words that are looked for are written in two pieces here, because
this file is searched as well.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ("supervisors/", "vespera_agents/")
LINES_MAX = 400
LINES_HARD_MAX = 600
FUNCTION_LINES_MAX = 80
FILE_BYTES_MAX = 1_000_000
ROOT_FILES_MAX = 8
NOT_OURS = {".git", ".venv", ".venv-peers", ".node", ".vespera", "__pycache__", "node_modules", "build", "dist"}
"""Folders that hold no file of the repository, for a copy of the tree without git."""

LONG_MODULES: Mapping[str, str] = {}
"""Source modules over 400 lines, each with its reason; none may pass 600."""

LONG_FUNCTIONS: Mapping[str, str] = {
    "vespera_agents/actors/drain.py:serve": "the hot loop: a call in it would cost each message a tenth of its speed",
}
"""Functions that are longer than a screen, each with its reason."""

BROAD_EXCEPTS: Mapping[str, tuple[int, str]] = {
    "supervisors/draining.py": (2, "a root's error is kept for whoever leaves its block; a child's snapshot may fail"),
    "supervisors/enclosing.py": (1, "leaves a scope: what that lets through may be anything that a child can raise"),
    "supervisors/exits.py": (1, "a child's own __str__ runs while its crash is described"),
    "supervisors/guarded_process.py": (1, "closes its end of the gate when the start fails in any way, then raises on"),
    "supervisors/guardian.py": (1, "closes the lock's descriptor when waiting for it ends in any way, then raises on"),
    "supervisors/incarnation.py": (1, "the boundary of supervision: here a crash becomes a value"),
    "supervisors/listeners.py": (1, "a listener is foreign code: a broken one must not take a tree down"),
    "supervisors/shutdown.py": (1, "one task's failure must not keep the others from being run"),
    "supervisors/testing/workers.py": (1, "the simulated child that nothing ends, force included"),
    "supervisors/trees.py": (1, "a child's own tree_detail runs: its mistake must not hide the rest of the tree"),
    "vespera_agents/actors/embedding/asyncio_loop.py": (
        1,
        "the boundary of a shared loop: its crash is told to those who wait in it, and must not end their system",
    ),
    "vespera_agents/actors/cell.py": (
        3,
        "an actor's end settles its mail and cleans up, whatever ended it, then goes on up",
    ),
    "vespera_agents/actors/deathwatch.py": (1, "a watch is foreign code: an actor's end must be finished all the same"),
    "vespera_agents/actors/drain.py": (
        2,
        "settles the message whose handler did not return, then raises on; throws force on into a handler that waits",
    ),
    "vespera_agents/actors/testing/faults.py": (
        2,
        "the handler that nothing ends; a handler's own errors are passed on",
    ),
    "vespera_agents/actors/testing/ledger.py": (4, "writes down how a handler or a hook has ended, then raises on"),
    "vespera_agents/actors/testing/posts.py": (2, "writes down how a send or an ask has ended, then raises on"),
    "vespera_agents/serving/relaying.py": (1, "closes a connection whose question could not be sent, then raises on"),
    "vespera_agents/serving/worker.py": (1, "the outermost boundary: whatever ends a worker becomes an exit status"),
    "vespera_agents/cli/outcomes.py": (1, "the outermost boundary: whatever ends a command becomes an exit status"),
    "vespera_agents/logs/formats.py": (1, "a value's own __str__ runs while it is written down"),
    "vespera_agents/logs/output.py": (1, "a line that cannot be written must not end who wanted to write it"),
    "vespera_agents/serving/protocol/eras.py": (
        1,
        "the boundary of a request: a fault becomes an error without insides",
    ),
    "vespera_agents/serving/protocol/boundary.py": (
        1,
        "a fault of ours reaches the client of a request that is no call as one, and our log whole",
    ),
    "vespera_agents/serving/protocol/measuring.py": (1, "counts a request, whatever ended it, then raises on"),
    "vespera_agents/health/component_checks.py": (1, "a check is foreign code: what it raises is what it says"),
    "vespera_agents/serving/protocol/server.py": (1, "a fault of ours reaches the client as one, and our log whole"),
    "vespera_agents/front/http/door.py": (1, "the boundary of a connection: what breaks it must not end the others"),
    "vespera_agents/serving/transports/http/door.py": (1, "what breaks one connection must not end the others"),
    "vespera_agents/serving/transports/http/sessions.py": (1, "a session that crashes must not end the others"),
    "vespera_agents/providers/wire/provider.py": (1, "what a vendor's library raises may be anything; it becomes ours"),
    "vespera_agents/providers/wire/streaming.py": (2, "as above; and what breaks while it is closed is closed"),
    "vespera_agents/store/writer.py": (2, "rolls back and raises on; the fault of one command is that caller's alone"),
}
"""How many `except Exception` or broader each source module has, and which supervision boundary that is."""

IGNORED_TYPES: Mapping[str, tuple[int, str]] = {}
"""How many pyright rules each source module silences, and why the checker cannot know better."""

MAY_SLEEP: Mapping[str, str] = {
    "supervisors/guardian_process.py": "its own process without trio polls until the groups that it killed are gone",
    "benchmarks/watchdog.py": "threads beside the loop that it keeps busy rest for a moment",
    "tests/health/test_watchdog.py": "blocks an event loop on purpose",
    "tests/front/toy_worker.py": "a real process that hangs or lingers as a test tells it",
    "tests/supervisors/doomed.py": "a real process that is killed while it sleeps",
    "vespera_agents/providers/claude_code/fake.py": "a process of its own that takes as long as a test tells it",
    "tests/supervisors/test_guardian.py": "waits with a bound until real processes are gone",
}
"""Modules that sleep on real time, each with its reason: real processes know no virtual clock."""

MAY_PRINT = ("vespera_agents/cli.py", "vespera_agents/cli/", "vespera_agents/__main__.py")
"""Where the source may print: the commands talk to a person, everything below them reports."""

MAY_BE_SUBCLASSED: Mapping[str, str] = {
    "Actor": "an actor is written by subclassing it",
    "ActorRef": "the face of whatever takes mail, with one implementation here and others wherever mail goes further",
    "Mailbox": "an endpoint is a mailbox with ties and a name on it: a call between them would slow down every tell",
    "TiedMailbox": "the middle of an endpoint, as Mailbox is the base of it",
    "OpenFacts": "the items and phases of a plan that is being read are facts with more fields",
    "AnySupervisor": "the two kinds of supervisors share their life, their questions and their place in the tree",
    "Run": "whatever is simulated, trees or actors, is a run with more in it",
    "Simulated": "simulated actors differ in what their classes say of retries and deadlines",
    "Awaited": "a command and a query are awaited alike, and differ in what the thread is given of them",
    "Request": "a message that wants an answer names its answer's type by subclassing it",
}
"""Public classes that are neither protocols nor data, and that others are meant to subclass, with the reason."""

WORDS = ("TO" + "DO", "FIX" + "ME", "XX" + "X")
HOLLOW = frozenset({"manager", "handler", "helper", "util", "base"})
HOLLOW_MODULES = HOLLOW | {f"{word}s" for word in HOLLOW} | {"common", "core"}
OPEN_BASES = frozenset(
    {"Protocol", "TypedDict", "BaseModel", "RootModel", "NamedTuple", "Enum", "IntEnum", "StrEnum", "Flag"}
)
MACHINE = re.compile(
    r"index[-]url|registry\s*=\s*\S*//|resolved\W+http|(?<![\w.])/(?:h[o]me|r[o]ot|f[a]rm|w[o]rk)/", re.IGNORECASE
)
BARE_IGNORE = re.compile(r"#\s*(?:type|pyright)\s*:\s*ignore(?!\[)")
NAMED_IGNORE = re.compile(r"#\s*(?:type|pyright)\s*:\s*ignore\[")


def long_file(path: str, text: str, reasons: Mapping[str, str] = LONG_MODULES) -> list[str]:
    lines = text.count("\n")
    if lines > LINES_HARD_MAX:
        return [f"{path}: {lines} lines; split it"]
    if lines > LINES_MAX and path not in reasons:
        return [f"{path}: {lines} lines; split it, or give its reason in LONG_MODULES"]
    return []


def long_functions(path: str, text: str, reasons: Mapping[str, str] = LONG_FUNCTIONS) -> list[str]:
    return [
        f"{path}:{node.lineno}: {node.name} spans {length + 1} lines; keep branching, move the rest below"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (length := (node.end_lineno or node.lineno) - node.lineno) > FUNCTION_LINES_MAX
        and f"{path}:{node.name}" not in reasons
    ]


def banned_words(path: str, text: str) -> list[str]:
    return [
        f"{path}:{number}: {word}: do it, or open an issue"
        for number, line in enumerate(text.splitlines(), 1)
        for word in WORDS
        if re.search(rf"\b{word}\b", line)
    ]


def hollow_names(path: str, text: str) -> list[str]:
    complaints = []
    place = PurePosixPath(path)
    for part in (*place.parts[:-1], place.stem):
        words = part.strip("_").lower().split("_")
        if part in HOLLOW_MODULES or {words[0], words[-1]} & HOLLOW_MODULES - {"common", "core"}:
            complaints.append(f"{path}: the module name {part} says nothing; name the idea")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            words = [word.lower().removesuffix("s") for word in re.findall(r"[A-Z][a-z0-9]*", node.name)] or [""]
            if {words[0], words[-1]} & HOLLOW:
                complaints.append(f"{path}:{node.lineno}: the class name {node.name} says nothing; name the idea")
    return complaints


def count_broad_excepts(text: str) -> int:
    return sum(isinstance(node, ast.ExceptHandler) and _is_broad(node.type) for node in ast.walk(ast.parse(text)))


def _is_broad(caught: ast.expr | None) -> bool:
    if caught is None:
        return True
    kinds = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"} for kind in kinds)


def miscounted(found: Mapping[str, int], allowed: Mapping[str, tuple[int, str]], table: str) -> list[str]:
    """Compare counts with their table, in both directions: a count that fell must be lowered in the table too."""
    return [
        f"{path}: {found.get(path, 0)} found, {allowed.get(path, (0, ''))[0]} allowed; remove it or argue in {table}"
        for path in sorted(found.keys() | allowed.keys())
        if found.get(path, 0) != allowed.get(path, (0, ""))[0]
    ] + [f"{path}: {table} gives no reason" for path, (_, reason) in allowed.items() if not reason]


def real_sleeps(path: str, text: str) -> list[str]:
    if path in MAY_SLEEP:
        return []
    return [
        f"{path}:{node.lineno}: a real sleep; wait for the event, on trio's clock"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep"
    ]


def fakes_without_semantics(path: str, text: str) -> list[str]:
    word = "mo" + "ck"
    return [
        f"{path}:{number}: {word}: test the real part, or a fake that ships with real semantics"
        for number, line in enumerate(text.splitlines(), 1)
        if word in line
    ]


def bare_ignores(path: str, text: str) -> list[str]:
    return [
        f"{path}:{number}: names no rule; silence one rule in brackets or none"
        for number, line in enumerate(text.splitlines(), 1)
        if BARE_IGNORE.search(line)
    ]


def prints(path: str, text: str) -> list[str]:
    if path.startswith(MAY_PRINT):
        return []
    return [
        f"{path}:{node.lineno}: prints; report through a listener, a log or a result"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def missing_docstring(path: str, text: str) -> list[str]:
    if ast.get_docstring(ast.parse(text)):
        return []
    return [f"{path}: no docstring; say what it is, what it is not, who its neighbours are"]


def missing_all(path: str, text: str) -> list[str]:
    if not path.endswith("__init__.py") or re.search(r"^__all__\b", text, re.MULTILINE):
        return []
    return [f"{path}: no __all__; a package says what it offers"]


def machine_marks(path: str, text: str) -> list[str]:
    return [
        f"{path}:{number}: an address of a registry or a path of one machine; neither belongs here"
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE.search(line)
    ]


def open_classes(files: Mapping[str, str]) -> list[str]:
    """Find public classes that anyone could subclass though nobody should; data, enums and errors are exempt."""
    classes = [
        (path, node)
        for path, text in files.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef)
    ]
    exempt = set(OPEN_BASES) | {"Exception", "BaseException", "ExceptionGroup", "BaseExceptionGroup"}
    grown = True
    while grown:
        inheriting = {node.name for _, node in classes if exempt & _bases(node) - {"Protocol"}}
        grown = not inheriting <= exempt
        exempt |= inheriting
    return [
        f"{path}:{node.lineno}: {node.name} is open; mark it @final, or give its reason in MAY_BE_SUBCLASSED"
        for path, node in classes
        if not node.name.startswith("_")
        and node.name not in MAY_BE_SUBCLASSED
        and not _bases(node) & (exempt | {"Warning"})
        and not any(name.endswith(("Error", "Warning")) for name in _bases(node))
        and not any(ast.unparse(mark) in {"final", "typing.final"} for mark in node.decorator_list)
    ]


def _bases(node: ast.ClassDef) -> set[str]:
    return {ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases}


def crowded_root(names: list[str]) -> list[str]:
    files = sorted(name for name in names if "/" not in name)
    if len(files) <= ROOT_FILES_MAX:
        return []
    return [f"{len(files)} files in the root, {ROOT_FILES_MAX} are enough: {', '.join(files)}"]


def large_files(sizes: Mapping[str, int]) -> list[str]:
    return [f"{path}: {size} bytes; a repository is no store" for path, size in sizes.items() if size > FILE_BYTES_MAX]


def unannounced(text: str) -> list[str]:
    return [] if re.search(r"^## \[Unreleased\]", text, re.MULTILINE) else ["CHANGELOG.md: no Unreleased entry"]


def tracked_files() -> list[str]:
    """Every file that git has or would take; in a copy without git, every file that no tool has made."""
    try:
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard", "--full-name"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        names = [name for name in listed.stdout.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        names = []
    if "pyproject.toml" not in names:
        names = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if _is_ours(path)]
    return sorted({name for name in names if (ROOT / name).is_file()})


def _is_ours(path: Path) -> bool:
    parts = path.relative_to(ROOT).parts
    return not NOT_OURS.intersection(parts) and not any(part.endswith(("_cache", ".egg-info")) for part in parts)


FILES = tracked_files()


def texts(suffix: str = "", under: tuple[str, ...] = ("",)) -> Iterator[tuple[str, str]]:
    """Read the tracked text files with this suffix below these folders."""
    for name in FILES:
        if name.endswith(suffix) and name.startswith(under):
            try:
                yield name, (ROOT / name).read_text(encoding="utf-8")
            except (UnicodeDecodeError, FileNotFoundError):
                continue


PYTHON = ("supervisors/", "vespera_agents/", "tests/", "benchmarks/", "examples/", "grafana/")
RULES: list[tuple[Callable[[str, str], list[str]], tuple[str, ...]]] = [
    (long_file, SOURCE),
    (long_functions, (*SOURCE, "benchmarks/", "examples/", "grafana/")),
    (banned_words, PYTHON),
    (hollow_names, (*SOURCE, "tests/", "examples/", "grafana/")),
    (real_sleeps, PYTHON),
    (fakes_without_semantics, PYTHON),
    (bare_ignores, PYTHON),
    (prints, SOURCE),
    (missing_docstring, PYTHON),
    (missing_all, SOURCE),
]
"""Each rule over Python text, and where it holds."""

BAD: list[tuple[Callable[[str, str], list[str]], str, str]] = [
    (long_file, "supervisors/a.py", "\n" * 401),
    (long_file, "supervisors/a.py", "\n" * 601),
    (long_functions, "supervisors/a.py", "def f():\n" + "    pass\n" * 81),
    (banned_words, "tests/a.py", "# " + WORDS[0] + ": later"),
    (hollow_names, "supervisors/a.py", "class ChildManager: ..."),
    (hollow_names, "supervisors/a.py", "class BaseChild: ..."),
    (hollow_names, "supervisors/a.py", "class PathUtils: ..."),
    (hollow_names, "supervisors/utils.py", ""),
    (hollow_names, "supervisors/path_helpers.py", ""),
    (hollow_names, "supervisors/core/a.py", ""),
    (real_sleeps, "tests/a.py", "import time\ntime.sleep(1)"),
    (fakes_without_semantics, "tests/a.py", "from unittest import " + "mo" + "ck"),
    (bare_ignores, "supervisors/a.py", "x = y  # type" + ": ignore"),
    (bare_ignores, "supervisors/a.py", "x = y  # pyright" + ": ignore  # so"),
    (prints, "supervisors/a.py", "print(1)"),
    (missing_docstring, "supervisors/a.py", "x = 1"),
    (missing_all, "supervisors/__init__.py", "x = 1"),
    (machine_marks, "docs/a.md", "see /" + "home/me/notes"),
    (machine_marks, "constraints.txt", "--extra-index" + "-url x"),
]
GOOD: list[tuple[Callable[[str, str], list[str]], str, str]] = [
    (long_file, "supervisors/a.py", "\n" * 400),
    (long_functions, "supervisors/a.py", "def f():\n" + "    pass\n" * 80),
    (hollow_names, "supervisors/a.py", "class Baseline: ...\nclass Database: ..."),
    (real_sleeps, "tests/a.py", "program = 'import time; time.sleep(60)'"),
    (bare_ignores, "supervisors/a.py", "x = y  # pyright" + ": ignore[reportPrivateUsage]"),
    (prints, "vespera_agents/cli.py", "print(1)"),
    (missing_all, "supervisors/__init__.py", "__all__ = ['x']"),
    (machine_marks, "docs/a.md", "vespera_agents/work/ holds the rules"),
]


def expect_none(complaints: list[str]) -> None:
    """Fail with every complaint on its own line."""
    assert not complaints, "\n" + "\n".join(complaints)


@pytest.mark.parametrize(("rule", "places"), RULES, ids=lambda value: getattr(value, "__name__", ""))
def test_the_tree_keeps_the_rule(rule: Callable[[str, str], list[str]], places: tuple[str, ...]) -> None:
    expect_none([complaint for path, text in texts(".py", places) for complaint in rule(path, text)])


@pytest.mark.parametrize(("rule", "path", "text"), BAD)
def test_a_broken_rule_is_found(rule: Callable[[str, str], list[str]], path: str, text: str) -> None:
    assert rule(path, text)


@pytest.mark.parametrize(("rule", "path", "text"), GOOD)
def test_a_kept_rule_is_left_alone(rule: Callable[[str, str], list[str]], path: str, text: str) -> None:
    assert rule(path, text) == []


def test_every_broad_except_is_counted_with_its_reason() -> None:
    found = {path: count for path, text in texts(".py", SOURCE) if (count := count_broad_excepts(text))}
    expect_none(miscounted(found, BROAD_EXCEPTS, "BROAD_EXCEPTS"))


def test_every_silenced_type_rule_is_counted_with_its_reason() -> None:
    found = {path: count for path, text in texts(".py", SOURCE) if (count := len(NAMED_IGNORE.findall(text)))}
    expect_none(miscounted(found, IGNORED_TYPES, "IGNORED_TYPES"))


def test_a_count_that_differs_in_either_direction_is_found() -> None:
    text = "try: ...\nexcept (ValueError, Exception): ...\ntry: ...\nexcept: ...\ntry: ...\nexcept OSError: ..."
    assert count_broad_excepts(text) == 2
    assert miscounted({"a.py": 2}, {"a.py": (2, "a boundary")}, "T") == []
    assert miscounted({"a.py": 2}, {"a.py": (1, "a boundary")}, "T")
    assert miscounted({}, {"a.py": (1, "a boundary")}, "T")
    assert miscounted({"a.py": 1}, {"a.py": (1, "")}, "T")


def test_every_public_class_is_final_or_meant_to_be_subclassed() -> None:
    expect_none(open_classes(dict(texts(".py", SOURCE))))


def test_an_open_class_is_found_and_data_enums_and_errors_are_not() -> None:
    closed = """
@final
class Worker: ...
class Listener(Protocol): ...
class Lost(VesperaError): ...
class VesperaError(Exception): ...
class Later(Lost): ...
class Mode(StrEnum): ...
class Row(Model): ...
class Model(pydantic.BaseModel): ...
class _Inner: ...
class Request(Generic[R]): ...
"""
    assert open_classes({"a.py": closed}) == []
    assert len(open_classes({"a.py": "class Worker: ...", "b.py": "@dataclass\nclass Spec(Listener): ..."})) == 2


def test_no_tracked_text_names_a_machine_or_a_registry() -> None:
    expect_none([complaint for path, text in texts() for complaint in machine_marks(path, text)])


def test_the_root_has_at_most_eight_files() -> None:
    assert "pyproject.toml" in FILES
    expect_none(crowded_root(FILES))
    assert crowded_root([f"{number}.md" for number in range(9)])


def test_no_file_is_over_a_megabyte() -> None:
    expect_none(large_files({name: (ROOT / name).stat().st_size for name in FILES}))
    assert large_files({"a.bin": FILE_BYTES_MAX + 1})


def test_the_changelog_has_an_unreleased_entry() -> None:
    assert unannounced((ROOT / "CHANGELOG.md").read_text(encoding="utf-8")) == []
    assert unannounced("# Changelog\n\n## [1.0.0]\n")


def test_no_test_folder_is_a_package() -> None:
    """A test folder named as a package is (tests/supervisors) would hide that package if it were one itself."""
    assert [name for name in FILES if name.startswith("tests/") and name.endswith("__init__.py")] == []


def test_constraints_pin_names_to_versions_and_nothing_else() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert lines
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+", line)] == []


@pytest.mark.parametrize(("ci", "status", "verdict"), [("true", 1, "1 failed, 1 error"), ("", 0, "2 skipped")])
def test_a_skip_is_a_failure_in_ci_and_only_there(tmp_path: Path, ci: str, status: int, verdict: str) -> None:
    """Run this project's own conftest over one test that skips itself, and one module that does."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "test_one.py").write_text("import pytest\ndef test_it(): pytest.skip('no promtool here')\n")
    (tmp_path / "test_two.py").write_text("import pytest\npytest.importorskip('no_such_module_at_all')\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--continue-on-collection-errors", "."],
        cwd=tmp_path,
        env={**os.environ, "CI": ci, "PYTEST_ADDOPTS": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == status, done.stdout
    assert verdict in done.stdout.splitlines()[-1]
    assert not ci or "no promtool here" in done.stdout
