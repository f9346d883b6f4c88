"""The forced kill: an exception thrown into every task below one task, through shields, as trio delivers Ctrl-C.

Cancellation is a request: shielded code does not hear of it, and a loop can swallow it. A shield does not stop this. It
reaches into trio, so everything private that this package uses is named here and nowhere else, and a test compares it
with the trio that is installed. Who is killed, and when, is `supervisors.incarnation`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NoReturn, final

import trio

TESTED_TRIO_VERSIONS: Final = ("0.31", "0.32", "0.33", "0.34", "0.35")
"""The trio releases whose inside is known to have these names; a test fails on any other."""
ABORT_FUNC: Final = "_abort_func"
"""Of a trio task: how to wake it, where it waits and can be woken; else None."""
ATTEMPT_ABORT: Final = "_attempt_abort"
"""Of a trio task: wakes it with the exception that the argument raises."""
NEXT_SEND_FN: Final = "_next_send_fn"
"""Of a trio task: what resumes it, where it is about to run; else None."""
NEXT_SEND: Final = "_next_send"
"""Of a trio task: what that is given."""


@final
class Killed(BaseException):
    """Thrown into a task that did not stop in time. Not an Exception: nobody who handles errors means this."""


def force_kill(task: trio.lowlevel.Task) -> int:
    """Throw Killed into `task` and into every task in the nurseries below it; return how many it could be thrown into.

    A task that waits for something that cannot be interrupted (a thread) gets nothing, and is not counted.
    """
    reached = 0
    tasks = [task]
    while tasks:
        victim = tasks.pop()
        for nursery in victim.child_nurseries:
            tasks.extend(nursery.child_tasks)
        if getattr(victim, ABORT_FUNC) is not None:
            attempt: Callable[[Callable[[], NoReturn]], object] = getattr(victim, ATTEMPT_ABORT)
            attempt(_raise_killed)
            reached += 1
        elif getattr(victim, NEXT_SEND_FN) is not None:
            # About to run, perhaps for the hundredth time with a Cancelled that it swallows: it gets this instead.
            setattr(victim, NEXT_SEND_FN, victim.coro.throw)
            setattr(victim, NEXT_SEND, Killed("stopped by force"))
            reached += 1
    return reached


def _raise_killed() -> NoReturn:
    raise Killed("stopped by force")
