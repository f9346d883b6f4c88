"""The shared context as rows: who sees an entry, who may change it, and that nobody writes over what is unread."""

from __future__ import annotations

import json
import time

import pytest

from vespera_agents.store.commands import AddArtifacts, NewArtifact, SetSessionStatus, ShareNote, WithdrawNote
from vespera_agents.store.notes import (
    NOTE_BYTES_MAX,
    NOTE_NAME_MAX,
    NOTE_ROLES_MAX,
    NOTES_BYTES_MAX,
    NOTES_MAX,
    USER,
    note,
    notes_of,
)
from vespera_agents.store.strays import find_strays, remove_stray
from vespera_agents.work.errors import Conflict, InvalidInput, NotFound, StaleVersion
from vespera_agents.work.models import ArtifactKind, SessionStatus

HOUR = 3_600.0


def share(bench, name="findings", writer="analyst", text="42", **more):
    size = more.pop("size", len(text.encode()))
    return bench.apply(ShareNote("test", bench.session_id, name, writer, text, size, **more))


def seen(bench, role):
    return [one.name for one in notes_of(bench.connection, bench.session_id, role)]


def events(bench):
    rows = bench.connection.execute("SELECT before, after, actor, detail FROM event WHERE what='note' ORDER BY seq")
    return [(before, after, actor, json.loads(detail)) for before, after, actor, detail in rows]


def test_an_entry_has_an_owner_a_version_and_a_size_and_is_seen_by_all_unless_it_says_by_whom(bench) -> None:
    assert share(bench)["visible_to"] == []
    made = share(bench, "secret", text="übel", visible_to=("tester", "reviewer"))
    assert made == {
        "session_id": bench.session_id,
        "name": "secret",
        "owner": "analyst",
        "version": 1,
        "size": 5,
        "visible_to": ["tester", "reviewer"],
    }
    assert seen(bench, "tester") == seen(bench, "analyst") == seen(bench, USER) == ["secret", "findings"]
    assert seen(bench, "architect") == ["findings"]
    assert note(bench.connection, bench.session_id, "secret", "architect") is None
    assert note(bench.connection, bench.session_id, "secret", "reviewer") is not None


def test_each_change_is_an_event_that_holds_no_text(bench) -> None:
    share(bench, text="first")
    share(bench, text="second", writer="tester", expected_version=1)
    bench.apply(WithdrawNote("test", bench.session_id, "findings", "analyst"))
    assert [row[:3] for row in events(bench)] == [(None, "1", "test"), ("1", "2", "test"), ("2", None, "test")]
    assert [row[3]["size"] for row in events(bench)] == [5, 6, 0]
    assert not any("first" in str(row) or "second" in str(row) for row in events(bench))


def test_what_was_changed_since_it_was_read_is_not_written_over(bench) -> None:
    share(bench)
    assert share(bench, text="43", writer="tester", expected_version=1)["version"] == 2
    with pytest.raises(StaleVersion, match="at version 2, not 1"):
        share(bench, text="44", expected_version=1)
    with pytest.raises(Conflict, match="already, at version 2"):
        share(bench, text="44")
    found = note(bench.connection, bench.session_id, "findings", USER)
    assert found is not None
    assert (found.text, found.owner) == ("43", "analyst")


def test_who_may_not_see_an_entry_can_neither_change_nor_find_out_about_it(bench) -> None:
    share(bench, visible_to=("tester",))
    with pytest.raises(Conflict, match="the name is taken") as refused:
        share(bench, writer="architect", expected_version=1)
    assert "analyst" not in str(refused.value)
    with pytest.raises(NotFound):
        bench.apply(WithdrawNote("test", bench.session_id, "findings", "architect"))


def test_only_the_owner_and_the_user_hide_an_entry_or_take_it_away(bench) -> None:
    share(bench, visible_to=("tester",))
    with pytest.raises(Conflict, match="of the analyst, who alone may say who sees it"):
        share(bench, writer="tester", expected_version=1, visible_to=())
    assert share(bench, writer="tester", expected_version=1)["visible_to"] == ["tester"]
    with pytest.raises(Conflict, match="withdraw it"):
        bench.apply(WithdrawNote("test", bench.session_id, "findings", "tester"))
    assert share(bench, writer=USER, expected_version=2, visible_to=())["owner"] == "analyst"
    with pytest.raises(StaleVersion):
        bench.apply(WithdrawNote("test", bench.session_id, "findings", "analyst", 2))
    assert bench.apply(WithdrawNote("test", bench.session_id, "findings", USER, 3))["version"] == 3
    assert seen(bench, USER) == []


