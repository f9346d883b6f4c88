"""The watchdog of an event loop: how busy it is, what blocks it, and which actors do not get on.

watchdog                   `Watchdog`, the child that watches, and its thread
meter, starvation          exact accounting, in the loop; what the machine took of it
evidence                   from a blocked thread to task, actor and line
wedging                    looking through the actors
figures, settings          what is known, and what is allowed, as plain values
"""

from vespera_agents.health.watchdog.figures import LAG_BOUNDS, LoopFigures, LoopStatistics, Stall, Wedged
from vespera_agents.health.watchdog.settings import WatchdogSettings
from vespera_agents.health.watchdog.watchdog import Watchdog, watchdog_spec

__all__ = [
    "LAG_BOUNDS",
    "LoopFigures",
    "LoopStatistics",
    "Stall",
    "Watchdog",
    "WatchdogSettings",
    "Wedged",
    "watchdog_spec",
]
