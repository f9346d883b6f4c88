"""Secrets are found, never printed, and what only looks like one is left alone.

Each sample is put together at run time, because this file is searched as well.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from tests.capabilities.project_kit import Project
from vespera_agents.capabilities.checks.secret_scan import entropy, scan_text


def noise(length: int, seed: str = "acorn") -> str:
    """Random-looking letters and digits, the same in each run."""
    text = ""
    while len(text) < length:
        seed = base64.b64encode(hashlib.sha256(seed.encode()).digest()).decode()
        text += "".join(letter for letter in seed if letter.isalnum())
    return text[:length]


def hexes(length: int) -> str:
    return (hashlib.sha256(b"acorn").hexdigest() * 2)[:length]


UPPER = "".join(letter for letter in noise(400).upper() if letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
HEAD = "-----BEGIN " + "{}PRIVATE" + " KEY-----\n"
SECRETS = {
    "aws": ("AK" + "IA" + UPPER[:16], "an AWS access key"),
    "aws secret": ("aws_secret_access_key = " + noise(40), "looks like a secret"),
    "github": ("gh" + "p_" + noise(36), "a GitHub token"),
    "github fine-grained": ("github" + "_pat_" + noise(82), "a GitHub token"),
    "gitlab": ("gl" + "pat-" + noise(20), "a GitLab token"),
    "slack": ("xo" + "xb-" + "123498765432-" + noise(24), "a Slack token"),
    "slack webhook": ("https://hooks.slack" + ".com/services/T0AB1CD2E/B0FG3HI4J/" + noise(24), "a Slack webhook"),
    "anthropic": ("sk-" + "ant-api03-" + noise(90), "an Anthropic key"),
    "openai": ("sk-" + "proj-" + noise(48), "an OpenAI key"),
    "openai old": ("sk-" + noise(48), "an OpenAI key"),
    "google": ("AI" + "za" + noise(35), "a Google key"),
    "hugging face": ("hf" + "_" + noise(34), "a Hugging Face token"),
    "stripe": ("sk" + "_live_" + noise(24), "a Stripe key"),
    "pypi": ("pypi-" + "AgEIcHlwaS5vcmc" + noise(120), "a PyPI token"),
    "npm": ("np" + "m_" + noise(36), "an npm token"),
    "sendgrid": ("S" + "G." + noise(22) + "." + noise(43, "b"), "a SendGrid key"),
    "digitalocean": ("do" + "p_v1_" + hexes(64), "a DigitalOcean token"),
    "azure": ("Account" + "Key=" + noise(86) + "==", "an Azure storage key"),
    "address": ("https://deploy:" + noise(12) + "@git.acorn.dev/x.git", "a password in an address of git.acorn.dev"),
    "address without a user": ("redis://:" + noise(12) + "@cache.acorn.dev:6379/0", "a password in an address"),
    "named": ('API_KEY = "' + noise(32) + '"', "looks like a secret"),
    "named in yaml": ("client_secret: " + noise(32), "looks like a secret"),
    "named in json": ('{"password": "' + noise(24) + '"}', "looks like a secret"),
    "named hexadecimal": ("SECRET_KEY='" + hexes(64) + "'", "looks like a secret"),
}
HARMLESS = {
    "aws's own example": "AK" + "IA" + "IOSFODNN7" + "EXAMPLE",
    "a stand-in": "gh" + "p_" + "x" * 36,
    "one letter": "sk-" + "ant-" + "a" * 60,
    "an address with a place for a password": "https://user:${TOKEN}@git.acorn.dev/x",
    "an address with a format field": 'f"https://{user}:{password}@git.acorn.dev/x"',
    "an address with a plain word": "postgresql://postgres:postgres@db.acorn.dev/x",
    "an address on this machine": "postgresql://app:" + noise(12) + "@localhost:5432/app",
    "an address of a container": "postgresql://app:" + noise(12) + "@db/app",
    "an address that nobody has": "https://joe:" + noise(12) + "@example.com/",
    "an address with a port": "http://127.0.0.1:8000/a@b",
    "a variable": "token = settings.authentication.token_of_user_1",
    "a class of a library": "secret_key: rust_bindings.x25519.X25519PrivateKey",
    "a call": 'password = os.environ["ACORN_DATABASE_PASSWORD_2"]',
    "a slug": 'secret = "the-name-of-the-secret-in-the-vault-2"',
    "a long slug": 'secret = "prod-Quick-brown-Fox-jumps-0ver-Lazy-dog-7"',
    "a word": 'token = "abcdefghijklmnopqrstuvwx"',
    "a pattern": 'token = "abab1212abab1212abab1212"',
    "a checksum": "sha256 = " + hexes(64),
    "a commit": "rev: " + hexes(40),
    "a class in css": "sk-" + "loading-indicator",
    "the head of a key in prose": "It begins with " + HEAD.format("RSA ") + "and goes on.",
    "the head of a key in code": 'if text.startswith("' + HEAD.format("").strip() + '"):',
}


@pytest.mark.parametrize("case", SECRETS)
def test_a_secret_is_found_and_not_printed(case: str) -> None:
    text, what = SECRETS[case]
    found = scan_text("a.txt", f"first line\n{text}\n")
    assert [finding.line for finding in found] == [2]
    line = str(found[0])
    assert what in line
    assert line.startswith("a.txt:2: ")
    assert "revoke it" in line
    # The host of an address is said, the first four characters of a token, and nothing more of it.
    assert not any(part in line for part in (noise(8), UPPER[4:12], hexes(8), "AgEIcHlw", "ant-api03", "T0AB1CD2E"))


@pytest.mark.parametrize("case", HARMLESS)
def test_what_only_looks_like_a_secret_is_left_alone(case: str) -> None:
    assert scan_text("a.txt", HARMLESS[case]) == []


@pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "])
def test_a_private_key_is_found_at_its_first_line(kind: str) -> None:
    body = "\n".join(noise(64, str(number)) for number in range(4))
    found = scan_text("key.pem", "a\n\n" + HEAD.format(kind) + body)
    assert [(finding.line, finding.message.split(";")[0]) for finding in found] == [(3, "a private key")]


def test_a_private_key_in_a_string_and_one_with_headers_are_found() -> None:
    body = noise(64) + "\\n" + noise(64, "b")
    assert scan_text("a.json", '{"key": "' + HEAD.format("").strip() + "\\n" + body + '"}')
    headers = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,ABC\n\n"
    assert scan_text("a.pem", HEAD.format("RSA ") + headers + noise(64))


@pytest.mark.parametrize("words", ["pragma: allowlist secret", "gitleaks:allow"])
def test_a_line_that_its_author_marks_is_taken_as_read(words: str) -> None:
    secret = SECRETS["github"][0]
    assert scan_text("a.py", f"x = '{secret}'  # {words}") == []
    assert scan_text("a.py", f"# {words}\nx = '{secret}'") == []
    assert scan_text("a.py", f"# {words}\n\nx = '{secret}'") != []


def test_tracked_text_is_searched_and_nothing_else(tmp_path: Path) -> None:
    secret = SECRETS["github"][0]
    project = Project(tmp_path, {"a.py": "A = 1\n", "folder/b.env.example": f"TOKEN={secret}\n"})
    project.write({"untracked.txt": secret})
    (project.root / "picture.bin").write_bytes(b"\0\1\2" + secret.encode())
    project.git("add", "picture.bin")
    status, lines = project.check("secrets")
    assert status == 1
    assert [line.split(": ")[0] for line in lines] == ["folder/b.env.example:1", "secrets"]
    assert secret not in "\n".join(lines)


def test_files_whose_names_mean_secrets_are_found_unless_they_are_empty(tmp_path: Path) -> None:
    project = Project(
        tmp_path, {".env": "A=1\n", "keys/id_rsa": "x", "store.p12": "x", "other/.env": "", ".envrc": "x"}
    )
    lines = project.check("secrets")[1]
    assert [line.split(": ")[0] for line in lines] == [".env", "keys/id_rsa", "store.p12", "secrets"]


def test_a_file_too_large_to_search_is_said_and_one_that_is_allowed_is_not(tmp_path: Path) -> None:
    project = Project(
        tmp_path, {"pyproject.toml": '[tool.vespera.checks]\nsecrets-allow = ["data/*"]\n', "data/a.env": ""}
    )
    for name in ("huge.txt", "data/huge.txt"):
        with (project.root / name).open("wb") as file:
            file.truncate(16 * 1024 * 1024 + 1)
    project.write({"data/.env": "A=1"})
    project.commit()
    lines = project.check("secrets")[1]
    assert len(lines) == 2
    assert lines[0].startswith("huge.txt: 16777217 bytes are too many")


def test_entropy_is_in_bits_per_character() -> None:
    assert entropy("aaaa") == 0
    assert entropy("abab") == 1
    assert entropy("abcd") == 2
