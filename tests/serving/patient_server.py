"""`python -m tests.serving.patient_server WORDS`: the real server, whose worker may take long to end.

A worker whose client has gone is killed after a second, and what it has not written down by then the next server
decides. That is long enough on a machine that does nothing else, and not on one that keeps it waiting. Only those
deadlines differ from the product's; WORDS are those of `vespera serve`. Neighbours: `test_agents` stops it.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from tests.serving.kit import SERVER_SECONDS
from vespera_agents.front.framing import LINK_VARIABLE


def be_front() -> int:
    """Be the front, which starts this program again for its worker."""
    from vespera_agents.cli import serving  # noqa: PLC0415 - the worker has other imports
    from vespera_agents.front import front  # noqa: PLC0415 - as above
    from vespera_agents.serving.wishes import plain_serve  # noqa: PLC0415 - as above

    run_front = front.run_front

    def run(settings: front.Settings, *others: Any) -> int:
        return run_front(settings._replace(end_seconds=SERVER_SECONDS), *others)

    front.run_front = run
    serving.WORKER = "tests.serving.patient_server"
    wish = plain_serve(["serve", *sys.argv[1:]])
    assert wish is not None, sys.argv
    return serving.serve_workspace(wish)


def be_worker() -> None:
    """Be the worker behind it."""
    from vespera_agents.serving import worker  # noqa: PLC0415 - the front has other imports
    from vespera_agents.specialists import jobs  # noqa: PLC0415 - as above

    changed: Any = worker
    changed.END_SECONDS = SERVER_SECONDS
    changed = jobs
    changed._END_SECONDS = SERVER_SECONDS
    worker.main()


if __name__ == "__main__":
    sys.exit(be_worker() if LINK_VARIABLE in os.environ else be_front())
