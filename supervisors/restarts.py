"""The restart rules, pure: what follows from an exit, and who takes part in a restart. No I/O, no clock, no state.

Source: OTP `supervisor.erl::do_restart/3` and `restart/3`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from itertools import dropwhile
from typing import Final

from supervisors.exits import ExitKind
from supervisors.specs import Restart, Strategy


class Action(enum.StrEnum):
    """What a supervisor does about a child that ended by itself."""

    RESTART = "restart"
    """Start it again, and count that."""
    KEEP = "keep"
    """Keep its spec; it stays down until restart_child."""
    DELETE = "delete"
    """Forget its spec."""


# Looking a member up in its enum costs 80 ns, and a crash would pay for twenty: hot modules keep the ones they need.
_TEMPORARY: Final = Restart.TEMPORARY
_TRANSIENT: Final = Restart.TRANSIENT
_RESTART: Final = Action.RESTART


def decide(restart: Restart, kind: ExitKind) -> Action:
    """Return what follows when a child of this restart type ends in this way, without being asked to."""
    if restart is _TEMPORARY:
        return Action.DELETE
    if restart is _TRANSIENT and (kind is ExitKind.NORMAL or kind is ExitKind.SHUTDOWN):
        return Action.KEEP
    return _RESTART


def restart_group(strategy: Strategy, order: Iterable[str], offender: str) -> tuple[str, ...]:
    """Return the ids that restart together with `offender`, in start order; `order` is the start order of all.

    Under ONE_FOR_ONE `order` is not read, so that one crash among 100,000 children costs no walk over them.
    """
    match strategy:
        case Strategy.ONE_FOR_ONE:
            return (offender,)
        case Strategy.ONE_FOR_ALL:
            return tuple(order)
        case Strategy.REST_FOR_ONE:
            return tuple(dropwhile(lambda child_id: child_id != offender, order))
