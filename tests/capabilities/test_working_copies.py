"""Working copies: with real git repositories, hostile ones among them, and with real kills at every step."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from vespera_agents.capabilities import git as git_module
from vespera_agents.capabilities.git import find_git
from vespera_agents.capabilities.working_copies import (
    CopyKind,
    CopyLimits,
    WorkingCopy,
    WorkingCopyError,
    open_working_copy,
    places,
    plain,
    worktrees,
)

GIT = shutil.which("git")
needs_git = pytest.mark.skipif(GIT is None, reason="git is not installed; apt-get install git")
NAMES = ("code.py", "data.bin", "dir/two words.txt", "script.sh")


def run(directory: Path, *arguments: str, check: bool = True, text: bytes = b"") -> bytes:
    """Call git as its owner would, without our precautions."""
    assert GIT is not None
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory.parent), "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        [GIT, *arguments], cwd=directory, env=environment, input=text, capture_output=True, check=False
    )
    assert not check or done.returncode == 0, done.stderr.decode()
    return done.stdout


def make_repository(directory: Path) -> Path:
    directory.mkdir()
    run(directory, "init", "-q", "-b", "main")
    run(directory, "config", "user.name", "Owner")
    run(directory, "config", "user.email", "owner@example.org")
    (directory / "code.py").write_text("one\ntwo\nthree\n")
    (directory / "data.bin").write_bytes(bytes(range(256)))
    (directory / "dir").mkdir()
    (directory / "dir" / "two words.txt").write_text("text\n")
    (directory / "script.sh").write_text("#!/bin/sh\n")
    (directory / "script.sh").chmod(0o755)
    (directory / ".gitignore").write_text("*.log\n/.vespera/\n")
    run(directory, "add", ".")
    run(directory, "commit", "-q", "-m", "begin")
    return directory


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "project")


def plain_directory(directory: Path) -> Path:
    directory.mkdir()
    (directory / "code.py").write_text("one\ntwo\nthree\n")
    (directory / "data.bin").write_bytes(bytes(range(256)))
    return directory


async def opened(workspace: Path, name: str = "t1", **more) -> WorkingCopy:
    environment = more.pop("environment", {"PATH": os.environ["PATH"], "HOME": str(workspace.parent)})
    (workspace / ".vespera").mkdir(exist_ok=True)
    return await open_working_copy(workspace, name, environment=environment, **more)


def change(directory: Path) -> None:
    """Change, add, remove, and do what patches find hard."""
    (directory / "code.py").write_text("one\n2\nthree")
    (directory / "data.bin").write_bytes(bytes(range(255, -1, -1)) * 3)
    (directory / "new").mkdir(exist_ok=True)
    (directory / "new" / 'qu"ote ä.txt').write_text("new\n")
    (directory / "empty").touch()


def content(directory: Path) -> dict[str, bytes | str]:
    """Give every file and link below a directory, but for git's and ours."""
    found: dict[str, bytes | str] = {}
    for path in sorted(directory.rglob("*")):
        parts = path.relative_to(directory).parts
        if parts[0] in {".git", ".vespera"}:
            continue
        if path.is_symlink():
            found["/".join(parts)] = str(path.readlink())
        elif path.is_file():
            found["/".join(parts)] = path.read_bytes()
    return found


