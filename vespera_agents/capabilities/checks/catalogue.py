"""Every check by its name, and the one way to run one: findings on lines, an exit status for programs.

`vespera check` and `python -m vespera_agents.capabilities.checks` both end here. The checks themselves know neither
lines nor statuses. Each is imported when it is asked for: a plan starts dozens of these processes, most of them to ask
what the project uses.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast, final

from vespera_agents.capabilities.checks.findings import CannotCheck, Finding

if TYPE_CHECKING:
    from vespera_agents.capabilities.checks.uses import Answer

__all__ = ["CHECKS", "CLEAN", "FOUND", "UNCHECKED", "Check", "run_check"]

CLEAN: Final = 0
"""Exit status: nothing was found, or a condition holds."""
FOUND: Final = 1
"""Exit status: there are findings, or a condition does not hold."""
UNCHECKED: Final = 2
"""Exit status: there was nothing to judge."""

Write = Callable[[str], None]
"""Takes one line of the result."""


@final
@dataclass(frozen=True, slots=True)
class Check:
    """One check."""

    name: str
    summary: str
    """One line that says what it looks at."""
    arguments: str
    """What it takes beside the project, as a usage line shows it; empty when it takes nothing."""
    run: Callable[[Path, Sequence[str], Write], int]
    """Looks at a project and gives the exit status."""


def run_check(name: str, root: Path, arguments: Sequence[str] = (), *, write: Write | None = None) -> int:
    """Run one check on the project in `root` and write what it finds, one finding per line.

    Args:
        name: one of `CHECKS`.
        root: the project's directory.
        arguments: what the check takes beside the project.
        write: takes each line; standard output unless said otherwise.

    Returns:
        CLEAN, FOUND or UNCHECKED.
    """
    say = _to_standard_output if write is None else write
    check = CHECKS.get(name)
    if check is None:
        say(f"{name}: there is no such check; these are: {', '.join(CHECKS)}")
        return UNCHECKED
    if not root.is_dir():
        say(f"{name}: {root} is no directory; name the project's directory")
        return UNCHECKED
    try:
        return check.run(root.resolve(), tuple(arguments), say)
    except CannotCheck as error:
        say(f"{name}: cannot check: {error}")
        return UNCHECKED


def _to_standard_output(line: str) -> None:
    # A file name need not be valid text.
    sys.stdout.write(line.encode(errors="backslashreplace").decode() + "\n")


def _plain(name: str, summary: str, place: str) -> Check:
    """Make a check that takes nothing beside the project; `place` is its `module:function`."""

    def run(root: Path, arguments: Sequence[str], write: Write) -> int:
        if arguments:
            raise CannotCheck(f"takes no argument, and got {' '.join(arguments)}; leave it out")
        find = cast("Callable[[Path], list[Finding]]", _load(place))
        return _report(name, find(root), write)

    return Check(name, summary, "", run)


def _of_distributions(name: str, summary: str, place: str) -> Check:
    """Make a check that takes the folder of the distributions; `place` is its `module:function`."""

    def run(root: Path, arguments: Sequence[str], write: Write) -> int:
        if len(arguments) > 1:
            raise CannotCheck("takes one folder of distributions; name one, such as dist")
        find = cast("Callable[[Path, str | None], list[Finding]]", _load(place))
        return _report(name, find(root, arguments[0] if arguments else None), write)

    return Check(name, summary, "[FOLDER]", run)


def _load(place: str) -> object:
    module, _, function = place.partition(":")
    return getattr(import_module(f"vespera_agents.capabilities.checks.{module}"), function)


def _report(name: str, findings: Sequence[Finding], write: Write) -> int:
    for finding in findings:
        write(str(finding))
    count = "clean" if not findings else "1 finding" if len(findings) == 1 else f"{len(findings)} findings"
    write(f"{name}: {count}")
    return FOUND if findings else CLEAN


def _answer(root: Path, arguments: Sequence[str], write: Write) -> int:
    """Say whether the project uses at least one of several things."""
    if not arguments:
        raise CannotCheck("name what to ask for, such as: uses pytest")
    ask = cast("Callable[[Path, str], Answer]", _load("uses:uses"))
    answers = [(topic, ask(root, topic)) for topic in arguments]
    for topic, answer in answers:
        write(f"{topic}: {'yes' if answer.holds else 'no'}: {answer.reason}")
    return CLEAN if any(answer.holds for _, answer in answers) else FOUND


CHECKS: Final[Mapping[str, Check]] = {
    check.name: check
    for check in (
        _plain(
            "changelog",
            "The changelog has an entry for what is about to be released.",
            "changelog:find_changelog_faults",
        ),
        _of_distributions(
            "contents",
            "The distributions hold every module, and nothing of one machine.",
            "contents:find_content_faults",
        ),
        _plain("examples", "Every program in examples/ runs to its end.", "examples:find_failing_examples"),
        _plain("git-clean", "Everything is committed.", "tree:find_uncommitted"),
        _plain("large-files", "Git tracks no file above a megabyte.", "tree:find_large_files"),
        _plain("links", "Relative links and anchors of the README and docs lead somewhere.", "links:find_dead_links"),
        _of_distributions(
            "metadata",
            "The package's metadata is complete, and the distributions agree.",
            "metadata:find_metadata_faults",
        ),
        _plain("secrets", "No key, token or password is in a tracked file.", "secret_scan:find_secrets"),
        Check("uses", "Whether the project uses a tool: a condition for plans.", "TOPIC...", _answer),
        _of_distributions(
            "wheel", "The wheel installs into an empty environment and can be imported.", "wheel:find_install_faults"
        ),
    )
}
"""Every check, by name."""
