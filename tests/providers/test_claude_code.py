"""Claude Code as a worker, with real processes that behave like it: answers, money, denials, ends of every kind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from supervisors import Supervisor
from supervisors.guardian import open_guardian
from vespera_agents.providers import claude_code
from vespera_agents.providers.claude_code import claude, fake, run
from vespera_agents.providers.claude_code.claude import ClaudeCode
from vespera_agents.providers.claude_code.settings import ClaudeCodeSettings
from vespera_agents.providers.errors import BadRequest, MalformedAnswer, NotConfigured, TimedOut, Unavailable
from vespera_agents.providers.exchange import Finish, ModelMessage, ModelRequest, ToolSpec, Usage
from vespera_agents.providers.whole_tasks import Denial, Ended, WholeTask, WorkFacts

ROOT = Path(claude_code.__file__).parents[3]
FAKE = (sys.executable, "-m", fake.__name__)
MARK = "VESPERA_TEST_MARK"


def alive(mark: str) -> list[int]:
    """Return the running processes whose environment carries the mark."""
    wanted = f"{MARK}={mark}".encode()
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


class Place:
    """A provider in a tree of its own, and a working copy."""

    def __init__(self, root: Path, supervisor: Supervisor, provider: ClaudeCode, mark: str) -> None:
        self.root, self.supervisor, self.provider, self.mark = root, supervisor, provider, mark
        self.heard: list[WorkFacts] = []

    def whole_task(self, *lines: str, **more: object) -> WholeTask:
        values: dict[str, object] = {"name": "task_1", "run_id": str(uuid.uuid4()), "timeout_seconds": 30.0, **more}
        text = "\n".join(["Do the work.", *(f"fake: {line}" for line in lines)])
        return WholeTask(text=text, directory=self.root / "copy", **values)  # type: ignore[arg-type]

    async def carry_out(self, *lines: str, **more: object) -> claude.Carried:
        return await self.provider.carry_out(self.whole_task(*lines, **more), self.heard.append)


@asynccontextmanager
async def opened(root: Path, *, program: tuple[str, ...] = FAKE) -> AsyncGenerator[Place]:
    (root / "copy").mkdir()
    mark = uuid.uuid4().hex
    environ = {**os.environ, "PYTHONPATH": str(ROOT), MARK: mark, "OPENAI_API_KEY": "another", "ANTHROPIC_API_KEY": "x"}
    settings = ClaudeCodeSettings(
        root / "home",
        program=program,
        credential=lambda: {"CLAUDE_CODE_OAUTH_TOKEN": "secret"},
        environment=("PYTHONPATH", MARK),
    )
    async with open_guardian(None) as guardian, trio.open_nursery() as nursery:
        supervisor = Supervisor(name="models")
        await nursery.start(lambda task_status: supervisor.run(task_status=task_status))

        async def guard():
            return guardian

        async def children():
            return supervisor

        provider = ClaudeCode(settings, guardian=guard, children=children, environ=environ)
        yield Place(root, supervisor, provider, mark)
        supervisor.stop()
    assert alive(mark) == []


async def test_a_task_is_carried_out_in_its_copy_and_what_it_used_is_told_once(tmp_path):
    async with opened(tmp_path) as place:
        done = await place.carry_out("write made.txt hello", "say it is made", tools=("write_file",), system="a role")
        assert (tmp_path / "copy" / "made.txt").read_text() == "hello\n"
        assert (done.completion.text, done.completion.finish) == ("it is made", Finish.END)
        # Two messages, three blocks of them: each message is counted once, with what came out of a cache.
        assert done.completion.usage == Usage(320, 40, 100, 20)
        assert (done.completion.cost_usd, done.facts.turns) == (0.02, 2)
        assert (done.facts.ended, done.facts.denials, done.facts.resumed) == (Ended.DONE, (), False)
        assert done.completion.model == "fake-model"
        assert place.heard[-1] == done.facts
        assert (tmp_path / "home" / "task_1").stat().st_mode & 0o777 == 0o700
        assert place.provider.statistics().in_flight == 0


async def test_what_the_role_does_not_allow_is_denied_and_told(tmp_path):
    async with opened(tmp_path) as place:
        done = await place.carry_out(
            "write made.txt hello",
            "use Read ../../secrets",
            "use Bash rm -rf .",
            "use Bash git diff --stat",
            "say so be it",
            tools=("read_file", "run_command"),
            commands=("git diff",),
        )
        assert done.facts.denials == (
            Denial("Write", "made.txt"),
            Denial("Read", "../../secrets"),
            Denial("Bash", "rm -rf ."),
        )
        assert done.completion.finish is Finish.END
        assert not (tmp_path / "copy" / "made.txt").exists()
        assert place.provider.tree_detail()["denials"] == 3
        asked = await place.carry_out("ask Bash", name="task_2")
        assert '"behavior": "deny"' in asked.completion.text


async def test_of_several_results_the_cumulative_cost_counts_once(tmp_path):
    async with opened(tmp_path) as place:
        done = await place.carry_out("say one", "result", "say two", "cost 0.5")
        assert (done.completion.text, done.facts.cost_usd, done.facts.turns) == ("two", 0.52, 2)
        assert [facts.cost_usd for facts in place.heard] == [0.01, 0.52, 0.52]


async def test_its_environment_is_named_and_has_no_key_but_its_own(tmp_path):
    async with opened(tmp_path) as place:
        names = set((await place.carry_out("environment")).completion.text.split())
        assert {"CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CONFIG_DIR", "PATH", "DISABLE_AUTOUPDATER"} <= names
        assert {name for name in names if "KEY" in name} == set()
        # PWD and what shells add; nothing else that was not named.
        ours = {"PYTHONPATH", MARK, "PWD", "OLDPWD", "SHLVL", "_", "TERM", "LC_CTYPE"}
        rest = {name for name in names if not name.startswith(("CLAUDE_", "DISABLE_"))}
        assert rest <= ours | {"HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER"}


async def test_a_run_is_gone_on_with_whether_or_not_it_is_known_that_it_was_begun(tmp_path):
    async with opened(tmp_path) as place:
        run_id = str(uuid.uuid4())
        # Killed before it began anything: it begins now.
        first = await place.carry_out(run_id=run_id, begun=True)
        assert (first.facts.resumed, first.completion.text[:12]) == (False, "done after 0")
        second = await place.carry_out(run_id=run_id, begun=True)
        assert (second.facts.resumed, second.completion.text[:12]) == (True, "done after 1")
        # The id is in use, as an earlier process of ours left it.
        third = await place.carry_out(run_id=run_id)
        assert (third.facts.resumed, third.completion.text[:12]) == (True, "done after 2")
        fork = await place.carry_out(forked_from=run_id)
        assert (fork.completion.text[:12], fork.facts.run_id != run_id) == ("done after 3", True)
        again = await place.carry_out(run_id=run_id, begun=True)
        assert again.completion.text[:12] == "done after 3", "a fork leaves the run as it is"
        other = await place.carry_out(run_id=run_id, name="task_2", begun=True)
        assert other.completion.text[:12] == "done after 0", "a task knows nothing of another one's runs"


async def test_an_interrupted_run_tells_what_it_cost_and_goes_on_later(tmp_path):
    async with opened(tmp_path) as place:
        results: list[claude.Carried] = []
        whole_task = place.whole_task("say one", "slow 60")

        async def work() -> None:
            results.append(await place.provider.carry_out(whole_task, place.heard.append))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            await begun(place)
            with pytest.raises(BadRequest, match="being worked on"):
                await place.carry_out()
            assert await place.provider.interrupt("task_1")
        (done,) = results
        assert (done.facts.ended, done.facts.cost_usd, done.completion.finish) == (
            Ended.INTERRUPTED,
            0.01,
            Finish.LENGTH,
        )
        assert not await place.provider.interrupt("task_1")
        again = await place.carry_out(run_id=whole_task.run_id, begun=True)
        assert again.completion.text[:12] == "done after 1"


async def begun(place: Place) -> None:
    """Wait until a run has told its first message."""
    with trio.fail_after(20):
        while True:
            children = place.supervisor.which_children()
            details = [place.supervisor.child_value(child.id).tree_detail() for child in children]  # type: ignore[attr-defined]
            if any(detail["turns"] for detail in details):
                assert [child.id for child in children] == ["claude-code task_1"]
                return
            await trio.sleep(0.01)


@pytest.mark.parametrize("behaviour", ["slow 60", "deaf 60"])
async def test_a_cancelled_run_is_over_in_bounded_time_and_its_cost_is_heard(tmp_path, monkeypatch, behaviour):
    monkeypatch.setattr(claude, "SETTLE_SECONDS", 5.0 if behaviour == "slow 60" else 0.2)
    monkeypatch.setattr(run, "GRACE_SECONDS", 0.2)
    async with opened(tmp_path) as place:
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(place.carry_out, "say one", behaviour)
                await begun(place)
                nursery.cancel_scope.cancel()
        assert alive(place.mark) == []
        last = place.heard[-1]
        if behaviour == "slow 60":
            assert (last.ended, last.cost_usd, last.usage.estimated) == (Ended.INTERRUPTED, 0.01, False)
        else:
            # It told no result: what is known is what its messages said.
            assert (last.ended, last.cost_usd, last.usage) == (None, None, Usage(160, 20, 50, 10, estimated=True))


async def test_what_takes_too_long_or_too_much_is_stopped(tmp_path):
    async with opened(tmp_path) as place:
        with pytest.raises(TimedOut, match=r"within 0\.5 s"):
            await place.carry_out("slow 60", timeout_seconds=0.5)
        spent = await place.carry_out("cost 0.5", "say one", spend_usd_max=0.2)
        assert (spent.facts.ended, spent.completion.finish) == (Ended.BUDGET, Finish.LENGTH)
        turned = await place.carry_out("say one", "say two", turns_max=1)
        assert turned.facts.ended is Ended.TURNS
        assert place.provider.statistics().failures == 1


async def test_a_process_that_dies_or_babbles_is_an_error_of_the_exchange(tmp_path):
    async with opened(tmp_path) as place:
        with pytest.raises(Unavailable, match="ended with status 137 before it told a result"):
            await place.carry_out("say one", "crash")
        assert place.heard[-1].usage == Usage(160, 20, 50, 10, estimated=True)
        babbled = await place.carry_out("broken", "say all the same")
        assert babbled.completion.text == "all the same"
        with pytest.raises(MalformedAnswer, match="had 3 lines"):
            await place.carry_out("broken", "crash")
        with pytest.raises(BadRequest, match="working copy"):
            await place.provider.carry_out(
                WholeTask("task_3", str(uuid.uuid4()), "text", tmp_path / "none", timeout_seconds=5.0)
            )


async def test_without_its_program_it_is_not_configured(tmp_path):
    async with opened(tmp_path, program=("no-such-claude",)) as place:
        with pytest.raises(NotConfigured, match="Install Claude Code"):
            await place.carry_out()


async def test_single_requests_are_answered_without_tools_and_leave_nothing(tmp_path):
    async with opened(tmp_path) as place:
        request = ModelRequest("", "a role", (ModelMessage("user", "fake: say a longer answer"),))
        answer = await place.provider.complete(request)
        assert (answer.text, answer.cost_usd, answer.finish) == ("a longer answer", 0.01, Finish.END)
        pieces: list[str] = []
        async with place.provider.stream(request) as stream:
            pieces.extend([chunk.text async for chunk in stream])
        assert "".join(pieces) == "a longer answer"
        assert stream.completion.text == "a longer answer"
        tool = ToolSpec("search", "search", {"type": "object"})
        with pytest.raises(BadRequest, match="tools"):
            await place.provider.complete(ModelRequest("", "", request.messages, tools=(tool,)))
        assert list((tmp_path / "home").iterdir()) == []


DOOMED = """
import sys, uuid
from pathlib import Path
import trio
sys.path.insert(0, sys.argv[3])
from tests.providers.test_claude_code import opened

async def main():
    async with opened(Path(sys.argv[1])) as place:
        place.provider._environ = {**place.provider._environ, "VESPERA_TEST_MARK": sys.argv[2]}
        await place.carry_out("write begun x", "deaf 60", tools=("write_file",))

trio.run(main)
"""


async def test_it_dies_with_the_process_that_had_it_work(tmp_path):
    mark = uuid.uuid4().hex
    arguments = [sys.executable, "-c", DOOMED, str(tmp_path), mark, str(ROOT)]
    with subprocess.Popen(arguments, cwd=ROOT) as ours:  # noqa: ASYNC220 - started at once, killed soon
        with trio.fail_after(30):
            while not (tmp_path / "copy" / "begun").exists():  # noqa: ASYNC110 - somebody else's process tells us nothing
                await trio.sleep(0.02)
        assert alive(mark)
        ours.send_signal(signal.SIGKILL)
    with trio.fail_after(10):
        while alive(mark):  # noqa: ASYNC110 - nor that they are gone
            await trio.sleep(0.02)
