"""Supervisors below supervisors; the picture of a tree; what a supervisor tells and counts."""

from __future__ import annotations

import json
import logging

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    ChildSpec,
    ChildType,
    ExitKind,
    MaxRestartsExceeded,
    ReportContext,
    ReportKind,
    Restart,
    StartFailed,
    Supervisor,
    TreeNode,
    render_tree,
    supervisor_spec,
)


def tree(theatre, restart=Restart.PERMANENT, **options):
    """Return root -> a, sub (x, y), b."""

    def subtree():
        return Supervisor([theatre.spec("x"), theatre.spec("y")], name="sub", **options)

    specs = [theatre.spec("a"), supervisor_spec("sub", subtree, restart=restart), theatre.spec("b")]
    return Supervisor(specs, name="root")


@pytest.mark.parametrize("how", ["stop", "cancel"])
async def test_a_tree_starts_depth_first_and_stops_in_exactly_the_reverse_order(autojump_clock, theatre, how):
    supervisor = tree(theatre)
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        if how == "stop":
            supervisor.stop()
        else:
            nursery.cancel_scope.cancel()
    assert theatre.log == ["+a", "+x", "+y", "+b", "-b", "-y", "-x", "-a"]


async def test_a_restarted_subtree_has_its_static_children_and_not_its_dynamic_ones(autojump_clock, theatre, running):
    """OTP: tree."""
    supervisor = tree(theatre, intensity=0)
    async with running(supervisor):
        first = supervisor.child_value("sub")
        await first.start_child(theatre.spec("dynamic"))
        await theatre.crash("x")
        second = supervisor.child_value("sub")
        assert second is not first
        assert [info.id for info in second.which_children()] == ["x", "y"]
        assert supervisor.crash_history("sub")[0].kind is ExitKind.MAX_RESTARTS_EXCEEDED
        assert first.statistics().state == "stopped"


async def test_a_melted_down_subtree_is_a_crash_also_for_a_transient_supervisor(autojump_clock, theatre, running):
    """Unlike OTP, where the exit reason of a melted-down supervisor is shutdown and a transient one stays down."""
    supervisor = tree(theatre, restart=Restart.TRANSIENT, intensity=0)
    async with running(supervisor):
        await theatre.crash("x")
        assert supervisor.snapshot().children[1].restarts == 1
        assert supervisor.statistics().restarts == {ExitKind.MAX_RESTARTS_EXCEEDED: 1}


async def test_a_subtree_that_was_stopped_on_purpose_has_ended_normally(autojump_clock, theatre, running):
    supervisor = tree(theatre, restart=Restart.TRANSIENT)
    async with running(supervisor):
        supervisor.child_value("sub").stop()
        await wait_all_tasks_blocked()
        assert supervisor.which_children()[1].state == "down"


async def test_a_meltdown_goes_up_level_by_level(autojump_clock, theatre, running, recorder):
    def subtree():
        return Supervisor([theatre.spec("x")], name="sub", intensity=0)

    root = Supervisor([supervisor_spec("sub", subtree)], name="root", intensity=1, listener=recorder)
    async with running(root) as run:
        await theatre.crash("x")
        await theatre.crash("x")
        await run.over.wait()
    assert isinstance(run.error, MaxRestartsExceeded)
    assert [r.supervisor for r in recorder.of(ReportKind.MAX_RESTARTS_EXCEEDED)] == ["sub", "sub", "root"]


async def test_a_start_that_fails_deep_in_the_tree_stops_everything_and_says_where(autojump_clock, theatre, outcome):
    theatre.starts["y"].append(ValueError("deep"))
    error = await outcome(tree(theatre))
    assert isinstance(error, StartFailed)
    assert error.child_id == "sub"
    assert "child 'y' failed to start (start_error): ValueError: deep" in str(error)
    assert theatre.log == ["+a", "+x", "!y", "-x", "-a"]


async def test_an_interrupt_deep_in_the_tree_comes_out_of_the_root(autojump_clock, theatre, outcome):
    supervisor = tree(theatre)

    async def interrupt():
        await wait_all_tasks_blocked()
        theatre.cue("x", KeyboardInterrupt())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(interrupt)
        assert isinstance(await outcome(supervisor), KeyboardInterrupt)
    assert theatre.log == ["+a", "+x", "+y", "+b", "-x", "-y", "-b", "-a"]


