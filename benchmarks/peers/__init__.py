"""The peers of the actors: what each is, what it does and does not do, and how much work it gets in one round.

This is the list, with no code of any peer in it. `rounds` and the scripts named after the peers run in the peers' own
environment, one process each; `processes` is the end of the pipe that belongs to the benchmark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HOW_TO_INSTALL: Final = "not measured: make bench-peers"
"""What stands in the table in place of peers whose environment has not been made."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer, measured by the script of the same name in this folder."""

    script: str
    """The module in this folder, without its ending."""
    title: str
    """What it is called in tables."""
    distribution: str
    """What is installed for it; empty for the standard library."""
    has_mailbox: bool
    """Whether a message waits somewhere until the receiver, and not the sender, takes it."""
    tells: int
    """Messages told in one round, for about a quarter of a second."""
    asks: int
    """Questions asked in one round."""
    about: str
    """What it does and does not do, beside ours."""

    @property
    def is_library(self) -> bool:
        """Whether it is an actor library; otherwise it is a raw part of the standard library, and no goal's peer."""
        return bool(self.distribution)


PEERS: Final = (
    Peer(
        "pykka",
        "Pykka",
        "pykka",
        has_mailbox=True,
        tells=50_000,
        asks=5_000,
        about=(
            "ThreadingActor, tell and ask on its reference. A thread per actor, an unbounded mailbox, no restarts. "
            "All messages of a round are told without a pause, because its threads need no wake-ups by the teller. "
            "Two threads hand the interpreter to each other as the system pleases: its asks varied threefold between "
            "rounds."
        ),
    ),
    Peer(
        "thespian",
        "Thespian, simple base",
        "thespian",
        has_mailbox=False,
        tells=30_000,
        asks=20_000,
        about=(
            "simpleSystemBase, tell and ask on the system. The handler runs inside the sender's tell or ask, to its "
            "end: nothing waits, nothing switches, and nothing else can run meanwhile. An actor cannot await."
        ),
    ),
    Peer(
        "xoscar",
        "xoscar, messages",
        "xoscar",
        has_mailbox=True,
        tells=6_000,
        asks=4_000,
        about=(
            "A plain ActorRef in one process, over its in-process channel: the pool takes the messages and handles "
            "each in a task, under the actor's lock. No bound, no restarts within a process."
        ),
    ),
    Peer(
        "xoscar_local",
        "xoscar, local reference",
        "xoscar",
        has_mailbox=False,
        tells=20_000,
        asks=40_000,
        about=(
            "The LocalActorRef that actor_ref() returns within one pool. An ask calls the handler in the caller's task "
            "under the actor's lock, without any message; a tell starts a task for each message. No bound."
        ),
    ),
    Peer(
        "autogen_core",
        "autogen-core",
        "autogen-core",
        has_mailbox=True,
        tells=1_500,
        asks=1_500,
        about=(
            "SingleThreadedAgentRuntime with tracing off: send_message, and publish_message to a topic as tell. One "
            "unbounded queue for all agents, a task for each message; an agent may handle many at once. No restarts."
        ),
    ),
    Peer(
        "triotp",
        "triotp",
        "triotp",
        has_mailbox=True,
        tells=15_000,
        asks=6_000,
        about=(
            "gen_server.cast and call, on the trio that it pins. The mailbox holds nothing: a sender waits until the "
            "server takes its message. Supervisors exist; this server runs without one."
        ),
    ),
    Peer(
        "asyncio_queue",
        "raw asyncio queue and future",
        "",
        has_mailbox=True,
        tells=200_000,
        asks=40_000,
        about=(
            "No actor library: asyncio.Queue(100), awaited put and get, a future for the answer. The queue neither "
            "yields nor polls while it has room, so it is the raw limit of asyncio, and no goal is set against it."
        ),
    ),
)
"""All peers, in the order in which they take their turns."""
