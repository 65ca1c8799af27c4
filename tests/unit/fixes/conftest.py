"""A failed operation in a folder of its own, for the tests of fixes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher_recovery.persistence import SQLitePersistence
from tests.nodes import Far, far_away
from tests.origin.tls import Authority
from tests.torture.files import database
from tests.unit.fixes.attached import Attached
from tests.unit.fixes.failed import Failed


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLitePersistence]:
    made = SQLitePersistence(database(tmp_path / "data" / "recovery.db"))
    yield made
    made.close()


@pytest.fixture
def failed(store: SQLitePersistence, tmp_path: Path) -> Failed:
    """What makes operations that failed, and fixes for them."""
    return Failed(store, tmp_path)


@pytest.fixture(autouse=True)
def _git_of_the_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the user's own settings is read or written."""
    for name in [name for name in os.environ if name.startswith(("GIT_", "PIP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "pip"))
    monkeypatch.setenv("RECOVERY_PERSISTENCE_PATH", str(tmp_path / "data" / "recovery.db"))


@pytest.fixture
def no_network_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's own network is known."""
    for name in os.environ:
        if name.lower().endswith("_proxy") or name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Attached]:
    made = Attached(tmp_path)
    made.attach()
    yield made
    made.detach()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def far(tmp_path: Path, authority: Authority) -> Iterator[Far]:
    """A server whose certificate nobody knows here."""
    with far_away(tmp_path / "far", context=authority.context()) as running:
        yield running
