"""One trace through two actors: with an OpenTelemetry provider, each handled message is a span below its sender's."""

import trio
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from vespera_agents.actors import Actor, ActorRef, Request, open_system, receives


class Price(Request[int]):
    """Ask what it costs."""


class Shop(Actor):
    """Asks its supplier, if it has one."""

    def __init__(self, supplier: ActorRef["Shop"] | None = None) -> None:
        self.supplier = supplier

    @receives
    async def price(self, message: Price) -> int:
        """Answer."""
        return 42 if self.supplier is None else 2 * await self.supplier.ask(message)


async def main() -> None:
    exporter = InMemorySpanExporter()  # A real program exports to a collector, and calls set_tracer_provider once.
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with open_system(tracer_provider=provider) as system:
        shop = await system.start(Shop, await system.start(Shop))
        await shop.ask(Price())
    inner, outer = exporter.get_finished_spans()
    print(inner.name, "is below", outer.name, "in one trace:", inner.parent == outer.context)


trio.run(main)
