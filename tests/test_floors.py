"""The floors: which part of the project may import which, proved by reading the imports.

Imports under TYPE_CHECKING and inside functions count: a type that leaks upwards is a dependency too. The rules are
pure functions over source text, so each is also shown to fail on a small bad sample. What a module may be named or how
long it may be is the business of `test_tidy.py`.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("supervisors", "vespera_agents")
FLOORS_0_TO_2 = frozenset({"supervisors", "front", "workspace", "work", "context", "actors", "logs"})
FLOORS_0_TO_3 = FLOORS_0_TO_2 | {"store", "providers", "capabilities"}
FLOORS_0_TO_4 = FLOORS_0_TO_3 | {"specialists"}
FLOORS_0_TO_5 = FLOORS_0_TO_4 | {"health", "serving"}
TOP_FLOOR = frozenset({"installing", "cli", "__main__"})

MAY_IMPORT: Mapping[str, frozenset[str]] = {
    "supervisors": frozenset(),
    "front": frozenset({"supervisors"}),
    "workspace": frozenset({"supervisors", "front"}),
    "work": frozenset(),
    "logs": frozenset(),
    "context": frozenset(),
    "actors": frozenset({"supervisors"}),
    "store": FLOORS_0_TO_2,
    "providers": FLOORS_0_TO_2,
    # `providers.exchange`, which is words without a provider: a tool is offered and asked for in them.
    "capabilities": FLOORS_0_TO_2 | {"providers"},
    "specialists": FLOORS_0_TO_3,
    "health": FLOORS_0_TO_4,
    "serving": FLOORS_0_TO_4 | {"health"},
    "installing": FLOORS_0_TO_5 | TOP_FLOOR,
    "cli": FLOORS_0_TO_5 | TOP_FLOOR,
    "__main__": FLOORS_0_TO_5 | TOP_FLOOR,
    "(root)": FLOORS_0_TO_5 | TOP_FLOOR,
}
"""Which wings each wing may import; `(root)` is `vespera_agents/__init__.py`, which re-exports for an embedder."""

EVERY_IMPURE_WING = frozenset(MAY_IMPORT) - {"work", "context"}
MAY_BE_IMPORTED_BY: Mapping[str, frozenset[str]] = {
    "trio": EVERY_IMPURE_WING,
    "tiktoken": frozenset({"context"}),
    "pydantic_ai": frozenset({"providers"}),
    "genai_prices": frozenset({"providers"}),
    "openai": frozenset({"providers"}),
    "anthropic": frozenset({"providers"}),
    "groq": frozenset({"providers"}),
    "cohere": frozenset({"providers"}),
    "httpx": frozenset({"providers"}),
    "httpx2": frozenset({"providers"}),
    "trio_asyncio": frozenset({"actors"}),
    "regex": frozenset({"capabilities"}),
    "pydantic": frozenset(MAY_IMPORT) - {"supervisors", "front", "actors"},
    "opentelemetry": frozenset({"actors"}),
    "outcome": frozenset({"actors", "store"}),
    "pydantic_core": frozenset({"serving"}),
    "h11": frozenset({"front", "providers", "specialists"}),
    "hypercorn": frozenset({"serving"}),
    "markdown_it": frozenset({"work", "capabilities"}),
    "yaml": frozenset({"work", "specialists"}),
    "mcp": frozenset({"serving"}),
    "mcp_types": frozenset({"serving"}),
    "prometheus_client": frozenset({"health"}),
    "click": TOP_FLOOR,
    "rich": TOP_FLOOR,
    "textual": frozenset({"cli"}),
}
"""Which wings each third-party package may be imported by. One that is not here is not a dependency of this project."""


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module, where it is imported, and whether that happens at run time."""

    target: str
    line: int
    at_run_time: bool


def module_name(path: Path, root: Path = ROOT) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_tree(root: Path = ROOT) -> dict[str, str]:
    """Every module of both packages, by name; a package's own name stands for its `__init__`."""
    paths = [path for package in OURS for path in sorted((root / package).rglob("*.py"))]
    return {module_name(path, root): path.read_text(encoding="utf-8") for path in paths}


def wing_of(module: str) -> str:
    first, _, rest = module.partition(".")
    if first != "vespera_agents":
        return first
    return rest.split(".")[0] if rest else "(root)"


