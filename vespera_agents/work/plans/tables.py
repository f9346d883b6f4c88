"""Tool matrices: a table that says which tools an item uses. The table itself stays text, as every table does."""

from __future__ import annotations

import re

from vespera_agents.work.plans.building import OpenItem, Reading
from vespera_agents.work.plans.names import canonical, plain
from vespera_agents.work.plans.outline import Block

__all__ = ["read_tool_tables"]

_SPLIT = re.compile(r"[,;]")


def read_tool_tables(reading: Reading) -> None:
    """Give items the tools that a table lists for them by title."""
    by_name = {canonical(name): item for item in reading.items for name in (item.title, item.name) if canonical(name)}
    for section in reading.sections:
        for block in section.blocks:
            if block.kind == "table":
                _read_table(reading, block, by_name)


def _read_table(reading: Reading, block: Block, by_name: dict[str, OpenItem]) -> None:
    rows = [_cells(reading.lines[line]) for line in range(block.first, block.stop)]
    column = next((at for at, name in enumerate(rows[0]) if "tools" in canonical(name).split()), None)
    if not column:
        return
    for row in rows[2:]:
        item = by_name.get(canonical(row[0])) if len(row) > column else None
        if item is not None:
            tools = [plain(tool) for tool in _SPLIT.split(row[column])]
            item.tools.extend(tool for tool in tools if tool and tool not in item.tools)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
