"""The MCP transport of a worker: the client's lines come over the link from the front, each with its number.

A number is answered once, whatever becomes of the request: with its answer, with the word that it needs none, or by a
later worker, to which the front repeats it. So an answer that only says that this worker ends is never sent. What later
workers must know is said with the answer that made it so. Neighbours: `vespera_agents.front.framing` defines the lines,
`front_link` takes those that are not the client's, `stdio` is the same without a front.
"""

from __future__ import annotations

import json
import math
import os
from collections import deque
from functools import partial
from typing import Final, cast, final

import trio
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types import (
    CONNECTION_CLOSED,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
)

from vespera_agents.front import framing
from vespera_agents.serving.front_link import FrontLink
from vespera_agents.serving.protocol.identity import Identity
from vespera_agents.serving.transports.lines import (
    AT_ONCE_MAX,
    LINE_BYTES_MAX,
    READ_BYTES,
    message_of,
    refusal_of,
    too_long,
)
from vespera_agents.serving.transports.link_requests import (
    CANCELLED,
    LISTEN,
    Id,
    LinkStatistics,
    OpenRequest,
    answer_to,
    data_of,
    id_in,
    slot_of,
    without_cancelled,
)

__all__ = ["LinkWire"]

REPEATING_SECONDS: Final = 60.0
"""How long a front may hold back what it repeats: a request waits for a worker 50 s at most."""
_INITIALIZED: Final = "notifications/initialized"
_PROGRESS: Final = "notifications/progress"
_ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"


