"""A worker of a few lines that speaks the front's framing: what a test wants it to do, the test says in its calls.

Not a test, and not the worker: it starts in 20 ms and does as it is told. Run as a program, and as a forker with the
word `fork`.
"""

from __future__ import annotations

import array
import faulthandler
import fcntl
import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any


def say(link: socket.socket, text: str) -> None:
    link.sendall(text.encode())


class Toy:
    """One worker."""

    def __init__(self, link: socket.socket, place: Path) -> None:
        self.link = link
        self.place = place
        self.generation = 0
        self.activation: dict[str, Any] = {}
        self.repeating = False
        self.repeated: list[tuple[int, bytes]] = []
        self.standing: dict[str, Any] = {}
        self.over: list[int] = []
        self.buffer = b""

    def live(self) -> None:
        while chunk := self.link.recv(1 << 18):
            self.take(chunk)

    def take(self, chunk: bytes) -> None:
        *lines, self.buffer = (self.buffer + chunk).split(b"\n")
        for line in lines:
            self.hear(line)

    def note(self, name: str, text: str) -> None:
        """Write down what a test looks for: one line in a file."""
        with (self.place / name).open("a") as file:
            file.write(text + "\n")

    def hear(self, line: bytes) -> None:
        head, _, rest = line.partition(b" ")
        match head:
            case b"w":
                self.trial("warm")
                self.note("warming", str(os.getpid()))
                self.linger("warm")
                say(self.link, "w\n")
            case b"!":
                self.activate(rest)
            case b".":
                self.repeating = False
                self.trial("ready")
                say(self.link, "+ " + json.dumps({"pid": os.getpid(), "version": "1", "http": None}) + "\n")
                repeated, self.repeated = self.repeated, []
                for one, text in repeated:
                    self.note("heard", f"{self.generation} {one} repeated {os.getpid()}")
                    self.request(one, text)
            case b"?":
                say(self.link, f"? {rest.decode()}\n")
            case b"~":
                self.note("written", rest.decode())
            case b"#":
                self.standing = json.loads(rest)
                self.note("standing", rest.decode())
                self.tell_over()
            case b"=":
                self.control(rest)
            case b"@":
                number, _, answer = rest.partition(b" ")
                say(self.link, f"R {number.decode()} {self.result(number, json.loads(answer))}\n")
            case _ if self.repeating:
                self.repeated.append((int(head), rest))
            case _:
                self.note("heard", f"{self.generation} {int(head)} new {os.getpid()}")
                self.request(int(head), rest)

    def trial(self, step: str) -> None:
        """Fail at a step, as often as a file says."""
        path = self.place / f"fail-{step}"
        if not path.exists():
            return
        how, _, times = path.read_text().partition(" ")
        if int(times or 1) > 1:
            path.write_text(f"{how} {int(times) - 1}")
        else:
            path.unlink()
        self.note("failed", f"{step} {os.getpid()}")
        if how == "hang":
            time.sleep(60)
        sys.stderr.write(f"told to fail at {step}\n")
        sys.stderr.flush()
        os._exit(int(how))

    def linger(self, step: str) -> None:
        """Take as long as a file is there."""
        while (self.place / f"slow-{step}").exists():
            time.sleep(0.01)
            if select.select([self.link], [], [], 0)[0] and not self.link.recv(1, socket.MSG_PEEK):
                os._exit(0)

    def activate(self, rest: bytes) -> None:
        number, _, activation = rest.partition(b" ")
        self.generation, self.activation = int(number), json.loads(activation)
        self.repeating = True
        self.trial("start")
        self.note("activated", json.dumps({**self.activation, "pid": os.getpid()}))

    def control(self, rest: bytes) -> None:
        self.note("control", f"{self.generation} {rest.decode()}")
        if rest.startswith(b"drain"):
            self.trial("drain")
            if not (self.place / "slow-drain").exists():
                say(self.link, "- []\n")

    def result(self, seq: bytes | int, value: Any) -> str:
        number = int(seq)
        return json.dumps({"jsonrpc": "2.0", "id": self.ids.get(number, number), "result": value})

    ids: dict[int, Any] = {}  # noqa: RUF012 - one toy in a process

    def request(self, seq: int, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            say(self.link, f'R {seq} {{"jsonrpc":"2.0","id":null,"error":{{"code":-32700,"message":"no JSON"}}}}\n')
            return
        if not isinstance(message, dict) or "id" not in message or "method" not in message:
            say(self.link, f"D {seq}\n")
            return
        self.ids[seq] = message["id"]
        method, params = message["method"], message.get("params", {})
        getattr(self, f"do_{method}")(seq, params)

    def answer(self, seq: int, value: Any) -> None:
        say(self.link, f"R {seq} {self.result(seq, value)}\n")

    # ---- what a test can ask for

    def do_echo(self, seq: int, params: Any) -> None:
        self.answer(seq, {"params": params, "generation": self.generation, "pid": os.getpid()})

    def do_big(self, seq: int, params: Any) -> None:
        self.answer(seq, "x" * params)

    def do_silent(self, seq: int, _: Any) -> None:
        """Never answer."""

    def do_die(self, seq: int, params: Any) -> None:
        """Die in the call, in the generations named; answered in others."""
        if self.generation in params["in"]:
            os._exit(params.get("status", 1))
        self.answer(seq, {"generation": self.generation})

    def do_torn(self, seq: int, _: Any) -> None:
        if self.generation == 1:
            say(self.link, f'R {seq} {{"jsonrpc":"2.0","id"')
            os.kill(os.getpid(), signal.SIGKILL)
        self.answer(seq, {"generation": self.generation})

    def do_answer_and_die(self, seq: int, _: Any) -> None:
        self.answer(seq, {"generation": self.generation})
        if self.generation == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    def do_keep(self, seq: int, params: Any) -> None:
        answer = self.result(seq, {"generation": self.generation}) if params.get("answer", True) else ""
        say(self.link, f"K {seq} {params['slot']} {answer}\n")

    def do_unkeep(self, seq: int, params: Any) -> None:
        say(self.link, f"U {params['slot']}\n")
        self.answer(seq, True)

    def do_raw(self, seq: int, params: Any) -> None:
        """Say what the test says."""
        if self.generation not in params.get("in", [self.generation]):
            self.answer(seq, True)
            return
        for text in params["lines"]:
            say(self.link, text.replace("SEQ", str(seq)) + "\n")
        if params.get("die") and self.generation == 1:
            os._exit(1)

    def do_progress(self, seq: int, params: Any) -> None:
        for value in params["values"][str(self.generation)]:
            message = json.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": value}})
            say(self.link, f"P {seq} {value} {message}\n")
        if self.generation == 1:
            os._exit(1)
        self.answer(seq, {"generation": self.generation})

    def do_question(self, seq: int, params: Any) -> None:
        say(self.link, f'Q {params["id"]} {{"jsonrpc":"2.0","id":{params["id"]},"method":"ask"}}\n')
        if params.get("settle"):
            say(self.link, f"A {params['id']}\n")
        if self.generation == 1:
            os._exit(1)
        self.answer(seq, {"generation": self.generation})

    def do_flood(self, seq: int, params: Any) -> None:
        """Say `count` lines for the client, each of `size` bytes."""
        line = json.dumps({"jsonrpc": "2.0", "method": "flood", "params": "x" * params["size"]})
        for _ in range(params["count"]):
            say(self.link, f"N {line}\n")
            while select.select([self.link], [], [], 0)[0]:
                self.take(self.link.recv(1 << 18, socket.MSG_DONTWAIT))
        self.answer(seq, True)

    def do_lock(self, seq: int, _: Any) -> None:
        file = (self.place / "lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.answer(seq, "held")
            return
        socket.send_fds(self.link, [b"L lock\n"], [file.fileno()])
        self.answer(seq, "taken")

    def do_stop(self, seq: int, _: Any) -> None:
        """Stop as a machine stops a process."""
        if self.generation == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        self.answer(seq, {"generation": self.generation})

    def do_sleep(self, seq: int, params: Any) -> None:
        """Block the loop."""
        if self.generation == 1:
            time.sleep(params)
        self.answer(seq, {"generation": self.generation})

    def do_linger(self, seq: int, _: Any) -> None:
        """Block the loop as long as a file is there."""
        self.linger("call")
        self.answer(seq, {"generation": self.generation})

    def do_print(self, seq: int, params: Any) -> None:
        sys.stderr.write(params + "\n")
        sys.stderr.flush()
        self.answer(seq, True)

    def do_standing(self, seq: int, _: Any) -> None:
        self.answer(seq, self.standing)

    def do_activation(self, seq: int, _: Any) -> None:
        self.answer(seq, self.activation)

    def do_facts(self, seq: int, _: Any) -> None:
        descriptors = sorted(int(entry.name) for entry in Path("/proc/self/fd").iterdir() if os.path.lexists(entry))
        self.answer(
            seq,
            {
                "pid": os.getpid(),
                "session": os.getsid(0),
                "group": os.getpgid(0),
                "stdin": str(Path("/proc/self/fd/0").readlink()),
                "open": descriptors,
                "expected": sorted({0, 1, 2, self.link.fileno()}),
            },
        )

    def do_child(self, seq: int, _: Any) -> None:
        """Have a child in the same group that would outlive us."""
        pid = os.fork()
        if not pid:
            self.link.close()
            time.sleep(60)
            os._exit(0)
        self.answer(seq, pid)

    def do_babbler(self, seq: int, _: Any) -> None:
        """Have a child that goes on talking over our link."""
        if self.generation == 1 and not os.fork():
            while True:
                say(self.link, 'N {"jsonrpc": "2.0", "method": "babble", "params": 1}\n')
                time.sleep(0.001)
        time.sleep(0.1)
        self.answer(seq, True)

    def do_alive(self, seq: int, params: Any) -> None:
        try:
            lines = Path(f"/proc/{params}/status").read_text().splitlines()
        except OSError:
            self.answer(seq, False)
            return
        facts = dict(line.split(":", 1) for line in lines)
        # One that was killed and has not had a processor since does nothing any more either.
        pending = int(facts["SigPnd"], 16) | int(facts["ShdPnd"], 16)
        killed = pending & 1 << (signal.SIGKILL - 1)
        self.answer(seq, facts["State"].split()[0] not in "XZ" and not killed)

    def do_ask(self, seq: int, params: Any) -> None:
        """Ask the front; its answer becomes the call's."""
        say(self.link, f"@ {seq} {json.dumps(params)}\n")

    def do_restart(self, seq: int, params: Any) -> None:
        """Ask for a restart; as an upgraded worker, answer from what was asked in an earlier life."""
        if self.generation != params.get("generation", 1):
            self.over.append(seq)
            self.tell_over()
            return
        say(self.link, f"@ 0 {json.dumps({'ask': 'restart', 'seq': seq, **params['wish']})}\n")

    def tell_over(self) -> None:
        """Answer those who wished for a restart once the front says that it is over, as the worker does."""
        restarting = self.standing.get("restarting", {"error": None})
        if restarting is None or restarting["error"]:
            for seq in self.over:
                self.answer(seq, {"generation": self.generation, "activation": self.activation})
            self.over.clear()


def fork(place: Path) -> None:
    """Be the forker."""
    control = socket.socket(fileno=int(os.environ["VESPERA_FORKER"]))
    buffer = b""
    descriptors: list[int] = []
    while True:
        data, ancillary, _, _ = control.recvmsg(1024, socket.CMSG_SPACE(64))
        if not data:
            os._exit(0)
        for _, _, payload in ancillary:
            numbers = array.array("i")
            numbers.frombytes(payload)
            descriptors += numbers
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            assert line == b"fork"
            link, output = descriptors.pop(0), descriptors.pop(0)
            between = os.fork()
            if between:
                os.close(link)
                os.close(output)
                os.waitpid(between, 0)
                continue
            parent = os.getpid()
            pid = os.fork()
            if pid:
                say(control, f"pid {pid}\n")
                os._exit(0)
            # The forker of the program waits, too: the front learns how one ends that has become its child by then.
            while os.getppid() == parent:
                time.sleep(0.0002)
            os.setsid()
            control.close()
            os.dup2(output, 1)
            os.dup2(output, 2)
            Toy(socket.socket(fileno=link), place).live()
            os._exit(0)


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    where = Path(sys.argv[1])
    if "fork" in sys.argv:
        fork(where)
    Toy(socket.socket(fileno=int(os.environ["VESPERA_LINK"])), where).live()
