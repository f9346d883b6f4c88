"""The pure parts of callbacks: what the owner may write, what proves a callback, when it is tried again."""

from __future__ import annotations

from pathlib import Path

import pytest

from vespera_agents.specialists.callbacks.posting import may_speak_to
from vespera_agents.specialists.callbacks.retrying import Answer, judge, pause_of_target, retry_after_seconds
from vespera_agents.specialists.callbacks.settings import (
    ENVIRONMENT_TARGET,
    SecretReference,
    TargetSettings,
    read_targets,
    secret_variables,
)
from vespera_agents.specialists.callbacks.signing import headers_of, sign, verify
from vespera_agents.workspace import WorkspaceError

HERE = Path("/project")
SECRET = b"a text that nobody guesses"
GOOD = {"url": "https://chat.example/hooks/secret-path", "secret_env": "CHAT"}
TARGET = TargetSettings("chat", GOOD["url"], SecretReference("CHAT"), attempts_max=3, backoff_seconds=1.0)


def read(table: dict[str, object], environ: dict[str, str] | None = None, *, trusted: bool = True):
    return read_targets(table, HERE, environ or {}, trusted=trusted)


def test_a_target_is_read_with_its_defaults_and_never_shows_its_address_or_secret() -> None:
    target = read({"chat": GOOD})["chat"]
    assert (len(target.events), target.attempts_max, target.allow_private) == (6, 12, False)
    assert target.place == "https://chat.example"
    assert "secret-path" not in repr(target)
    assert read({"chat": {"url": "https://a.example/", "secret_file": "keys/a"}})["chat"].secret.file == HERE / "keys/a"


def test_a_workspace_that_nobody_trusts_sends_nothing_and_the_owners_environment_always_counts() -> None:
    assert read({"chat": GOOD}, trusted=False) == {}
    environ = {"VESPERA_CALLBACK_URL": "https://own.example/", "VESPERA_CALLBACK_EVENTS": "on_error,on_help_needed"}
    own = read({"chat": GOOD}, environ, trusted=False)[ENVIRONMENT_TARGET]
    assert (own.secret.variable, own.events) == ("VESPERA_CALLBACK_SECRET", ("on_error", "on_help_needed"))
    assert secret_variables(read({"chat": GOOD})) == {"VESPERA_CALLBACK_SECRET", "CHAT"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "ftp://chat.example"},
        {"url": "https://"},
        {"url": "https://user:word@chat.example/"},  # pragma: allowlist secret
        {"url": "http://chat.example/"},
        {"url": "https://chat.example:99999/"},
        {"url": "https://chat.example/a b"},
        {"url": "https://bücher.example/"},
        {"url": "https://chat.example/\n"},
        {"url": 5},
        {"secret_env": ""},
        {"secret_file": "as/well"},
        {"secret": "in the file itself"},
        {"events": "on_error"},
        {"events": ["on_fire"]},
        {"events": []},
        {"attempts_max": 0},
        {"attempts_max": 2.5},
        {"timeout_seconds": True},
        {"concurrency": 1_000},
        {"allow_private": "yes"},
        {"ca_file": 5},
    ],
    ids=str,
)
def test_what_is_wrong_is_said_without_the_address(wrong: dict[str, object]) -> None:
    with pytest.raises(WorkspaceError, match=r"\[callbacks.chat\]") as raised:
        read({"chat": {**GOOD, **wrong}})
    assert "secret-path" not in str(raised.value)
    assert "word" not in str(raised.value).replace("password", "")


