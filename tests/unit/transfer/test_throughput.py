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
from launcher_recovery.transfer.allotment import Allotment
from launcher_recovery.transfer.buffers import Buffers
from launcher_recovery.transfer.layout import Layout
from launcher_recovery.transfer.pieces import Pieces
from launcher_recovery.transfer.ramp import Ramp
from launcher_recovery.transfer.supervisor import Supervisor
from launcher_recovery.transfer.worker import Worker
from sample_launcher.hub import Hub
from tests.transfers import Downloads

MIB = 1 << 20


def connection(received: int = 0) -> Worker:
    """A fast connection that has nothing to fetch at the moment."""
    made = SimpleNamespace(rival=None, rate=1024.0 * MIB, extent=None, asked_at=None, received=received, source=None)
    return cast(Worker, made)


def test_what_is_asked_for_is_worth_asking() -> None:
    """A quarter of a second's worth, where the way to the end has less for each: it would wait more than receive."""
    pieces = Pieces(1024 * MIB)
    allotment = Allotment(pieces, 4)
    one = connection()
    lengths = []
    while extent := allotment.next(one, [one]):
        lengths.append((extent.end - extent.pos) // MIB)
        pieces.add(extent.pos, extent.end - extent.pos)
    assert lengths == [256, 256, 256, 256]


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
    ran_out_at: float, connections: int
) -> None:
    """One more would receive nothing faster, and what arrives out of order is read again for the whole file's hash."""
    now = 9.0
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
    operation: Any = SimpleNamespace(operation_id="op")
    supervisor = Supervisor(operation, fetching, [], monotonic=lambda: now)
    buffers.ran_out_at = ran_out_at
    for now in (7.0, 8.0, 9.0, 10.0):  # noqa: B007 - twice the beginning and the end of a measurement, for the clock
        cast(Any, worker).received += 100 * MIB
        supervisor.fill_up()
    assert allotment.wanted == connections


def test_the_first_connection_is_given_the_time_to_get_as_fast_as_it_is() -> None:
    """Else a second one would be thought to have brought about what the first one did by itself."""
    ramp, received, wanted = Ramp(4), 0, []
    for number, rate in enumerate([10, 20, 40, 44, 88]):
        ramp.observe(2.0 * number, received, ramp.wanted, True)
        received += rate * MIB
        wanted.append(ramp.observe(2.0 * number + 1, received, ramp.wanted, True))
    assert wanted == [1, 1, 1, 2, 3]
