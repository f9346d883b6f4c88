"""The small parts of the front: lines, words, options of the interpreter, places, the log."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unmeasured import unmeasured
from vespera_agents.front import log as log_module
from vespera_agents.front.framing import Lines
from vespera_agents.front.launch import _options
from vespera_agents.front.log import Log
from vespera_agents.front.places import log_path, state_directory
from vespera_agents.front.words import quick_words, read_words


@given(st.lists(st.binary(max_size=30), max_size=8))
def test_lines_come_out_as_they_went_in_however_they_are_cut(chunks):
    lines = Lines()
    found = [line for chunk in chunks for line in lines.feed(chunk)]
    whole = b"".join(chunks)
    *complete, rest = whole.split(b"\n")
    assert found == complete
    assert lines.waiting_bytes == len(rest)
    assert lines.forget() == rest
    assert lines.waiting_bytes == 0


WORDS = {
    "serve": [],
    "serve --workspace there": ["--workspace=there"],
    "serve --workspace=there --tools full --metrics=:0": ["--workspace=there", "--tools=full", "--metrics=:0"],
    "serve --no-spare": [],
    "serve --tools=a=b": ["--tools=a=b"],
}
NOT_QUICK = [
    "",
    "run",
    "serve --in-process",
    "serve --http :0",
    "serve --lease-minutes 5",
    "serve --help",
    "serve --workspace",
    "serve --workspace=",
    "serve --workspace -x",
    "serve --tools a --tools b",
    "serve extra",
    "serve --no-spare=1",
]


@pytest.mark.parametrize("line", WORDS)
def test_plain_words_become_the_words_of_a_worker(line):
    assert quick_words(line.split()) == WORDS[line]


@pytest.mark.parametrize("line", NOT_QUICK)
def test_other_words_go_another_way(line):
    assert quick_words(line.split()) is None


def test_a_repeated_option_keeps_all_of_its_values_and_a_flag_has_none():
    assert read_words(["serve", "--allowed-host", "a", "--allowed-host=b", "--in-process"]) == {
        "--allowed-host": ["a", "b"],
        "--in-process": [],
    }


OPTIONS = {
    "-m vespera_agents serve": [],
    "-W error -m vespera_agents": ["-W", "error"],
    "-Werror -X dev -E -m v": ["-Werror", "-X", "dev", "-E"],
    "-um v": ["-u"],
    "-Bsc pass": ["-Bs"],
    "-u script.py -W no": ["-u"],
    "--check-hash-based-pycs always -P -m v": ["--check-hash-based-pycs", "always", "-P"],
    "-": [],
    "": [],
}


@pytest.mark.parametrize("line", OPTIONS)
def test_workers_run_with_the_options_of_their_front(line):
    assert _options(line.split()) == OPTIONS[line]


def test_the_log_lies_in_the_users_state_directory(monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert log_path("srv_1") == "/somewhere/vespera/logs/srv_1.log"
    assert state_directory({"XDG_STATE_HOME": "relative"}) == str(Path("~/.local/state/vespera").expanduser())


def make_log(path: Path, bytes_max: int = 1 << 20) -> tuple[Log, int]:
    reading, writing = os.pipe()
    return Log(str(path), reading, bytes_max=bytes_max), writing


def test_the_log_is_bounded_and_keeps_one_older_file(tmp_path):
    path = tmp_path / "logs" / "srv_0.log"
    log, _ = make_log(path, 2_000)
    for number in range(200):
        log.say(f"event {number}")
    assert path.stat().st_size <= 2_000
    assert "event 199" in path.read_text()
    older = path.with_name("srv_0.log.1")
    assert older.stat().st_size <= 2_000
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["srv_0.log", "srv_0.log.1"]


def test_old_logs_are_pruned_and_what_is_no_log_stays(tmp_path):
    path = tmp_path / "srv_new.log"
    for number in range(30):
        for name in (f"srv_{number:02}.log", f"srv_{number:02}.log.1"):
            (tmp_path / name).write_text("old")
            os.utime(tmp_path / name, (number, number))
    (tmp_path / "mine.txt").write_text("mine")
    log, _ = make_log(path)
    log.say("begins")
    names = {entry.name for entry in tmp_path.iterdir()}
    assert len([name for name in names if name.endswith(".log")]) == log_module.FILES_MAX
    assert {"mine.txt", "srv_new.log", "srv_29.log", "srv_11.log", "srv_11.log.1"} <= names
    assert not {"srv_10.log", "srv_10.log.1"} & names


def test_a_disk_that_takes_nothing_does_not_fail_the_front_and_is_used_again_later(tmp_path, monkeypatch):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the directory should be")
    now = [100.0]
    monkeypatch.setattr(log_module.time, "monotonic", lambda: now[0])
    log, _ = make_log(blocked / "srv_0.log")
    log.say("lost")
    log.say("lost too, without asking the disk")
    assert log.dropped == 2
    blocked.unlink()
    now[0] += 2.0
    log.say("kept")
    assert "kept" in (blocked / "srv_0.log").read_text()


@pytest.mark.parametrize("lost", ["file", "directory"])
def test_a_log_that_was_removed_is_begun_anew_within_a_second(tmp_path, monkeypatch, lost):
    now = [100.0]
    monkeypatch.setattr(log_module.time, "monotonic", lambda: now[0])
    path = tmp_path / "logs" / "srv_0.log"
    log, _ = make_log(path)
    log.say("begins")
    now[0] += 2.0
    log.say("where it was")
    assert path.read_text().count("\n") == 2
    if lost == "file":
        path.unlink()
    else:
        shutil.rmtree(path.parent)
    log.say("lost, because nobody looks for each line")
    assert not path.exists()
    now[0] += 2.0
    log.say("found again")
    (line,) = path.read_text().splitlines()
    assert line.endswith("found again")
    assert log.dropped == 0


def test_a_full_disk_does_not_fail_the_front(tmp_path, monkeypatch):
    log, _ = make_log(tmp_path / "srv_0.log")
    log.say("begins")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log_module.os, "write", full)
    log.say("lost")
    monkeypatch.undo()
    assert log.dropped == 1


def test_an_event_begins_a_line_of_its_own_after_a_print_that_did_not_end_its_own(tmp_path):
    log, writing = make_log(tmp_path / "srv_0.log")
    os.write(writing, b"half a line")
    log.take_printed()
    log.say("event")
    first, second = (tmp_path / "srv_0.log").read_text().splitlines()
    assert first == "half a line"
    assert second.endswith("front: event")


def test_a_log_is_not_written_through_a_link(tmp_path):
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "srv_0.log").symlink_to(target)
    log, _ = make_log(tmp_path / "srv_0.log")
    log.say("lost")
    assert target.read_text() == "precious"
    assert log.dropped == 1


def printed(text: str) -> str:
    """Run a program in an interpreter of its own, and give what it prints."""
    command, environment = [sys.executable, "-c", text], unmeasured()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_the_front_loads_neither_what_a_worker_needs_nor_the_library_for_commands():
    names = (
        "{'mcp','pydantic','click','sqlite3','sqlalchemy','hypercorn','argparse','asyncio','vespera_agents.serving'}"
    )
    text = f"import sys, vespera_agents.front.front\nprint(*(set(sys.modules) & {names}))"
    assert printed(text).split() == []


def test_before_its_first_worker_starts_the_front_has_imported_next_to_nothing():
    text = (
        "import sys, vespera_agents.__main__, vespera_agents.front.launch\n"
        "print(*(set(sys.modules) & {'trio','supervisors','dataclasses','pathlib','argparse','subprocess','json'}))"
    )
    assert printed(text).split() == []
