"""Around `os.fork`: connections, locks and threads are put away before it and begun anew behind it.

SQLite counts its file locks for the whole process, so that a child which inherits an open connection, or merely opens
the same file beside it, works without locks (https://sqlite.org/howtocorrupt.html, section 2.6). What is closed before
the fork cannot go wrong; both sides open it again when they need it.

A module that another thread is in the middle of importing would never be there in the child, and its imports would wait
for ever for that thread. So a fork waits until no thread imports anything, and none begins to until the fork is over.
"""

from __future__ import annotations

import _imp
import importlib
import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol

_IMPORTS_END_WITHIN_S = 10.0
"""One that takes longer may wait for the forking thread itself."""

_LOOK_S = 0.001


class Forkable(Protocol):
    """What `register` takes."""

    def before_fork(self) -> None:
        """Wait until nothing is under way, and put away what must not be inherited; nothing begins until `after`."""

    def after_fork(self, in_child: bool) -> None:
        """Go on; in the child with new locks, since threads that held or awaited the old ones do not exist there."""


_lock = threading.Lock()
# In the order in which they came; one entry costs the same however many there are, as each call may have a store.
_known: weakref.WeakValueDictionary[int, Forkable] = weakref.WeakValueDictionary()
_numbers = itertools.count()
_forking: list[Forkable] = []
_in_child: list[Callable[[], None]] = []
_waited_for: list[Callable[[], object]] = []


def register(item: Forkable) -> None:
    """Call the two methods around every fork while `item` lives."""
    _known[next(_numbers)] = item


def wait_first(function: Callable[[], object]) -> None:
    """Call `function` before every fork while all is still in use: it waits for a thread that needs that to end."""
    with _lock:
        _waited_for.append(function)


def in_child(function: Callable[[], None]) -> None:
    """Call `function` in every forked child, when what was registered is usable again."""
    _in_child.append(function)


def _before() -> None:
    for function in list(_waited_for):
        function()
    _lock.acquire()
    # Kept for `_after`: what was made in the meantime was not stopped. The references, since others may register now.
    _forking[:] = [item for known in _known.valuerefs() if (item := known()) is not None]
    # Who stands before another one registers later, and lets go of it first.
    for item in reversed(_forking):
        item.before_fork()
    _hold_imports()


def _hold_imports() -> None:
    until = time.monotonic() + _IMPORTS_END_WITHIN_S
    while True:
        _imp.acquire_lock()  # who begins to import a module needs it for a moment
        if not _is_imported_elsewhere() or time.monotonic() > until:
            return
        _imp.release_lock()
        time.sleep(_LOOK_S)


def _is_imported_elsewhere() -> bool:
    """Whether another thread is in the middle of importing a module."""
    locks: dict[str, Any] = getattr(importlib, "_bootstrap")._module_locks  # noqa: B009
    owners = {getattr(reference(), "owner", None) for reference in list(locks.values())}
    return not owners <= {None, threading.get_ident()}


def _after(child: bool) -> None:
    _imp.release_lock()
    for item in _forking:
        item.after_fork(child)
    _forking.clear()
    _lock.release()
    for function in _in_child if child else ():
        function()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=lambda: _after(False), after_in_child=lambda: _after(True))
