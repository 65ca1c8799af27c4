"""An install that is given up leaves the environment as it was; what others did there stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.errors import CommandError
from launcher_recovery.nodes import giving_up
from launcher_recovery.nodes.giving_up import undo_changes
from launcher_recovery.nodes.recording import TOUCHED
from launcher_recovery.nodes.requirements import CHANGES
from launcher_recovery.operation import Operation
from launcher_recovery.records import RecoveryData, RecoveryState
from tests.nodes import Far, Source, make_environment, versions, wheel
from tests.support import Host

BEFORE = {"numpy": "2.0", "torch": "2.4.0"}
FAILS = "import sys\nsys.exit('ModuleNotFoundError: No module named \\'own\\'')\n"


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, far: Far) -> Path:
    monkeypatch.setenv("PIP_INDEX_URL", f"{far.url}/simple")
    make_environment(tmp_path / "environment", wheel("numpy", "2.0"), wheel("torch", "2.4.0"))
    far.offer(wheel("torch", "2.1.0"), wheel("torch", "2.4.0"), wheel("plain", "1.0"), wheel("numpy", "2.0"))
    return tmp_path / "environment"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "custom_nodes", max_retries=0)
    made.attach()
    yield made
    made.detach()


def test_a_node_whose_script_fails_for_good_leaves_nothing_behind_and_a_retry_brings_it_again(
    host: Host, far: Far, source: Source, environment: Path
) -> None:
    source.commit({"requirements.txt": "torch==2.1.0\nplain\n", "install.py": FAILS})
    url, python = far.serve(source), str(environment / "bin/python")
    with pytest.raises(CommandError):
        host.install("node", url, python=python)
    assert versions(environment) == BEFORE
    (data,) = host.operations("install_node")
    assert data.state in (RecoveryState.FAILED, RecoveryState.EXHAUSTED)
    assert (data.metadata[TOUCHED], data.metadata[CHANGES]) == (False, [])
    source.commit({"install.py": ""})
    host.install("node", far.serve(source), python=python, ref=source.head)
    assert versions(environment) == {"numpy": "2.0", "torch": "2.1.0", "plain": "1.0"}
    assert (host.folder / "node").is_dir()


def given_up(host: Host, environment: Path, **metadata: Any) -> RecoveryData:
    """The record of an install that was given up, and had brought `plain` and another torch."""
    lifecycle = host.integrator.lifecycle
    python = str(environment / "bin/python")
    made = lifecycle.open("launcher_install_node", (), {"python": python}, kind="install_node", title="node")
    live = Operation(lifecycle.begin_attempt(made.operation_id, 1), lifecycle, host.integrator.clock)
    live.finish_step("environment", {"python": python, "packages": ["numpy==2.0", "torch==2.4.0"]})
    lifecycle.end_attempt(
        live, RecoveryState.FAILED, OSError(), category="unknown", explanation="", fix=None, fruitless=1, limit=1
    )
    changes = [
        {"name": "plain", "before": None, "after": "1.0"},
        {"name": "torch", "before": "2.4.0", "after": "2.1.0"},
    ]
    return lifecycle.amend(made.operation_id, {TOUCHED: True, CHANGES: changes, **metadata})


def change(environment: Path) -> None:
    """What that install did, and others since: they brought `later`, and another numpy."""
    make_environment(
        environment, wheel("numpy", "2.2"), wheel("torch", "2.1.0"), wheel("plain", "1.0"), wheel("later", "1.0")
    )


@pytest.fixture
def changed(tmp_path: Path, environment: Path) -> Path:
    change(tmp_path / "changed")
    return tmp_path / "changed"


def test_what_others_did_meanwhile_stays(host: Host, changed: Path) -> None:
    data = given_up(host, changed)
    undo_changes(data, host.integrator.lifecycle)
    assert versions(changed) == {"numpy": "2.2", "torch": "2.4.0", "later": "1.0"}


@pytest.mark.parametrize("metadata", [{TOUCHED: False}, {CHANGES: []}])
def test_one_that_changed_nothing_is_left_alone(host: Host, changed: Path, metadata: dict[str, Any]) -> None:
    before = versions(changed)
    undo_changes(given_up(host, changed, **metadata), host.integrator.lifecycle)
    assert versions(changed) == before


def test_nothing_is_done_while_another_node_is_installed_there(host: Host, changed: Path) -> None:
    data = given_up(host, changed)
    lifecycle = host.integrator.lifecycle
    other = lifecycle.open("launcher_install_node", (), {"python": data.kwargs["python"]}, kind="install_node")
    lifecycle.begin_attempt(other.operation_id, 1)
    before = versions(changed)
    undo_changes(data, lifecycle)
    assert versions(changed) == before


def test_what_cannot_be_undone_is_told(host: Host, changed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise CommandError(["pip"], 1, "no")

    monkeypatch.setattr(giving_up, "put_back", fail)
    data = given_up(host, changed)
    undo_changes(data, host.integrator.lifecycle)
    (kept,) = host.operations("install_node")
    assert kept.metadata["warnings"][-1]["message"] == (
        "node was not installed, but it changed the Python environment; restore it."
    )
    assert kept.metadata[TOUCHED] is True


def test_a_kind_that_cannot_undo_harms_nothing(
    host: Host,
    environment: Path,
    far: Far,
    source: Source,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*given: object) -> None:
        raise RuntimeError("moose")

    monkeypatch.setattr(giving_up, "undo_changes", fail)
    source.commit({"install.py": FAILS})
    with pytest.raises(CommandError):
        host.install("node", far.serve(source), python=str(environment / "bin/python"))
    assert "what node left could not be undone" in caplog.text
