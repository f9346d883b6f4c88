"""The program behind a front: `python -m vespera_agents.serving.worker`, with the words that `vespera serve` got.

The first line on its link says what it shall be. `w`: it warms itself up, says so and waits with nothing open, in case
that another worker dies. `!`: it serves what the front passes on, until the link ends. A front that dies takes it
along, even when its loop is blocked. Not what it serves (`serve`), not how it is forked (`forker`). Neighbours:
`warming` warms it up.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Final, NoReturn, final

from vespera_agents.front import framing
from vespera_agents.serving.faults import EXIT_BAD_INPUT, EXIT_INTERNAL, caused_by_users, causes_of, complain
from vespera_agents.serving.wishes import ServeWish, imported, plain_serve

__all__ = ["Programs", "die_with_parent", "load", "main", "watch", "work"]

END_SECONDS: Final = 1.0
"""How long a worker whose front is gone may take to close everything."""
_FRONT_GONE: Final = 1
_READ_BYTES: Final = 1 << 18
_DEATH_SIGNAL: Final = 1
"""PR_SET_PDEATHSIG."""


@final
@dataclass(frozen=True, slots=True)
class Programs:
    """What a worker does, imported."""

    serve: Callable[[ServeWish, int, bytes, framing.Lines, list[bytes]], None]
    warm_up: Callable[[ServeWish], None]
    complete: Callable[[], None]


def main() -> NoReturn:
    """Work, and end the process with the status of it."""
    wish = plain_serve(["serve", *sys.argv[1:]])
    if wish is None:
        complain(f"{sys.argv[1:]} are no plain options of `vespera serve`. It starts this program itself.")
        sys.exit(EXIT_BAD_INPUT)
    wish = wish.told(os.environ)
    link = int(os.environ.pop(framing.LINK_VARIABLE))
    os.set_inheritable(link, False)
    # It must end with its front also while it imports.
    watch(link)
    sys.exit(work(wish, link, imported(partial(load, wish))))


def load(wish: ServeWish) -> Programs:
    """Import what serves."""
    from vespera_agents.serving.warming import complete, serve_link, warm_up  # noqa: PLC0415 - loads mcp

    if wish.behind is not None:
        # What it needs when it is activated shall be there then.
        for name in ("door", "private"):
            import_module(f"vespera_agents.serving.transports.http.{name}")
    if wish.metrics is not None:
        # So is what shows metrics, which takes as long to import as all the rest of a takeover.
        for name in ("collector", "endpoint"):
            import_module(f"vespera_agents.health.metrics.{name}")

    return Programs(serve_link, warm_up, complete)


def work(wish: ServeWish, link: int, programs: Programs) -> int:
    """Do what the front says, and give the exit status.

    Args:
        wish: what is served.
        link: the descriptor of the link, which blocks.
        programs: what to do it with.
    """
    # A crash of native code leaves its stack in the log, and the front asks for that of a worker that does not answer.
    faulthandler.enable(all_threads=True)
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    lines, read = framing.Lines(), list[bytes]()
    try:
        while True:
            while not read:
                chunk = os.read(link, _READ_BYTES)
                if not chunk:
                    return 0
                read = lines.feed(chunk)
            first = read.pop(0)
            if first == framing.WARM:
                _warm_up(programs, wish)
                os.write(link, framing.WARM + b"\n")
            elif first.startswith(framing.ACTIVATE):
                os.set_blocking(link, False)
                programs.serve(wish, link, first, lines, read)
                return 0
            elif first.startswith(framing.PING):
                os.write(link, first + b"\n")
    except KeyboardInterrupt:
        return 0
    except Exception as error:  # noqa: BLE001 - the outermost boundary: whatever it is becomes an exit status.
        causes = list(causes_of(error))
        if all(isinstance(cause, caused_by_users()) for cause in causes):
            complain(str(causes[0]))
            return EXIT_BAD_INPUT
        traceback.print_exception(error)
        return EXIT_INTERNAL


def _warm_up(programs: Programs, wish: ServeWish) -> None:
    """Warm up; a place that cannot be used for it makes the first answer later, and nothing worse."""
    try:
        programs.warm_up(wish)
    except* caused_by_users() as group:
        complain(f"a spare could not warm up: {next(causes_of(group))}")


def watch(link: int) -> None:
    """End this process when the front is gone, whatever the loop is doing then."""
    threading.Thread(target=partial(_watch, link), name="vespera-front", daemon=True).start()


def _watch(link: int) -> None:
    die_with_parent()
    poll = select.poll()
    poll.register(link, getattr(select, "POLLRDHUP", select.POLLHUP))
    poll.poll()
    # In order, if it can: the loop reads the end of the link, too.
    threading.Event().wait(END_SECONDS)
    os._exit(_FRONT_GONE)


def die_with_parent() -> None:
    """Ask the kernel to end this process with the one that made it, even while it is stopped (Linux)."""
    if not sys.platform.startswith("linux"):
        return
    # Here and not at the start: it takes as long to import as to answer ten calls.
    import ctypes  # noqa: PLC0415

    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    main()
