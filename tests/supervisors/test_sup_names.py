"""What the package offers by name; a rename must be a decision, not an accident."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import supervisors

EXPECTED = set(
    """
    AlreadyPresent AlreadyStarted AnySupervisor AutoShutdown Backoff CallRefused ChildCounts ChildInfo ChildNotFound
    ChildNotRunning ChildRestarting ChildRunning ChildSpec ChildState ChildStatus ChildType Counter DynamicSupervisor
    Exit ExitKind Failure Flags HasTreeChildren HasTreeDetail Histogram HistogramSnapshot Ignore Killed Listener
    MaxRestartsExceeded Offender Report ReportContext ReportKind Restart RestartWindow SECONDS_BOUNDS Shutdown
    SpecError StartFailed StartedChild StopCause Strategy Supervisor SupervisorError SupervisorNotRunning
    SupervisorState SupervisorStatistics Tally Terminated TooManyChildren TreeNode Watch check_childspecs render_tree
    supervisor_spec
    """.split()  # noqa: SIM905 - fifty names read better in lines than quoted one by one
)


def test_exactly_the_documented_names_are_exported():
    assert set(supervisors.__all__) == EXPECTED
    assert len(supervisors.__all__) == len(EXPECTED)


def test_every_exported_name_exists_and_is_documented():
    for name in supervisors.__all__:
        thing = getattr(supervisors, name)
        if isinstance(thing, type) or callable(thing):
            assert (thing.__doc__ or "").strip(), name


def test_errors_have_one_root_and_signals_are_outside_it():
    errors = supervisors.errors
    roots = {
        name
        for name, thing in vars(errors).items()
        if isinstance(thing, type) and issubclass(thing, Exception) and not issubclass(thing, errors.SupervisorError)
    }
    assert roots == {"Ignore", "Shutdown"}


def test_every_error_is_in_the_tree_of_the_module_docstring():
    for name, thing in vars(supervisors.errors).items():
        if isinstance(thing, type) and issubclass(thing, Exception):
            assert name in supervisors.errors.__doc__, name


def test_the_package_is_typed_and_imports_only_trio_and_the_standard_library():
    assert (Path(supervisors.__file__).parent / "py.typed").exists()
    script = (
        "import trio, sys; before = set(sys.modules); import supervisors;"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(new - set(sys.stdlib_module_names) - {'supervisors'}))"
    )
    root = str(Path(supervisors.__file__).parent.parent)
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root)
    assert answer.stdout.strip() == "[]"
