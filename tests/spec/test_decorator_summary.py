"""The decorator summary's sample."""

from __future__ import annotations

from typing import Any

from launcher_recovery import recoverable
from launcher_recovery.persistence import SQLitePersistence
from tests.spec.standins import Flaky


async def test_usage() -> None:
    """Five retries, kept in the default database."""
    work = Flaky(5, str)

    @recoverable(max_retries=5, persistence=SQLitePersistence(), initial_delay=1.0, backoff_factor=2.0)
    async def download_model(url: str, destination: str) -> Any:
        return await work(url)

    assert await download_model("u", "d") == "u"
    assert work.calls == 6
