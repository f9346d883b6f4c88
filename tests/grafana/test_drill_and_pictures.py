"""The drill tells what Prometheus tells, and the pictures show the panels that there are; both without a server."""

from __future__ import annotations

import math
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from grafana.boards import BOARDS
from grafana.drawing import Curve, Scene, drawn
from grafana.drill.causes import CAUSES
from grafana.drill.timeline import State, Timeline
from grafana.panels import Board
from grafana.pictures import IMAGES, NOTE
from grafana.private import Prometheus
from tests.grafana.rules_kit import ALERTS

EVIL = "</text><script>alert(1)</script>\n\"'&" + "x" * 10_000


def alert(name: str, state: str, instance: str = "a:1") -> dict[str, Any]:
    return {
        "labels": {"alertname": name, "instance": instance},
        "annotations": {"summary": f"{name} is {state}"},
        "state": state,
    }


def states(timeline: Timeline) -> list[tuple[str, State]]:
    return [(moment.alert, moment.state) for moment in timeline.moments]


def test_the_drill_is_about_five_alerts_that_there_are() -> None:
    assert set(CAUSES) == {"CrashLoop", "EventLoopBlocked", "MailboxNearlyFull", "StoreCommitSlow", "Down"}
    assert set(CAUSES) <= set(ALERTS)


def test_an_alert_is_written_down_when_it_changes_and_only_that_of_its_own_server() -> None:
    timeline = Timeline(Prometheus(1), {"Down": "a:1"})
    for alerts in (
        [],
        [alert("Down", "pending"), alert("Down", "firing", "b:2"), alert("CrashLoop", "firing")],
        [alert("Down", "pending")],
        [alert("Down", "firing")],
        [alert("Down", "firing")],
        [],
        [alert("Down", "pending")],
    ):
        timeline._look(alerts)
    assert states(timeline) == [("Down", State.PENDING), ("Down", State.FIRING), ("Down", State.RESOLVED)]
    assert timeline.is_over("Down")
    assert "| Down | at once | 0:00 | 0:00 | at once | 0:00 |" in timeline.table()


def test_an_alert_that_was_only_pending_has_not_resolved() -> None:
    timeline = Timeline(Prometheus(1), {"Down": "a:1"})
    timeline._look([alert("Down", "pending")])
    timeline._look([])
    assert states(timeline) == [("Down", State.PENDING)]
    assert not timeline.is_over("Down")


async def test_whoever_waits_for_a_state_is_told(autojump_clock: object) -> None:
    timeline = Timeline(Prometheus(1), {"Down": "a:1"})
    timeline._look([alert("Down", "firing")])
    await timeline.until("Down", State.FIRING)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_a_picture_is_sound_whatever_the_series_are_called(board: Board) -> None:
    points = tuple((float(second), math.nan if second % 5 == 0 else second**3 / 7) for second in range(30))
    curves = {
        f"{section.title}/{panel.title}": [Curve(EVIL, points), Curve("none", ((0.0, math.nan),)), Curve("", ())]
        for section in board.sections
        for panel in section.panels
    }
    text = drawn(board, Scene(0.0, 29.0, curves, [10.0], EVIL))
    root = ET.fromstring(text)  # noqa: S314 - our own text
    assert not [element for element in root.iter() if element.tag.endswith("script")]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_the_committed_picture_shows_the_panels_that_there_are_and_says_who_drew_it(board: Board) -> None:
    root = ET.parse(IMAGES / f"dashboard-{board.name}.svg")  # noqa: S314 - our own file
    texts = {element.text for element in root.iter() if element.tag.endswith("text")}
    assert NOTE in texts
    assert {panel.title for panel in board.panels} <= texts, "make pictures"
