"""A Prometheus of our own: a real one, on a free loopback port, with its data in a directory that is thrown away.

The tests and the drill ask it. Not the one that operators run: that one is configured by `prometheus.yml`.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final, cast, final
from urllib.parse import urlencode

import trio

__all__ = ["PROGRAM", "Prometheus", "Series", "free_port", "private_prometheus", "ready"]

PROGRAM: Final = shutil.which("prometheus")
"""Debian's package `prometheus`."""
RULES: Final = Path(__file__).parent / "rules"
START_SECONDS: Final = 20.0
"""How long it may take to answer; alone it takes half a second."""
_ASK_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.05


@final
@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer."""

    labels: Mapping[str, str]
    """Its labels."""
    points: tuple[tuple[float, float], ...]
    """Times, in seconds since the epoch, and values."""

    @property
    def value(self) -> float:
        """The last value."""
        return self.points[-1][1]


@final
@dataclass(frozen=True, slots=True)
class Prometheus:
    """One that runs."""

    port: int
    """Where it listens, on loopback."""

    def ask(self, path: str, **words: str | float) -> Any:
        """Ask its HTTP interface and give the data of the answer.

        Raises:
            ValueError: it refused the question.
        """
        connection = HTTPConnection("127.0.0.1", self.port, timeout=_ASK_SECONDS)
        try:
            connection.request("GET", f"/api/v1/{path}?{urlencode(words)}")
            answer = cast("dict[str, Any]", json.loads(connection.getresponse().read()))
        finally:
            connection.close()
        if answer["status"] != "success":
            raise ValueError(f"Prometheus refuses {words}: {answer['error']}")
        return answer["data"]

    def now(self, expr: str) -> list[Series]:
        """Evaluate an expression now."""
        data = self.ask("query", query=expr)
        if data["resultType"] == "scalar":
            return [Series({}, (_point(data["result"]),))]
        return [Series(each["metric"], (_point(each["value"]),)) for each in data["result"]]

    def over(self, expr: str, start: float, end: float, step_seconds: float) -> list[Series]:
        """Evaluate an expression over a time, in seconds since the epoch."""
        data = self.ask("query_range", query=expr, start=start, end=end, step=step_seconds)
        return [Series(each["metric"], tuple(map(_point, each["values"]))) for each in data["result"]]

    def alerts(self) -> list[dict[str, Any]]:
        """Give the alerts that are pending or fire, with labels, annotations and state."""
        return cast("list[dict[str, Any]]", self.ask("alerts")["alerts"])

    def is_ready(self) -> bool:
        """Say whether it answers."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=_ASK_SECONDS)
        try:
            connection.request("GET", "/-/ready")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()


def _point(pair: Sequence[Any]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])


def free_port() -> int:
    """Give a loopback port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return cast("int", probe.getsockname()[1])


@contextmanager
def private_prometheus(targets: Sequence[str], *, interval: str = "1s") -> Generator[Prometheus]:
    """Run one with our rules, and end it with its data.

    Args:
        targets: HOST:PORT of each server's metrics.
        interval: between scrapes, and between evaluations of the rules.
    """
    assert PROGRAM is not None, "look whether there is one first"
    with tempfile.TemporaryDirectory(prefix="vesp-prom-") as directory:
        place, port = Path(directory), free_port()
        config = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "rule_files": [str(RULES / name) for name in ("recording.yml", "alerts.yml")],
            "scrape_configs": [{"job_name": "vespera", "static_configs": [{"targets": list(targets)}]}],
        }
        # JSON is YAML.
        (place / "prometheus.yml").write_text(json.dumps(config))
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    PROGRAM,
                    f"--config.file={place / 'prometheus.yml'}",
                    f"--storage.tsdb.path={place / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                    "--enable-feature=exemplar-storage",
                    "--log.level=warn",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            yield Prometheus(port)
        finally:
            process.kill()
            process.wait()


async def ready(prometheus: Prometheus) -> None:
    """Wait until it answers.

    Raises:
        trio.TooSlowError: it does not.
    """
    with trio.fail_after(START_SECONDS):
        while True:
            if await trio.to_thread.run_sync(prometheus.is_ready):
                return
            await trio.sleep(_LOOK_SECONDS)
