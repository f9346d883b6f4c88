"""Who holds what a request claims: one client of several, one of a few that look alike, or the only one at a pipe."""

from __future__ import annotations

import pytest

from vespera_agents.serving.protocol.callers import CLIENT_META, Callers, holder_of
from vespera_agents.serving.protocol.identity import LOCAL, Identity
from vespera_agents.work.errors import InvalidInput


def http(principal: str | None = None, connection: str | None = None) -> Identity:
    return Identity(principal, connection, "http")


def test_the_one_client_at_a_pipe_is_the_server_itself() -> None:
    assert holder_of(LOCAL, "claude", {CLIENT_META: "one"}) is None
    assert Callers(lambda: "srv_1").call("claude", None).holder is None


def test_clients_are_told_apart_by_principal_name_session_and_their_own_word() -> None:
    holders = [
        holder_of(identity, name, meta)
        for identity in (http("anna", "s1"), http("anna", "s2"), http("ben", "s1"), http(None, "s1"))
        for name in ("claude", "cursor")
        for meta in (None,)
    ]
    holders += [
        holder_of(http(principal), "claude", {CLIENT_META: own}) for principal in ("anna", None) for own in ("1", "2")
    ]
    names = [holder.name for holder in holders if holder is not None and holder.certain]
    assert len(set(names)) == len(holders) == 12
    assert all("s1" not in name and "s2" not in name for name in names), "a session's id is a secret of its client"
    assert names[0].startswith("anna:claude#")


def test_the_same_client_has_the_same_name_in_each_request() -> None:
    assert holder_of(http("a", "s"), "c", None) == holder_of(http("a", "s"), "c", {CLIENT_META: "ignored"})
    assert holder_of(http("a"), "c", {CLIENT_META: "x"}) == holder_of(http("a"), "c", {CLIENT_META: "x"})


def test_a_client_without_a_session_or_a_word_of_its_own_may_be_two() -> None:
    alike = holder_of(http("anna"), "claude", {})
    assert alike is not None
    assert not alike.certain
    assert alike.name == "anna:claude"


def test_no_name_of_a_client_can_pass_for_another_holder() -> None:
    for name in ("srv_1/conductor", "cli:anna", "a#b", "x/y"):
        call = Callers(lambda: "srv_1").call(name, None, http(name, name))
        assert call.holder is not None
        assert not set("/ ") & set(call.holder.name)
        assert call.holder.name.count("#") == 1
        assert not call.holder.durable


@pytest.mark.parametrize("word", ["", "  ", "x" * 201, 7, None, ["a"]])
def test_a_word_of_its_own_that_is_no_text_is_refused(word: object) -> None:
    if word is None:
        return
    with pytest.raises(InvalidInput, match=r"io\.vespera/client"):
        holder_of(http(), "claude", {CLIENT_META: word})
