"""A store, a lifecycle and an engine on a clock that does not wait, for the unit tests of the core."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

from launcher_recovery.classification import ErrorCategory, Retry, Verdict
from launcher_recovery.engine import Engine
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.persistence.base import Owner, Store
from launcher_recovery.policy import Policy
from launcher_recovery.records import AttemptRecord, RecoveryData
from launcher_recovery.signals import Event
from launcher_recovery.testing import VirtualClock

ME = Owner("me", "this-host", 1, "boot/1")


# Written by a process that has a `store`: numbered operations, each told when it is kept.
WRITER = """
from launcher_recovery import RecoveryData
number = 0
while True:
    number += 1
    store.insert(RecoveryData(str(number), 'work'))
    print(number, flush=True)
"""


def killed(process: subprocess.Popen[str], lines: int) -> int:
    """How many lines a process wrote that is killed after so many."""
    assert process.stdout is not None
    for _ in range(lines):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    more = len([line for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")])
    process.wait(20)
    process.communicate()
    return lines + more


def killed_while_it_writes(process: subprocess.Popen[str], reopen: Callable[[], Store]) -> None:
    """Everything that the `WRITER` was told is kept is there after it was killed."""
    written = killed(process, 20)
    store = reopen()
    store.check()
    kept = {int(data.operation_id) for data in store.find(limit=-1)}
    assert kept >= set(range(1, written + 1))
    assert [event.seq for event in store.events_since(0, limit=10**6)] == list(range(1, len(kept) + 1))
    store.close()


class Kit:
    """A store, a clock, and what runs operations with them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = VirtualClock()
        self.observed: list[tuple[str, str, BaseException | None]] = []
        self.lifecycle = Lifecycle(store, owner_id=ME.owner_id, clock=self.clock)
        self.engine = Engine(self.lifecycle, self.clock, self.observe)
        store.heartbeat(ME, self.clock.time())

    def observe(self, event: str, data: RecoveryData, error: BaseException | None) -> None:
        self.observed.append((event, data.state.value, error))

    def open(self, **given: Any) -> RecoveryData:
        arguments: dict[str, Any] = {"function_name": "work", "args": (), "kwargs": {}, **given}
        return self.lifecycle.open(**arguments)

    def run(self, handler: Callable[[], Any], policy: Policy | None = None, **given: Any) -> Any:
        self.data = self.open(**given)
        return self.engine.run(self.data, policy or Policy(), handler)

    async def run_async(self, handler: Callable[[], Any], policy: Policy | None = None, **given: Any) -> Any:
        self.data = self.open(**given)
        return await self.engine.run_async(self.data, policy or Policy(), handler)

    @property
    def now(self) -> RecoveryData:
        """The record of the latest `run` as the store has it."""
        return self.record(self.data.operation_id)

    @property
    def attempts(self) -> list[AttemptRecord]:
        return self.store.attempts(self.data.operation_id)

    def record(self, operation_id: str) -> RecoveryData:
        found = self.store.get(operation_id)
        assert found is not None
        return found

    def events(self) -> list[Event]:
        return self.store.events_since(0)


def says(
    category: ErrorCategory = ErrorCategory.NETWORK,
    retry: Retry = Retry.YES,
    wait_s: float | None = None,
    explanation: str = "It broke.",
    fix: str | None = None,
) -> Callable[[BaseException], Verdict]:
    """A classifier with one opinion."""
    verdict = Verdict(category, retry, "test", explanation, wait_s, fix)
    return lambda error: verdict
