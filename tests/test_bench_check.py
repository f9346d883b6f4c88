"""`make bench-check`: reading the counters, the verdicts, which trees are compared, and a whole run on a small one.

The repository of the last tests holds a package of its own with its own loops, because starting trio below callgrind
takes longer than all that is counted. That the real loops run is shown uncounted.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from benchmarks.instructions import counting
from benchmarks.instructions.__main__ import LOOPS, ROOT, main
from benchmarks.instructions.counting import (
    CannotMeasureError,
    callgrind_total,
    check,
    find_counter,
    per_message,
    perf_total,
)
from benchmarks.instructions.trees import choose, git, laid_out
from benchmarks.instructions.verdicts import Compared, Verdict, spread, table

CALLGRIND = """\
# callgrind format
version: 1
pid: 71
cmd:  python -P measured.py
events: Ir
fn=(1) totals: 3
0 12
summary: 643586640
totals: 643586640
"""
TINY_LOOPS = """
from typing import NamedTuple
from counted import work
PACKAGES = ("counted",)
class Loop(NamedTuple):
    run: object
    few: int
    many: int
def run(count):
    for _ in range(count):
        work()
def later(count):
    from counted import added
    added()
LOOPS = {"work": Loop(run, 1_000, 3_000), "later": Loop(later, 1, 2)}
"""
WORK = "def work():\n    for _ in range({rounds}):\n        pass\ndef {other}():\n    pass\n"


@pytest.fixture
def counter() -> counting.Counter:
    try:
        return find_counter()
    except CannotMeasureError as error:
        pytest.skip(str(error))


def write(repository: Path, text: str) -> None:
    (repository / "counted.py").write_text(text, encoding="utf-8")


def commit(repository: Path, text: str) -> None:
    write(repository, text)
    git(repository, "add", "-A")
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    git(repository, *author, "commit", "-q", "-m", "Work")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a repository with one commit, and a folder for what is temporary, to look into afterwards."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setenv("TMPDIR", str(place))
    root = tmp_path / "repository"
    loops = root / LOOPS
    loops.parent.mkdir(parents=True)
    loops.write_text(TINY_LOOPS, encoding="utf-8")
    (root / ".gitignore").write_text("__pycache__/\n", encoding="utf-8")
    subprocess.run(["git", "init", "-q", str(root)], check=True, timeout=60)
    commit(root, WORK.format(rounds=100, other="other"))
    return root


def left_behind(repository: Path) -> list[str]:
    return [path.name for path in (repository.parent / "temporary").iterdir()]


# What counters write --------------------------------------------------------------------------------------------------


def test_the_total_of_a_callgrind_file_is_its_last_word() -> None:
    assert callgrind_total(CALLGRIND) == 643_586_640
    with pytest.raises(CannotMeasureError, match="killed"):
        callgrind_total(CALLGRIND.partition("summary")[0])


def test_perf_says_a_number_or_that_it_cannot_count() -> None:
    assert perf_total("# started on Thu\n\n4711,,instructions:u,1200,100.00,,\n") == 4711
    with pytest.raises(CannotMeasureError, match="valgrind"):
        perf_total("# started on Thu\n\n<not supported>,,instructions:u,0,100.00,,\n")


def test_what_both_runs_have_in_common_is_in_no_message() -> None:
    start_up = 650_000_000
    assert per_message(start_up + 6_000 * 1_000, start_up + 6_000 * 5_000, 4_000) == 6_000


def test_without_a_counter_it_says_what_to_install_and_ends_with_2(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("PATH", "")
    assert main([]) == 2
    assert "apt-get install valgrind" in capsys.readouterr().err


# Verdicts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "this", "verdict"),
    [
        (1000, 1020, Verdict.SAME),
        (1000, 1020.1, Verdict.SLOWER),
        (1000, 980, Verdict.SAME),
        (1000, 979.9, Verdict.FASTER),
        (None, 1000, Verdict.NEW),
    ],
)
def test_two_percent_more_is_the_same_and_anything_beyond_is_slower(base, this, verdict) -> None:
    row = Compared("tell", base, this)
    assert row.verdict is verdict
    assert verdict.value in table([row])


def test_the_spread_is_relative_to_the_smallest_count() -> None:
    assert spread([1000.0, 1001.0, 1000.5]) == 0.001


# Which trees ----------------------------------------------------------------------------------------------------------


def test_a_first_commit_has_nothing_to_be_compared_with(repository: Path, counter, capsys) -> None:
    assert choose(repository, None) is None
    assert main(["--root", str(repository)]) == 0
    assert "first commit" in capsys.readouterr().out


def test_a_clean_tree_is_compared_with_its_first_parent_and_a_changed_one_with_its_commit(repository: Path) -> None:
    first = git(repository, "rev-parse", "HEAD").strip()
    commit(repository, WORK.format(rounds=101, other="other"))
    second = git(repository, "rev-parse", "HEAD").strip()
    (repository / "notes.md").write_text("no code", encoding="utf-8")
    clean = choose(repository, None)
    write(repository, WORK.format(rounds=102, other="other"))
    changed = choose(repository, None)
    named = choose(repository, first)
    assert (clean.base, changed.base, named.base) == (first, second, first)
    assert "working tree" in changed.this_title
    assert "working tree" not in clean.this_title


def test_of_a_merge_the_first_parent_is_the_base(repository: Path) -> None:
    git(repository, "checkout", "-q", "-b", "side")
    commit(repository, WORK.format(rounds=101, other="other"))
    git(repository, "checkout", "-q", "-")
    (repository / "notes.md").write_text("no code", encoding="utf-8")
    commit(repository, WORK.format(rounds=100, other="other"))
    main_line = git(repository, "rev-parse", "HEAD").strip()
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    git(repository, *author, "merge", "-q", "--no-edit", "side")
    assert choose(repository, None).base == main_line


def test_a_missing_base_and_a_folder_that_is_no_repository_cannot_be_measured(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(CannotMeasureError, match="no commit to compare with"):
        choose(repository, "nowhere")
    with pytest.raises(CannotMeasureError, match="no commit to compare with"):
        choose(tmp_path, None)


def test_both_trees_get_paths_of_one_length_and_the_base_is_removed_after_a_failure(repository: Path) -> None:
    commit(repository, WORK.format(rounds=101, other="other"))
    places = []

    def fail_inside() -> None:
        with laid_out(repository, choose(repository, None)) as (base, this):
            places.extend([base, this])
            assert "range(100)" in (base / "counted.py").read_text(encoding="utf-8")
            assert "range(101)" in (this / "counted.py").read_text(encoding="utf-8")
            raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        fail_inside()
    assert len(str(places[0])) == len(str(places[1]))
    assert left_behind(repository) == []
    assert git(repository, "worktree", "list").count("\n") == 1


# The whole ------------------------------------------------------------------------------------------------------------


def test_a_planted_slow_down_fails(repository: Path, counter, capsys) -> None:
    commit(repository, WORK.format(rounds=105, other="added"))
    assert main(["--root", str(repository)]) == 1
    said = capsys.readouterr().out
    assert "SLOWER" in said
    assert "more than 2% slower: work" in said
    assert "ImportError: cannot import name 'added'" in said, "a loop that only the newer one can run is new"
    assert left_behind(repository) == []


def test_the_same_work_passes_and_its_count_repeats_to_a_hundred_thousandth(repository: Path, counter, capsys) -> None:
    commit(repository, WORK.format(rounds=100, other="added"))
    assert main(["--root", str(repository), "work", "--repeat", "2"]) == 0
    said = capsys.readouterr().out
    apart = next(line for line in said.splitlines() if line.startswith("counts of the same tree lie"))
    assert float(apart.split()[6]) < 1e-5
    assert "same" in said.partition("counts of the same tree")[0]
    assert left_behind(repository) == []


def test_a_loop_that_no_longer_runs_cannot_be_measured(repository: Path, counter, capsys) -> None:
    commit(repository, "def work():\n    raise ValueError('no work')\n")
    assert main(["--root", str(repository), "work"]) == 2
    assert "ValueError: no work" in capsys.readouterr().err
    assert left_behind(repository) == []


def test_an_unknown_loop_is_refused_with_the_names_that_exist(repository: Path, counter, capsys) -> None:
    commit(repository, WORK.format(rounds=101, other="other"))
    assert main(["--root", str(repository), "nothing"]) == 2
    assert "work, later" in capsys.readouterr().err


async def test_packages_from_another_place_than_the_tree_are_refused(tmp_path: Path) -> None:
    loops = tmp_path / "loops.py"
    loops.write_text("import json\nPACKAGES = ('json',)\nLOOPS = {}\n", encoding="utf-8")
    with pytest.raises(CannotMeasureError, match="was imported from"):
        await check(tmp_path, loops, [])


def test_an_interrupt_removes_the_trees(repository: Path, counter) -> None:
    endless = "import os\ndef work():\n    os.kill(os.getppid(), 0)\n"
    commit(repository, endless)
    commit(repository, endless.replace("os.kill(os.getppid(), 0)", "[0 for _ in range(10 ** 9)]"))
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "benchmarks.instructions", "--root", str(repository), "work"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("base:"):
            pass
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "interrupted" in said
    assert left_behind(repository) == []


async def test_every_loop_runs_on_this_tree() -> None:
    answers = await check(ROOT, ROOT / LOOPS, [])
    assert {name for name, loop in answers.items() if loop.error} == set()
    assert {"tell", "ask"} <= answers.keys()
