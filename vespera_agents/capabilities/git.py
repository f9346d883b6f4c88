"""The git command line, run so that it does the owner's git no harm and runs no code of the repository.

Each call is one process in a session of its own, with its output in files: whoever is killed, here or with our whole
process group, leaves a git behind that ends what it writes; through a pipe it would die of the missing reader. A call
that writes is neither cancelled nor killed: out of patience, it is left to itself. Two ways to call it:

`Git.call`     in the owner's repository: hooks, the file system monitor, prompts and every network protocol are off.
`Git.private`  with a git directory of ours and the owner's objects: no configuration is read at all, so that no filter,
               no textconv and no external diff of anybody can run. What changes a file or looks into one goes here.

Not here: what a working copy is (`working_copies`).
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import trio

__all__ = ["Git", "GitError", "GitOutput", "find_git"]

TIMEOUT_SECONDS: Final = 120.0
"""For one call; a large checkout on a slow disk takes its time."""
OUTPUT_BYTES_MAX: Final = 1024 * 1024
"""What is read of a call's output unless more is asked for."""
_MESSAGE_CHARACTERS_MAX: Final = 500

_KEPT: Final = (
    *("PATH", "HOME", "XDG_CONFIG_HOME", "TMPDIR"),
    *("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CEILING_DIRECTORIES"),
)
"""What of the owner's environment git sees: no key, and nothing that an outer git left there."""
_ALWAYS: Final = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    # A missing object of a partial clone would be fetched by a program that the repository's configuration names.
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_ASKPASS": "false",
    "GIT_EDITOR": "false",
    "GIT_PAGER": "cat",
    "LC_ALL": "C",
}
_NO_CONFIGURATION: Final = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
}
_OFF: Final = (
    f"core.hooksPath={os.devnull}",
    "core.fsmonitor=false",
    "core.sshCommand=false",
    "credential.helper=",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "worktree.guessRemote=false",
    "advice.detachedHead=false",
)
"""Settings of the owner's repository that are overruled: each could run a program, or do more than is asked for."""
_IDENTITY: Final = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Vespera"), ("EMAIL", "vespera@localhost"))
}


@final
class GitError(Exception):
    """Git could not do it; the message says what it said and what to do."""


@final
@dataclass(frozen=True, slots=True)
class GitOutput:
    """How a call of git ended."""

    status: int
    """What it returned; negative: the signal that killed it."""
    stdout: bytes
    """The first of it, up to the limit."""
    stdout_bytes: int
    """All of it."""
    stderr: str

    @property
    def line(self) -> str:
        """The output without the line's end; for what answers with one name."""
        return os.fsdecode(self.stdout).removesuffix("\n")


