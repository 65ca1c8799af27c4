"""Real faults, each against a private server or database: what a person asks when they want to know that it works."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher_recovery.breaker import CircuitBreaker, CircuitState
from launcher_recovery.classification import ErrorClassifier
from launcher_recovery.clock import Clock
from launcher_recovery.config import PREFIX
from launcher_recovery.engine import Engine
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import current_operation
from launcher_recovery.persistence.sqlite import SQLitePersistence
from launcher_recovery.policy import Policy
from launcher_recovery.records import AttemptRecord, RecoveryState
from launcher_recovery.room import amount
from launcher_recovery.selftest.results import Check, require
from launcher_recovery.selftest.server import FaultyServer, faulty_server
from launcher_recovery.strategies import ExponentialBackoffStrategy
from launcher_recovery.testing.clock import VirtualClock

SIZE = 2 << 20
"""Bytes of the file that is downloaded."""

_ATTEMPTS = 6
_PATIENCE_S = 30


@dataclass(frozen=True)
class _Downloaded:
    """How a download ended: the file if there is one, its attempts, and what its last error was."""

    path: Path
    state: RecoveryState
    attempts: list[AttemptRecord]
    error: Exception | None


def _content(size: int = SIZE) -> bytes:
    return os.urandom(size)


def _session() -> Any:
    import requests

    session = requests.Session()
    session.trust_env = False  # the server is on this machine: no proxy knows it
    return session


def _download(
    folder: Path, server: FaultyServer, sha256: str | None = None, *, before_retry: Callable[[], object] | None = None
) -> _Downloaded:
    """Download the server's file under a policy like that of launchers, with waits of hundredths of a second."""
    from launcher_recovery.transfer.arguments import wanted_of
    from launcher_recovery.transfer.attempt import attempt

    store = SQLitePersistence(folder / "state.db")
    try:
        clock = Clock()
        lifecycle = Lifecycle(store, clock=clock)
        strategy = ExponentialBackoffStrategy(initial_delay=0.02, max_delay=0.1)
        policy = Policy(max_attempts=_ATTEMPTS, strategy=strategy, classify=ErrorClassifier().classify)
        destination = folder / "model.bin"
        arguments = {"url": server.url, "destination": str(destination), "sha256": sha256, "connections": 1}
        data = lifecycle.open("self_test", (), arguments, kind="download", title="model.bin")
        wanted = wanted_of(arguments, new_session=_session)

        def run() -> str:
            running = current_operation()
            assert running is not None
            if running.attempt > 1 and before_retry is not None:
                before_retry()
            return str(attempt(running, wanted))

        error: Exception | None = None
        try:
            Engine(lifecycle, clock).run(data, policy, run)
        except Exception as raised:
            error = raised
        ended = lifecycle.current(data.operation_id)
        assert ended is not None
        return _Downloaded(destination, ended.state, store.attempts(data.operation_id), error)
    finally:
        store.close()


def _require_whole(found: _Downloaded, content: bytes) -> None:
    require(found.state is RecoveryState.SUCCESS, f"The download ended {found.state}: {found.error}.")
    require(found.path.read_bytes() == content, "The file is not what the server has.")


def _told(found: _Downloaded, server: FaultyServer) -> str:
    count = len(found.attempts)
    times = "1 attempt" if count == 1 else f"{count} attempts"
    return f"{times}, {amount(server.sent)} sent for {amount(len(server.content))}."


def _survives(folder: Path, faults: Sequence[str], most: float, *, checksum: bool = False) -> str:
    """A download over these faults ends well, with at most `most` times the file sent."""
    content = _content()
    digest = hashlib.sha256(content).hexdigest() if checksum else None
    with faulty_server(content, faults) as server:
        found = _download(folder, server, digest)
        _require_whole(found, content)
        told = _told(found, server)
        require(server.sent <= most * len(content), f"Too much was fetched again: {told}")
        return told


def _refuses(folder: Path, fault: str, category: str) -> str:
    """What no retry helps against is given up at once, and nothing is left where the file would be."""
    with faulty_server(_content(), [fault], forever=True) as server:
        found = _download(folder, server)
        require(found.state is RecoveryState.FAILED, f"The download ended {found.state} in place of failed.")
        require(not found.path.exists(), "There is a file although the server has none.")
        last = found.attempts[-1]
        require(last.category == category, f"It was taken for {last.category} in place of {category}.")
        return f"Given up after {server.requests} request{'s' * (server.requests != 1)}: {last.error}."


def _changed(folder: Path) -> str:
    old, new = _content(), _content(SIZE + 4096)
    with faulty_server(old, ["drop"]) as server:
        found = _download(folder, server, before_retry=lambda: server.replace(new))
        _require_whole(found, new)
        return f"The new file is whole, with nothing of the old one in it: {_told(found, server)}"


