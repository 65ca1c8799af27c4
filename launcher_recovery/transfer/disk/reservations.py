"""What downloads of this process, and of the store, still have to write to a disk, so that each counts the others."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from launcher_recovery.errors import NoSpaceError
from launcher_recovery.persistence.base import Store
from launcher_recovery.records import UNFINISHED, RecoveryData, RecoveryState, WaitingFor
from launcher_recovery.room import device_of, free_bytes
from launcher_recovery.transfer.disk.allocation import allocated_bytes
from launcher_recovery.transfer.disk.naming import partial_path

_FOR_THE_DISK = (WaitingFor.DISK_SPACE, WaitingFor.DISK)


class Reservation:
    """Bytes that one download of this process still has to write; give it back with `release`, or leave the `with`."""

    def __init__(self, owner: Reservations, device: int, remaining: int) -> None:
        self.device = device
        self.remaining = remaining
        self._owner = owner

    def update(self, remaining: int) -> None:
        """So many bytes are still to be written; costs next to nothing."""
        self.remaining = max(0, remaining)

    def release(self) -> None:
        """Nothing is to be written any more; a second time does nothing."""
        self._owner.release(self)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


class Reservations:
    """Who in this process still has to write how much to which disk. What is preallocated need not be entered: it is
    not free any more."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, in a forked child: what the parent writes is not written here."""
        self._lock = threading.Lock()
        self._held: set[Reservation] = set()
        # One for each device: a disk that does not answer holds up nobody who asks for another one.
        self._claiming: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)

    def reserve(self, folder: str | os.PathLike[str], remaining: int) -> Reservation:
        """Enter bytes that are to be written below `folder`, whether there is room for them or not."""
        return self._enter(device_of(folder), remaining)

    def claim(self, folder: str | os.PathLike[str], needed: int, queued: Callable[[], int] = lambda: 0) -> Reservation:
        """`check_room` and `reserve` in one go: of two that ask for the last room at once, one gets it.

        Args:
            queued: gives what others need that are not of this process; see `queued_bytes`. What is known of both is
                counted once: the larger one of the two counts.

        Raises:
            NoSpaceError: there is not enough room beside what others have to write.
        """
        device = device_of(folder)
        with self._lock:
            claiming = self._claiming[device]
        with claiming:
            check_room(folder, needed, lambda: max(self._sum(device), queued()))
            return self._enter(device, needed)

    def on(self, folder: str | os.PathLike[str], besides: Reservation | None = None) -> int:
        """Bytes that are still to be written to the disk of `folder`, without those of `besides`."""
        return self._sum(device_of(folder), besides)

    def _sum(self, device: int, besides: Reservation | None = None) -> int:
        with self._lock:
            return sum(one.remaining for one in self._held if one.device == device and one is not besides)

    def _enter(self, device: int, remaining: int) -> Reservation:
        made = Reservation(self, device, max(0, remaining))
        with self._lock:
            self._held.add(made)
        return made

    def release(self, reservation: Reservation) -> None:
        """See `Reservation.release`."""
        with self._lock:
            self._held.discard(reservation)


RESERVATIONS = Reservations()
"""Those of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=RESERVATIONS.forget)


def check_room(folder: str | os.PathLike[str], needed: int, reserved: int | Callable[[], int] = 0) -> None:
    """Return if `needed` more bytes fit on the disk of `folder`, beside what is reserved for others.

    Args:
        folder: need not be there yet.
        needed: bytes; 0 always fits.
        reserved: bytes that others are going to write, or a function that gives them: that is asked again while
            somebody waits for the room.

    Raises:
        NoSpaceError: they do not fit.
        OSError: the disk cannot be asked.
    """

    def look() -> tuple[int, int]:
        return needed + (reserved() if callable(reserved) else reserved), free_bytes(folder)

    if needed <= 0:
        return
    in_all, free = look()
    if in_all > free:
        raise NoSpaceError(os.fspath(folder), in_all, free, look=look)


def queued_bytes(
    store: Store,
    folder: str | os.PathLike[str],
    exclude_operation_id: str | None = None,
    *,
    staging: Path | None = None,
) -> int:
    """Bytes that other downloads of the store, of any process, still have to write to the disk of `folder`.

    Counted are those that run, wait for another attempt or stand in a queue, and of which the size is known. To see to
    it that of two that would not fit together one goes first, and not none, only those count that are older than the
    one that asks; and none that waits for the disk itself or was paused: they look for themselves when they go on.

    Args:
        store: asked once.
        exclude_operation_id: the download that asks.
        staging: where partials lie; see `partial_path`.
    """
    device = device_of(folder)
    others = store.find(states=UNFINISHED, kind="download", limit=-1)
    asking = next((_position(data) for data in others if data.operation_id == exclude_operation_id), None)
    return sum(
        _still_needed(data, device, staging)
        for data in others
        if data.operation_id != exclude_operation_id and _goes_on(data) and (asking is None or _position(data) < asking)
    )


def _position(data: RecoveryData) -> tuple[float, str]:
    return data.created_at.timestamp(), data.operation_id


def _goes_on(data: RecoveryData) -> bool:
    if data.state is RecoveryState.IN_PROGRESS:
        return True
    if data.state is RecoveryState.PENDING and data.owner is None:
        return False  # perhaps nobody ever comes to run it
    return data.state is not RecoveryState.PAUSED and data.waiting_for not in _FOR_THE_DISK


def _still_needed(data: RecoveryData, device: int, staging: Path | None) -> int:
    destination, size = data.kwargs.get("destination"), data.kwargs.get("size")
    progress = data.progress
    if size is None and progress is not None and progress.unit == "bytes":
        size = progress.total
    if not isinstance(destination, (str, os.PathLike)) or not isinstance(size, (int, float)):
        return 0
    path = Path(destination)
    if device_of(path.parent) != device:
        return 0
    return max(0, int(size) - allocated_bytes(partial_path(path, staging)))