@needs_git
async def test_what_is_done_in_a_worktree_becomes_a_patch_and_a_commit_and_the_owner_keeps_what_they_have(
    repository: Path,
) -> None:
    (repository / "code.py").write_text("the owner is at work here\n")
    run(repository, "add", "code.py")
    before, index = content(repository), (repository / ".git" / "index").read_bytes()
    config, head = (repository / ".git" / "config").read_bytes(), run(repository, "rev-parse", "HEAD")
    copy = await opened(repository)
    assert (copy.kind, copy.branch) == (CopyKind.WORKTREE, "vespera/t1")
    # It begins with what is committed, not with what the owner has not committed yet.
    assert (copy.directory / "code.py").read_text() == "one\ntwo\nthree\n"
    assert await copy.diff() == b""
    change(copy.directory)
    (copy.directory / "noise.log").write_text("ignored\n")
    (copy.directory / "script.sh").unlink()
    (copy.directory / "dir" / "two words.txt").chmod(0o755)
    patch = await copy.diff()
    first = await copy.commit("Do it")
    again = await copy.commit("Do it")
    assert first is not None
    assert again is not None
    assert (first.made, again.made, first.id) == (True, False, again.id)
    assert await copy.diff() == patch
    assert run(copy.directory, "status", "--porcelain") == b""
    assert run(repository, "log", "-1", "--format=%an|%s", "vespera/t1") == b"Vespera|Do it\n"
    assert run(repository, "rev-parse", "vespera/t1~1") == head
    assert (content(repository), (repository / ".git" / "index").read_bytes()) == (before, index)
    assert (repository / ".git" / "config").read_bytes() == config
    assert run(repository, "rev-parse", "HEAD") == head
    assert run(repository, "for-each-ref", "--format=%(refname)").split() == [
        b"refs/heads/main",
        b"refs/heads/vespera/t1",
    ]
    await copy.remove()
    await copy.remove()
    assert run(repository, "worktree", "list").count(b"\n") == 1
    # The patch makes of what was there what the branch holds.
    elsewhere = repository.parent / "elsewhere"
    run(repository, "worktree", "add", "-q", "--detach", str(elsewhere), "main")
    run(elsewhere, "apply", "--index", "-", text=patch)
    assert run(elsewhere, "write-tree").strip() == run(repository, "rev-parse", "vespera/t1^{tree}").strip()


@needs_git
async def test_a_copy_that_is_opened_again_is_the_same_and_a_removed_one_goes_on_with_its_branch(
    repository: Path,
) -> None:
    copy = await opened(repository)
    change(copy.directory)
    again = await opened(repository)
    assert content(again.directory)["code.py"] == b"one\n2\nthree"
    await again.commit("Half of it")
    patch = await again.diff()
    await again.remove()
    (repository / "later.txt").write_text("the owner went on\n")
    run(repository, "add", "later.txt")
    run(repository, "commit", "-q", "-m", "later")
    third = await opened(repository)
    assert await third.diff() == patch
    follower = await opened(repository, "t2", base="vespera/t1")
    assert content(follower.directory)["code.py"] == b"one\n2\nthree"
    assert await follower.diff() == b""
    beginner = await opened(repository, "t3", base="vespera/nobody")
    assert "later.txt" in content(beginner.directory)
    await beginner.remove()
    assert b"vespera/t3" not in run(repository, "branch", "--list", "vespera/*")
    with pytest.raises(WorkingCopyError, match="there is no commit"):
        await opened(repository, "t4", base="nowhere")
    with pytest.raises(WorkingCopyError, match="no commit"):
        await opened(repository, "t4", base="--help")


@needs_git
async def test_a_copy_in_which_nothing_was_done_follows_what_it_begins_with(repository: Path) -> None:
    """A review looks at the work as it is now, also in its second round."""
    work = await opened(repository)
    (work.directory / "code.py").write_text("first\n")
    await work.commit("first")
    review = await opened(repository, "r", base="vespera/t1")
    assert (review.directory / "code.py").read_text() == "first\n"
    (work.directory / "code.py").write_text("second\n")
    await work.commit("second")
    review = await opened(repository, "r", base="vespera/t1")
    assert (review.directory / "code.py").read_text() == "second\n"
    assert await review.diff() == b""
    await review.remove()
    (review.directory.parent / "r").mkdir()
    review = await opened(repository, "r", base="vespera/t1")
    (review.directory / "remark.txt").write_text("mine\n")
    (work.directory / "code.py").write_text("third\n")
    await work.commit("third")
    # What was done is never lost for that.
    review = await opened(repository, "r", base="vespera/t1")
    assert content(review.directory)["remark.txt"] == b"mine\n"
    assert content(review.directory)["code.py"] == b"second\n"


@needs_git
async def test_a_branch_that_the_owner_has_checked_out_is_not_moved_under_them(repository: Path) -> None:
    copy = await opened(repository)
    change(copy.directory)
    await copy.commit("Do it")
    await copy.remove()
    run(repository, "checkout", "-q", "vespera/t1")
    with pytest.raises(WorkingCopyError, match=r"is checked out at .* Switch to another branch there"):
        await opened(repository)


HOOKS = (
    *("applypatch-msg", "commit-msg", "fsmonitor-watchman", "post-checkout", "post-commit", "post-index-change"),
    *("post-rewrite", "pre-auto-gc", "pre-commit", "prepare-commit-msg", "reference-transaction"),
)


