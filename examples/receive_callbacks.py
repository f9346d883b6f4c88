"""Receive callbacks: check who sent them, take each once, answer at once. A plan of one task is run to have some."""

import hashlib
import hmac
import json
import queue
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trio

from vespera_agents.specialists import PlanRun, RunOptions, open_runtime
from vespera_agents.work.plans import read_plan
from vespera_agents.workspace import Registry, load_settings, open_workspace

SECRET = b"use `openssl rand -hex 32`, not this"
seen: set[str] = set()
taken: queue.Queue[dict] = queue.Queue()


class Receiver(BaseHTTPRequestHandler):
    """The receiver: everything above and below is there to give it something to receive."""

    def do_POST(self) -> None:  # noqa: D102
        body = self.rfile.read(int(self.headers["Content-Length"]))
        identifier, timestamp = self.headers["Vespera-Id"], self.headers["Vespera-Timestamp"]
        signed = b".".join([timestamp.encode(), identifier.encode(), body])
        wanted = "v1=" + hmac.new(SECRET, signed, hashlib.sha256).hexdigest()
        fresh = abs(time.time() - int(timestamp)) < 300
        good = hmac.compare_digest(wanted, self.headers["Vespera-Signature"]) and fresh
        if good and identifier not in seen:  # At least once: one may come again, under the same id.
            seen.add(identifier)
            taken.put(json.loads(body))
        self.send_response(204 if good else 401)
        self.end_headers()


async def main(directory: Path, port: int) -> None:
    workspace, registry = open_workspace(directory), Registry(directory / "state")
    (directory / "secret").write_bytes(SECRET)
    place = f'url = "http://127.0.0.1:{port}/"\nsecret_file = "secret"\nallow_private = true'
    workspace.config.write_text(f"[callbacks.example]\n{place}\n")
    registry.trust(workspace.directory, load_settings(workspace, registry).fingerprint or "")  # vespera trust
    async with open_runtime("run", registry=registry) as runtime:
        opened = await runtime.workspace(directory)
        plan = "# Greetings\n## Phase 1: Words\n### hello\n```yaml\nrun: echo hello\n```\n"
        await PlanRun(opened, lambda _: None).run(read_plan(plan, name="greetings.md"), RunOptions())
        for _ in range(2):
            told = await trio.to_thread.run_sync(taken.get, True, 20)
            print(told["event"], told["task"]["title"])


with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server, tempfile.TemporaryDirectory() as name:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    trio.run(main, Path(name), server.server_address[1])
    server.shutdown()
