"""Connections are begun, judged and ended as they should be, on a clock that does not wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from launcher_recovery.clock import Wake
from launcher_recovery.errors import IntegrityError, OperationCancelled
from launcher_recovery.testing import VirtualClock
from launcher_recovery.transfer.connections import supervisor as module
from launcher_recovery.transfer.connections.allotment import Allotment
from launcher_recovery.transfer.connections.extent import Extent, LocalError
from launcher_recovery.transfer.connections.fetching import ChangedError, SuperfluousError
from launcher_recovery.transfer.connections.limits import Bandwidth, Connections
from launcher_recovery.transfer.connections.pace import SLOW_S
from launcher_recovery.transfer.connections.supervisor import Supervisor
from launcher_recovery.transfer.connections.worker import Worker
from launcher_recovery.transfer.partial.pieces import Pieces
from launcher_recovery.transfer.sources.source import Source
from launcher_recovery.transfer.sources.waits import Waits
from tests.support import wait_for
from tests.unit.transfer.test_waits import refusal

MIB = 1 << 20
MB = 1e6
PIECE = 4 * MIB


class Asked:
    """The operation: what it was told, and whether it may go on."""

    operation_id = "op"

    def __init__(self) -> None:
        self.wake = Wake()
        self.told: list[tuple[Any, ...]] = []
        self.interruption: Exception | None = None

    def check(self) -> None:
        if self.interruption is not None:
            raise self.interruption

    def progress(self, *told: Any) -> None:
        self.told.append(told)


class Shared:
    """What the connections share; they do nothing by themselves, and end when the test says so."""

    def __init__(self, connections: int = 4) -> None:
        self.wanted = SimpleNamespace(
            connections=connections, size=None, proofs=("sha256",), new_session=requests.Session
        )
        self.lock = threading.RLock()
        self.happened = threading.Condition(self.lock)
        self.bandwidth = Bandwidth()
        self.buffers = SimpleNamespace(waited=0.0)
        self.layout: Any = None
        self.allotment: Allotment | None = None
        self.workers: list[Worker] = []
        self.ended: list[tuple[Worker, BaseException | None]] = []
        self.checked_at = 0.0
        self.stream_size: int | None = None
        self.have = 0
        self.is_divisible = True
        self.is_served_by: Callable[[Source], bool] = lambda source: True
        self._over = threading.Event()

    @property
    def pieces(self) -> Any:
        return None if self.layout is None else self.layout.pieces

    def lay_out(self, size: int) -> Pieces:
        pieces = Pieces(size)
        self.layout = SimpleNamespace(pieces=pieces)
        self.allotment = Allotment(pieces, self.wanted.connections)
        return pieces

    def can_be_divided(self, validators: object) -> bool:
        return self.is_divisible

    def can_serve(self, source: Source) -> bool:
        return self.is_served_by(source)

    def can_compare(self) -> bool:
        return True

    def work(self, worker: Worker) -> None:
        while not worker.is_stopped and not self._over.wait(0.005):
            pass

    def left(self, worker: Worker, error: BaseException | None) -> None:
        """Tests say how connections end."""

    def close(self) -> None:
        self._over.set()


class Stage:
    """A supervisor and all that it deals with; the time passes when the test says so."""

    def __init__(self, connections: int = 4, per_host: int = 4) -> None:
        self.clock = VirtualClock()
        self.operation = Asked()
        self.shared = Shared(connections)
        self.connections = Connections(per_host, 16)
        self.waits = Waits(self.clock.monotonic, self.clock.time)
        self.given = Source("https://hub.example/m")
        self.mirror = Source("https://mirror.example/m", is_given=False)
        self.sources = [self.given, self.mirror]
        self.threads: list[Worker] = []
        self.supervisor = self._made()

    def _made(self) -> Supervisor:
        shared: Any = self.shared
        operation: Any = self.operation
        monotonic = self.clock.monotonic
        return Supervisor(operation, shared, self.sources, self.connections, self.waits, monotonic)

    def alone(self) -> None:
        """There is no mirror."""
        del self.sources[1]

    def fill_up(self) -> list[Worker]:
        """The connections there are afterwards."""
        self.supervisor.fill_up()
        workers = list(self.shared.workers)
        self.threads += [worker for worker in workers if worker not in self.threads]
        return workers

    def only(self) -> Worker:
        (worker,) = self.shared.workers
        return worker

    def tick(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)
        self.supervisor.tick()

    def ends(self, worker: Worker, error: BaseException | None = None) -> None:
        """A connection ends, for this reason."""
        self.shared.workers.remove(worker)
        worker.extent = None
        self.shared.ended.append((worker, error))

    def receives(self, worker: Worker, seconds: int, rate: float, step: float = 1.0) -> None:
        """It has so many bytes a second for a while; nobody else gets any, and the supervisor looks on."""
        worker.asked_at = None
        for _ in range(int(seconds / step)):
            self.clock.advance(step)
            worker._measure(int(rate * step))
            worker.source.worked()
            self.supervisor.tick()
            if worker not in self.shared.workers:
                return

    def takes_extent(self, worker: Worker) -> None:
        assert self.shared.allotment is not None
        worker.extent = self.shared.allotment.next(worker, self.shared.workers)
        worker.asked_at = None

    def close(self) -> None:
        self.supervisor.stop()
        self.shared.close()
        for worker in self.threads:
            worker.join(30)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK_S", 0.0)


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()
    assert made.connections.count() == 0, "what was counted in was not counted out"


# -- beginning connections ----------------------------------------------------------------------------


def test_there_is_one_connection_until_the_size_is_known(stage: Stage) -> None:
    (worker,) = stage.fill_up()
    assert worker.source is stage.given
    assert worker.is_alive()
    assert stage.connections.count("hub.example") == 1
    assert stage.fill_up() == [worker]


def test_none_is_begun_when_a_body_of_unknown_size_is_there(stage: Stage) -> None:
    stage.shared.stream_size = 100
    assert stage.fill_up() == []


def ramped(stage: Stage, rate: float = 100 * MB) -> list[Worker]:
    """Connections are added one by one while each makes the whole faster."""
    for _ in range(20):
        workers = stage.fill_up()
        for worker in workers:
            if worker.extent is None:
                stage.takes_extent(worker)
        stage.clock.advance(0.2)
        for worker in workers:
            worker._measure(int(rate * 0.2))
    return workers


def test_there_are_more_while_that_is_faster(stage: Stage) -> None:
    stage.shared.lay_out(4096 * MIB)
    assert len(ramped(stage)) == 4


def test_there_are_no_more_than_a_host_may_have(stage: Stage) -> None:
    stage.connections.per_host = 2
    stage.shared.lay_out(4096 * MIB)
    assert len(ramped(stage)) == 2


def test_there_are_no_more_while_the_server_is_to_be_left_alone(stage: Stage) -> None:
    """Another download was told so; the connection that there is goes on."""
    stage.alone()
    stage.shared.lay_out(4096 * MIB)
    stage.fill_up()
    stage.waits.heard(refusal(503, url=stage.given.url, Retry_After="3600"))
    assert len(ramped(stage)) == 1


@pytest.mark.parametrize("why", ["it ignores ranges", "nothing tells that parts belong together"])
def test_what_cannot_be_divided_has_one_connection(stage: Stage, why: str) -> None:
    stage.shared.lay_out(4096 * MIB)
    stage.given.ignores_ranges = why == "it ignores ranges"
    stage.shared.is_divisible = stage.given.ignores_ranges
    assert len(ramped(stage)) == 1


def test_a_host_with_no_room_lets_the_first_connection_of_a_download_through(stage: Stage) -> None:
    for _ in range(4):
        stage.connections.enter("hub.example", is_first=False)
    assert len(stage.fill_up()) == 1
    for _ in range(4):
        stage.connections.leave("hub.example")


def test_a_thread_that_cannot_be_begun_is_not_counted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(worker: Worker) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(Worker, "start", start)
        with pytest.raises(RuntimeError, match="can't start"):
            stage.fill_up()
    assert stage.connections.count() == 0
    assert len(stage.fill_up()) == 1


def test_a_session_of_the_callers_is_not_touched(stage: Stage) -> None:
    given = requests.Session()
    adapters = dict(given.adapters)
    stage.shared.wanted.new_session = lambda: given
    (worker,) = stage.fill_up()
    assert worker.session is given
    assert dict(given.adapters) == adapters


def test_who_has_nothing_to_offer_is_not_asked(stage: Stage) -> None:
    stage.shared.lay_out(4096 * MIB)
    stage.shared.is_served_by = lambda source: source is stage.mirror
    (worker,) = stage.fill_up()
    assert worker.source is stage.mirror


# -- connections that end -----------------------------------------------------------------------------


def test_the_next_source_is_asked_when_one_fails(stage: Stage) -> None:
    stage.fill_up()
    stage.ends(stage.only(), requests.ConnectionError("refused"))
    stage.tick()
    (worker,) = stage.fill_up()
    assert worker.source is stage.mirror


def test_the_attempt_is_over_when_nobody_is_left(stage: Stage) -> None:
    stage.alone()
    stage.fill_up()
    error = requests.ConnectionError("refused")
    stage.ends(stage.only(), error)
    stage.tick()
    with pytest.raises(requests.ConnectionError) as raised:
        stage.fill_up()
    assert raised.value is error


def test_none_is_begun_before_it_was_looked_at_why_the_last_one_ended(stage: Stage) -> None:
    """It broke after the supervisor looked: asked again at once it would be mended without an attempt's wait."""
    stage.alone()
    stage.fill_up()
    stage.ends(stage.only(), requests.ConnectionError("broke"))
    assert stage.fill_up() == []
    stage.tick()
    with pytest.raises(requests.ConnectionError, match="broke"):
        stage.fill_up()


