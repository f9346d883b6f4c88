"""A run with planned crashes: a real server, its client, a plan whose worker is killed, one whose specialist crashes.

And traffic beside it: models that fail and answer, contexts that are made smaller, callbacks that arrive at the second
attempt. What Prometheus saw of it is what tests ask for and pictures show. Not the drill, which goes on until alerts
fire.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import trio
from mcp import Client

from benchmarks.killing.killer import roles_of
from benchmarks.killing.places import Place, new_place, talking_http
from grafana.private import Prometheus, Series, free_port, private_prometheus, ready

__all__ = ["call", "eventually", "seen_running", "thinking", "total", "trouble"]

WAIT_SECONDS: Final = 60.0
"""How long anything may take on a loaded machine."""
_LOOK_SECONDS: Final = 0.1
_CONFIGURATION: Final = """[commands]
allow = ["sh -c", "echo"]
[providers]
environment = false
fallback = ["local"]
attempts_max = 2
retry_min_seconds = 0.01
retry_max_seconds = 0.02
breaker_failures_max = 3
[providers.vendor]
kind = "scripted"
script = "{root}/vendor.json"
[providers.local]
kind = "scripted"
script = "{root}/local.json"
[callbacks.chat]
url = "http://127.0.0.1:{port}/"
secret_file = "secret"
allow_private = true
backoff_seconds = 0.1
"""
"""The vendor is preferred, and hardly ever answers: its circuit opens, and the local model takes over."""
_KILLED: Final = """---
id: KILLED
---
## Phase 1: All
### killed
```yaml
run: "sh -c 'kill -9 $$'"
```
### waits
```yaml
run: "sh -c 'echo >> begun; until test -e go; do sleep 0.05; done'"
```
"""
_ROLES: Final = ("tester", "analyst", "architect", "reviewer")
"""With the three restarts below they make one start that is timed: one in seven is."""
_SPOILED: Final = "\n".join(
    [
        "---\nid: SPOILED\n---\n## Phase 1: All",
        *(f"### {role}\n```yaml\nspecialist: {role}\nrun: echo\n```" for role in _ROLES),
        "## Phase 2: End\n### spoils\n```yaml",
        """run: "sh -c 'mv .vespera/artifacts .vespera/kept; touch .vespera/artifacts'"\n```\n""",
    ]
)
"""The last takes away what its specialist wants to write into, which then crashes and is started again; three times,
because so often is a task tried."""
_READS: Final = 4
_THINKING: Final = """---
id: THINKING
---
## Phase 1: All
### thinks
```yaml
specialist: thinker
```
Read what is there, and say what it is about.
"""
_THINKER: Final = {"role_definition": "You read.", "tools": ["read_file"], "context_tokens_max": 8_000}
_ANSWERS: Final = 'vespera_llm_requests_total{provider="local",outcome="succeeded"}'
_SMALLER: Final = 'vespera_context_compactions_total{kind="other",outcome="succeeded"}'
_DELIVERED: Final = 'vespera_callbacks_total{outcome="delivered"}'
_KILLS: Final = 'vespera_front_generations_total{reason="crash"}'
_CRASHES: Final = 'vespera_supervisor_restarts_total{supervisor="specialists",reason="crashed"}'


@asynccontextmanager
async def seen_running() -> AsyncGenerator[tuple[Place, Client, Prometheus, str]]:
    """Run a server over HTTP that a Prometheus scrapes; gives its metrics' address last."""
    address = f"127.0.0.1:{free_port()}"
    with new_place() as place, private_prometheus([address]) as prometheus, _receiver() as port:
        _prepare_thinking(place)
        place.trust(_CONFIGURATION.format(root=place.root, port=port))
        (place.project / "killed.md").write_text(_KILLED)
        (place.project / "spoiled.md").write_text(_SPOILED)
        async with talking_http(place, [*place.command, "--metrics", address]) as client:
            await ready(prometheus)
            yield place, client, prometheus, address


async def call(client: Client, tool: str, **arguments: object) -> dict[str, Any]:
    """Call a tool that shall succeed."""
    result = await client.call_tool(f"orchestrator_{tool}", arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


async def trouble(place: Place, client: Client, prometheus: Prometheus) -> None:
    """Run a plan whose worker is killed, and, when Prometheus has seen the next one, one whose specialist crashes."""
    kills, crashes = total(prometheus.now(_KILLS)), total(prometheus.now(_CRASHES))
    begun, go = place.project / "begun", place.project / "go"
    begun.unlink(missing_ok=True)
    go.unlink(missing_ok=True)
    planned = await _carry_out(client, "killed.md")
    await eventually(begun.exists)
    worker = roles_of(place.family()).worker
    assert worker is not None, "a task is at work, so there is a worker"
    os.kill(worker.pid, signal.SIGKILL)
    # The next worker goes on with the job, and so with the command.
    await eventually(lambda: begun.read_text().count("\n") >= 2)
    go.touch()
    await eventually(lambda: _status(place, planned["waits"]) == "completed")
    await eventually(lambda: total(prometheus.now(_KILLS)) == kills + 1)
    planned = await _carry_out(client, "spoiled.md")
    await eventually(lambda: _status(place, planned["spoils"]) == "failed")
    artifacts = place.project / ".vespera" / "artifacts"
    artifacts.unlink()
    (artifacts.parent / "kept").rename(artifacts)
    # A killed worker takes its counts along, so the crashes that it had seen do not count again.
    await eventually(lambda: total(prometheus.now(_CRASHES)) in {3, crashes + 3})


async def thinking(place: Place, client: Client, prometheus: Prometheus) -> None:
    """Have a specialist work with a model, and wait until Prometheus has seen what that came to; call it twice.

    What a model or a role did for the first time makes new series, and only the second time lets them grow.
    """
    before = {name: total(prometheus.now(name)) for name in (_ANSWERS, _SMALLER, _DELIVERED)}
    planned = await _carry_out(client, "thinking.md")
    await eventually(lambda: _status(place, planned["thinks"]) == "completed")
    await eventually(lambda: all(total(prometheus.now(name)) > count for name, count in before.items()))


def _prepare_thinking(place: Place) -> None:
    (place.project / "thinking.md").write_text(_THINKING)
    (place.project / "secret").write_text("nobody guesses this text")
    roles = place.project / ".vespera" / "roles"
    roles.mkdir(parents=True, exist_ok=True)
    (roles / "thinker.yaml").write_text(json.dumps({"thinker": _THINKER}))
    reads: list[dict[str, object]] = []
    for number in range(_READS):
        name = f"part {number}.txt"
        (place.project / name).write_text("".join(f"line {line} of {name}\n" for line in range(400)))
        asks = {"name": "read_file", "arguments": {"path": name}}
        reads.append({"lacks": [f"line 0 of {name}", f'"{name}"'], "calls": [asks], "seconds": 0.05})
    done = {"name": "hand_in", "arguments": {"summary": "It is about lines.", "next_action": "complete"}}
    price = {"input_usd": 1.0, "output_usd": 2.0}
    local = {"rules": [{"contains": ["You shorten the account"], "text": "It read."}, *reads, {"calls": [done]}]}
    (place.root / "local.json").write_text(json.dumps({**local, "price": price, "local": True}))
    vendor = {"rules": [{"fails": {"kind": "unavailable"}}], "price": price, "local": False}
    (place.root / "vendor.json").write_text(json.dumps(vendor))


@contextmanager
def _receiver() -> Iterator[int]:
    """Receive callbacks, each at its second attempt; gives the port."""
    known: set[str] = set()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            name = self.headers["Vespera-Id"]
            self.send_response(204 if name in known else 503)
            known.add(name)
            self.end_headers()

        def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


async def _carry_out(client: Client, plan: str) -> dict[str, str]:
    """Have the server carry out a plan; gives its tasks' ids by title."""
    session = (await call(client, "initialize_session", name=plan))["id"]
    answer = await call(client, "plan_task", plan_path=plan, session=session)
    await call(client, "execute_task", task_id=answer["tasks"][0]["id"], mode="agent", session=session)
    return {task["title"]: task["id"] for task in answer["tasks"]}


def _status(place: Place, task: str) -> str:
    with closing(sqlite3.connect(f"file:{place.database}?mode=ro", uri=True)) as connection:
        return str(connection.execute("SELECT status FROM task WHERE id=?", (task,)).fetchone()[0])


def total(answer: list[Series]) -> float:
    """Add up an answer."""
    return sum(series.value for series in answer)


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds that a thread looks at.

    Raises:
        trio.TooSlowError: it does not.
    """
    with trio.fail_after(WAIT_SECONDS):
        while True:
            if await trio.to_thread.run_sync(condition):
                return
            await trio.sleep(_LOOK_SECONDS)
