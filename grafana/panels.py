"""What a panel and a dashboard are here, before anything of Grafana's: `build` turns them into its JSON.

Every panel must say what it shows in a sentence and in which unit; its width and height are in Grafana's grid, which is
24 wide. Not where it stands: that follows from the order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum, unique
from typing import final

from grafana.queries import Query

__all__ = ["Board", "Look", "Panel", "Section", "bars", "lines", "number"]


@unique
class Look(StrEnum):
    """How a panel shows its series."""

    LINES = "timeseries"
    """Over time."""
    NUMBER = "stat"
    """The last value, large."""
    BARS = "bargauge"
    """The last values, one bar each."""


@final
@dataclass(frozen=True, slots=True)
class Panel:
    """One panel."""

    title: str
    """What it is called."""
    about: str
    """What it shows and what to think of it, in sentences."""
    unit: str
    """One of Grafana's units."""
    queries: tuple[Query, ...]
    """What it asks Prometheus."""
    look: Look = Look.LINES
    """How it shows that."""
    width: int = 8
    """Columns of 24."""
    height: int = 8
    """Rows of the grid."""
    stacked: bool = False
    """Lines: whether they add up."""
    limits: tuple[tuple[float, str], ...] = ()
    """From which value on it has which colour; green below the first."""
    top: float | None = None
    """The upper end of its axis, where there is one."""
    mappings: tuple[tuple[str, str, str], ...] = ()
    """Numbers: a value, the word that is shown for it, and its colour."""


@final
@dataclass(frozen=True, slots=True)
class Section:
    """Panels under one title."""

    title: str
    """The title."""
    panels: tuple[Panel, ...]
    """From left to right, then down."""


@final
@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard."""

    name: str
    """The name of its file; its uid is made from that."""
    title: str
    """Its title."""
    about: str
    """What it is for."""
    sections: tuple[Section, ...] = field(default=())
    """Its panels."""

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All of its panels."""
        return tuple(panel for section in self.sections for panel in section.panels)


def lines(
    title: str,
    about: str,
    unit: str,
    *queries: Query,
    width: int = 8,
    stacked: bool = False,
    limits: tuple[tuple[float, str], ...] = (),
    top: float | None = None,
) -> Panel:
    """Make a panel of lines over time."""
    return Panel(title, about, unit, queries, width=width, stacked=stacked, limits=limits, top=top)


def number(
    title: str,
    about: str,
    unit: str,
    query: Query,
    *,
    width: int = 4,
    limits: tuple[tuple[float, str], ...] = (),
    mappings: tuple[tuple[str, str, str], ...] = (),
) -> Panel:
    """Make a panel of one large number."""
    return Panel(title, about, unit, (query,), Look.NUMBER, width, 4, limits=limits, mappings=mappings)


def bars(
    title: str,
    about: str,
    unit: str,
    *queries: Query,
    width: int = 8,
    limits: tuple[tuple[float, str], ...] = (),
    top: float | None = None,
) -> Panel:
    """Make a panel of one bar for each series."""
    return Panel(title, about, unit, queries, Look.BARS, width, limits=limits, top=top)
