"""The checks by name: their lines, their exit status, and the program that runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.capabilities.project_kit import Project
from vespera_agents.capabilities.checks.__main__ import main
from vespera_agents.capabilities.checks.catalogue import CHECKS, run_check

ROOT = Path(__file__).resolve().parent.parent.parent


def test_every_check_has_a_name_and_one_line_and_stands_in_the_documents() -> None:
    text = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
    for name, check in CHECKS.items():
        assert check.name == name
        assert check.summary.endswith(".")
        assert "\n" not in check.summary
        assert f"### {name}\n" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("acorns",), "acorns: there is no such check; these are: changelog, contents,"),
        (("links", "README.md"), "links: cannot check: takes no argument, and got README.md"),
        (("wheel", "dist", "build"), "wheel: cannot check: takes one folder of distributions"),
        (("uses",), "uses: cannot check: name what to ask for"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused_with_what_to_do(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    status, lines = Project(tmp_path).check(*arguments)
    assert status == 2
    assert lines[0].startswith(said)


def test_a_directory_that_is_none_is_refused(tmp_path: Path) -> None:
    lines: list[str] = []
    assert run_check("links", tmp_path / "none", write=lines.append) == 2
    assert "is no directory" in lines[0]


def test_a_check_writes_to_standard_output_also_names_that_are_no_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = Project(tmp_path, {"a.py": ""})
    (tmp_path / os.fsdecode(b"b\xff.py")).touch()
    assert main(["git-clean", "--directory", str(project.root)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "b\\udcff.py: git does not know this file; commit, remove or ignore it",
        "git-clean: 1 finding",
    ]


def test_the_program_runs_a_check_on_the_directory_where_it_is(tmp_path: Path) -> None:
    Project(tmp_path, {"README.md": "[x](none.md)"})
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "vespera_agents.capabilities.checks", "links"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[-1] == "links: 1 finding"


def test_the_programs_help_lists_every_check(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(f"  {name}" in text for name in CHECKS)
