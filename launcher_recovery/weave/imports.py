"""Tells of modules at the moment when their body has ended, before whoever imports them binds a name of theirs.

As wrapt's post-import hooks do, and also when a module is reloaded, which those tell only once.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Collection, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class Watcher:
    """Finds nothing itself: it asks the other finders, and stands around the loader that one of them found.

    Args:
        wanted: full names of modules; asked again with every import.
        told: called with a module whose body has ended; must not raise.
    """

    def __init__(self, wanted: Collection[str], told: Callable[[ModuleType], object]) -> None:
        self._wanted = wanted
        self._told = told
        self._busy = threading.local()

    def install(self) -> None:
        """Be asked before all other finders."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def uninstall(self) -> None:
        """Undo `install`."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that another finder has, with the loader watched; see `importlib.abc.MetaPathFinder`."""
        if fullname not in self._wanted or fullname in self._asking():
            return None
        self._asking().add(fullname)  # another that asks all finders, as wrapt's does, asks us again
        try:
            for finder in list(sys.meta_path):
                find = None if finder is self else getattr(finder, "find_spec", None)
                spec: ModuleSpec | None = None if find is None else find(fullname, path, target)
                if spec is not None:
                    self._watch(spec)
                    return spec
        finally:
            self._asking().discard(fullname)
        return None

    def _asking(self) -> set[str]:
        if not hasattr(self._busy, "names"):
            self._busy.names = set()
        names: set[str] = self._busy.names
        return names

    def _watch(self, spec: ModuleSpec) -> None:
        loader: Any = spec.loader
        execute = getattr(loader, "exec_module", None)
        if execute is None or isinstance(loader, type):  # of what is built in; that is no launcher's
            return

        def exec_module(module: ModuleType) -> None:
            if getattr(module.__spec__, "name", None) != spec.name:  # one loader for all modules of a zip file
                execute(module)
                return
            loader.__dict__.pop("exec_module", None)
            execute(module)
            self._told(module)

        try:
            loader.exec_module = exec_module  # of this one object, which keeps its class and all else
        except AttributeError:
            return
