"""The integration guide's first samples: downloads, strategies, classification, breaker, steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import CircuitBreakerOpenError, ProgressTracker, SQLitePersistence, recoverable
from launcher_recovery.classification import ErrorCategory, ErrorClassifier
from launcher_recovery.strategies import CustomStrategy
from sample_launcher.hub import Hub
from sample_launcher.hub.faults import Drop, Status
from tests.spec.standins import AuthenticationError, Flaky, HTTPStatusError, aiohttp, generate_operation_id

SIZE = 100_000


async def test_download(hub: Hub, tmp_path: Path) -> None:
    """A decorated download survives a dropped connection and an overloaded server."""

    @recoverable(max_retries=3)
    async def download_model(url: str, destination: str) -> str:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            with open(destination, "wb") as f:
                async for chunk in response.content.iter_chunked(8192):
                    f.write(chunk)
        return destination

    url = hub.add_model("m.pt", SIZE, [Drop(after=SIZE // 2), Status(status=503)])
    destination = str(tmp_path / "m.pt")
    assert await download_model(url, destination) == destination
    assert Path(destination).read_bytes() == hub.content("m.pt")


async def test_download_with_progress(hub: Hub, tmp_path: Path) -> None:
    """A tracker is passed in, and ends at the full size."""

    @recoverable(max_retries=3, persistence=SQLitePersistence())
    async def download_with_progress(url: str, destination: str, progress_tracker: ProgressTracker) -> str:
        total_size = 0
        downloaded = 0
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            total_size = int(response.headers.get("content-length", 0))
            with open(destination, "wb") as f:
                async for chunk in response.content.iter_chunked(8192):
                    f.write(chunk)
                    downloaded += len(chunk)
                    progress_tracker.update(downloaded, total_size)
        progress_tracker.complete()
        return destination

    tracker = ProgressTracker()
    destination = str(tmp_path / "m.pt")
    url = hub.add_model("m.pt", SIZE, [Drop(after=SIZE // 2)])
    assert await download_with_progress(url, destination, tracker) == destination
    assert (tracker.done, tracker.total, tracker.fraction) == (SIZE, SIZE, 1.0)


class ModelDownloadStrategy(CustomStrategy):
    def __init__(self) -> None:
        super().__init__(delay_func=self._calculate_model_delay, name="ModelDownload")

    def _calculate_model_delay(self, attempt: int) -> float:
        base_delay = 2.0
        max_delay = 300.0
        if attempt <= 3:
            return float(base_delay * (2 ** (attempt - 1)))
        return min(max_delay, base_delay * (attempt - 2))

    def should_retry(self, error: Exception, attempt: int, max_attempts: int) -> bool:
        if attempt >= max_attempts:
            return False
        if isinstance(error, (AuthenticationError, PermissionError)):
            return False
        if isinstance(error, (ConnectionError, TimeoutError)):
            return True
        if hasattr(error, "status_code"):
            if error.status_code == 429:
                return True
            if 500 <= error.status_code < 600:
                return True
        return attempt < 3


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (AuthenticationError("key"), 1),
        (PermissionError("no"), 1),
        (ConnectionError("gone"), 4),
        (HTTPStatusError(429), 4),
        (HTTPStatusError(502), 4),
        (ValueError("other"), 3),
    ],
)
async def test_custom_strategy(error: Exception, attempts: int) -> None:
    """A strategy with `should_retry` decides alone, with its own delays."""
    work = Flaky(9, str, error)

    @recoverable(strategy=ModelDownloadStrategy())
    async def download_model_with_custom_strategy(url: str, destination: str) -> Any:
        return await work(url)

    with pytest.raises(type(error)):
        await download_model_with_custom_strategy("u", "d")
    assert work.calls == attempts
    assert [ModelDownloadStrategy().calculate_delay(number) for number in (1, 2, 3, 4, 5)] == [2, 4, 8, 4, 6]


class ModelDownloadErrorClassifier(ErrorClassifier):
    def classify_error(self, error: Exception) -> ErrorCategory:
        error_str = str(error).lower()
        if any(keyword in error_str for keyword in ["connection", "timeout", "network", "dns", "resolve"]):
            return ErrorCategory.NETWORK
        if any(keyword in error_str for keyword in ["unauthorized", "forbidden", "authentication", "api key"]):
            return ErrorCategory.PERMISSION
        if any(keyword in error_str for keyword in ["rate limit", "too many requests", "429"]):
            return ErrorCategory.RESOURCE
        if any(keyword in error_str for keyword in ["invalid", "malformed", "validation", "schema"]):
            return ErrorCategory.VALIDATION
        if any(keyword in error_str for keyword in ["disk", "space", "memory", "resource", "quota"]):
            return ErrorCategory.RESOURCE
        return ErrorCategory.UNKNOWN


@pytest.mark.parametrize(
    ("text", "attempts"),
    [("dns is down", 4), ("bad api key", 1), ("rate limit", 4), ("malformed", 1), ("disk quota", 4), ("who knows", 4)],
)
async def test_custom_classifier(text: str, attempts: int) -> None:
    """A classifier that overrides only `classify_error` is obeyed."""
    work = Flaky(9, str, RuntimeError(text))

    @recoverable(classifier=ModelDownloadErrorClassifier())
    async def download_model_with_custom_classifier(url: str, destination: str) -> Any:
        return await work(url)

    with pytest.raises(RuntimeError, match=text):
        await download_model_with_custom_classifier("u", "d")
    assert work.calls == attempts


async def test_circuit_breaker() -> None:
    """It opens at the third failure, which ends the retries, and refuses the next call."""
    work = Flaky(99, str)

    @recoverable(
        max_retries=5,
        circuit_breaker_threshold=3,
        circuit_breaker_timeout=60.0,
        circuit_breaker_scope="model_downloads",
    )
    async def download_model_with_circuit_breaker(url: str, destination: str) -> Any:
        return await work(url)

    with pytest.raises(ConnectionError):
        await download_model_with_circuit_breaker("u", "d")
    assert work.calls == 3
    with pytest.raises(CircuitBreakerOpenError, match="model_downloads") as raised:
        await download_model_with_circuit_breaker("u", "d")
    assert 0 < raised.value.timeout_remaining <= 60
    assert work.calls == 3


async def test_project_with_dependencies(caplog: pytest.LogCaptureFixture) -> None:
    """An operation of several steps, each of which may fail, succeeds as a whole."""
    import logging

    logger = logging.getLogger("sample")
    download_comfyui = Flaky(0, lambda version: f"/comfyui-{version}")
    install_custom_node = Flaky(1, lambda node, path: None)
    download_model = Flaky(0, lambda url, destination: None)
    validate_installation = Flaky(0, lambda path: None)

    @recoverable(max_retries=3, persistence=SQLitePersistence())
    async def install_project_with_dependencies(project_config: dict[str, Any]) -> dict[str, Any]:
        generate_operation_id()
        try:
            comfyui_path = await download_comfyui(project_config["comfyui_version"])
            for node in project_config["custom_nodes"]:
                await install_custom_node(node, comfyui_path)
            for model in project_config["required_models"]:
                await download_model(model["url"], model["destination"])
            await validate_installation(comfyui_path)
            return {"success": True, "path": comfyui_path, "project_id": project_config["id"]}
        except Exception as e:
            logger.error(f"Project installation failed: {e}")
            raise

    config = {
        "id": "p", "comfyui_version": "1", "custom_nodes": ["a", "b"],
        "required_models": [{"url": "u", "destination": "d"}],
    }  # fmt: skip
    result = await install_project_with_dependencies(config)
    assert result == {"success": True, "path": "/comfyui-1", "project_id": "p"}
    assert install_custom_node.calls == 3
    assert caplog.messages.count("Project installation failed: Connection lost") == 1
