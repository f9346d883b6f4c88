"""`vespera trust`: the owner's word for exactly one text."""

from __future__ import annotations

from vespera_agents.workspace import Registry, Workspace, load_settings

CONFIG = '[commands]\nallow = ["python -m pytest", "ruff check"]\n'


def trusted(vespera) -> bool:
    return load_settings(Workspace(vespera.workspace), Registry(vespera.state / "vespera")).trusted


def test_without_a_configuration_there_is_nothing_to_trust(vespera):
    done = vespera("trust", "--yes")
    assert done.returncode == 2
    assert "config.toml does not exist. Write it" in done.stderr
    assert list(vespera.workspace.iterdir()) == []


def test_yes_records_trust_in_this_text_and_only_in_this_text(vespera):
    vespera.write(".vespera/config.toml", CONFIG)
    done = vespera("trust", "--yes")
    assert done.returncode == 0, done.stderr
    assert "  python -m pytest ...\n  ruff check ...\n" in done.stdout
    assert trusted(vespera)
    assert "You trust this text already." in vespera("trust").stdout
    vespera.write(".vespera/config.toml", CONFIG + "shell = true\n")
    assert not trusted(vespera)


def test_the_owner_is_asked_and_may_decline(vespera):
    vespera.write(".vespera/config.toml", CONFIG)
    for answer in ("n\n", "\n", ""):
        done = vespera("trust", stdin=answer)
        assert done.returncode == 1
        assert "Nothing was recorded." in done.stdout
        assert not trusted(vespera)
    agreed = vespera("trust", stdin="y\n")
    assert agreed.returncode == 0
    assert "Recorded." in agreed.stdout
    assert trusted(vespera)


def test_shells_and_empty_lists_are_said_plainly(vespera):
    vespera.write(".vespera/config.toml", "[commands]\nallow = []\nshell = true\n")
    done = vespera("trust", "--yes")
    assert "  none\n" in done.stdout
    assert "through a shell" in done.stdout


def test_a_configuration_that_is_not_valid_is_refused(vespera):
    vespera.write(".vespera/config.toml", "[commands\n")
    done = vespera("trust", "--yes")
    assert done.returncode == 2
    assert "not valid TOML" in done.stderr
    assert not vespera.state.exists()
