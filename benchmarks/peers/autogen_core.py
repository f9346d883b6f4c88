"""autogen-core: its single-threaded runtime, with tracing off. See `rounds` for the protocol."""

from __future__ import annotations

import asyncio
import os
import time

from autogen_core import (
    AgentId,
    MessageContext,
    RoutedAgent,
    SingleThreadedAgentRuntime,
    TopicId,
    TypeSubscription,
    message_handler,
)

from benchmarks.peers.rounds import BURST, Add, Round, serve

# Its fastest normal way: each runtime that is made reads this, and then makes no spans.
os.environ["AUTOGEN_DISABLE_RUNTIME_TRACING"] = "true"


class Adder(RoutedAgent):
    """Adds up what it is told, and answers with the sum."""

    def __init__(self) -> None:
        super().__init__("adds")
        self.total = 0

    @message_handler
    async def add(self, message: Add, ctx: MessageContext) -> Add:  # noqa: ARG002 - the runtime passes both
        """Handle one message; an answer is a message, too."""
        self.total += message.amount
        return Add(self.total)


async def started_runtime() -> tuple[SingleThreadedAgentRuntime, AgentId]:
    runtime = SingleThreadedAgentRuntime()
    await Adder.register(runtime, "adder", Adder)
    await runtime.add_subscription(TypeSubscription(topic_type="adding", agent_type="adder"))
    runtime.start()
    return runtime, AgentId("adder", "default")


async def tell(count: int) -> Round:
    runtime, adder = await started_runtime()
    topic = TopicId("adding", "default")
    message = Add(1)
    started = time.perf_counter()
    for number in range(count):
        await runtime.publish_message(message, topic)
        if number % BURST == BURST - 1:
            await asyncio.sleep(0)
    await runtime.stop_when_idle()
    seconds = time.perf_counter() - started
    agent = await runtime.try_get_underlying_agent_instance(adder, Adder)
    return Round(seconds, agent.total)


async def ask(count: int) -> Round:
    runtime, adder = await started_runtime()
    message = Add(1)
    handled = 0
    started = time.perf_counter()
    for _ in range(count):
        handled = (await runtime.send_message(message, adder)).amount
    seconds = time.perf_counter() - started
    await runtime.stop()
    return Round(seconds, handled)


if __name__ == "__main__":
    serve(
        "autogen-core",
        {"tell": lambda count: asyncio.run(tell(count)), "ask": lambda count: asyncio.run(ask(count))},
    )
