"""A download that is paused or cancelled lets go of whatever it waits for, although that never comes."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3.util.connection

from launcher_recovery.clock import Clock
from launcher_recovery.errors import OperationCancelled
from launcher_recovery.persistence import MemoryPersistence
from launcher_recovery.transfer.connections.limits import BANDWIDTH
from launcher_recovery.transfer.integrity.hashers import HASHERS
from launcher_recovery.transfer.partial import part
from tests.origin import File, Origin
from tests.origin import behaviours as act
from tests.support import but_for, recovery_threads, wait_for
from tests.transfers import Downloads, turn

MIB = 1 << 20
FILE = File(8 * MIB)
FOR_EVER_S = 600.0
SOON_S = 30.0
"""Far less than the servers of these tests are silent, and far more than a busy machine needs."""


@dataclass
class Hang:
    """What a download waits for.

    Args:
        url: what is downloaded.
        has_begun: whether it waits by now.
        release: from now on nothing is waited for.
        in_system: whether it is within a call of the system that nothing can end.
    """

    url: str
    has_begun: Callable[[], object]
    release: Callable[[], object] = lambda: None
    in_system: bool = False


class Stage:
    """What the hangs are made of."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch
        self.stack = ExitStack()
        self.origin = self.stack.enter_context(Origin())

    def _of_system(self, function: Callable[..., Any]) -> tuple[Callable[..., Any], Hang]:
        """A function that does not return before it is released."""
        began, released = threading.Event(), threading.Event()
        self.stack.callback(released.set)

        def hangs(*args: Any, **kwargs: Any) -> Any:
            began.set()
            released.wait(FOR_EVER_S)
            return function(*args, **kwargs)

        return hangs, Hang(self.origin.add(FILE), began.is_set, released.set, in_system=True)

    def name(self) -> Hang:
        function, hang = self._of_system(socket.getaddrinfo)
        self.patch.setattr(urllib3.util.connection, "socket", but_for(socket, getaddrinfo=function))
        return hang

    def connection(self) -> Hang:
        function, hang = self._of_system(urllib3.util.connection.create_connection)
        self.patch.setattr(urllib3.util.connection, "create_connection", function)
        return hang

    def handshake(self) -> Hang:
        """One is sent to a server that accepts, and does not speak TLS; the second time there is the file."""
        mute = self.stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        accepted: list[socket.socket] = []

        def accept() -> None:
            accepted.append(self.stack.enter_context(mute.accept()[0]))
            accepted[0].recv(1)

        thread = threading.Thread(target=accept)
        thread.start()
        self.stack.callback(thread.join)
        there = f"https://127.0.0.1:{mute.getsockname()[1]}/"
        return Hang(self.origin.add(FILE, act.script(act.redirect(there))), lambda: not thread.is_alive())

    def head(self) -> Hang:
        return Hang(self.origin.add(FILE, act.script(act.silence(FOR_EVER_S))), self.origin.requests)

    def body(self) -> Hang:
        url = self.origin.add(FILE, act.script(act.stall(MIB, FOR_EVER_S)))
        return Hang(url, lambda: self.origin.sent() == MIB)

    def sync(self) -> Hang:
        """The last one, before the file is published; the disk is slow, or many others write to it."""
        function, hang = self._of_system(os.fdatasync)
        self.patch.setattr(part, "os", but_for(os, fdatasync=function))
        return hang

    def sync_of_the_size(self) -> Hang:
        function, hang = self._of_system(os.fsync)
        self.patch.setattr(part, "os", but_for(os, fsync=function))
        return hang

    def sync_meanwhile(self) -> Hang:
        """One that was begun while bytes came, and is not over when all are there."""
        turn({"sync_bytes": 1}, self.patch.setattr)
        hang = self.sync()
        has_begun = hang.has_begun
        hang.has_begun = lambda: has_begun() and self.origin.sent() == FILE.size
        return hang

    def limit(self) -> Hang:
        def release() -> None:
            BANDWIDTH.rate = None

        self.stack.callback(release)
        BANDWIDTH.rate = 1000.0
        return Hang(self.origin.add(FILE), lambda: sum(BANDWIDTH._waiting.values()), release)

    def hashes(self) -> Hang:
        """Of what has come."""
        hashing = Slow()
        self.patch.setattr("launcher_recovery.transfer.integrity.checksums.HASHERS", {**HASHERS, "sha256": hashing.new})
        self.stack.callback(hashing.expect_not_all)
        return Hang(self.origin.add(FILE), lambda: self.origin.sent() == FILE.size and hashing.done, hashing.release)

    def comparison(self) -> Hang:
        """A byte is wrong, and the server does not let it be found."""
        url = self.origin.add(FILE, act.flip(5 * MIB), act.script(None, act.silence(FOR_EVER_S)))
        return Hang(url, lambda: len(self.origin.requests()) == 2)


