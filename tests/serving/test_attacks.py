"""Attacks on paths, ids, texts, gates and addresses: each refused or harmless, and nothing outside `.vespera` changed.

The corpus is carried out over real transports, against a project full of traps. Afterwards everything outside `.vespera`
is compared, times of change included, and every answer, log and file of ours is searched for secrets.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference, ResourceTemplateReference

from tests.serving.attack_ground import CANARIES, ENVIRONMENT, TOKEN, Ground
from tests.serving.attacks import ATTACKS, GATES, REFUSED, SQL, TEMPLATES, Attack, Step
from tests.serving.contract.world import World, new_world
from tests.serving.fuzz.bodies import exchange
from tests.serving.fuzz.messages import call, handshake
from tests.serving.kit import connected, http_client, http_server, succeed, text_of
from vespera_agents.serving.protocol.server import ERROR_META
from vespera_agents.store.checks import check_structure
from vespera_agents.store.writer import connect
from vespera_agents.workspace import open_inside

TRUSTED = '[commands]\nallow = ["test -f"]\n'
OURS_BROKEN = {"internal_error", "store_unavailable", "artifact_missing"}
"""Kinds that say that something of ours is broken: no attack may come to them."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What a terminal would act on, or that turns text around."""
ATTACK_SECONDS = 20.0
FLIPS = 60
"""Calls while a link is swapped under them."""


@pytest.fixture
def ground() -> Iterator[Ground]:
    ground = Ground(Path(tempfile.mkdtemp(prefix="vsa-")).resolve())
    try:
        for name in ("project", "home", "state", "runtime"):
            (ground.root / name).mkdir()
        ground.lay()
        yield ground
    finally:
        shutil.rmtree(ground.root)


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
        _assert_nothing_leaked("\n".join(server.errors))


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


def _assert_nothing_leaked(text: str) -> None:
    for word in (*CANARIES, "Traceback"):
        assert word not in text, text[-2_000:]


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
        _assert_nothing_leaked(text)
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
        with pytest.raises(OSError, match="."):
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
            _assert_nothing_leaked(answer.model_dump_json())
    assert ground.snapshot() == before


def _head(port: int, *lines: str, body: bytes = b"") -> bytes:
    about = ["POST /mcp HTTP/1.1", "Content-Type: application/json", "Accept: application/json, text/event-stream",
             f"Content-Length: {len(body)}", "Connection: close", *lines]  # fmt: skip
    if not any(line.lower().startswith("host:") for line in lines):
        about.append(f"Host: 127.0.0.1:{port}")
    return "\r\n".join(about).encode() + b"\r\n\r\n" + body


HEADS: dict[str, tuple[tuple[str, ...], set[bytes]]] = {
    "another host": (("Host: evil.example",), {b"421"}),
    "a host that begins like ours": (("Host: 127.0.0.1.evil.example",), {b"421"}),
    "a host with ours in its user": (("Host: 127.0.0.1@evil.example",), {b"421"}),
    "two hosts": (("Host: 127.0.0.1", "Host: evil.example"), {b"400", b"421"}),
    "a page of another host": (("Origin: http://evil.example",), {b"403"}),
    "a page of nowhere": (("Origin: null",), {b"403"}),
    "a page that begins like ours": (("Origin: http://localhost.evil.example",), {b"403"}),
    "no token": ((), {b"401"}),
    "a wrong token": (("Authorization: Bearer guessed",), {b"401"}),
    "a token in the query": (("X-Token: " + TOKEN,), {b"401"}),
    "two tokens": ((f"Authorization: Bearer {TOKEN}", "Authorization: Bearer x"), {b"401", b"400"}),
    "another's session": ((f"Authorization: Bearer {TOKEN}", "Mcp-Session-Id: " + "0" * 32), {b"404"}),
    "a session that is a path": ((f"Authorization: Bearer {TOKEN}", "Mcp-Session-Id: ../../etc"), {b"404"}),
    "a line break in a name": ((f"Authorization: Bearer {TOKEN}", "Mcp-Name: x\r\n y: z"), {b"400"}),
    "two lengths": ((f"Authorization: Bearer {TOKEN}", "Content-Length: 3"), {b"400"}),
    "a length and chunks": ((f"Authorization: Bearer {TOKEN}", "Transfer-Encoding: chunked"), {b"400"}),
}


