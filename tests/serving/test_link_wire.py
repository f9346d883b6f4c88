"""A worker's end of the link by itself: what it counts of the client's requests and of its front."""

from __future__ import annotations

import json
import socket

import trio
import trio.testing

from tests.serving.worker_kit import MODERN, line_of
from vespera_agents.front import framing
from vespera_agents.serving.front_link import Activation, FrontLink
from vespera_agents.serving.lifecycle.life import Told
from vespera_agents.serving.transports.link import LinkWire


def listing(number: int) -> str:
    return line_of(number, id=f"id-{number}", method="tools/list", params={"_meta": MODERN})


async def test_the_link_counts_what_is_under_way_and_what_was_left_out() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        front = FrontLink(theirs.fileno(), Activation(2, "srv_0", "crash", None))
        wire = LinkWire(theirs.fileno(), front, framing.Lines(), [])
        cancel = line_of(2, method="notifications/cancelled", params={"requestId": "id-1", "_meta": MODERN})
        ours.sendall("".join(f"{line}\n" for line in (listing(1), cancel, ".", "3 junk", listing(4))).encode())
        with trio.fail_after(10):
            assert await wire.receive() is not None
        counted = wire.statistics()
        assert (counted.requests, counted.in_flight, counted.refused, counted.dropped) == (1, 1, 1, 2)
        assert (counted.held, counted.questions) == (0, 0)
        said = ours.recv(1 << 16).decode()
        assert said.startswith("D 1\nD 2\nR 3 ")
        front.hear(b"= drain 5")
        ours.sendall(f"{listing(5)}\n? 6\n".encode())
        with trio.move_on_after(0.1):
            await wire.receive()
        assert wire.statistics().held == 1
        assert front.statistics().draining
        assert front.statistics().generation == 2

        async with trio.open_nursery() as nursery:
            nursery.start_soon(front.ask, {"ask": "echo"})
            await trio.testing.wait_all_tasks_blocked()
            assert (front.statistics().asked, front.statistics().unanswered) == (1, 1)
            front.hear(b"@ 1 " + json.dumps({"ask": "echo"}).encode())
        assert (front.statistics().asked, front.statistics().unanswered) == (1, 0)
        assert not front.statistics().gone
        front.close()
        assert front.statistics().gone


def test_a_worker_knows_which_request_asked_for_the_restart_that_led_to_it() -> None:
    assert Told("restart", "1", {}, {"key": "7", "error": None}).asked == "7"
    # One that failed is told of to the worker after a crash, too.
    assert Told("crash", "1", {}, {"key": "7", "error": "late"}).asked is None
    assert Told("restart", "1", {}).asked is None
