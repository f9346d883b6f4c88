"""What a worker may ask of its front, and who answers.

Not how a question travels (`framing`). Neighbours: `workers` hears it, `restarting` and `http.side` answer their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast, final

from vespera_agents.front.standing import Standing

__all__ = ["Questions", "Reply"]

Asked = dict[str, object]
Reply = Callable[[Asked], None]


@final
class Questions:
    """Who answers what."""

    def __init__(self, standing: Standing) -> None:
        """Begin with what can always be answered."""
        self._standing = standing
        self.restart: Callable[[Asked], Asked] = _refuse_restart
        """Answers a worker's wish to be replaced."""
        self.http: Callable[[Asked, Reply], None] = _have_no_http
        """Goes to the worker's private socket and back, and then answers."""

    def answer(self, question: object, reply: Reply) -> None:
        """Have a question answered, now or later."""
        asked = cast("Asked", question) if isinstance(question, dict) else {}
        match asked.get("ask"):
            case "echo":
                reply(asked)
            case "http":
                self.http(asked, reply)
            case "standing":
                reply(self._standing.facts())
            case "restart":
                reply(self.restart(asked))
            case other:
                reply({"error": f"the front knows no question {other!r}"})


def _refuse_restart(_: Asked) -> Asked:
    return {"error": "this front carries out no restarts"}


def _have_no_http(_: Asked, reply: Reply) -> None:
    reply({"error": "no HTTP client can reach this front"})
