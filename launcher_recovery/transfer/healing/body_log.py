"""A log on the disk of the bytes of one response's body, as they arrived.

It begins with what identifies the version of the body; after that comes one record for each piece that arrived, with
its place and its checksum. So whatever ended the writer, kill -9 or a power cut, what is read back is right, and ends
before the first record that is damaged or missing; nothing has to be synced for that.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Union

from launcher_recovery.room import amount, free_bytes
from launcher_recovery.transfer.http.representation import Representation

SPARE_BYTES = 256 << 20
"""Bytes of the disk that are left free, besides those that the handler itself is going to write."""

# It is looked for room when so many bytes were kept since the last look.
_LOOK_BYTES = 32 << 20
_MAGIC = b"LRBODY1\n"
_HEAD = struct.Struct("<8sIQ")  # magic, bytes of the JSON that follows, their checksum
_RECORD = struct.Struct("<QIQ")  # where in the body, bytes that follow, their checksum
_LARGEST_HEAD = 1 << 20
_LARGEST_RECORD = 16 << 20

Data = Union[bytes, memoryview]


def _random() -> int:
    return int.from_bytes(os.urandom(7), "little")


@dataclass(frozen=True)
class Head:
    """What a log begins with.

    Args:
        representation: the version of the body, of which the size is known.
        headers: those of the answer, without secrets.
        had: bytes that there once were of an earlier version. Only beyond these is anything won.
        nonce: goes into all checksums, so that no record of another log, left on the disk, is taken for one of these.
    """

    representation: Representation
    headers: Sequence[tuple[str, str]]
    had: int = 0
    nonce: int = field(default_factory=_random)

    @property
    def size(self) -> int:
        """Bytes of the whole body."""
        assert self.representation.size is not None
        return self.representation.size


class BodyLog:
    """An open log. Safe to use from several threads; `length` is how many bytes of the body it has.

    Args:
        path, fd: the file, open to read and write; closed with the log, or when nobody has the log any more.
        head, begins: what it begins with, and where the records begin.
        attempt: the attempt of the operation for which it is open.
        complain: told why nothing is kept any more.
    """

    def __init__(
        self, path: Path, fd: int, head: Head, begins: int, attempt: int, complain: Callable[[str], object]
    ) -> None:
        self.path = path
        self.head = head
        self.attempt = attempt
        self.length = 0
        self._fd = fd
        self._complain = complain
        self._lock = threading.Lock()
        self._end = begins
        self._read_at = begins
        self._read = 0
        self._looked_at: int | None = None
        self._find_end()
        self._close = weakref.finalize(self, os.close, fd)

    @property
    def is_open(self) -> bool:
        return bool(self._close.alive)

    def close(self) -> None:
        """Nothing is written any more; what is there stays. A second time does nothing."""
        with self._lock:
            self._close()

    def delete(self) -> None:
        """Close it, and delete the file."""
        with self._lock:
            self._close()
            self._unlink()

    def read(self) -> bytes:
        """The next bytes, from the beginning on; empty when there are no more, or none that can be trusted.

        In the second case `length` says from then on how far it is right; the rest is gone.
        """
        with self._lock:
            if not self.is_open or self._read >= self.length:
                return b""
            data = self._record()
            if data is None:
                self.length, self._end = self._read, self._read_at
                self._cut()
                return b""
            self._read += len(data)
            self._read_at += _RECORD.size + len(data)
            return data

    def append(self, data: Data, offset: int) -> bool:
        """Keep `data`, which begins at byte `offset` of the body, if that is where the log ends.

        Returns:
            False when nothing is kept any more: the disk is full, or cannot be written.
        """
        with self._lock:
            if not self.is_open:
                return False
            if offset != self.length:
                return True  # it is there already
            if not self._has_room():
                return False
            try:
                self._write(_RECORD.pack(offset, len(data), self._sum(data, offset)), data)
            except OSError as error:
                self._complain(f"{self.path.parent} cannot be written: {error}")
                self._close()
                self._unlink()  # the handler needs what room there is
                return False
            self.length += len(data)
            return True

    def _has_room(self) -> bool:
        """Whether there is room for more; else it is closed."""
        if self._looked_at is not None and self.length - self._looked_at < _LOOK_BYTES:
            return True
        self._looked_at = self.length
        # The handler writes the same bytes again, perhaps to the same disk, and comes first.
        missing, free = self.head.size - self.length, free_bytes(self.path.parent)
        needed = 2 * missing + SPARE_BYTES
        if free >= needed:
            return True
        self._complain(f"{amount(free)} are free for {self.path.parent}, and {amount(needed)} should be")
        self._close()
        if free < missing + SPARE_BYTES:
            self._unlink()
        return False

    def _write(self, head: bytes, data: Data) -> None:
        os.lseek(self._fd, self._end, os.SEEK_SET)
        if hasattr(os, "writev"):
            done = os.writev(self._fd, [head, data])
        else:  # Windows
            done = os.write(self._fd, b"".join((head, data)))
        if done != len(head) + len(data):
            raise OSError("the disk is full")
        self._end += done

    def _record(self) -> bytes | None:
        """The record that comes next, if it is right."""
        os.lseek(self._fd, self._read_at, os.SEEK_SET)
        offset, length, checksum = _RECORD.unpack(os.read(self._fd, _RECORD.size))
        data = os.read(self._fd, length)
        return data if len(data) == length and self._sum(data, offset) == checksum else None

    def _sum(self, data: Data, offset: int) -> int:
        return checksum_of(data, self.head.nonce ^ offset)

    def _find_end(self) -> None:
        """Go from record to record, as far as they follow one another; whether they are right, `read` tells."""
        there = os.fstat(self._fd).st_size
        while self._end + _RECORD.size <= there:
            os.lseek(self._fd, self._end, os.SEEK_SET)
            offset, length, _ = _RECORD.unpack(os.read(self._fd, _RECORD.size))
            end = self._end + _RECORD.size + length
            is_next = offset == self.length and 0 < length <= min(_LARGEST_RECORD, self.head.size - offset)
            if not is_next or end > there:
                break
            self.length += length
            self._end = end
        self._cut()

    def _cut(self) -> None:
        """Cut off what is behind the last good record."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, self._end)

    def _unlink(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink()


def checksum_of(data: Data, seed: int = 0) -> int:
    """XXH3 with 64 bits: it finds damage, not forgery."""
    import xxhash  # loaded only where something is kept

    return int(xxhash.xxh3_64_intdigest(data, seed))


def write_head(fd: int, head: Head) -> int:
    """Begin a log in an empty file; returns where its records begin."""
    text = json.dumps(asdict(head)).encode()
    return os.write(fd, _HEAD.pack(_MAGIC, len(text), checksum_of(text)) + text)


def read_head(fd: int) -> tuple[Head, int] | None:
    """What a log begins with, and where its records begin; None when it is none, or damaged."""
    start = os.read(fd, _HEAD.size)
    if len(start) != _HEAD.size:
        return None
    magic, length, checksum = _HEAD.unpack(start)
    if magic != _MAGIC or length > _LARGEST_HEAD:
        return None
    text = os.read(fd, length)
    if len(text) != length or checksum_of(text) != checksum:
        return None
    value = json.loads(text)
    headers = [(name, content) for name, content in value["headers"]]
    head = Head(Representation(**value["representation"]), headers, value["had"], value["nonce"])
    return head, _HEAD.size + length
