"""What pyright makes of the public interface: reply types are inferred, wrong use is an error."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ROOT / "tests" / "typing"


@pytest.fixture(scope="module")
def errors() -> dict[str, set[int]]:
    """The lines that pyright refuses, by file name; all files in one run, because starting it takes seconds."""
    files = sorted(FILES.glob("*.py"))
    answer = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", *map(str, files)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    report = json.loads(answer.stdout)
    assert report["summary"]["filesAnalyzed"] == len(files)
    found: dict[str, set[int]] = {file.name: set() for file in files}
    for each in report["generalDiagnostics"]:
        if each["severity"] == "error":
            found[Path(each["file"]).name].add(each["range"]["start"]["line"] + 1)
    return found


@pytest.mark.parametrize("name", ["actors_good.py", "embedding_good.py"])
def test_good_use_is_accepted_and_reply_types_are_inferred(errors: dict[str, set[int]], name: str) -> None:
    assert errors[name] == set()


@pytest.mark.parametrize("name", ["actors_bad.py", "embedding_bad.py"])
def test_wrong_use_is_refused_line_by_line(errors: dict[str, set[int]], name: str) -> None:
    lines = (FILES / name).read_text(encoding="utf-8").splitlines()
    wanted = {number for number, line in enumerate(lines, start=1) if re.search(r"# error: ", line)}
    assert wanted
    assert errors[name] == wanted
