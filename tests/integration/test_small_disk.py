"""Real small disks that are filled, or taken away, under an operation: it waits, and goes on by itself."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import admission
from launcher_recovery.classification import ErrorClassifier
from launcher_recovery.engine import Engine
from launcher_recovery.errors import OperationCancelled
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import current_operation
from launcher_recovery.persistence import SQLitePersistence
from launcher_recovery.policy import Policy
from launcher_recovery.records import RecoveryData, RecoveryState, WaitingFor
from launcher_recovery.strategies import FixedDelayStrategy
from launcher_recovery.transfer.disk.folders import check_room, explained, folder_for
from tests.disks import limited_disk, memory_disk, real_disk, resize
from tests.support import wait_for

MIB = 1 << 20
SIZE = 6 * MIB


class Work:
    """Runs a handler as an operation in a thread, as the launcher does, in real time."""

    def __init__(self, folder: Path) -> None:
        self.store = SQLitePersistence(folder / "recovery.db")
        self.lifecycle = Lifecycle(self.store)
        self.outcome: list[Any] = []
        self.thread: threading.Thread | None = None

    def start(self, handler: Callable[[], Any], destination: Path) -> None:
        kwargs = {"destination": str(destination)}
        self.data = self.lifecycle.open("write", (), kwargs, kind="download", title=destination.name)
        classifier = ErrorClassifier()
        policy = Policy(
            wait_for_resources=True,
            strategy=FixedDelayStrategy(0.05),
            classify=lambda error: classifier.classify(error, operation=self.data),
        )

        def run() -> None:
            try:
                self.outcome.append(Engine(self.lifecycle).run(self.data, policy, handler))
            except Exception as error:
                self.outcome.append(error)

        self.thread = threading.Thread(target=run)
        self.thread.start()

    @property
    def now(self) -> RecoveryData:
        found = self.store.get(self.data.operation_id)
        assert found is not None
        return found

    @property
    def outcomes(self) -> list[str | None]:
        return [attempt.outcome for attempt in self.store.attempts(self.data.operation_id)]

    def until_it_waits(self, what: WaitingFor) -> RecoveryData:
        wait_for(lambda: self.outcome or self.now.waiting_for is what)
        assert self.outcome == []
        assert (self.now.state, self.now.next_attempt_at) == (RecoveryState.RECOVERING, None)
        return self.now

    def finish(self) -> Any:
        assert self.thread is not None
        self.thread.join(60)
        [outcome] = self.outcome
        return outcome


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    monkeypatch.setattr(admission, "LOOK_S", 0.05)
    made = Work(tmp_path)
    yield made
    if made.thread is not None and made.thread.is_alive():
        made.lifecycle.cancel(made.data.operation_id)
        made.thread.join(60)
    made.store.close()


def naive(destination: Path) -> str:
    """Appends what is missing to a file, as somebody's own handler would."""
    with destination.open("ab", buffering=0) as file:
        while file.tell() < SIZE:
            file.write(b"x" * min(64 << 10, SIZE - file.tell()))
    return "whole"


def careful(destination: Path, had_before: Callable[[], bool]) -> str:
    """Asks for the folder and the room first, and says what an error means."""
    folder = folder_for(destination, had_before())
    had = destination.stat().st_size if destination.exists() else 0
    try:
        check_room(folder, SIZE - had)
        return naive(destination)
    except OSError as error:
        raise explained(error, folder, SIZE - destination.stat().st_size) from error


def test_a_full_disk_is_waited_for(work: Work, tmp_path: Path) -> None:
    """A handler that knows nothing of disks fills one: what it wrote stays, the operation waits, and when something
    else is deleted it goes on by itself where it was."""
    with memory_disk(tmp_path / "disk", 8 * MIB) as disk:
        other, destination = disk / "other.bin", disk / "model.bin"
        other.write_bytes(bytes(5 * MIB))
        work.start(lambda: naive(destination), destination)
        waiting = work.until_it_waits(WaitingFor.DISK_SPACE)
        kept = destination.stat().st_size
        assert 2 * MIB < kept <= 3 * MIB
        assert waiting.fix == "free_disk_space"
        assert waiting.explanation == (
            f"The disk with {disk} is full: 0 B are free. It goes on by itself as soon as there is room."
        )
        other.unlink()
        assert work.finish() == "whole"
        assert destination.read_bytes() == b"x" * SIZE
        assert work.outcomes == ["failed", "success"]


