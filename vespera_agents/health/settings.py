"""`[health]` in `.vespera/config.toml`: when a server counts as ill, how often it is looked at, and what is done then.

    [health]
    loop_lag_seconds = [0.1, 1.0]       # degraded from, unhealthy from
    live_seconds = 10                   # so long may the loop be blocked before the process counts as dead

    [[health.recovery]]                 # nothing is done unless such a section says so
    when = "mailbox"
    action = "shed_load"

All of it counts, or none: a mistake leaves what was there before, and is itself a reason. Pure. Neighbours: `checks`
has the thresholds, `recovering` what a recovery does, `workspace.settings` reads the file.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Final, cast, final

from vespera_agents.health.checks import Grade, Thresholds
from vespera_agents.health.errors import SettingsRefused
from vespera_agents.health.recovering import ALWAYS, Recovery, RecoveryAction
from vespera_agents.health.watchdog.settings import WatchdogSettings

__all__ = ["KINDS", "HealthSettings", "read_settings"]

KINDS: Final = (
    "loop", "actor", "workspace", "store", "mailbox", "supervisor", "disk", "front", "provider", "component",
)  # fmt: skip
"""What can be to blame: the first word of a reason's component."""
_NAMED: Final = frozenset({"actor", "workspace", "store", "mailbox", "supervisor", "component"})
"""Those that name a part of the tree."""
_SECONDS_MAX: Final = 86_400.0
_RECOVERIES_MAX: Final = 32
_SMALLER_IS_WORSE: Final = "disk_free_bytes"
_ACTIONS: Final = ", ".join(RecoveryAction)
_GRADES: Final = (Grade.DEGRADED, Grade.UNHEALTHY)


@final
@dataclass(frozen=True, slots=True)
class HealthSettings:
    """How a server's health is judged, and what follows from it."""

    thresholds: Thresholds = field(default_factory=Thresholds)
    examine_seconds: float = 5.0
    """How often it is looked at."""
    probe_seconds: float = 60.0
    """How often at most a commit is made to see whether the disk takes it; asked for, it is made at once."""
    live_seconds: float = 10.0
    """How long the event loop may be blocked before the process counts as dead: as long as a front waits for it."""
    recoveries: tuple[Recovery, ...] = ALWAYS
    watchdog: WatchdogSettings = field(default_factory=WatchdogSettings)


_WATCHDOG: Final = {f"watchdog_{name}": name for name in ("stall_seconds", "busy_seconds", "mailbox_seconds")}
_NUMBERS: Final = ("examine_seconds", "probe_seconds", "live_seconds")
_RECOVERY_NUMBERS: Final = ("for_seconds", "deadline_seconds", "pause_seconds", "period_seconds", "most")
_RECOVERY_WORDS: Final = ("when", "grade", "action", "target")


def read_settings(table: Mapping[str, object], work: Collection[str] = ()) -> HealthSettings:
    """Read what stands under [health].

    Args:
        table: that.
        work: the kinds of work whose breaker can be opened: names of tools.

    Raises:
        SettingsRefused: something of it is wrong; the message says what, and what to write instead.
    """
    thresholds: dict[str, tuple[float, float]] = {}
    numbers: dict[str, float] = {}
    names = [one.name for one in fields(Thresholds)]
    watchdog: dict[str, float] = {}
    recoveries: tuple[Recovery, ...] = ()
    for key, value in table.items():
        if key in names:
            thresholds[key] = _pair(key, value)
        elif key in _NUMBERS:
            numbers[key] = _number(f"[health] {key}", value, 0.1)
        elif key in _WATCHDOG:
            watchdog[_WATCHDOG[key]] = _number(f"[health] {key}", value, 0.01)
        elif key == "recovery":
            recoveries = _recoveries(value, work)
        else:
            raise SettingsRefused(_unknown("[health]", key, (*names, *_NUMBERS, *_WATCHDOG, "recovery")))
    # What is declared about a workspace that gave up stands instead of what is always done.
    declared = {one.action for one in recoveries}
    always = tuple(one for one in ALWAYS if one.action not in declared)
    return HealthSettings(
        Thresholds(**thresholds),
        recoveries=(*always, *recoveries),
        watchdog=replace(WatchdogSettings(), **watchdog),
        **numbers,
    )


def _pair(key: str, value: object) -> tuple[float, float]:
    pair = cast("list[object]", value) if isinstance(value, list) else []
    degraded, unhealthy = [_number_or_none(one) for one in pair] if len(pair) == 2 else (None, None)  # noqa: PLR2004
    sign = -1 if key == _SMALLER_IS_WORSE else 1
    if degraded is None or unhealthy is None or sign * degraded > sign * unhealthy:
        order = "the second at most the first" if sign < 0 else "the second at least the first"
        example = getattr(Thresholds(), key)
        raise SettingsRefused(
            f"[health] {key} takes [degraded from, unhealthy from], two numbers from 0 on, {order}, not {value!r}. "
            f"Write for example {key} = [{example[0]:.12g}, {example[1]:.12g}]."
        )
    return degraded, unhealthy


