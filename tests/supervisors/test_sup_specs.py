"""Child specs and flags: defaults filled in, faulty ones refused with a message that names the field."""

from __future__ import annotations

import dataclasses
import math

import pytest

from supervisors import ChildSpec, ChildType, Restart, SpecError, Strategy, Supervisor, supervisor_spec


async def child(*, task_status):
    task_status.started()


def test_a_spec_fills_in_the_defaults():
    """OTP: sup_start_map."""
    spec = ChildSpec("a", child)
    assert (spec.args, spec.restart, spec.type) == ((), Restart.PERMANENT, ChildType.WORKER)
    assert (spec.stop_seconds, spec.start_timeout_seconds, spec.significant) == (5.0, 30.0, False)


def test_a_supervisor_waits_without_limit_for_its_parts_unless_told_otherwise():
    assert supervisor_spec("sub", lambda: Supervisor(name="sub")).stop_seconds == math.inf
    assert supervisor_spec("sub", lambda: Supervisor(name="sub"), shutdown_seconds=2.0).stop_seconds == 2.0
    assert ChildSpec("sub", child, type=ChildType.SUPERVISOR).stop_seconds == math.inf
    assert ChildSpec("a", child, shutdown_seconds=0.0).stop_seconds == 0.0


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("id", "", "id is a non-empty string"),
        ("id", 7, "id is a non-empty string"),
        ("start", "child", "start is an async function"),
        ("args", [1], "args is a tuple"),
        ("restart", "permanent", "restart is one of Restart.PERMANENT"),
        ("type", "worker", "type is one of ChildType.WORKER"),
        ("shutdown_seconds", -1.0, "shutdown_seconds is a number of seconds >= 0"),
        ("shutdown_seconds", math.nan, "shutdown_seconds is a number of seconds >= 0"),
        ("shutdown_seconds", True, "shutdown_seconds is a number of seconds >= 0"),
        ("start_timeout_seconds", 0.0, "start_timeout_seconds is a number of seconds > 0"),
        ("start_timeout_seconds", None, "start_timeout_seconds is a number of seconds > 0"),
        ("significant", True, "never permanent"),
    ],
)
def test_a_faulty_spec_says_which_field_and_what_it_accepts(field, value, words):
    """OTP: sup_start_map_faulty_specs."""
    options = {"id": "a", "start": child} | {field: value}
    with pytest.raises(SpecError, match=words):
        ChildSpec(options.pop("id"), options.pop("start"), **options)


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("name", "", "non-empty string"),
        ("intensity", -1, "intensity is a whole number"),
        ("intensity", 1.5, "intensity is a whole number"),
        ("intensity", True, "intensity is a whole number"),
        ("period_seconds", 0, "period_seconds is a number of seconds > 0"),
        ("period_seconds", "5", "period_seconds is a number of seconds > 0"),
        ("strategy", "one_for_one", "strategy is one of Strategy.ONE_FOR_ONE"),
    ],
)
def test_a_faulty_flag_says_what_it_accepts(flag, value, words):
    """OTP: sup_flags."""
    with pytest.raises(SpecError, match=words):
        Supervisor(**({"name": "s"} | {flag: value}))


def test_flags_default_to_one_for_one_with_three_restarts_in_five_seconds():
    supervisor = Supervisor(name="s")
    assert supervisor.strategy is Strategy.ONE_FOR_ONE
    assert supervisor._life.window.intensity == 3
    assert supervisor._life.window.period_seconds == 5.0


def test_two_children_with_one_id_are_refused(theatre):
    with pytest.raises(SpecError, match="ids are unique"):
        Supervisor([theatre.spec("a"), theatre.spec("a")], name="s")


def test_a_significant_child_is_refused_because_no_supervisor_shuts_itself_down(theatre):
    """OTP: significant children need an auto_shutdown other than never."""
    with pytest.raises(SpecError, match="significant"):
        Supervisor([theatre.spec("a", Restart.TRANSIENT, significant=True)], name="s")


def test_a_spec_is_frozen_and_equal_by_content_whatever_its_context():
    spec = ChildSpec("a", child)
    assert spec == ChildSpec("a", child)
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.id = "b"
