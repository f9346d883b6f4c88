"""`python -m tests.serving.falling_front WORDS`: the front over `falling_worker`; WORDS are those of `serve`."""

from __future__ import annotations

import sys

from vespera_agents.cli import serving
from vespera_agents.serving.wishes import plain_serve

if __name__ == "__main__":
    serving.WORKER = serving._FORKER = "tests.serving.falling_worker"
    wish = plain_serve(["serve", *sys.argv[1:]])
    assert wish is not None, sys.argv
    sys.exit(serving.serve_workspace(wish))