def test_nothing_is_begun_that_does_not_fit(work: Work, tmp_path: Path) -> None:
    """A handler that says what it needs is told how much is missing, also when that changes, and nothing is written
    before all of it is there."""
    with memory_disk(tmp_path / "disk", 4 * MIB) as disk:
        destination = disk / "model.bin"
        work.start(lambda: careful(destination, lambda: False), destination)
        waiting = work.until_it_waits(WaitingFor.DISK_SPACE)
        assert waiting.explanation is not None
        assert waiting.explanation.startswith(f"There is not enough room on the disk: 2.1 MB are missing in {disk}. ")
        resize(disk, 5 * MIB)
        wait_for(lambda: "1 MB are missing" in (work.now.explanation or ""))
        assert not destination.exists()
        resize(disk, 7 * MIB)
        assert work.finish() == "whole"
        assert work.outcomes == ["failed", "success"]


def test_a_quota_is_waited_for(work: Work, tmp_path: Path) -> None:
    """The disk has room, but not for this user: it waits until a small file may be written there again."""
    folder = tmp_path / "disk" / "models"
    with limited_disk(folder, tmp_path / "image", 4 * MIB) as limit:
        destination = folder / "model.bin"
        work.start(lambda: naive(destination), destination)
        waiting = work.until_it_waits(WaitingFor.DISK_SPACE)
        assert waiting.explanation == (
            f"What this user may store in {folder} is used up (a quota). It goes on by itself as soon as there is room."
        )
        assert 2 * MIB < destination.stat().st_size < SIZE
        limit(32 * MIB)
        assert work.finish() == "whole"
        assert destination.read_bytes() == b"x" * SIZE
        assert work.outcomes == ["failed", "success"]


def test_a_person_ends_the_wait(work: Work, tmp_path: Path) -> None:
    """Who retries by hand is obeyed at once, though there is no room; a cancel ends it, and keeps what was written."""
    with memory_disk(tmp_path / "disk", 2 * MIB) as disk:
        destination = disk / "model.bin"
        work.start(lambda: naive(destination), destination)
        work.until_it_waits(WaitingFor.DISK_SPACE)
        work.lifecycle.retry(work.data.operation_id)
        wait_for(lambda: work.outcomes == ["failed", "failed"])
        work.until_it_waits(WaitingFor.DISK_SPACE)
        work.lifecycle.cancel(work.data.operation_id)
        assert isinstance(work.finish(), OperationCancelled)
        assert destination.stat().st_size == 2 * MIB


def test_a_disk_that_is_unplugged_is_waited_for(work: Work, tmp_path: Path) -> None:
    """Its folder is not made on the disk below; plugged in again, the operation goes on with what is on it."""
    image, point = tmp_path / "image", tmp_path / "usb"
    written, lost = threading.Event(), threading.Event()
    with real_disk(point, image, 32 * MIB) as disk:
        destination = disk / "models" / "model.bin"

        def handler() -> str:
            operation = current_operation()
            assert operation is not None
            if operation.attempt == 1:
                folder_for(destination, had_before=False)
                destination.write_bytes(b"x" * MIB)
                written.set()  # and closed: a disk with an open file is not unmounted
                lost.wait(30)
                raise ConnectionError("the network went as well")
            return careful(destination, lambda: True)

        work.start(handler, destination)
        assert written.wait(30)
        subprocess.run(["umount", str(point)], check=True)
        lost.set()
        waiting = work.until_it_waits(WaitingFor.DISK)
        assert (waiting.fix, waiting.attempt) == ("reconnect_disk", 2)
        assert waiting.explanation == (
            f"The folder {disk / 'models'} is not there any more: its disk was unplugged, or it was deleted. "
            "It goes on by itself as soon as the folder is back."
        )
        assert list(point.iterdir()) == []
        subprocess.run(["mount", "-o", "loop", str(image), str(point)], check=True)
        assert work.finish() == "whole"
        assert destination.read_bytes() == b"x" * SIZE
        assert work.outcomes == ["failed", "failed", "success"]


def test_a_disk_that_is_read_only_is_not_waited_for(work: Work, tmp_path: Path) -> None:
    """Somebody has to do something about it first: it fails at once, and says so."""
    with memory_disk(tmp_path / "disk", 8 * MIB, "ro") as disk:
        destination = disk / "model.bin"
        work.start(lambda: naive(destination), destination)
        assert isinstance(work.finish(), OSError)
        assert (work.now.state, work.now.fix) == (RecoveryState.FAILED, "fix_permissions")
        assert work.now.explanation == "The disk can be read, but not written to."


def test_a_name_that_is_too_long_is_not_waited_for(work: Work, tmp_path: Path) -> None:
    """It says what to do."""
    destination = tmp_path / ("m" * 300)
    work.start(lambda: naive(destination), destination)
    assert isinstance(work.finish(), OSError)
    assert (work.now.state, work.now.fix) == (RecoveryState.FAILED, "shorten_path")