async def test_a_zombie_deep_in_the_tree_keeps_only_the_root_waiting(autojump_clock, running, recorder, undying):
    def subtree():
        return Supervisor([ChildSpec("deaf", undying, args=(100,), shutdown_seconds=1)], name="sub")

    root = Supervisor([supervisor_spec("sub", subtree)], name="root", listener=recorder)
    async with running(root):
        began = trio.current_time()
        await root.terminate_child("sub")
        assert trio.current_time() - began == pytest.approx(2)
        assert (await root.restart_child("sub")).incarnation == 2
    assert [r.supervisor for r in recorder.of(ReportKind.ZOMBIES_LEFT)] == ["sub", "sub"]
    assert len(recorder.of(ReportKind.ZOMBIE_ENDED)) == 2


async def test_a_nested_supervisor_tells_the_listener_of_its_root_unless_it_has_its_own(
    autojump_clock, theatre, running, recorder
):
    own = type(recorder)()

    def with_own():
        return Supervisor([theatre.spec("y")], name="with own", listener=own)

    def without():
        return Supervisor([theatre.spec("x"), supervisor_spec("deep", with_own)], name="without")

    async with running(Supervisor([supervisor_spec("sub", without)], name="root", listener=recorder)):
        pass
    assert {report.supervisor for report in recorder.reports} == {"root", "without"}
    assert {report.supervisor for report in own.reports} == {"with own"}


