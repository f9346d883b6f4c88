"""Draw a dashboard as SVG from what Prometheus answers: the same grid, titles, units, colours of limits; plain shapes.

It is no Grafana and does not look quite like it; it shows which data a panel gets. Pure: whoever calls it has asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, final

from grafana.panels import Board, Look, Panel

__all__ = ["Curve", "Scene", "drawn"]

CELL: Final = 50
ROW: Final = 28
GRID: Final = 24
GAP: Final = 6
TITLE: Final = 22
SERIES_MAX: Final = 8
"""Series of a panel that are drawn: those with the largest values."""
_LEGEND: Final = 14
_AXIS: Final = 44
_COLOURS: Final = ("#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0")
_LIMITS: Final = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c"}
_INK, _PALE, _LINE, _PANEL, _PAGE = "#d8d9da", "#9fa7b3", "#2f3138", "#181b1f", "#111217"


@final
@dataclass(frozen=True, slots=True)
class Curve:
    """One series of a panel."""

    name: str
    """Its legend."""
    points: tuple[tuple[float, float], ...]
    """Times and values."""

    @property
    def last(self) -> float:
        """Its last number."""
        return next((value for _, value in reversed(self.points) if not math.isnan(value)), math.nan)

    @property
    def most(self) -> float:
        """Its largest number."""
        return max((value for _, value in self.points if not math.isnan(value)), default=math.nan)


@final
@dataclass(frozen=True, slots=True)
class Scene:
    """What was asked for, and of which time."""

    start: float
    """Seconds since the epoch."""
    end: float
    """Seconds since the epoch."""
    curves: Mapping[str, Sequence[Curve]]
    """By the panel's place in its board: its title, with its section's before it."""
    marks: Sequence[float]
    """When a worker was replaced."""
    note: str
    """Who drew it, from what."""


@final
@dataclass(frozen=True, slots=True)
class _Box:
    x: float
    y: float
    width: float
    height: float


def drawn(board: Board, scene: Scene) -> str:
    """Give a board as the text of an SVG picture."""
    parts: list[str] = []
    y = 44.0
    for section in board.sections:
        parts.append(_text(GAP, y + 18, section.title, size=14, weight="bold"))
        y += 28
        x, tallest = 0, 0
        for panel in section.panels:
            if x + panel.width > GRID:
                x, y, tallest = 0, y + tallest * ROW, 0
            box = _Box(x * CELL + GAP / 2, y, panel.width * CELL - GAP, panel.height * ROW - GAP)
            parts += _panel(panel, box, scene, scene.curves.get(f"{section.title}/{panel.title}", ()))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest * ROW
    width = GRID * CELL
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y + 10:.0f}" font-family="sans-serif">',
        f"<title>{escape(board.title)}</title>",
        _rect(_Box(0, 0, width, y + 10), _PAGE),
        _text(GAP, 24, f"Vespera: {board.title}", size=18, weight="bold"),
        _text(width - GAP, 24, scene.note, size=11, colour=_PALE, anchor="end"),
    ]
    return "\n".join([*head, *parts, "</svg>", ""])


def _panel(panel: Panel, box: _Box, scene: Scene, curves: Sequence[Curve]) -> list[str]:
    draw = {Look.LINES: _lines, Look.NUMBER: _number, Look.BARS: _bars}[panel.look]
    inner = _Box(box.x + 8, box.y + TITLE, box.width - 16, box.height - TITLE - 6)
    return [_rect(box, _PANEL), _text(box.x + 8, box.y + 16, panel.title, size=12), *draw(panel, inner, scene, curves)]


def _number(panel: Panel, box: _Box, _: Scene, curves: Sequence[Curve]) -> list[str]:
    if not curves:
        return [_text(box.x + box.width / 2, box.y + box.height / 2, "no data", colour=_PALE, anchor="middle")]
    value = curves[-1].last
    text, colour = _shown(value, panel.unit), _limit(panel, value)
    if "{{" in panel.queries[0].legend:
        text = curves[-1].name
    for key, word, name in panel.mappings:
        if value == float(key):
            text, colour = word, _LIMITS[name]
    size = min(30.0, 1.7 * box.width / max(1, len(text)))
    middle = box.y + box.height / 2 + size / 3
    return [_text(box.x + box.width / 2, middle, text, size=size, colour=colour, anchor="middle", weight="bold")]


def _bars(panel: Panel, box: _Box, _: Scene, curves: Sequence[Curve]) -> list[str]:
    shown = list(curves)[:12]
    top = panel.top or max((curve.last for curve in shown), default=1.0) or 1.0
    height = min(24.0, box.height / max(1, len(shown)))
    parts: list[str] = []
    for index, curve in enumerate(shown):
        y, value = box.y + index * height, 0.0 if math.isnan(curve.last) else curve.last
        length = (box.width - 170) * min(1.0, value / top)
        parts += [
            _text(box.x, y + height * 0.65, curve.name[:18], size=11, colour=_PALE),
            _rect(_Box(box.x + 110, y + 3, box.width - 170, height - 6), _LINE),
            _rect(_Box(box.x + 110, y + 3, length, height - 6), _limit(panel, value)),
            _text(box.x + box.width, y + height * 0.65, _shown(value, panel.unit), size=11, anchor="end"),
        ]
    return parts


def _lines(panel: Panel, box: _Box, scene: Scene, curves: Sequence[Curve]) -> list[str]:
    ranked = sorted(curves, key=lambda curve: -1 if math.isnan(curve.most) else curve.most, reverse=True)[:SERIES_MAX]
    legend_rows = max(1, math.ceil(len(ranked) / 2))
    plot = _Box(box.x + _AXIS, box.y + 4, box.width - _AXIS, box.height - 22 - _LEGEND * min(4, legend_rows))
    layers = list(_stacked(ranked)) if panel.stacked else [curve.points for curve in ranked]
    most = max((value for points in layers for _, value in points if not math.isnan(value)), default=0.0)
    top = panel.top or _ceiling(most)

    def at(time: float, value: float) -> str:
        x = plot.x + plot.width * (time - scene.start) / (scene.end - scene.start)
        return f"{x:.1f},{plot.y + plot.height * (1 - min(1.0, max(0.0, value / top))):.1f}"

    parts = _grid(panel, plot, scene, top)
    for index, points in enumerate(layers):
        parts += [
            f'<polyline points="{" ".join(at(*point) for point in run)}" fill="none" '
            f'stroke="{_COLOURS[index % len(_COLOURS)]}" stroke-width="1.4"/>'
            for run in _unbroken(points)
        ]
    for mark in scene.marks:
        x = plot.x + plot.width * (mark - scene.start) / (scene.end - scene.start)
        parts.append(
            f'<line x1="{x:.1f}" y1="{plot.y:.0f}" x2="{x:.1f}" y2="{plot.y + plot.height:.0f}" '
            'stroke="#ff9830" stroke-dasharray="3 3"/>'
        )
    return parts + _legend(box, ranked)


def _grid(panel: Panel, plot: _Box, scene: Scene, top: float) -> list[str]:
    parts: list[str] = []
    for step in range(3):
        y = plot.y + plot.height * step / 2
        parts += [
            f'<line x1="{plot.x:.0f}" y1="{y:.1f}" x2="{plot.x + plot.width:.0f}" y2="{y:.1f}" stroke="{_LINE}"/>',
            _text(plot.x - 4, y + 4, _shown(top * (1 - step / 2), panel.unit), size=10, colour=_PALE, anchor="end"),
        ]
    for value, colour in panel.limits:
        if value <= top:
            y = plot.y + plot.height * (1 - value / top)
            parts.append(
                f'<line x1="{plot.x:.0f}" y1="{y:.1f}" x2="{plot.x + plot.width:.0f}" y2="{y:.1f}" '
                f'stroke="{_LIMITS[colour]}" stroke-dasharray="6 4" opacity="0.6"/>'
            )
    below = plot.y + plot.height + 12
    span = f"{scene.end - scene.start:.0f} s"
    parts.append(_text(plot.x, below, "0 s", size=10, colour=_PALE))
    parts.append(_text(plot.x + plot.width, below, span, size=10, colour=_PALE, anchor="end"))
    return parts


def _legend(box: _Box, curves: Sequence[Curve]) -> list[str]:
    parts: list[str] = []
    rows = min(4, max(1, math.ceil(len(curves) / 2)))
    for index, curve in enumerate(curves[: 2 * rows]):
        x = box.x + (index % 2) * box.width / 2
        y = box.y + box.height - (rows - 1 - index // 2) * _LEGEND - 2
        parts.append(_rect(_Box(x, y - 6, 10, 3), _COLOURS[index % len(_COLOURS)]))
        parts.append(_text(x + 14, y, curve.name[: int(box.width / 13)], size=10, colour=_PALE))
    return parts


def _stacked(curves: Iterable[Curve]) -> Iterable[tuple[tuple[float, float], ...]]:
    below: dict[float, float] = {}
    for curve in curves:
        for time, value in curve.points:
            below[time] = below.get(time, 0.0) + (0.0 if math.isnan(value) else value)
        yield tuple((time, below[time]) for time, _ in curve.points)


def _unbroken(points: Iterable[tuple[float, float]]) -> Iterable[list[tuple[float, float]]]:
    """Give the stretches between gaps; where nothing changes the ends are enough."""
    run: list[tuple[float, float]] = []
    for time, value in points:
        if math.isnan(value):
            if run:
                yield run
            run = []
        elif len(run) > 1 and run[-1][1] == run[-2][1] == value:
            run[-1] = (time, value)
        else:
            run.append((time, value))
    if run:
        yield run


def _limit(panel: Panel, value: float) -> str:
    name = next((colour for limit, colour in reversed(panel.limits) if value >= limit), "green")
    return _LIMITS[name]


def _ceiling(value: float) -> float:
    """Give the next round number: 1, 2 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value)


def _shown(value: float, unit: str) -> str:
    if math.isnan(value):
        return "-"
    ways: dict[str, Callable[[float], str]] = {
        "percentunit": lambda ratio: f"{100 * ratio:.3g} %",
        "s": _seconds,
        "dtdurations": _seconds,
        "bytes": lambda count: f"{count / 2**20:.3g} MiB",
        "currencyUSD": lambda dollars: f"${dollars:.3g}",
    }
    return ways.get(unit, lambda number: f"{number:.3g}" if number < 1000 else f"{number:.0f}")(value)


def _seconds(seconds: float) -> str:
    if seconds == 0 or seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{1000 * seconds:.3g} ms" if seconds >= 0.001 else f"{1e6 * seconds:.3g} us"


def _rect(box: _Box, colour: str) -> str:
    return f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" fill="{colour}"/>'


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: float = 12,
    colour: str = _INK,
    anchor: str = "start",
    weight: str = "normal",
) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size:.0f}" fill="{colour}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )
