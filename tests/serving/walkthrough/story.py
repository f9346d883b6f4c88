"""The story that the walkthrough tells, carried out for real while it is told: two programs, one workspace.

Not a test. `tell` writes the document. Each section does its steps in order, with what the ones before left. The second
half, from the crash on, stands in `ending`. Neighbours: `players`, `transcript`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import trio
from mcp import MCPError
from mcp.server.subscriptions import ResourceUpdated
from mcp_types import PromptReference, TextContent

from tests.serving.kit import Place, connected, http_server, new_place
from tests.serving.walkthrough.ending import (
    the_commands_show_it,
    the_others_go_on,
    the_work_is_brought_to_its_end,
)
from tests.serving.walkthrough.players import WAIT_SECONDS, Decider, Inspector, Person, Shell, eventually
from tests.serving.walkthrough.transcript import Transcript
from vespera_agents.workspace import live_servers

FILES = {
    "README.md": "# Tally\n\nCounts words: `sh tally.sh FILE`.\n",
    "tally.sh": 'printf "%s words\\n" "$(wc -w < "$1" | tr -d " ")"\n',
    "check.sh": """\
said=$(sh tally.sh sample.txt)
test "$said" = "3 lines, 7 words" || { echo "tally.sh says: $said"; exit 1; }
""",
}
"""A small project: a script and its check. The same on every machine, so that the same is printed."""
LINES = 'printf "%s lines, %s words\\n" "$(wc -l < "$1" | tr -d " ")" "$(wc -w < "$1" | tr -d " ")"\n'
SAMPLE = "one two three\nfour five\nsix seven\n"
PLAN = """\
---
id: RELEASE
---
# Release
## Phase 1: Build
### Pack
```yaml
run: "sh pack.sh"
```
### Soak
```yaml
run: "sh soak.sh"
depends: [pack]
```
"""
CONFIG = """\
[commands]
allow = ["sh check.sh", "sh pack.sh", "sh soak.sh"]
"""
SUBTASKS = [
    {"key": "design", "title": "Decide on the output", "specialist": "architect"},
    {"key": "sample", "title": "Write a sample", "specialist": "tester"},
    {
        "key": "count",
        "title": "Count lines",
        "specialist": "coder",
        "dependencies": ["design", "sample"],
        "gates": ["sh check.sh"],
    },
    {"key": "readme", "title": "Describe it", "specialist": "documenter", "dependencies": ["count"]},
    {"key": "colour", "title": "Colour the output", "dependencies": ["design"]},
    {"key": "themes", "title": "Choose among themes", "dependencies": ["colour"]},
    {"key": "announce", "title": "Announce it", "specialist": "documenter", "dependencies": ["readme"]},
]
DECISION = """\
One line: first the lines, then the words, separated by a comma.

    3 lines, 7 words

- A file without a line end at its end counts as one line less, as wc does.
- No option for the order: nobody has asked for one.
"""
HEAR_SECONDS = 60.0
"""How long until Ada has heard what Ines did, the start of Ines's Node included."""


@dataclass
class Stage:
    """What the sections share."""

    place: Place
    transcript: Transcript
    ines: Inspector
    shell: Shell
    ids: dict[str, str] = field(default_factory=dict)
    """Ids by key; `session`, and of the plan by title."""
    digests: dict[str, str] = field(default_factory=dict)


async def tell(transcript: Transcript) -> None:
    """Carry the whole story out and write it down."""
    with new_place(spare=True) as place:
        transcript.place(place.project, "<project>")
        transcript.place(place.root, "<home>")
        async with http_server(place) as server:
            stage = Stage(place, transcript, Inspector(server.url, place, transcript), Shell(place, transcript))
            _a_project(stage)
            await _ada_works(stage)
            await the_others_go_on(stage)
            async with connected(place, "legacy", "bea") as client:
                bea = Person("Bea", client, place, transcript)
                await the_work_is_brought_to_its_end(stage, bea)
            await the_commands_show_it(stage)
            assert await server.end() == 0
            assert server.errors == []
        assert live_servers(place.workspace) == []
        assert place.rows("PRAGMA integrity_check") == [("ok",)]