def make_hostile(repository: Path) -> Path:
    """Have the repository's own configuration run a program wherever git lets it."""
    mark = repository.parent / "mark"
    evil = repository.parent / "evil"
    evil.write_text(f'#!/bin/sh\necho "$0 $*" >> \'{mark}\'\n[ "$1" = remote ] || cat\n')
    evil.chmod(0o755)
    for name in HOOKS:
        shutil.copy2(evil, repository / ".git" / "hooks" / name)
    more = repository / ".git" / "more"
    more.write_text(
        f'[filter "x"]\n\tclean = {evil} clean\n\tsmudge = {evil} smudge\n\trequired = true\n'
        f'[diff "x"]\n\ttextconv = {evil} textconv\n\tcommand = {evil} command\n'
    )
    for name, value in (
        ("core.fsmonitor", str(evil)),
        ("core.pager", str(evil)),
        ("core.editor", str(evil)),
        ("core.sshCommand", str(evil)),
        ("core.alternateRefsCommand", str(evil)),
        ("core.untrackedCache", "true"),
        ("diff.external", str(evil)),
        ("include.path", str(more)),
        ("commit.gpgSign", "true"),
        ("gpg.program", str(evil)),
        ("credential.helper", f"!{evil}"),
        ("protocol.ext.allow", "always"),
        ("remote.origin.url", f"ext::{evil} remote"),
        ("remote.origin.promisor", "true"),
        ("extensions.partialClone", "origin"),
        ("alias.update-ref", f"!{evil}"),
    ):
        run(repository, "config", name, value)
    return mark


@needs_git
async def test_nothing_that_a_repository_names_is_run(repository: Path) -> None:
    (repository / ".gitattributes").write_text("* filter=x diff=x merge=x\n")
    run(repository, "add", ".")
    run(repository, "commit", "-q", "-m", "attributes")
    mark = make_hostile(repository)
    copy = await opened(repository)
    change(copy.directory)
    assert b"GIT binary patch" in await copy.diff()
    await copy.commit("Do it")
    # It is committed as it was written, by whoever the filter is.
    assert run(repository, "cat-file", "-p", "vespera/t1:code.py") == b"one\n2\nthree"
    await copy.remove()
    assert not mark.exists(), mark.read_text()
    # The same is run by git itself: the trap is one.
    run(repository, "checkout", "-q", "-f", "vespera/t1", check=False)
    assert mark.exists()


@needs_git
@pytest.mark.parametrize(("missing", "why"), [("HEAD:code.py", "git read-tree failed"), ("HEAD", "Leave it out")])
async def test_an_object_that_is_missing_is_not_fetched(repository: Path, missing: str, why: str) -> None:
    name = run(repository, "rev-parse", missing).decode().strip()
    mark = make_hostile(repository)
    (repository / ".git" / "objects" / name[:2] / name[2:]).unlink()
    with pytest.raises(WorkingCopyError, match=why):
        await opened(repository, base="main")
    assert not mark.exists(), mark.read_text()
    run(repository, "cat-file", "-e", name, check=False)
    assert mark.exists()


@needs_git
async def test_a_folder_of_a_repository_has_its_place_in_the_worktree(repository: Path) -> None:
    copy = await opened(repository / "dir")
    assert content(copy.directory) == {"two words.txt": b"text\n"}
    (copy.directory / "two words.txt").write_text("changed\n")
    assert b"a/dir/two words.txt" in await copy.diff()


@needs_git
@pytest.mark.parametrize("why", ["no repository", "no commit yet", "no git"])
async def test_without_a_commit_to_start_from_a_copy_is_made(tmp_path: Path, why: str) -> None:
    workspace = plain_directory(tmp_path / "project")
    if why == "no commit yet":
        run(workspace, "init", "-q")
    environment = {"PATH": os.environ["PATH"] if why != "no git" else str(tmp_path)}
    environment["GIT_CEILING_DIRECTORIES"] = str(tmp_path)
    copy = await opened(workspace, environment=environment)
    assert (copy.kind, copy.branch) == (CopyKind.COPY, None)
    assert copy.notes[0].startswith("There is no branch: ")
    assert await copy.commit("Do it") is None
    assert await copy.diff() == b""
    with pytest.raises(WorkingCopyError, match="Leave it out"):
        await opened(workspace, "t2", base="main", environment=environment)