def test_one_that_has_done_its_work_is_followed_by_another(stage: Stage) -> None:
    stage.alone()
    stage.fill_up()
    stage.receives(stage.only(), 1, 5 * MB)
    stage.ends(stage.only())
    stage.tick()
    assert len(stage.fill_up()) == 1
    assert stage.connections.count() == 1


def test_the_one_that_brought_bytes_has_the_last_word(stage: Stage) -> None:
    """Its work was done; then both servers are gone, and the mirror is where it is gone on soon."""
    stage.given.is_out, stage.given.error = True, IntegrityError("another size")
    stage.fill_up()
    stage.receives(stage.only(), 1, 5 * MB)
    stage.ends(stage.only())
    stage.tick()
    stage.fill_up()
    error = requests.ConnectionError("gone")
    stage.ends(stage.only(), error)
    stage.tick()
    with pytest.raises(requests.ConnectionError) as raised:
        stage.fill_up()
    assert raised.value is error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (LocalError(OSError("the disk is gone")), OSError),
        (ChangedError(), ChangedError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_some_errors_end_the_attempt_at_once(stage: Stage, error: BaseException, expected: type[BaseException]) -> None:
    """And each connection that ended in the same moment is counted out all the same."""
    stage.shared.lay_out(4096 * MIB)
    workers = ramped(stage)
    for worker in workers:
        stage.ends(worker, error)
    with pytest.raises(expected):
        stage.tick()
    assert stage.connections.count() == 0


def test_a_bug_is_told_as_it_is(stage: Stage) -> None:
    stage.alone()
    stage.fill_up()
    stage.ends(stage.only(), KeyError("bug"))
    stage.tick()
    with pytest.raises(KeyError):
        stage.fill_up()


@pytest.mark.parametrize("error", [SuperfluousError(), refusal(503), refusal(429)])
def test_a_server_that_gives_no_further_connection_goes_on_with_those_it_gave(stage: Stage, error: Exception) -> None:
    stage.alone()
    stage.shared.lay_out(4096 * MIB)
    workers = ramped(stage)
    stage.ends(workers[-1], error)
    stage.tick()
    assert len(ramped(stage)) == len(workers) - 1
    assert not stage.given.is_out


def test_the_last_connection_that_is_refused_is_a_failure(stage: Stage) -> None:
    stage.alone()
    stage.fill_up()
    stage.ends(stage.only(), refusal(503))
    stage.tick()
    with pytest.raises(requests.HTTPError):
        stage.fill_up()


def test_a_server_that_names_a_time_is_left_alone_and_asked_after_it(stage: Stage) -> None:
    stage.fill_up()
    stage.ends(stage.only(), refusal(503, url=stage.given.url, Retry_After="30"))
    stage.tick()
    (worker,) = stage.fill_up()
    assert worker.source is stage.mirror
    stage.ends(worker, requests.ConnectionError("broke"))
    stage.tick(31)
    (worker,) = stage.fill_up()
    assert worker.source is stage.given


# -- the silent ---------------------------------------------------------------------------------------


def test_a_server_that_falls_silent_is_left_for_the_mirror(stage: Stage) -> None:
    stage.fill_up()
    stage.receives(stage.only(), 2, 5 * MB)
    stage.ends(stage.only(), requests.ReadTimeout("sent nothing for 5 s"))
    stage.tick()
    (worker,) = stage.fill_up()
    assert worker.source is stage.mirror
    stage.ends(worker, requests.ConnectionError("refused"))
    stage.tick()
    (worker,) = stage.fill_up()
    assert worker.source is stage.given  # in the same attempt


def test_a_server_that_falls_silent_is_asked_again_at_once_where_there_is_no_other(stage: Stage) -> None:
    stage.alone()
    stage.fill_up()
    for _ in range(3):
        stage.receives(stage.only(), 2, 5 * MB)
        stage.ends(stage.only(), requests.ReadTimeout("sent nothing for 5 s"))
        stage.tick()
        (worker,) = stage.fill_up()
        assert worker.source is stage.given


def test_a_server_that_sends_the_same_again_and_falls_silent_again_is_not_asked_for_ever(stage: Stage) -> None:
    """As one that ignores ranges may do."""
    stage.alone()
    stage.fill_up()
    stage.receives(stage.only(), 2, 5 * MB)
    silent = requests.ReadTimeout("sent nothing for 5 s")
    stage.ends(stage.only(), silent)
    stage.tick()
    (worker,) = stage.fill_up()
    worker.asked_at = None
    worker._measure(100)  # nothing of it is new
    stage.ends(worker, silent)
    stage.tick()
    with pytest.raises(requests.ReadTimeout):
        stage.fill_up()


def test_a_mirror_that_nothing_can_prove_is_no_other(stage: Stage) -> None:
    """Neither a checksum nor two pieces that are there."""
    stage.shared.wanted.proofs = ()
    pieces = stage.shared.lay_out(4 * PIECE)
    stage.fill_up()
    stage.receives(stage.only(), 2, 5 * MB)
    stage.ends(stage.only(), requests.ReadTimeout("sent nothing for 5 s"))
    stage.tick()
    (worker,) = stage.fill_up()
    assert worker.source is stage.given
    pieces.hashes[0] = pieces.hashes[2] = b"#" * 16
    stage.receives(worker, 2, 5 * MB)
    stage.ends(worker, requests.ReadTimeout("sent nothing for 5 s"))
    stage.tick()
    (worker,) = stage.fill_up()
    assert worker.source is stage.mirror


def test_a_server_that_does_not_answer_is_left_after_some_seconds_where_there_is_another(stage: Stage) -> None:
    stage.fill_up()
    silent = stage.only()
    stage.tick(SLOW_S)
    assert not silent.is_stopped
    stage.tick(0.1)
    assert silent.is_stopped
    stage.tick()
    (worker,) = stage.fill_up()
    assert worker.source is stage.mirror
    stage.ends(worker, requests.ConnectionError("refused"))
    stage.tick()
    (worker,) = stage.fill_up()
    assert worker.source is stage.given
    stage.tick(SLOW_S + 1)
    assert not worker.is_stopped  # nobody else is left


def test_a_server_that_does_not_answer_is_left_in_the_end(stage: Stage) -> None:
    """Also when its head comes byte by byte, of which no timeout of a socket knows."""
    stage.alone()
    stage.fill_up()
    silent = stage.only()
    stage.tick(44)
    assert not silent.is_stopped
    stage.tick(2)
    assert silent.is_stopped
    stage.tick()
    with pytest.raises(requests.ReadTimeout, match=r"hub.example gave no answer within 46 s"):
        stage.fill_up()
    silent.join(30)
    assert not silent.is_alive()


def test_the_time_for_an_answer_begins_when_the_request_was_sent(stage: Stage) -> None:
    stage.alone()
    stage.fill_up()
    silent = stage.only()
    stage.clock.advance(9)  # so long it took to connect
    assert silent._line is not None
    silent._line.asked_at = stage.clock.monotonic()
    stage.tick(31)
    assert not silent.is_stopped
    stage.tick(0.1)
    assert silent.is_stopped


# -- the slow -----------------------------------------------------------------------------------------


def test_a_trickle_is_left_for_a_source_that_was_not_tried(stage: Stage) -> None:
    stage.shared.lay_out(4096 * MIB)
    stage.fill_up()
    trickle = stage.only()
    stage.receives(trickle, 9, 2000)
    assert not trickle.is_stopped
    stage.receives(trickle, 3, 2000)
    assert trickle.is_stopped
    stage.tick()
    (worker,) = stage.fill_up()
    assert worker.source is stage.mirror
    assert stage.given.error is None  # nothing is wrong with it


def test_a_trickle_is_come_back_to_when_the_other_source_fails(stage: Stage) -> None:
    stage.fill_up()
    stage.receives(stage.only(), 12, 2000)
    stage.tick()
    stage.fill_up()
    stage.ends(stage.only(), requests.ConnectionError("refused"))
    stage.tick()
    (worker,) = stage.fill_up()
    assert worker.source is stage.given
    stage.receives(worker, 30, 2000)
    assert not worker.is_stopped


def test_of_two_trickles_neither_is_left_for_the_other_again_and_again(stage: Stage) -> None:
    stage.fill_up()
    stage.receives(stage.only(), 12, 2000)
    stage.tick()
    (worker,) = stage.fill_up()
    stage.mirror.is_proven = True
    stage.receives(worker, 60, 3000)
    assert not worker.is_stopped


def test_a_trickle_is_come_back_to_when_the_other_one_is_slower_still(stage: Stage) -> None:
    stage.fill_up()
    stage.receives(stage.only(), 12, 20_000)
    stage.tick()
    (worker,) = stage.fill_up()
    stage.mirror.is_proven = True
    stage.receives(worker, 12, 1000)
    assert worker.is_stopped
    stage.tick()
    (worker,) = stage.fill_up()
    assert worker.source is stage.given


def test_a_trickle_that_is_all_there_is_goes_on(stage: Stage) -> None:
    stage.alone()
    stage.fill_up()
    stage.receives(stage.only(), 60, 2000)
    assert not stage.only().is_stopped


def test_one_that_became_slow_is_left_for_another_source(stage: Stage) -> None:
    stage.fill_up()
    stage.receives(stage.only(), 20, 8 * MB)
    stage.receives(stage.only(), 12, 1 * MB)
    assert stage.shared.workers == []
    stage.tick()
    assert stage.given.rate == pytest.approx(1 * MB, rel=0.1)


def test_one_of_several_that_is_far_behind_leaves_its_work_to_the_others(stage: Stage) -> None:
    stage.alone()
    stage.shared.lay_out(4096 * MIB)
    workers = ramped(stage)
    slow = workers[0]
    for _ in range(15):
        stage.clock.advance(1.0)
        for worker in workers:
            worker._measure(int((1 if worker is slow else 100) * MB))
        stage.tick()
    assert slow.is_stopped
    assert not any(worker.is_stopped for worker in workers[1:])
    assert not stage.given.is_out


def test_several_that_crawl_are_left_alone_where_there_is_nothing_better(stage: Stage) -> None:
    stage.alone()
    stage.shared.lay_out(4096 * MIB)
    workers = ramped(stage)
    for worker in workers:
        worker.rate = 0.0
    stage.supervisor._pace._rates.clear()
    for _ in range(30):
        stage.clock.advance(1.0)
        for worker in workers:
            worker._measure(5000)
        stage.tick()
    assert not any(worker.is_stopped for worker in workers)


def test_a_limit_makes_nobody_slow(stage: Stage) -> None:
    stage.shared.bandwidth.rate = 4000
    stage.fill_up()
    stage.receives(stage.only(), 30, 3900)
    assert not stage.only().is_stopped
    stage.receives(stage.only(), 12, 900)
    assert stage.shared.workers == []


# -- races --------------------------------------------------------------------------------------------


def nearly_done(stage: Stage, rate: float = 100_000) -> Worker:
    """A connection has all that is left, and is long with it."""
    stage.shared.lay_out(PIECE)
    stage.fill_up()
    worker = stage.only()
    stage.takes_extent(worker)
    stage.receives(worker, 2, rate)
    return worker


def test_what_would_take_the_last_connection_long_is_fetched_from_another_source_as_well(stage: Stage) -> None:
    slow = nearly_done(stage)
    workers = stage.fill_up()
    assert [worker.source for worker in workers] == [stage.given, stage.mirror]
    assert workers[1].rival is slow
    assert stage.fill_up() == workers  # one of them is enough


def test_nobody_races_who_is_soon_done(stage: Stage) -> None:
    nearly_done(stage, 50 * MB)
    assert len(stage.fill_up()) == 1


def test_nobody_races_against_itself(stage: Stage) -> None:
    stage.alone()
    nearly_done(stage)
    assert len(stage.fill_up()) == 1


def test_who_loses_is_dismissed(stage: Stage) -> None:
    slow = nearly_done(stage)
    _, rival = stage.fill_up()
    stage.supervisor.dismiss()
    assert slow.is_stopped
    assert not rival.is_stopped  # it has no work, and ends by itself
    stage.tick()
    assert stage.shared.workers == [rival]
    assert stage.given.error is None


@pytest.mark.parametrize("who", ["the slow one", "the one that was to be faster"])
def test_who_has_lost_a_race_is_dismissed_while_others_go_on(stage: Stage, who: str) -> None:
    """What it was at has come; what another connection is at has not."""
    slow = nearly_done(stage)
    _, rival = stage.fill_up()
    pieces = stage.shared.lay_out(2 * PIECE)
    slow.extent = Extent(PIECE, 2 * PIECE)
    other = Worker(stage.shared, stage.given, requests.Session())  # type: ignore[arg-type]
    other.extent = Extent(0, PIECE)
    stage.shared.workers.append(other)
    stage.connections.enter(stage.given.host, is_first=True)
    rival.extent = Extent(PIECE, 2 * PIECE)
    stage.tick()
    assert stage.shared.workers == [slow, rival, other]
    pieces.fill(1, PIECE)
    winner, loser = (rival, slow) if who == "the slow one" else (slow, rival)
    winner.extent = None
    stage.tick()
    assert loser.is_stopped
    assert stage.shared.workers == [one for one in (slow, rival, other) if one is not loser]
    assert not other.is_stopped
    assert (stage.given.error, stage.mirror.error) == (None, None)


# -- the operation ------------------------------------------------------------------------------------


def test_nothing_is_told_before_anything_is_known(stage: Stage) -> None:
    stage.tick()
    assert stage.operation.told == []


def test_progress_is_told_with_where_it_comes_from(stage: Stage) -> None:
    stage.shared.lay_out(10 * MIB)
    stage.shared.have = 3 * MIB
    stage.tick()
    assert stage.operation.told[-1] == (3 * MIB, 10 * MIB, "bytes", None)
    stage.given.is_out = True
    stage.fill_up()
    stage.tick()
    assert stage.operation.told[-1] == (3 * MIB, 10 * MIB, "bytes", "from mirror.example")


def test_it_is_told_who_does_not_answer(stage: Stage) -> None:
    stage.alone()
    stage.fill_up()
    stage.tick(3)
    assert stage.operation.told == []
    stage.tick(0.1)
    assert stage.operation.told[-1] == (0, None, "bytes", "waiting for an answer from hub.example")
    stage.only().asked_at = None
    stage.shared.have = 1
    stage.tick()
    assert stage.operation.told[-1] == (1, None, "bytes", None)


def test_progress_of_a_body_of_unknown_size_is_told(stage: Stage) -> None:
    stage.shared.have = 5
    stage.tick()
    assert stage.operation.told[-1] == (5, None, "bytes", None)


def test_an_operation_that_may_not_go_on_does_not(stage: Stage) -> None:
    stage.fill_up()
    worker = stage.only()
    stage.operation.interruption = OperationCancelled("it was cancelled")
    with pytest.raises(OperationCancelled):
        stage.tick()
    stage.supervisor.stop()
    assert worker.is_stopped
    assert stage.connections.count() == 0


def test_after_standing_still_it_is_asked_whose_the_operation_is(stage: Stage) -> None:
    """The machine slept, or the process was stopped: somebody else may have it by now."""
    stage.tick(9)
    assert not stage.operation.wake.is_set()
    stage.tick(11)
    assert stage.operation.wake.is_set()
    assert stage.shared.checked_at == stage.clock.monotonic()


def test_a_connection_that_ends_while_it_is_left_is_counted_once(stage: Stage) -> None:
    stage.fill_up()
    worker = stage.only()
    stage.ends(worker, requests.ConnectionError("broke"))
    stage.supervisor._leave(worker, requests.ReadTimeout("slow"))
    assert len(stage.shared.ended) == 1
    stage.supervisor.stop()
    assert stage.connections.count() == 0


def test_it_waits_until_something_happens(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK_S", 600.0)
    looks = threading.Thread(target=stage.supervisor.tick)
    looks.start()
    wait_for(lambda: stage.shared.happened._waiters)  # type: ignore[attr-defined]
    with stage.shared.happened:
        stage.shared.happened.notify_all()
    looks.join(30)
    assert not looks.is_alive()
