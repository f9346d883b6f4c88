"""The secret check: keys, tokens and passwords in the files that git tracks.

It looks at shapes that issuers gave their tokens, and at values under telling names when they look random. What it
finds is never printed whole. A line that holds the words of `PRAGMAS`, or follows a line that does, is taken as read;
so are the files that `[tool.vespera.checks] secrets-allow` names. It reads no history of git and asks no issuer.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, final

from vespera_agents.capabilities.checks.findings import CannotCheck, Finding
from vespera_agents.capabilities.checks.project import TEXT_BYTES_MAX, allowed, read_text, tracked_files

__all__ = ["PRAGMAS", "find_secrets", "scan_text"]

PRAGMAS: Final = ("pragma: allowlist secret", "gitleaks:allow")
"""What people already write beside a value that is no secret: detect-secrets' and gitleaks' words."""

_ADVICE: Final = f"revoke it and take it out of git's history; if it is no secret, write `{PRAGMAS[0]}` beside it"
_FILE_ADVICE: Final = "take it out of git, or allow it under [tool.vespera.checks] secrets-allow"


@final
@dataclass(frozen=True, slots=True)
class _Shape:
    """How an issuer's secrets look."""

    name: str
    marks: tuple[str, ...]
    """One of these is in each of them: most files hold none, and looking for a word costs next to nothing."""
    pattern: re.Pattern[str]
    """Its first group, or else the whole, is the secret."""


def _shape(name: str, marks: str, pattern: str) -> _Shape:
    return _Shape(name, tuple(marks.split()), re.compile(rf"(?<![A-Za-z0-9_-])(?:{pattern})(?![A-Za-z0-9])"))


