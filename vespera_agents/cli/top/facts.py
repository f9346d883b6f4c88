"""What is told of a server, as short texts that are fit for a terminal: for the tables, the header and `--once`. Pure.

A name may be anything: every text that came from the feed goes through `plain` before it is shown. Neighbours: `mirror`
keeps the facts, `once` prints them, `panes` draws them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from rich.cells import cell_len, set_cell_size

from vespera_agents.cli.top.mirror import Mirror, Node, entries, mapping, number, text
from vespera_agents.cli.wording import duration, one_line
from vespera_agents.work.plain import printable

__all__ = [
    "branches",
    "clock_time",
    "context_fills",
    "fitted",
    "grade_of",
    "head_lines",
    "log_cells",
    "mail_of",
    "many",
    "node_facts",
    "number_text",
    "plain",
    "plain_lines",
    "seconds_text",
    "spark",
]

TEXT_MAX: Final = 2_000
"""Characters of one text that are looked at; a terminal has no room for more."""
_BARS: Final = "▁▂▃▄▅▆▇█"
_THOUSAND: Final = 1_000
_SHORT_SECONDS: Final = 0.9995
_MICROSECOND_TEXT: Final = 0.001


def plain(value: object) -> str:
    """Make of any value one line that steers nothing and can be written in UTF-8."""
    cut = text(value)[:TEXT_MAX]
    return one_line(cut.encode("utf-8", "replace").decode())


def plain_lines(value: object, characters_max: int = 20 * TEXT_MAX) -> str:
    """Make of any value lines that steer nothing; for tracebacks."""
    whole = text(value)
    cut = whole[:characters_max].encode("utf-8", "replace").decode()
    left = f"\n[... {len(whole) - len(cut)} more characters]" if len(whole) > characters_max else ""
    return printable(cut).expandtabs(4) + left


def fitted(line: str, width: int) -> str:
    """Cut or fill a line to exactly so many columns of a terminal."""
    if cell_len(line) <= width:
        return set_cell_size(line, width)
    return set_cell_size(line, width - 1) + "…" if width > 0 else ""


def seconds_text(seconds: float | None) -> str:
    """Write a span of time shortly: `12 ms`, `3.4 s`, `5 min 02 s`; nothing for none."""
    if seconds is None or not seconds:
        return ""
    if seconds < _MICROSECOND_TEXT:
        return "<1 ms"
    return f"{seconds * _THOUSAND:.0f} ms" if seconds < _SHORT_SECONDS else duration(seconds)


def number_text(value: float | None) -> str:
    """Write a number with separators; nothing for none."""
    return "" if value is None else f"{value:,.0f}"


def many(number: float, word: str) -> str:
    """Write a number of things, of which one has no s."""
    return f"{number_text(number)} {word if number == 1 else f'{word}s'}"


def clock_time(at: float | None) -> str:
    """Write a moment of the epoch as the time of day here."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(at or 0.0))
    except (OverflowError, ValueError, OSError):
        return "?"


def mail_of(node: Node) -> str:
    """Write how many messages wait, of how many that may."""
    if node.mailbox is None:
        return ""
    return f"{node.mailbox}/{node.capacity}" if node.capacity else str(node.mailbox)


def node_facts(mirror: Mirror, node: Node, fills: Mapping[str, str]) -> str:
    """Write in one line what there is to say of a node beside its name and state."""
    fill = fills.get(node.name)
    return _joined(
        [
            duration(mirror.lived(node)),
            f"restarts={node.restarts}" if node.restarts else "",
            plain(node.kind),
            f"mailbox={mail_of(node)}" if node.mailbox is not None else "",
            f"context={fill}" if fill else "",
            plain(node.detail),
        ]
    )


def context_fills(mirror: Mirror) -> dict[str, str]:
    """Give how full contexts are, by the names of their actors."""
    fills = ((text(entry.get("actor")), number(entry.get("fill_ratio"))) for entry in mirror.context)
    return {actor: f"{fill:.0%}" for actor, fill in fills if fill is not None}


