"""A working copy with git: a worktree of the owner's repository on a branch of ours.

In the owner's repository we add objects, one branch `vespera/<name>` and one entry in the list of worktrees, and
nothing else: no configuration, no index, no checkout of theirs. What reads or writes files (checkout, snapshot, diff)
runs with a git directory and an index of ours, without the repository's configuration (`git`). Neighbours: `places`
says where it lies; `opening` opens it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, cast, final

import trio

from vespera_agents.capabilities.git import Git, GitError
from vespera_agents.capabilities.working_copies.places import PART_PREFIX, Place, WorkingCopyError
from vespera_agents.capabilities.working_copies.working_copy import PATCH_BYTES_MAX, Commit, CopyKind
from vespera_agents.workspace import open_inside

__all__ = ["OURS", "Repository", "Worktree", "repository_of"]

_SETTINGS: Final = re.compile(
    r"(core\.(?:autocrlf|eol|ignorecase|filemode|symlinks|precomposeunicode|sharedrepository))\n([A-Za-z0-9]{1,16})"
)
"""What of the owner's configuration holds in our git directory: how files are named and their lines end."""
_OBJECT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_EXCLUDE_BYTES_MAX: Final = 64 * 1024
_REF: Final = "refs/heads/"
OURS: Final = "vespera/"
"""Begins the name of a branch of ours."""
_NOTHING_IS_RUN: Final = (
    "Hooks, filters and git's extensions for large files are not run in a working copy: their files stay pointers."
)


@final
@dataclass(frozen=True, slots=True)
class Repository:
    """The owner's repository, as far as it matters."""

    common: str
    """Its git directory, absolute, shared by all its worktrees."""
    prefix: str
    """Where in its tree the workspace is; empty at the top."""
    object_format: str
    settings: dict[str, str]


async def repository_of(git: Git, workspace: Path) -> Repository | str:
    """Look for the repository that a workspace belongs to; say why there is none that can be used."""
    asked = ("--path-format=absolute", "--show-object-format", "--show-prefix", "--git-common-dir")
    try:
        found = await git.call(workspace, "rev-parse", *asked)
        lines = os.fsdecode(found.stdout).split("\n")
        if len(lines) != len(asked):
            return "the path of its repository has a line break"
        head = await git.call(workspace, "rev-parse", "--verify", "--quiet", "HEAD^{commit}", ok=(0, 1))
        if head.status:
            return "its repository has no commit yet"
        shown = await git.call(workspace, "config", "-z", "--get-regexp", r"^core\.", ok=(0, 1))
    except GitError as error:
        return f"git finds no repository that it may use ({error})"
    object_format, prefix, common, _ = lines
    pairs = (_SETTINGS.fullmatch(entry) for entry in shown.stdout.decode(errors="replace").split("\0"))
    return Repository(common, prefix, object_format, {pair[1]: pair[2] for pair in pairs if pair is not None})


