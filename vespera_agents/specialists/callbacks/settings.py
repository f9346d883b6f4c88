"""`[callbacks]`: whom the owner wants told of what happens, and where their secrets are to be found.

    [callbacks.chat]                       # any name
    url = "https://chat.example/hooks/vespera"
    events = ["on_task_complete", "on_error"]    # all six unless given
    secret_env = "CHAT_SECRET"             # or secret_file = "path", below the workspace unless absolute

The section counts only in a file that its owner trusted; `VESPERA_CALLBACK_URL` and its neighbours in the owner's own
environment count always. A secret is read when something is signed, and is never kept. Values only, apart from that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast, final
from urllib.parse import urlsplit

from vespera_agents.store.outbox import CallbackEvent
from vespera_agents.workspace import WorkspaceError

__all__ = ["ENVIRONMENT_TARGET", "SecretReference", "TargetSettings", "read_targets", "secret_variables"]

ENVIRONMENT_TARGET: Final = "environment"
"""The name of the target that the owner's environment gives."""
_URL: Final = "VESPERA_CALLBACK_URL"
_SECRET: Final = "VESPERA_CALLBACK_SECRET"  # noqa: S105 - the name of a variable
_SECRET_FILE: Final = "VESPERA_CALLBACK_SECRET_FILE"  # noqa: S105 - the same
_EVENTS: Final = "VESPERA_CALLBACK_EVENTS"
_PRIVATE: Final = "VESPERA_CALLBACK_PRIVATE"
SECRET_BYTES_MIN: Final = 16
_SECRET_BYTES_MAX: Final = 4_096
TARGETS_MAX: Final = 32
_NAME_MAX: Final = 64
ALL_EVENTS: Final = tuple(CallbackEvent)


@final
@dataclass(frozen=True, slots=True)
class SecretReference:
    """Where a secret is to be found; it is never here."""

    variable: str | None = None
    """A variable of the environment."""
    file: Path | None = None

    def read(self, environ: Mapping[str, str]) -> bytes:
        """Read the secret, at the moment when something is signed.

        Raises:
            WorkspaceError: it is not there, or no secret.
        """
        if self.variable is not None:
            where, data = f"the variable {self.variable}", environ.get(self.variable, "").encode()
        else:
            assert self.file is not None, "a reference names a variable or a file"
            where = f"the file {self.file}"
            try:
                with self.file.open("rb") as file:
                    data = file.read(_SECRET_BYTES_MAX + 1)
            except OSError as error:
                raise WorkspaceError(
                    f"{where} with the secret of a callback cannot be read ({error.strerror}). Correct secret_file."
                ) from None
        secret = data.strip()
        if not SECRET_BYTES_MIN <= len(secret) <= _SECRET_BYTES_MAX:
            raise WorkspaceError(
                f"{where} holds no secret of {SECRET_BYTES_MIN} to {_SECRET_BYTES_MAX} bytes. Put a random text there, "
                "for example of `openssl rand -hex 32`, and the same one at the receiver."
            )
        return secret


@final
@dataclass(frozen=True, slots=True)
class TargetSettings:
    """Somebody who is told over HTTP."""

    name: str
    url: str = field(repr=False)
    """May hold a token in its path: shown nowhere but as `place`."""
    secret: SecretReference
    events: tuple[CallbackEvent, ...] = ALL_EVENTS
    timeout_seconds: float = 10.0
    """For one attempt, from the look-up of the name to the end of the answer."""
    attempts_max: int = 12
    """Failures after which a callback is given up."""
    concurrency: int = 8
    """Requests at once."""
    backoff_seconds: float = 1.0
    """The pause after the first failure; it doubles."""
    backoff_seconds_max: float = 3_600.0
    allow_private: bool = False
    """Whether its address may be one of this machine or of a private network, and be spoken to without TLS."""
    ca_file: Path | None = None
    """Certificates that are trusted instead of the system's."""
    deadline_near_seconds: float = 3_600.0
    """How long before a task is due `on_deadline_near` is told."""

    @property
    def place(self) -> str:
        """Its address without what may be secret in it."""
        parts = urlsplit(self.url)
        port = "" if parts.port is None else f":{parts.port}"
        return f"{parts.scheme}://{parts.hostname}{port}"


_NUMBERS: Final[Mapping[str, tuple[float, float]]] = {
    "timeout_seconds": (0.05, 120.0),
    "attempts_max": (1, 100),
    "concurrency": (1, 64),
    "backoff_seconds": (0.01, 3_600.0),
    "backoff_seconds_max": (0.01, 86_400.0),
    "deadline_near_seconds": (1.0, 30 * 86_400.0),
}
_WHOLE: Final = frozenset({"attempts_max", "concurrency"})
_KNOWN: Final = frozenset({"url", "events", "secret_env", "secret_file", "allow_private", "ca_file", *_NUMBERS})


