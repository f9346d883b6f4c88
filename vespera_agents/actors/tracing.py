"""Whether a system's messages get spans, and the tables of handlers that make them.

Where nobody collects spans there is no `Tracing`, actors have their plain tables, and a message costs nothing more.
Otherwise each actor is given tables with the same handlers, each inside a span. What a span says is the business of
`spans`, which imports OpenTelemetry and is imported only here, when it is needed. Context variables, and with them the
sender's current span, travel with each message in any case: see `drain`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Hashable, Mapping
from contextvars import Context
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, final

from vespera_agents.actors.actor import Actor
from vespera_agents.actors.dispatch import HandlerFunction, Handlers, Table, no_handler

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

PROVIDER_VARIABLE: Final = "OTEL_PYTHON_TRACER_PROVIDER"
"""Names a provider that OpenTelemetry loads when it is first asked for one."""

_Wrap: TypeAlias = Callable[[HandlerFunction, type], HandlerFunction]


class SpanMaker(Protocol):
    """Who makes spans of messages."""

    def inside(self, kind: str, handler: HandlerFunction, message_type: type, /) -> HandlerFunction:
        """Return a handler that does the same inside a span."""
        ...

    def without_parent(self, context: Context, /) -> None:
        """Take the current span out of a context."""
        ...


@final
class Tracing:
    """The tables of one system that is traced, for all its actors of a class."""

    __slots__ = ("_spans", "_tables")

    def __init__(self, spans: SpanMaker) -> None:
        self._spans = spans
        self._tables: dict[type[Actor], Mapping[Hashable, Handlers]] = {}

    @classmethod
    def of(cls, provider: TracerProvider | None) -> Tracing | None:
        """Return the tracing of a system that is opened now, or None if no spans are collected.

        Args:
            provider: What makes tracers; the one that OpenTelemetry was configured with unless given.
        """
        if provider is None and "opentelemetry.trace" not in sys.modules and PROVIDER_VARIABLE not in os.environ:
            # Whoever has configured a provider has imported this, and to find that out by importing it costs 27 ms.
            return None
        try:
            from vespera_agents.actors.spans import Spans  # noqa: PLC0415 - imports OpenTelemetry, which is optional
        except ModuleNotFoundError:
            return None
        spans = Spans.of(provider)
        return None if spans is None else cls(spans)

    def tables_of(self, actor_class: type[Actor]) -> Mapping[Hashable, Handlers]:
        """Return what an actor of this class uses in the place of its `tables`."""
        tables = self._tables.get(actor_class)
        if tables is None:
            kind = actor_class.__name__

            def wrap(handler: HandlerFunction, message_type: type) -> HandlerFunction:
                return self._spans.inside(kind, handler, message_type)

            tables = {state: _TracedTable(table, wrap) for state, table in actor_class.tables.items()}
            self._tables[actor_class] = tables
        return tables

    def begin_anew(self, context: Context) -> None:
        """Let what comes of a context be traces of their own: it comes again and again, and its span ends long before.

        For a timer that repeats; a trace that grew with each of its ticks would never be complete.
        """
        self._spans.without_parent(context)


@final
class _TracedTable(dict[type, HandlerFunction]):
    """A table like another, with each handler inside a span, made when the first message of a type comes."""

    __slots__ = ("_plain", "_wrap")

    def __init__(self, plain: Table, wrap: _Wrap) -> None:
        super().__init__()
        self._plain = plain
        self._wrap = wrap

    def __missing__(self, message_type: type) -> HandlerFunction:
        handler = self._plain[message_type]
        if handler is not no_handler:
            # What nobody handles has no span: the dead letter, or the asker's error, says it.
            handler = self._wrap(handler, message_type)
        self[message_type] = handler
        return handler
