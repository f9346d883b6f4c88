"""The table in docs/supervision.md lists every case of OTP's suite, and says of each what is true."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "supervision.md"
ROW = re.compile(r"^\| [a-zA-Z]+ \| (\w+) \| (.+) \|$", re.MULTILINE)
ERLANG_ONLY = {"external_start_no_progress_log", "get_callback_module", "format_log_1", "format_log_2"}


def names_of_tests() -> list[str]:
    return [
        node.name.removeprefix("test_")
        for path in sorted(HERE.glob("test_otp_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]


def test_the_table_names_all_93_cases_and_each_passes_as_a_test_or_has_its_reason():
    table = PAGE.read_text(encoding="utf-8").partition("## OTP's own cases")[2]
    rows = dict(ROW.findall(table))
    assert len(rows) == len(ROW.findall(table)) == 93
    names = names_of_tests()
    for name, verdict in rows.items():
        assert names.count(name) == (1 if verdict == "pass" else 0), name
        assert verdict == "pass" or verdict.startswith("not applicable: "), name
    assert {name for name, verdict in rows.items() if verdict != "pass"} == ERLANG_ONLY