def test_an_entry_that_was_withdrawn_begins_anew(bench) -> None:
    share(bench)
    bench.apply(WithdrawNote("test", bench.session_id, "findings", "analyst"))
    with pytest.raises(NotFound, match="Leave expected_version out"):
        share(bench, expected_version=1)
    assert share(bench, writer="tester")["owner"] == "tester"


@pytest.mark.parametrize("name", ["", "a/b", "a\nb", "x" * (NOTE_NAME_MAX + 1)])
def test_a_name_is_bounded(bench, name: str) -> None:
    with pytest.raises(InvalidInput, match="no name of a shared note"):
        share(bench, name)


def test_everything_is_bounded(bench) -> None:
    with pytest.raises(InvalidInput, match="more than a shared note may hold"):
        share(bench, size=NOTE_BYTES_MAX + 1)
    with pytest.raises(InvalidInput, match="at most 32 roles"):
        share(bench, visible_to=tuple(f"role_{number}" for number in range(NOTE_ROLES_MAX + 1)))
    for number in range(NOTES_BYTES_MAX // NOTE_BYTES_MAX):
        share(bench, f"large {number}", size=NOTE_BYTES_MAX)
    with pytest.raises(Conflict, match="more than 16000000 bytes"):
        share(bench, "one more", size=1)
    # In the place of another there is room.
    share(bench, "large 0", size=NOTE_BYTES_MAX - 1, expected_version=1)
    share(bench, "one more", size=1)


def test_a_session_holds_so_many_entries(bench) -> None:
    for number in range(NOTES_MAX):
        share(bench, f"n{number}")
    with pytest.raises(Conflict, match="200 shared notes already"):
        share(bench, "one more")
    share(bench, "n0", expected_version=1)


def test_a_closed_session_takes_none(bench) -> None:
    bench.apply(SetSessionStatus("test", bench.session_id, SessionStatus.CLOSED))
    with pytest.raises(Conflict, match="is closed"):
        share(bench)
    with pytest.raises(NotFound, match="no session"):
        bench.apply(ShareNote("test", "session_none", "n", USER, "t", 1))


def test_a_repeated_wish_is_one_change(bench) -> None:
    command = ShareNote("test", bench.session_id, "n", "analyst", "t", 1)
    assert bench.apply(command, "the key") == bench.apply(command, "the key")
    assert len(events(bench)) == 1


def test_the_file_of_a_long_text_stays_while_its_entry_names_it(bench) -> None:
    """It was written long ago, and nothing else names it."""
    hashes = [bench.files.keep(text) for text in (b"first" * 2_000, b"second" * 2_000)]
    later = time.time() + 2 * HOUR

    def strays():
        return {stray.name for stray in find_strays(bench.connection, bench.files.directory, later)} & set(hashes)

    assert strays() == set(hashes)
    share(bench, sha256=hashes[0])
    assert strays() == {hashes[1]}
    assert remove_stray(bench.connection, bench.files.directory, hashes[0], later) is None
    share(bench, sha256=hashes[1], expected_version=1)
    assert strays() == {hashes[0]}
    assert remove_stray(bench.connection, bench.files.directory, hashes[0], later) == 10_000


def test_an_artifact_of_the_same_text_keeps_its_file(bench, draft) -> None:
    """A note and an artifact may be one file; taking the note away takes nothing from the artifact."""
    sha256 = bench.files.keep(b"both" * 2_000)
    (task,) = bench.plan(draft("a"))
    new = NewArtifact(ArtifactKind.GENERAL, "both", "text/plain", 8_000, sha256)
    bench.apply(AddArtifacts("test", bench.session_id, task, (new,)))
    share(bench, sha256=sha256)
    bench.apply(WithdrawNote("test", bench.session_id, "findings", USER))
    assert remove_stray(bench.connection, bench.files.directory, sha256, time.time() + 2 * HOUR) is None