def _a_project(stage: Stage) -> None:
    write = stage.transcript
    write.heading("A walkthrough", 1)
    write.say("""
        Two programs that know nothing of each other work on one project: Ada's, which uses the MCP SDK's client over
        standard input and output, and Ines, who uses the command line of the MCP Inspector over HTTP. They plan, share
        the work, get into each other's way, and one of them crashes.

        All of it happened: `make document` carries the story out with both real clients and writes down what was called
        and what was answered, and a test compares. Only what differs from run to run has got a name, such as
        `<task 1>`, `<time>` or `<size>`; `[...]` stands for the rest of a long answer. What each tool takes and gives
        in full is in [the tools](tools.md), what the commands do in [commands](commands.md).
    """)
    write.heading("The project and its two servers")
    write.say("A git repository in `<project>`: a script that counts words, and a check of what it should say soon.")
    for name, text in FILES.items():
        if name == "README.md":
            (stage.place.project / name).write_text(text)
        else:
            stage.shell.write(name, text)
    for words in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", *words], cwd=stage.place.project, env=stage.place.environment, check=True)
    write.say("""
        Ada's client starts its server by itself, as [the README](../README.md#add-it-to-an-mcp-client) shows; Ines
        starts one that stays. Both serve all tools (`--tools full`); without that it is the twelve for daily work.
    """)
    write.block("sh", "$ vespera serve --workspace <project> --tools full --http 127.0.0.1:8765")
    write.block("text", f"serving {stage.ines.url}")
    write.say("Ines calls the Inspector by a short name. The text in its metadata is how a server knows her again:")
    write.block(
        "sh",
        "inspector() {\n"
        "  npx @modelcontextprotocol/inspector --cli --server-url http://127.0.0.1:8765/mcp --transport http \\\n"
        '    --protocol-era modern --metadata io.vespera/client=ines "$@"\n'
        "}",
    )


@contextlib.asynccontextmanager
async def _may_be_killed() -> AsyncIterator[trio.Event]:
    """Let go of a connection whose server was killed, however that ends; a fault before it stays one."""
    killed = trio.Event()
    try:
        yield killed
    except Exception:
        if not killed.is_set():
            raise


async def _ada_works(stage: Stage) -> None:
    decider = Decider()
    others = {record.pid for record in live_servers(stage.place.workspace)}
    async with (
        _may_be_killed() as killed,
        connected(stage.place, "auto", "ada", elicitation_callback=decider) as client,
    ):
        ada = Person("Ada", client, stage.place, stage.transcript)
        await _a_session_begins(stage, ada)
        await _the_work_is_planned(stage, ada)
        await _both_claim(stage, ada)
        await _work_is_handed_in(stage, ada)
        await _a_gate_decides(stage, ada)
        await _a_review(stage, ada)
        await _a_task_is_stuck(stage, ada)
        await _the_server_works_by_itself(stage, ada, decider)
        (mine,) = (record.pid for record in live_servers(stage.place.workspace) if record.pid not in others)
        await _ada_crashes(stage, ada, mine, killed)


async def _a_session_begins(stage: Stage, ada: Person) -> None:
    write = stage.transcript
    write.heading("A session")
    write.say("Before there is a session nothing can be planned, and the answer says what to call first.")
    await ada.refused("plan_task", "not_found", title="Count lines")
    answer = await ada.call("initialize_session", name="tally")
    stage.ids["session"] = answer["id"]
    assert stage.place.rows("SELECT name, status FROM session") == [("tally", "open")]
    write.say("Ines's server sees the same session, for both read the same store.")
    await stage.ines.call("list_sessions")


async def _the_work_is_planned(stage: Stage, ada: Person) -> None:
    write = stage.transcript
    write.heading("A breakdown, and a plan file")
    answer = await ada.call("plan_task", title="Count lines, too", subtasks=SUBTASKS)
    stage.ids |= {task["key"]: task["id"] for task in answer["tasks"][1:]} | {"whole": answer["tasks"][0]["id"]}
    assert len(answer["tasks"]) == stage.place.rows("SELECT count(*) FROM task")[0][0] == len(SUBTASKS) + 1
    write.say("A file can be the plan as well; see [plans](plans.md).")
    stage.shell.write("release.md", PLAN, "markdown")
    answer = await stage.ines.call("plan_task", plan_path="release.md")
    stage.ids |= {task["title"]: task["id"] for task in answer["tasks"]} | {"release": answer["tasks"][0]["id"]}
    write.say("A mistake in a plan is refused as a whole. Here two tasks would wait for each other:")
    await ada.refused("update_task", "cycle", task_id=stage.ids["design"], add_dependencies=[stage.ids["count"]])


