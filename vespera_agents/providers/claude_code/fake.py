"""A program that behaves like Claude Code in print mode, with a model that does what its task says; for tests.

    python -m vespera_agents.providers.claude_code.fake -p --input-format stream-json ...

It takes the same arguments, keeps its sessions below CLAUDE_CONFIG_DIR, and speaks the same lines: an assistant's
message once for each block with the usage of the whole, cumulative cost, denied tools in a result that is a success,
status 1 for an id that is in use or unknown. The lines of a task that begin with `fake:` are what its model does:

    fake: say TEXT             fake: use TOOL ARGUMENT      fake: write FILE TEXT
    fake: slow SECONDS         fake: cost USD               fake: result
    fake: broken               fake: crash                  fake: deaf SECONDS
    fake: error WORD           fake: environment            fake: ask TOOL

Not a test of the real one. Standard library only. Neighbours: `run` starts it as it starts the real one.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
import uuid
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, cast, final

__all__ = ["main"]

_MODEL: Final = "fake-model"
_TURN_USD: Final = 0.01
_USAGE: Final[Mapping[str, int]] = {
    "input_tokens": 100,
    "output_tokens": 20,
    "cache_read_input_tokens": 50,
    "cache_creation_input_tokens": 10,
}
_COVERS: Final = {"Read": ("Read", "Grep", "Glob", "LS"), "Edit": ("Edit", "MultiEdit", "Write")}
_CRASHED: Final = 137


@final
class _Interrupted(Exception):
    """Somebody wants it to stop."""


@final
class _Fake:
    def __init__(self, given: Namespace, config: Path) -> None:
        self._given = given
        self._config = config
        self._inputs: queue.SimpleQueue[dict[str, object] | None] = queue.SimpleQueue()
        self._turns = 0
        self._told_turns = 0
        self._cost_usd = 0.0
        self._denials: list[dict[str, object]] = []
        self._last = "done"
        self._deaf_until = 0.0

    def run(self) -> int:
        """Answer until there is no more input."""
        session, before = self._session()
        if session is None:
            return 1
        threading.Thread(target=self._listen, daemon=True).start()
        self._tell({"type": "system", "subtype": "init", "cwd": str(Path.cwd()), "model": _MODEL, "tools": []})
        while (message := self._inputs.get()) is not None:
            if message.get("type") == "control_request":
                self._acknowledge(message)
            elif message.get("type") == "user":
                text = _said(message)
                with session.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"text": text}) + "\n")
                self._work(text, before)
        return 0

    def _session(self) -> tuple[Path | None, int]:
        """Find or make the file of the session; gives how many messages there were before."""
        given = self._given
        places = self._config / "sessions"
        places.mkdir(parents=True, exist_ok=True)
        identifier = cast("str", given.session_id or given.resume or str(uuid.uuid4()))
        path = places / f"{identifier}.jsonl"
        if given.resume is None:
            if path.exists():
                return self._fail(f"Error: Session ID {identifier} is already in use.")
            path.touch()
            return path, 0
        known = places / f"{given.resume}.jsonl"
        if not known.exists():
            return self._fail(f"No conversation found with session ID: {given.resume}")
        if given.fork_session:
            path.write_text(known.read_text(encoding="utf-8"), encoding="utf-8")
        return path, len(path.read_text(encoding="utf-8").splitlines())

    def _fail(self, text: str) -> tuple[None, int]:
        sys.stderr.write(f"{text}\n")
        return None, 0

    def _listen(self) -> None:
        for line in sys.stdin:
            self._inputs.put(cast("dict[str, object]", json.loads(line)))
        self._inputs.put(None)

    def _work(self, text: str, before: int) -> None:
        orders = [line.removeprefix("fake:").strip() for line in text.splitlines() if line.startswith("fake:")]
        self._last = f"done after {before} earlier messages: {text.splitlines()[0] if text else ''}"[:500]
        try:
            for order in orders or [f"say {self._last}"]:
                if 0 < self._given.max_turns <= self._turns:
                    self._result("error_max_turns")
                    return
                if self._given.max_budget_usd is not None and self._cost_usd >= self._given.max_budget_usd:
                    self._result("error_max_budget_usd")
                    return
                word, _, rest = order.partition(" ")
                if not self._order(word, rest):
                    return
        except _Interrupted:
            self._result("error_during_execution")
            return
        self._result("success")

    def _order(self, word: str, rest: str) -> bool:
        """Do one thing; say whether to go on."""
        if word == "error":
            self._turn([{"type": "text", "text": "API Error"}], error=rest)
            self._result("success", is_error=True)
            return False
        orders: Mapping[str, Callable[[str], None]] = {
            "slow": self._wait,
            "deaf": _be_deaf,
            "cost": self._pay,
            "result": lambda _: self._result("success"),
            "broken": _babble,
            "crash": lambda _: os._exit(_CRASHED),
            "ask": self._ask,
            "environment": self._tell_environment,
            "use": self._want,
            "write": self._write,
            "say": self._say,
        }
        orders[word](rest)
        return True

    def _say(self, text: str) -> None:
        self._last = text
        self._turn([{"type": "text", "text": text}])

    def _pay(self, usd: str) -> None:
        self._cost_usd += float(usd)

    def _tell_environment(self, _: str) -> None:
        self._last = " ".join(sorted(os.environ))

    def _ask(self, tool: str) -> None:
        request: Mapping[str, object] = {"subtype": "can_use_tool", "tool_name": tool, "input": {}}
        self._tell({"type": "control_request", "request_id": "ask-1", "request": request})
        self._last = json.dumps(self._inputs.get())

    def _want(self, rest: str) -> None:
        tool, _, argument = rest.partition(" ")
        self._use(tool, argument)

    def _write(self, rest: str) -> None:
        name, _, text = rest.partition(" ")
        if self._use("Write", name):
            Path(name).write_text(f"{text}\n", encoding="utf-8")

    def _use(self, tool: str, argument: str) -> bool:
        """Want a tool; say whether it was allowed."""
        identifier = f"toolu_{self._turns}"
        wanted = {"command" if tool == "Bash" else "file_path": argument}
        # Two blocks of one message: each comes with the usage of both.
        blocks = [{"type": "text", "text": f"I use {tool}."}]
        self._turn([*blocks, {"type": "tool_use", "id": identifier, "name": tool, "input": wanted}])
        known = tool in self._given.tools.split(",")
        allowed = known and any(_allows(rule, tool, argument) for rule in self._given.allowedTools or ())
        if not allowed:
            self._denials.append({"tool_name": tool, "tool_use_id": identifier, "tool_input": wanted})
        content = [{"type": "tool_result", "tool_use_id": identifier, "is_error": not allowed, "content": "..."}]
        self._tell({"type": "user", "message": {"role": "user", "content": content}})
        return allowed

    def _turn(self, blocks: Sequence[Mapping[str, object]], error: str | None = None) -> None:
        self._turns += 1
        self._cost_usd += _TURN_USD
        identifier = f"msg_{self._turns}"
        for block in blocks:
            if self._given.include_partial_messages and block["type"] == "text":
                for piece in _pieces(str(block["text"])):
                    delta = {"type": "text_delta", "text": piece}
                    self._tell({"type": "stream_event", "event": {"type": "content_block_delta", "delta": delta}})
            message = {"id": identifier, "model": _MODEL, "role": "assistant", "content": [block], "usage": _USAGE}
            told: dict[str, object] = {"type": "assistant", "message": message, "parent_tool_use_id": None}
            self._tell(told if error is None else {**told, "error": error})

    def _result(self, subtype: str, *, is_error: bool = False) -> None:
        used = {
            "inputTokens": 100 * self._turns,
            "outputTokens": 20 * self._turns,
            "cacheReadInputTokens": 50 * self._turns,
            "cacheCreationInputTokens": 10 * self._turns,
            "costUSD": self._cost_usd,
        }
        self._tell(
            {
                "type": "result",
                "subtype": subtype,
                "is_error": is_error or subtype != "success",
                "num_turns": self._turns - self._told_turns,
                "result": self._last if subtype == "success" else None,
                "total_cost_usd": round(self._cost_usd, 6),
                "usage": _USAGE,
                "modelUsage": {_MODEL: used},
                "permission_denials": self._denials,
            }
        )
        self._told_turns = self._turns

    def _wait(self, seconds: str) -> None:
        """Take long, and hear who wants it to stop."""
        until = time.monotonic() + float(seconds)
        while (left := until - time.monotonic()) > 0:
            try:
                message = self._inputs.get(timeout=left)
            except queue.Empty:
                return
            if message is None:
                self._inputs.put(None)
                time.sleep(max(0.0, until - time.monotonic()))
                return
            if message.get("type") == "control_request":
                self._acknowledge(message)
                raise _Interrupted

    def _acknowledge(self, message: Mapping[str, object]) -> None:
        response: Mapping[str, object] = {"subtype": "success", "request_id": message.get("request_id")}
        self._tell({"type": "control_response", "response": response})

    def _tell(self, message: Mapping[str, object]) -> None:
        identifier = self._given.session_id or self._given.resume
        sys.stdout.write(json.dumps({**message, "session_id": identifier}) + "\n")
        sys.stdout.flush()


def _be_deaf(seconds: str) -> None:
    """Hear nothing, and take no signal but the last."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(float(seconds))


