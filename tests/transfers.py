"""Runs downloads as operations, in this process or in a child that can be killed."""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launcher_recovery import integration
from launcher_recovery.classification import ErrorClassifier
from launcher_recovery.clock import Clock, Wake
from launcher_recovery.engine import Engine
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.persistence import MemoryPersistence
from launcher_recovery.persistence.base import Store
from launcher_recovery.policy import Policy
from launcher_recovery.records import AttemptRecord, RecoveryData
from launcher_recovery.strategies import FixedDelayStrategy
from launcher_recovery.transfer import download
from tests.origin import File

ROOT = Path(__file__).parents[1]
ATTEMPTS = 8
"""Attempts in a row without progress, as the launcher policy has them."""

_TRANSFER = "launcher_recovery.transfer."
KNOBS = {
    "piece": ["partial.pieces:PIECE", "connections.allotment:_LEAST"],
    "sync_bytes": ["partial.durability:SYNC_BYTES"],
    "boot_id": ["partial.part:boot_id"],
    "silence_s": ["connections.worker:SILENCE_S", "sources.proving:_SILENCE_S"],
    "first_byte_s": ["http.request:FIRST_BYTE_TIMEOUT_S"],
    "answer_s": ["connections.supervisor:_ANSWER_S"],
    "slow_s": ["connections.pace:SLOW_S", "connections.supervisor:SLOW_S"],
    "gather_s": ["connections.worker:_GATHER_S"],
    "look_s": ["connections.worker:_LOOK_S"],
    "rate_s": ["connections.worker:_RATE_S"],
    "help_s": ["connections.allotment:HELP_S"],
}
"""What of the transfer tests replace, mostly constants by smaller ones: by a name that stays when it is moved."""

Setter = Callable[[Any, str, Any], object]


def turn(knobs: Mapping[str, Any], set_attribute: Setter = setattr) -> None:
    """Give these other values; `monkeypatch.setattr` as the second argument undoes it."""
    for knob, value in knobs.items():
        for place in KNOBS[knob]:
            module, _, name = (_TRANSFER + place).partition(":")
            assert hasattr(importlib.import_module(module), name), f"{place} is somewhere else by now"
            set_attribute(importlib.import_module(module), name, value)


@contextmanager
def integrator(made: RecoveryIntegrator | None) -> Iterator[None]:
    """Meanwhile it is the one of this process; None: one that is made from the environment, and ends with the block."""
    before = integration._integrator
    integration.set_recovery_integrator(made)
    try:
        yield
    finally:
        if made is None and integration._integrator is not None:
            integration._integrator.stop()
        integration.set_recovery_integrator(before)


@functools.cache
def _in_memory() -> RecoveryIntegrator:
    return RecoveryIntegrator(persistence=MemoryPersistence())


def with_pieces(folder: Path, url: str, file: File, length: int) -> dict[str, Any]:
    """The options of a download whose caller has a Metalink file (RFC 5854) with the hash of each piece."""
    starts = range(0, file.size, length)
    pieces = [hashlib.sha256(file.content(start, min(start + length, file.size))).hexdigest() for start in starts]
    hashes = "".join(f"<hash>{value}</hash>" for value in pieces)
    path = folder / "model.meta4"
    path.write_text(
        f'<metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="model.bin"><size>{file.size}</size>'
        f'<hash type="sha-256">{file.sha256}</hash>'
        f'<pieces length="{length}" type="sha-256">{hashes}</pieces><url>{url}</url></file></metalink>'
    )
    return {"metalink": path}


def durable_bytes(store: Store, destination: Path) -> int:
    """How many bytes of a download the journal promises to be there after a power cut."""
    kept = store.transfer(str(destination.resolve()))
    if kept is None or kept.partial is None or not Path(kept.partial).exists() or "pieces" not in kept.journal:
        return 0  # also when it was published already, of which the journal does not know
    pieces = kept.journal["pieces"]
    size, piece = pieces["size"], pieces["piece"]
    runs = [(first * piece, min(size, (last + 1) * piece)) for first, last in pieces["durable"]]
    return sum(end - start for start, end in runs)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in lower-case hexadecimal, without holding it in memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class Hasty(Clock):
    """The real time, except that nobody waits for it: a wait lets it jump ahead, after a moment for other threads."""

    _MOMENT_S = 0.002

    def __init__(self) -> None:
        self._skipped = 0.0
        self._lock = threading.Lock()

    def time(self) -> float:
        return super().time() + self._skipped

    def monotonic(self) -> float:
        return super().monotonic() + self._skipped

    def wait(self, wake: Wake, seconds: float | None) -> bool:
        woken = super().wait(wake, seconds if seconds is None else min(seconds, self._MOMENT_S))
        if not woken and seconds is not None:
            with self._lock:
                self._skipped += max(0.0, seconds - self._MOMENT_S)
        return woken


