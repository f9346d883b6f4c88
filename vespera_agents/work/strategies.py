"""How a container has its subtasks worked on: in order, side by side, with a review, by a vote. Pure rules over rows.

    sequential  one after another, in their order
    parallel    side by side, as without a strategy
    pipeline    one after another, each from what the one before made
    review      all but the last work, the last reviews; sent back at most n times
    consensus   n do the same apart from each other; the last judges, or the majority decides

An order becomes dependencies (`edges`), so that whoever takes tasks keeps to it, with and without a conductor. What
follows from a hand-in (`steps`) and what a vote came to (`decision`) is decided in the transaction that ends a subtask:
no process remembers anything. A review decides by how it is handed in (`needs_revision`, or a command that fails); a
vote is what the summary says. Neighbours: `drafts` carries a strategy, the store asks here and does it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, final

from vespera_agents.work.drafts import TaskDraft, walk_drafts
from vespera_agents.work.errors import InvalidInput
from vespera_agents.work.machine import TERMINAL
from vespera_agents.work.models import TITLE_MAX, Strategy, Task, TaskStatus, TaskType

__all__ = [
    "REVISIONS_DEFAULT",
    "VOTERS_DEFAULT",
    "Again",
    "Decision",
    "Fail",
    "NoVote",
    "Step",
    "check_strategy",
    "decision",
    "edges",
    "expand",
    "starts_from",
    "steps",
    "strategy_said",
]

REVISIONS_DEFAULT: Final = 2
VOTERS_DEFAULT: Final = 3
_JUDGES: Final = frozenset({TaskType.REVIEW, TaskType.APPROVAL})
_ORDERED: Final = frozenset({Strategy.SEQUENTIAL, Strategy.PIPELINE})
_COUNTED: Final = {Strategy.REVIEW: (1, 10), Strategy.CONSENSUS: (2, 9)}
"""The strategies that take a number, and its bounds."""
_BARE: Final[dict[str, object]] = {"run": None, "when": None, "gates": (), "done": False}
"""What a task that becomes a container leaves to its work."""
_STUCK: Final = frozenset({TaskStatus.FAILED, TaskStatus.REVIEW, TaskStatus.BLOCKED})
_VOTE_MAX: Final = 200
_SAID_MAX: Final = 1_000
_SAID: Final = re.compile(rf"({'|'.join(Strategy)})(?:[\s:_-]*(?:of[\s_-]+)?(\d{{1,3}}))?")


@final
@dataclass(frozen=True, slots=True)
class Again:
    """A subtask is done once more."""

    task_id: str
    reason: str


@final
@dataclass(frozen=True, slots=True)
class Fail:
    """A subtask that asked for more has failed."""

    task_id: str
    reason: str


@final
@dataclass(frozen=True, slots=True)
class NoVote:
    """A subtask gave no vote: it is passed over, and nobody waits for it."""

    task_id: str
    reason: str


Step = Again | Fail | NoVote


@final
@dataclass(frozen=True, slots=True)
class Decision:
    """What a vote came to."""

    status: TaskStatus
    """completed or failed."""
    text: str


def strategy_said(text: str) -> tuple[Strategy, int | None] | None:
    """Read `pipeline`, `review 3` or `consensus of 5`; None where a text says something else."""
    match = _SAID.fullmatch(text.strip().lower())
    return None if match is None else (Strategy(match[1]), int(match[2]) if match[2] else None)


def check_strategy(title: str, strategy: Strategy | None, number: int | None) -> None:
    """Check that a number fits its strategy.

    Raises:
        InvalidInput: it does not.
    """
    if number is None:
        return
    bounds = _COUNTED.get(strategy) if strategy is not None else None
    if bounds is None:
        raise InvalidInput(
            f"the strategy of {title!r} takes no number: only review (rounds) and consensus (voters) do",
            "Leave it out, or choose one of those.",
        )
    if not bounds[0] <= number <= bounds[1]:
        raise InvalidInput(
            f"the number in the strategy of {title!r} is {number}",
            f"Give {bounds[0]} to {bounds[1]} for the strategy {strategy}.",
        )


def expand(drafts: Sequence[TaskDraft]) -> tuple[TaskDraft, ...]:
    """Draft what a strategy needs and nobody has drafted: the review of a single task, the copies of one voter.

    Done twice, it adds nothing.

    Raises:
        InvalidInput: a number does not fit, or subtasks do not fit the strategy.
    """
    if not any(draft.strategy or draft.strategy_n for draft, _, _ in walk_drafts(drafts)):
        return tuple(drafts)
    return tuple(_expanded(draft) for draft in drafts)


def _expanded(draft: TaskDraft) -> TaskDraft:
    check_strategy(draft.title, draft.strategy, draft.strategy_n)
    subtasks: Sequence[TaskDraft] = tuple(map(_expanded, draft.subtasks))
    if draft.strategy not in _COUNTED:
        return draft.model_copy(update={"subtasks": subtasks}) if subtasks else draft
    bare = not subtasks
    if bare:
        # A task of its own: its work goes into a subtask, and what waits for it waits for the whole.
        own = draft.model_copy(
            update={"key": f"{draft.key}-work", "strategy": None, "strategy_n": None, "dependencies": ()}
        )
        subtasks = (own,)
    if draft.strategy is Strategy.REVIEW:
        number = draft.strategy_n or REVISIONS_DEFAULT
        subtasks = (*subtasks, _reviewer(draft)) if len(subtasks) == 1 else subtasks
    else:
        subtasks = _voters(draft, subtasks)
        number = len(subtasks) - (subtasks[-1].task_type in _JUDGES)
    changed: dict[str, object] = {"subtasks": tuple(subtasks), "strategy_n": number}
    return draft.model_copy(update=changed | _BARE if bare else changed)


def _reviewer(draft: TaskDraft) -> TaskDraft:
    return TaskDraft(
        key=f"{draft.key}-review",
        title=f"Review: {draft.title}"[:TITLE_MAX],
        description=(
            "Judge the work that this builds on against what was asked for. Hand in next_action=complete if it may "
            "stay as it is, and next_action=needs_revision with what must change if not.\n\nAsked for was:\n\n"
            f"{draft.description or draft.title}"
        )[: len(draft.description) + 1_000],
        task_type=TaskType.REVIEW,
        specialist="reviewer",
    )


def _voters(draft: TaskDraft, subtasks: Sequence[TaskDraft]) -> Sequence[TaskDraft]:
    judged = len(subtasks) > 1 and subtasks[-1].task_type in _JUDGES
    voters = subtasks[:-1] if judged else subtasks
    if len(voters) > 1:
        if draft.strategy_n not in {None, len(voters)}:
            raise InvalidInput(
                f"{draft.title!r} has {len(voters)} subtasks that vote, and its strategy says {draft.strategy_n}",
                "Give one subtask, of which copies are made, or leave the number out.",
            )
        return subtasks
    one = voters[0]
    if one.subtasks:
        raise InvalidInput(
            f"{one.title!r} has subtasks of its own, of which no copies are made",
            "Draft the voters one by one, and leave the number out.",
        )
    number = draft.strategy_n or VOTERS_DEFAULT
    copies = tuple(
        one.model_copy(
            update={
                "key": one.key if count == 1 else f"{one.key}-{count}",
                "title": f"{one.title[: TITLE_MAX - 20]} ({count} of {number})",
            }
        )
        for count in range(1, number + 1)
    )
    return (*copies, subtasks[-1]) if judged else copies


def edges(strategy: Strategy | None, members: Sequence[Task]) -> list[tuple[str, str]]:
    """Say which subtask waits for which, each with the one that it waits for.

    Args:
        strategy: of the container.
        members: its subtasks in their order.
    """
    there = [member for member in members if member.status is not TaskStatus.ARCHIVED]
    if strategy in _ORDERED:
        return [(later.id, earlier.id) for earlier, later in pairwise(there)]
    if strategy is Strategy.REVIEW or (strategy is Strategy.CONSENSUS and _judge(there) is not None):
        return [(there[-1].id, earlier.id) for earlier in there[:-1]]
    return []


def starts_from(strategy: Strategy | None, members: Sequence[Task], task_id: str) -> str | None:
    """Say from which subtask's files another one goes on; None: from what everybody has.

    Args:
        strategy: of the container.
        members: its subtasks in their order.
        task_id: the one that begins.
    """
    if strategy not in {Strategy.PIPELINE, Strategy.REVIEW}:
        return None
    before: Task | None = None
    for member in members:
        if member.id == task_id:
            return None if before is None else before.id
        if member.status is TaskStatus.COMPLETED and (strategy is Strategy.PIPELINE or member.id != members[-1].id):
            before = member
    return None


def steps(container: Task, members: Sequence[Task]) -> tuple[Step, ...]:
    """Say what follows from how the subtasks stand now; nothing in most cases.

    Args:
        container: with its strategy, and how often it was sent back.
        members: its subtasks in their order.
    """
    there = [member for member in members if member.status is not TaskStatus.ARCHIVED]
    if container.strategy is Strategy.REVIEW and len(there) > 1:
        return tuple(_after_review(container, there[:-1], there[-1]))
    if container.strategy is Strategy.CONSENSUS:
        return tuple(_after_votes(there))
    return ()


def _after_review(container: Task, work: Sequence[Task], review: Task) -> Iterator[Step]:
    # A specialist that was lost, or a model that could not be reached, has judged nothing.
    refused = review.status is TaskStatus.REVIEW or (review.status is TaskStatus.FAILED and review.run is not None)
    if not refused:
        return
    said = _said(review)
    rounds = container.strategy_n or REVISIONS_DEFAULT
    done = [task for task in work if task.status is TaskStatus.COMPLETED]
    if container.rounds < rounds and len(done) == len(work):
        reason = f"revision {container.rounds + 1} of {rounds}, because the review says: {said}"
        for task in (*done, review):
            yield Again(task.id, reason)
    elif review.status is TaskStatus.REVIEW:
        yield Fail(review.id, f"not approved after {container.rounds} revisions: {said}")


def _after_votes(there: Sequence[Task]) -> Iterator[Step]:
    judge = _judge(there)
    if judge is not None and judge.status is TaskStatus.REVIEW:
        yield Fail(judge.id, f"the judge could not decide: {_said(judge)}")
    voters = there if judge is None else there[:-1]
    if any(voter.status not in TERMINAL | _STUCK for voter in voters):
        return
    if judge is None:
        enough = _most(voters)[1] * 2 > len(voters)
    else:
        enough = any(voter.status is TaskStatus.COMPLETED for voter in voters)
    for voter in voters:
        if enough and voter.status in _STUCK:
            yield NoVote(voter.id, f"no vote: {_said(voter)}")
        elif voter.status in {TaskStatus.REVIEW, TaskStatus.BLOCKED}:
            # Without enough votes a failure stays one: it is what holds the judge, and what a retry begins with.
            yield Fail(voter.id, f"no vote: {_said(voter)}")


def decision(container: Task, members: Sequence[Task]) -> Decision | None:
    """Say what the majority decided; None while votes are out, where a judge decides, and where nobody voted.

    Args:
        container: with its strategy.
        members: its subtasks in their order.
    """
    there = [member for member in members if member.status is not TaskStatus.ARCHIVED]
    if container.strategy is not Strategy.CONSENSUS or _judge(there) is not None:
        return None
    if any(voter.status not in TERMINAL for voter in there):
        return None
    votes = _votes(there)
    if not votes:
        return None
    most, count = _most(there)
    if 2 * count > len(there):
        first = next(voter for voter in there if voter.status is TaskStatus.COMPLETED and _vote(voter) == most)
        return Decision(TaskStatus.COMPLETED, f"{count} of {len(there)} agree: {first.summary or first.title}")
    missing = len(there) - votes.total()
    told = [f"{number} x {vote!r}" for vote, number in votes.most_common()]
    return Decision(
        TaskStatus.FAILED,
        f"no majority of {len(there)}: {', '.join([*told, *([f'{missing} x no vote'] if missing else [])])}",
    )


def _votes(voters: Sequence[Task]) -> Counter[str]:
    return Counter(_vote(voter) for voter in voters if voter.status is TaskStatus.COMPLETED)


def _most(voters: Sequence[Task]) -> tuple[str, int]:
    """Give the vote that most have given, and how many."""
    return next(iter(_votes(voters).most_common(1)), ("", 0))


def _judge(there: Sequence[Task]) -> Task | None:
    return there[-1] if len(there) > 1 and there[-1].task_type in _JUDGES else None


def _vote(task: Task) -> str:
    """Give what a subtask votes for: what its summary says after `Vote:`, else its first line.

    The summary of a command tells how long it took; that it succeeded is its vote.
    """
    if task.run is not None:
        return "succeeded"
    lines = [" ".join(line.split()).casefold() for line in (task.summary or "").splitlines() if line.strip()]
    marked = [line.removeprefix("vote:").strip() for line in lines if line.startswith("vote:")]
    return (marked or lines or [""])[0].rstrip(".!")[:_VOTE_MAX]


def _said(task: Task) -> str:
    """Give what whoever handed a subtask in said of it."""
    handed_in = task.summary if task.status is TaskStatus.REVIEW else None
    return (handed_in or task.status_reason or task.summary or "nothing was said")[:_SAID_MAX]
