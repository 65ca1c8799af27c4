"""One connection: what came is handed over at its place, whatever becomes of the connection."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3

from launcher_recovery.persistence import MemoryPersistence
from launcher_recovery.testing import VirtualClock
from launcher_recovery.transfer.connections import worker as module
from launcher_recovery.transfer.connections.extent import Extent
from launcher_recovery.transfer.connections.limits import Bandwidth
from launcher_recovery.transfer.connections.worker import Worker
from launcher_recovery.transfer.content.recognising import ENOUGH_BYTES
from launcher_recovery.transfer.http.lines import Line
from launcher_recovery.transfer.http.request import Answer
from launcher_recovery.transfer.http.validators import Validators
from launcher_recovery.transfer.partial.buffers import BUFFER, Buffers
from launcher_recovery.transfer.sources.source import Source
from tests.origin import File, Origin
from tests.origin import behaviours as act
from tests.transfers import Downloads
from tests.unit.transfer.wire import URL, Wire

KIB = 1 << 10


class Shared:
    """Takes what a connection gets, in place of the rest of a download."""

    def __init__(self) -> None:
        self.buffers: Any = Buffers(2)
        self.bandwidth = Bandwidth()
        self.priority = lambda: 0
        self.taken: list[tuple[int, bytes]] = []
        self.error: BaseException | None = None
        self.job: Callable[[Worker], object] = lambda worker: None
        self.on_taken: Callable[[], object] = lambda: None

    def work(self, worker: Worker) -> None:
        self.job(worker)

    def take(self, worker: Worker, extent: Extent, buffer: memoryview, count: int) -> None:
        self.taken.append((extent.pos, bytes(buffer[:count])))
        extent.pos += count
        self.buffers.give_back(buffer)
        self.on_taken()

    def left(self, worker: Worker, error: BaseException | None) -> None:
        self.error = error

    def bytes_from(self, start: int) -> bytes:
        """All of it, which came in order and without a gap."""
        found = b""
        for offset, data in self.taken:
            assert offset == start + len(found)
            found += data
        return found


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire() as made:
        yield made


@pytest.fixture
def shared() -> Shared:
    return Shared()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def worker(shared: Shared, clock: VirtualClock) -> Worker:
    return Worker(shared, Source(URL), requests.Session(), monotonic=clock.monotonic)  # type: ignore[arg-type]


def plain(wire: Wire, body: bytes = b"", length: int | None = None) -> requests.Response:
    return wire.answers(f"Content-Length: {len(body) if length is None else length}", body=body)


def answer(response: requests.Response, start: int, end: int | None) -> Answer:
    return Answer(response, start, end, Validators(), is_whole=False)


def sending(wire: Wire, data: bytes) -> threading.Thread:
    """Sends more than the kernel takes at a time."""
    thread = threading.Thread(target=wire.far.sendall, args=(data,))
    thread.start()
    return thread


# -- what comes ---------------------------------------------------------------------------------------


def test_what_comes_is_handed_over_at_its_place(worker: Worker, shared: Shared, wire: Wire) -> None:
    body = os.urandom(100 * KIB)
    given = answer(plain(wire, body), 5000, 5000 + len(body))
    worker.receive(given, Extent(5000, 5000 + len(body)))
    assert shared.bytes_from(5000) == body
    assert worker.received == len(body)


def test_a_body_that_is_not_plain_comes_as_well(worker: Worker, shared: Shared, wire: Wire) -> None:
    """In chunks, which http.client takes apart."""
    response = wire.answers("Transfer-Encoding: chunked", body=b"4\r\nabcd\r\n3\r\nefg\r\n0\r\n\r\n")
    worker.receive(answer(response, 10, 17), Extent(10, 17))
    assert shared.bytes_from(10) == b"abcdefg"


def test_no_more_is_read_than_the_extent_has_and_the_connection_closed(
    worker: Worker, shared: Shared, wire: Wire
) -> None:
    body = os.urandom(50_000)
    given = answer(plain(wire, body), 0, len(body))
    worker.receive(given, Extent(0, 20_000))
    assert shared.bytes_from(0) == body[:20_000]
    assert given.response is not None
    assert given.response.raw.closed


def test_an_extent_may_become_shorter_meanwhile(worker: Worker, shared: Shared, wire: Wire) -> None:
    body = os.urandom(400_000)
    given, extent = answer(plain(wire, length=len(body)), 0, len(body)), Extent(0, len(body))
    wire.far.sendall(body[:100])

    def shorten() -> None:
        extent.end = 60_000
        wire.far.sendall(body[100:60_000])

    shared.on_taken = lambda: shorten() if extent.end == len(body) else None
    worker.receive(given, extent)
    assert shared.bytes_from(0) == body[:60_000]


def test_an_empty_answer_leaves_no_connection_open(tmp_path: Path) -> None:
    """A connection that nobody closes is told of by Python as soon as nobody holds it."""
    with Origin() as origin:
        Downloads(MemoryPersistence())(origin.add(File(0), act.ignores_range), tmp_path / "model.dat")
        gc.collect()
    assert (tmp_path / "model.dat").read_bytes() == b""


def test_the_first_bytes_are_looked_at_and_come_again(worker: Worker, shared: Shared, wire: Wire) -> None:
    body = b"GGUF" + os.urandom(10_000)
    given = answer(plain(wire, body), 0, len(body))
    first = worker.first_bytes(given)
    assert first
    assert body.startswith(first)
    assert worker.first_bytes(given) == first
    worker.receive(given, Extent(0, len(body)))
    assert shared.bytes_from(0) == body


def test_the_first_bytes_of_another_answer_are_its_own(worker: Worker, wire: Wire) -> None:
    assert worker.first_bytes(answer(plain(wire, b"one"), 0, 3)) == b"one"
    with Wire() as other:
        assert worker.first_bytes(answer(plain(other, b"two"), 0, 3)) == b"two"


def test_it_is_known_whether_the_first_bytes_are_all(worker: Worker, wire: Wire) -> None:
    given = answer(plain(wire, b"one"), 0, 3)
    worker.first_bytes(given)
    assert worker.is_all(given)
    with Wire() as other:
        longer = answer(plain(other, bytes(ENOUGH_BYTES), ENOUGH_BYTES + 1), 0, ENOUGH_BYTES + 1)
        worker.first_bytes(longer)
        assert not worker.is_all(longer)


def test_an_empty_body_has_no_first_bytes(worker: Worker, wire: Wire) -> None:
    assert worker.first_bytes(answer(plain(wire), 0, 0)) == b""


# -- connections that end -----------------------------------------------------------------------------


def test_one_that_closes_early_keeps_what_came(worker: Worker, shared: Shared, wire: Wire) -> None:
    response = plain(wire, b"x" * 1000, length=5000)
    wire.far.close()
    with pytest.raises(requests.ConnectionError, match=r"hub.example/model.bin.* closed .* 4000 bytes before the end"):
        worker.receive(answer(response, 100, 5100), Extent(100, 5100))
    assert shared.bytes_from(100) == b"x" * 1000


@pytest.mark.parametrize("count", [1, 519, 8000, 30_000])
def test_one_that_is_reset_keeps_what_had_come(worker: Worker, shared: Shared, wire: Wire, count: int) -> None:
    """Also what http.client had read ahead, together with the head."""
    body = os.urandom(count)
    response = plain(wire, body, length=100_000)
    wire.reset()
    with pytest.raises(requests.ConnectionError, match=f"broke after {count} bytes"):
        worker.receive(answer(response, 0, 100_000), Extent(0, 100_000))
    assert shared.bytes_from(0) == body


def test_one_that_falls_silent_is_left(
    worker: Worker, shared: Shared, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE_S", 0.05)
    response = plain(wire, b"x" * 1000, length=5000)
    with pytest.raises(requests.ReadTimeout, match=r"sent nothing for 0.05 s after 1000 bytes"):
        worker.receive(answer(response, 0, 5000), Extent(0, 5000))
    assert shared.bytes_from(0) == b"x" * 1000


def test_one_that_ends_before_its_first_byte_was_never_looked_at(worker: Worker, wire: Wire) -> None:
    response = plain(wire, length=5000)
    wire.far.close()
    with pytest.raises(requests.ConnectionError, match="closed the connection 4000 bytes before the end"):
        worker.first_bytes(answer(response, 1000, 5000))


def test_one_that_is_reset_before_its_first_byte_says_so(worker: Worker, wire: Wire) -> None:
    response = plain(wire, length=5000)
    wire.reset()
    with pytest.raises(requests.ConnectionError, match="broke after 0 bytes"):
        worker.first_bytes(answer(response, 1000, 5000))


def test_no_error_has_the_secrets_of_the_address(worker: Worker, wire: Wire) -> None:
    response = plain(wire, length=5000)
    wire.far.close()
    with pytest.raises(requests.ConnectionError) as raised:
        worker.receive(answer(response, 0, 5000), Extent(0, 5000))
    assert "0123456789abcdef" not in str(raised.value)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (urllib3.exceptions.ReadTimeoutError(None, URL, "too long"), requests.ReadTimeout),  # type: ignore[arg-type]
        (TimeoutError(), requests.ReadTimeout),
        (urllib3.exceptions.ProtocolError("broken", OSError("cause")), requests.ConnectionError),
        (ValueError("closed"), requests.ConnectionError),
    ],
)
def test_an_error_of_those_below_is_told_with_the_address(error: Exception, kind: type[Exception]) -> None:
    told = module._broken("https://hub.example/m", 7, error)
    assert type(told) is kind
    assert "https://hub.example/m" in str(told)
    assert "after 7 bytes" in str(told)
    assert ("cause" in str(told)) == (kind is requests.ConnectionError and "broken" in str(error))


# -- how much at a time -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "most"), [(0.0, 256 * KIB), (5e6, 256 * KIB), (64e6, 512_000), (1e9, BUFFER)], ids=str
)
def test_what_a_kill_would_lose_is_some_milliseconds_of_the_rate(
    worker: Worker, shared: Shared, wire: Wire, rate: float, most: int
) -> None:
    worker.rate = rate
    body = os.urandom(3 * BUFFER)
    response = plain(wire, length=len(body))
    sender = sending(wire, body)
    worker.receive(answer(response, 0, len(body)), Extent(0, len(body)))
    sender.join()
    assert shared.bytes_from(0) == body
    assert max(len(data) for _, data in shared.taken) <= most


def test_what_came_does_not_wait_for_what_is_long_in_coming(
    worker: Worker, shared: Shared, wire: Wire, clock: VirtualClock
) -> None:
    """It is written before more comes, so that a kill does not lose it."""
    response = plain(wire, b"a" * 100, length=200)
    shared.on_taken = lambda: wire.far.sendall(b"b" * 100) if len(shared.taken) == 1 else None
    worker.receive(answer(response, 0, 200), Extent(0, 200))
    assert shared.taken == [(0, b"a" * 100), (100, b"b" * 100)]


def test_gathering_ends_after_a_moment_however_much_is_there(
    worker: Worker, shared: Shared, wire: Wire, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GATHER_S", 0.0)
    body = os.urandom(20 * KIB)
    response = plain(wire, body[:100], length=len(body))
    wire.far.sendall(body[100:])
    worker.receive(answer(response, 0, len(body)), Extent(0, len(body)))
    assert shared.bytes_from(0) == body
    assert len(shared.taken) > 1


def test_a_limited_rate_is_kept(worker: Worker, shared: Shared, wire: Wire) -> None:
    time = VirtualClock()
    shared.bandwidth = Bandwidth(1_000_000, monotonic=time.monotonic, wait=time.advance)
    body = os.urandom(600_000)
    response = plain(wire, length=len(body))
    sender = sending(wire, body)
    worker.receive(answer(response, 0, len(body)), Extent(0, len(body)))
    sender.join()
    assert shared.bytes_from(0) == body
    assert max(len(data) for _, data in shared.taken) <= 50_000
    # All but the last, and but for a twentieth of a second that was not used before.
    assert time.monotonic() == pytest.approx(0.6, abs=0.11)


def test_a_connection_waits_for_the_disk_and_the_hashes(worker: Worker, shared: Shared, wire: Wire) -> None:
    waits = iter([None, None, memoryview(bytearray(BUFFER))])

    class Scarce:
        def take(self, timeout: float) -> memoryview | None:
            return next(waits)

        def give_back(self, buffer: memoryview) -> None: ...

    shared.buffers = Scarce()
    worker.receive(answer(plain(wire, b"abc"), 0, 3), Extent(0, 3))
    assert shared.bytes_from(0) == b"abc"


def test_a_buffer_that_stays_empty_is_given_back(worker: Worker, shared: Shared, wire: Wire) -> None:
    shared.buffers = Buffers(1)
    response = plain(wire, length=100)
    wire.far.close()
    with pytest.raises(requests.ConnectionError):
        worker.receive(answer(response, 0, 100), Extent(0, 100))
    assert shared.buffers.take(0) is not None


# -- bodies of unknown length -------------------------------------------------------------------------


def test_a_body_of_unknown_length_comes_until_it_ends(worker: Worker, wire: Wire) -> None:
    response = wire.answers("Connection: close", body=b"some ")
    got = b""
    for data in worker.stream(answer(response, 0, None)):
        if not got:
            wire.far.sendall(b"bytes")
            wire.far.close()
        got += bytes(data)
    assert got == b"some bytes"
    assert worker.received == len(got)


def test_a_body_of_unknown_length_that_breaks_off_is_no_end(worker: Worker, wire: Wire) -> None:
    response = wire.answers("Connection: close", body=b"some")
    parts = worker.stream(answer(response, 0, None))
    assert bytes(next(parts)) == b"some"
    wire.reset()
    with pytest.raises(requests.ConnectionError, match="broke after 4 bytes"):
        next(parts)


def test_a_body_of_unknown_length_ends_when_it_is_not_wanted_any_more(worker: Worker, wire: Wire) -> None:
    response = wire.answers("Connection: close", body=b"some")
    parts = worker.stream(answer(response, 0, None))
    next(parts)
    worker.stop()
    assert list(parts) == []


# -- how fast -----------------------------------------------------------------------------------------


def brings(worker: Worker, count: int) -> None:
    worker._measure(count)


def test_the_rate_is_that_of_the_last_second(worker: Worker, clock: VirtualClock) -> None:
    clock.advance(0.1)
    brings(worker, 1000)
    assert worker.rate == 0
    clock.advance(0.4)
    brings(worker, 1000)
    assert worker.rate == pytest.approx(4000)  # 2000 bytes in half a second: better than nothing
    clock.advance(0.5)
    brings(worker, 1000)
    assert worker.rate == pytest.approx(3000)
    clock.advance(2)
    brings(worker, 1000)
    assert worker.rate == pytest.approx(500)
    assert worker.source.rate == pytest.approx(0.7 * 3000 + 0.3 * 500)


def test_what_did_not_come_since_counts_as_well(worker: Worker, clock: VirtualClock) -> None:
    assert worker.rate_at(clock.monotonic()) is None  # it waits for an answer
    worker.asked_at = None
    assert worker.rate_at(clock.monotonic()) is None
    clock.advance(1)
    brings(worker, 1000)
    assert worker.rate_at(clock.monotonic()) == pytest.approx(1000)
    clock.advance(4)
    assert worker.silent_rate(clock.monotonic()) == 0
    assert worker.rate_at(clock.monotonic()) == 0
    assert worker.rate == pytest.approx(1000)


# -- the thread ---------------------------------------------------------------------------------------


def test_a_silent_server_does_not_hold_up_the_end(worker: Worker, shared: Shared, wire: Wire) -> None:
    given = answer(plain(wire, b"x", length=5000), 0, 5000)
    waits = threading.Event()
    shared.on_taken = waits.set
    shared.job = lambda worker: worker.receive(given, Extent(0, 5000))
    worker.start()
    assert waits.wait(30)
    worker.stop()
    worker.join(3)
    assert not worker.is_alive()
    assert shared.bytes_from(0) == b"x"


def test_nothing_is_received_after_the_end(worker: Worker, shared: Shared, wire: Wire) -> None:
    worker.stop()
    given = answer(plain(wire, b"x" * 100), 0, 100)
    worker.receive(given, Extent(0, 100))
    assert shared.taken == []
    assert given.response is not None
    assert given.response.raw.closed


@pytest.mark.parametrize("error", [None, KeyError("bug"), SystemExit()])
def test_the_thread_says_how_it_ended(worker: Worker, shared: Shared, error: BaseException | None) -> None:
    def job(worker: Worker) -> None:
        if error is not None:
            raise error

    shared.job = job
    shared.error = LookupError("nobody has said anything yet")
    worker.start()
    worker.join()
    assert shared.error is error


class Session(requests.Session):
    """Says whether it was closed."""

    is_closed = False

    def close(self) -> None:
        super().close()
        self.is_closed = True


@pytest.mark.parametrize("is_own", [True, False])
def test_only_a_session_of_its_own_is_closed(shared: Shared, is_own: bool) -> None:
    session = Session()
    worker = Worker(shared, Source(URL), session, Line(session) if is_own else None)  # type: ignore[arg-type]
    assert worker.session is session
    worker.start()
    worker.join()
    assert session.is_closed is is_own
    session.close()


def test_an_extent_that_is_over_has_nothing_left() -> None:
    assert Extent(10, 15).left == 5
    assert Extent(20, 15).left == 0
