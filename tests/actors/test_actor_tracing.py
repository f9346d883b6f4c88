"""Spans of messages, as OpenTelemetry's SDK collects them; and that there is nothing where nobody collects them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trio
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.semconv._incubating.attributes import code_attributes, error_attributes, messaging_attributes
from opentelemetry.trace import NoOpTracerProvider, SpanKind, StatusCode
from trio.testing import MockClock

from vespera_agents.actors import (
    Actor,
    ActorCrashed,
    ActorRef,
    ActorSystem,
    AskTimeout,
    Request,
    Unhandled,
    ask_many,
    open_pool,
    open_system,
    receives,
)
from vespera_agents.actors import spans as names
from vespera_agents.actors.embedding.asyncio_host import open_system_from_asyncio
from vespera_agents.actors.embedding.portal import open_system_portal

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Add(Request[int]):
    amount: int


@dataclass
class AddAgain(Add): ...


@dataclass
class Note:
    text: str


@dataclass
class Louder(Note): ...


class SlowAdd(Request[int]): ...


class Crash(Request[None]): ...


class GroupCrash(Request[None]): ...


class Hang(Request[None]): ...


class Strange(Request[None]): ...


class Where(Request[int]): ...


class WhereLater(Request[list[int]]): ...


class Open: ...


class Tick: ...


def here() -> int:
    """Return the id of the current span; 0 where there is none."""
    return trace.get_current_span().get_span_context().span_id


class Counter(Actor):
    total = 0

    @receives
    def add(self, message: Add) -> int:
        self.total += message.amount
        return self.total

    @receives
    async def slow_add(self, _: SlowAdd) -> int:
        await trio.sleep(1)
        self.total += 1
        return self.total

    @receives
    def note(self, _: Note) -> None:
        pass

    @receives
    def where(self, _: Where) -> int:
        return here()

    @receives
    async def where_later(self, _: WhereLater) -> list[int]:
        """Say where it is before an await, in a task of its own, and after the await."""
        found = [here()]

        async def look() -> None:
            found.append(here())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
        await trio.sleep(1)
        found.append(here())
        return found

    @receives
    def crash(self, _: Crash) -> None:
        raise ValueError("broken")

    @receives
    async def group_crash(self, _: GroupCrash) -> None:
        async def fail() -> None:
            raise KeyError("inner")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(fail)

    @receives
    async def hang(self, _: Hang) -> None:
        await trio.sleep_forever()


class Impatient(Counter):
    handler_timeout_seconds = 2.0


class Stubborn(Counter):
    crash_retries = 1


class Front(Actor):
    """Asks another actor."""

    def __init__(self, other: ActorRef[Counter]) -> None:
        self.other = other

    @receives
    async def add(self, message: Add) -> int:
        return await self.other.ask(message)


class Publisher(Actor):
    """Reaches others in every way but by asking them."""

    def __init__(self, system: ActorSystem) -> None:
        self.system = system

    @receives
    def publish(self, message: Add) -> int:
        self.system.bus.publish(Note("event"))
        self.system.groups.tell("all", Note("to all"))
        return message.amount

    @receives
    async def where(self, _: Where) -> int:
        return await self.system.asyncio.run(here_in_asyncio)


async def here_in_asyncio() -> int:
    await asyncio.sleep(0)
    return here()


class Door(Actor):
    """Shut at first: adding has to wait."""

    initial_state = "shut"

    @receives
    def add(self, message: Add) -> int:
        return message.amount

    @receives(when="shut")
    def wait(self, _: Add) -> int:
        self.stash()

    @receives(when="shut")
    def open(self, _: Open) -> None:
        self.become("open")
        self.unstash_all()

    @receives(when="open")
    def open_again(self, _: Open) -> None: ...


class Clock(Actor):
    @receives
    def begin(self, _: Open) -> None:
        self.tell_every(1.0, Tick())
        self.tell_after(1.5, Note("once"))

    @receives
    def tick(self, _: Tick) -> None: ...

    @receives
    def once(self, _: Note) -> None: ...


class Collected:
    """A provider whose spans are kept in memory, in the order in which they ended."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")

    @property
    def spans(self) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name != "outside"]

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]

    def only(self, name: str) -> ReadableSpan:
        (found,) = (span for span in self.spans if span.name == name)
        return found


@pytest.fixture
def collected() -> Generator[Collected, None, None]:
    collected = Collected()
    yield collected
    collected.provider.shutdown()


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


# What travels without any tracing of ours ---------------------------------------------------------------------------