@needs_git
async def test_the_patch_of_a_copy_is_one_that_git_applies(tmp_path: Path) -> None:
    workspace = plain_directory(tmp_path / "project")
    (workspace / "carriage.txt").write_bytes(b"a\r\nb\rc\r\n")
    (workspace / "gone.txt").write_text("gone")
    (workspace / "link").symlink_to("code.py")
    (workspace / "long.txt").write_text("".join(f"{number}\n" for number in range(6_000)))
    for number in range(40):
        (workspace / f"many{number}.txt").write_text("a\nb\nc\nd\ne\nf\ng\n")
    copy = await opened(workspace, environment={"PATH": str(tmp_path)})
    change(copy.directory)
    (copy.directory / "carriage.txt").write_bytes(b"a\r\nB\rc\r\n")
    (copy.directory / "gone.txt").unlink()
    (copy.directory / "link").unlink()
    (copy.directory / "link").write_text("a file now\n")
    (copy.directory / "code.py").chmod(0o755)
    (copy.directory / "long.txt").write_text("".join(f"{number * 2}\n" for number in range(5_000)))
    (copy.directory / "many7.txt").write_text("a\nb\nC\nd\ne\nf\ng\nh\n")
    (copy.directory / "many8.txt").unlink()
    (copy.directory / "many8.txt").symlink_to("many9.txt")
    patch = await copy.diff()
    again = await opened(workspace, environment={"PATH": str(tmp_path)})
    assert await again.diff() == patch
    expected = content(copy.directory)
    for name in (".vespera",):
        shutil.rmtree(workspace / name)
    run(workspace, "init", "-q")
    run(workspace, "apply", "-", text=patch)
    assert content(workspace) == expected
    assert os.access(workspace / "code.py", os.X_OK)


async def test_a_copy_leaves_out_what_nobody_works_on_and_what_leads_out_and_is_bounded(tmp_path: Path) -> None:
    workspace = plain_directory(tmp_path / "project")
    nowhere = {"PATH": str(tmp_path)}
    for name in (".git", ".venv", "node_modules", "dir/__pycache__"):
        (workspace / name).mkdir(parents=True)
        (workspace / name / "file").write_text("left out")
    (workspace / "out").symlink_to("../secret")
    (workspace / "absolute").symlink_to("/etc/passwd")
    (workspace / "inside").symlink_to("code.py")
    os.mkfifo(workspace / "pipe")
    (workspace / "large").write_bytes(b"x" * 2_000)
    copy = await opened(workspace, environment=nowhere, limits=CopyLimits(file_bytes_max=1_000))
    assert set(content(copy.directory)) == {"code.py", "data.bin", "inside"}
    assert all(name in copy.notes[1] for name in ("out (a link that leads out)", "absolute", "large (larger than"))
    with pytest.raises(WorkingCopyError, match=r"is more than is copied .* Make it a git repository"):
        await opened(workspace, "t2", environment=nowhere, limits=CopyLimits(files_max=2))
    with pytest.raises(WorkingCopyError, match="is more than is copied"):
        await opened(workspace, "t3", environment=nowhere, limits=CopyLimits(bytes_max=100))
    # What did not come to be leaves nothing that the next one would take for a copy.
    assert (await opened(workspace, "t2", environment=nowhere)).kind is CopyKind.COPY


@needs_git
async def test_a_patch_is_bounded(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (plain, worktrees):
        monkeypatch.setattr(module, "PATCH_BYTES_MAX", 5_000)
    for name, environment in (("t1", {}), ("t2", {"environment": {"PATH": str(repository.parent)}})):
        copy = await opened(repository, name, **environment)
        (copy.directory / "big.txt").write_text("line\n" * 2_000)
        with pytest.raises(WorkingCopyError, match=r"Remove what was built"):
            await copy.diff()


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", ".state", "administration", "a" * 101, "a\nb", "a.lock"])
async def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(WorkingCopyError, match="Use letters, digits"):
        await opened(plain_directory(tmp_path / "project"), name)


async def test_a_link_in_the_place_of_our_folder_is_refused(tmp_path: Path) -> None:
    workspace = plain_directory(tmp_path / "project")
    (workspace / ".vespera").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (workspace / ".vespera" / "worktrees").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WorkingCopyError, match="symbolic link"):
        await opened(workspace)
    assert not any((tmp_path / "elsewhere").iterdir())


