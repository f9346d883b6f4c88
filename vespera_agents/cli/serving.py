"""`vespera serve`: from its arguments to the server, behind a front or in this process. No click here: a client waits.

Neighbours: `__main__` starts the first worker of a plain `serve` before this is imported; `vespera_agents.front` relays
and `vespera_agents.serving` serves.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from vespera_agents.front.launch import Launch, launch, module_command
from vespera_agents.front.words import LOG_FORMAT, read_words

if TYPE_CHECKING:
    from vespera_agents.front.http.listening import Listening
    from vespera_agents.serving.wishes import ServeWish

__all__ = ["WORKER", "serve_behind_front", "serve_workspace"]

EXIT_DONE = 0
WORKER = "vespera_agents.serving.worker"
"""The program behind a front."""
_FORKER = "vespera_agents.serving.forker"


def serve_behind_front(
    words: Sequence[str], *, spare: bool, launched: Launch | None = None, listening: Listening | None = None
) -> int:
    """Serve through workers until the client closes its end, SIGTERM or SIGINT; give the exit status.

    Args:
        words: the words of a worker.
        spare: whether a process waits for a worker's death.
        launched: the first worker, if it runs already.
        listening: where HTTP clients connect; None is the client at the other end of our pipe.
    """
    worker = tuple(module_command(WORKER, words))
    if launched is None:
        launched = launch(worker)
    # What is imported stays for ever: looking through it for garbage, now and later, takes a tenth of the start.
    gc.disable()
    from vespera_agents.front.front import Settings, run_front  # noqa: PLC0415 - the first worker starts before trio

    gc.freeze()
    gc.enable()
    # Elsewhere a process that has imported as much as ours may not fork.
    forker = tuple(module_command(_FORKER, words)) if sys.platform.startswith("linux") else None
    given = read_words(["serve", *words]) or {}
    workspace = given.get("--workspace", ["."])[0]
    serves = os.path.realpath(os.path.expanduser(workspace))  # noqa: PTH111 - the front has no path objects
    settings = Settings(
        worker=worker, forker=forker, spare=spare, serves=serves, says_json=given.get(LOG_FORMAT) == ["json"]
    )
    if listening is None:
        return run_front(settings, launched)
    from vespera_agents.front.http.side import http_side  # noqa: PLC0415 - only who serves HTTP pays for it

    return run_front(settings, launched, http_side(listening))


def serve_workspace(wish: ServeWish) -> int:
    """Serve as wished until the client closes its end, SIGTERM or SIGINT; give the exit status."""
    if not wish.in_process:
        if hasattr(os, "posix_spawn"):
            return _serve_http(wish) if wish.http is not None else serve_behind_front(wish.words(), spare=wish.spare)
        sys.stderr.write(
            "Note: on this system the server runs in one process. When it is killed, its connection is lost.\n"
        )
    from vespera_agents.serving.wishes import imported  # noqa: PLC0415 - as below

    serving = imported(partial(_load, wish))
    serving()
    return EXIT_DONE


def _serve_http(wish: ServeWish) -> int:
    # Only who serves HTTP pays for importing what does; and what cannot be listened on needs no worker.
    from vespera_agents.front.http.listening import allow_descriptors, listen  # noqa: PLC0415
    from vespera_agents.front.words import HTTP_VARIABLE  # noqa: PLC0415

    assert wish.http is not None, "somebody wished for HTTP"
    allow_descriptors()
    with listen(wish.http) as listening:
        os.environ[HTTP_VARIABLE] = listening.url
        return serve_behind_front(wish.words(), spare=wish.spare, listening=listening)


def _load(wish: ServeWish) -> Callable[[], None]:
    import trio  # noqa: PLC0415 - as below

    from vespera_agents.serving.serve import serve  # noqa: PLC0415 - loads mcp, which no other command needs

    return lambda: trio.run(serve, wish)
