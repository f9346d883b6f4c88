"""Supervision trees for trio, with OTP's words and OTP's rules; standard library and trio only.

specs, flags, backoff     what a child and a supervisor are, before they live (errors: what can go wrong with them)
supervisor, dynamic       the two supervisors users see (any_supervisor: what they share; calls, messages: its inbox)
supervision, waiting      the one task behind it, and where it waits
roster, offspring         who its children are, and what it does with them (children: the records, endings: the ends;
                          newcomers: those whose start nobody waits for, delays: those that wait for a backoff)
incarnation, ladder       one life of a child, and how it is stopped (enclosing: by a cancel scope, forcing: by force;
                          exits: how it ended)
restarts, intensity       the pure core: does this exit restart, who restarts with it, and is it too often
timekeeper, deathwatch    what is due when, and who wants to know of an end
listeners, trees          what a supervisor tells: one report per event, and a picture of the tree
counting, figures         the integers and histograms behind `statistics()`

Imported by themselves, because not everybody needs them:

process                   an OS process as a child (guardian: none outlives its supervisor; guarded_process: its start)
partition, tasks          N copies of a child, routed to by key; functions run as tasks, and streams of them
shutdown, draining        phases before a program ends; a tree that is drained, stopped by a deadline, or signalled
testing                   simulation: a tree of your own under faults, in virtual time, beside a model
"""

from supervisors.any_supervisor import AnySupervisor
from supervisors.backoff import Backoff
from supervisors.children import ChildCounts, ChildInfo, ChildState, StartedChild
from supervisors.counting import SECONDS_BOUNDS, Counter, Histogram, HistogramSnapshot, Tally
from supervisors.deathwatch import Terminated, Watch
from supervisors.dynamic import DynamicSupervisor
from supervisors.errors import (
    AlreadyPresent,
    AlreadyStarted,
    CallRefused,
    ChildNotFound,
    ChildNotRunning,
    ChildRestarting,
    ChildRunning,
    Ignore,
    MaxRestartsExceeded,
    Shutdown,
    SpecError,
    StartFailed,
    SupervisorError,
    SupervisorNotRunning,
    TooManyChildren,
)
from supervisors.exits import Exit, ExitKind, Failure, StopCause
from supervisors.figures import SupervisorStatistics
from supervisors.flags import AutoShutdown, Flags, SupervisorState, check_childspecs
from supervisors.forcing import Killed
from supervisors.incarnation import ChildStatus
from supervisors.intensity import RestartWindow
from supervisors.listeners import Listener, Offender, Report, ReportContext, ReportKind
from supervisors.specs import ChildSpec, ChildType, Restart, Strategy
from supervisors.supervisor import Supervisor, supervisor_spec
from supervisors.trees import HasTreeChildren, HasTreeDetail, TreeNode, render_tree

__all__ = [
    "SECONDS_BOUNDS",
    "AlreadyPresent",
    "AlreadyStarted",
    "AnySupervisor",
    "AutoShutdown",
    "Backoff",
    "CallRefused",
    "ChildCounts",
    "ChildInfo",
    "ChildNotFound",
    "ChildNotRunning",
    "ChildRestarting",
    "ChildRunning",
    "ChildSpec",
    "ChildState",
    "ChildStatus",
    "ChildType",
    "Counter",
    "DynamicSupervisor",
    "Exit",
    "ExitKind",
    "Failure",
    "Flags",
    "HasTreeChildren",
    "HasTreeDetail",
    "Histogram",
    "HistogramSnapshot",
    "Ignore",
    "Killed",
    "Listener",
    "MaxRestartsExceeded",
    "Offender",
    "Report",
    "ReportContext",
    "ReportKind",
    "Restart",
    "RestartWindow",
    "Shutdown",
    "SpecError",
    "StartFailed",
    "StartedChild",
    "StopCause",
    "Strategy",
    "Supervisor",
    "SupervisorError",
    "SupervisorNotRunning",
    "SupervisorState",
    "SupervisorStatistics",
    "Tally",
    "Terminated",
    "TooManyChildren",
    "TreeNode",
    "Watch",
    "check_childspecs",
    "render_tree",
    "supervisor_spec",
]
