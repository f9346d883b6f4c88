"""Packages whose own names nobody here asks for: they are run when somebody does, and their modules at once.

`mcp` and `mcp.server` import the library's clients and its other kind of server for whoever says `from mcp import
Client`. A worker needs neither, only modules below them, and these two took 80 ms of the 690 that it imports for.
Neighbours: `wishes.imported` calls it before anything of theirs is imported.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec

__all__ = ["postpone"]


def postpone(package: str) -> None:
    """Let a package be run when somebody asks for a name in it; one that has been run already stays.

    Args:
        package: its name; the packages around it have been postponed before.
    """
    spec = None if package in sys.modules else find_spec(package)
    if spec is None or spec.loader is None:
        return
    module, loader = module_from_spec(spec), spec.loader

    def found(name: str) -> object:
        # What the interpreter and the inspecting ask every module for is nobody's wish.
        if name.startswith("__") or module.__dict__.pop("__getattr__", None) is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        loader.exec_module(module)
        return getattr(module, name)

    module.__dict__["__getattr__"] = found
    sys.modules[package] = module
    around, _, name = package.rpartition(".")
    if around:
        setattr(sys.modules[around], name, module)