@final
class Worktree:
    """A worktree on a branch of ours."""

    def __init__(self, git: Git, place: Place, record: Mapping[str, object]) -> None:
        """Know a worktree that was made before.

        Args:
            git: the machine's.
            place: where it lies.
            record: what `make` wrote.
        """
        self._git = git
        self._place = place
        kept = cast("dict[str, str]", record["repository"])
        settings = cast("dict[str, str]", record["settings"])
        self._repository = Repository(kept["common"], kept["prefix"], kept["object_format"], settings)
        self._base = str(record["base"])
        self._branch = str(record["branch"])
        self._entry = Path(str(record["entry"]))

    @classmethod
    async def make(cls, git: Git, place: Place, repository: Repository, base: str | None, held: int) -> Self:
        """Make a worktree, over whatever is left of one that was only half made.

        Args:
            git: the machine's.
            place: where it shall lie.
            repository: the owner's.
            base: the commit or branch to start from.
            held: the descriptor of the lock on it.

        Raises:
            GitError: git could not do it.
            WorkingCopyError: the branch is checked out elsewhere, or there is no such base.
        """
        await trio.to_thread.run_sync(place.clear)
        branch = OURS + place.name
        common = Path(repository.common)
        workspace = place.root.parent.parent
        async with place.administration() as administration:
            await _check_free(git, workspace, branch, place.files)
            tip = await _commit_of(git, workspace, _REF + branch)
            wanted = await _base_commit(git, workspace, base)
            # It may have been worked on before, and removed since: its changes are those since it left the rest.
            forked = None if tip is None else await git.call(workspace, "merge-base", tip, wanted, ok=(0, 1))
            start = wanted if forked is None else forked.line or str(tip)
            if tip is None or (start == tip != wanted):
                # Nothing of its own is on it, so it begins where it would begin now.
                moved = ("update-ref", _REF + branch, wanted, tip or "0" * len(wanted))
                await git.call(common, *moved, held=(held, administration), writes=True)
                tip = start = wanted
            # Twice forced, for what is left of one that was killed while it was added: git calls that locked.
            added = ("worktree", "add", "--quiet", "--force", "--force", "--no-checkout", str(place.files), branch)
            await git.call(workspace, *added, held=(held, administration), writes=True)
        await trio.to_thread.run_sync(_make_private, place, common, repository.object_format)
        record = {
            "kind": CopyKind.WORKTREE,
            "repository": {
                "common": repository.common,
                "prefix": repository.prefix,
                "object_format": repository.object_format,
            },
            "settings": repository.settings,
            "base": start,
            "branch": branch,
            "entry": str(_entry_of(place, common)),
        }
        made = cls(git, place, record)
        await made._private("read-tree", "--reset", "-u", tip, held=(held,))
        await trio.to_thread.run_sync(made._show_index)
        made.directory.mkdir(parents=True, exist_ok=True)
        await trio.to_thread.run_sync(place.keep_record, record)
        return made

    @property
    def directory(self) -> Path:
        """What stands for the workspace's own directory."""
        return self._place.files / self._repository.prefix

    @property
    def branch(self) -> str:
        """The branch that `commit` moves."""
        return self._branch

    @property
    def base(self) -> str:
        """The commit that the changes are counted from."""
        return self._base

    @property
    def kind(self) -> CopyKind:
        """A worktree."""
        return CopyKind.WORKTREE

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever uses the result should know."""
        return (_NOTHING_IS_RUN,)

    async def diff(self) -> bytes:
        """Give everything that has changed since the beginning, committed or not, as a patch."""
        async with self._alone() as held:
            tree = await self._snapshot(held)
            output = await self._git.private(
                self._place.state / "git",
                Path(self._repository.common, "objects"),
                self._place.files,
                *("diff-tree", "-p", "--binary", "--full-index", "--no-ext-diff", "--no-textconv", "--no-renames"),
                *("--no-color", self._base, tree),
                stdout_bytes_max=PATCH_BYTES_MAX,
                writes=False,
            )
        if output.stdout_bytes > PATCH_BYTES_MAX:
            raise WorkingCopyError(
                f"the changes make a patch of {output.stdout_bytes} bytes, and {PATCH_BYTES_MAX} is the most. "
                "Remove what was built, or name it in .gitignore; the branch holds all of it."
            )
        return output.stdout

    async def commit(self, message: str) -> Commit:
        """Commit everything to the branch; nothing new where nothing has changed."""
        async with self._alone() as held:
            tree = await self._snapshot(held)
            workspace = self._place.root.parent.parent
            ref = _REF + self._branch
            tip = await _commit_of(self._git, workspace, ref)
            before = tip or self._base
            same = await self._git.call(workspace, "rev-parse", "--verify", f"{before}^{{tree}}")
            if same.line == tree and tip is not None:
                return Commit(tip, made=False)
            made = await self._private(
                "commit-tree", tree, "-p", before, "-F", "-", held=(held,), stdin=message.encode()
            )
            async with self._place.administration() as administration:
                await self._git.call(
                    Path(self._repository.common),
                    *("update-ref", "-m", "vespera: commit", ref, made, tip or "0" * len(made)),
                    held=(held, administration),
                    writes=True,
                )
            await trio.to_thread.run_sync(self._show_index)
            return Commit(made, made=True)

    async def remove(self) -> None:
        """Remove the files and the entry in the list of worktrees; the branch stays if something is on it."""
        common, ref = Path(self._repository.common), _REF + self._branch
        async with self._alone() as held:
            await trio.to_thread.run_sync(self._place.clear)
            async with self._place.administration() as administration:
                arguments = ("worktree", "remove", "--force", "--force", str(self._place.files))
                # 128: it is not in the list any more.
                await self._git.call(common, *arguments, held=(held, administration), ok=(0, 128), writes=True)
                if await _commit_of(self._git, common, ref) == self._base:
                    await self._git.call(
                        common, "update-ref", "-d", ref, self._base, held=(held, administration), writes=True
                    )

    async def is_behind(self, base: str | None, held: int) -> bool:
        """Say whether nothing was done in it and what it should begin with has moved on.

        Args:
            base: as it is opened with now.
            held: the descriptor of the lock on it.

        Raises:
            GitError: git could not look.
        """
        workspace = self._place.root.parent.parent
        if base is None or await _base_commit(self._git, workspace, base) == self._base:
            return False
        if await _commit_of(self._git, workspace, _REF + self._branch) != self._base:
            return False
        same = await self._git.call(workspace, "rev-parse", "--verify", f"{self._base}^{{tree}}")
        return same.line == await self._snapshot(held)

    def tree_detail(self) -> dict[str, str | int | float]:
        """Say what a tree shows of it."""
        return {"kind": str(self.kind), "branch": self._branch}

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncGenerator[int]:
        try:
            async with self._place.locked() as held:
                yield held
        except GitError as error:
            raise WorkingCopyError(str(error)) from error
        except OSError as error:
            raise WorkingCopyError(f"{self._place.files}: {error}. Correct that, then try again.") from error

    async def _snapshot(self, held: int) -> str:
        """Write all files as a tree into the owner's objects; give its name."""
        # Ours alone, and nobody of ours is at work: it is left over from a git that was killed.
        (self._place.state / "git" / "index.lock").unlink(missing_ok=True)
        await self._private("add", "--all", "--", ".", held=(held,))
        return await self._private("write-tree", held=(held,))

    async def _private(self, *arguments: str, held: Sequence[int], stdin: bytes = b"") -> str:
        objects = Path(self._repository.common, "objects")
        output = await self._git.private(
            self._place.state / "git",
            objects,
            self._place.files,
            *arguments,
            settings=self._repository.settings,
            held=held,
            stdin=stdin,
        )
        return output.line

    def _show_index(self) -> None:
        """Give the worktree the index that we have, so that `git status` in it tells what has changed.

        Under git's own lock; where somebody else has it, they go on with what they have.
        """
        index = (self._place.state / "git" / "index").read_bytes()
        lock = self._entry / "index.lock"
        with contextlib.suppress(FileExistsError), lock.open("xb") as file:
            file.write(index)
            lock.replace(self._entry / "index")


