"""Attacks on paths, ids, texts, gates and addresses: each refused or harmless, and nothing outside `.vespera` changed.

The corpus is carried out over real transports, against a project full of traps. Afterwards everything outside of
`.vespera` is compared, times of change included, and every answer, log and file of ours is searched for secrets.
Neighbours: `test_attacks_on_doors` attacks what comes before the tools.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference, ResourceTemplateReference

from tests.serving.attack_ground import CANARIES, CONTROL, TOKEN, Ground, assert_nothing_leaked, new_ground
from tests.serving.attacks import ATTACKS, GATES, REFUSED, SQL, TEMPLATES, Attack, Step
from tests.serving.contract.world import World, new_world
from tests.serving.kit import connected, http_client, http_server, succeed, text_of
from vespera_agents.serving.protocol.complaints import ERROR_META
from vespera_agents.store.checks import check_structure
from vespera_agents.store.writer import connect
from vespera_agents.workspace import open_inside

TRUSTED = '[commands]\nallow = ["test -f"]\n'
OURS_BROKEN = {"internal_error", "store_unavailable", "artifact_missing"}
"""Kinds that say that something of ours is broken: no attack may come to them."""
ATTACK_SECONDS = 20.0
FLIPS = 60
"""Calls while a link is swapped under them."""


@pytest.fixture
def ground() -> Iterator[Ground]:
    with new_ground() as ground:
        yield ground


@contextlib.asynccontextmanager
async def _over_stdio(ground: Ground) -> AsyncIterator[tuple[Client, Client]]:
    async with connected(ground, "legacy", "one") as one, connected(ground, "auto", "two") as two:
        yield one, two


@contextlib.asynccontextmanager
async def _over_http(ground: Ground) -> AsyncIterator[tuple[Client, Client]]:
    async with (
        http_server(ground, "--token-file", str(ground.token_file)) as server,
        http_client(server.url, "auto", "one", token=TOKEN) as one,
        http_client(server.url, "legacy", "two", token=TOKEN) as two,
    ):
        yield one, two
        assert_nothing_leaked("\n".join(server.errors))


TRANSPORTS = {"stdio": _over_stdio, "http": _over_http}


def test_the_corpus_is_large_and_each_attack_has_a_name_of_its_own() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) >= 60


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_every_attack_is_refused_or_harmless(transport: str, ground: Ground) -> None:
    problems: list[str] = []
    ground.workspace.make()
    ground.trust(TRUSTED)
    async with TRANSPORTS[transport](ground) as (one, two):
        bystander = await new_world(ground, one, two)
        shared = world = await new_world(ground, one, two)
        kept = ground.rows("SELECT * FROM task WHERE session_id=? ORDER BY id", bystander.ids["session"])
        before, tables = ground.snapshot(), ground.rows("SELECT sql FROM sqlite_master")
        for attack in ATTACKS:
            used_up = attack.outcome != REFUSED and any("@ready" in step[1].values() for step in attack.steps)
            world = await new_world(ground, one, two) if used_up else shared
            if used_up:
                before = ground.snapshot()
            state = ground.state() if attack.outcome == REFUSED else None
            for step in attack.steps:
                problems += [f"{attack.name}: {step!r:.300}: {one}" for one in await _carry_out(world, attack, step)]
            if state is not None and ground.state() != state:
                problems.append(f"{attack.name}: it was refused and changed the store")
            after = ground.snapshot()
            if after != before:
                changed = sorted(name for name in after.keys() | before.keys() if after.get(name) != before.get(name))
                problems.append(f"{attack.name}: it changed {changed}")
                before = after
        assert ground.rows("SELECT sql FROM sqlite_master") == tables
        assert ground.rows("SELECT * FROM task WHERE session_id=? ORDER BY id", bystander.ids["session"]) == kept
        with contextlib.closing(connect(ground.workspace.database)) as connection:
            assert check_structure(connection) == []
    assert not problems, f"{len(problems)}:\n" + "\n".join(problems[:40])
    assert ground.leaks() == []
    _assert_documents_are_plain(ground)
    _assert_commands_say_it_plainly(ground)


async def _carry_out(world: World, attack: Attack, step: Step) -> list[str]:
    """Make one call of an attack, and say what is wrong with what came of it."""
    method, told = step
    outside = str(getattr(world.place, "outside", ""))
    about = json.loads(json.dumps(world.resolve(told)).replace("{outside}", outside))
    with trio.fail_after(ATTACK_SECONDS):
        text, kind = await _answer(world.one, method, _with_ids(world, about))
    problems = [f"{word!r} is in {text[:400]!r}" for word in (*CANARIES, *attack.never) if word in text]
    problems += [f"{word} is in {text[:400]!r}" for word in ("Traceback", "pydantic", "site-packages") if word in text]
    if kind is None and attack.outcome == REFUSED:
        problems.append(f"it was not refused: {text[:300]!r}")
    if kind in OURS_BROKEN:
        problems.append(f"it came to {kind}: {text[:300]!r}")
    if kind is not None and not all(text.partition("\nNext: ")):
        problems.append(f"a refusal of another shape: {text[:300]!r}")
    return problems


def _with_ids(world: World, value: Any) -> Any:
    """Put ids into addresses, too."""
    if isinstance(value, dict) and "uri" in value and isinstance(value["uri"], str):
        for name in ("session", "artifact"):
            value = {**value, "uri": value["uri"].replace(f"@{name}", world.ids[name])}
    return value


async def _answer(client: Client, method: str, params: dict[str, Any]) -> tuple[str, str | None]:
    """Make a call, and give all that it answered, and the kind of its refusal."""
    try:
        if method == "prompts/get":
            return (await client.get_prompt(params["name"], params["arguments"])).model_dump_json(), None
        if method == "resources/read":
            return (await client.read_resource(params["uri"])).model_dump_json(), None
        if method == "completion/complete":
            ref = params["ref"]
            reference = PromptReference(**ref) if ref["type"] == "ref/prompt" else ResourceTemplateReference(**ref)
            return (await client.complete(reference, params["argument"])).model_dump_json(), None
    except MCPError as error:
        data = error.error.data
        return error.error.message, str(data["kind"]) if isinstance(data, dict) and "kind" in data else "protocol"
    result = await client.call_tool(f"orchestrator_{method}", params)
    if not result.is_error:
        return "\n".join([text_of(result), result.model_dump_json()]), None
    assert result.meta is not None
    return text_of(result), str(result.meta[ERROR_META]["kind"])


def _assert_documents_are_plain(ground: Ground) -> None:
    documents = list(ground.workspace.reports.rglob("*"))
    assert documents, "no document was written"
    for path in documents:
        found = CONTROL.search(path.read_text())
        assert found is None, f"{found!r} in {path.name}"


def _assert_commands_say_it_plainly(ground: Ground) -> None:
    for command in (["status"], ["call", "get_status", "{}"], ["call", "list_sessions", "{}"]):
        said = subprocess.run(
            [sys.executable, "-m", "vespera_agents", *command, "--workspace", str(ground.project)],
            env=ground.environment, cwd=ground.project, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        text = (said.stdout + said.stderr).decode()
        assert text
        assert_nothing_leaked(text)
        found = CONTROL.search(text)
        assert found is None, f"{found!r} in what {command} prints: {text[:600]!r}"


async def test_texts_of_attacks_are_kept_letter_for_letter(ground: Ground) -> None:
    async with connected(ground) as client:
        await succeed(client, "orchestrator_initialize_session", name="kept")
        for text in (*SQL.values(), *TEMPLATES.values()):
            given = await client.call_tool("orchestrator_plan_task", {"title": "kept", "description": text})
            assert not given.is_error, text_of(given)
        kept = {row[0] for row in ground.rows("SELECT description FROM task")}
        assert kept == {*SQL.values(), *TEMPLATES.values()}


async def test_a_command_gets_what_follows_an_allowed_beginning_as_arguments_and_no_shell_reads_it(
    ground: Ground,
) -> None:
    """What is allowed is `printf`, which shows what it was given."""
    ground.workspace.make()
    ground.trust('[commands]\nallow = ["printf [%s]"]\n')
    async with connected(ground) as client:
        await succeed(client, "orchestrator_initialize_session", name="gates")
        for text in GATES.values():
            rest = text.removeprefix("test -f ").replace("{outside}", str(ground.outside))
            gate = {"command": f"printf [%s] {rest}"}
            task = await succeed(client, "orchestrator_plan_task", title=f"t {rest}"[:200], gates=[gate])
            identifier = task.get("id") or task["tasks"][0]["id"]
            await succeed(client, "orchestrator_execute_task", task_id=identifier)
            await succeed(
                client, "orchestrator_complete_task", task_id=identifier, summary="x", next_action="complete"
            )  # fmt: skip
    assert sorted(path.name for path in ground.outside.iterdir()) == ["plan.md", "secret.txt"]


async def test_a_shell_gets_the_very_line_that_is_allowed_and_no_other(ground: Ground) -> None:
    ground.workspace.make()
    ground.trust('[commands]\nallow = ["test -f link_file"]\nshell = true\n')
    async with connected(ground) as client:
        await succeed(client, "orchestrator_initialize_session", name="shell")
        for text in (*GATES.values(), "test -f link_file; true", "test -f link_file\ntrue", "test -f link_file #"):
            command = text.replace("notes.txt", "link_file").replace("{outside}", str(ground.outside))
            gates = [{"command": command, "shell": True}]
            task = await succeed(client, "orchestrator_plan_task", title="t", gates=gates)
            identifier = task.get("id") or task["tasks"][0]["id"]
            await succeed(client, "orchestrator_execute_task", task_id=identifier)
            work = {"task_id": identifier, "summary": "x", "next_action": "complete"}
            refused = await client.call_tool("orchestrator_complete_task", work)
            assert refused.is_error, f"{command!r} was run by a shell"
    assert sorted(path.name for path in ground.outside.iterdir()) == ["plan.md", "secret.txt"]


@contextlib.contextmanager
def _swapping(path: Path, targets: tuple[Path, Path]) -> Iterator[None]:
    """Swap what a name leads to, over and over: a link to the outside, and what may be read."""
    ended = threading.Event()

    def swap() -> None:
        aside = path.with_name("aside")
        while not ended.is_set():
            aside.symlink_to(targets[0])
            aside.replace(path)
            if targets[1].is_dir():
                path.unlink()
                shutil.copytree(targets[1], path)
                shutil.rmtree(path)
            else:
                shutil.copy(targets[1], aside)
                aside.replace(path)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


async def test_a_link_that_is_swapped_under_a_call_never_leads_outside(ground: Ground) -> None:
    (ground.project / "honest.txt").write_text("honest\n")
    (ground.project / "plan.md").write_text("# honest\n## Phase 1: Do\n### first\nhonest\n")
    async with connected(ground) as client:
        await succeed(client, "orchestrator_initialize_session", name="race")
        race = ground.project / "race.txt"
        with _swapping(race, (ground.outside / "secret.txt", ground.project / "honest.txt")):
            for number in range(FLIPS):
                task = await succeed(client, "orchestrator_plan_task", title=f"t {number}")
                identifier = task.get("id") or task["tasks"][0]["id"]
                await succeed(client, "orchestrator_execute_task", task_id=identifier)
                work = {"task_id": identifier, "summary": "x", "next_action": "complete", "file_paths": ["race.txt"]}
                await client.call_tool("orchestrator_complete_task", work)
        swapped = ground.project / "swapped.md"
        with _swapping(swapped, (ground.outside / "plan.md", ground.project / "plan.md")):
            for _ in range(FLIPS):
                told = await client.call_tool("orchestrator_plan_task", {"plan_path": "swapped.md"})
                assert not any(canary in told.model_dump_json() for canary in CANARIES)
    assert ground.leaks() == []


def test_a_path_that_has_become_a_link_since_it_was_looked_at_is_not_opened(ground: Ground) -> None:
    """The race of the test above, without luck: the path was resolved before the link was put there."""
    project = ground.project
    (project / "notes.txt").write_text("notes")
    (project / "inner" / "file.txt").write_text("inside")
    with open_inside(project, project / "inner" / "file.txt") as file:
        assert file.read() == b"inside"
    (project / "inner").rename(project / "moved")
    (project / "inner").symlink_to(ground.outside)
    for path in ("link_file", "inner/secret.txt", "fifo", "socket", "link_zero", "inner", "."):
        with pytest.raises(OSError, match=r"\[Errno \d+\]"):
            open_inside(project, project / path)


@pytest.mark.parametrize(
    "part", ["", "vespera.db", "vespera.db-wal", "vespera.db-shm", "artifacts", "servers", "reports"]
)
async def test_a_project_that_brings_links_in_its_own_directory_is_not_served(ground: Ground, part: str) -> None:
    target = ground.outside if part in {"", "artifacts", "servers", "reports"} else ground.outside / "new"
    (ground.project / ".vespera" / part).parent.mkdir(exist_ok=True)
    (ground.project / ".vespera" / part).symlink_to(target)
    before = ground.snapshot()
    ended = await trio.run_process(
        ground.command, env=ground.environment, stdin=b"", capture_stderr=True, capture_stdout=True, check=False
    )
    assert ended.returncode != 0
    assert b"symbolic link" in ended.stderr
    assert b"Traceback" not in ended.stderr
    assert ground.snapshot() == before


async def test_links_and_pipes_in_our_own_directory_are_not_followed(ground: Ground) -> None:
    dot = ground.project / ".vespera"
    (dot / "roles").mkdir(parents=True)
    (dot / ".gitignore").symlink_to(ground.outside / "new.txt")
    os.mkfifo(dot / "config.toml")
    before = ground.snapshot()
    async with connected(ground) as client:
        await succeed(client, "orchestrator_initialize_session", name="x")
        (dot / "roles" / "stolen.yaml").symlink_to(ground.outside / "secret.txt")
        with trio.fail_after(ATTACK_SECONDS):
            answers = [
                await client.call_tool("orchestrator_plan_task", {"title": "x", "gates": ["true"]}),
                await client.call_tool("orchestrator_initialize_session", {"name": "x"}),
            ]
        (dot / "roles" / "stolen.yaml").unlink()
        for letters in (f"{number:02x}" for number in range(256)):
            (dot / "artifacts" / letters).symlink_to(ground.outside)
        task = await succeed(client, "orchestrator_plan_task", title="y")
        identifier = task.get("id") or task["tasks"][0]["id"]
        await succeed(client, "orchestrator_execute_task", task_id=identifier)
        work = {"task_id": identifier, "summary": "x", "next_action": "complete", "detailed_work": "work"}
        answers.append(await client.call_tool("orchestrator_complete_task", work))
        assert answers[-1].is_error
        for answer in answers:
            assert_nothing_leaked(answer.model_dump_json())
    assert ground.snapshot() == before