@final
class LinkWire:
    """The client at the other end of the front."""

    def __init__(self, descriptor: int, front: FrontLink, lines: framing.Lines, read: list[bytes]) -> None:
        """Take the link of a worker that was just activated.

        Args:
            descriptor: the worker's end, which must not block.
            front: takes the lines that are not the client's.
            lines: cuts what arrives; it has what was read already of a line.
            read: the lines that were read together with the activation.
        """
        self._descriptor = descriptor
        self._front = front
        self._out = front.out
        self._lines = lines
        self._prefix = f"g{front.generation}-"
        """Begins the ids of our questions: an answer to a question of an earlier worker is nobody's."""
        self._ready: deque[tuple[bytes, bytes]] = deque()
        self._held: deque[tuple[bytes, bytes]] = deque()
        """What came while nothing may begin."""
        self._repeated: list[tuple[bytes, bytes]] | None = []
        """What is repeated to us, until all of it is there."""
        self._newest = 0
        """The highest number so far."""
        self._newest_repeated = 0
        """The highest number of what was repeated at once; a suspect comes later and alone."""
        self._repeating_until = math.inf if front.generation > 1 else -math.inf
        """When nothing is repeated any more."""
        self._open: dict[bytes, OpenRequest] = {}
        self._by_id: dict[Id | None, deque[bytes]] = {}
        self._by_token: dict[Id | None, bytes] = {}
        self._questions: set[int] = set()
        self._settled = trio.Event()
        self._ended = False
        self._hastened = False
        self._served = 0
        self._read_at_once = 0
        self._alone = trio.CancelScope()
        """Around the reading while nobody serves."""
        self._left = trio.Event()
        self._left.set()
        """Set while nobody reads."""
        self.requests = 0
        """Requests so far."""
        self.refused = 0
        """Lines that were no messages."""
        self._dropped = 0
        for line in read:
            self._sort(line)

    @property
    def front(self) -> FrontLink:
        """The front at the other end."""
        return self._front

    @property
    def in_flight(self) -> int:
        """Requests that were read and not answered yet."""
        return len(self._open)

    def statistics(self) -> LinkStatistics:
        """Give its numbers as they are now."""
        return LinkStatistics(
            requests=self.requests,
            in_flight=self.in_flight,
            held=len(self._held),
            refused=self.refused,
            dropped=self._dropped,
            questions=len(self._questions),
        )

    def restart(self) -> None:
        """Begin to be served; a second time ends the wire, and the worker, for the front repeats all to another."""
        self._served += 1
        self._alone.cancel("somebody serves now")
        if self._served > 1:
            self._end()

    def hasten(self) -> None:
        """Give writers a last moment: the process is about to end."""
        self._hastened = True
        self._out.hasten()

    async def attend(self) -> None:
        """Read until cancelled while nobody else does, so that pings are answered, and write what was left."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._front.write_behind)
            if not self._served:
                with self._alone:
                    try:
                        self._left = trio.Event()
                        while not self._ended:
                            await self._fill()
                    finally:
                        self._left.set()

    async def drained(self) -> list[str]:
        """Wait until the requests under way are answered, or the time is up; give the numbers of those that are not.

        Those that only listen, and that which asked for the restart, are left to the next worker.
        """
        admission = self._front.admission
        with trio.move_on_after(admission.requests_seconds):
            while admission.draining and self._under_way():
                self._settled = trio.Event()
                await self._settled.wait()
        return self._under_way()

    async def receive(self) -> SessionMessage | None:
        """Read the next message, None at the end; what is no message is answered as an error."""
        if not self._left.is_set():
            await self._left.wait()
        while True:
            if self._read_at_once >= AT_ONCE_MAX:
                self._read_at_once = 0
                await trio.lowlevel.checkpoint()
            if self._ended:
                # The end of a front is obeyed as a signal is: those who listen are told before we stop to listen.
                return await trio.sleep_forever() if self._front.is_gone() else None
            if not self._ready:
                await self._fill()
                continue
            number, line = self._ready.popleft()
            self._read_at_once += 1
            message = message_of(line) if len(line) <= LINE_BYTES_MAX else None
            if message is None:
                self.refused += 1
                refusal = refusal_of(line) if len(line) <= LINE_BYTES_MAX else too_long(LINE_BYTES_MAX)
                await self._out.write(b"%s %s %s" % (framing.ANSWER, number, refusal))
                continue
            taken = await self._take(number, line, message)
            if taken is not None:
                return taken

    async def send(self, message: SessionMessage) -> None:
        """Write a message."""
        body = message.message
        if isinstance(body, JSONRPCResponse | JSONRPCError):
            await self._answer(body)
            return
        # An answer is the last thing that its task does; who tells of progress in a loop must let others run.
        await trio.lowlevel.checkpoint()
        if isinstance(body, JSONRPCRequest):
            await self._ask(body)
        elif body.method == CANCELLED:
            await self._withdraw(body)
        else:
            await self._out.write(self._told(body, message))

    # ---- what comes

    async def _fill(self) -> None:
        """Wait for something to read, and read it."""
        await trio.lowlevel.wait_readable(self._descriptor)
        self._read_at_once = 0
        try:
            chunk = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._end()
            return
        for line in self._lines.feed(chunk):
            self._sort(line)

    def _end(self) -> None:
        self._ended = True
        self._front.close()

    def _sort(self, line: bytes) -> None:
        """Say whose a line is: the client's begin with their numbers."""
        if line[:1].isdigit():
            number, _, rest = line.partition(b" ")
            (self._ready if self._repeated is None else self._repeated).append((number, rest))
        elif line == framing.END_OF_REPLAY:
            self._take_repeated()
        else:
            self._front.hear(line)
            if line == framing.RESUME:
                self._ready.extend(self._held)
                self._held.clear()
                self._settled.set()

    def _take_repeated(self) -> None:
        """Take what was repeated, without the requests whose cancellation was repeated, too."""
        kept, dropped = without_cancelled(self._repeated or [])
        self._repeated = None
        self._dropped += len(dropped)
        for number in dropped:
            self._front.post(b"%s %s\n" % (framing.DONE, number))
        self._ready.extend(kept)
        self._newest_repeated = max((int(number) for number, _ in kept), default=0)
        if self._front.generation > 1:
            self._repeating_until = trio.current_time() + REPEATING_SECONDS

    async def _take(self, number: bytes, line: bytes, message: JSONRPCMessage) -> SessionMessage | None:
        """Take a message of the client; None where nobody shall see it."""
        if isinstance(message, JSONRPCRequest):
            if self._front.admission.draining:
                self._held.append((number, line))
                return None
            return self._begin(number, message)
        if isinstance(message, JSONRPCNotification):
            if message.method == _INITIALIZED:
                await self._out.write(b"%s %s initialized \n" % (framing.KEEP, number))
            elif message.method == CANCELLED:
                await self._cancel(number, message)
            else:
                await self._out.write(b"%s %s\n" % (framing.DONE, number))
            return SessionMessage(message)
        await self._out.write(b"%s %s\n" % (framing.DONE, number))
        return self._replied(message)

    def _begin(self, number: bytes, request: JSONRPCRequest) -> SessionMessage:
        self.requests += 1
        params = request.params or {}
        token = id_in(cast("object", params.get("_meta")), "progressToken")
        opened = OpenRequest(number, request.id, request.method, slot_of(request.method, params), token)
        self._open[number] = opened
        self._by_id.setdefault(request.id, deque()).append(number)
        if token is not None:
            self._by_token[token] = number
        identity = Identity(None, None, "stdio", number.decode(), repeated=self._is_repeated(int(number)))
        metadata = ServerMessageMetadata(
            request_context=identity, on_request_unanswered=partial(self._unanswered, number)
        )
        return SessionMessage(request, metadata)

    def _is_repeated(self, number: int) -> bool:
        """Say whether an earlier worker may have begun a request."""
        late, self._newest = number < self._newest, max(number, self._newest)
        if self._front.generation == 1:
            return False
        return late or number <= self._newest_repeated or trio.current_time() < self._repeating_until

    async def _cancel(self, number: bytes, message: JSONRPCNotification) -> None:
        """Say that neither a cancelled request nor its cancellation needs to be repeated."""
        identifier = id_in(message.params, "requestId")
        for held in tuple(self._held):
            request = message_of(held[1])
            if isinstance(request, JSONRPCRequest) and request.id == identifier:
                self._held.remove(held)
                await self._out.write(b"%s %s\n" % (framing.DONE, held[0]))
        found = self._by_id.get(identifier)
        if found:
            opened = self._open[found[-1]]
            self._close(opened)
            await self._out.write(b"%s %s\n" % (framing.DONE, opened.number))
        await self._out.write(b"%s %s\n" % (framing.DONE, number))

    def _replied(self, message: JSONRPCResponse | JSONRPCError) -> SessionMessage | None:
        """Take the client's answer to a question of ours; that to an earlier worker's is dropped."""
        told = message.id
        if not isinstance(told, str) or not told.startswith(self._prefix):
            return None
        rest = told.removeprefix(self._prefix)
        number = int(rest) if rest.isdecimal() else 0
        if number not in self._questions:
            return None
        self._questions.discard(number)
        self._front.post(b"%s %s\n" % (framing.SETTLED, json.dumps(told).encode()))
        return SessionMessage(message.model_copy(update={"id": number}))

    # ---- what goes

    async def _answer(self, body: JSONRPCResponse | JSONRPCError) -> None:
        numbers = self._by_id.get(body.id)
        if not numbers:
            # It was cancelled, and the front knows.
            return
        if isinstance(body, JSONRPCError) and body.error.code == CONNECTION_CLOSED:
            # Only this worker ends: another one answers.
            return
        opened = self._open[numbers[0]]
        leaving = self._ended or self._hastened or self._front.admission.draining
        if opened.method == LISTEN and leaving and not self._front.is_gone():
            # It is this worker that ends, not the stream.
            return
        self._close(opened)
        await self._out.write(answer_to(opened, body))

    async def _ask(self, body: JSONRPCRequest) -> None:
        assert isinstance(body.id, int), "the library counts its questions"
        self._questions.add(body.id)
        told = f"{self._prefix}{body.id}"
        line = data_of(body.model_copy(update={"id": told}))
        await self._out.write(b"%s %s %s\n" % (framing.QUESTION, json.dumps(told).encode(), line))

    async def _withdraw(self, body: JSONRPCNotification) -> None:
        """Take a question back: the client knows it by another id than we do."""
        number = (body.params or {}).get("requestId")
        self._questions.discard(cast("int", number))
        told = f"{self._prefix}{number}"
        line = data_of(body.model_copy(update={"params": {**(body.params or {}), "requestId": told}}))
        await self._out.write(b"%s %s\n%s %s\n" % (framing.MESSAGE, line, framing.SETTLED, json.dumps(told).encode()))

    def _told(self, body: JSONRPCNotification, message: SessionMessage) -> bytes:
        """Write a notification as a line, or two."""
        data = data_of(body)
        if body.method == _PROGRESS:
            params = body.params or {}
            number = self._by_token.get(id_in(params, "progressToken"))
            if number is not None:
                return b"%s %s %s %s\n" % (framing.PROGRESS, number, str(params.get("progress")).encode(), data)
        elif body.method == _ACKNOWLEDGED and isinstance(message.metadata, ServerMessageMetadata):
            numbers = self._by_id.get(message.metadata.related_request_id)
            if numbers:
                # From here on nobody waits for its answer, and it is there whenever a worker dies.
                told = (framing.KEEP, numbers[-1], numbers[-1], framing.PROGRESS, numbers[-1], data)
                return b"%s %s listen:%s \n%s %s 0 %s\n" % told
        return b"%s %s\n" % (framing.MESSAGE, data)

    async def _unanswered(self, number: bytes) -> None:
        """Hear that a request was cancelled and will have no answer."""
        opened = self._open.get(number)
        if opened is not None:
            self._close(opened)
            await self._out.write(b"%s %s\n" % (framing.DONE, number))

    def _close(self, opened: OpenRequest) -> None:
        del self._open[opened.number]
        numbers = self._by_id[opened.id]
        numbers.remove(opened.number)
        if not numbers:
            del self._by_id[opened.id]
        if opened.token is not None and self._by_token.get(opened.token) == opened.number:
            del self._by_token[opened.token]
        self._settled.set()

    def _under_way(self) -> list[str]:
        others = self._front.awaiting_restart
        return [number.decode() for number, one in self._open.items() if one.method != LISTEN and number not in others]