class Downloads:
    """Runs downloads one after the other under a policy like the launcher's, which waits for nothing.

    Args:
        store: keeps what is known; another instance with the same store goes on with it.
        owner: who runs them; a later life of the process has another name.
    """

    def __init__(self, store: Store, clock: Clock | None = None, owner: str = "test", delay_s: float = 1.0) -> None:
        self.store = store
        self.clock = clock or Hasty()
        self.lifecycle = Lifecycle(store, owner_id=owner, clock=self.clock)
        self.engine = Engine(self.lifecycle, self.clock)
        self.data: RecoveryData | None = None
        self._delay_s = delay_s

    def __call__(self, url: str, destination: Path, *, max_attempts: int = ATTEMPTS, **options: Any) -> Path:
        """Download `url`; the operation goes on where an earlier one for `destination` failed, or was cut off."""
        data = self.lifecycle.open(
            "launcher_download",
            (),
            {"url": url, "destination": str(destination)},
            kind="download",
            key=f"download:{destination}",
            title=destination.name,
            revive=True,
        )
        self.data = data
        policy = Policy(
            max_attempts=max_attempts,
            strategy=FixedDelayStrategy(self._delay_s),
            classify=ErrorClassifier(now=self.clock.time).classify,
            unknown_attempts=2,
        )
        with integrator(_in_memory()):
            result: Path = self.engine.run(data, policy, lambda: download(url, destination, **options))
        return result

    @property
    def record(self) -> RecoveryData:
        assert self.data is not None
        found = self.store.get(self.data.operation_id)
        assert found is not None
        return found

    @property
    def attempts(self) -> list[AttemptRecord]:
        found: list[AttemptRecord] = self.store.attempts(self.record.operation_id)
        return found

    @property
    def outcomes(self) -> list[tuple[str | None, str | None]]:
        return [(attempt.outcome, attempt.category) for attempt in self.attempts]


class Child:
    """The same in a process of its own, as anybody calls it: outside of every operation, begun as often as one likes.

    Args:
        store: the SQLite file.
        options: of the download, as JSON values.
        knobs: see `turn`.
        has_flock: whether file locks work there.
        delay_s: seconds between attempts at most.
    """

    def __init__(
        self,
        store: Path,
        url: str,
        destination: Path,
        *,
        knobs: Mapping[str, float] | None = None,
        has_flock: bool = True,
        delay_s: float = 0.05,
        **options: Any,
    ) -> None:
        self._order = {
            "url": url,
            "destination": str(destination),
            "options": options,
            "knobs": dict(knobs or {}),
            "has_flock": has_flock,
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RECOVERY_")}
        delays = dict.fromkeys(("RECOVERY_INITIAL_DELAY", "RECOVERY_MAX_DELAY"), str(delay_s))
        self._environment = {**inherited, **delays, "RECOVERY_PERSISTENCE_PATH": str(store)}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Child:
        assert self._process is None, "it runs already"
        command = [sys.executable, "-m", "tests.download_process", json.dumps(self._order)]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def kill(self) -> None:
        """End it with SIGKILL: nothing in it gets to run any more."""
        assert self._process is not None, "it does not run"
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()
        self._process = None

    def result(self, seconds: float = 120.0) -> dict[str, Any]:
        """What it printed at its end: {"path"}, or {"error", "message"}."""
        assert self._process is not None, "it does not run"
        said, _ = self._process.communicate(timeout=seconds)
        self._process = None
        lines = said.splitlines()
        assert lines, "it said nothing"
        try:
            found: dict[str, Any] = json.loads(lines[-1])
        except ValueError:
            raise AssertionError(said) from None
        return found

    def __enter__(self) -> Child:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.kill()