async def _check_free(git: Git, workspace: Path, branch: str, files: Path) -> None:
    """Check that nobody has the branch checked out but the working copy itself."""
    listed = await git.call(workspace, "worktree", "list", "--porcelain")
    for entry in os.fsdecode(listed.stdout).split("\n\n"):
        lines = entry.split("\n")
        if f"branch {_REF}{branch}" in lines and lines[0] != f"worktree {files}":
            raise WorkingCopyError(
                f"{branch} is checked out at {lines[0].removeprefix('worktree ')}. Switch to another branch there."
            )


async def _commit_of(git: Git, directory: Path, name: str) -> str | None:
    found = await git.call(directory, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", ok=(0, 1))
    return found.line if found.status == 0 and _OBJECT.fullmatch(found.line) else None


async def _base_commit(git: Git, workspace: Path, base: str | None) -> str:
    if base is not None and (base.startswith("-") or "\0" in base):
        raise WorkingCopyError(f"{base!r:.120} is no commit. Name a branch or a commit.")
    found = await _commit_of(git, workspace, base or "HEAD")
    if found is None and base is not None and base.startswith(OURS):
        # Whoever was to make it has changed nothing, or worked elsewhere: there is nothing to go on from.
        found = await _commit_of(git, workspace, "HEAD")
    if found is None:
        raise WorkingCopyError(f"there is no commit {base!r:.120} to start from. Name a branch or a commit.")
    return found


def _entry_of(place: Place, common: Path) -> Path:
    """Give the directory in which the owner's repository keeps what it knows of this worktree."""
    named = (place.files / ".git").read_text("utf-8", "surrogateescape").removeprefix("gitdir: ").rstrip("\n")
    entry = Path(os.path.realpath(named))
    if entry.parent != Path(os.path.realpath(common / "worktrees")):
        raise WorkingCopyError(f"{place.files} was changed while it was made. Try again.")
    return entry


def _make_private(place: Place, common: Path, object_format: str) -> None:
    """Make the git directory of ours: no configuration but the format of the objects."""
    private = place.state / "git"
    for folder in ("objects", "refs", "info"):
        (private / folder).mkdir(parents=True, exist_ok=True)
    (private / "HEAD").write_text("ref: refs/heads/none\n", "utf-8")
    version, extension = (
        (0, "") if object_format == "sha1" else (1, f"[extensions]\n\tobjectFormat = {object_format}\n")
    )
    (private / "config").write_text(f"[core]\n\trepositoryformatversion = {version}\n{extension}", "utf-8")
    excluded = b""
    # What the owner ignores without saying so in a committed file.
    with contextlib.suppress(OSError), open_inside(common, common / "info" / "exclude") as file:
        excluded = file.read(_EXCLUDE_BYTES_MAX)
    (private / "info" / "exclude").write_bytes(excluded + f"\n{PART_PREFIX}*\n".encode())