async def test_the_senders_current_span_travels_with_each_message_though_nothing_is_traced(
    collected: Collected, autojump_clock: MockClock
) -> None:
    async with open_system() as system:
        counter = await system.start(Counter)
        with collected.tracer.start_as_current_span("outside") as outside:
            assert await counter.ask(Where()) == outside.get_span_context().span_id
            assert set(await counter.ask(WhereLater())) == {outside.get_span_context().span_id}
        assert await counter.ask(Where()) == 0
    assert collected.spans == []


# Spans --------------------------------------------------------------------------------------------------------------


async def test_an_ask_has_a_span_below_the_askers_which_says_who_handled_what(collected: Collected) -> None:
    async with open_system(tracer_provider=collected.provider) as system:
        counter = await system.start(Counter, name="till")
        with collected.tracer.start_as_current_span("outside") as outside:
            assert await counter.ask(Add(2)) == 2
    (span,) = collected.spans
    assert (span.name, span.kind, span.status.status_code) == ("Counter.add", SpanKind.SERVER, StatusCode.UNSET)
    assert parent_of(span) == outside.get_span_context().span_id
    assert span.context is not None
    assert span.context.trace_id == outside.get_span_context().trace_id
    module = Counter.__module__
    assert dict(span.attributes or {}) == {
        "messaging.system": "vespera",
        "messaging.operation.name": "ask",
        "messaging.operation.type": "process",
        "messaging.destination.name": "till",
        "code.function.name": f"{module}.Counter.add",
        "vespera.actor.kind": "Counter",
        "vespera.actor.incarnation": 1,
        "vespera.message.type": f"{module}.Add",
    }


async def test_a_told_message_has_a_consumers_span_and_without_a_current_span_it_begins_a_trace(
    collected: Collected, autojump_clock: MockClock
) -> None:
    async with open_system(tracer_provider=collected.provider) as system:
        counter = await system.start(Counter)
        counter.tell(Note("a"))
        await counter.send(Note("b"))
        await counter.ask(Add(1))
    assert collected.names == ["Counter.note", "Counter.note", "Counter.add"]
    assert [span.kind for span in collected.spans] == [SpanKind.CONSUMER, SpanKind.CONSUMER, SpanKind.SERVER]
    assert [parent_of(span) for span in collected.spans] == [None, None, None]
    assert len({span.context.trace_id for span in collected.spans if span.context}) == 3


async def test_a_message_of_a_derived_type_has_its_handlers_name_and_its_own_type(collected: Collected) -> None:
    async with open_system(tracer_provider=collected.provider) as system:
        counter = await system.start(Counter)
        counter.tell(Louder("!"))
        await counter.ask(AddAgain(1))
    types = [str((span.attributes or {})[names.MESSAGE_TYPE]).rpartition(".")[2] for span in collected.spans]
    assert list(zip(collected.names, types, strict=True)) == [("Counter.note", "Louder"), ("Counter.add", "AddAgain")]
    assert collected.spans[1].kind is SpanKind.SERVER


async def test_an_actor_that_asks_another_hands_the_trace_on(collected: Collected) -> None:
    async with open_system(tracer_provider=collected.provider) as system:
        counter = await system.start(Counter)
        front = await system.start(Front, counter)
        with collected.tracer.start_as_current_span("outside") as outside:
            await front.ask(Add(1))
    inner, outer = collected.only("Counter.add"), collected.only("Front.add")
    assert outer.context is not None
    assert parent_of(inner) == outer.context.span_id
    assert parent_of(outer) == outside.get_span_context().span_id


async def test_a_span_stays_open_and_current_across_awaits_in_its_handler_only(
    collected: Collected, autojump_clock: MockClock
) -> None:
    async with open_system(tracer_provider=collected.provider) as system:
        one, other = await system.start(Counter), await system.start(Counter)
        answers: dict[str, list[int]] = {}

        async def ask(which: str, whom: ActorRef[Counter]) -> None:
            before = here()
            answers[which] = await whom.ask(WhereLater())
            assert here() == before

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "one", one)
            nursery.start_soon(ask, "other", other)
            await trio.sleep(0.5)
            assert collected.spans == [], "the handlers have not returned"
            assert here() == 0
    ids = {span.context.span_id for span in collected.spans if span.context}
    assert [len(set(found)) for found in answers.values()] == [1, 1]
    assert {found[0] for found in answers.values()} == ids
    assert len(ids) == 2


