"""The choice of specialists: how often is it right, and does it know how sure it may be?

Judged on two sets, both with the specialist taken away from every task: the tasks of plans that people wrote, by the
specialists that these plans name, and `routing_held_back.yaml`, which was written before the lexicon and by whose
mistakes nothing was changed. But one hand wrote both, so it is judged once more with a lexicon that has lost each word
that no other set has: what holds of tasks that nobody has seen lies between the two. The baseline counts the words of
each role's expertise; the majority is the role that is right most often. How far evidence is believed was fitted on
`routing_calibration.yaml`, and is fitted anew here. Nothing of it depends on the machine, but for the last row.
"""

from __future__ import annotations

import gzip
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import yaml

from benchmarks.harness import Options, Row, row_of
from vespera_agents.specialists.plan_files import plan_container
from vespera_agents.specialists.roles import load_roles
from vespera_agents.specialists.routing.choosing import unnamed_facts
from vespera_agents.specialists.routing.suggesting import BELIEF, GENERIC, History, Knowledge, TaskFacts, chances
from vespera_agents.specialists.routing.words import words_of
from vespera_agents.work.drafts import TaskDraft
from vespera_agents.work.models import role_name
from vespera_agents.work.plans import Plan, read_plan_bytes

HERE = Path(__file__).parent
PLANS = HERE.parent / "tests" / "plans"
"""Where plans lie that people wrote."""
SETS = ("tuning", "calibration", "held_back")
BINS = 5
"""Into how many the confidence is divided where it is compared with what was right."""
BELIEFS = [round(0.2 + 0.02 * step, 2) for step in range(120)]
SUGGESTIONS = 2_000
"""Suggestions in one round, where their time is measured."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A task and the role that it is for."""

    role: str
    facts: TaskFacts


@dataclass(frozen=True, slots=True)
class Judged:
    """What was chosen for a labelled task."""

    task: Labelled
    ranked: tuple[str, ...]
    """The roles, the most likely first."""
    confidence: float
    """Of the first."""

    @property
    def right(self) -> bool:
        """Whether the first is the one."""
        return self.ranked[0] == self.task.role


@cache
def knowledge() -> Knowledge:
    """Know the packaged roles."""
    return Knowledge(load_roles())


@cache
def ignorance(name: str) -> Knowledge:
    """Know the packaged roles, but no word that one set has and no other: it may be known only because of that set.

    What a lexicon would know of a set that nobody had seen lies between this and `knowledge`: of any set, some words
    are in no other.
    """
    mine = _entries_in(labelled(name))
    others = [one for other in SETS if other != name for one in labelled(other)]
    alone = mine - _entries_in([*others, *plan_tasks()])
    return Knowledge(load_roles(), alone.__contains__)


def _entries_in(tasks: Iterable[Labelled]) -> set[tuple[str, ...]]:
    """Give each word, and each two and three in a row, as stems: what an entry of the lexicon can be."""
    found: set[tuple[str, ...]] = set()
    for task in tasks:
        for text in (task.facts.title, task.facts.description):
            stems = [stem for stem, _ in words_of(text)]
            found |= {tuple(stems[at : at + size]) for size in (1, 2, 3, 4) for at in range(len(stems) - size + 1)}
    return found


def labelled(name: str) -> list[Labelled]:
    """Read one of the sets beside this file."""
    document = cast(
        "dict[str, list[dict[str, str]]]", yaml.safe_load((HERE / f"routing_{name}.yaml").read_text("utf-8"))
    )
    return [Labelled(role, TaskFacts(**task)) for role, tasks in document.items() for task in tasks]


def plan_tasks() -> list[Labelled]:
    """Read the tasks whose plan names a specialist, without it."""
    return [one for path in sorted(PLANS.glob("*.md.gz")) for one in named_tasks(_plan(path))]


def _plan(path: Path) -> Plan:
    return read_plan_bytes(gzip.decompress(path.read_bytes()), name=path.stem)


def named_tasks(plan: Plan) -> Iterator[Labelled]:
    """Give the tasks for which a plan names a packaged specialist, with all names taken away."""
    names = {item.key: item.specialist for item in plan.items}
    names |= {phase.key: phase.task.specialist for phase in plan.phases if phase.task is not None}
    container = plan_container(plan)
    if plan.task is not None:
        names[container.key] = plan.task.specialist
    for key, facts in unnamed_facts([_unnamed(container)]).items():
        name = names.get(key)
        if name is not None and role_name(name) in knowledge().roles:
            yield Labelled(role_name(name), facts)


def _unnamed(draft: TaskDraft) -> TaskDraft:
    below = tuple(_unnamed(one) for one in draft.subtasks)
    return draft.model_copy(update={"specialist": None, "subtasks": below})


def judged(tasks: Iterable[Labelled], belief: float = BELIEF, known: Knowledge | None = None) -> list[Judged]:
    """Choose for each task."""
    found: list[Judged] = []
    for task in tasks:
        sums = (known or knowledge()).weigh(task.facts, History())
        likely = chances({role: one.nats for role, one in sums.items()}, belief)
        ranked = tuple(sorted(likely, key=lambda role: -likely[role]))
        found.append(Judged(task, ranked, likely[ranked[0]]))
    return found


