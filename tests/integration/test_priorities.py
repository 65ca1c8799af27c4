"""What a person finds important is served first, also when that is said while bytes come: over HTTP, at a terminal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask_socketio import SocketIO

from launcher_recovery import SQLitePersistence, transfer
from launcher_recovery.cli import main
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.records import RecoveryData, RecoveryState, priority_of
from launcher_recovery.transfer.connections import fetching
from launcher_recovery.transfer.connections.limits import Bandwidth
from launcher_recovery.web import init_app
from tests.origin import File, Origin
from tests.support import Host, wait_for
from tests.transfers import integrator

KIB = 1 << 10
PORTION = 16 * KIB
"""What a connection reads at a time when the limit is low; it takes one second of the clock."""

FILE = File(20 * PORTION)


class Steps:
    """A clock that stands still until it is moved; who waits is woken by every move."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._moves = 0
        self._moved = threading.Condition()

    def now(self) -> float:
        return self._now

    def wait(self, seconds: float) -> None:
        with self._moved:
            seen = self._moves
            self._moved.wait_for(lambda: self._moves != seen, 30)

    def move(self, seconds: float = 0.0) -> None:
        with self._moved:
            self._now += seconds
            self._moves += 1
            self._moved.notify_all()


class Told(Bandwidth):
    """Remembers with which priority each portion was let through."""

    def __init__(self, steps: Steps) -> None:
        super().__init__(PORTION, monotonic=steps.now, wait=steps.wait)
        self.steps = steps
        self.served: list[int] = []

    def take(self, count: int, priority: int | Callable[[], int], is_stopped: Callable[[], bool]) -> None:
        super().take(count, priority, is_stopped)
        assert callable(priority)
        self.served.append(priority())

    def waits(self, *priorities: int) -> bool:
        """Whether exactly such ones wait, having looked again how important they are."""
        self.steps.move()
        return sorted(self._waiting.elements()) == sorted(priorities)

    def serve(self, portions: int, *priorities: int) -> list[int]:
        """Let so many portions through, each when everybody waits; with which priorities they were."""
        before = len(self.served)
        for number in range(1, portions + 1):
            wait_for(lambda: self.waits(*priorities))
            self.steps.move(1.0)
            wait_for(lambda number=number: len(self.served) == before + number)  # type: ignore[misc]
        return self.served[before:]


@pytest.fixture
def bandwidth(monkeypatch: pytest.MonkeyPatch) -> Told:
    made = Told(Steps())
    monkeypatch.setattr(fetching, "BANDWIDTH", made)
    return made


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "models")
    made.attach()
    with integrator(made.integrator):
        yield made
    made.detach()


def begin(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def test_of_downloads_that_share_a_limit_the_more_important_one_comes_first(host: Host, bandwidth: Told) -> None:
    """As soon as that is said, over HTTP or at the command line, and as often as it is said."""
    app = Flask("host")
    init_app(app, host.integrator, SocketIO(app, async_mode="threading"))
    client = app.test_client()

    def say(name: str, priority: int) -> None:
        operation_id = next(one.operation_id for one in host.operations() if one.title == name)
        path = f"/api/recovery/operations/{operation_id}/priority"
        answer = client.post(path, json={"priority": priority}, headers={"X-Launcher-Recovery": "1"})
        assert answer.get_json()["message"] == f"{name} has the priority {priority} now."

    with Origin() as origin:
        url = origin.add(FILE)
        threads = [begin(lambda: host.download("first.bin", url))]
        wait_for(lambda: bandwidth.waits(0))
        threads += [begin(lambda: host.download("second.bin", url))]
        wait_for(lambda: bandwidth.waits(0, 0))
        say("second.bin", 5)
        assert bandwidth.serve(6, 0, 5) == [5] * 6
        say("first.bin", 9)
        assert bandwidth.serve(3, 9, 5) == [9] * 3
        assert main(["priority", str(host.folder / "first.bin"), "-1", "--quiet"]) == 0
        assert bandwidth.serve(3, -1, 5) == [5] * 3
        bandwidth.rate = None
        bandwidth.steps.move()
        for thread in threads:
            thread.join(30)
    for name in ("first.bin", "second.bin"):
        assert (host.folder / name).read_bytes() == FILE.content()


def test_what_a_call_says_counts_until_a_person_says_something_else(
    tmp_path: Path, host: Host, bandwidth: Told
) -> None:
    """Also a call for a download that is under way already."""
    with Origin() as origin:
        url = origin.add(FILE)
        threads = [begin(lambda: transfer.download(url, tmp_path / "first.bin", priority=3))]
        wait_for(lambda: bandwidth.waits(3))
        threads += [begin(lambda: transfer.download(url, tmp_path / "second.bin"))]
        wait_for(lambda: bandwidth.waits(3, 0))
        threads += [begin(lambda: transfer.download(url, tmp_path / "second.bin", priority=7))]
        assert bandwidth.serve(4, 3, 7) == [7] * 4
        [operation] = [one for one in host.operations() if one.title == "second.bin"]
        host.integrator.set_priority(operation.operation_id, 1)
        assert bandwidth.serve(4, 3, 1) == [3] * 4
        bandwidth.rate = None
        bandwidth.steps.move()
        for thread in threads:
            thread.join(30)
        assert len(origin.settled().requests()) == 2
    assert (tmp_path / "second.bin").read_bytes() == FILE.content()


# -- the command ----------------------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lifecycle]:
    """Another process's view of the database that commands use."""
    monkeypatch.setenv("RECOVERY_PERSISTENCE_PATH", str(tmp_path / "recovery.db"))
    store = SQLitePersistence(tmp_path / "recovery.db")
    with integrator(None):
        yield Lifecycle(store, owner_id="another process")
    store.close()


def enter(lifecycle: Lifecycle, destination: Path) -> RecoveryData:
    arguments = {"url": "http://h/m.bin", "destination": str(destination)}
    return lifecycle.open(
        "launcher_download", (), arguments, kind="download", key=f"download:{destination}", title=destination.name
    )


def test_a_download_is_found_by_its_file_or_its_id(
    tmp_path: Path, kept: Lifecycle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever process it runs in; a relative path is one of the current folder."""
    data = enter(kept, (tmp_path / "models" / "m.bin").resolve())
    monkeypatch.chdir(tmp_path)
    for priority, target in enumerate(["models/m.bin", str(tmp_path / "models" / "m.bin"), data.operation_id], start=4):
        assert main(["priority", target, str(priority)]) == 0
        assert capsys.readouterr() == (f"m.bin has the priority {priority} now\n", "")
        found = kept.store.get(data.operation_id)
        assert priority_of(found) == priority


@pytest.mark.parametrize("state", ["none", "over"])
def test_what_is_not_under_way_has_no_priority(
    tmp_path: Path, kept: Lifecycle, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    """One sentence, and exit status 1."""
    path = (tmp_path / "m.bin").resolve()
    said = f"there is no download to {path}, and no operation of that id"
    if state == "over":
        kept.cancel(enter(kept, path).operation_id)
        said = f"m.bin is over, so that its priority counts for nothing: its state is {RecoveryState.CANCELLED}"
    assert main(["priority", str(path), "5"]) == 1
    assert capsys.readouterr() == ("", f"launcher-recovery priority: {said}.\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["m.bin"], "the following arguments are required: N"),
        (["m.bin", "high"], "argument N: invalid int value: 'high'"),
    ],
)
def test_a_priority_that_is_none_is_wrong_usage(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2."""
    with pytest.raises(SystemExit) as ended:
        main(["priority", *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
