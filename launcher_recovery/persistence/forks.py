"""Around `os.fork`: connections, locks and threads are put away before it and begun anew behind it.

SQLite counts its file locks for the whole process, so that a child which inherits an open connection, or merely opens
the same file beside it, works without locks (https://sqlite.org/howtocorrupt.html, section 2.6). What is closed before
the fork cannot go wrong; both sides open it again when they need it.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections.abc import Callable
from typing import Protocol


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


def _after(child: bool) -> None:
    for item in _forking:
        item.after_fork(child)
    _forking.clear()
    _lock.release()
    for function in _in_child if child else ():
        function()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=lambda: _after(False), after_in_child=lambda: _after(True))
