"""Built distributions: which are the newest, what is in them, and what they say of themselves.

It reads wheels and sdists and judges nothing; `contents`, `metadata` and `wheel` do.
"""

from __future__ import annotations

import re
import tarfile
import zipfile
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from pathlib import Path, PurePosixPath
from typing import Final, final

from vespera_agents.capabilities.checks.findings import CannotCheck

__all__ = ["DIST_FOLDERS", "Distribution", "console_scripts", "newest_sdist", "newest_wheel", "top_level_names"]

DIST_FOLDERS: Final = (".vespera/dist", "dist")
"""Where distributions are looked for when no folder is named."""
_METADATA_BYTES_MAX: Final = 4 * 1024 * 1024


@final
@dataclass(frozen=True, slots=True)
class Distribution:
    """One built file."""

    path: Path
    names: tuple[str, ...]
    """The files in it, without the folder that an sdist puts around them."""
    metadata: Message
    """Its METADATA or PKG-INFO."""

    @property
    def file(self) -> str:
        """Give its file name."""
        return self.path.name

    def header(self, name: str) -> str:
        """Give what a field of its metadata says, empty when it is not there."""
        value: object = self.metadata.get(name)
        return "" if value is None else str(value).strip()

    def headers(self, name: str) -> list[str]:
        """Give every value of a field that may come more than once."""
        return [value.strip() for value in self.metadata.get_all(name, [])]

    def description(self) -> str:
        """Give the long description."""
        body: object = self.metadata.get_payload()
        return str(body).strip() or self.header("Description")


def newest_wheel(root: Path, folder: str | None = None) -> Distribution:
    """Read the wheel that was built last.

    Raises:
        CannotCheck: there is none, or it is broken.
    """
    path = _newest(root, folder, "*.whl")
    try:
        with zipfile.ZipFile(path) as archive:
            names = tuple(name for name in archive.namelist() if not name.endswith("/"))
            metadata = next((name for name in names if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)), None)
            if metadata is None:
                raise CannotCheck(f"{path.name} has no METADATA, so it is no wheel; build it again")
            with archive.open(metadata) as file:
                return Distribution(path, names, message_from_bytes(file.read(_METADATA_BYTES_MAX)))
    except (OSError, zipfile.BadZipFile) as error:
        raise CannotCheck(f"{path.name} cannot be read ({error}); build it again") from error


def newest_sdist(root: Path, folder: str | None = None) -> Distribution:
    """Read the sdist that was built last.

    Raises:
        CannotCheck: there is none, or it is broken.
    """
    path = _newest(root, folder, "*.tar.gz")
    try:
        with tarfile.open(path) as archive:
            inside = {member.name.partition("/")[2]: member for member in archive.getmembers() if not member.isdir()}
            info = archive.extractfile(inside["PKG-INFO"]) if "PKG-INFO" in inside else None
            if info is None:
                raise CannotCheck(f"{path.name} has no PKG-INFO, so it is no sdist; build it again")
            return Distribution(path, tuple(inside), message_from_bytes(info.read(_METADATA_BYTES_MAX)))
    except (OSError, tarfile.TarError) as error:
        raise CannotCheck(f"{path.name} cannot be read ({error}); build it again") from error


def _newest(root: Path, folder: str | None, pattern: str) -> Path:
    folders = DIST_FOLDERS if folder is None else (folder,)
    found = [path for name in folders for path in (root / name).glob(pattern)]
    if not found:
        where = " or ".join(folders)
        raise CannotCheck(f"there is no {pattern} in {where}; build it: python -m build --outdir {folders[0]}")
    return max(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


def top_level_names(wheel: Distribution) -> list[str]:
    """Give what an installed wheel lets people import: its packages and modules at the top."""
    names: set[str] = set()
    for name in wheel.names:
        parts = PurePosixPath(name).parts
        if parts[0].endswith(".data"):
            # Packages for the platform's own folder lie one level deeper; scripts and headers are not imported.
            parts = parts[2:] if parts[1] in {"purelib", "platlib"} else ()
        if not parts or parts[0].endswith(".dist-info"):
            continue
        first = parts[0].partition(".")[0] if len(parts) == 1 else parts[0]
        if parts[-1].endswith((".py", ".so", ".pyd")) and first.isidentifier():
            names.add(first)
    return sorted(names)


def console_scripts(wheel: Distribution) -> list[tuple[str, str]]:
    """Give the commands that a wheel installs, each with the `module:function` that it calls."""
    with zipfile.ZipFile(wheel.path) as archive:
        place = next((name for name in wheel.names if name.endswith(".dist-info/entry_points.txt")), None)
        text = "" if place is None else archive.read(place).decode(errors="replace")
    found: list[tuple[str, str]] = []
    section = ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[] \t")
        elif section in {"console_scripts", "gui_scripts"} and "=" in line:
            name, _, target = line.partition("=")
            found.append((name.strip(), target.partition("[")[0].strip()))
    return found
