"""What `vespera top` knows, writes and prints; its interface is driven in `test_top_app`."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from vespera_agents.cli.top import feed
from vespera_agents.cli.top.facts import branches, fitted, head_lines, plain, seconds_text, spark
from vespera_agents.cli.top.lists import LogView, StallsView, TasksView
from vespera_agents.cli.top.mirror import Mirror, Reload
from vespera_agents.cli.top.views import ActorsView, TreeView
from vespera_agents.workspace import ServerRecord

RECORD = ServerRecord("srv_0123456789ab", "serve", 1, "/nowhere.sock")
COLUMNS = [
    "key", "parent", "name", "type", "state", "restarts", "incarnation", "lived_seconds", "kind", "mailbox",
    "capacity", "oldest_seconds", "busy_seconds", "handled", "detail",
]  # fmt: skip
LIFE = "srv_0123456789ab/1"


def row(key: int, parent: int | None, name: str, **other) -> list[object]:
    known = dict.fromkeys(COLUMNS) | {"type": "worker", "state": "running", "restarts": 0, "incarnation": 1}
    known |= {"key": key, "parent": parent, "name": name, "lived_seconds": 10.0, "kind": "", "detail": ""} | other
    return list(known.values())


def actor(key: int, name: str, **other) -> list[object]:
    at_rest = {"mailbox": 0, "capacity": 10, "oldest_seconds": 0.0, "busy_seconds": 0.0, "handled": 0}
    return row(key, 1, name, **({"kind": "Clerk"} | at_rest | other))


def snapshot(*rows: list[object], **other) -> dict[str, object]:
    tree = {"columns": COLUMNS, "rows": [row(0, None, "root", type="supervisor"), row(1, 0, "desk"), *rows]}
    return {"v": 1, "seq": 7, "at": 1_000.0, "life": LIFE, "tree": tree, **other}


def change(seq: int = 8, at: float = 1_001.0, **other) -> dict[str, object]:
    return {"seq": seq, "at": at, "life": LIFE, **other}


def names(view: TreeView | ActorsView, mirror: Mirror) -> list[str]:
    return [cells.cells()[0] for cells in view.rows(mirror)]


def test_changes_are_put_into_the_picture():
    mirror = Mirror(RECORD, snapshot(actor(2, "a", handled=10), actor(3, "b")))
    gone_and_new = {"rows": [actor(2, "a", handled=30, busy_seconds=0.5), row(4, 0, "d")], "gone": [3]}
    mirror.hear(change(tree=gone_and_new, log=[{"seq": 1}]))
    assert [(node.name, depth) for node, depth, _ in mirror.tree()] == [("root", 0), ("desk", 1), ("a", 2), ("d", 1)]
    assert mirror.rate_of(mirror.nodes[2]) == 20.0
    mirror.hear(change(9, 1_003.0, log=[{"seq": 2}]))
    assert [entry["seq"] for entry in mirror.log] == [1, 2]
    # What is told no more has not changed, but for times that go on.
    assert mirror.rate_of(mirror.nodes[2]) == 0.0
    assert mirror.busy_for(mirror.nodes[2]) == 2.5
    assert mirror.lived(mirror.nodes[4]) == 12.0
    assert mirror.path(2) == "root/desk/a"


def test_a_branch_that_goes_takes_along_what_is_below_it():
    mirror = Mirror(RECORD, snapshot(row(2, 1, "box"), row(3, 2, "inner")))
    mirror.hear(change(tree={"rows": [], "gone": [1]}))
    assert [node.name for node, _, _ in mirror.tree()] == ["root"]
    assert list(mirror.nodes) == [0]


@pytest.mark.parametrize(
    "line", [change(seq=9), change(seq=7), {**change(), "life": "srv_0123456789ab/2"}, {**change(), "life": None}]
)
def test_what_does_not_follow_asks_for_a_whole_picture(line):
    with pytest.raises(Reload):
        Mirror(RECORD, snapshot()).hear(line)


def test_a_feed_of_another_version_is_refused():
    with pytest.raises(Reload, match="version 2"):
        Mirror(RECORD, {**snapshot(), "v": 2})


PARTS = (
    "server", "front", "loop", "health", "reasons", "log", "stalls", "wedged", "sessions", "context", "history", "rows",
    "columns", "gone", "counts", "offender", "stack",
)  # fmt: skip
NONSENSE = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(PARTS), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(PARTS), NONSENSE))
def test_nonsense_of_a_server_is_shown_as_nothing_and_breaks_nothing(parts):
    mirror = Mirror(RECORD, {**snapshot(), **parts})
    head_lines(mirror)
    for view in (TreeView(), ActorsView(), LogView(), StallsView(), TasksView()):
        for shown in view.rows(mirror):
            assert len(shown.cells()) == len(view.columns)
            shown.detail()


def test_the_tree_folds_unfolds_and_shows_the_way_to_what_is_sought():
    mirror = Mirror(RECORD, snapshot(*(actor(key, f"a{key}") for key in range(2, 5)), row(9, 0, "door")))
    view = TreeView()
    assert names(view, mirror) == ["▾ root", "├─ ▾ desk", "│  ├─ a2", "│  ├─ a3", "│  └─ a4", "└─ door"]
    view.turn(view.rows(mirror)[1])
    assert names(view, mirror) == ["▾ root", "├─ ▸ (3) desk", "└─ door"]
    view.turn(view.rows(mirror)[1], folded=True)
    assert len(view.rows(mirror)) == 3, "it is folded already"
    view.wanted = "a3"
    assert names(view, mirror) == ["root", "└─ desk", "   └─ a3"]
    view.wanted = ""
    view.turn(view.rows(mirror)[1], folded=False)
    assert len(view.rows(mirror)) == 6
    crowd = Mirror(RECORD, snapshot(*(actor(key, "x") for key in range(2, 103))))
    assert names(TreeView(), crowd) == ["▾ root", "└─ ▸ (101) desk"]


def test_actors_are_sorted_by_any_column_from_the_largest_or_the_first():
    mirror = Mirror(RECORD, snapshot(actor(2, "b", mailbox=1, handled=9), actor(3, "a", mailbox=5), actor(4, "c")))
    view = ActorsView()
    assert names(view, mirror) == ["a", "b", "c"]
    for column in range(len(view.columns)):
        view.sort_by(column)
        assert len(view.rows(mirror)) == 3
    view.sort_by(6)
    assert names(view, mirror)[0] == "b"
    view.sort_by(len(view.columns))
    assert (view.column, view.largest_first, names(view, mirror)) == (0, False, ["a", "b", "c"])


@given(st.text() | st.text("\x1b\x9b\n\r\t\x00[]0;m\u202e\u2066a\ud800"), st.integers(0, 60))
def test_no_text_steers_a_terminal_or_breaks_its_columns(text, width):
    line = plain(text)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", line)
    assert cell_len(fitted(line, width)) == width
    assert len(plain(text * 3_000)) <= 2_000


def test_branches_and_bars_are_drawn():
    assert branches([0, 1, 2, 2, 1, 2]) == ["", "├─ ", "│  ├─ ", "│  └─ ", "└─ ", "   └─ "]
    assert branches([]) == []
    assert spark([0.0, 0.5, 1.0, 7.0], 3, 1.0) == "▅██"
    assert [seconds_text(one) for one in (None, 0.0, 0.0001, 0.0123, 0.9999, 61.0)] == [
        "", "", "<1 ms", "12 ms", "1.0 s", "1 min 01 s",
    ]  # fmt: skip


def test_a_task_tells_what_it_waits_for():
    tasks = [
        {"id": "t1", "title": "Box", "status": "in_progress", "parent": None, "depends_on": []},
        {"id": "t2", "title": "First", "status": "completed", "parent": "t1", "depends_on": [], "started_at": 900.0,
         "ended_at": 960.0},
        {"id": "t3", "title": "Last", "status": "pending", "parent": "t1", "depends_on": ["t2", "t4"]},
        {"id": "t4", "title": "Odd\x1b[2J", "status": "in_progress", "parent": "t1", "depends_on": ["t2"],
         "started_at": 990.0, "attempts": 3},
    ]  # fmt: skip
    sessions = [{"id": "s2", "status": "closed", "name": "old"}, {"id": "s1", "status": "open", "name": "new"}]
    mirror = Mirror(RECORD, snapshot(sessions=sessions))
    view = TasksView()
    assert view.choose(mirror) == "s1", "an open one"
    assert view.rows(mirror) == ()
    view.answer = {"id": "s1", "tasks": tasks}
    assert [shown.cells() for shown in view.rows(mirror)] == [
        ("Box", "in progress", "", "", "", ""),
        ("├─ First", "completed", "", "1 min 00 s", "", ""),
        ("├─ Last", "pending", "", "", "", "Odd"),
        ("└─ Odd", "in progress", "", "10.0 s", "3", ""),
    ]
    assert view.choose(mirror, 1) == "s2"
    assert view.rows(mirror) == (), "that is the answer of another session"
    assert "old (closed, session 1 of 2)" in view.title(mirror)


def test_what_blocks_and_what_does_not_get_on_is_told_with_its_stack():
    stall = {"at": 900.0, "seconds": 1.25, "task": "t", "actor": "a\x1b[1m", "stack": ["x.py:1 in f", "y.py:2 in g"]}
    wedged = {"actor": "w", "kind": "K", "what": "busy", "since_seconds": 70.0, "limit_seconds": 30.0,
              "await_stack": ["z.py:3 in h"]}  # fmt: skip
    mirror = Mirror(RECORD, snapshot(stalls=[stall], wedged=[wedged], health={"grade": "degraded", "reasons": [
        {"component": "loop", "what": "blocked"}]}))  # fmt: skip
    first, second = StallsView().rows(mirror)
    assert first.cells() == ("now", "wedged", "1 min 10 s", "w", "busy, more than 30.0 s")
    assert second.cells()[1:] == ("blocked", "1.2 s", "a", "y.py:2 in g")
    assert (first.detail(), second.detail()) == ("z.py:3 in h", "x.py:1 in f\ny.py:2 in g")
    assert head_lines(mirror)[1] == "degraded; loop: blocked"
    assert head_lines(mirror)[2].startswith("loop 0% busy  lag 0 ms  0 stalls  1 wedged  0 actors")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"", "closed the connection"),
        (b"half a line", "closed the connection"),
        (b"nonsense\n", "not JSON"),
        (b"[" * 100_000 + b"\n", "not JSON"),
        (b"[1]\n", "no object"),
        (b'{"error": "\\u001b[2Jtoo \\nmany"}\n', "too many"),
        (b"x" * 3_000, "longer than limit|limit"),
    ],
)
def test_a_rude_server_becomes_a_sentence_that_steers_nothing(tmp_path, monkeypatch, said, told):
    monkeypatch.setattr(feed, "LINE_BYTES_MAX", 1_000 if len(said) == 3_000 else feed.LINE_BYTES_MAX)

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(said)
        writer.close()

    async def story() -> None:
        record = ServerRecord("srv_\x1b[31m", "serve", 1, str(tmp_path / "s"))
        async with asyncio.timeout(30), await asyncio.start_unix_server(rude, record.socket):
            with pytest.raises(feed.FeedProblem, match=told) as asked:
                await feed.ask(record, {"ask": "ping"})
            assert "\x1b" not in str(asked.value)
            with pytest.raises(feed.FeedProblem, match=told):
                async for _ in feed.lines_of(record):
                    pass

    asyncio.run(story())


# ---- the command


def test_without_a_server_the_command_says_how_to_start_one(vespera):
    for words in (["--once"], ["--json"], [], ["--server", "srv_x"]):
        done = vespera("top", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Start one with `vespera serve`" in done.stderr


def test_a_run_has_no_feed_and_says_so(vespera):
    vespera.write("plan.md", "# P\n### wait\n```yaml\nrun: sleep 30\n```\n")
    run = vespera.start("run", "plan.md")
    assert "began" in next(line for line in run.stdout if "began" in line)
    done = vespera("top", "--once")
    assert done.returncode == 2
    assert "only a `vespera serve` has an observer" in done.stderr
    run.send_signal(signal.SIGINT)
    run.send_signal(signal.SIGINT)


def test_one_picture_goes_through_a_pipe_and_a_terminal_can_be_left(vespera):
    # A machine that is busy with other tests shall not make it look ill.
    vespera.write(
        ".vespera/config.toml",
        "[health]\nloop_lag_seconds = [60, 120]\nstall_seconds = [60, 120]\ncommit_seconds = [60, 120]\n",
    )
    server = vespera.start("serve", "--http", "127.0.0.1:0")
    assert "serving" in server.stderr.readline()
    done = vespera("top")
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("healthy", "Tree", "└─ callbacks", "0 actors", "Supervision, the newest last", "child started"):
        assert text in done.stdout
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", done.stdout), "neither colours nor control characters"
    told = json.loads(vespera("top", "--json").stdout)
    assert (told["v"], told["server"]["generation"]) == (1, 1)
    assert vespera("top", "--once", "--server", told["server"]["id"]).returncode == 0
    closed = subprocess.run(
        f"{sys.executable} -m vespera_agents top --once | head -1",
        shell=True, cwd=vespera.workspace, env=vespera.environment, capture_output=True, text=True, timeout=60,
        check=True,
    )  # fmt: skip
    assert closed.stdout.startswith("vespera ")
    assert closed.stderr == ""
    for leave in (b"\x03", signal.SIGINT):
        assert on_a_terminal(vespera, leave) == 130
    without = "import sys; sys.modules['textual'] = None; from vespera_agents.__main__ import main; main()"
    assert on_a_terminal(vespera, b"", "-c", without) == 2


def on_a_terminal(vespera, leave: bytes | signal.Signals, *program: str) -> int:
    """Run `vespera top` on a terminal and leave it by keys, or by a signal; give its exit status."""
    terminal, inner = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, *(program or ("-m", "vespera_agents")), "top"],
        cwd=vespera.workspace, env=vespera.environment, stdin=inner, stdout=inner, stderr=inner,
    )  # fmt: skip
    vespera.running.append(process)
    os.close(inner)
    shown, end = b"", time.monotonic() + 30
    sent = bool(program)
    while time.monotonic() < end:
        try:
            shown += os.read(terminal, 65_536)
        except OSError:
            break  # Linux says EIO when the other end is closed.
        if not sent and b"healthy" in shown:
            sent = True
            if isinstance(leave, bytes):
                os.write(terminal, leave)
            else:
                process.send_signal(leave)
    os.close(terminal)
    assert b"Traceback" not in shown
    if program:
        assert b"pip install" in shown
        assert b"vespera top --once" in shown
    else:
        assert b"\x1b[?1049l" in shown[-200:], "the terminal is given back as it was"
    return process.wait(20)