async def test_a_suspended_handler_is_timed_from_its_first_step_to_its_last(
    collected: Collected, autojump_clock: MockClock
) -> None:
    async with open_system(tracer_provider=collected.provider) as system:
        counter = await system.start(Counter)
        with collected.tracer.start_as_current_span("outside"):
            assert await counter.ask(SlowAdd()) == 1
            assert await counter.ask(SlowAdd()) == 2
    first, second = collected.spans
    assert first.end_time is not None
    assert second.start_time is not None
    assert first.end_time <= second.start_time


async def test_a_crash_is_an_error_of_its_span_and_the_next_incarnation_says_its_number(collected: Collected) -> None:
    async with open_system(tracer_provider=collected.provider) as system:
        counter = await system.start(Counter)
        with pytest.raises(ActorCrashed):
            await counter.ask(Crash())
        await counter.ask(Add(1))
    span = collected.only("Counter.crash")
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "ValueError: broken"
    assert (span.attributes or {})["error.type"] == "ValueError"
    assert (span.attributes or {})[names.OUTCOME] == "crashed"
    (event,) = span.events
    assert event.name == "exception"
    assert (collected.only("Counter.add").attributes or {})[names.ACTOR_INCARNATION] == 2


async def test_the_error_in_a_group_is_named_and_not_what_was_cancelled_beside_it(collected: Collected) -> None:
    async with open_system(tracer_provider=collected.provider) as system:
        counter = await system.start(Counter)
        with pytest.raises(ActorCrashed) as crash:
            await counter.ask(GroupCrash())
    assert isinstance(crash.value.cause, KeyError)
    span = collected.only("Counter.group_crash")
    assert (span.attributes or {})["error.type"] == "KeyError"
    assert span.status.status_code is StatusCode.ERROR


async def test_a_retried_message_has_a_span_for_each_try_below_the_same_parent(collected: Collected) -> None:
    async with open_system(tracer_provider=collected.provider) as system:
        counter = await system.start(Stubborn)
        with collected.tracer.start_as_current_span("outside") as outside, pytest.raises(ActorCrashed):
            await counter.ask(Crash())
    assert collected.names == ["Stubborn.crash", "Stubborn.crash"]
    assert {parent_of(span) for span in collected.spans} == {outside.get_span_context().span_id}


async def test_a_hung_handler_is_an_error(collected: Collected, autojump_clock: MockClock) -> None:
    async with open_system(tracer_provider=collected.provider) as system:
        counter = await system.start(Impatient)
        with pytest.raises(ActorCrashed):
            await counter.ask(Hang())
    span = collected.only("Impatient.hang")
    assert (span.attributes or {})["error.type"] == "vespera_agents.actors.errors.ActorHung"
    assert span.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize("kind", [Counter, Impatient])
async def test_a_handler_that_is_cut_off_is_no_error(
    kind: type[Counter], collected: Collected, autojump_clock: MockClock
) -> None:
    async with open_system(tracer_provider=collected.provider) as system:
        counter = await system.start(kind)
        counter.tell(Hang())
        await trio.sleep(1)
        await system.stop(counter, timeout_seconds=0.5)
    (span,) = collected.spans
    assert span.status.status_code is StatusCode.UNSET
    assert (span.attributes or {})[names.OUTCOME] == "cancelled"
    assert span.events == ()


async def test_a_message_that_is_put_aside_has_a_span_for_each_time_below_the_same_parent(
    collected: Collected, autojump_clock: MockClock
) -> None:
    async with open_system(tracer_provider=collected.provider) as system:
        door = await system.start(Door)
        with collected.tracer.start_as_current_span("outside") as outside:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(door.ask, Add(3)))
                await trio.sleep(1)
                door.tell(Open())
        door.tell(Open())
    assert collected.names == ["Door.wait", "Door.open", "Door.add", "Door.open_again"]
    put_aside, _, handled, _ = collected.spans
    assert put_aside.status.status_code is StatusCode.UNSET
    assert (put_aside.attributes or {})[names.OUTCOME] == "stashed"
    assert names.OUTCOME not in (handled.attributes or {})
    assert parent_of(put_aside) == parent_of(handled) == outside.get_span_context().span_id


async def test_what_nobody_handles_has_no_span(collected: Collected) -> None:
    async with open_system(tracer_provider=collected.provider) as system:
        counter = await system.start(Counter)
        with pytest.raises(Unhandled):
            await counter.ask(Strange())
        counter.tell("what?")
        await counter.ask(Add(1))
        assert len(system.dead_letters) == 1
    assert collected.names == ["Counter.add"]


