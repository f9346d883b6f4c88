"""The span of one message: from the first step of its handler to its last, current in that handler only.

Its parent is the sender's current span, which came with the message in its context variables. It imports OpenTelemetry:
only `tracing` imports it, for a system whose spans are collected. Attributes have their names from the semantic
conventions where those have one, and begin with `vespera.` otherwise. Exporting is the provider's business.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextvars import Context, Token
from types import CoroutineType, TracebackType
from typing import Any, Final, cast, final

from opentelemetry.context import Context as TraceContext
from opentelemetry.context import attach, detach
from opentelemetry.trace import (
    INVALID_SPAN,
    NoOpTracer,
    ProxyTracer,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    TracerProvider,
    get_tracer_provider,
    set_span_in_context,
)

from supervisors.exits import leaves
from vespera_agents.actors.actor import Actor, PutAside
from vespera_agents.actors.dispatch import HandlerFunction
from vespera_agents.actors.endpoint import Endpoint
from vespera_agents.actors.errors import ActorHung
from vespera_agents.actors.messages import Request
from vespera_agents.actors.settling import STOPPED
from vespera_agents.actors.statistics import MessageOutcome

TRACER_NAME: Final = "vespera_agents.actors"
"""The instrumentation scope of all spans of actors."""

SYSTEM: Final = "messaging.system"
OPERATION_NAME: Final = "messaging.operation.name"
OPERATION_TYPE: Final = "messaging.operation.type"
DESTINATION_NAME: Final = "messaging.destination.name"
FUNCTION_NAME: Final = "code.function.name"
ERROR_TYPE: Final = "error.type"
ACTOR_KIND: Final = "vespera.actor.kind"
ACTOR_INCARNATION: Final = "vespera.actor.incarnation"
MESSAGE_TYPE: Final = "vespera.message.type"
OUTCOME: Final = "vespera.outcome"

_COROUTINE: Final[type] = CoroutineType
_STOPPED: Final = (*STOPPED, GeneratorExit)


@final
class Spans:
    """Makes the spans of one system."""

    __slots__ = ("_tracer",)

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    @classmethod
    def of(cls, provider: TracerProvider | None) -> Spans | None:
        """Return what makes spans with a provider, or None if they would go nowhere."""
        tracer = (get_tracer_provider() if provider is None else provider).get_tracer(TRACER_NAME)
        # Not the provider is looked at: that of the SDK gives a no-op tracer, too, where OTEL_SDK_DISABLED is set.
        return None if isinstance(tracer, NoOpTracer | ProxyTracer) else cls(tracer)

    def inside(self, kind: str, handler: HandlerFunction, message_type: type) -> HandlerFunction:
        """Return a handler that does the same inside a span.

        A `Request` counts as asked. Who only told one did not say so, and finding it out would cost every message.
        """
        tracer = self._tracer
        asked = issubclass(message_type, Request)
        name = f"{kind}.{getattr(handler, '__name__', '?')}"
        span_kind = SpanKind.SERVER if asked else SpanKind.CONSUMER
        attributes: dict[str, str | int] = {
            SYSTEM: "vespera",
            OPERATION_NAME: "ask" if asked else "tell",
            OPERATION_TYPE: "process",
            FUNCTION_NAME: _qualified_name(handler),
            ACTOR_KIND: kind,
            MESSAGE_TYPE: _qualified_name(message_type),
        }

        def handle(actor: Actor, message: object) -> object:
            endpoint = cast("Endpoint", actor.ref)
            own: dict[str, str | int] = {DESTINATION_NAME: endpoint.name, ACTOR_INCARNATION: endpoint.incarnation}
            step = _Handling(actor, endpoint, tracer.start_span(name, kind=span_kind, attributes=attributes | own))
            with step:
                result = handler(actor, message)
                # Here, inside the block: a coroutine has only been made by now, and the span goes on until it returns.
                step.goes_on = type(result) is _COROUTINE
            return _go_on(step, cast("Awaitable[object]", result)) if step.goes_on else result

        return handle

    def without_parent(self, context: Context) -> None:
        """Take the current span out of a context."""
        context.run(attach, context.run(set_span_in_context, INVALID_SPAN))


async def _go_on(step: _Handling, handler: Awaitable[object]) -> object:
    step.goes_on = False
    with step:
        return await handler


@final
class _Handling:
    """A block that a handler runs in: its span is current inside, and ends with it unless the handler goes on."""

    __slots__ = ("_actor", "_endpoint", "_span", "_token", "goes_on")

    def __init__(self, actor: Actor, endpoint: Endpoint, span: Span) -> None:
        self._actor = actor
        self._endpoint = endpoint
        self._span = span
        self._token: Token[TraceContext] | None = None
        self.goes_on = False
        """Whether the end of the block is not the end of the handler."""

    def __enter__(self) -> None:
        self._token = attach(set_span_in_context(self._span))

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        # Not only because the block is over: a message that is put aside or retried runs in the same context again.
        if self._token is not None:
            detach(self._token)
        if error is not None:
            self._say_why(error)
        elif self.goes_on:
            return
        self._span.end()

    def _say_why(self, error: BaseException) -> None:
        """Say how a handler ended that did not return. Only what broke the actor is an error."""
        span = self._span
        if not span.is_recording():
            return
        if isinstance(error, PutAside):
            span.set_attribute(OUTCOME, MessageOutcome.STASHED.value)
            return
        crash = self._crash_of(error)
        if crash is None:
            span.set_attribute(OUTCOME, MessageOutcome.CANCELLED.value)
            return
        span.set_attribute(OUTCOME, MessageOutcome.CRASHED.value)
        span.set_attribute(ERROR_TYPE, _qualified_name(type(crash)))
        span.record_exception(crash)
        span.set_status(Status(StatusCode.ERROR, f"{type(crash).__name__}: {crash}"))

    def _crash_of(self, error: BaseException) -> BaseException | None:
        """Return what broke the actor, or None where its handler was only stopped."""
        for leaf in leaves(error):
            if not isinstance(leaf, _STOPPED):
                return leaf
        began, limit_seconds = self._endpoint.busy_since, self._actor.handler_timeout_seconds
        if began is not None and self._endpoint.clock() - began >= limit_seconds:
            return ActorHung(self._endpoint.name, limit_seconds)
        return None


def _qualified_name(thing: Any) -> str:
    """Return the name of a class or function with its module's, without that for what is built in."""
    name = str(getattr(thing, "__qualname__", type(thing).__qualname__))
    module = str(getattr(thing, "__module__", "builtins"))
    return name if module == "builtins" else f"{module}.{name}"