def imports_of(module: str, modules: Mapping[str, str]) -> list[Import]:
    """Read a module's imports; `from package import module` counts as an import of that module."""
    is_package = any(name.startswith(f"{module}.") for name in modules) or module in OURS
    return list(_walk(ast.parse(modules[module]), module, is_package, modules, at_run_time=True))


def _walk(
    node: ast.AST, module: str, is_package: bool, modules: Mapping[str, str], *, at_run_time: bool
) -> Iterator[Import]:
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for child in node.body:
            yield from _walk(child, module, is_package, modules, at_run_time=False)
        for child in node.orelse:
            yield from _walk(child, module, is_package, modules, at_run_time=at_run_time)
        return
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, node.lineno, at_run_time)
    elif isinstance(node, ast.ImportFrom):
        parents = module.split(".") if is_package else module.split(".")[:-1]
        above = parents[: len(parents) - node.level + 1] if node.level else []
        source = ".".join([*above, *([node.module] if node.module else [])])
        for alias in node.names:
            inner = f"{source}.{alias.name}"
            yield Import(inner if inner in modules else source, node.lineno, at_run_time)
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, module, is_package, modules, at_run_time=at_run_time)


def unknown_wings(modules: Mapping[str, str]) -> list[str]:
    wings = {wing_of(name) for name in modules}
    return [
        f"{wing}: a new wing; add it to MAY_IMPORT in tests/test_floors.py with the floor that the design gives it"
        for wing in sorted(wings - MAY_IMPORT.keys())
    ]


def forbidden_imports(modules: Mapping[str, str]) -> list[str]:
    """Return one complaint for each import that the tables do not allow."""
    complaints: list[str] = []
    for module in sorted(modules):
        wing = wing_of(module)
        for found in imports_of(module, modules):
            target = wing_of(found.target)
            where = f"{module}:{found.line} imports {found.target}"
            top = found.target.partition(".")[0]
            if top in OURS:
                if target not in {wing, "(root)"} and target not in MAY_IMPORT.get(wing, frozenset()):
                    complaints.append(f"{where}: {wing} may not import {target}")
            elif top not in sys.stdlib_module_names:
                allowed = MAY_BE_IMPORTED_BY.get(top)
                if allowed is None:
                    complaints.append(f"{where}: not a dependency; declare it, give its reason, list it in this test")
                elif wing not in allowed:
                    complaints.append(f"{where}: {top} is only for {', '.join(sorted(allowed))}")
    return list(dict.fromkeys(complaints))


def own_root_imports(modules: Mapping[str, str]) -> list[str]:
    """Members import siblings; an import of a package's root from inside would run every sibling first."""
    complaints: list[str] = []
    for module in sorted(modules):
        parents = {module.rsplit(".", count)[0] for count in range(1, module.count(".") + 1)}
        complaints.extend(
            f"{module}:{found.line} imports its own package root {found.target}; import the sibling module"
            for found in imports_of(module, modules)
            if found.target in parents
        )
    return list(dict.fromkeys(complaints))


def cycles(modules: Mapping[str, str]) -> list[list[str]]:
    """Return the import cycles among our modules at run time: strongly connected components of two or more."""
    graph = {
        module: sorted({found.target for found in imports_of(module, modules) if found.at_run_time} & modules.keys())
        for module in modules
    }
    reached = {module: _reachable(module, graph) for module in graph}
    groups = {
        frozenset(other for other in reached[module] if module in reached[other])
        for module in graph
        if module in reached[module]
    }
    return sorted(sorted(group) for group in groups)