def grade_of(mirror: Mirror) -> tuple[str, list[str]]:
    """Give the grade of health and its reasons."""
    reasons = [
        ": ".join(part for part in (plain(reason.get("component")), plain(reason.get("what"))) if part)
        for reason in entries(mirror.health.get("reasons"))
    ]
    return plain(mirror.health.get("grade")) or "unknown", reasons


def head_lines(mirror: Mirror) -> tuple[str, str, str]:
    """Give the three lines above everything: who it is, how it is, what it does."""
    server, loop = mirror.server, mirror.loop
    front = mapping(server.get("front"))
    version = plain(server.get("version")) or "unknown"
    started, crashes = number(server.get("started_at")), entries(front.get("crashes"))
    who = [
        "vespera" if version == "unknown" else f"vespera {version}",
        plain(server.get("id")),
        f"process {plain(server.get('pid'))}",
        f"up {duration(max(0.0, mirror.at - started))}" if started else "",
        f"generation {plain(server.get('generation'))}" if server.get("generation") else "",
        f"{number_text(len(crashes))} of its workers crashed" if crashes else "",
        "restarting" if front.get("restarting") else "",
    ]
    grade, reasons = grade_of(mirror)
    actors = mirror.actors()
    newest: Mapping[str, float] = mirror.history[-1] if mirror.history else {}
    work = [
        f"loop {(number(loop.get('utilisation')) or 0.0):.0%} busy",
        f"lag {seconds_text(number(loop.get('lag_seconds'))) or '0 ms'}",
        many(number(loop.get("stalls")) or 0, "stall"),
        f"{number_text(len(mirror.wedged))} wedged" if mirror.wedged else "",
        many(len(actors), "actor"),
        f"{number_text(sum(node.mailbox or 0 for node in actors))} in mailboxes",
        f"{number_text(newest.get('messages_per_second', 0.0))} messages/s",
        many(sum(node.restarts for node in mirror.nodes.values()), "restart"),
    ]
    return _joined(who), "; ".join([grade, *reasons]), _joined(work)


def log_cells(entry: Mapping[str, object]) -> tuple[str, str, str, str]:
    """Give of an entry of the log its time, kind, who it is about, and the reason."""
    offender = mapping(entry.get("offender"))
    supervisor = plain(entry.get("supervisor"))
    who = f"{supervisor}/{plain(offender.get('id'))}" if offender else supervisor
    return (
        clock_time(number(entry.get("at"))),
        plain(entry.get("kind")).replace("_", " "),
        who,
        plain(entry.get("reason")),
    )


def spark(values: Sequence[float], width: int, most: float) -> str:
    """Draw the last values as a row of bars.

    Args:
        values: the newest last.
        width: columns.
        most: what the highest bar means.
    """
    top = len(_BARS) - 1
    return "".join(_BARS[min(top, max(0, round(value / most * top)))] for value in values[-width:])


def branches(depths: Sequence[int]) -> list[str]:
    """Draw the branches of a tree, one text for each node from the top down, given their depths."""
    # Whether another one of the same depth follows below the same parent is known from behind.
    follows: list[bool] = []
    begun: list[bool] = []
    for depth in reversed(depths):
        del begun[depth + 1 :]
        begun.extend([False] * (depth + 1 - len(begun)))
        follows.append(begun[depth])
        begun[depth] = True
    drawn: list[str] = []
    trunks = [""]
    for depth, more in zip(depths, reversed(follows), strict=True):
        del trunks[depth + 1 :]
        drawn.append(trunks[depth] + ("├─ " if more else "└─ ") if depth else "")
        trunks.append(trunks[depth] + ("│  " if more else "   ") if depth else "")
    return drawn


def _joined(parts: Sequence[str]) -> str:
    return "  ".join(part for part in parts if part)
