"""Topics of the event bus: an event's topic is its class, and whoever asks for a class gets its subclasses too.

It says which classes a subscription means and which events they match, and keeps the last events of each class for
those who come later. It delivers nothing; `bus` does.
"""

from __future__ import annotations

from collections import deque
from types import UnionType
from typing import Generic, TypeAlias, TypeVar, cast, final, get_args

from vespera_agents.actors.errors import InvalidTopic

Subscriber = TypeVar("Subscriber")

Topic: TypeAlias = type | tuple[type, ...] | UnionType
"""What one subscribes to: a class, several in a tuple or a union, or `object` for every event."""


def topic_types(topic: Topic) -> tuple[type, ...]:
    """Return the classes that a topic means, each once.

    Raises:
        InvalidTopic: It is neither a class nor several.
    """
    members: tuple[object, ...] = topic if isinstance(topic, tuple) else (topic,)
    if isinstance(topic, UnionType):
        members = get_args(topic)
    if not members:
        raise InvalidTopic(topic)
    for member in members:
        # `list[int]` passes for a class until it is asked for its parents.
        if not isinstance(member, type) or not hasattr(member, "__mro__") or get_args(member):
            raise InvalidTopic(member)
    return tuple(dict.fromkeys(cast("tuple[type, ...]", members)))


def topic_name(event_type: type) -> str:
    """Return how a class of events is called in statistics."""
    return f"{event_type.__module__}.{event_type.__qualname__}"


def matches(types: tuple[type, ...], event_type: type) -> bool:
    """Say whether events of this class belong to any of these topics: by its MRO, so `ABC.register` does not count."""
    mro = event_type.__mro__
    return any(each in mro for each in types)


@final
class EventTopic(Generic[Subscriber]):
    """One class of events that was published: who gets them, and the last of them."""

    __slots__ = ("event_type", "kept", "last", "published", "subscribers")

    def __init__(self, event_type: type, replay_max: int) -> None:
        self.event_type = event_type
        """The class."""
        self.published = 0
        """Events of exactly this class."""
        self.last = 0
        """The bus's number of the last of them."""
        self.kept: deque[tuple[int, object]] = deque(maxlen=replay_max)
        """The last events with their numbers, oldest first."""
        self.subscribers: dict[object, Subscriber] = {}
        """Who gets them, by stream or actor: nobody gets one event twice."""
