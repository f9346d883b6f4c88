"""`vespera run plan.md` with one more listener: `python watched_run.py die KIND NUMBER` or `... resume MARK`.

`die` kills its own process with SIGKILL at the NUMBERth event of that kind. `resume` resumes, and at each claim prints
the commands that still live of a run whose environment carried the mark. Both end in `carry_out`, as the command does.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from vespera_agents.cli.outcomes import ended
from vespera_agents.cli.run import RunWish, carry_out
from vespera_agents.specialists.conductor import RunEvent, RunEventKind
from vespera_agents.specialists.running import RunOptions


def alive(mark: str) -> list[str]:
    """List the marked processes; a zombie has no environment any more, and a guardian is no command."""
    wanted = f"VESPERA_TEST_MARK={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                marked = wanted in (entry / "environ").read_bytes().split(b"\0")
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if marked and "guardian_process" not in command:
                found.append(f"{entry.name} {command}")
    return found


def main(mode: str, *words: str) -> int:
    seen = 0

    def die(event: RunEvent) -> None:
        nonlocal seen
        seen += event.kind == words[0]
        if event.kind == words[0] and seen == int(words[1]):
            os.kill(os.getpid(), signal.SIGKILL)

    def look(event: RunEvent) -> None:
        if event.kind is RunEventKind.CLAIMING:
            for line in alive(words[0]):
                sys.stderr.write(f"still alive: {line}\n")

    options = RunOptions(resume=mode == "resume")
    wish = RunWish(Path("plan.md"), Path(), options, as_json=mode == "resume")
    return ended(lambda: carry_out(wish, extra=die if mode == "die" else look))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
