"""What keeps a download fast: few requests, few writes of the journal, and no more connections than are of use."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from launcher_recovery import MemoryPersistence
from launcher_recovery.transfer import allotment as allotments
from launcher_recovery.transfer import buffers as all_buffers
from launcher_recovery.transfer import fetching as fetchings
from launcher_recovery.transfer import supervisor as supervisors
from launcher_recovery.transfer.allotment import Allotment
from launcher_recovery.transfer.buffers import Buffers
from launcher_recovery.transfer.layout import Layout
from launcher_recovery.transfer.pieces import Pieces
from launcher_recovery.transfer.supervisor import Supervisor
from launcher_recovery.transfer.worker import Extent, Worker
from sample_launcher.hub import Hub
from tests.transfers import Downloads

MIB = 1 << 20


def connection(received: int = 0) -> Worker:
    """A fast connection that has nothing to fetch at the moment."""
    made = SimpleNamespace(rival=None, rate=1e12, extent=None, asked_at=None, received=received, source=None)
    return cast(Worker, made)


@pytest.mark.parametrize(
    ("wanted", "length"), [(1, 512 * MIB), (2, 256 * MIB), (4, 128 * MIB)], ids=["one", "two", "four"]
)
def test_a_connection_gets_as_much_as_leaves_the_same_to_each_that_there_is_to_be(wanted: int, length: int) -> None:
    """Half of its share, so that who is alone asks ten times for a file of a GiB, and not thirty."""
    allotment = Allotment(Pieces(1024 * MIB), 4)
    allotment.wanted = wanted
    extent = allotment.next(one := connection(), [one])
    assert extent == Extent(0, length)


def test_the_journal_is_not_written_again_for_an_answer_that_tells_nothing_new(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once before the first byte is written; a connection that waits for the disk receives nothing meanwhile."""
    monkeypatch.setattr(fetchings, "FIRST_BYTES", 4 * MIB)
    monkeypatch.setattr(allotments, "_FIRST", 4 * MIB)
    keepers: list[str] = []
    keep = Layout.keep

    def noted(self: Layout) -> bool:
        keepers.append(threading.current_thread().name)
        return keep(self)

    monkeypatch.setattr(Layout, "keep", noted)
    url = hub.add_model("model.bin", 20 * MIB)
    destination = tmp_path / "model.bin"
    Downloads(MemoryPersistence())(url, destination, connections=1)
    assert destination.read_bytes() == hub.content("model.bin")
    assert len(hub.stats("model.bin")["requests"]) > 3
    assert keepers.count("recovery-connection") == 1


def test_buffers_tell_when_somebody_had_to_wait_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while there are some, nor because one is given back."""
    monkeypatch.setattr(all_buffers, "time", SimpleNamespace(monotonic=lambda: 7.0))
    buffers = Buffers(2)
    first, second = buffers.take(0), buffers.take(0)
    assert first is not None
    assert second is not None
    buffers.give_back(first)
    assert buffers.take(0) is first
    assert buffers.ran_out_at == float("-inf")
    assert buffers.take(0) is None
    assert buffers.ran_out_at == 7.0


@pytest.mark.parametrize(
    ("ran_out_at", "connections"), [(float("-inf"), 2), (8.5, 2), (9.5, 1)], ids=["never", "before", "just now"]
)
def test_no_connection_is_added_while_what_is_behind_the_connections_is_slow(
    monkeypatch: pytest.MonkeyPatch, ran_out_at: float, connections: int
) -> None:
    """One more would receive nothing faster, and what arrives out of order is read again for the whole file's hash."""
    now = 9.0
    monkeypatch.setattr(supervisors, "time", SimpleNamespace(monotonic=lambda: now))
    worker = connection(received=1)
    pieces = Pieces(1024 * MIB)
    allotment = Allotment(pieces, 4)
    buffers = Buffers(1)
    fetching: Any = SimpleNamespace(
        lock=threading.RLock(),
        allotment=allotment,
        layout=SimpleNamespace(pieces=pieces),
        workers=[worker],
        wanted=SimpleNamespace(connections=4),
        buffers=buffers,
    )
    supervisor = Supervisor(cast(Any, None), fetching, [])
    supervisor.fill_up()
    now, buffers.ran_out_at = 10.0, ran_out_at
    cast(Any, worker).received += 100 * MIB
    supervisor.fill_up()
    assert allotment.wanted == connections
