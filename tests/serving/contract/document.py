"""Write the part of docs/tools.md that tells each tool: from the tools themselves and from the rows of the contract.

    python -m tests.serving.contract.document

A test compares the document with what this gives. What stands outside of the two marks is written by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.serving.contract.all_rows import ROWS
from tests.serving.contract.table import OK, Row
from vespera_agents.serving.tools.catalogue import TOOLS
from vespera_agents.serving.tools.schemas import input_schema
from vespera_agents.serving.tools.tool import Tool

DOCUMENT: Final = Path(__file__).resolve().parents[3] / "docs" / "tools.md"
BEGIN: Final = "<!-- From here on written by `make document`. -->"
END: Final = "<!-- Down to here. -->"

Schema = Mapping[str, Any]

NOTES: Final[Mapping[str, str]] = {
    "orchestrator_plan_task": """\
A subtask takes `title`, `key`, `description`, `task_type`, `complexity`, `specialist`, `estimated_effort`, `due`,
`dependencies`, `gates`, `strategy` ([what it does](strategies.md)) and `subtasks` (at most 8 levels). A
dependency is a local `key`, the title of a task of the same breakdown, or the id of a task of the session; or an object
`{"on", "kind", "mandatory"}` with kind `completion`, `data`, `approval`, `blocks` or `related`. A gate is a command, or
an object `{"command", "timeout_seconds", "shell"}`.
With subtasks and no title, the subtasks stand side by side without a container.

```json
{
  "title": "Parse the language",
  "subtasks": [
    {"key": "grammar", "title": "Design the grammar", "specialist": "architect"},
    {"key": "parser", "title": "Write the parser", "dependencies": ["grammar"], "gates": ["python -m pytest -q"]}
  ]
}
```
""",
    "orchestrator_shutdown_prepare": """\
While it is prepared, `orchestrator_plan_task`, `orchestrator_execute_task` and `orchestrator_synthesize_results` are
refused, and specialists begin nothing more; everything that reads, ends or gives work back is answered as ever. A call
waits up to 5 s for calls, commands and gates under way; `blockers` are rows of what still is, whose it is and since
when: call again to look again. It is remembered for the server, not for its process: a worker that takes over from one
that died begins nothing either. It ends with `undo`, with `orchestrator_restart_server`, and with the server.
""",
    "orchestrator_restart_server": """\
The new process is started from what is on disk and becomes ready while the old one still answers. Then the old one
begins nothing more, ends what is under way within `timeout`, writes down what its specialists hold, and is gone; what
it did not end is repeated to the new one under its key, so nothing happens twice. With `graceful=false` it is killed
at once. The answer comes from the new process; where none became ready the old one goes on, and says why. A repeated
call restarts nothing. `handed_over` names contexts that go on, those that were made anew from the store, and what was
repeated.
""",
    "orchestrator_restart_status": """\
`phase` is `serving`, `failed` (with `error`, until another restart), or the phase of the restart under way. `history`
holds the restarts and the workers of this workspace's servers, the newest 50 entries, with what each worker died of.
""",
}
"""What a tool's tables cannot say."""


def document() -> str:
    """Give the whole document as it should be."""
    text = DOCUMENT.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{DOCUMENT.name} has lost its marks {BEGIN!r} and {END!r}: put them back.")
    parts = [_tool(tool, [row for row in ROWS if f"orchestrator_{row.tool}" == name]) for name, tool in TOOLS.items()]
    return f"{before}{BEGIN}\n\n" + "\n".join(parts) + f"\n{END}{after}"


def _tool(tool: Tool, rows: list[Row]) -> str:
    lines = [f"### {tool.name}", "", tool.description, ""]
    schema: Schema = input_schema(tool.parameters, every_bound=True)
    required = set(schema.get("required", []))
    properties: Mapping[str, Schema] = schema.get("properties", {})
    lines += ["| Parameter | Takes | Meaning |", "|---|---|---|"] if properties else ["It takes nothing."]
    for name, told in properties.items():
        needed = " (required)" if name in required else ""
        lines.append(f"| `{name}` | {_takes(told)}{needed} | {_cell(told.get('description', ''))} |")
    lines += ["", f"Hints: {_hints(tool)}.", "", f"Gives {', '.join(_gives(tool.output_schema))}.", ""]
    if tool.name in NOTES:
        lines += [NOTES[tool.name]]
    lines += ["| When it is called with | It comes to |", "|---|---|"]
    lines += [f"| {_cell(row.when)} | {'done' if row.outcome == OK else f'`{row.outcome}`'} |" for row in rows]
    return "\n".join(lines) + "\n"


def _takes(told: Schema) -> str:
    kind = told.get("type")
    default = f"; default `{_plain(told['default'])}`" if "default" in told else ""
    if "enum" in told or "const" in told:
        words = told.get("enum", [told.get("const")])
        return ", ".join(f"`{word}`" for word in words) + default
    if kind == "string":
        return f"text{_bound(told)}{default}"
    if kind in {"integer", "number"}:
        low, high = told.get("minimum"), told.get("maximum")
        bounds = (
            f" {low} to {high:,}" if low is not None and high is not None else f" from {low}" if low is not None else ""
        )
        return f"{'whole number' if kind == 'integer' else 'number'}{bounds}{default}"
    if kind == "boolean":
        return f"true or false{default}"
    if kind == "array":
        return f"list of {_entries(told.get('items', {}))}{_bound(told, 'maxItems', '')}{default}"
    return f"object{default}"


def _entries(items: Schema) -> str:
    if "enum" in items:
        return ", ".join(f"`{word}`" for word in items["enum"])
    if "$ref" in items:
        return "objects"
    kinds = [arm.get("type", "object") for arm in items.get("anyOf", [items])]
    return " or ".join({"string": "texts", "object": "objects"}.get(kind, str(kind)) for kind in kinds)


def _bound(told: Schema, name: str = "maxLength", unit: str = " characters") -> str:
    return f", at most {told[name]:,}{unit}" if name in told else ""


def _plain(value: object) -> str:
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _gives(schema: Schema) -> Iterator[str]:
    """Name the keys of a result; those of the objects in it behind them."""
    for name, told in schema.get("properties", {}).items():
        below = list(told.get("items", told).get("properties", {}))
        yield f"`{name}`" + (f" ({', '.join(below)})" if below else "")


def _hints(tool: Tool) -> str:
    effects = tool.effects
    hints = [
        "reads only" if effects.read_only else "may overwrite or drop" if effects.destructive else "adds",
        "repeating it changes nothing more" if effects.idempotent else "",
        "may reach beyond the workspace" if effects.open_world else "",
    ]
    return ", ".join(hint for hint in hints if hint)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    DOCUMENT.write_text(document())
    sys.stdout.write(f"wrote {DOCUMENT.name}: {len(TOOLS)} tools, {len(ROWS)} rows\n")