def _reachable(start: str, graph: Mapping[str, list[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting.extend(graph[module])
    return seen


def expect_none(complaints: list[str]) -> None:
    """Fail with every complaint on its own line."""
    assert not complaints, "\n" + "\n".join(complaints)


@pytest.fixture(scope="module")
def modules() -> dict[str, str]:
    return read_tree()


def test_every_wing_has_its_floor(modules: dict[str, str]) -> None:
    assert modules, "neither package was found"
    expect_none(unknown_wings(modules))


def test_every_wing_imports_lower_floors_only(modules: dict[str, str]) -> None:
    expect_none(forbidden_imports(modules))


def test_no_module_imports_its_own_package_root(modules: dict[str, str]) -> None:
    expect_none(own_root_imports(modules))


def test_no_modules_import_each_other_in_a_cycle(modules: dict[str, str]) -> None:
    expect_none([" <-> ".join(cycle) for cycle in cycles(modules)])


def loaded_by(statement: str) -> set[str]:
    """Return the top-level names that a fresh interpreter has loaded after the statement."""
    program = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_actors_alone_load_neither_mcp_nor_pydantic() -> None:
    loaded = loaded_by("import vespera_agents.actors")
    assert "trio" in loaded
    assert (
        loaded
        & {"mcp", "mcp_types", "pydantic", "pydantic_core", "click", "rich", "prometheus_client", "opentelemetry"}
        == set()
    )


def test_the_supervisors_alone_load_nothing_of_the_product() -> None:
    loaded = loaded_by("import supervisors")
    assert loaded & {"vespera_agents", "mcp", "pydantic", "click", "rich", "prometheus_client"} == set()


def test_the_root_of_the_product_loads_no_library_until_a_name_is_asked_for() -> None:
    loaded = loaded_by("import vespera_agents")
    assert loaded & {"trio", "mcp", "pydantic", "click", "rich", "prometheus_client"} == set()


BAD_IMPORTS = {
    "upwards": ("vespera_agents.work.graph", "from vespera_agents.store import Store"),
    "upwards for types only": (
        "vespera_agents.actors.cell",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from vespera_agents.work.models import Task",
    ),
    "upwards inside a function": ("supervisors.tree", "def f():\n    import vespera_agents.actors"),
    "sideways": ("vespera_agents.store.writer", "import vespera_agents.capabilities.commands"),
    "upwards by a relative name": ("vespera_agents.store.writer", "from ..serving import tools"),
    "health asks serving": (
        "vespera_agents.health.metrics.collector",
        "from vespera_agents.serving.tools.catalogue import TOOL_NAMES",
    ),
    "a library that is not for this wing": ("vespera_agents.actors.cell", "import pydantic"),
    "a library for the pure core": ("vespera_agents.work.graph", "import trio"),
    "mcp outside serving": ("vespera_agents.specialists.facade", "from mcp.server import Server"),
    "a library that nobody declared": ("vespera_agents.store.writer", "import sqlalchemy.orm"),
}
GOOD_IMPORTS = {
    "downwards": (
        "vespera_agents.store.writer",
        "from vespera_agents.actors import Actor\nimport supervisors",
    ),
    "a sibling": ("vespera_agents.store.writer", "from vespera_agents.store.schema import VERSION"),
    "serving asks health": (
        "vespera_agents.serving.tools",
        "from vespera_agents.health.checks import Grade",
    ),
    "a library for this wing": ("vespera_agents.serving.tools", "import mcp.types, pydantic, trio"),
}


@pytest.mark.parametrize("case", BAD_IMPORTS)
def test_a_forbidden_import_is_found(case: str) -> None:
    module, text = BAD_IMPORTS[case]
    assert len(forbidden_imports({module: text})) == 1


@pytest.mark.parametrize("case", GOOD_IMPORTS)
def test_an_allowed_import_is_left_alone(case: str) -> None:
    module, text = GOOD_IMPORTS[case]
    assert forbidden_imports({module: text}) == []


def test_a_new_wing_is_refused_with_what_to_do() -> None:
    assert "add it to MAY_IMPORT" in unknown_wings({"vespera_agents.novelty.things": ""})[0]


@pytest.mark.parametrize("text", ["import supervisors", "from supervisors import Supervisor", "from . import Restart"])
def test_an_import_of_the_own_root_is_found(text: str) -> None:
    assert len(own_root_imports({"supervisors": "", "supervisors.tree": text})) == 1


def test_a_sibling_named_through_the_root_is_no_import_of_the_root() -> None:
    modules = {"supervisors": "", "supervisors.tree": "from supervisors import specs", "supervisors.specs": ""}
    assert own_root_imports(modules) == []


def test_a_cycle_is_found_and_one_that_only_types_make_is_not() -> None:
    modules = {
        "supervisors.a": "from supervisors.b import B",
        "supervisors.b": "def f():\n    from supervisors.c import C",
        "supervisors.c": "import supervisors.a",
        "supervisors.d": "from supervisors.a import A",
        "supervisors.e": "from supervisors.f import F",
        "supervisors.f": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from supervisors.e import E",
    }
    assert cycles(modules) == [["supervisors.a", "supervisors.b", "supervisors.c"]]
