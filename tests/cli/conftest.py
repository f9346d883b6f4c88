"""What the tests of the commands share: `vespera` in a workspace and with a registry of its own.

Called, it runs in this process, which spares half a second of imports; `process` and `start` make real processes.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vespera_agents.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
SECONDS_MAX = 60


class Program:
    """`vespera`, to be started in one workspace as often as a test likes."""

    def __init__(self, workspace: Path, state: Path, patch: pytest.MonkeyPatch, output: pytest.CaptureFixture) -> None:
        self.workspace = workspace
        self.state = state
        self.running: list[subprocess.Popen[str]] = []
        self._patch = patch
        self._output = output

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
        return {**inherited, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(self.state), "TERM": "xterm-256color"}

    def __call__(self, *words: object, stdin: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        with self._patch.context() as patch:
            patch.chdir(cwd or self.workspace)
            patch.setenv("XDG_STATE_HOME", str(self.state))
            patch.setattr(sys, "argv", ["vespera", *map(str, words)])
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            self._output.readouterr()
            with pytest.raises(SystemExit) as end:
                main()
        out, errors = self._output.readouterr()
        return subprocess.CompletedProcess(words, end.value.code, out, errors)

    def process(self, *words: object, stdin: str = "", **extra) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "vespera_agents", *map(str, words)],
            **{"cwd": self.workspace, "env": self.environment, **extra},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )

    def start(self, *words: object, **extra) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "vespera_agents", *map(str, words)],
            **{
                "cwd": self.workspace,
                "env": self.environment,
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "text": True,
                **extra,
            },
        )
        self.running.append(process)
        return process

    def write(self, name: str, text: str) -> Path:
        path = self.workspace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path


@pytest.fixture
def vespera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Program]:
    workspace = tmp_path / "project"
    workspace.mkdir()
    program = Program(workspace, tmp_path / "state", monkeypatch, capsys)
    interval = sys.getswitchinterval()
    yield program
    sys.setswitchinterval(interval)
    for process in program.running:
        if process.poll() is None:
            process.kill()
        # communicate() also closes the pipes.
        process.communicate()
