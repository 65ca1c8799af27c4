"""There are never more buffers than said, and whoever waits for one gets the next that is given back."""

from __future__ import annotations

import mmap
import sys
import threading

import pytest

from launcher_recovery.transfer.partial import buffers as buffers_module
from launcher_recovery.transfer.partial.buffers import BUFFER, Buffers


def taken(buffers: Buffers, timeout: float = 10.0) -> memoryview:
    buffer = buffers.take(timeout)
    assert buffer is not None
    return buffer


def test_a_buffer_has_its_size_may_be_written_to_and_begins_at_a_page() -> None:
    buffer = taken(Buffers(1))
    assert (len(buffer), buffer.itemsize, buffer.readonly) == (BUFFER, 1, False)
    assert isinstance(buffer.obj, mmap.mmap)
    buffer[-3:] = b"end"
    assert bytes(buffer[-4:]) == b"\0end"


def test_there_are_so_many_and_no_more() -> None:
    buffers = Buffers(2)
    one, other = taken(buffers), taken(buffers)
    assert one.obj is not other.obj
    assert buffers.take(0) is None
    assert buffers.take(0.001) is None


def test_the_one_that_was_given_back_last_is_used_next() -> None:
    """It is in the processor's cache; and none is made as long as one is free."""
    buffers = Buffers(3)
    one, other = taken(buffers), taken(buffers)
    buffers.give_back(one)
    buffers.give_back(other)
    assert taken(buffers) is other
    assert taken(buffers) is one
    third = taken(buffers)
    assert third is not one
    assert third is not other


def test_who_waits_gets_what_is_given_back() -> None:
    buffers = Buffers(1)
    buffer = taken(buffers)
    got: list[memoryview | None] = []
    waits = threading.Thread(target=lambda: got.append(buffers.take(30)))
    waits.start()
    buffers.give_back(buffer)
    waits.join(20)
    assert got == [buffer]


def test_many_at_once_get_no_more_than_there_are() -> None:
    count, threads = 3, 8
    buffers, begin = Buffers(count), threading.Barrier(threads)
    got: list[int] = []

    def take() -> None:
        begin.wait(10)
        buffer = buffers.take(0.05)
        if buffer is not None:
            got.append(id(buffer.obj))
            kept.append(buffer)

    kept: list[memoryview] = []
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        running = [threading.Thread(target=take) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join(20)
    finally:
        sys.setswitchinterval(before)
    assert len(got) == len(set(got)) == count


def test_one_that_there_was_no_memory_for_may_be_had_later(monkeypatch: pytest.MonkeyPatch) -> None:
    buffers = Buffers(1)
    with monkeypatch.context() as patch:

        def refuse(*given: object) -> None:
            raise OSError(12, "Cannot allocate memory")

        patch.setattr(buffers_module.mmap, "mmap", refuse)
        with pytest.raises(OSError, match="Cannot allocate memory"):
            buffers.take(0)
    assert len(taken(buffers, 0)) == BUFFER
    assert buffers.take(0) is None