def test_a_secret_is_read_when_it_is_used_and_must_be_one(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    with pytest.raises(WorkspaceError, match="cannot be read"):
        SecretReference(file=file).read({})
    file.write_bytes(b"short")
    with pytest.raises(WorkspaceError, match="16") as raised:
        SecretReference(file=file).read({})
    assert "short" not in str(raised.value)
    file.write_bytes(SECRET + b"\n")
    assert SecretReference(file=file).read({}) == SECRET
    assert SecretReference("CHAT").read({"CHAT": SECRET.decode()}) == SECRET


def test_a_receiver_takes_what_was_signed_and_nothing_that_was_changed_or_is_old() -> None:
    body = b'{"id": "callback_1"}'
    headers = headers_of(SECRET, timestamp=1_000, identifier="callback_1", event="on_error", attempt=2, body=body)
    assert verify(SECRET, headers, body, 1_010.0)
    assert verify(SECRET, {name.upper(): value for name, value in headers.items()}, body, 1_010.0)
    assert not verify(b"another text", headers, body, 1_010.0)
    assert not verify(SECRET, headers, body + b" ", 1_010.0)
    assert not verify(SECRET, {**headers, "Vespera-Id": "callback_2"}, body, 1_010.0)
    assert not verify(SECRET, {**headers, "Vespera-Timestamp": "1005"}, body, 1_010.0)
    assert not verify(SECRET, headers, body, 1_301.0)
    assert not verify(SECRET, headers, body, 699.0)
    assert not verify(SECRET, {}, body, 1_010.0)
    # As the documentation has it, so that anybody can check it with openssl.
    assert sign(b"key", 1, "id", b"{}").startswith("v1=")


def test_pauses_double_up_to_a_limit_with_jitter_and_end_after_so_many_failures() -> None:
    failed = Answer(500)
    assert [judge(TARGET, failed, number, 1.0).pause_seconds for number in (1, 2, 3)] == [1.0, 2.0, None]
    assert judge(TARGET, failed, 1, 0.0).pause_seconds == 0.5
    lasting = TargetSettings("a", "https://a", SecretReference("A"), attempts_max=100, backoff_seconds_max=60.0)
    assert judge(lasting, failed, 99, 1.0).pause_seconds == 60.0


def test_a_receiver_says_when_to_come_again_and_for_whom() -> None:
    # Unavailable is about this one, too many requests about all.
    unavailable = judge(TARGET, Answer(503, retry_after_seconds=30.0), 1, 0.0)
    assert (unavailable.pause_seconds, unavailable.target_pause_seconds) == (30.0, 0.0)
    limited = judge(TARGET, Answer(429, retry_after_seconds=30.0), 1, 0.0)
    assert (limited.pause_seconds, limited.target_pause_seconds) == (30.0, 30.0)
    assert judge(TARGET, Answer(503, retry_after_seconds=1e9), 1, 0.0).pause_seconds == 3_600.0
    assert judge(TARGET, Answer(410), 1, 0.0).pause_seconds is None
    assert retry_after_seconds("120", 0.0) == 120.0
    assert retry_after_seconds("Thu, 01 Jan 1970 00:02:00 GMT", 100.0) == 20.0
    assert retry_after_seconds("Thu, 01 Jan 1970 00:02:00 GMT", 500.0) == 0.0
    assert [retry_after_seconds(text, 0.0) for text in (None, "", "soon", "-5", "nan", "1.2.3", "9" * 400)] == [
        None
    ] * 7


def test_a_target_that_always_fails_gets_longer_pauses_and_chance_alone_gives_none() -> None:
    assert [pause_of_target(number, 4) for number in (1, 19, 20, 21, 40, 60)] == [0.0, 0.0, 0.5, 0.0, 1.0, 2.0]
    assert pause_of_target(20 * 100, 4) == 30.0


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_only_public_addresses_are_spoken_to_unless_private_ones_are_allowed(address: str, public: bool) -> None:
    assert may_speak_to(address, private=False) is public
    assert may_speak_to(address, private=True)


@pytest.mark.parametrize("address", ["0.0.0.0", "224.0.0.1", "ff02::1", "::"])  # noqa: S104 - refused, not bound
def test_no_address_of_everybody_is_spoken_to(address: str) -> None:
    assert not may_speak_to(address, private=True)