def by_keywords(tasks: Sequence[Labelled]) -> float:
    """Say how often the role is right whose name and expertise have most words in the task."""
    vocabulary = {
        role.name: {stem for text in (role.name, *role.expertise) for stem, _ in words_of(text)}
        for role in load_roles().values()
        if role.name != GENERIC
    }

    def chosen(facts: TaskFacts) -> str:
        said = {stem for stem, _ in words_of(f"{facts.title} {facts.description} {facts.task_type}")}
        role, hits = max(((name, len(words & said)) for name, words in vocabulary.items()), key=lambda pair: pair[1])
        return role if hits else GENERIC

    return statistics.fmean(chosen(task.facts) == task.role for task in tasks)


def by_majority(tasks: Sequence[Labelled]) -> float:
    """Say how often the role is right that is right most often."""
    return Counter(task.role for task in tasks).most_common(1)[0][1] / len(tasks)


def top(found: Sequence[Judged], places: int) -> float:
    """Say how often the right role is among the first so many."""
    return statistics.fmean(one.task.role in one.ranked[:places] for one in found)


def calibration_error(found: Sequence[Judged]) -> float:
    """Say how far confidence and what was right lie apart, on the mean over bins of the same size."""
    ordered = sorted(found, key=lambda one: one.confidence)
    error = 0.0
    for number in range(BINS):
        part = ordered[number * len(ordered) // BINS : (number + 1) * len(ordered) // BINS]
        if part:
            apart = statistics.fmean(one.confidence for one in part) - statistics.fmean(one.right for one in part)
            error += abs(apart) * len(part) / len(ordered)
    return error


def fitted_belief(known: Knowledge | None = None) -> float:
    """Find how far evidence may be believed: what makes the right roles of the calibration set most likely."""
    tasks, known = labelled("calibration"), known or ignorance("calibration")
    sums = [{r: one.nats for r, one in known.weigh(task.facts, History()).items()} for task in tasks]

    def unlikely(belief: float) -> float:
        return -sum(math.log(chances(one, belief)[task.role]) for one, task in zip(sums, tasks, strict=True))

    return min(BELIEFS, key=unlikely)


def run(options: Options) -> list[Row]:
    """Judge the choice on both sets, then say what one costs."""
    rows: list[Row] = []
    for name, tasks in (("plans", plan_tasks()), ("held back", labelled("held_back"))):
        rows += _rows_of(f"{name} ({len(tasks)} tasks)", tasks)
    strange = judged(labelled("held_back"), known=ignorance("held_back"))
    share = top(judged(labelled("held_back")), 1)
    rows.append(
        _row("held back, no word known that it alone has: the first is right", top(strange, 1), "with all words", share)
    )
    rows.append(
        _row(
            "the same: mean confidence",
            statistics.fmean(one.confidence for one in strange),
            "what was right",
            top(strange, 1),
        )
    )
    rows.append(_row("belief in evidence", BELIEF, "fitted anew on the calibration set", fitted_belief(), unit="times"))
    facts = [task.facts for task in labelled("held_back")]
    count = options.scaled(SUGGESTIONS)
    rows.append(
        row_of(
            "a suggestion",
            unit="us",
            ours=[_micros(lambda: _suggest(facts, count)) / count for _ in range(options.rounds)],
            reference="the words of its text found, no more",
            references=[_micros(lambda: _read(facts, count)) / count for _ in range(options.rounds)],
            goal=None,
            clock="processor",
        )
    )
    return rows


def _rows_of(name: str, tasks: Sequence[Labelled]) -> list[Row]:
    found = judged(tasks)
    first = top(found, 1)
    return [
        _row(f"{name}: the first is right", first, "all of them", 1.0, goal=0.85),
        _row(f"{name}: one of the first two is", top(found, 2), "all of them", 1.0, goal=0.95),
        _row(f"{name}: the first is right", first, "by the words of each role's expertise", by_keywords(tasks)),
        _row(f"{name}: the first is right", first, "always the same role, the best", by_majority(tasks)),
        _row(f"{name}: mean confidence", statistics.fmean(one.confidence for one in found), "what was right", first),
        _row(f"{name}: calibration error", calibration_error(found), "to claim certainty always", 1.0 - first),
    ]


def _row(
    name: str, value: float, reference: str, reference_value: float, *, goal: float | None = None, unit: str = "share"
) -> Row:
    return row_of(
        name, unit=unit, ours=[value], reference=reference, references=[reference_value], goal=goal, clock="none"
    )


def _suggest(facts: Sequence[TaskFacts], count: int) -> None:
    for number in range(count):
        knowledge().suggest(facts[number % len(facts)])


def _read(facts: Sequence[TaskFacts], count: int) -> None:
    for number in range(count):
        one = facts[number % len(facts)]
        words_of(one.title)
        words_of(one.description)


def _micros(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1e6


def notes() -> str:
    """Say, by role, what was chosen for the tasks that were held back, and how confidence compares with it."""
    found = judged(labelled("held_back"))
    lines = ["| role | tasks | first is right | one of two | taken for it instead |", "|---|---|---|---|---|"]
    for role in knowledge().roles:
        mine = [one for one in found if one.task.role == role]
        instead = Counter(one.ranked[0] for one in mine if not one.right)
        told = ", ".join(f"{name} {number}" for name, number in instead.most_common()) or "-"
        lines.append(f"| {role} | {len(mine)} | {top(mine, 1):.0%} | {top(mine, 2):.0%} | {told} |")
    return "The tasks that were held back, by role:\n\n" + "\n".join(lines)
