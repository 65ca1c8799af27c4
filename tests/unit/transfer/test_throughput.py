"""What keeps a download fast: few requests, few writes of the journal, and no more connections than are of use."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from launcher_recovery import MemoryPersistence
from launcher_recovery.transfer.connections import allotment as allotments
from launcher_recovery.transfer.connections import fetching as fetchings
from launcher_recovery.transfer.connections.allotment import Allotment
from launcher_recovery.transfer.connections.ramp import Ramp
from launcher_recovery.transfer.connections.supervisor import Supervisor
from launcher_recovery.transfer.connections.worker import Worker
from launcher_recovery.transfer.partial import buffers as all_buffers
from launcher_recovery.transfer.partial.buffers import Buffers
from launcher_recovery.transfer.partial.layout import Layout
from launcher_recovery.transfer.partial.pieces import Pieces
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
    assert len(hub.stats("model.bin")["requests"]) > 1
    assert keepers.count("recovery-connection") == 1


def test_buffers_tell_how_long_they_were_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """And that there was no wait while there are some."""
    ticks = iter([7.0, 7.5, 9.0, 9.25])
    monkeypatch.setattr(all_buffers, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    buffers = Buffers(2)
    first, second = buffers.take(0), buffers.take(0)
    assert first is not None
    assert second is not None
    buffers.give_back(first)
    assert buffers.take(0) is first
    assert buffers.waited == 0
    assert buffers.take(0) is None
    assert buffers.waited == 0.5
    assert buffers.take(0) is None
    assert buffers.waited == 0.75


@pytest.mark.parametrize(("waited", "connections"), [(0.0, 2), (0.04, 2), (0.06, 1)], ids=["never", "little", "much"])
def test_no_connection_is_added_while_what_is_behind_the_connections_is_slow(waited: float, connections: int) -> None:
    """One more would receive nothing faster, and what arrives out of order is read again for the whole file's hash."""
    clock = SimpleNamespace(now=0.0)
    worker = connection(received=1)
    pieces = Pieces(1024 * MIB)
    allotment = Allotment(pieces, 4)
    buffers = Buffers(1)
    fetching: Any = SimpleNamespace(
        lock=threading.RLock(),
        allotment=allotment,
        layout=SimpleNamespace(pieces=pieces),
        ended=[],
        workers=[worker],
        wanted=SimpleNamespace(connections=4),
        buffers=buffers,
        can_serve=lambda source: True,
    )
    operation: Any = SimpleNamespace(operation_id="o")
    supervisor = Supervisor(operation, fetching, [], monotonic=lambda: clock.now)
    for clock.now in (7.0, 8.0, 9.0, 10.0):  # twice the beginning and the end of a measurement
        supervisor.fill_up()
        cast(Any, worker).received += 100 * MIB
        buffers.waited += waited
    assert allotment.wanted == connections


def test_what_a_further_connection_brings_is_judged_after_a_quarter_of_a_second() -> None:
    """In a tenth, servers that limit each connection send now much, now nothing."""
    ramp = Ramp(4)
    for now, received in ((0.0, 0), (0.125, 10), (0.25, 10), (0.375, 20)):
        ramp.observe(now, received * MIB, 1, True)
    assert ramp.wanted == 2
    assert ramp.observe(0.5, 20 * MIB, 2, True) == 2
    assert ramp.observe(0.6875, 30 * MIB, 2, True) == 2
    assert ramp.observe(0.75, 45 * MIB, 2, True) == 3


def test_the_first_connection_is_given_the_time_to_get_as_fast_as_it_is() -> None:
    """Else a second one would be thought to have brought about what the first one did by itself."""
    ramp, received, wanted = Ramp(4), 0, []
    for number, rate in enumerate([10, 20, 40, 44, 88]):
        ramp.observe(2.0 * number, received, ramp.wanted, True)
        received += rate * MIB
        wanted.append(ramp.observe(2.0 * number + 1, received, ramp.wanted, True))
    assert wanted == [1, 1, 1, 2, 3]
