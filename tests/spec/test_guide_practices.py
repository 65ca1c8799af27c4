"""The integration guide's best practices and migration, as calls."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import SQLitePersistence, recoverable
from sample_launcher.hub import Hub
from sample_launcher.hub.faults import Drop
from tests.spec.standins import Flaky, ProcessingError, aiohttp, generate_operation_id

logger = logging.getLogger("sample")


async def test_idempotent_creation() -> None:
    """An attempt that made the resource and then failed is not followed by a second resource."""
    made: dict[str, dict[str, Any]] = {}
    lost_answer = Flaky(1, lambda resource: resource, TimeoutError("no answer"))

    def generate_resource_id(data: dict[str, Any]) -> str:
        return f"r-{data['name']}"

    async def get_resource(resource_id: str) -> dict[str, Any] | None:
        return made.get(resource_id)

    async def create_resource(resource_id: str, data: dict[str, Any]) -> Any:
        assert resource_id not in made
        made[resource_id] = data
        return await lost_answer(data)

    @recoverable(max_retries=3)
    async def create_resource_safely(resource_data: dict[str, Any]) -> Any:
        resource_id = generate_resource_id(resource_data)
        existing = await get_resource(resource_id)
        if existing:
            return existing
        return await create_resource(resource_id, resource_data)

    assert await create_resource_safely({"name": "a"}) == {"name": "a"}
    assert list(made) == ["r-a"]


async def test_state_of_a_file() -> None:
    """What was processed is not processed again by the next call."""
    states: dict[str, Any] = {}
    process_file_content = Flaky(1, lambda path: f"{path}!")

    async def load_processing_state(path: str) -> Any:
        return states.get(path)

    async def save_processing_state(path: str, state: dict[str, Any]) -> None:
        states[path] = state

    @recoverable(max_retries=3, persistence=SQLitePersistence())
    async def process_file_with_state(file_path: str) -> Any:
        state = await load_processing_state(file_path)
        if state and state.get("completed"):
            return state["result"]
        result = await process_file_content(file_path)
        await save_processing_state(
            file_path, {"completed": True, "result": result, "timestamp": datetime.now().isoformat()}
        )
        return result

    assert [await process_file_with_state("f"), await process_file_with_state("f")] == ["f!", "f!"]
    assert process_file_content.calls == 2


@pytest.mark.parametrize(
    ("data", "answers", "error", "calls"),
    [
        ({"required_field": 1}, [{"success": True}], None, 1),
        ({"required_field": 1}, [{"success": False}, {"success": True}], None, 2),
        ({"required_field": 1}, [{"success": False}] * 9, ProcessingError, 4),
        ({}, [], ValueError, 0),
    ],
)
async def test_error_handling(
    data: dict[str, Any], answers: list[Any], error: type[Exception] | None, calls: int
) -> None:
    """A validation error is not tried again, an unknown one is; both get out as they are."""
    work = Flaky(0, lambda given: answers[work.calls - 1])

    @recoverable(max_retries=3)
    async def robust_operation(data: dict[str, Any]) -> Any:
        try:
            if not data.get("required_field"):
                raise ValueError("Missing required field")
            result = await work(data)
            if not result.get("success"):
                raise ProcessingError("Operation failed")
            return result
        except ValueError as e:
            logger.error(f"Validation error: {e}")
            raise
        except ProcessingError as e:
            logger.warning(f"Processing error, will retry: {e}")
            raise
        except Exception as e:
            logger.error(f"Unexpected error: {e}")
            raise

    if error is None:
        assert await robust_operation(data) == {"success": True}
    else:
        with pytest.raises(error):
            await robust_operation(data)
    assert work.calls == calls


async def test_monitored_operation(caplog: pytest.LogCaptureFixture) -> None:
    """The function's own records, with extra fields, come once for each attempt."""
    caplog.set_level(logging.INFO, "sample")
    process_data = Flaky(1, str)

    @recoverable(max_retries=3)
    async def monitored_operation(data: dict[str, Any]) -> Any:
        operation_id = generate_operation_id()
        start_time = time.time()
        try:
            logger.info(
                f"Starting operation {operation_id}",
                extra={"operation_id": operation_id, "data_size": len(str(data))},
            )
            result = await process_data(data)
            duration = time.time() - start_time
            logger.info(
                f"Operation {operation_id} completed",
                extra={"operation_id": operation_id, "duration": duration, "success": True},
            )
            return result
        except Exception as e:
            duration = time.time() - start_time
            logger.error(
                f"Operation {operation_id} failed",
                extra={"operation_id": operation_id, "duration": duration, "error": str(e), "success": False},
            )
            raise

    assert await monitored_operation({}) == "{}"
    records = [record for record in caplog.records if record.name == "sample"]
    assert [getattr(record, "success", None) for record in records] == [None, False, None, True]


async def test_migration(hub: Hub, tmp_path: Path) -> None:
    """The same function fails before it is decorated and survives afterwards."""

    async def before(url: str, destination: str) -> str:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            with open(destination, "wb") as f:
                async for chunk in response.content.iter_chunked(8192):
                    f.write(chunk)
        return destination

    after = recoverable(max_retries=3)(before)
    url = hub.add_model("m.pt", 50_000, [Drop(after=10_000), Drop(after=20_000)])
    destination = str(tmp_path / "m.pt")
    with pytest.raises(ConnectionError):
        await before(url, destination)
    assert await after(url, destination) == destination
    assert Path(destination).read_bytes() == hub.content("m.pt")


@pytest.mark.parametrize(("switch", "calls"), [("true", 2), ("false", 1)])
async def test_gradual_rollout(monkeypatch: pytest.MonkeyPatch, switch: str, calls: int) -> None:
    """A decorator of one's own applies recovery only where it is switched on."""
    monkeypatch.setenv("RECOVERY_ENABLED", switch)
    enabled = os.getenv("RECOVERY_ENABLED", "false").lower() == "true"

    def apply_recovery(func: Callable[..., Any]) -> Callable[..., Any]:
        if enabled:
            return recoverable(max_retries=3)(func)
        return func

    work = Flaky(1, str)

    @apply_recovery
    async def download_model(url: str, destination: str) -> Any:
        return await work(url)

    try:
        await download_model("u", "d")
    except ConnectionError:
        assert not enabled
    assert work.calls == calls
