"""The walkthrough is true: what two real clients are answered today is what the document shows.

`python -m tests.serving.walkthrough` prints what a run writes down, up to the first thing that goes wrong.
"""

from __future__ import annotations

import difflib

import pytest

from tests.conformance.judges import INSPECTOR, MISSING
from tests.serving.walkthrough.__main__ import DOCUMENT
from tests.serving.walkthrough.story import tell
from tests.serving.walkthrough.transcript import Transcript, as_json, shortened


@pytest.mark.skipif(not INSPECTOR.exists(), reason=MISSING)
async def test_two_real_clients_get_the_answers_that_the_walkthrough_shows() -> None:
    transcript = Transcript()
    await tell(transcript)
    written = DOCUMENT.read_text(encoding="utf-8")
    differences = difflib.unified_diff(
        written.splitlines(), transcript.text().splitlines(), "docs/walkthrough.md", "a run", lineterm="", n=2
    )
    assert written == transcript.text(), "\n".join(["is it as it should be? Then: make document", *differences])


def test_one_id_has_one_name_and_a_prefix_has_the_name_of_what_it_begins() -> None:
    transcript = Transcript()
    assert transcript.named("task_0123456789ab, task_ba9876543210, task_0123456789ab") == "<task 1>, <task 2>, <task 1>"
    assert transcript.named("task_0123") == "<task 1>"
    digest = "0123456789abcdef" * 4
    assert transcript.named(f"{digest} {digest[:12]}") == "<sha256 1> <sha256 1>"


def test_what_differs_from_run_to_run_has_a_name_and_nothing_else() -> None:
    transcript = Transcript()
    transcript.place("/tmp/x/project", "<project>")  # noqa: S108 - nothing is written there
    text = "in /tmp/x/project at 2030-01-02 03:04:05 UTC, 17 bytes, 0.25 s, 1m05s, http://127.0.0.1:8765/mcp, version 3"
    expected = "in <project> at <time>, <size>, <duration>, <duration>, http://127.0.0.1:<port>/mcp, version 3"
    assert transcript.named(text) == expected


def test_a_block_that_holds_a_fence_gets_a_longer_one() -> None:
    transcript = Transcript()
    transcript.block("markdown", "```sh\nls\n```\n")
    assert transcript.text() == "````markdown\n```sh\nls\n```\n````\n"


def test_arguments_are_shown_as_json_that_fits_a_line_or_is_broken_where_it_may_be() -> None:
    assert as_json({"title": "x", "ready": True}) == '{"title": "x", "ready": true}'
    assert as_json({"a": "x" * 90, "b": [1]}) == '{\n  "a": "' + "x" * 90 + '",\n  "b": [1]\n}'


def test_a_long_answer_says_that_there_was_more() -> None:
    assert shortened("a\nb\nc", 2) == "a\nb\n[...]"
    assert shortened("a\nb", 2) == "a\nb"