async def test_what_comes_over_http_from_elsewhere_is_turned_away(ground: Ground) -> None:
    body = json.dumps(call("legacy", 1, "initialize_session", {"name": "no"})).encode()
    async with http_server(ground, "--token-file", str(ground.token_file)) as server:
        port = int(server.url.rsplit(":", 1)[1].partition("/")[0])
        for name, (lines, statuses) in HEADS.items():
            with trio.fail_after(ATTACK_SECONDS):
                answer = await exchange(port, _head(port, *lines, body=body))
            assert answer[9:12] in statuses, f"{name}: {answer[:300]!r}"
            _assert_nothing_leaked(answer.decode())
            assert b"evil" not in answer, f"{name} is told back"
        assert ground.rows("SELECT name FROM session") == []
        assert await server.end(signal.SIGTERM) == 0
        _assert_nothing_leaked("\n".join(server.errors))


async def test_names_of_clients_write_no_lines_of_their_own_into_logs_and_rows(ground: Ground) -> None:
    name = "x\n2026-01-01 ERROR forged\r\n\x1b[31m; DROP TABLE task"
    async with http_server(ground) as server:
        async with http_client(server.url, "auto", name) as client:
            await succeed(client, "orchestrator_initialize_session", name="x")
            task = await succeed(client, "orchestrator_plan_task", title="t")
            await succeed(client, "orchestrator_execute_task", task_id=task.get("id") or task["tasks"][0]["id"])
        assert not [line for line in server.errors if "forged" in line]
    for (who,) in ground.rows("SELECT claimed_by FROM task WHERE claimed_by IS NOT NULL"):
        assert CONTROL.search(who) is None
        assert "\n" not in who
    for row in ground.rows("SELECT origin, key FROM command") + ground.rows("SELECT claimed_by, id FROM task"):
        assert not any("\n" in str(value) or CONTROL.search(str(value)) for value in row), row


async def test_forged_state_and_guessed_jobs_come_to_nothing(ground: Ground) -> None:
    (ground.project / "notes.txt").write_text("notes")
    messages = [
        call("modern", number, "initialize_session", {})
        | {"params": {**call("modern", number, "initialize_session", {})["params"], "requestState": state}}
        for number, state in enumerate(("x", "AAAA.BBBB", "eyJyb290IjoiL2V0YyJ9.x", "a" * 100_000, "\0", "..", "é"))
    ]
    for number, identifier in enumerate(("job_1", "../../x", "' OR 1=1 --", "%", "")):
        messages += [
            {**call("modern", f"{method} {number}", "x", {}), "method": method}
            | {"params": {**call("modern", 0, "x", {})["params"], "taskId": identifier}}
            for method in ("tasks/get", "tasks/cancel", "tasks/update", "tasks/result")
        ]
    lines = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
    run = partial(trio.run_process, ground.command, env=ground.environment, check=False)
    with trio.fail_after(60):
        ended = await run(stdin=lines, capture_stdout=True, capture_stderr=True)
    answers = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(answers) == len(messages)
    for answer in answers:
        refused = "error" in answer or answer["result"].get("isError")
        assert refused or answer["id"] in range(7), f"a forgery was taken: {answer}"
    # A state that we did not sign is as good as none: the session is in the server's own workspace.
    assert set(ground.rows("SELECT directory FROM session")) <= {(str(ground.project),)}
    _assert_nothing_leaked((ended.stdout + ended.stderr).decode())
    assert handshake()["method"] == "initialize"
    assert ENVIRONMENT in ground.environment.values(), "the canary was never there"
