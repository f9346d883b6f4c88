"""A session with a task in every state, made by calls of the tools, for one row or for many that change nothing.

Two clients stand in it: `one`, whose calls the table tells of, and `two`, who holds a claim of its own.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from mcp import Client
from mcp_types import CallToolResult

from tests.serving.kit import Place, succeed

_numbers = itertools.count(1)

BREAKDOWN = [
    {"key": "ready", "title": "Ready to begin", "specialist": "architect", "task_type": "research"},
    {"key": "waiting", "title": "Waits for the ready one", "dependencies": ["ready"], "complexity": "simple"},
    {"key": "mine", "title": "Claimed by one"},
    {"key": "gated", "title": "Claimed by one, with a gate", "gates": ["test -f gate.txt"]},
    {"key": "locked", "title": "Claimed by one, with a gate that may not run", "gates": ["ls"]},
    {"key": "theirs", "title": "Claimed by two"},
    {"key": "review", "title": "In review"},
    {"key": "blocked", "title": "Blocked"},
    {"key": "done", "title": "Done", "specialist": "tester"},
    {"key": "failed", "title": "Failed"},
    {"key": "behind", "title": "Behind the failed one", "dependencies": ["failed"]},
    {"key": "cancelled", "title": "Cancelled"},
    {"key": "archived", "title": "Archived"},
    {"key": "box", "title": "A container", "subtasks": [{"key": "inside", "title": "Inside of it"}]},
]  # fmt: skip
PLAN = """---
id: SMALL
---
# A small plan
## Phase 1: Do
### first
Begin.
### second
```yaml
depends: [first]
```
Go on.
"""


@dataclass
class World:
    """One session and its tasks."""

    place: Place
    one: Client
    two: Client
    ids: dict[str, str] = field(default_factory=dict)
    """Of tasks by key; `session` is the session's own."""

    def resolve(self, value: Any) -> Any:
        """Put ids where the table has names."""
        if isinstance(value, str) and value.startswith("@"):
            name, _, cut = value[1:].partition(":")
            return self.ids[name][: int(cut)] if cut else self.ids[name]
        if isinstance(value, dict):
            return {key: self.resolve(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.resolve(one) for one in value]
        return value

    async def call(self, client: Client, tool: str, arguments: Any) -> CallToolResult:
        return await client.call_tool(f"orchestrator_{tool}", self.resolve(dict(arguments)))

    def status(self, name: str) -> str | None:
        """Read a task's status from the store; None when there is no such row."""
        rows = self.place.rows("SELECT status FROM task WHERE id=?", self.ids[name])
        return rows[0][0] if rows else None

    def value(self, sql: str, *names: str) -> Any:
        """Read one value from the store; parameters are names of the world, or `=text`."""
        given = [name[1:] if name.startswith("=") else self.ids[name] for name in names]
        return self.place.rows(sql, *given)[0][0]


async def new_world(place: Place, one: Client, two: Client) -> World:
    """Make a session of its own with a task in every state."""
    world = World(place, one, two)
    session = await succeed(one, "orchestrator_initialize_session", name=f"world {next(_numbers)}")
    world.ids["session"] = session["id"]
    (place.project / "plan.md").write_text(PLAN)
    (place.project / "inner").mkdir(exist_ok=True)
    (place.project / "notes.txt").write_text("notes\n")
    await succeed(one, "orchestrator_plan_task", subtasks=BREAKDOWN, session=session["id"])
    world.ids |= dict(place.rows("SELECT key, id FROM task WHERE session_id=?", session["id"]))
    for name in ("mine", "gated", "locked", "review", "done", "failed"):
        await succeed(one, "orchestrator_execute_task", task_id=world.ids[name])
    await succeed(two, "orchestrator_execute_task", task_id=world.ids["theirs"])
    for name, outcome in (("review", "needs_revision"), ("done", "complete")):
        await succeed(
            one, "orchestrator_complete_task", task_id=world.ids[name], summary=f"{name} so far",
            detailed_work=f"# {name} {session['id']}", next_action=outcome,
        )  # fmt: skip
    for name in ("failed", "blocked"):
        await succeed(one, "orchestrator_update_task", task_id=world.ids[name], status=name, reason="no key")
    await succeed(one, "orchestrator_cancel_task", task_id=world.ids["cancelled"], reason="not wanted")
    await succeed(one, "orchestrator_delete_task", task_id=world.ids["archived"])
    artifact = place.rows("SELECT sha256 FROM artifact WHERE task_id=?", world.ids["done"])
    world.ids["artifact"] = artifact[0][0]
    return world
