"""The library's packages are run only for who asks for a name in them, and then as ever."""

from __future__ import annotations

import subprocess
import sys

import pytest

WORKER = """
import sys
from vespera_agents.serving.wishes import imported

def load():
    from vespera_agents.serving.serve import serve
    return serve

imported(load)
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_worker_imports_no_client_of_the_library():
    done = run(WORKER + "print([name for name in ('mcp.client', 'mcp.server.mcpserver') if name in sys.modules])")
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize(
    "wanted", ["from mcp import Client", "import mcp; mcp.Client", "from mcp.server import MCPServer"]
)
def test_who_asks_for_a_name_gets_it(wanted: str):
    done = run(f"{WORKER}{wanted}")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_name_that_there_is_not_is_refused_as_ever():
    done = run(WORKER + "from mcp import Nothing")
    assert "ImportError: cannot import name 'Nothing' from 'mcp'" in done.stderr
