"""The launcher without plugins, with recovery woven into both of its processes: how its imports end under every fault.

That is looked at with the stand-in, and with the real launcher when LAUNCHER_DIR names a checkout of it; then its
interpreter (see test_stand_in) needs what the package needs, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.weave.hosts.comfyui_launcher import HOST, NAME
from tests.standin import HOST as STAND_IN
from tests.standin import MODEL, StandIn, World, fingerprints, table
from tests.standin.extension import standin_points
from tests.standin.processes import PATIENCE_S, WEB, WORKER
from tests.standin.real import CHECKOUT, PYTHON, needs_checkout, needs_python
from tests.standin.world import MODEL_FOLDER

PAGE = "/recovery/"
MIB = 1 << 20
_QUICK = table.How(size=8 * MIB, patience_s=PATIENCE_S, is_woven=True, is_quick=True)
_IN_FLIGHT = MIB // 4
"""Bytes that were sent to a process which was killed before it had written them."""


@dataclass(frozen=True)
class Expected:
    """How a row ends.

    Args:
        reason: words of what is said of a project that cannot become ready; "": it is ready.
        at_most: bytes of the model's body that are sent for one that is needed.
    """

    reason: str = ""
    at_most: float = 1.02


_OTHERS = {
    "model with a wrong byte once": Expected(at_most=1.6),
    "model 404 for ever": Expected("status 404"),
    "model's checksum fits nothing": Expected("something else than the file", 3.0),
    # By the person: whatever had come of the first is hers to throw away.
    "deleted in mid-download, imported again at once": Expected(at_most=2.0),
}
"""Rows that do not end as if nothing had happened."""

_ALWAYS = ("worker killed in mid-download",)
"""Rows that are run with every run of the tests."""

_HOSTS = (
    "the stand-in",
    pytest.param("the real launcher", marks=needs_python),
)


def _how(which: str) -> table.How:
    if which == "the stand-in":
        return _QUICK
    assert CHECKOUT is not None
    return replace(_QUICK, host=CHECKOUT, python=PYTHON)


def _check(name: str, seen: table.Seen) -> None:
    expected = _OTHERS.get(name, Expected())
    assert seen.state != "", f"the project is gone: {seen}"
    assert not seen.is_stuck, seen
    assert seen.sent <= seen.needed * expected.at_most + _IN_FLIGHT, seen
    if expected.reason:
        assert seen.state == "failed", seen
        assert MODEL not in seen.models
        assert expected.reason in seen.message
        assert seen.explanation != ""
        return
    assert (seen.state, seen.message, seen.models) == ("ready", "Ready", {MODEL: "whole"}), seen


@pytest.mark.timeout(300)
@pytest.mark.parametrize("which", _HOSTS)
@pytest.mark.parametrize("name", _ALWAYS)
def test_an_import_survives(name: str, which: str) -> None:
    _check(name, table.observe(name, _how(which)))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("which", _HOSTS)
@pytest.mark.parametrize("name", sorted(set(table.ROWS) - set(_ALWAYS)))
def test_an_import_survives_every_fault(name: str, which: str) -> None:
    _check(name, table.observe(name, _how(which)))


# -- where recovery stands ----------------------------------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "world") as made:
        yield made


@pytest.mark.timeout(300)
@pytest.mark.parametrize("which", _HOSTS)
def test_both_processes_are_woven_and_every_join_point_is_live(which: str, tmp_path: Path, world: World) -> None:
    how = _how(which)
    host = StandIn(tmp_path / "host", world.environment, host=how.host, python=how.python, is_woven=True, is_quick=True)
    with host:
        host.follow(host.import_project("Project", world.launcher_json()))
        report: dict[str, Any] = host.recovery("doctor")
        own = {process["pid"]: process for process in report["processes"] if process["is_woven"]}
        assert {host.pid(WEB), host.pid(WORKER)} <= set(own)
        assert report["problems"] == []
        live = {point for process in own.values() for point in process["live"]}
        assert live == {*(point.name for point in HOST.join_points), PAGE}
        assert [process["off"] for process in own.values() if process["off"]] == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("which", _HOSTS)
def test_a_link_in_the_models_that_leads_out_of_them_is_not_followed(which: str, tmp_path: Path, world: World) -> None:
    """The launcher says itself where it writes; nothing is set."""
    how = _how(which)
    host = StandIn(tmp_path / "host", world.environment, host=how.host, python=how.python, is_woven=True, is_quick=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    host.models.mkdir(parents=True)
    (host.models / MODEL_FOLDER).symlink_to(outside)
    with host:
        project_id = host.import_project("Project", world.launcher_json())
        state = host.follow(project_id)[-1]
        assert state["state"] == "failed", state
        assert "is outside the allowed folders" in state["status_message"]
        assert str(host.models) in state["status_message"]
    assert [*outside.iterdir()] == []


def test_the_stand_in_has_all_functions_that_recovery_stands_around() -> None:
    (known,) = standin_points.recovery_join_points()
    assert known.name == NAME
    has = fingerprints.of_hosts([STAND_IN / "server"])
    for point, real in zip(known.join_points, HOST.join_points, strict=True):
        assert point.fingerprints == tuple(has[point.module, point.function])
        assert {one.parameters for one in point.fingerprints} <= {one.parameters for one in real.fingerprints}


@needs_checkout
def test_the_fingerprints_are_those_of_the_real_launcher() -> None:
    assert CHECKOUT is not None
    has = fingerprints.of_hosts([CHECKOUT / "server"])
    for point in HOST.join_points:
        assert set(has[point.module, point.function]) <= set(point.fingerprints), point.name