@final
@dataclass(frozen=True, slots=True)
class Git:
    """The git of a machine."""

    program: str
    """Absolute."""
    environment: Mapping[str, str]
    """All that it sees."""

    async def call(
        self, directory: Path, *arguments: str, held: Sequence[int] = (), ok: Sequence[int] = (0,), writes: bool = False
    ) -> GitOutput:
        """Run git in a directory of the owner's, with everything off that could run code of the repository.

        Args:
            directory: where it runs.
            arguments: the command and what it is given.
            held: the descriptors of locks that the process keeps for as long as it lives, also without us.
            ok: what it may return.
            writes: it changes something: it is not cancelled.

        Raises:
            GitError: it returned something else, could not be started, or took too long.
        """
        off = [part for setting in _OFF for part in ("-c", setting)]
        output = await self._run([*off, *arguments], directory, {}, held=held, writes=writes)
        return _checked(output, arguments[0], ok)

    async def private(
        self,
        place: Path,
        objects: Path,
        directory: Path,
        *arguments: str,
        settings: Mapping[str, str] | None = None,
        held: Sequence[int] = (),
        stdin: bytes = b"",
        stdout_bytes_max: int = OUTPUT_BYTES_MAX,
        writes: bool = True,
    ) -> GitOutput:
        """Run git with a git directory of ours, the owner's objects, and no configuration but what is given here.

        Args:
            place: our git directory, with its index.
            objects: where objects are read and written.
            directory: the working tree.
            arguments: the command and what it is given.
            settings: configuration, as `core.autocrlf`.
            held: as in `call`.
            stdin: what it reads.
            stdout_bytes_max: how much of its output is given back.
            writes: as in `call`.

        Raises:
            GitError: as in `call`.
        """
        given = [part for name, value in (settings or {}).items() for part in ("-c", f"{name}={value}")]
        environment = {
            **_NO_CONFIGURATION,
            **_IDENTITY,
            "GIT_DIR": str(place),
            "GIT_WORK_TREE": str(directory),
            "GIT_OBJECT_DIRECTORY": str(objects),
        }
        output = await self._run(
            [*given, *arguments],
            directory,
            environment,
            held=held,
            writes=writes,
            stdin=stdin,
            stdout_bytes_max=stdout_bytes_max,
        )
        return _checked(output, arguments[0], (0,))

    async def _run(
        self,
        arguments: Sequence[str],
        directory: Path,
        environment: Mapping[str, str],
        *,
        held: Sequence[int],
        writes: bool,
        stdin: bytes = b"",
        stdout_bytes_max: int = OUTPUT_BYTES_MAX,
    ) -> GitOutput:
        await trio.lowlevel.checkpoint_if_cancelled()
        with ExitStack() as files:
            given, out, err = (files.enter_context(tempfile.TemporaryFile(buffering=0)) for _ in range(3))
            given.write(stdin)
            given.seek(0)
            try:
                process = await trio.lowlevel.open_process(
                    [self.program, "--no-pager", *arguments],
                    cwd=directory,
                    env={**self.environment, **environment},
                    stdin=given.fileno(),
                    stdout=out.fileno(),
                    stderr=err.fileno(),
                    start_new_session=True,
                    pass_fds=tuple(held),
                )
            except (OSError, subprocess.SubprocessError) as error:
                raise GitError(f"git could not be started: {error}. Install git, or correct PATH.") from error
            await self._wait(process, arguments, writes=writes)
            status = process.returncode
            assert status is not None, "a process that was waited for has ended"
            out.seek(0, os.SEEK_END)
            stdout_bytes = out.tell()
            out.seek(0)
            err.seek(0)
            text = err.read(OUTPUT_BYTES_MAX).decode(errors="replace")
            return GitOutput(status, _read(out.fileno(), stdout_bytes_max), stdout_bytes, text)

    @staticmethod
    async def _wait(process: trio.Process, arguments: Sequence[str], *, writes: bool) -> None:
        try:
            with trio.move_on_after(TIMEOUT_SECONDS, shield=writes) as patience:
                await process.wait()
        finally:
            # One that reads may be killed; one that writes would leave its locks and half of its work.
            if process.returncode is None and not writes:
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()
        if patience.cancelled_caught:
            raise GitError(
                f"git has not ended after {TIMEOUT_SECONDS:g} s ({' '.join(arguments)[-80:]}). "
                f"Look at what process {process.pid} waits for, then try again."
            )


def find_git(environment: Mapping[str, str]) -> Git | None:
    """Find git on the owner's PATH; an entry that is relative would mean whatever the repository put there."""
    for entry in environment.get("PATH", os.defpath).split(os.pathsep):
        candidate = Path(entry, "git")
        if candidate.is_absolute() and candidate.is_file() and os.access(candidate, os.X_OK):
            kept = {name: environment[name] for name in _KEPT if name in environment}
            return Git(str(candidate), {**kept, **_ALWAYS})
    return None


def _read(descriptor: int, bytes_max: int) -> bytes:
    pieces: list[bytes] = []
    while bytes_max > 0 and (piece := os.read(descriptor, min(bytes_max, OUTPUT_BYTES_MAX))):
        pieces.append(piece)
        bytes_max -= len(piece)
    return b"".join(pieces)


def _checked(output: GitOutput, command: str, ok: Sequence[int]) -> GitOutput:
    if output.status in ok:
        return output
    said = " ".join(output.stderr.split())[:_MESSAGE_CHARACTERS_MAX] or f"status {output.status}"
    if ".lock'" in said or "Unable to create" in said:
        advice = "Another git is at work there: let it end. If none runs, the lock is left over: remove it by hand."
    else:
        advice = "Correct what it says, then try again."
    raise GitError(f"git {command} failed: {said}. {advice}")