def read_targets(
    section: Mapping[str, object], directory: Path, environ: Mapping[str, str], *, trusted: bool
) -> dict[str, TargetSettings]:
    """Read whom the owner wants told, by name.

    Args:
        section: what stands below [callbacks].
        directory: the workspace: relative files are below it.
        environ: the owner's environment.
        trusted: whether the section counts.

    Raises:
        WorkspaceError: something in it is not valid; the message holds no secret and no address.
    """
    found: dict[str, TargetSettings] = {}
    own = _from_environment(environ)
    if own is not None:
        found[ENVIRONMENT_TARGET] = _target(ENVIRONMENT_TARGET, own, Path.cwd())
    if not trusted:
        return found
    for name, table in section.items():
        if not isinstance(table, dict) or not name.isprintable() or not 1 <= len(name) <= _NAME_MAX or " " in name:
            raise WorkspaceError(
                f"[callbacks] {name[:_NAME_MAX]!r} is no target. Write [callbacks.NAME] with url and secret_env below."
            )
        found[name] = _target(name, cast("dict[str, object]", table), directory)
    if len(found) > TARGETS_MAX:
        raise WorkspaceError(f"[callbacks] has {len(found)} targets, more than {TARGETS_MAX}. Remove some.")
    return found


def secret_variables(targets: Mapping[str, TargetSettings]) -> frozenset[str]:
    """Give the variables that hold secrets: no command gets them."""
    used = {target.secret.variable for target in targets.values()}
    return frozenset({_SECRET, *(name for name in used if name is not None)})


def _from_environment(environ: Mapping[str, str]) -> dict[str, object] | None:
    if not environ.get(_URL):
        return None
    table: dict[str, object] = {"url": environ[_URL], "allow_private": environ.get(_PRIVATE) == "1"}
    if environ.get(_EVENTS):
        table["events"] = environ[_EVENTS].replace(",", " ").split()
    if environ.get(_SECRET_FILE):
        return {**table, "secret_file": environ[_SECRET_FILE]}
    return {**table, "secret_env": _SECRET}


def _target(name: str, table: Mapping[str, object], directory: Path) -> TargetSettings:
    """Read one target.

    Raises:
        WorkspaceError: something in it is not valid.
    """
    try:
        return _checked(name, table, directory)
    except ValueError as error:
        raise WorkspaceError(f"[callbacks.{name}] {error}. Correct it.") from None


def _checked(name: str, table: Mapping[str, object], directory: Path) -> TargetSettings:
    unknown = sorted(set(table) - _KNOWN)
    if unknown:
        raise ValueError(f"has an unknown setting {unknown[0]!r}; known are {', '.join(sorted(_KNOWN))}")
    allow_private, ca_file = table.get("allow_private", False), table.get("ca_file")
    if not isinstance(allow_private, bool) or not isinstance(ca_file, str | None):
        raise ValueError("takes allow_private = true or false, and ca_file as a path")  # noqa: TRY004 - as the others
    target = TargetSettings(
        name,
        _url(table.get("url"), private=allow_private),
        _secret(table, directory),
        events=_events(table["events"]) if "events" in table else ALL_EVENTS,
        allow_private=allow_private,
        ca_file=None if ca_file is None else _path(directory, ca_file),
    )
    return dataclasses.replace(target, **_numbers(table))


def _url(url: object, *, private: bool) -> str:
    """Check an address; what is wrong with it is said without it."""
    if not isinstance(url, str):
        raise ValueError("needs a url")  # noqa: TRY004 - one kind of error for everything that is wrong in a file
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("has a url with letters that no address has: write them as %.. or, in a name, as xn--..")
    parts = urlsplit(url)
    if parts.scheme not in {"https", "http"} or not parts.hostname or parts.fragment:
        raise ValueError("needs a url like https://host/path")
    if parts.username is not None or parts.password is not None:
        raise ValueError("has a user or a password in its url; callbacks are proved by their signature")
    if parts.scheme == "http" and not private:
        raise ValueError("has a url without TLS, which only a private address may have: allow_private = true")
    _ = parts.port
    return url


def _secret(table: Mapping[str, object], directory: Path) -> SecretReference:
    variable, file = table.get("secret_env"), table.get("secret_file")
    if isinstance(variable, str) and variable and file is None:
        return SecretReference(variable)
    if isinstance(file, str) and file and variable is None:
        return SecretReference(file=_path(directory, file))
    raise ValueError("needs one of secret_env and secret_file, for every callback is signed")


def _events(names: object) -> tuple[CallbackEvent, ...]:
    known = f"events of {', '.join(ALL_EVENTS)}"
    if not isinstance(names, Sequence) or isinstance(names, str) or not names:
        raise ValueError(f"takes {known}")
    found: list[CallbackEvent] = []
    for name in cast("Sequence[object]", names):
        if name not in set(ALL_EVENTS):
            raise ValueError(f"has an unknown event {name!r}; it takes {known}")
        found.append(CallbackEvent(str(name)))
    return tuple(dict.fromkeys(found))


def _numbers(table: Mapping[str, object]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for key, (least, most) in _NUMBERS.items():
        number = table.get(key)
        if number is None:
            continue
        kind = int if key in _WHOLE else (int, float)
        if isinstance(number, bool) or not isinstance(number, kind) or not least <= number <= most:
            raise ValueError(f"takes {key} between {least:g} and {most:g}")
        numbers[key] = number
    return numbers


def _path(directory: Path, text: str) -> Path:
    return directory / Path(text).expanduser()
