"""Supervision trees for trio, with OTP's words and OTP's rules; standard library and trio only.

specs, errors             what a child is, and what can go wrong with it
supervisor, supervision   the supervisor its users see, and the one task behind it (messages: its inbox)
offspring, incarnation    the ordered children, and one life of a child (children: the records, exits: how it ended)
restarts, intensity       the pure core: does this exit restart, who restarts with it, and is it too often
listeners, trees          what a supervisor tells: one report per event, and a picture of the tree
counting, figures         the integers and histograms behind `statistics()`
"""

from supervisors.children import ChildCounts, ChildInfo, ChildState, StartedChild
from supervisors.counting import SECONDS_BOUNDS, Counter, Histogram, HistogramSnapshot, Tally
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
)
from supervisors.exits import Exit, ExitKind, Failure
from supervisors.figures import SupervisorStatistics
from supervisors.intensity import RestartWindow
from supervisors.listeners import Listener, Offender, Report, ReportContext, ReportKind
from supervisors.specs import ChildSpec, ChildType, Restart, Strategy
from supervisors.supervision import SupervisorState
from supervisors.supervisor import Supervisor, supervisor_spec
from supervisors.trees import HasTreeChildren, HasTreeDetail, TreeNode, render_tree

__all__ = [
    "SECONDS_BOUNDS",
    "AlreadyPresent",
    "AlreadyStarted",
    "CallRefused",
    "ChildCounts",
    "ChildInfo",
    "ChildNotFound",
    "ChildNotRunning",
    "ChildRestarting",
    "ChildRunning",
    "ChildSpec",
    "ChildState",
    "ChildType",
    "Counter",
    "Exit",
    "ExitKind",
    "Failure",
    "HasTreeChildren",
    "HasTreeDetail",
    "Histogram",
    "HistogramSnapshot",
    "Ignore",
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
    "Strategy",
    "Supervisor",
    "SupervisorError",
    "SupervisorNotRunning",
    "SupervisorState",
    "SupervisorStatistics",
    "Tally",
    "TreeNode",
    "render_tree",
    "supervisor_spec",
]