EVERY_KILL = bool(os.environ.get("EVERY_KILL"))
"""`make kills`: at each call of git, not at some of those that write."""
SHIM = """#!/bin/sh
n=$(cat '{count}' 2>/dev/null || echo 0); n=$((n+1)); echo $n > '{count}'
case "{moment} $n" in
"before {at}") kill -9 $PPID; sleep 0.03;;
"amidst {at}") '{real}' "$@" & child=$!; sleep 0.002; kill -9 $child $PPID 2>/dev/null; wait; exit 1;;
esac
'{real}' "$@"; status=$?
[ "{moment} $n" = "after {at}" ] && kill -9 $PPID
exit $status
"""
"""A git that kills whoever called it: before it begins (it goes on alone), after it, or both of them amidst."""


def until_killed(directory: Path, work: Callable[[], object]) -> int:
    """Do it in a process of its own; give the signal that ended it."""
    child = os.fork()
    if child == 0:
        os.setsid()
        try:
            work()
        except WorkingCopyError:
            os._exit(1)
        finally:
            os._exit(0)
    timer = threading.Timer(60, os.kill, (child, signal.SIGKILL))
    timer.start()
    _, status = os.waitpid(child, 0)
    timer.cancel()
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0, directory
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


async def everything(workspace: Path, path: str) -> str:
    """Open a copy, change it, commit it, look at it; give the commit."""
    copy = await opened(workspace, environment={"PATH": path, "HOME": str(workspace.parent)})
    change(copy.directory)
    assert await copy.diff()
    commit = await copy.commit("Do it")
    assert commit is not None
    return commit.id


@needs_git
@pytest.mark.parametrize(("moment", "first"), [("before", 8), ("after", 6), ("amidst", 9)])
def test_a_kill_at_any_call_of_git_leaves_what_the_next_one_goes_on_with(
    tmp_path: Path, moment: str, first: int
) -> None:
    """Killed with the whole process group; the git that was at work goes on alone, but where it is killed too."""
    template = make_repository(tmp_path / "template")
    kills, ended, commit = 0, -1, ""
    for at in range(1, 40) if EVERY_KILL else range(first, 40, 3):
        repository = tmp_path / f"at{at}" / "project"
        shutil.copytree(template, repository, symlinks=True)
        before, index = content(repository), (repository / ".git" / "index").read_bytes()
        shim = tmp_path / f"shim{at}"
        shim.mkdir()
        program = {"count": shim / "count", "at": at, "moment": moment, "real": GIT}
        (shim / "git").write_text(SHIM.format(**program))
        (shim / "git").chmod(0o755)
        path = f"{shim}{os.pathsep}{os.environ['PATH']}"
        ended = until_killed(repository, lambda: trio.run(everything, repository, path))  # noqa: B023 - called now
        kills += ended == signal.SIGKILL
        (shim / "git").unlink()
        try:
            commit = trio.run(everything, repository, path)
        except WorkingCopyError as error:
            problem = str(error)
        else:
            problem = ""
        if problem:
            # Of a git that was killed amidst, only the lock on our own branch can be in the way, and it is named.
            assert moment == "amidst", problem
            assert "vespera/t1.lock" in problem
            assert "remove it by hand" in problem
            continue
        assert run(repository, "rev-parse", "vespera/t1").decode().strip() == commit
        assert run(repository, "rev-list", "--count", "main..vespera/t1") == b"1\n"
        assert run(repository, "worktree", "list").count(b"\n") == 2
        assert run(repository, "fsck", "--strict", "--no-dangling") == b""
        assert (content(repository), (repository / ".git" / "index").read_bytes()) == (before, index)
        shutil.rmtree(repository.parent)
        if not ended:
            break
    assert kills >= (12 if EVERY_KILL else 2)
    assert not ended


@needs_git
def test_a_git_outlives_the_whole_group_of_its_caller_and_whoever_comes_next_waits_for_it(
    repository: Path, tmp_path: Path
) -> None:
    shim = tmp_path / "shim"
    shim.mkdir()
    done = tmp_path / "done"
    (shim / "git").write_text(
        f"#!/bin/sh\ncase \"$*\" in *'worktree add'*) kill -9 -$PPID; sleep 0.3; '{GIT}' \"$@\"; touch '{done}';;"
        f" *) exec '{GIT}' \"$@\";; esac\n"
    )
    (shim / "git").chmod(0o755)
    path = f"{shim}{os.pathsep}{os.environ['PATH']}"
    assert until_killed(repository, lambda: trio.run(everything, repository, path)) == signal.SIGKILL
    assert trio.run(everything, repository, os.environ["PATH"])
    assert done.exists()


