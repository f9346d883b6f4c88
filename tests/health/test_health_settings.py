"""`[health]` in the configuration: what it says counts, all of it or none, and a mistake says what to write instead."""

from __future__ import annotations

import os
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from vespera_agents.health.checks import Grade, Thresholds
from vespera_agents.health.errors import SettingsRefused
from vespera_agents.health.recovering import ALWAYS, Recovery, RecoveryAction
from vespera_agents.health.settings import HealthSettings, read_settings
from vespera_agents.health.settings_file import SettingsFile
from vespera_agents.health.watchdog.settings import WatchdogSettings
from vespera_agents.workspace import Registry, WorkspaceError, open_workspace

WORK = ("orchestrator_plan_task", "orchestrator_execute_task")


def read(text: str) -> HealthSettings:
    return read_settings(tomllib.loads(text).get("health", {}), WORK)


def test_nothing_written_is_what_the_source_says_and_nothing_is_done_that_takes_from_anybody() -> None:
    assert read("") == HealthSettings()
    assert [str(one) for one in read("").recoveries] == ["reopen"]
    mine = read('[[health.recovery]]\nwhen = "workspace"\naction = "reopen"\nmost = 1\n')
    assert [one.most for one in mine.recoveries] == [1]


def test_what_is_written_counts_and_the_rest_stays() -> None:
    settings = read(
        """
        [health]
        commit_seconds = [1, 8]
        disk_free_bytes = [1000, 10]
        examine_seconds = 2
        watchdog_stall_seconds = 0.5
        watchdog_mailbox_seconds = 5
        [[health.recovery]]
        when = "mailbox"
        action = "shed_load"
        [[health.recovery]]
        when = "actor writer"
        action = "restart"
        grade = "degraded"
        for_seconds = 0
        most = 1
        [[health.recovery]]
        when = "loop"
        action = "open_breaker"
        target = "orchestrator_plan_task"
        period_seconds = 60
        """
    )
    assert settings.thresholds == Thresholds(commit_seconds=(1.0, 8.0), disk_free_bytes=(1000.0, 10.0))
    assert (settings.examine_seconds, settings.live_seconds) == (2.0, 10.0)
    assert settings.watchdog == WatchdogSettings(stall_seconds=0.5, mailbox_seconds=5.0)
    assert settings.recoveries == (
        *ALWAYS,
        Recovery("mailbox", RecoveryAction.SHED_LOAD),
        Recovery("actor writer", RecoveryAction.RESTART, grade=Grade.DEGRADED, for_seconds=0.0, most=1),
        Recovery("loop", RecoveryAction.OPEN_BREAKER, "orchestrator_plan_task", period_seconds=60.0),
    )


def test_what_operations_says_of_settings_is_so() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    section = text.partition("## Health\n")[2].partition("\n## ")[0]
    blocks = [one.content for one in MarkdownIt("commonmark").parse(section) if one.type == "code_block"]
    shown = read(next(one for one in blocks if one.startswith("[health]")))
    assert [str(one) for one in shown.recoveries] == ["reopen", "shed_load", "restart"]
    assert shown.live_seconds == HealthSettings().live_seconds
    names = [one.name for one in (*fields(Thresholds), *fields(HealthSettings)) if one.type != "Thresholds"]
    names += [one.name for one in fields(Recovery)]
    assert [name for name in {*names, *RecoveryAction} - {"recoveries"} if name not in section] == []


