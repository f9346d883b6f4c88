"""The documents are true: their programs run, their links and commands exist, and nothing public goes unmentioned.

What a program prints is the business of the wing that it shows; here it only has to run. Prose is not judged.
"""

from __future__ import annotations

import gc
import itertools
import os
import re
import subprocess
import sys
import types
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import pytest
import trio
from markdown_it import MarkdownIt
from markdown_it.token import Token
from trio.testing import MockClock

from benchmarks.actors import GOALS
from vespera_agents.cli import app
from vespera_agents.health.metrics.catalogue import CATALOGUE
from vespera_agents.serving.tools.catalogue import TOOL_NAMES

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
ACTORS_GUIDE = ROOT / "docs" / "actors.md"
PROGRAM_SECONDS_MAX = 60
SHELLS = {"", "sh", "bash", "shell", "console", "text"}


def tokens(text: str) -> list[Token]:
    """Return block and inline tokens in one flat list."""
    blocks = MarkdownIt("commonmark").parse(text)
    return [token for block in blocks for token in (block, *(block.children or ()))]


def fences(text: str, languages: Iterable[str]) -> list[str]:
    """Return the contents of the fenced blocks in these languages."""
    wanted = set(languages)
    return [
        token.content for token in tokens(text) if token.type == "fence" and (token.info.split() or [""])[0] in wanted
    ]


def heading_anchors(text: str) -> set[str]:
    """Return the anchors that a reader's browser finds in a document, as GitHub makes them."""
    flat = tokens(text)
    titles = [after.content for token, after in itertools.pairwise(flat) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def dead_links(document: Path, text: str) -> list[str]:
    """Return the local links and pictures of a document that lead nowhere."""
    dead: list[str] = []
    for token in tokens(text):
        link = str(token.attrGet("href") or token.attrGet("src") or "")
        if not link or re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (document.parent / place).resolve() if place else document
        if not target.exists():
            dead.append(f"{document.name}: {link} does not exist")
        elif anchor and target.suffix == ".md":
            there = text if target == document else target.read_text(encoding="utf-8")
            if anchor not in heading_anchors(there):
                dead.append(f"{document.name}: {link}: no such heading")
    return dead


def commands_mentioned(text: str) -> list[str]:
    """Return each command line of ours in shell blocks and in inline code, without its prompt."""
    lines = [line for block in fences(text, SHELLS) for line in block.splitlines()]
    lines += [token.content for token in tokens(text) if token.type == "code_inline"]
    stripped = [re.sub(r"^(?:\$ |\.venv/bin/)+", "", line.strip()) for line in lines]
    return [line for line in stripped if re.match(r"(?:vespera|make) [a-z]", line)]


def unknown_command(line: str, group: click.Group, targets: set[str]) -> str | None:
    """Return what is wrong with a command line that names no command of ours, or None."""
    program, *words = line.split()
    if program == "make":
        named = [word for word in words if re.fullmatch(r"[a-z][a-z-]*", word)]
        return next((f"{line}: no target {word} in the Makefile" for word in named if word not in targets), None)
    command: click.Command = group
    for word in words:
        if not isinstance(command, click.Group) or word.startswith("-"):
            return None
        if word not in command.commands:
            return f"{line}: no command {word}"
        command = command.commands[word]
    return None


def command_paths(group: click.Group, prefix: str = "vespera") -> list[str]:
    """Return every command by its full name."""
    paths: list[str] = []
    for name, command in sorted(group.commands.items()):
        if command.hidden:
            continue
        path = f"{prefix} {name}"
        paths += command_paths(command, path) if isinstance(command, click.Group) else [path]
    return paths


def unmentioned(names: Iterable[str], text: str) -> list[str]:
    """Return the names that the text does not hold as whole words."""
    return [name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)]