def _babble(_: str) -> None:
    sys.stdout.write('{"type":"assistant","message":{"id"\nnot a message\n[1]\n')
    sys.stdout.flush()


def _said(message: Mapping[str, object]) -> str:
    content = cast("Mapping[str, object]", message["message"])["content"]
    if isinstance(content, str):
        return content
    return "".join(str(block.get("text", "")) for block in cast("list[dict[str, object]]", content))


def _allows(rule: str, tool: str, argument: str) -> bool:
    name, _, pattern = rule.partition("(")
    if name in _COVERS:
        # A rule for a path is for all tools of its kind, and for what lies below the directory that it works in.
        return tool in _COVERS[name] and not argument.startswith("/") and ".." not in Path(argument).parts
    if name != tool:
        return False
    beginning = pattern.removesuffix(")").removesuffix(":*")
    return not pattern or argument == beginning or argument.startswith(f"{beginning} ")


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), 5):
        yield text[start : start + 5]


def _arguments(argv: list[str] | None) -> Namespace:
    parser = ArgumentParser(prog="fake claude")
    for flag in ("-p", "--verbose", "--strict-mcp-config", "--include-partial-messages", "--fork-session"):
        parser.add_argument(flag, action="store_true")
    for flag in ("--session-id", "--resume", "--permission-mode", "--mcp-config", "--setting-sources", "--add-dir"):
        parser.add_argument(flag)
    parser.add_argument("--input-format", choices=["stream-json"], required=True)
    parser.add_argument("--output-format", choices=["stream-json"], required=True)
    for flag in ("--autocompact", "--model", "--append-system-prompt-file", "--tools"):
        parser.add_argument(flag)
    parser.add_argument("--max-turns", type=int, default=0)
    parser.add_argument("--max-budget-usd", type=float)
    parser.add_argument("--allowedTools", nargs="*")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run it, and give its exit status."""
    given = _arguments(argv)
    config = os.environ.get("CLAUDE_CONFIG_DIR")
    if not config:
        sys.stderr.write("CLAUDE_CONFIG_DIR is not set: it would work on the user's own configuration\n")
        return 1
    if given.resume and given.session_id and not given.fork_session:
        sys.stderr.write("Error: --session-id can only be used with --resume if --fork-session is also specified.\n")
        return 1
    return _Fake(given, Path(config)).run()


if __name__ == "__main__":
    sys.exit(main())