async def _both_claim(stage: Stage, ada: Person) -> None:
    write = stage.transcript
    write.heading("Who does what")
    write.say("What can be begun now, two at a time; `next_cursor` leads to the rest.")
    page = await ada.call("query_tasks", ready=True, limit=2)
    assert page["has_more"]
    rest = await ada.client.call_tool(
        "orchestrator_query_tasks", {"ready": True, "limit": 2, "cursor": page["next_cursor"]}
    )
    assert rest.structured_content is not None
    assert not {task["id"] for task in page["tasks"]} & {task["id"] for task in rest.structured_content["tasks"]}
    write.say("Claiming a task gives its briefing: the role, the task, and what others have found out before.")
    await ada.call("execute_task", task_id=stage.ids["design"], show=30)
    await stage.ines.call("execute_task", task_id=stage.ids["sample"], show=4)
    write.say("What one of them holds the other does not get, nor may she hand it in.")
    await ada.refused("execute_task", "conflict", task_id=stage.ids["sample"])
    await ada.refused(
        "complete_task", "conflict", task_id=stage.ids["sample"], summary="Wrote it.", next_action="complete"
    )


async def _work_is_handed_in(stage: Stage, ada: Person) -> None:
    write = stage.transcript
    write.heading("Work is handed in")
    answer = await ada.call(
        "complete_task",
        task_id=stage.ids["design"],
        summary="One line: lines, comma, words.",
        detailed_work=DECISION,
        artifact_type="design",
        next_action="complete",
    )
    stage.digests["design"] = answer["artifacts"][0].rpartition("/")[2]
    write.say(
        "Ines hands a file of the project in. What was kept is a copy: later changes of the file do not touch it."
    )
    stage.shell.write("sample.txt", SAMPLE, "text")
    await stage.ines.call(
        "complete_task",
        task_id=stage.ids["sample"],
        summary="Three lines, seven words.",
        file_paths=["sample.txt"],
        artifact_type="test",
        next_action="complete",
    )
    assert [stage.place.status(title) for title in ("Decide on the output", "Write a sample")] == ["completed"] * 2
    write.say("Artifacts are read as resources. A long one comes in pages: each names the next.")
    uri = f"vespera://artifact/{stage.digests['design']}"
    first = await ada.read(f"{uri}?limit=130")
    second = await ada.read(first.rpartition("Go on with ")[2])
    assert first.partition("\nThese are")[0] + second.rpartition("\nThese are")[0] == DECISION


async def _a_gate_decides(stage: Stage, ada: Person) -> None:
    write = stage.transcript
    write.heading("A gate decides")
    task_id = stage.ids["count"]
    write.say("The gate `sh check.sh` has to succeed before “Count lines” is completed. Ada changes the script.")
    await ada.call("execute_task", task_id=task_id)
    stage.shell.write("tally.sh", LINES.replace("%s lines, %s words", "%s lines %s words"))
    work = {"task_id": task_id, "summary": "Counts both.", "file_paths": ["tally.sh"], "next_action": "complete"}
    write.say("No command runs on a client's word alone:")
    await ada.refused("complete_task", "conflict", **work)
    write.say("The owner of the project allows some commands, and trusts exactly this text.")
    stage.shell.write(".vespera/config.toml", CONFIG, "toml")
    await stage.shell.vespera("trust", "--yes")
    write.say("Now the gate runs, and finds a mistake: the comma is missing.")
    await ada.refused("complete_task", "conflict", recorded=True, **work)
    stage.shell.write("tally.sh", LINES)
    write.say("With the comma it succeeds. This time her program asks to be told how far it is.")
    await ada.call("complete_task", hear=True, **work)
    assert stage.place.status("Count lines") == "completed"


async def _a_review(stage: Stage, ada: Person) -> None:
    write = stage.transcript
    write.heading("A review")
    task_id = stage.ids["readme"]
    await stage.ines.call("execute_task", task_id=task_id, show=4)
    await stage.ines.call(
        "complete_task",
        task_id=task_id,
        summary="The README shows an example. Is it too long?",
        file_paths=["README.md"],
        artifact_type="documentation",
        next_action="needs_revision",
    )
    write.say(
        "Ada asks for the prompt `review_task`. Ids are completed while she types; what likely is meant comes first."
    )
    found = await ada.client.complete(PromptReference(name="review_task"), {"name": "task_id", "value": "task_"})
    assert found.completion.values[0] == task_id
    write.block("text", f"completion/complete review_task task_id=task_\n{found.completion.values[0]}\n[...]")
    prompt = await ada.client.get_prompt("review_task", {"task_id": task_id})
    content = prompt.messages[0].content
    assert isinstance(content, TextContent)
    write.block("text", f"prompts/get review_task task_id={task_id}\n\n" + content.text)
    await ada.call("execute_task", task_id=task_id, show=3)
    await ada.call("complete_task", task_id=task_id, summary="Good as it is.", next_action="complete")
    assert stage.place.status("Describe it") == "completed"


