"""The tools that a model may ask for while it works in a working copy.

toolbox    what a role may use, and one call from its arguments to its outcome
arguments  what each tool takes, and how it is described to a model
files      opening, listing and replacing files so that nothing outside is ever reached
texts      reading a page of a file, and replacing an exact piece of one
searching  finding text, bounded in time
running    running a command that is allowed
"""

from vespera_agents.capabilities.tools.running import Commands
from vespera_agents.capabilities.tools.toolbox import Toolbox, ToolboxStatistics, ToolOutcome

__all__ = ["Commands", "ToolOutcome", "Toolbox", "ToolboxStatistics"]
