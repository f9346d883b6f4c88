"""Working copies: where a specialist changes files without touching the owner's.

working_copy  what a working copy is
opening    how one is opened
worktrees  with git: a worktree on a branch of ours; the result is a commit and a patch
plain      without git: a bounded copy beside a second one that stays as it was; the result is a patch
patches    the difference of two directories as a patch that git applies
places     where all this lies, the locks on it, and the record by which it is opened again
"""

from vespera_agents.capabilities.working_copies.opening import open_working_copy
from vespera_agents.capabilities.working_copies.places import WorkingCopyError
from vespera_agents.capabilities.working_copies.working_copy import Commit, CopyKind, CopyLimits, WorkingCopy

__all__ = ["Commit", "CopyKind", "CopyLimits", "WorkingCopy", "WorkingCopyError", "open_working_copy"]
