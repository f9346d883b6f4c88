"""How a working copy is opened: with git a worktree on a branch of ours, else a bounded copy.

Opening is idempotent, across kills at any moment: the same name gives the same copy with what was done in it; one that
was only half made is made anew. Neighbours: `worktrees` and `plain` are the two kinds, `places` says where they lie.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from vespera_agents.capabilities.git import GitError, find_git
from vespera_agents.capabilities.working_copies.places import WorkingCopyError, place_of
from vespera_agents.capabilities.working_copies.plain import PlainCopy
from vespera_agents.capabilities.working_copies.working_copy import CopyKind, CopyLimits, WorkingCopy
from vespera_agents.capabilities.working_copies.worktrees import OURS, Worktree, repository_of

__all__ = ["open_working_copy"]


async def open_working_copy(
    workspace: Path,
    name: str,
    *,
    base: str | None = None,
    environment: Mapping[str, str] | None = None,
    limits: CopyLimits | None = None,
) -> WorkingCopy:
    """Open the working copy of that name, and make it if it is not there.

    Args:
        workspace: the directory that is worked on; its `.vespera/worktrees` holds the copy.
        name: a task's id; the branch is `vespera/<name>`.
        base: the commit or branch to start from, when it is made: what is checked out in the workspace unless given,
            or where it is a branch of ours that nobody has made. What was done under this name before is gone on with;
            where nothing was, it begins anew with the base as it is now.
        environment: the owner's, `os.environ` unless given; git sees only what it needs of it.
        limits: for a copy without git.

    Raises:
        WorkingCopyError: it cannot be made; the message says what to do.
    """
    place = place_of(workspace / ".vespera", name)
    environment = os.environ if environment is None else environment
    async with place.locked() as held:
        record = place.record()
        if record is not None and record.get("kind") == CopyKind.COPY:
            return PlainCopy(place, record)
        git = find_git(environment)
        try:
            if record is not None:
                if git is None:
                    raise WorkingCopyError(f"{place.files} is a git worktree, and there is no git. Install git.")
                worktree = Worktree(git, place, record)
                if not await worktree.is_behind(base, held):
                    return worktree
            found = "git is not installed" if git is None else await repository_of(git, workspace)
            if git is None or isinstance(found, str):
                if base is not None and not base.startswith(OURS):
                    raise WorkingCopyError(f"{found}, so there is no {base!r} to start from. Leave it out.")
                why = f"There is no branch: {found}."
                return await PlainCopy.make(place, workspace, limits or CopyLimits(), why)
            return await Worktree.make(git, place, found, base, held)
        except GitError as error:
            raise WorkingCopyError(str(error)) from error
        except OSError as error:
            raise WorkingCopyError(
                f"the working copy {place.files} cannot be made: {error}. Make room, or correct its permissions."
            ) from error