class Speaking:
    def __init__(self, answer):
        self.answer = answer

    def tree_detail(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def present(value, *, task_status):
    task_status.started(value)
    await trio.sleep_forever()


async def test_the_snapshot_shows_the_whole_tree(autojump_clock, theatre, running):
    supervisor = tree(theatre)
    before = supervisor.snapshot()
    assert (before.state, before.incarnation, before.lived_seconds) == ("new", 0, 0.0)
    async with running(supervisor):
        await trio.sleep(2)
        await theatre.crash("x")
        await trio.sleep(3)
        await supervisor.terminate_child("b")
        node = supervisor.snapshot()
    assert (node.id, node.type, node.state) == ("root", ChildType.SUPERVISOR, "running")
    assert node.lived_seconds == pytest.approx(5)
    a, sub, b = node.children
    assert (a.state, a.restarts, a.incarnation, a.lived_seconds) == ("running", 0, 1, pytest.approx(5))
    assert (b.state, b.lived_seconds) == ("down", pytest.approx(5))
    assert sub.detail == {"strategy": "one_for_one", "restarts_in_period": "1/3"}
    x, y = sub.children
    assert (x.id, x.restarts, x.incarnation, x.lived_seconds) == ("x", 1, 2, pytest.approx(3))
    assert y.children == ()


async def test_a_childs_value_may_add_detail_and_a_mistake_in_it_hides_nothing(autojump_clock, running):
    specs = [
        ChildSpec("good", present, args=(Speaking({"mailbox": 3}),)),
        ChildSpec("bad", present, args=(Speaking(KeyError("oops")),)),
        ChildSpec("mute", present, args=(None,)),
    ]
    supervisor = Supervisor(specs, name="s")
    async with running(supervisor):
        details = [dict(child.detail) for child in supervisor.snapshot().children]
    assert details == [{"mailbox": 3}, {"detail_error": "KeyError"}, {}]


def test_a_node_becomes_plain_values_for_json():
    leaf = TreeNode("leaf", ChildType.WORKER, "running", 1, 2, 0.5, {"mailbox": 3})
    node = TreeNode("root", ChildType.SUPERVISOR, "running", 0, 1, 1.5, {}, (leaf,))
    back = json.loads(json.dumps(node.to_dict()))
    assert back["children"][0] == {
        "id": "leaf",
        "type": "worker",
        "state": "running",
        "restarts": 1,
        "incarnation": 2,
        "lived_seconds": 0.5,
        "detail": {"mailbox": 3},
        "children": [],
    }


def test_a_tree_is_drawn_with_its_branches_and_facts():
    def node(name, *children, lived=1.0, restarts=0, **detail):
        return TreeNode(name, ChildType.WORKER, "running", restarts, 1, lived, detail, children)

    picture = render_tree(
        node(
            "root",
            node("store", lived=65.0),
            node("sessions", node("one", restarts=2), node("two", fill=0.25, mailbox=3)),
            node("doors", node("stdio"), lived=3725.0),
        )
    )
    assert picture.splitlines() == [
        "root         running 1.0s",
        "├─ store     running 1m05s",
        "├─ sessions  running 1.0s",
        "│  ├─ one    running 1.0s restarts=2",
        "│  └─ two    running 1.0s fill=0.25 mailbox=3",
        "└─ doors     running 1h02m",
        "   └─ stdio  running 1.0s",
    ]


def test_each_node_is_one_line_that_steers_no_terminal_whatever_it_is_called():
    hostile = "two\nlines \x1b[31m\x9b2J\u202e\ud800\t\U0001f680"
    node = TreeNode(hostile, ChildType.WORKER, "running", 0, 1, 1.0, {"said": hostile, "long": "y" * 10_000}, ())
    root = TreeNode("x" * 10_000, ChildType.SUPERVISOR, "running", 0, 1, 1.0, {}, (node,))
    shown = r"two\nlines \x1b[31m\x9b2J\u202e\ud800\t" + "\U0001f680"
    first, second = render_tree(root).split("\n")
    assert first == f"{'x' * 100}…  running 1.0s"
    assert second == f"{'└─ ' + shown:<101}  running 1.0s said={shown} long={'y' * 100}…"
    assert first.isprintable()
    assert second.isprintable()


async def test_one_report_per_event_with_the_same_four_keys(autojump_clock, theatre, running, recorder):
    supervisor = Supervisor([theatre.spec("a")], name="s", listener=recorder)
    async with running(supervisor):
        await trio.sleep(1)
        await theatre.crash("a")
    assert [(r.kind.value, r.context.value, r.offender and r.offender.incarnation) for r in recorder.reports] == [
        ("child_started", "start", 1),
        ("supervisor_started", "start", None),
        ("child_crashed", "run", 1),
        ("child_restarted", "restart", 2),
        ("child_ended", "stop", 2),
        ("supervisor_stopped", "stop", None),
    ]
    crash = recorder.of(ReportKind.CHILD_CRASHED)[0]
    assert crash.context is ReportContext.RUN
    assert crash.to_dict() == {
        "kind": "child_crashed",
        "supervisor": "s",
        "context": "run",
        "reason": "ValueError: a crashed",
        "offender": {"id": "a", "type": "worker", "restart": "permanent", "incarnation": 1},
        "at": crash.at,
    }
    assert crash.exit.lived_seconds == pytest.approx(1)
    assert recorder.reports[1].to_dict()["offender"] is None


async def test_a_listener_that_raises_changes_nothing_and_is_counted(autojump_clock, theatre, running, caplog):
    class Broken:
        def on_report(self, report):
            raise RuntimeError(f"listener is broken by {report.kind}")

    supervisor = Supervisor([theatre.spec("a")], name="s", listener=Broken())
    with caplog.at_level(logging.ERROR, logger="supervisors"):
        async with running(supervisor) as run:
            await theatre.crash("a")
            assert supervisor.child_value("a") == "value of a"
            assert supervisor.statistics().listener_failures == 4
    assert run.error is None
    assert "listener is broken" in caplog.text


async def test_statistics_say_what_happened(autojump_clock, theatre, running):
    supervisor = Supervisor([theatre.spec("a"), theatre.spec("b")], name="s", intensity=4)
    async with running(supervisor):
        await theatre.crash("a")
        await theatre.finish("b")
        statistics = supervisor.statistics()
        assert (statistics.supervisor, statistics.state, statistics.starts) == ("s", "running", 4)
        assert statistics.restarts == {ExitKind.CRASHED: 1, ExitKind.NORMAL: 1}
        assert statistics.intensity_used_ratio == 0.5
        assert statistics.restart_seconds.count == 2
        assert statistics.children.active == 2
        assert (statistics.start_failures, statistics.fenced, statistics.zombies, statistics.escalations) == (0,) * 4


async def test_the_time_of_a_restart_is_from_the_end_to_ready_again(autojump_clock, running):
    async def slow(*, task_status):
        await trio.sleep(2)
        task_status.started()
        await trio.sleep(1)
        raise ValueError

    supervisor = Supervisor([ChildSpec("a", slow)], name="s")
    async with running(supervisor):
        await trio.sleep(4)
        snapshot = supervisor.statistics().restart_seconds
        assert (snapshot.count, snapshot.sum) == (1, pytest.approx(2))