def _restart(folder: Path) -> str:
    """A process is killed between two steps; this one goes on, and does not do the first again."""
    database = folder / "state.db"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    command = [sys.executable, "-m", "launcher_recovery.selftest.crash", str(database)]
    killed = subprocess.run(command, env=environment, capture_output=True, timeout=_PATIENCE_S, check=False)
    require(killed.returncode != 0, "The process was not killed.")
    store = SQLitePersistence(database)
    try:
        clock = Clock()
        lifecycle = Lifecycle(store, clock=clock)
        left = store.latest_with_key("two steps")
        require(left is not None, f"Nothing was kept of it: {killed.stderr.decode(errors='replace')[-200:]}")
        assert left is not None
        require(left.state is RecoveryState.IN_PROGRESS, f"It was left {left.state}.")
        lifecycle.release_orphans([left.owner or ""])

        def run() -> str:
            operation = current_operation()
            assert operation is not None
            return str(operation.step("first", lambda: "done again"))

        result = Engine(lifecycle, clock).run(left, Policy(max_attempts=2), run)
        require(result == "done by the process that was killed", "The first step was done again.")
        outcomes = [attempt.outcome for attempt in store.attempts(left.operation_id)]
        require(outcomes == ["interrupted", "success"], f"The attempts ended {outcomes}.")
    finally:
        store.close()
    return "The process was killed, and this one went on: the finished step was not done again."


def leaves_alone(threshold: int, seconds: float) -> None:
    """A breaker with these limits leaves a host alone that fails, then lets one probe through.

    Raises:
        NotPassedError: it does not.
    """
    clock = VirtualClock()
    breaker = CircuitBreaker(threshold, seconds, scope="a dead host", clock=clock)
    for _ in range(threshold):
        require(breaker.acquire() == 0, f"A call was held back before the host had failed {threshold} times.")
        breaker.failure()
    if seconds > 0:
        require(breaker.acquire() > 0, f"The host was asked again although it had failed {threshold} times.")
    clock.advance(seconds + 1)
    require(breaker.acquire() == 0, f"No probe was let through after {seconds:g} s.")
    require(breaker.state is CircuitState.HALF_OPEN, "The probe was not the only call.")
    if seconds > 0:
        require(breaker.acquire() > 0, "A second call went out beside the probe.")
    breaker.success()
    require(breaker.is_closed, "The breaker stayed open although the probe worked.")


def _breaker(folder: Path) -> str:
    leaves_alone(3, 60.0)
    return "After three failures the host was left alone for a minute, then one probe opened the way again."


SCENARIOS: tuple[Check, ...] = (
    Check(
        "dropped_connection",
        "The connection breaks, twice",
        "The download goes on at the byte where it broke off, and fetches nothing twice.",
        functools.partial(_survives, faults=["drop", "drop"], most=1.05),
    ),
    Check(
        "server_error",
        "The server answers 503, three times",
        "The download waits and tries again until it is answered.",
        functools.partial(_survives, faults=["503", "503", "503"], most=1.0),
    ),
    Check(
        "rate_limited",
        "The server answers 429 and asks for a second",
        "The download comes again, and not before the server wants it to.",
        functools.partial(_survives, faults=["429"], most=1.0),
    ),
    Check(
        "range_ignored",
        "The server does not know ranges",
        "After a break the whole file comes again, and is not put behind what was there.",
        functools.partial(_survives, faults=["drop", "no-range"], most=1.6),
    ),
    Check(
        "wrong_byte",
        "One byte is wrong",
        "The checksum does not fit, what is wrong is fetched again, and the file is right.",
        functools.partial(_survives, faults=["flip"], most=2.1, checksum=True),
    ),
    Check(
        "changed_file",
        "The file changes while it is downloaded",
        "The new file comes whole, and is never mixed with the old one.",
        _changed,
    ),
    Check(
        "silence",
        "The server falls silent",
        "The download does not wait for ever, and goes on over another connection.",
        functools.partial(_survives, faults=["silence"], most=1.05),
    ),
    Check(
        "not_found",
        "The file is not there any more",
        "It is given up at once, with the reason; nothing is left behind.",
        functools.partial(_refuses, fault="404", category="not_found"),
    ),
    Check(
        "login_page",
        "A page comes in place of the file",
        "The page is recognised, and not kept as a model.",
        functools.partial(_refuses, fault="page", category="permission"),
    ),
    Check(
        "restart",
        "The process is killed in the middle",
        "The next one goes on with the first step that is not finished.",
        _restart,
    ),
    Check(
        "dead_host",
        "A host fails again and again",
        "It is left alone for a while, then tried by one call.",
        _breaker,
    ),
)
"""All of them, in the order in which they are run."""
