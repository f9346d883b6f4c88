"""Packages that are run when somebody asks for a name of theirs, and not for the modules below them."""

from __future__ import annotations

import subprocess
import sys

LOOK = """
import sys
from vespera_agents.serving.wishes import imported

def load():
    import vespera_agents.serving.warming

imported(load)
assert "mcp.server.lowlevel.server" in sys.modules
assert "mcp.client" not in sys.modules and "mcp.server.mcpserver" not in sys.modules
import mcp
assert mcp.server.runner is sys.modules["mcp.server.runner"]
from mcp import Client
from mcp.server import MCPServer
assert Client is sys.modules["mcp.client.client"].Client and mcp.ClientSession and MCPServer
for module in (mcp, mcp.server):
    try:
        module.nonsense
    except AttributeError as error:
        assert "nonsense" in str(error)
    else:
        raise AssertionError(module)
"""


def test_a_worker_imports_nothing_of_the_library_that_it_does_not_need_and_whoever_needs_it_gets_it():
    subprocess.run([sys.executable, "-c", LOOK], check=True, timeout=60)
