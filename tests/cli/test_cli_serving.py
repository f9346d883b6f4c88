"""`vespera serve`: how it is reached, what it loads, and what it refuses. What it serves is tested in tests/serving."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unmeasured import unmeasured
from vespera_agents.serving.wishes import ServeWish, plain_serve

PLAIN = {
    "serve": ServeWish(Path()),
    "serve --workspace there": ServeWish(Path("there")),
    "serve --workspace=there --metrics 127.0.0.1:0": ServeWish(Path("there"), "127.0.0.1:0"),
    "serve --metrics=[::1]:9464": ServeWish(Path(), "[::1]:9464"),
    "serve --tools core,session_status": ServeWish(Path(), None, "core,session_status"),
    "serve --in-process": ServeWish(Path(), in_process=True),
    "serve --no-spare --lease-minutes=5": ServeWish(Path(), lease_minutes=5.0, spare=False),
}
NOT_PLAIN = [
    "",
    "run plan.md",
    "serve --help",
    "serve extra",
    "serve --workspace",
    "serve --workspace=",
    "serve --workspace --metrics",
    "serve --workspace a --workspace b",
    "serve --workspaces a",
]


@pytest.mark.parametrize("line", PLAIN)
def test_a_plain_serve_is_understood_at_once(line):
    assert plain_serve(line.split()) == PLAIN[line]


@pytest.mark.parametrize("line", NOT_PLAIN)
def test_everything_else_goes_the_long_way(line):
    assert plain_serve(line.split()) is None


def test_a_client_that_says_nothing_ends_the_server_well(vespera):
    done = vespera.process("serve")
    assert (done.returncode, done.stdout) == (0, "")
    assert "Traceback" not in done.stderr
    with_metrics = vespera.process("serve", "--metrics", "127.0.0.1:0")
    assert with_metrics.returncode == 0, with_metrics.stderr


def test_a_plain_serve_loads_what_it_needs_and_no_more(vespera):
    program = (
        "import sys, atexit\n"
        # A front; its worker loads the MCP library, and with it starlette, uvicorn and click.
        "wanted = {'vespera_agents.cli.commands', 'rich', 'prometheus_client', 'hypercorn', 'mcp', 'yaml', 'click',\n"
        "    'trio', 'pydantic', 'sqlite3', 'vespera_agents.serving.wishes', 'vespera_agents.store',\n"
        "    'markdown_it', 'vespera_agents.work.plans', 'vespera_agents.serving.transports.http.door'}\n"
        "atexit.register(lambda: print('loaded', *sorted(wanted & set(sys.modules)), file=sys.stderr))\n"
        "sys.argv = ['vespera', 'serve', '--workspace', '.']\n"
        "from vespera_agents.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=vespera.workspace,
        env=unmeasured(vespera.environment),
        input="",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.split() == ["loaded", "trio"]


def test_in_one_process_a_plain_serve_loads_what_it_needs_and_no_more(vespera):
    program = (
        "import sys, atexit\n"
        # The MCP library itself loads starlette, and with it uvicorn and click.
        "wanted = {'vespera_agents.cli.commands', 'rich', 'prometheus_client', 'hypercorn', 'mcp', 'yaml',\n"
        "    'markdown_it', 'vespera_agents.work.plans', 'vespera_agents.front.front'}\n"
        "atexit.register(lambda: print('loaded', *sorted(wanted & set(sys.modules)), file=sys.stderr))\n"
        "sys.argv = ['vespera', 'serve', '--workspace', '.', '--in-process']\n"
        "from vespera_agents.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=vespera.workspace,
        env=unmeasured(vespera.environment),
        input="",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.split() == ["loaded", "mcp"]


REFUSED = {
    "no such workspace": (["--workspace", "nowhere"], "not a directory that can be opened"),
    "the machine's own": (["--workspace", "/usr"], "belongs to the system"),
    "no address": (["--metrics", "nonsense"], "is not an address"),
    "an address that is not ours": (["--metrics", "192.0.2.1:9464"], "cannot be served"),
    "no such tool": (["--tools", "core,plan_tasks"], "Name some of: plan_task"),
    "no tools": (["--tools", ","], "no tools are named"),
    "an unknown option": (["--loud"], "No such option"),
    "an option without its value": (["--workspace"], "requires an argument"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_served_ends_with_status_2_and_says_why(vespera, case):
    words, message = REFUSED[case]
    done = vespera.process("serve", *words)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_can_be_reached_through_click_too(vespera):
    done = vespera.process("serve", "--workspace", ".", "--metrics", "127.0.0.1:0", "--workspace", ".")
    assert done.returncode == 0, done.stderr
    assert "Serve a workspace to an MCP client" in vespera("serve", "--help").stdout
