"""Make the pictures of the dashboards in docs/images: `python -m grafana.pictures`, which is `make pictures`.

A real server runs for a minute and a half, with a client at work and crashes as planned; then each panel's own queries
are asked of the Prometheus that scraped it, and drawn by `drawing`, not by Grafana.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio
from mcp import Client

from grafana.boards import BOARDS
from grafana.build import restarts_of
from grafana.drawing import Curve, Scene, drawn
from grafana.panels import Board, Look, Panel
from grafana.private import Prometheus, Series
from grafana.queries import filled
from grafana.trouble import call, seen_running, thinking, trouble

IMAGES: Final = Path(__file__).parent.parent / "docs" / "images"
SECONDS: Final = 90.0
"""How long the server is watched."""
NOTE: Final = "drawn from the dashboard's own queries by grafana/drawing.py, not by Grafana"
_PAUSE_SECONDS: Final = 0.15
_REST_SECONDS: Final = 18.0


async def watched() -> dict[str, str]:
    """Run the server and give each dashboard as a picture, by the name of its file."""
    async with seen_running() as (place, client, prometheus, _):
        start = time.time()
        with trio.move_on_after(SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_work, client)
                while True:
                    await trio.sleep(_REST_SECONDS)
                    await trouble(place, client, prometheus)
                    await thinking(place, client, prometheus)
        end = time.time()
        return {
            f"dashboard-{board.name}.svg": await trio.to_thread.run_sync(_picture, board, prometheus, start, end)
            for board in BOARDS
        }


async def _work(client: Client) -> None:
    """Plan, claim and complete, as a client does."""
    session = (await call(client, "initialize_session", name="a client at work"))["id"]
    number = 0
    while True:
        number += 1
        about = {"title": f"piece {number}", "subtasks": [{"title": f"part {number}", "key": "a"}], "session": session}
        task = (await call(client, "plan_task", **about))["tasks"][1]["id"]
        await call(client, "execute_task", task_id=task, session=session)
        about = {"task_id": task, "session": session}
        done = {"summary": "done", "detailed_work": "It is done.", "next_action": "complete"}
        # This fails while the folder of artifacts is away, and the last call is refused: that shall be seen, too.
        await client.call_tool("orchestrator_complete_task", {**about, **done})
        await client.call_tool("orchestrator_session_status", {"session": "session_000000000000"})
        await trio.sleep(_PAUSE_SECONDS)


def _picture(board: Board, prometheus: Prometheus, start: float, end: float) -> str:
    curves = {
        f"{section.title}/{panel.title}": _asked(panel, prometheus, start, end)
        for section in board.sections
        for panel in section.panels
    }
    restarts = prometheus.over(_filled(restarts_of()), start, end, 1.0)
    marks = [point for series in restarts for point, value in series.points if value > 0]
    first = [mark for index, mark in enumerate(marks) if index == 0 or mark - marks[index - 1] > 2]
    return drawn(board, Scene(start, end, curves, first, NOTE))


def _asked(panel: Panel, prometheus: Prometheus, start: float, end: float) -> Sequence[Curve]:
    found: list[Curve] = []
    for query in panel.queries:
        expr = _filled(query.expr)
        answer = prometheus.over(expr, start, end, 1.0) if panel.look is Look.LINES else prometheus.now(expr)
        found += [Curve(_named(query.legend, series), series.points) for series in answer]
    return found


def _filled(expr: str) -> str:
    return filled(expr, job="vespera", interval="5s", range_=f"{SECONDS:.0f}s")


def _named(legend: str, series: Series) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: series.labels.get(found[1], ""), legend).strip()


def main() -> None:
    """Write the pictures."""
    IMAGES.mkdir(exist_ok=True)
    for name, text in trio.run(watched).items():
        (IMAGES / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
