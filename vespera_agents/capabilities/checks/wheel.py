"""The wheel check: the newest wheel installs into an empty environment, and everything in it can be imported.

pip fetches what the wheel says it needs, through its ordinary client and configuration. The environment is made for
this, in a temporary directory, and goes away with it. What the packages do is the business of the project's tests.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from vespera_agents.capabilities.checks.distributions import (
    Distribution,
    console_scripts,
    newest_wheel,
    top_level_names,
)
from vespera_agents.capabilities.checks.findings import CannotCheck, Finding
from vespera_agents.capabilities.checks.project import Ran, project_python, run
from vespera_agents.capabilities.environment import command_environment

__all__ = ["find_install_faults"]

INSTALL_TIMEOUT_SECONDS: Final = 600.0
IMPORT_TIMEOUT_SECONDS: Final = 60.0
_SETUP_TIMEOUT_SECONDS: Final = 120.0
_NO_ANSWER: Final = re.compile(
    r"Temporary failure|Connection (?:refused|reset|timed out)|NewConnectionError|ConnectTimeout|ReadTimeout|"
    r"Network is unreachable|getaddrinfo|Name or service not known|Max retries exceeded|ProxyError",
)
_NOT_FOUND: Final = re.compile(
    r"No matching distribution found for (\S+)|Could not find a version that satisfies the requirement (\S+)"
)

_IMPORT: Final = """
import importlib, json, sys
kind, target = json.loads(sys.argv[1])
module, _, path = target.partition(":")
found = importlib.import_module(module)
for name in filter(None, path.split(".")):
    found = getattr(found, name)
if kind == "command" and not callable(found):
    raise TypeError(f"{target} cannot be called")
"""


def find_install_faults(root: Path, folder: str | None = None) -> list[Finding]:
    """Install the newest wheel, import each of its packages, and load each of its commands.

    Raises:
        CannotCheck: there is no wheel, or no registry answers.
    """
    wheel = newest_wheel(root, folder)
    base = command_environment(root, os.environ, {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"})
    # The empty environment must not see the sources, nor what the user installed for himself.
    environment = {name: value for name, value in base.items() if name != "PYTHONPATH"} | {"PYTHONNOUSERSITE": "1"}
    names = top_level_names(wheel)
    if not names:
        return [
            Finding(
                wheel.file, None, "holds nothing that can be imported; name its packages in the build's configuration"
            )
        ]
    with tempfile.TemporaryDirectory(prefix="vespera-wheel-") as place:
        python, pip = _make_environment(Path(place), environment)
        fault = _install(wheel, pip, Path(place), environment)
        if fault is not None:
            return [fault]
        wanted = [("import", name) for name in names]
        wanted += [("command", target) for _, target in console_scripts(wheel)]
        findings: list[Finding] = []
        for kind, target in dict.fromkeys(wanted):
            # -I: neither the current directory nor the user's environment may supply what the wheel lacks.
            ran = run(
                [python, "-I", "-c", _IMPORT, json.dumps([kind, target])],
                directory=Path(place),
                environment=environment,
                timeout_seconds=IMPORT_TIMEOUT_SECONDS,
            )
            if ran.status != 0:
                findings.append(_import_finding(wheel, kind, target, ran))
        return findings


def _import_finding(wheel: Distribution, kind: str, target: str, ran: Ran) -> Finding:
    what = f"import {target}" if kind == "import" else f"the command that calls {target}"
    if ran.status is None:
        return Finding(wheel.file, None, f"{what} takes more than {IMPORT_TIMEOUT_SECONDS:.6g} s; do less at import")
    reason = ran.last_lines()
    advice = "declare it as a dependency or include it in the wheel" if "No module named" in reason else "repair it"
    return Finding(wheel.file, None, f"{what} fails once installed: {reason}; {advice}")


def _make_environment(place: Path, environment: Mapping[str, str]) -> tuple[Path, list[str | Path]]:
    """Make an empty environment; give its Python and the pip that installs into it."""
    outer = project_python(environment)
    python = place / "venv" / "bin" / "python"
    # An outer pip that can serve another environment saves the seconds that a pip of its own would cost.
    version = run([outer, "-m", "pip", "--version"], directory=place, environment=environment, timeout_seconds=60)
    found = re.match(r"pip (\d+)\.(\d+)", version.output) if version.status == 0 else None
    has_pip = found is not None and (int(found[1]), int(found[2])) >= (22, 3)
    flags = ["--without-pip"] if has_pip else []
    made = run(
        [outer, "-m", "venv", *flags, place / "venv"],
        directory=place,
        environment=environment,
        timeout_seconds=_SETUP_TIMEOUT_SECONDS,
    )
    if made.status != 0:
        raise CannotCheck(f"{outer} cannot make an environment: {made.last_lines(2)}; install its venv module")
    return python, [outer, "-m", "pip", "--python", python] if has_pip else [python, "-m", "pip"]


def _install(wheel: Distribution, pip: list[str | Path], place: Path, environment: Mapping[str, str]) -> Finding | None:
    ran = run(
        [*pip, "install", "--quiet", "--no-warn-script-location", wheel.path],
        directory=place,
        environment=environment,
        timeout_seconds=INSTALL_TIMEOUT_SECONDS,
    )
    if ran.status == 0:
        return None
    if ran.status is None:
        raise CannotCheck(f"pip did not end within {INSTALL_TIMEOUT_SECONDS:.6g} s; look at the network and try again")
    if _NO_ANSWER.search(ran.output):
        raise CannotCheck(
            f"no registry answers pip, so nothing is known of the wheel: {ran.last_lines()}; try again later"
        )
    missing = _NOT_FOUND.search(ran.output)
    if missing is not None:
        what = missing[1] or missing[2]
        return Finding(wheel.file, None, f"needs {what}, which pip finds nowhere; correct the dependency")
    return Finding(wheel.file, None, f"does not install: {ran.last_lines(2)}; repair it")
