"""Checks of a Python project before a release, for which there is no well-kept tool or which must fit any project.

catalogue      CHECKS by name, and run_check
findings       what a check says
project        the project as the checks see it: git's files, configuration, Python
tree           git-clean, large-files
secret_scan    secrets
links          links
changelog      changelog
examples       examples
distributions  built files; contents, metadata and wheel judge them
uses           uses: the conditions of a plan
"""

from vespera_agents.capabilities.checks.catalogue import CHECKS, CLEAN, FOUND, UNCHECKED, Check, run_check
from vespera_agents.capabilities.checks.findings import CannotCheck, Finding

__all__ = ["CHECKS", "CLEAN", "FOUND", "UNCHECKED", "CannotCheck", "Check", "Finding", "run_check"]
