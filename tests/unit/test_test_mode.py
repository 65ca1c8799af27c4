"""The test mode for users: no waits, few attempts, everything else as ever."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from launcher_recovery import FixedDelayStrategy, MemoryPersistence, RecoveryConfigError, RecoveryState, recoverable
from launcher_recovery.engine import Engine
from launcher_recovery.owners import let_go
from launcher_recovery.testing import recovery_test_mode


class Stubborn(FixedDelayStrategy):
    """Retries everything, for ever, after an hour."""

    def __init__(self) -> None:
        super().__init__(3600)

    def should_retry(self, error: Exception, attempt: int, max_attempts: int) -> bool:
        return True


class Busy(Exception):
    """A server that asks for an hour of patience."""

    status_code = 429

    def __init__(self) -> None:
        super().__init__("too many requests")
        self.headers = {"Retry-After": "3600"}


def failing(error: Exception, **options: Any) -> tuple[Any, list[int]]:
    calls: list[int] = []

    @recoverable(**{"max_retries": 8, "initial_delay": 3600, "max_delay": 3600, **options})
    def work() -> None:
        calls.append(1)
        raise error

    return work, calls


@pytest.mark.parametrize(
    ("options", "error", "expected"),
    [
        ({}, ConnectionError("broken"), 3),
        ({"max_retries": 1}, ConnectionError("broken"), 2),
        ({}, ValueError("bad"), 1),
        ({"strategy": Stubborn()}, ValueError("bad"), 3),
        ({}, Busy(), 3),
    ],
)
def test_no_waiting_and_capped_attempts(options: dict[str, Any], error: Exception, expected: int) -> None:
    """Calls that would take hours end at once; what is not retried otherwise is not retried here."""
    work, calls = failing(error, **options)
    with recovery_test_mode(), pytest.raises(type(error)):
        work()
    assert len(calls) == expected


def test_all_attempts_on_request() -> None:
    """Without a cap a call makes as many attempts as otherwise."""
    work, calls = failing(ConnectionError("broken"))
    with recovery_test_mode(attempts=None), pytest.raises(ConnectionError):
        work()
    assert len(calls) == 9


async def test_coroutines_and_what_is_kept() -> None:
    """An `async def` is hurried too, and its record is as it would be."""
    store = MemoryPersistence()
    left = [ConnectionError("broken")] * 2

    @recoverable(initial_delay=3600, persistence=store)
    async def work() -> str:
        if left:
            raise left.pop()
        return "done"

    with recovery_test_mode():
        assert await work() == "done"
    let_go(store)
    (data,) = store.find()
    assert (data.state, data.attempt) == (RecoveryState.SUCCESS, 3)


def test_other_threads_and_nesting() -> None:
    """It holds in all threads; the innermost mode counts; nothing is left of it afterwards."""
    before = Engine._loop
    work, calls = failing(ConnectionError("broken"))

    def quietly() -> None:
        with pytest.raises(ConnectionError):
            work()

    with recovery_test_mode(attempts=2):
        with recovery_test_mode(attempts=1):
            quietly()
        assert len(calls) == 1
        thread = threading.Thread(target=quietly)
        thread.start()
        thread.join()
        assert len(calls) == 3
    assert Engine._loop is before


@pytest.mark.parametrize("attempts", [0, -1, True, 1.5])
def test_a_cap_that_cannot_be(attempts: Any) -> None:
    """It is refused with its value."""
    with pytest.raises(RecoveryConfigError, match=f"attempts={attempts!r} is not usable"), recovery_test_mode(attempts):
        pass