def _recoveries(value: object, work: Collection[str]) -> tuple[Recovery, ...]:
    given = cast("list[object]", value) if isinstance(value, list) else None
    if given is None or len(given) > _RECOVERIES_MAX or not all(isinstance(one, dict) for one in given):
        raise SettingsRefused(
            f"[health] recovery takes at most {_RECOVERIES_MAX} sections. Write each as [[health.recovery]]."
        )
    return tuple(
        _recovery(f"[[health.recovery]] number {number}", cast("dict[str, object]", one), work)
        for number, one in enumerate(given, 1)
    )


def _recovery(where: str, table: Mapping[str, object], work: Collection[str]) -> Recovery:
    for key in table:
        if key not in {*_RECOVERY_WORDS, *_RECOVERY_NUMBERS}:
            raise SettingsRefused(_unknown(where, key, (*_RECOVERY_WORDS, *_RECOVERY_NUMBERS)))
    words = {key: table[key] for key in _RECOVERY_WORDS if key in table}
    for key, word in words.items():
        if not isinstance(word, str) or not word.strip():
            raise SettingsRefused(f"{where}: {key} takes words, not {word!r}. Correct it.")
    when, target = str(words.get("when", "")).strip(), cast("str | None", words.get("target"))
    if when.partition(" ")[0] not in KINDS:
        raise SettingsRefused(
            f"{where}: when takes what is to blame, not {when!r}. Write one of {', '.join(KINDS)}, with a name behind "
            'it for one alone, as in when = "mailbox writer".'
        )
    if words.get("action") not in set(RecoveryAction):
        raise SettingsRefused(f"{where}: action takes one of {_ACTIONS}, not {words.get('action')!r}. Write one.")
    if words.get("grade", Grade.UNHEALTHY) not in _GRADES:
        raise SettingsRefused(f"{where}: grade takes degraded or unhealthy, not {words['grade']!r}. Write one.")
    action = RecoveryAction(str(words["action"]))
    _check_target(where, action, when, target, work)
    numbers = {
        key: _number(f"{where}: {key}", table[key], 0.0 if key == "for_seconds" else 0.1)
        for key in _RECOVERY_NUMBERS
        if key in table
    }
    most = numbers.pop("most", 3.0)
    if most != int(most) or not most:
        raise SettingsRefused(f"{where}: most takes a whole number from 1 on, not {most!r}. Correct it.")
    return Recovery(when, action, target, Grade(str(words.get("grade", Grade.UNHEALTHY))), most=int(most), **numbers)


def _check_target(where: str, action: RecoveryAction, when: str, target: str | None, work: Collection[str]) -> None:
    if action is RecoveryAction.OPEN_BREAKER and target not in set(work):
        raise SettingsRefused(
            f"{where}: open_breaker takes as target the tool whose calls are refused, not {target!r}. Write one of "
            f"{', '.join(sorted(work)) or 'none, because nothing here begins work'}."
        )
    if action in {RecoveryAction.SHED_LOAD, RecoveryAction.REOPEN} and target is not None:
        raise SettingsRefused(f"{where}: {action} takes no target. Remove it.")
    if action is RecoveryAction.REOPEN and when.partition(" ")[0] != "workspace":
        raise SettingsRefused(f'{where}: only a workspace can be opened again. Write when = "workspace".')
    if action is RecoveryAction.RESTART:
        if target is None and when.partition(" ")[0] not in _NAMED:
            raise SettingsRefused(
                f"{where}: nobody can restart a {when}. Name a part of the tree as target; `vespera tree` shows it."
            )
        if target in {"root", "health"}:
            raise SettingsRefused(
                f"{where}: {target} cannot be restarted from within. Name another part of the tree as target."
            )


def _number(what: str, value: object, smallest: float) -> float:
    number = _number_or_none(value)
    if number is None or not smallest <= number <= _SECONDS_MAX:
        raise SettingsRefused(
            f"{what} takes a number from {smallest:g} to {_SECONDS_MAX:g}, not {value!r}. Correct it."
        )
    return number


def _number_or_none(value: object) -> float | None:
    """Read a number from 0 on."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value) if abs(value) < 1e18 else math.inf  # noqa: PLR2004 - no float is larger than every integer
    return number if 0 <= number < math.inf else None


def _unknown(where: str, key: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    advice = f"Did you mean {near[0]}?" if near else f"Write one of {', '.join(known)}."
    return f"{where} knows no {key!r}. {advice}"
