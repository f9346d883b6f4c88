"""How lines of the log are written: whatever a value holds, it does no harm."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from supervisors import Failure
from vespera_agents.logs import ConsoleFormatter, JsonFormatter, LogFormat, correlated, log_event
from vespera_agents.logs.formats import LINE_MAX, STRING_MAX, TRACEBACK_LINES_MAX, console_lines, formatter_for


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("no words")


HOSTILE = {
    "newline": "a\nb\r\n\x0b\x85\u2028\u2029c",
    "quotes": """'"\\`{}%s %(x)s {0}""",
    "terminal": "\x1b[2J\x1b]0;gone\x07\x9b31m",
    "directions": "\u202egnp.exe\u2066",
    "long": "x" * 10_000,
    "surrogate": "\udfff\ud800",
    "bytes": b"\x00\xff",
    "infinite": float("inf"),
    "nothing": float("nan"),
    "huge": 10**5_000,
    "object": Unspeakable(),
    "deep": [[[[[[["down"]]]]]]],
    "many": list(range(10_000)),
    'key "\n\x1b=': {"in\nside": {1: Unspeakable()}},
    "at": "never",
    "event": "something else",
}


@pytest.fixture
def written():
    """Log to a list."""
    logger = logging.getLogger("test of formats")
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(Keep())
    yield logger, records
    logger.handlers.clear()


def hostile_record(written) -> logging.LogRecord:
    logger, records = written
    words = "boo\n\x1b[31m" + "y" * 10_000
    log_event(logger, logging.WARNING, words, **{name: value for name, value in HOSTILE.items() if name != "event"})
    return records[-1]


def test_json_is_one_line_of_ascii_whatever_the_values_are(written):
    text = JsonFormatter().format(hostile_record(written))
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < 60_000
    line = json.loads(text)
    assert line["newline"] == HOSTILE["newline"]
    assert line["quotes"] == HOSTILE["quotes"]
    assert line["long"].startswith("x" * STRING_MAX)
    assert line["long"].endswith("(10000 characters)")
    assert line["infinite"] == "inf"
    assert line["nothing"] == "nan"
    assert "bits" in line["huge"]
    assert "Unspeakable" in line["object"]
    assert line["many"][:3] == [0, 1, 2]
    assert (line["level"], line["logger"]) == ("warning", "test of formats")
    assert line["event"].startswith("boo\n")
    assert line["at"].startswith("20")


def test_the_console_is_one_printable_line_whatever_the_values_are(written):
    text = ConsoleFormatter().format(hostile_record(written))
    assert text.isprintable()
    assert "\\x1b[2J" in text or "\\u001b[2J" in text
    # One written line is what another program reads back from JSON.
    assert console_lines(json.loads(JsonFormatter().format(hostile_record(written))))[0][24:] == text[24:]


def test_what_is_plain_reads_like_words(written):
    logger, records = written
    with correlated(session="session_1", task="task_2", request=7, tool="orchestrator_execute_task"):
        log_event(logger, logging.INFO, "call", outcome="answered", seconds=0.25, ok=True, who=None, line="a b")
        text = ConsoleFormatter().format(records[-1])
    assert text.endswith(
        " INFO test of formats: call session=session_1 task=task_2 request=7 tool=orchestrator_execute_task "
        'outcome=answered seconds=0.25 ok=true who=null line="a b"'
    )


def test_a_line_that_would_be_too_long_keeps_its_words_and_its_error(written):
    logger, records = written
    big = {f"field{number}": ["x" * 1_900] * 60 for number in range(10)}
    log_event(logger, logging.INFO, "big", error=ValueError("why"), **big)
    text = JsonFormatter().format(records[-1])
    assert len(text) < LINE_MAX
    line = json.loads(text)
    assert (line["event"], line["error"]["message"], line["left_out"]) == ("big", "why", sorted(big))


def raised(depth: int) -> BaseException:
    def down(left: int) -> None:
        if left:
            down(left - 1)
        raise KeyError("below\n\x1b[31m")

    try:
        down(depth)
    except KeyError as error:
        return error


@pytest.mark.parametrize("form", list(LogFormat))
def test_an_error_brings_its_traceback_in_bounds_and_steers_nothing(form, written):
    logger, records = written
    for error in (raised(1), raised(900), Failure.of(raised(3)), ExceptionGroup("many", [raised(2), Unspeakables()])):
        log_event(logger, logging.ERROR, "failed", error=error)
        text = formatter_for(form).format(records[-1])
        assert "raise KeyError(" in text
        lines = text.split("\n")
        assert all(line.isprintable() for line in lines)
        if form is LogFormat.JSON:
            (line,) = map(json.loads, lines)
            assert len(line["error"]["traceback"]) <= TRACEBACK_LINES_MAX + 1
            assert line["error"]["type"] in {"KeyError", "ExceptionGroup"}
        else:
            assert len(lines) <= TRACEBACK_LINES_MAX + 2


class Unspeakables(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_ordinary_call_of_the_standard_library_is_written_the_same_way(written):
    logger, records = written
    try:
        raise ValueError("here")
    except ValueError:
        logger.exception("in %s", "it", extra={"unknown": 1})
    line = json.loads(JsonFormatter().format(records[-1]))
    assert (line["event"], line["error"]["type"]) == ("in it", "ValueError")
    assert line["error"]["traceback"][0] == "Traceback (most recent call last):"
    assert ConsoleFormatter().format(records[-1]).endswith("\nValueError: here")


def test_a_token_that_came_into_words_is_hidden(written):
    logger, records = written
    log_event(logger, logging.ERROR, "refused", header="Authorization: Bearer abc.DEF-123_456~+/==", error=raised(0))
    for form in LogFormat:
        text = formatter_for(form).format(records[-1])
        assert "abc.DEF" not in text
        assert "Bearer [hidden]" in text


def test_what_nobody_wants_costs_no_words(written):
    logger, records = written
    logger.setLevel(logging.ERROR)
    log_event(logger, logging.INFO, "quiet", object=Unspeakable())
    assert records == []


def test_the_place_of_an_event_is_where_it_was_logged(written):
    logger, records = written
    log_event(logger, logging.INFO, "here")
    assert (records[-1].filename, records[-1].funcName) == (
        "test_log_formats.py",
        sys._getframe().f_code.co_name,
    )