_SHAPES: Final = (
    _shape("an AWS access key", "AKIA ASIA", r"(?:AKIA|ASIA)[A-Z2-7]{16}"),
    _shape(
        "a GitHub token",
        "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
        r"gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{50,255}",
    ),
    _shape("a GitLab token", "glpat- gldt- glrt- glptt-", r"gl(?:pat|dt|rt|ptt)-[A-Za-z0-9_-]{20,64}"),
    _shape("a Slack token", "xox xapp-", r"xox[abeoprs]-[A-Za-z0-9-]{20,255}|xapp-\d-[A-Za-z0-9-]{20,255}"),
    _shape(
        "a Slack webhook",
        "hooks.slack.com",
        r"https://hooks\.slack\.com/services/(T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{20,})",
    ),
    _shape("an Anthropic key", "sk-ant-", r"sk-ant-[A-Za-z0-9_-]{32,255}"),
    _shape("an OpenAI key", "sk-", r"sk-(?!ant-)(?:(?:proj|svcacct|admin)-)?[A-Za-z0-9_-]{32,255}"),
    _shape("a Google key", "AIza GOCSPX-", r"AIza[A-Za-z0-9_-]{35}|GOCSPX-[A-Za-z0-9_-]{28}"),
    _shape("a Hugging Face token", "hf_", r"hf_[A-Za-z0-9]{34,64}"),
    _shape("a Stripe key", "k_live_", r"[rs]k_live_[A-Za-z0-9]{20,255}"),
    _shape("a PyPI token", "pypi-AgE", r"pypi-AgE[A-Za-z0-9_-]{60,1000}"),
    _shape("an npm token", "npm_", r"npm_[A-Za-z0-9]{36}"),
    _shape("a SendGrid key", "SG.", r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    _shape("a DigitalOcean token", "_v1_", r"do[opr]_v1_[a-f0-9]{64}"),
    _shape("an Azure storage key", "AccountKey=", r"AccountKey=([A-Za-z0-9+/]{86}==)"),
)
_URL: Final = re.compile(
    r"\b[a-z][a-z0-9+.-]{1,30}://([^\s/:@\"'`<>]{0,100}):([^\s/@\"'`<>]{1,200})@([\w.-]{1,200})", re.IGNORECASE
)
_NAMED: Final = re.compile(
    r"(?:api_?key|secret(?:_?key)?|(?:auth_?|access_?)?token|passw(?:or)?d|access_?key|client_?secret)"
    r"[\"']?\s{0,4}(?:=|:|=>)\s{0,4}[\"']?([A-Za-z0-9+/=_.~-]{20,300})",
    re.IGNORECASE,
)
_NAME_WORDS: Final = ("key", "secret", "token", "passw")
"""One of these is in each name that `_NAMED` knows."""
_CODE: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+\.?")
"""A name with dots is a place in a program."""
_KEY_HEAD: Final = re.compile(r"-----BEGIN (?:[A-Z]{1,12} ){0,2}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BODY: Final = re.compile(r"[A-Za-z0-9+/=]{48}")
_KEY_LOOK: Final = 600
"""Characters after a key's first line in which its body must begin."""
_PLACEHOLDER: Final = re.compile(
    r"example|sample|placeholder|changeme|change[-_]me|your|dummy|redacted|not[-_]a[-_]|x{4,}|\*{3,}|\.{3}|0{6,}|123456",
    re.IGNORECASE,
)
_PLAIN_PASSWORDS: Final = frozenset({"", "pass", "passwd", "password", "secret", "pw", "pwd", "token", "user", "x"})
_PLAIN_HOSTS: Final = re.compile(
    r"localhost|127\.|0\.0\.0\.0|[\w-]+\.?$|.*\bexample\.(?:com|org|net)$|.*\.(?:test|invalid|local)$"
)
"""Hosts that nobody else can reach: a password for one of them is a default, not a secret."""
_SECRET_NAMES: Final = frozenset(
    {".env", ".netrc", ".pypirc", "id_dsa", "id_ecdsa", "id_ed25519", "id_rsa", "credentials.json"}
)
_SECRET_SUFFIXES: Final = (".p12", ".pfx", ".jks", ".keystore", ".kdbx")


def find_secrets(root: Path) -> list[Finding]:
    """Find what looks like a secret in the tracked files."""
    names = tracked_files(root)
    if not names:
        raise CannotCheck("git tracks no file here; git add what belongs to the project")
    skipped = allowed(root, "secrets-allow", names)
    findings: list[Finding] = []
    for name in names:
        if name not in skipped:
            findings.extend(_scan_file(root / name, name))
    return findings


def _scan_file(path: Path, name: str) -> Iterator[Finding]:
    place = PurePosixPath(name)
    size = path.stat().st_size
    if size and (place.name in _SECRET_NAMES or place.suffix in _SECRET_SUFFIXES):
        yield Finding(name, None, f"files of this name hold secrets; {_FILE_ADVICE}")
        return
    if size > TEXT_BYTES_MAX:
        yield Finding(name, None, f"{size} bytes are too many to look for secrets; {_FILE_ADVICE}")
        return
    text = read_text(path)
    if text is not None:
        yield from scan_text(name, text)


def scan_text(name: str, text: str) -> list[Finding]:
    """Find what looks like a secret in one text."""
    lines = text.split("\n")
    shapes = [shape for shape in _SHAPES if any(mark in text for mark in shape.marks)]
    found: dict[int, str] = {}
    for head in _KEY_HEAD.finditer(text):
        after = re.sub(
            r"\\[nr]|[\s\"'+,]|^[A-Za-z-]+: .*$", "", text[head.end() : head.end() + _KEY_LOOK], flags=re.MULTILINE
        )
        if _KEY_BODY.match(after):
            found[text.count("\n", 0, head.start())] = "a private key"
    for number, line in enumerate(lines):
        what = found.get(number) or _secret_in(line, shapes)
        if what is not None:
            found[number] = what
    return [
        Finding(name, number + 1, f"{what}; {_ADVICE}")
        for number, what in sorted(found.items())
        if not any(words in line for words in PRAGMAS for line in lines[max(0, number - 1) : number + 1])
    ]


def _secret_in(line: str, shapes: Sequence[_Shape]) -> str | None:
    for shape in shapes:
        for match in shape.pattern.finditer(line):
            secret = match[match.lastindex or 0]
            if not _PLACEHOLDER.search(secret) and entropy(secret) >= 3:  # noqa: PLR2004 - bits per character
                return f"{shape.name} ({secret[:4]}…, {len(secret)} characters)"
    if "://" in line and "@" in line:
        for match in _URL.finditer(line):
            user, password, host = match[1], match[2], match[3]
            if _is_real_password(user, password, host):
                return f"a password in an address of {host}"
    lowered = line.lower()
    if any(word in lowered for word in _NAME_WORDS):
        for match in _NAMED.finditer(line):
            if _looks_random(match[1]):
                return f"a value that looks like a secret ({match[1][:2]}…, {len(match[1])} characters)"
    return None


def _is_real_password(user: str, password: str, host: str) -> bool:
    if password.lower() in _PLAIN_PASSWORDS | {user.lower()} or _PLAIN_HOSTS.match(host):
        return False
    # `${TOKEN}`, `$TOKEN`, `{token}`, `%s`: a place where a secret is put later.
    return re.search(r"[${}%*()\[\]]", password) is None and _PLACEHOLDER.search(password) is None


def _looks_random(value: str) -> bool:
    if _PLACEHOLDER.search(value) or not re.search(r"\d", value) or not re.search(r"[A-Za-z]", value):
        return False
    if re.fullmatch(r"[0-9a-fA-F]{32,}", value):
        return entropy(value) >= 3.0  # noqa: PLR2004 - bits per character; hexadecimal digits reach 4
    if _CODE.fullmatch(value):
        return False
    # Names join words with dashes and underscores; random text has few of either.
    return len(re.findall(r"[._~-]", value)) <= len(value) // 12 and entropy(value) >= 4.0  # noqa: PLR2004


def entropy(text: str) -> float:
    """Give the bits per character that a text's own letters need."""
    total = len(text)
    return -sum(count / total * math.log2(count / total) for count in Counter(text).values())