@needs_git
def test_a_kill_while_a_copy_is_made_leaves_no_half_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = plain_directory(tmp_path / "project")
    monkeypatch.setattr(places.Place, "keep_record", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    no_git = str(tmp_path)
    assert until_killed(workspace, lambda: trio.run(everything, workspace, no_git)) == signal.SIGKILL
    monkeypatch.undo()
    half = workspace / ".vespera" / "worktrees" / "t1"
    assert half.is_dir()
    (half / "code.py").write_text("half")

    async def look() -> bytes:
        copy = await opened(workspace, environment={"PATH": no_git})
        return await copy.diff()

    assert trio.run(look) == b""
    assert (half / "code.py").read_text() == "one\ntwo\nthree\n"


@needs_git
async def test_whoever_is_cancelled_leaves_a_git_that_writes_to_end_and_kills_one_that_reads(
    repository: Path, tmp_path: Path
) -> None:
    git = find_git({"PATH": os.environ["PATH"]})
    assert git is not None
    slow = tmp_path / "slow"
    slow.mkdir()
    # It ends when it is told to, or after half a minute if nobody kills it.
    wait = f"n=0; until test -e '{slow}/go' || test $n -ge 3000; do n=$((n+1)); sleep 0.01; done"
    (slow / "git").write_text(f"#!/bin/sh\necho $$ > '{slow}/pid'\n{wait}\ntouch '{slow}/done'\n")
    (slow / "git").chmod(0o755)
    patient = find_git({"PATH": f"{slow}{os.pathsep}{os.environ['PATH']}"})
    assert patient is not None
    for writes in (True, False):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: patient.call(repository, "status", writes=writes))  # noqa: B023
            pid = ""
            while not pid.endswith("\n"):
                await trio.sleep(0.005)
                pid = (slow / "pid").read_text() if (slow / "pid").exists() else ""
            nursery.cancel_scope.cancel()
            if writes:
                (slow / "go").touch()
        assert (slow / "done").exists() is writes
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
        for name in ("done", "go", "pid"):
            (slow / name).unlink(missing_ok=True)


@needs_git
async def test_a_git_that_does_not_end_is_left_to_itself_and_told_of(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_module, "TIMEOUT_SECONDS", 0.05)
    (tmp_path / "git").write_text("#!/bin/sh\nexec sleep 5\n")
    (tmp_path / "git").chmod(0o755)
    slow = find_git({"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"})
    assert slow is not None
    with pytest.raises(git_module.GitError, match=r"has not ended after .* what process") as told:
        await slow.call(repository, "status", writes=False)
    assert "git status" not in str(told.value)


@needs_git
async def test_two_at_work_on_one_copy_take_turns(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies_of_it: list[WorkingCopy] = []

    async def open_one() -> None:
        copies_of_it.append(await opened(repository))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(open_one)
    change(copies_of_it[0].directory)
    made: list[bool] = []

    async def commit(copy: WorkingCopy) -> None:
        commit = await copy.commit("Do it")
        assert commit is not None
        made.append(commit.made)

    async with trio.open_nursery() as nursery:
        for copy in copies_of_it:
            nursery.start_soon(commit, copy)
    assert sorted(made) == [False, False, True]
    monkeypatch.setattr(places, "LOCK_TIMEOUT_SECONDS", 0.05)
    async with places.place_of(repository / ".vespera", "t1").locked():
        with pytest.raises(WorkingCopyError, match="somebody else has been at work on t1"):
            await copies_of_it[0].diff()


@needs_git
async def test_many_are_opened_side_by_side(repository: Path) -> None:
    found: list[str | None] = []

    async def one(number: int) -> None:
        copy = await opened(repository, f"t{number}")
        (copy.directory / f"{number}.txt").write_text(str(number))
        await copy.commit(str(number))
        found.append(copy.branch)

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(one, number)
    assert sorted(map(str, found)) == [f"vespera/t{number}" for number in range(5)]
    assert run(repository, "worktree", "list").count(b"\n") == 6


def test_git_is_never_taken_from_a_relative_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "git").write_text("#!/bin/sh\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert find_git({"PATH": f".{os.pathsep}{os.pathsep}bin"}) is None
