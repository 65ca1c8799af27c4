"""Who runs operations: this process's identity, and whether other owners are still alive."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import uuid
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from weakref import WeakKeyDictionary

from launcher_recovery.clock import Clock
from launcher_recovery.errors import StoreError
from launcher_recovery.handles import handles_of
from launcher_recovery.persistence import forks
from launcher_recovery.persistence.base import Owner, OwnerRow, Store, beneath

logger = logging.getLogger("launcher_recovery")

HEARTBEAT_S = 10.0
LEASE_S = 40.0


def _host() -> str:
    """The machine, and on Linux its process-id namespace, within which a process id means something."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{socket.gethostname()}{namespace}"


def start_time(pid: int) -> str | None:
    """When the process with this id was started, as text to compare; None when there is no such process.

    On Linux from /proc (clock ticks since boot, and the boot's id), so that a change of the system clock is no
    change of the answer; elsewhere from psutil.
    """
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()  # the name in parentheses may hold spaces
        return None if fields[0] in "ZX" else f"{boot}/{fields[19]}"
    import psutil  # everywhere else

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.0f}"
    except psutil.NoSuchProcess:
        return None


def this_process() -> Owner:
    """A new identity for this process."""
    pid = os.getpid()
    return Owner(uuid.uuid4().hex, _host(), pid, start_time(pid) or "")


OWNER = this_process()
"""The identity under which this process runs operations; a forked child gets one of its own, under the same name."""


def is_alive(row: OwnerRow, now: float, host: str = OWNER.host) -> bool:
    """Whether the owner still lives: on this machine by process id and start time, elsewhere by its lease."""
    if row.owner.host == host:
        return start_time(row.owner.pid) == row.owner.started
    return now - row.heartbeat_at < LEASE_S


def dead_owners(rows: Iterable[OwnerRow], now: float) -> set[str]:
    """Ids of the owners that no longer live."""
    return {row.owner.owner_id for row in rows if not is_alive(row, now)}


def living_owners(rows: Iterable[OwnerRow], now: float) -> set[str]:
    """Ids of the owners that live."""
    return {row.owner.owner_id for row in rows if is_alive(row, now)}


_beating: WeakKeyDictionary[Store, Heartbeat] = WeakKeyDictionary()
_beating_lock = threading.Lock()


def keep_alive(store: Store) -> None:
    """Enter this process among the owners of `store`, once, and keep it there while the process lives."""
    with _beating_lock:
        if beneath(store) not in _beating:
            heartbeat = Heartbeat(store)
            heartbeat.start()
            _beating[beneath(store)] = heartbeat


def introduce(store: Store, about: str) -> None:
    """Have this process's row among the owners of `store`, and of others later, tell this of it; forked children, too.

    Args:
        about: JSON, without secrets.

    Raises:
        StoreError: it is not told now, but with the next heartbeat.
    """
    object.__setattr__(OWNER, "about", about)
    keep_alive(store)
    store.heartbeat(OWNER, Clock().time())


def let_go(store: Store) -> None:
    """Undo `keep_alive`."""
    with _beating_lock:
        heartbeat = _beating.pop(beneath(store), None)
    if heartbeat is not None:
        heartbeat.stop()


def _become_another() -> None:
    """In a forked child: what the parent runs is not ours, and its heart does not beat here."""
    global _beating_lock
    _beating_lock = threading.Lock()
    # In place, since many modules hold the object: each that asks it for the id from now on gets the new one.
    for name, value in vars(replace(this_process(), about=OWNER.about)).items():
        object.__setattr__(OWNER, name, value)
    stores = [heartbeat.store for heartbeat in _beating.values()]
    _beating.clear()
    for store in stores:
        try:
            keep_alive(store)
        except StoreError as error:
            logger.warning("a forked process could not be entered among the owners: %s", error)


forks.in_child(_become_another)


class Heartbeat:
    """Keeps this process's row among the owners fresh, from a daemon thread, until `stop`."""

    def __init__(self, store: Store, owner: Owner = OWNER, clock: Clock | None = None) -> None:
        self.store = store
        self._owner = owner
        self._clock = clock or Clock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recovery-heartbeat", daemon=True)

    def start(self) -> None:
        """Enter the owner now, and begin."""
        self.store.heartbeat(self._owner, self._clock.time())
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            try:
                self.store.heartbeat(self._owner, self._clock.time())
                handles_of(self.store).do_what_is_left()
            except StoreError:
                continue  # the store says so itself; the next beat may work
            except Exception:  # a store of one's own may raise anything; without beats this process counts as dead
                logger.exception("this process could not be kept among the owners; tried again in %g s", HEARTBEAT_S)

    def stop(self) -> None:
        """End, and take the owner out: what it had not finished is free for others."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        try:
            self.store.forget_owner(self._owner.owner_id)
        except StoreError:
            pass  # it expires by its lease
