"""Throw-away launchers: a folder with modules that other tests do not know, and this process as it was afterwards."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher_recovery import integration, owners
from launcher_recovery.weave import unweave
from launcher_recovery.weave.weaver import Weaver
from tests.woven import advised


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A launcher's folder, from which modules can be imported during the test."""
    place = tmp_path / "host"
    place.mkdir()
    (place / "wv_server.py").write_text("")
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield place
    for name in set(sys.modules) - before:
        if name.startswith("wv_"):
            del sys.modules[name]


@pytest.fixture
def write(folder: Path) -> Callable[..., None]:
    def put(**sources: str) -> None:
        for name, source in sources.items():
            (folder / f"{name}.py").write_text(source)
        importlib.invalidate_caches()

    return put


@pytest.fixture
def weaver() -> Iterator[Weaver]:
    """One whose calls get the integrator "integrator", and say so."""
    made = Weaver(lambda: "integrator", advised)
    yield made
    made.unweave()


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings and state are of the test alone, and nothing is left behind."""
    for name in list(os.environ):
        if name.startswith("RECOVERY_") and not name.startswith("RECOVERY_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RECOVERY_PERSISTENCE_PATH", str(tmp_path / "recovery.db"))
    integration.set_recovery_integrator(None)
    yield
    unweave()
    made = integration.attached_integrator()
    integration.set_recovery_integrator(None)
    if made is not None:
        made.stop()
    object.__setattr__(owners.OWNER, "about", None)
