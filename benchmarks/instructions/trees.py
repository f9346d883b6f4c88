"""Which two trees are compared, and where the older one is laid out. Reads git, and changes nothing in the repository.

The base is taken out of git as an archive, not as a worktree: whatever happens to this program, git has nothing to
forget. Both trees get paths of one length, because a path's length is in counts, if only in the sixth digit.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import final

from benchmarks.instructions.counting import CannotMeasureError

GIT_SECONDS_MAX = 120


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared with what."""

    base: str
    """The older commit, in full."""
    base_title: str
    """The older commit, for a reader."""
    this_title: str
    """What is compared with it, for a reader: a commit, or the working tree."""


def choose(root: Path, base: str | None) -> Comparison | None:
    """Choose what to compare in this repository; None if this is the first commit, and nothing is named.

    Python files with uncommitted changes are compared with the last commit, a clean tree with the first parent of it.

    Raises:
        CannotMeasureError: This is no repository, or the base is not in it.
    """
    dirty = bool(git(root, "status", "--porcelain", "--", "*.py"))
    this = f"the working tree, on top of {title(root, 'HEAD')}" if dirty else title(root, "HEAD")
    if base is None and not dirty and not git(root, "show", "-s", "--format=%P", "HEAD").strip():
        if git(root, "rev-parse", "--is-shallow-repository").strip() == "true":
            raise CannotMeasureError("The parent is not here, the clone is shallow: git fetch --deepen 1")
        return None
    chosen = base or ("HEAD" if dirty else "HEAD^1")
    commit = git(root, "rev-parse", "--verify", "--end-of-options", f"{chosen}^{{commit}}").strip()
    return Comparison(base=commit, base_title=title(root, commit), this_title=this)


def title(root: Path, commit: str) -> str:
    """Return a commit's short name and subject."""
    return git(root, "show", "-s", "--format=%h (%s)", commit).strip()


@contextmanager
def laid_out(root: Path, comparison: Comparison) -> Generator[tuple[Path, Path], None, None]:
    """Lay out both trees outside the repository for the length of the block: the base, and this one."""
    with TemporaryDirectory(prefix="trees-") as folder:
        base, this = Path(folder, "base"), Path(folder, "this")
        with tarfile.open(fileobj=io.BytesIO(archive(root, comparison.base))) as tar:
            tar.extractall(base, filter="data")
        this.symlink_to(root, target_is_directory=True)
        yield base, this


def archive(root: Path, commit: str) -> bytes:
    """Return a commit's files as a tar archive."""
    return _git(root, "archive", "--format=tar", commit)


def git(root: Path, *arguments: str) -> str:
    """Run git and return what it printed.

    Raises:
        CannotMeasureError: It refused.
    """
    return _git(root, *arguments).decode(errors="replace")


def _git(root: Path, *arguments: str) -> bytes:
    # A hook's GIT_DIR would lead every command into the repository that the hook belongs to.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, env=environment, timeout=GIT_SECONDS_MAX, check=False)
    except OSError as error:
        raise CannotMeasureError(f"git cannot be run ({error}): install it.") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise CannotMeasureError(f"{' '.join(command)} failed, so there is no commit to compare with: {said}")
    return done.stdout