async def _a_task_is_stuck(stage: Stage, ada: Person) -> None:
    write = stage.transcript
    write.heading("Stuck, released, and overtaken")
    task_id = stage.ids["colour"]
    await ada.call("execute_task", task_id=task_id, show=2)
    await ada.call("complete_task", task_id=task_id, summary="Which colours can terminals show?", next_action="blocked")
    write.say("Ines finds it, and who is kept from going on by it.")
    await stage.ines.call("get_status")
    write.say("""
        Ada watches the session meanwhile (`subscriptions/listen`). Ines knows the answer, writes it down and releases
        the task; Ada hears of it although it happened in another process.
    """)
    uri = f"vespera://session/{stage.ids['session']}"
    version = stage.place.rows("SELECT version FROM task WHERE id=?", task_id)[0][0]
    with trio.fail_after(HEAR_SECONDS):
        async with ada.client.listen(resource_subscriptions=[uri]) as events:
            await stage.ines.call(
                "update_task", task_id=task_id, status="pending", description="Sixteen colours are safe."
            )
            async for event in events:
                if isinstance(event, ResourceUpdated):
                    break
    write.block("text", f"notifications/resources/updated {event.uri}")
    write.say(
        "A change that was made from what Ada read before would undo Ines's. It names the version that it is for:"
    )
    await ada.refused(
        "update_task", "stale_version", task_id=task_id, expected_version=version, description="Ask on the list."
    )
    write.say("Nobody wants colours any more. What waited for them says so.")
    await ada.call("cancel_task", task_id=task_id, reason="Nobody wants colours.")
    await ada.call(
        "update_task",
        task_id=stage.ids["themes"],
        waive_dependencies=[task_id],
        reason="Themes may be without colours.",
    )
    assert stage.place.status("Colour the output") == "cancelled"


async def _the_server_works_by_itself(stage: Stage, ada: Person, decider: Decider) -> None:
    write = stage.transcript
    write.heading("The server works by itself")
    write.say("With mode=agent the server runs the commands of a plan. The answer is a handle at once.")
    stage.shell.write("pack.sh", "mkdir -p dist\ncp tally.sh dist/\necho packed\n")
    stage.shell.write("soak.sh", "echo $$ > soak.pid\nwhile :; do sh tally.sh sample.txt; sleep 0.2; done\n")
    await ada.call("execute_task", task_id=stage.ids["release"], mode="agent")
    write.say("Soak never ends. Meanwhile everybody can see how far it is:")
    note, release = stage.place.project / "soak.pid", stage.ids["release"]
    soaking = [("working on Soak",)]
    # The shell makes the file, and writes into it afterwards.
    await eventually(lambda: note.exists() and note.read_text().endswith("\n"))
    await eventually(lambda: stage.place.rows("SELECT message FROM job WHERE task_id=?", release) == soaking)
    soak = int(note.read_text())
    await ada.call("get_status", until=lambda answer: any(row[1] == "working" for row in answer["specialists"]))
    write.say("Ines cancels it, from the other server. The command is killed, and the job has ended.")
    await stage.ines.call("cancel_task", task_id=stage.ids["Soak"], reason="Long enough.")
    await eventually(lambda: stage.place.rows("SELECT status FROM job WHERE task_id=?", release) == [("completed",)])
    await eventually(lambda: not Path(f"/proc/{soak}").exists())
    assert stage.place.status("Soak") == "cancelled"
    await ada.call("get_status", until=lambda answer: all(row[1] == "running" for row in answer["specialists"]))
    write.say("Deleting for good is asked about where somebody can be asked. Ada's user says no, then yes.")
    decider.answers = [False, True]
    await ada.refused("delete_task", "declined", task_id=stage.ids["Soak"], mode="delete", force=True)
    write.block("text", decider.asked[0])
    await ada.call("delete_task", task_id=stage.ids["Soak"], mode="delete", force=True)
    assert stage.place.rows("SELECT id FROM task WHERE title='Soak'") == []


async def _ada_crashes(stage: Stage, ada: Person, pid: int, killed: trio.Event) -> None:
    write = stage.transcript
    write.heading("A crash")
    await ada.call("execute_task", task_id=stage.ids["themes"], show=2)
    write.say("Ada's server is killed (`kill -9`) while she holds that task.")
    killed.set()
    os.kill(pid, signal.SIGKILL)
    with trio.fail_after(WAIT_SECONDS), contextlib.suppress(MCPError, OSError):
        await ada.client.call_tool("orchestrator_get_status", {})