def run_program(path: Path, place: Path) -> None:
    """Run a program as a reader would, in an empty directory, and expect it to end well."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, f"{path.name} ended with {done.returncode}:\n{done.stdout}{done.stderr}"


def programs_of_the_guide(text: str) -> list[tuple[str, str | None]]:
    """Return each python block with the text block that follows it at once: what it prints, if the guide says so."""
    shown: list[tuple[str, str | None]] = []
    blocks = MarkdownIt("commonmark").parse(text)
    for index, block in enumerate(blocks):
        if block.type == "fence" and block.info == "python":
            following = [each.content for each in blocks[index + 1 : index + 2] if each.info == "text"]
            shown.append((block.content, following[0] if following else None))
    return shown


def run_block(prelude: str, block: str) -> None:
    """Run a block of the guide after its first block: whole, and then its `main` in virtual time."""
    # A module of its own, for dataclasses and annotations look their names up there.
    module = types.ModuleType("guide")
    for text in (prelude, block):
        exec(compile(text, "docs/actors.md", "exec", dont_inherit=True), vars(module))  # noqa: S102 - our own document.
    main = vars(module).get("main")
    if main is not None:
        trio.run(main, clock=MockClock(autojump_threshold=0))


def makefile_targets() -> set[str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE))


def all_documents() -> str:
    return "\n".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)


def test_every_python_block_of_the_readme_is_a_program_that_runs(tmp_path: Path) -> None:
    programs = fences(README.read_text(encoding="utf-8"), ["python"])
    assert programs, "the README shows no example in a python block"
    for number, text in enumerate(programs):
        program = tmp_path / f"readme_{number}.py"
        program.write_text(text, encoding="utf-8")
        run_program(program, tmp_path)


GUIDE_PROGRAMS = programs_of_the_guide(ACTORS_GUIDE.read_text(encoding="utf-8"))


@pytest.fixture
def restored_collector() -> Iterator[None]:
    """Undo what a block does to the garbage collector of the whole process."""
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)


@pytest.mark.parametrize("number", range(len(GUIDE_PROGRAMS)))
def test_the_programs_of_the_guide_to_actors_run_and_print_what_it_says(
    number: int, capsys: pytest.CaptureFixture[str], restored_collector: None
) -> None:
    block, output = GUIDE_PROGRAMS[number]
    run_block(GUIDE_PROGRAMS[0][0] if number else "", block)
    assert capsys.readouterr().out == (output or "")


def test_a_block_of_the_guide_that_prints_something_else_or_fails_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    text = "```python\nx = 1\n```\n\n```python\nasync def main():\n    print(x)\n```\n\n```text\n2\n```\n"
    (prelude, silent), (block, output) = programs_of_the_guide(text)
    run_block(prelude, block)
    assert (silent, output, capsys.readouterr().out) == (None, "2\n", "1\n")
    with pytest.raises(NameError):
        run_block("", "async def main():\n    print(x)")


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.unmeasured
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_runs(path: Path, tmp_path: Path) -> None:
    run_program(path, tmp_path)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_is_short_and_stands_in_the_documents(path: Path) -> None:
    """A document shows the program verbatim in a python block, or links to it."""
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 60
    shown = any(text.strip() == block.strip() for block in fences(all_documents(), ["python"]))
    assert shown or f"examples/{path.name})" in all_documents()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_local_links_lead_somewhere(document: Path) -> None:
    assert dead_links(document, document.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_commands_that_a_document_names_exist(document: Path) -> None:
    lines = commands_mentioned(document.read_text(encoding="utf-8"))
    assert [found for line in lines if (found := unknown_command(line, app, makefile_targets()))] == []


def test_every_command_is_documented() -> None:
    paths = command_paths(app)
    assert "vespera run" in paths
    assert unmentioned(paths, all_documents()) == []


def test_every_tool_is_documented() -> None:
    assert len(TOOL_NAMES) >= 13
    assert unmentioned(TOOL_NAMES, all_documents()) == []


def test_every_metric_is_documented() -> None:
    names = [family.name for family in CATALOGUE]
    assert names
    assert unmentioned(names, all_documents()) == []


def table_rows(text: str) -> list[list[str]]:
    """Return the cells of every line of every table."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_the_performance_document_judges_by_the_goals_of_the_benchmark() -> None:
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    written = {row[0]: row[5] for row in table_rows(text) if len(row) == 8 and row[5].startswith("at ")}
    assert written == {name: f"{goal.goal_is} {goal.ratio:g}" for name, goal in GOALS.items()}


def unknown_settings(text: str) -> list[str]:
    """Return what a table of limits says is set in a file, and is not: names and files in backticks, or `there`."""
    unknown: list[str] = []
    place = ""
    for row in table_rows(text):
        *names, file = re.findall(r"`([^`]+)`", row[-1]) or [""]
        if file.endswith(".py"):
            place = file
        elif "there" in row[-1].split():
            names.append(file)
        else:
            continue
        lines = (ROOT / place).read_text(encoding="utf-8")
        unknown += [f"{place}: {name}" for name in names if not re.search(rf"^ *{name}\b.* = ", lines, re.MULTILINE)]
    return unknown


def test_the_limits_that_operations_names_are_set_where_it_says() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8").partition("## Sizes and limits")[2]
    assert len(table_rows(text)) > 10
    assert unknown_settings(text) == []
    wrong = text.replace("`PENDING_MAX`", "`MAX_PENDING`").replace("`bytes_max`", "`bites_max`")
    assert [one.partition(": ")[2] for one in unknown_settings(wrong)] == ["bites_max", "MAX_PENDING"]


def test_every_make_target_that_is_listed_exists_and_the_two_commands_are_in_the_readme() -> None:
    assert {"setup", "run", "check", "test", "bench", "bench-peers"} <= makefile_targets()
    assert unmentioned(["make run", "make test"], README.read_text(encoding="utf-8")) == []


def test_a_dead_link_and_a_dead_anchor_are_found(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    text = (
        "# One thing\n[a](b.md) [c](#one-thing) [d](#other) [e](https://example.org/x) ![f](f.svg) [g](a.md#one-thing)"
    )
    document.write_text(text, encoding="utf-8")
    assert len(dead_links(document, text)) == 3


def test_a_command_that_does_not_exist_is_found_in_blocks_and_in_inline_code() -> None:
    group = click.Group(
        "vespera", commands=[click.Command("run"), click.Group("plan", commands=[click.Command("show")])]
    )
    text = (
        "Say `vespera fly`.\n```sh\n$ vespera run plan.md\nvespera plan show a.md\nvespera plan hide\n"
        "make moan\nmake run WORKERS=2\n```\n```json\nvespera lie\n```\n"
    )
    lines = commands_mentioned(text)
    found = [unknown_command(line, group, {"run"}) for line in lines]
    assert [complaint for complaint in found if complaint] == [
        "vespera plan hide: no command hide",
        "make moan: no target moan in the Makefile",
        "vespera fly: no command fly",
    ]
    assert command_paths(group) == ["vespera plan show", "vespera run"]


def test_a_name_that_is_only_part_of_another_counts_as_unmentioned() -> None:
    assert unmentioned(["orchestrator_plan"], "see `orchestrator_plan_task`") == ["orchestrator_plan"]


def test_a_program_that_fails_is_found(tmp_path: Path) -> None:
    program = tmp_path / "bad.py"
    program.write_text("raise SystemExit('no')", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"bad\.py ended with 1"):
        run_program(program, tmp_path)
