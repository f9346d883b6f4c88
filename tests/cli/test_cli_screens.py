"""The display of a run: on a real terminal, and its parts on their own."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios
from dataclasses import replace

import pytest
from rich.console import Console

from vespera_agents.cli.board import Board
from vespera_agents.cli.outcomes import ended
from vespera_agents.cli.printing import Printer
from vespera_agents.cli.results import closing_sentence, exit_status
from vespera_agents.cli.screens import LineScreen, LiveScreen, board_view, choose_screen
from vespera_agents.cli.wording import counted, duration, one_line, shown_path
from vespera_agents.specialists.conductor import RunEvent, RunEventKind
from vespera_agents.specialists.running import RunResult, TaskOutcome
from vespera_agents.work.errors import InvalidInput, NotFound
from vespera_agents.work.models import Task, TaskStatus
from vespera_agents.work.plain import printable

PLAN = """
# Things on a terminal
## Phase 1: First
### quick
```yaml
run: echo quick
```
### steady
```yaml
run: sh -c "echo the last line; until test -e go; do sleep 0.02; done"
```
## Phase 2: Second
### end
```yaml
run: sh -c "exit 5"
```
"""


def watched(vespera, **environment) -> tuple[int, str]:
    """Run the plan with a terminal of 90 columns, and let it end when its last line is on the screen."""
    vespera.write("plan.md", PLAN)
    terminal, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
    process = vespera.start("run", "plan.md", stdout=inner, env={**vespera.environment, **environment})
    os.close(inner)
    shown = b""
    try:
        while chunk := os.read(terminal, 65536):
            shown += chunk
            if b"the last line" in shown:
                vespera.write("go", "")
    except OSError:
        pass  # Linux says EIO when the other end is closed.
    os.close(terminal)
    status = process.wait(60)
    assert process.stderr.read() == ""
    return status, shown.decode()


def test_a_terminal_gets_a_live_display_that_is_cleared_away_for_the_summary(vespera):
    status, shown = watched(vespera)
    assert status == 1
    assert "\x1b[?25l" in shown, "the cursor is hidden while it draws"
    assert shown.count("Things on a terminal") > 2, "it is drawn again and again"
    assert "Phase 1: First" in shown
    assert "━" in shown
    assert "\x1b[?25h" in shown
    summary = shown[shown.rindex("\x1b[?25h") :]
    assert "Outcome" in summary
    assert "Things on a terminal" not in summary
    assert "failed" in summary
    assert "Report: .vespera/reports/" in summary


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(vespera):
    status, shown = watched(vespera, TERM="dumb")
    assert status == 1
    assert "began       steady" in shown
    assert "\x1b" not in shown


def task(identifier: str, title: str, **facts) -> Task:
    return Task(id=identifier, session_id="s", title=title, created=0.0, updated=0.0, **facts)


def planned(*tasks: Task) -> RunEvent:
    return RunEvent(RunEventKind.PLANNED, text="session_1", tasks=tasks)


TREE = (
    task("root", "all", children=2),
    task("p1", "Phase 1", parent_id="root", children=3),
    task("a", "a", parent_id="p1", status=TaskStatus.COMPLETED),
    task("b", "b\x1b[31m!", parent_id="p1"),
    task("c", "c", parent_id="p1", status=TaskStatus.CANCELLED, waived=True),
    task("p2", "Phase 2", parent_id="root", children=2),
    task("d", "d", parent_id="p2"),
    task("e", "e", parent_id="p2"),
)


def test_the_board_counts_what_was_done_before_and_what_ends_now():
    board = Board()
    board.hear(planned(*TREE), 0)
    assert [phase.title for phase in board.phases.values()] == ["Phase 1", "Phase 2"]
    assert (board.total, board.ended) == (5, 2)
    board.hear(RunEvent(RunEventKind.CLAIMED, TREE[3]), 1)
    board.hear(RunEvent(RunEventKind.LINE, TREE[3], "half\tway\x07"), 2)
    assert (board.running["b"].title, board.running["b"].line) == ("b!", "half way")
    board.hear(RunEvent(RunEventKind.LINE, TREE[6], "nobody knows it"), 2)
    board.hear(RunEvent(RunEventKind.FINISHED, TREE[3], "exit 1", TaskStatus.FAILED), 3)
    assert board.running == {}
    assert (board.ended, board.phases["p1"].failed, board.phases["p1"].waived) == (3, 1, 1)
    board.hear(RunEvent(RunEventKind.CLAIMED, TREE[6]), 4)
    board.hear(RunEvent(RunEventKind.FINISHED, TREE[6], "called off", TaskStatus.PENDING), 5)
    assert (board.ended, board.running) == (3, {})
    for _ in range(2):
        board.hear(RunEvent(RunEventKind.PREPARED, TREE[7]), 6)
    assert len(board.phases["p2"].waiting) == 1
    board.hear(RunEvent(RunEventKind.DRAINING), 7)
    board.hear(RunEvent(RunEventKind.REPORTING), 8)
    assert board.stopping
    assert board.reporting


def test_tasks_outside_phases_have_a_line_too():
    board = Board()
    board.hear(planned(task("x", "x")), 0)
    assert [(phase.title, phase.total) for phase in board.phases.values()] == [("Tasks", 1)]


def drawn(board: Board, lines_max: int = 40) -> str:
    console = Console(width=70, file=io.StringIO(), record=True)
    console.print(board_view(board, "A plan", 75.0, 10.0, lines_max=lines_max))
    return console.export_text()


def test_the_view_shows_bars_remarks_and_the_last_lines():
    board = Board()
    board.hear(planned(*TREE), 0)
    board.hear(RunEvent(RunEventKind.CLAIMED, TREE[3]), 4)
    board.hear(RunEvent(RunEventKind.LINE, TREE[3], "word " * 40), 5)
    board.hear(RunEvent(RunEventKind.PREPARED, TREE[7]), 6)
    board.hear(RunEvent(RunEventKind.DRAINING), 6)
    text = drawn(board)
    assert "A plan  2/5 tasks  1 min 15 s  stopping" in text
    assert "2/3 1 waived" in text
    assert "1 waiting for a client" in text
    assert "  > b! 6.0 s word word" in text
    assert max(map(len, text.splitlines())) <= 70


def test_a_small_terminal_shows_the_phases_that_still_go_on():
    board = Board()
    done = [task(f"d{n}", "d", parent_id=f"p{n}", status=TaskStatus.COMPLETED) for n in range(20)]
    phases = [task(f"p{n}", f"Phase {n}.", children=1) for n in range(30)]
    open_ = [task(f"o{n}", "o", parent_id=f"p{n}") for n in range(20, 30)]
    board.hear(planned(*phases, *done, *open_), 0)
    text = drawn(board, lines_max=12)
    assert "Phase 3." not in text
    assert "Phase 20." in text
    assert len(text.splitlines()) <= 12


def test_lines_name_every_step_that_a_reader_wants():
    stream = io.StringIO()
    screen = choose_screen(Printer(stream), "A plan", silent=False)
    assert isinstance(screen, LineScreen)
    b = TREE[3]
    for event in (
        planned(*TREE),
        RunEvent(RunEventKind.CLAIMING, b),
        RunEvent(RunEventKind.RELEASED, b, "failed before"),
        RunEvent(RunEventKind.EXITED, b, "x", TaskStatus.COMPLETED),
        RunEvent(RunEventKind.FINISHED, b, "", TaskStatus.COMPLETED),
        RunEvent(RunEventKind.FINISHED, b, "why", TaskStatus.REVIEW),
        RunEvent(RunEventKind.DRAINING),
    ):
        screen.hear(event)
    screen.notice("two\nlines")
    words = [line.split(" s  ", 1)[1].split(None, 1) for line in stream.getvalue().splitlines()]
    assert [(word, rest.strip()) for word, rest in words] == [
        ("planned", "5 tasks in session_1"),
        ("again", "b!: failed before"),
        ("completed", "b!"),
        ("review", "b!: why"),
        ("note", "two lines"),
    ]


async def test_a_live_display_shows_notices_below(autojump_clock):
    screen = LiveScreen(Printer(io.StringIO()), "A plan", clock=lambda: 0.0)
    screen.hear(planned(*TREE))
    screen.notice("remember this")
    console = Console(width=70, file=io.StringIO(), record=True)
    console.print(screen._view())
    assert console.export_text().splitlines()[-1] == "remember this"


RESULT = RunResult("session_1", "name", "root", "completed", {"completed": 1}, (), None)


def outcome(word: str) -> TaskOutcome:
    return TaskOutcome("t", "k", "title", None, word, None, None, ())


WAITING_CLOSING = (
    "Done as far as commands go: 1 completed. 2 tasks wait for a client to carry out: connect one with `vespera serve`."
)
CLOSINGS = {
    "completed": (("completed",), 0, "Done: 1 completed."),
    "failed": (("failed", "blocked"), 1, "Failed: 1 completed."),
    "waiting": (
        ("completed", "waiting", "waiting"),
        0,
        WAITING_CLOSING,
    ),
    "cancelled": (("cancelled",), 1, "Cancelled: 1 completed."),
    "interrupted": (("pending",), 130, "Interrupted: 1 completed."),
}


@pytest.mark.parametrize("word", CLOSINGS)
def test_each_way_to_end_has_its_sentence_and_status(word):
    tasks, status, sentence = CLOSINGS[word]
    result = replace(RESULT, outcome=word, tasks=tuple(map(outcome, tasks)))
    assert exit_status(result) == status
    assert closing_sentence(result) == sentence


def test_work_in_other_hands_is_neither_done_nor_failed():
    result = replace(RESULT, outcome="waiting", tasks=(outcome("in_progress"),))
    assert exit_status(result) == 0
    assert closing_sentence(result).endswith("What is left is with somebody else.")
    blocked = replace(RESULT, outcome="waiting", tasks=(outcome("blocked"), outcome("waiting")))
    assert exit_status(blocked) == 1
    assert closing_sentence(blocked).startswith("Failed: 1 completed. 1 task waits for a client")


def raising(error: BaseException):
    def command() -> int:
        raise error

    return command


def test_what_a_user_caused_is_one_line_and_status_2(capsys):
    refusal = NotFound("there is no such thing", "Look elsewhere.")
    assert ended(raising(refusal)) == 2
    assert capsys.readouterr().err == "Error: there is no such thing. Look elsewhere.\n"
    nested = ExceptionGroup("", [ExceptionGroup("", [InvalidInput("it is wrong", "Right it.")])])
    assert ended(raising(nested)) == 2
    assert capsys.readouterr().err == "Error: it is wrong. Right it.\n"


def test_a_fault_of_ours_keeps_its_traceback_and_is_status_70(capsys):
    for error in (KeyError("lost"), ExceptionGroup("", [KeyError("lost"), NotFound("a", "b.")])):
        assert ended(raising(error)) == 70
        printed = capsys.readouterr().err
        assert "Traceback" in printed
        assert "lost" in printed
        assert "Please report it" in printed
    assert ended(raising(KeyboardInterrupt())) == 130


def test_text_for_people_steers_nothing():
    nasty = "a\x1b[31mb\x1b]0;t\x07c\x1bPx\x1b\\d\x9b1me\rf\u202eg\x00h"
    assert printable(nasty) == "abcdefgh"
    assert printable("kept\ttabs\r\nand lines") == "kept\ttabs\nand lines"
    assert one_line("  two\n words ") == "two words"


def test_durations_counts_and_paths_are_short(tmp_path, monkeypatch):
    assert [duration(value) for value in (None, 0.04, 59.9, 75, 7260)] == [
        "", "0.0 s", "59.9 s", "1 min 15 s", "2 h 01 min",
    ]  # fmt: skip
    assert counted({"in_progress": 2, "failed": 1}) == "2 in progress, 1 failed"
    assert counted({}) == "no tasks"
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "a" / "b") == "a/b"
    assert shown_path(tmp_path.parent) == str(tmp_path.parent)


def test_a_printer_whose_reader_has_gone_prints_no_more_and_raises_nothing():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        printer = Printer(stream)
        assert not printer.live
        for _ in range(3):
            printer.line("x" * 100)
        printer.render("more")
