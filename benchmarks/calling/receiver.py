"""A receiver of callbacks that fails, hangs, breaks off and answers twice; a process of its own, to be killed as well.

`python -m benchmarks.calling.receiver PORT FILE SECRET SEED`. What it takes it writes down before it answers: one line
for each request, appended by one write, so that a kill leaves all of them. A request whose signature does not hold is
written down as that. No library: it has to be faster than who sends.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final

import trio

from vespera_agents.specialists.callbacks.signing import verify

__all__ = ["FAILING"]

FAILING: Final = 0.3
"""The share of requests that it fails, one way or another."""
_HANGING: Final = 0.002
"""Of all requests: taken, and never answered."""
_TWICE: Final = 0.01
"""Of the answers: written twice."""
_HANG_SECONDS: Final = 30.0
_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"


def _answer(status: HTTPStatus, more: str = "") -> bytes:
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n{more}Content-Length: 0\r\n\r\n".encode()


_BREAKS_OFF: Final = 0.15
_FAILURES: Final = (
    (0.6, _answer(HTTPStatus.INTERNAL_SERVER_ERROR)),
    (0.7, _answer(HTTPStatus.SERVICE_UNAVAILABLE, "Retry-After: 0.1\r\n")),
    (0.75, _answer(HTTPStatus.FOUND, "Location: /elsewhere\r\n")),
    # It took it, and says that it did not: the same one comes again.
    (1.0, _answer(HTTPStatus.BAD_GATEWAY)),
)
"""Up to which share of the failures which answer is given."""
_TAKEN_FROM: Final = 0.75


async def _serve(stream: trio.SocketStream, file: int, secret: bytes, chance: random.Random) -> None:
    data = b""
    try:
        async with stream:
            while True:
                while (end := data.find(b"\r\n\r\n")) < 0:
                    if not (chunk := await stream.receive_some(65_536)):
                        return
                    data += chunk
                lines = data[:end].decode("latin-1").split("\r\n")[1:]
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                length = int(headers["content-length"])
                while len(data) < end + 4 + length:
                    if not (chunk := await stream.receive_some(65_536)):
                        return
                    data += chunk
                body, data = data[end + 4 : end + 4 + length], data[end + 4 + length :]
                if not await _misbehave(stream, headers, body, file, secret, chance):
                    return
    except trio.BrokenResourceError:
        return


async def _misbehave(
    stream: trio.SocketStream, headers: dict[str, str], body: bytes, file: int, secret: bytes, chance: random.Random
) -> bool:
    """Answer one request; says whether the connection goes on."""
    dice, told = chance.random(), json.loads(body)
    good = verify(secret, headers, body, time.time()) and told["id"] == headers["vespera-id"]
    takes = dice >= _TAKEN_FROM * FAILING
    what = told["event"] if good and takes else "refused" if good else "forged"
    os.write(file, f"{told['id']} {told['task']['id']} {what}\n".encode())
    if FAILING <= dice < FAILING + _HANGING:
        await trio.sleep(_HANG_SECONDS)
        return False
    if dice < _BREAKS_OFF * FAILING:
        return False
    answer = _OK * 2 if chance.random() < _TWICE else _OK
    if dice < FAILING:
        answer = next(answer for share, answer in _FAILURES if dice < share * FAILING)
    await stream.send_all(answer)
    return True


async def _main(port: int, file: Path, secret: bytes, seed: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    serve = partial(_serve, file=descriptor, secret=secret, chance=random.Random(seed))
    await trio.serve_tcp(serve, port, host="127.0.0.1", backlog=256)


if __name__ == "__main__":
    trio.run(_main, int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]).read_bytes().strip(), sys.argv[4])
