"""What viewers were told beside the tree: the sections as they stand, and the log and the stalls, which only grow.

A section is encoded each second and told only if its text is another one. Neighbours: `sections` makes the values,
`feed` puts them into changes and pictures.
"""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Final, final

from vespera_agents.health.observer.sections import (
    Section,
    context_section,
    health_section,
    log_entry,
    loop_section,
    models_section,
    server_section,
    stall_entry,
    wedged_section,
)
from vespera_agents.health.report_log import REPORTS_MAX

if TYPE_CHECKING:
    from vespera_agents.health.subtree import Health
    from vespera_agents.specialists.runtime import Runtime

__all__ = ["Telling"]

ENTRIES_MAX: Final = 250
"""Entries of the log that are told in one second, the newest."""


@final
class Telling:
    """What was told since somebody watches."""

    def __init__(self, health: Health, runtime: Runtime) -> None:
        """Begin with nothing told."""
        self._health = health
        self._runtime = runtime
        self._sections: dict[str, str] = {}
        self._log: deque[str] = deque(maxlen=REPORTS_MAX)
        self._log_seq = 0
        self._stalls: list[str] = []
        self._stalls_seen = 0

    def news(self, sessions: list[Section]) -> list[str]:
        """Give what is to be told now: members of a JSON object.

        Args:
            sessions: as they were read last.
        """
        changed = self._changed_sections(sessions)
        if log := self._new_entries():
            changed.append(f'"log":[{",".join(log)}]')
        if stalls := self._new_stalls():
            changed.append(f'"stalls":[{",".join(stalls)}]')
        return changed

    def whole(self) -> str:
        """Give everything as it was told last: members of a JSON object."""
        sections = ",".join(self._sections.values())
        return f'{sections},"log":[{",".join(self._log)}],"stalls":[{",".join(self._stalls)}]'

    def _changed_sections(self, sessions: list[Section]) -> list[str]:
        health, runtime = self._health, self._runtime
        sections: dict[str, object] = {
            "server": server_section(runtime, health),
            "health": health_section(health),
            "loop": loop_section(health),
            "wedged": wedged_section(health),
            "sessions": sessions,
            "context": context_section(runtime),
            "models": models_section(runtime),
        }
        changed: list[str] = []
        for name, section in sections.items():
            text = f'"{name}":{json.dumps(section)}'
            if self._sections.get(name) != text:
                self._sections[name] = text
                changed.append(text)
        return changed

    def _new_entries(self) -> list[str]:
        reports = self._health.reports
        entries = reports.since(self._log_seq)[-(ENTRIES_MAX if self._log_seq else REPORTS_MAX) :]
        self._log_seq = reports.seq
        new = [json.dumps(log_entry(entry)) for entry in entries]
        self._log.extend(new)
        return new

    def _new_stalls(self) -> list[str]:
        watchdog = self._health.watchdog
        new = watchdog.figures.stalls - self._stalls_seen
        if not new:
            return []
        self._stalls_seen += new
        self._stalls = [json.dumps(stall_entry(stall)) for stall in watchdog.stalls]
        return self._stalls[-new:]
