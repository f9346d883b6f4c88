"""What a receiver wrote down, against what happened: what is lost, what came twice, and what came before its time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

__all__ = ["Verdict", "judge"]

START, COMPLETE = "on_task_start", "on_task_complete"


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of it."""

    expected: int
    """Callbacks that had to come: two for each task."""
    received: int
    """Of these, those that came at least once."""
    lost: tuple[str, ...]
    """Tasks and events that never came."""
    duplicates: int
    """Deliveries of an id that had come already."""
    disordered: tuple[str, ...]
    """Tasks whose end came before their beginning."""
    forged: int
    """Deliveries whose signature did not hold."""
    two_ids: tuple[str, ...]
    """Events of a task that came under more than one id."""
    attempts: int
    """Requests that reached the receiver."""


def judge(tasks: Sequence[str], lines: Iterable[str]) -> Verdict:
    """Judge the lines of a receiver, each an id, a task and an event, in the order in which they came."""
    first: dict[tuple[str, str], str] = {}
    seen: set[str] = set()
    attempts = duplicates = forged = 0
    disordered: list[str] = []
    two_ids: list[str] = []
    for line in lines:
        identifier, task, event = line.split()
        attempts += 1
        forged += event == "forged"
        if event in {"refused", "forged"}:
            continue
        if identifier in seen:
            duplicates += 1
            continue
        seen.add(identifier)
        if (task, event) in first:
            two_ids.append(f"{task} {event}")
        first.setdefault((task, event), identifier)
        if event == COMPLETE and (task, START) not in first:
            disordered.append(task)
    wanted = [(task, event) for task in tasks for event in (START, COMPLETE)]
    lost = tuple(f"{task} {event}" for task, event in wanted if (task, event) not in first)
    return Verdict(
        len(wanted), len(wanted) - len(lost), lost, duplicates, tuple(disordered), forged, tuple(two_ids), attempts
    )
