"""Samples whose parts are state serialisation, stores written by users, and a breaker that can be asked."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import (
    CircuitBreaker,
    ErrorClassifier,
    RecoveryData,
    RecoveryState,
    SQLitePersistence,
    StatePersistence,
    recoverable,
)
from sample_launcher.hub import Hub
from sample_launcher.hub.faults import Drop
from tests.spec.standins import aiohttp

SIZE = 200_000


@dataclass
class DownloadState:
    url: str
    destination: str
    downloaded_bytes: int
    total_bytes: int
    chunk_size: int
    last_modified: str | None = None


async def test_state_of_a_download(hub: Hub, tmp_path: Path) -> None:
    """A download whose state object is serialised goes on where it was, and the last snapshot is kept."""
    persistence = SQLitePersistence()

    @recoverable(
        max_retries=5,
        persistence=persistence,
        state_serializer=lambda state: {
            "url": state.url,
            "destination": state.destination,
            "downloaded_bytes": state.downloaded_bytes,
            "total_bytes": state.total_bytes,
            "chunk_size": state.chunk_size,
            "last_modified": state.last_modified,
        },
        state_deserializer=lambda data: DownloadState(**data),
    )
    async def resilient_download(state: DownloadState) -> str:
        if os.path.exists(state.destination):
            current_size = os.path.getsize(state.destination)
            if current_size >= state.downloaded_bytes:
                state.downloaded_bytes = current_size
        headers = {}
        if state.downloaded_bytes > 0:
            headers["Range"] = f"bytes={state.downloaded_bytes}-"
        async with aiohttp.ClientSession() as session, session.get(state.url, headers=headers) as response:
            with open(state.destination, "ab" if state.downloaded_bytes > 0 else "wb") as f:
                async for chunk in response.content.iter_chunked(state.chunk_size):
                    f.write(chunk)
                    state.downloaded_bytes += len(chunk)
        return state.destination

    url = hub.add_model("m.pt", SIZE, [Drop(after=60_000), Drop(after=60_000)])
    destination = str(tmp_path / "m.pt")
    state = DownloadState(url, destination, 0, SIZE, 8192)
    assert await resilient_download(state) == destination
    assert Path(destination).read_bytes() == hub.content("m.pt")
    assert state.downloaded_bytes == SIZE
    assert sum(request["sent"] for request in hub.stats("m.pt")["requests"]) == SIZE
    (data,) = persistence.find()
    assert data.attempt == 3
    assert data.resumable
    assert data.args[0]["url"] == url


class CustomPersistence(StatePersistence):
    """A store with nothing but the five methods, each on a copy."""

    def __init__(self) -> None:
        self.records: dict[str, RecoveryData] = {}
        self.saved: list[tuple[RecoveryState, int]] = []

    async def save(self, recovery_data: RecoveryData) -> None:
        self.records[recovery_data.operation_id] = replace(recovery_data)
        self.saved.append((recovery_data.state, recovery_data.attempt))

    async def load(self, operation_id: str) -> RecoveryData | None:
        found = self.records.get(operation_id)
        return None if found is None else replace(found)

    async def delete(self, operation_id: str) -> None:
        self.records.pop(operation_id, None)

    async def list_by_state(self, state: RecoveryState) -> list[RecoveryData]:
        return [replace(data) for data in self.records.values() if data.state is state]

    async def cleanup_old(self, days: int = 7) -> int:
        limit = datetime.now(timezone.utc) - timedelta(days=days)
        old = [name for name, data in self.records.items() if data.completed_at and data.updated_at < limit]
        for name in old:
            del self.records[name]
        return len(old)


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_store_of_ones_own(is_async: bool) -> None:
    """A store with the five methods keeps every state of a recovered call."""
    persistence = CustomPersistence()
    left = [ConnectionError("gone")]

    def work() -> str:
        if left:
            raise left.pop()
        return "done"

    if is_async:

        @recoverable(persistence=persistence)
        async def operation() -> str:
            return work()

        assert await operation() == "done"
    else:
        assert recoverable(persistence=persistence)(work)() == "done"
    states = list(dict.fromkeys(persistence.saved))
    assert states == [
        (RecoveryState.IN_PROGRESS, 1),
        (RecoveryState.RECOVERING, 1),
        (RecoveryState.IN_PROGRESS, 2),
        (RecoveryState.SUCCESS, 2),
    ]


def test_retry_decision() -> None:
    """The pattern of a decision by hand: the error, the attempts, and a breaker that is asked by a call."""
    classifier = ErrorClassifier()
    circuit_breaker: Any = CircuitBreaker(threshold=1)

    def is_retryable_error(error: Exception) -> bool:
        return classifier.should_retry(error)

    def should_retry(error: Exception, attempt: int, max_attempts: int) -> bool:
        if not is_retryable_error(error):
            return False
        if attempt >= max_attempts:
            return False
        return not circuit_breaker.is_open()

    assert should_retry(ConnectionError("gone"), 1, 3) is True
    assert should_retry(ConnectionError("gone"), 3, 3) is False
    assert should_retry(ValueError("bad"), 1, 3) is False
    circuit_breaker.failure()
    assert should_retry(ConnectionError("gone"), 1, 3) is False