class Slow:
    """A hash that takes its time."""

    def __init__(self) -> None:
        self.done = 0
        self._released = threading.Event()

    def new(self) -> Any:
        return SlowHasher(self, HASHERS["sha256"]())

    def update(self, digest: Any, data: memoryview) -> None:
        self._released.wait(0.1)
        self.done += len(data)
        digest.update(data)

    def release(self) -> None:
        self._released.set()

    def expect_not_all(self) -> None:
        assert self._released.is_set() or self.done < FILE.size


class SlowHasher:
    def __init__(self, slow: Slow, digest: Any) -> None:
        self._slow = slow
        self._digest = digest

    def update(self, data: memoryview) -> None:
        self._slow.update(self._digest, data)

    def copy(self) -> SlowHasher:
        return SlowHasher(self._slow, self._digest.copy())

    def hexdigest(self) -> Any:
        return self._digest.hexdigest()


HANGS = (
    "name",
    "connection",
    "handshake",
    "head",
    "body",
    "limit",
    "hashes",
    "comparison",
    "sync",
    "sync_of_the_size",
    "sync_meanwhile",
)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    made = Stage(monkeypatch)
    with made.stack:
        yield made


class Caller(threading.Thread):
    """Somebody who downloads."""

    def __init__(self, hang: Hang, destination: Path) -> None:
        super().__init__()
        self.hang = hang
        self.destination = destination
        self.downloads = Downloads(MemoryPersistence(), Clock())
        self.attempt_is_over = threading.Event()
        self.downloads.engine.observe = self._observe  # type: ignore[assignment]
        self.error: Exception | None = None

    def _observe(self, event: str, data: object, error: object) -> None:
        if event == "attempt_finished":
            self.attempt_is_over.set()

    def run(self) -> None:
        try:
            self.downloads(self.hang.url, self.destination, sha256=FILE.sha256)
        except Exception as error:
            self.error = error

    def waits(self) -> Caller:
        """Itself, once it has begun to wait."""
        self.start()
        wait_for(self.hang.has_begun)
        return self

    def is_left(self) -> bool:
        """Whether the connection has ended, although the server still says nothing."""
        return "recovery-connection" not in recovery_threads()


@pytest.mark.parametrize("what", HANGS)
def test_a_cancelled_download_lets_go_of(tmp_path: Path, stage: Stage, what: str) -> None:
    hang: Hang = getattr(stage, what)()
    caller = Caller(hang, tmp_path / "model.bin").waits()
    caller.downloads.lifecycle.cancel(caller.downloads.record.operation_id)
    caller.join(SOON_S)
    assert not caller.is_alive()
    assert isinstance(caller.error, OperationCancelled)
    assert hang.in_system or wait_for(caller.is_left, SOON_S)
    assert not (tmp_path / "model.bin").exists()


@pytest.mark.parametrize("what", HANGS)
def test_a_paused_download_lets_go_and_comes_back_to(tmp_path: Path, stage: Stage, what: str) -> None:
    hang: Hang = getattr(stage, what)()
    caller = Caller(hang, tmp_path / "model.bin").waits()
    operation_id = caller.downloads.record.operation_id
    caller.downloads.lifecycle.pause(operation_id)
    assert caller.attempt_is_over.wait(SOON_S)
    assert hang.in_system or wait_for(caller.is_left, SOON_S)
    hang.release()
    caller.downloads.lifecycle.resume(operation_id)
    caller.join(SOON_S)
    assert caller.error is None
    assert (tmp_path / "model.bin").read_bytes() == FILE.content()
    if what.startswith("sync"):  # all of it had come, but for what may have been on its way meanwhile
        on_its_way = FILE.size // 8 if what == "sync_meanwhile" else 0
        assert FILE.size <= stage.origin.settled().sent() <= FILE.size + on_its_way