RECOVERY = '[[health.recovery]]\nwhen = "mailbox"\naction = "shed_load"\n'
WRONG = [
    ("[health]\ncommit_secs = [1, 2]\n", "Did you mean commit_seconds?"),
    ("[health]\nhurry = 1\n", "Write one of loop_lag_seconds"),
    ("[health]\ncommit_seconds = 1\n", r"for example commit_seconds = \[0.25, 2\]"),
    ("[health]\ncommit_seconds = [1]\n", "two numbers"),
    ("[health]\ncommit_seconds = [2, 1]\n", "the second at least the first"),
    ("[health]\ncommit_seconds = [-1, 1]\n", "two numbers from 0 on"),
    ("[health]\ncommit_seconds = [true, 1]\n", "two numbers"),
    ("[health]\ncommit_seconds = [nan, 1.0]\n", "two numbers"),
    ("[health]\ncommit_seconds = [0.0, inf]\n", "two numbers"),
    (f"[health]\nqueue_depth = [1, 1{'0' * 400}]\n", "two numbers"),
    ("[health]\ndisk_free_bytes = [1, 2]\n", "the second at most the first"),
    ("[health]\nexamine_seconds = 0\n", "a number from 0.1 to 86400"),
    ('[health]\nlive_seconds = "10"\n', "a number from 0.1"),
    ("[health]\nlive_seconds = 1e9\n", "a number from 0.1"),
    ("[health]\nrecovery = 1\n", r"Write each as \[\[health.recovery\]\]"),
    (RECOVERY * 33, "at most 32"),
    (RECOVERY + "wen = 1\n", r"number 1 knows no 'wen'. Did you mean when\?"),
    (RECOVERY + RECOVERY.replace("mailbox", "moon"), "number 2: when takes what is to blame, not 'moon'"),
    (
        RECOVERY.replace("shed_load", "reboot"),
        "action takes one of restart, open_breaker, shed_load, reopen, not 'reboot'",
    ),
    ('[[health.recovery]]\nwhen = "loop"\n', "action takes one of"),
    (RECOVERY.replace('"mailbox"', "5"), "when takes words, not 5"),
    (RECOVERY + 'grade = "bad"\n', "grade takes degraded or unhealthy"),
    (RECOVERY + 'target = "doors"\n', "shed_load takes no target"),
    (RECOVERY.replace("shed_load", "reopen"), "only a workspace can be opened again"),
    (RECOVERY + "most = 0\n", "most takes|most: a number|a number from 0.1"),
    (RECOVERY + "most = 1.5\n", "a whole number"),
    (RECOVERY + "deadline_seconds = -1\n", "a number from 0.1"),
    (RECOVERY.replace("shed_load", "open_breaker"), "Write one of orchestrator_execute_task, orchestrator_plan_task"),
    (RECOVERY.replace("shed_load", "open_breaker") + 'target = "sing"\n', "not 'sing'"),
    ('[[health.recovery]]\nwhen = "loop"\naction = "restart"\n', "nobody can restart a loop"),
    (RECOVERY.replace("shed_load", "restart") + 'target = "health"\n', "cannot be restarted from within"),
]


@pytest.mark.parametrize(("text", "advice"), WRONG)
def test_a_mistake_is_refused_with_what_to_write_instead(text: str, advice: str) -> None:
    with pytest.raises(SettingsRefused, match=advice) as refused:
        read(text)
    assert str(refused.value).endswith((".", "?"))


def written(tmp_path: Path, text: str) -> None:
    config = tmp_path / ".vespera" / "config.toml"
    before = config.stat().st_mtime_ns if config.exists() else 0
    config.write_text(text)
    # File systems with a coarse clock give two quick writes one time.
    os.utime(config, ns=(before + 10**9, before + 10**9))


def test_a_file_is_read_when_it_changes_and_a_wrong_one_is_refused_each_time_until_it_is_right(tmp_path: Path) -> None:
    workspace = open_workspace(tmp_path)
    file = SettingsFile(workspace, Registry(tmp_path / "state"), WORK)
    assert file.read() == HealthSettings()
    written(tmp_path, "[health]\nlive_seconds = 3\n")
    assert file.read() == HealthSettings(live_seconds=3.0)
    assert file.read() is file.read(), "it is read once"
    written(tmp_path, "[health]\nlive_seconds = 4\nexamine_seconds = 0\n")
    for _ in range(2):
        with pytest.raises(SettingsRefused, match=r"config.toml: \[health\] examine_seconds takes"):
            file.read()
    written(tmp_path, "[health\n")
    with pytest.raises(WorkspaceError, match="is not valid TOML"):
        file.read()
    workspace.config.unlink()
    assert file.read() == HealthSettings()
