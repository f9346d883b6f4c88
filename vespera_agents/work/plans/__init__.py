"""The reader of plans and PRPs: Markdown in, a `Plan` out, and the task tree that it asks for. Pure: no I/O.

reader      read_plan, read_plan_bytes: the way in
model       Plan and its parts, ready for JSON
drafting    plan_drafts: the tree of tasks to create
lines       limits, decoding, and the ledger that accounts for every line
fences      code fences as they were meant, not as they were written
outline     sections and lists, by markdown-it
titles      what a heading or bullet says: number, schedule, status, file
building    tasks and phases while they are being read
yaml_nodes  YAML with line numbers; yaml_salvage reads what is not YAML
yaml_tasks  tasks in YAML blocks
placing     where those tasks belong
headers     front matter and bold header lines
phases      which headings are phases
structure   which headings are items; bullets reads lists as items
mermaid     edges of a graph; graphs gathers them
groups      execution groups; shell says how they run
texts       checklists, criteria, levels, proposed gates, kept text; tables gives items their tools
links       names turned into dependencies
finishing   from what was being built to the model
"""

from vespera_agents.work.plans.drafting import plan_drafts
from vespera_agents.work.plans.lines import PLAN_BYTES_MAX, PLAN_LINES_MAX
from vespera_agents.work.plans.model import (
    ChecklistEntry,
    ExecutionGroup,
    GraphEdge,
    Plan,
    PlanHeader,
    PlanItem,
    PlanNote,
    PlanPhase,
    ProposedGate,
    TaskFacts,
    TextSection,
    UnplacedLine,
    ValidationLevel,
)
from vespera_agents.work.plans.reader import read_plan, read_plan_bytes

__all__ = [
    "PLAN_BYTES_MAX",
    "PLAN_LINES_MAX",
    "ChecklistEntry",
    "ExecutionGroup",
    "GraphEdge",
    "Plan",
    "PlanHeader",
    "PlanItem",
    "PlanNote",
    "PlanPhase",
    "ProposedGate",
    "TaskFacts",
    "TextSection",
    "UnplacedLine",
    "ValidationLevel",
    "plan_drafts",
    "read_plan",
    "read_plan_bytes",
]