async def test_a_caller_that_gave_up_changes_nothing_of_the_span(
    collected: Collected, autojump_clock: MockClock
) -> None:
    async with open_system(tracer_provider=collected.provider) as system:
        counter = await system.start(Counter)
        with pytest.raises(AskTimeout):
            await counter.ask(SlowAdd(), timeout_seconds=0.5)
        assert collected.spans == []
        await counter.ask(Add(1))
    assert collected.names == ["Counter.slow_add", "Counter.add"]
    assert collected.spans[0].status.status_code is StatusCode.UNSET


async def test_a_tick_that_repeats_is_a_trace_of_its_own_and_one_that_does_not_belongs_to_who_set_it(
    collected: Collected, autojump_clock: MockClock
) -> None:
    async with open_system(tracer_provider=collected.provider) as system:
        clock = await system.start(Clock)
        with collected.tracer.start_as_current_span("outside"):
            clock.tell(Open())
        await trio.sleep(2.1)
    ticks = [span for span in collected.spans if span.name == "Clock.tick"]
    begin = collected.only("Clock.begin")
    assert begin.context is not None
    assert [parent_of(span) for span in ticks] == [None, None]
    assert len({span.context.trace_id for span in [*ticks, begin] if span.context}) == 3
    assert parent_of(collected.only("Clock.once")) == begin.context.span_id


async def test_members_of_pools_and_branches_of_many_asks_are_below_the_asker(collected: Collected) -> None:
    async with open_system(tracer_provider=collected.provider) as system:
        pool = await open_pool(system, Counter, size=2)
        with collected.tracer.start_as_current_span("outside") as outside:
            await ask_many(pool, [Add(1) for _ in range(4)])
    assert collected.names == ["Counter.add"] * 4
    assert {parent_of(span) for span in collected.spans} == {outside.get_span_context().span_id}


async def test_an_event_that_a_handler_publishes_is_handled_below_its_span(collected: Collected) -> None:
    async with open_system(tracer_provider=collected.provider) as system:
        publisher = await system.start(Publisher, system)
        counter = await system.start(Counter)
        system.bus.subscribe_actor(counter, Note)
        system.groups.join("all", counter)
        await publisher.ask(Add(1))
        await counter.ask(Add(1))
    published = collected.only("Publisher.publish")
    heard = [span for span in collected.spans if span.name == "Counter.note"]
    assert published.context is not None
    assert [parent_of(span) for span in heard] == [published.context.span_id] * 2


async def test_asyncio_code_that_a_handler_awaits_is_inside_its_span(
    collected: Collected, autojump_clock: MockClock
) -> None:
    async with open_system(tracer_provider=collected.provider) as system:
        publisher = await system.start(Publisher, system)
        found = await publisher.ask(Where())
    span = collected.only("Publisher.where")
    assert span.context is not None
    assert found == span.context.span_id


async def test_what_is_not_sampled_is_not_recorded_and_still_carries_the_decision(autojump_clock: MockClock) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ALWAYS_OFF)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with open_system(tracer_provider=provider) as system:
        counter = await system.start(Counter)
        assert await counter.ask(Where()) != 0
        with pytest.raises(ActorCrashed):
            await counter.ask(Crash())
    assert exporter.get_finished_spans() == ()


# Across threads -----------------------------------------------------------------------------------------------------


def test_the_spans_of_a_portals_calls_are_below_the_callers(collected: Collected) -> None:
    open_it = partial(open_system, tracer_provider=collected.provider)
    with open_system_portal(open_it=open_it) as portal:
        counter = portal.start(Counter)
        for _ in range(2):  # The second call is carried by the task of the first.
            with collected.tracer.start_as_current_span("outside") as outside:
                portal.ask(counter, Add(1))
                portal.tell(counter, Note("told"))
                portal.send(counter, Note("sent"))
                portal.ask(counter, SlowAdd())
            assert collected.names == ["Counter.add", "Counter.note", "Counter.note", "Counter.slow_add"]
            assert {parent_of(span) for span in collected.spans} == {outside.get_span_context().span_id}
            collected.exporter.clear()
        portal.ask(counter, Add(1))
    assert [parent_of(span) for span in collected.spans] == [None]


def test_the_spans_of_an_asyncio_hosts_calls_are_below_their_tasks_spans(collected: Collected) -> None:
    async def main() -> None:
        open_it = partial(open_system, tracer_provider=collected.provider)
        async with open_system_from_asyncio(open_it=open_it) as host:
            counter = await host.start(Counter)

            async def caller(which: int) -> None:
                with collected.tracer.start_as_current_span("outside", attributes={"which": which}) as outside:
                    await host.ask(counter, Add(1))
                    host.tell(counter, Note("told"))
                    await host.ask(counter, Add(1))
                parents[which] = outside.get_span_context().span_id

            await asyncio.gather(*(caller(which) for which in range(5)))

    parents: dict[int, int] = {}
    asyncio.run(main())
    by_parent: dict[int | None, list[str]] = {}
    for span in collected.spans:
        by_parent.setdefault(parent_of(span), []).append(span.name)
    assert len(parents) == 5
    assert by_parent == {parent: ["Counter.add", "Counter.note", "Counter.add"] for parent in parents.values()}


