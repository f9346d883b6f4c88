"""The event bus: events by their class, to actors and to tasks, each bounded by its own rule.

bus, topics                 who hears what, and what those hear who come later
stream, buffer              a task that reads events, and where the unread ones lie
subscriptions               an actor that is told events
pending_send                a publisher that waits for room
statistics                  frozen pictures of all of it
"""

from vespera_agents.actors.events.buffer import EventPriority
from vespera_agents.actors.events.bus import EventBus
from vespera_agents.actors.events.statistics import BusStatistics, SubscriptionStatistics, TopicStatistics
from vespera_agents.actors.events.stream import EventStream
from vespera_agents.actors.events.subscriptions import Subscription

__all__ = [
    "BusStatistics",
    "EventBus",
    "EventPriority",
    "EventStream",
    "Subscription",
    "SubscriptionStatistics",
    "TopicStatistics",
]