# Nothing, where nothing is configured -------------------------------------------------------------------------------


async def table_of(system: ActorSystem) -> tuple[object, ...]:
    """Return what an actor of this system looks its handlers up in, and what the class has."""
    tables: list[object] = []

    class Peeking(Counter):
        async def on_start(self) -> None:
            tables.append(self.table)

    await system.start(Peeking)
    return tables[0], Peeking.tables[None]


@pytest.mark.parametrize("provider", [None, NoOpTracerProvider()], ids=["none", "no-op"])
async def test_without_a_provider_an_actor_has_the_very_table_of_its_class(provider: NoOpTracerProvider | None) -> None:
    async with open_system(tracer_provider=provider) as system:
        used, plain = await table_of(system)
        assert used is plain


async def test_a_sdk_that_is_switched_off_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    async with open_system(tracer_provider=TracerProvider()) as system:
        used, plain = await table_of(system)
        assert used is plain


async def test_all_actors_of_a_class_share_one_traced_table(collected: Collected) -> None:
    class Peeking(Counter):
        async def on_start(self) -> None:
            tables.append(self.table)

    tables: list[object] = []
    async with open_system(tracer_provider=collected.provider) as system:
        await system.start(Peeking)
        await system.start(Peeking)
    assert tables[0] is tables[1]
    assert tables[0] is not Peeking.tables[None]


PROGRAM = """
import sys
import trio
{before}
from vespera_agents.actors import Actor, Request, open_system, receives

class Add(Request[int]): ...

class Counter(Actor):
    @receives
    def add(self, message: Add) -> int:
        return 1

async def main():
    async with open_system() as system:
        counter = await system.start(Counter)
        await counter.ask(Add())

trio.run(main)
{after}
"""
CONFIGURE = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
"""
LOADED = (
    "print('loaded:', sorted(n for n in sys.modules if n.startswith('opentelemetry') or n.endswith('actors.spans')))"
)


def run(before: str, after: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM.format(before=before, after=after)],
        cwd=ROOT,
        env={"PATH": "", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_program_that_does_not_use_opentelemetry_does_not_load_it() -> None:
    assert run("", LOADED) == "loaded: []"


def test_the_provider_that_the_program_has_set_is_used() -> None:
    assert run(CONFIGURE, "print([s.name for s in exporter.get_finished_spans()])") == "['Counter.add']"


def test_the_bare_api_makes_no_spans() -> None:
    assert (
        run("import opentelemetry.trace", "from vespera_agents.actors.tracing import Tracing; print(Tracing.of(None))")
        == "None"
    )


def test_a_provider_that_is_named_in_the_environment_is_used() -> None:
    after = "from vespera_agents.actors.tracing import Tracing; print(type(Tracing.of(None)).__name__)"
    assert run("", after, OTEL_PYTHON_TRACER_PROVIDER="sdk_tracer_provider") == "Tracing"


def test_without_the_package_there_is_no_tracing_whatever_the_environment_says() -> None:
    hide = "sys.modules['opentelemetry'] = None"
    after = "from vespera_agents.actors.tracing import Tracing; print(Tracing.of(None))"
    assert run(hide, after, OTEL_PYTHON_TRACER_PROVIDER="sdk_tracer_provider") == "None"


# Names --------------------------------------------------------------------------------------------------------------


def test_attributes_have_the_names_of_the_semantic_conventions() -> None:
    assert names.SYSTEM == messaging_attributes.MESSAGING_SYSTEM
    assert names.OPERATION_NAME == messaging_attributes.MESSAGING_OPERATION_NAME
    assert names.OPERATION_TYPE == messaging_attributes.MESSAGING_OPERATION_TYPE
    assert names.DESTINATION_NAME == messaging_attributes.MESSAGING_DESTINATION_NAME
    assert names.FUNCTION_NAME == code_attributes.CODE_FUNCTION_NAME
    assert names.ERROR_TYPE == error_attributes.ERROR_TYPE
    with suppress(ValueError):
        messaging_attributes.MessagingSystemValues("vespera")
        pytest.fail("the conventions have a system of our name, which is not ours")
