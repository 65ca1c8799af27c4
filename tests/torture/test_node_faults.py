"""A whole install under the launcher's policy: what a person sees of each fault, and what is there in the end."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher_recovery.errors import CommandError, OperationCancelled
from launcher_recovery.handles import handles_of
from launcher_recovery.records import RecoveryData, RecoveryState, WaitingFor
from tests import disks
from tests.nodes import (
    Far,
    Fault,
    Source,
    alone_with_pip,
    far_away,
    files,
    make_environment,
    noise,
    packages_of,
    staging,
    versions,
    wheel,
)
from tests.support import Host, wait_for


@pytest.fixture(autouse=True)
def _own_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    alone_with_pip(monkeypatch, tmp_path)


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    with far_away(tmp_path / "far") as running:
        yield running


@pytest.fixture
def url(far: Far, tmp_path: Path) -> str:
    """The address of a node that needs a package."""
    source = Source(tmp_path / "source")
    far.offer(wheel("plain", "1.0", size=20_000))
    source.commit({"one": noise(20_000), "requirements.txt": far.requirements("plain")})
    return far.serve(source)


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    make_environment(tmp_path / "environment", wheel("numpy", "2.0"))
    return tmp_path / "environment"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "custom_nodes", max_retries=2)
    made.attach()
    yield made
    made.detach()


def install(host: Host, url: str, environment: Path) -> None:
    host.install("node", url, python=str(environment / "bin" / "python"))


def only(host: Host) -> RecoveryData:
    (found,) = host.operations("install_node")
    return found


PASSES = {
    "git 503": ("/git-upload-pack", [Fault(status=503)], "The git server has a problem of its own at the moment."),
    "git cut": (
        "/git-upload-pack",
        [Fault(), Fault(), Fault(cut_after=9_000)],
        "The connection to the git server broke off.",
    ),
}


@pytest.mark.parametrize("fault", PASSES)
def test_what_passes_is_tried_again_and_the_node_is_whole(
    host: Host, far: Far, url: str, environment: Path, fault: str
) -> None:
    path, faults, explanation = PASSES[fault]
    far.fail(path, *faults)
    told: list[str | None] = []
    host.integrator.tail.subscribe(lambda event: told.append(event.payload.get("explanation")))
    install(host, url, environment)
    found = only(host)
    assert (found.state, found.attempt) == (RecoveryState.SUCCESS, 2)
    wait_for(lambda: explanation in told)
    assert files(host.folder) == {"node"}
    assert versions(environment) == {"numpy": "2.0", "plain": "1.0"}


# -- a person -----------------------------------------------------------------------------------------

HANGS = {"git": "/git-upload-pack", "pip": "/files/"}


def begin(host: Host, url: str, environment: Path) -> tuple[threading.Thread, list[BaseException]]:
    raised: list[BaseException] = []

    def run() -> None:
        try:
            install(host, url, environment)
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, raised


def workers(folder: Path) -> list[str]:
    """Programs that work in the staging folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and os.readlink(entry / "cwd").startswith(str(folder)):
                found.append(entry.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("what", HANGS)
@pytest.mark.parametrize("how", ["cancel", "pause"])
def test_a_person_ends_what_hangs_with_all_that_it_started(
    host: Host, far: Far, url: str, environment: Path, what: str, how: str
) -> None:
    far.fail(HANGS[what], Fault(hangs=True))
    thread, raised = begin(host, url, environment)
    wait_for(lambda: not far.faults)
    assert workers(host.folder)
    found = only(host)
    getattr(host.integrator, how)(found.operation_id)
    wait_for(lambda: not workers(host.folder))
    assert not (host.folder / "node").exists()
    assert versions(environment) == {"numpy": "2.0"}
    if how == "pause":
        assert only(host).state is RecoveryState.PAUSED
        host.integrator.resume(found.operation_id)
        thread.join(60)
        assert raised == []
        assert files(host.folder) == {"node"}
        return
    thread.join(60)
    assert [type(error) for error in raised] == [OperationCancelled]
    assert only(host).state is RecoveryState.CANCELLED
    # What was fetched is kept for the next one, where ComfyUI does not see it.
    assert files(host.folder) == {staging(host.folder / "node").name}


def test_an_attempt_whose_time_is_over_is_ended_and_another_one_goes_on(
    host: Host, far: Far, url: str, environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far.fail("/files/", Fault(hangs=True))
    thread, raised = begin(host, url, environment)
    wait_for(lambda: not far.faults)
    (live,) = handles_of(host.store)._by_operation[only(host).operation_id]
    live.attempt_ends_at = 0.0
    thread.join(60)
    assert raised == []
    found = only(host)
    assert (found.state, found.attempt) == (RecoveryState.SUCCESS, 2)
    assert files(host.folder) == {"node"}


# -- disks --------------------------------------------------------------------------------------------


def wait_until_it_waits(host: Host) -> RecoveryData:
    def waits() -> bool:
        found = host.operations("install_node")
        return bool(found) and found[0].state is RecoveryState.RECOVERING

    wait_for(waits, 60)
    return only(host)


def test_a_full_disk_is_waited_for_and_nothing_is_lost(far: Far, tmp_path: Path, environment: Path) -> None:
    source = Source(tmp_path / "source")
    source.commit({"large": noise(600_000)})
    url = far.serve(source)
    with disks.memory_disk(tmp_path / "custom_nodes", 500_000) as disk:
        host = Host(disk, max_retries=2)
        host.attach()
        try:
            thread, raised = begin(host, url, environment)
            found = wait_until_it_waits(host)
            assert found.waiting_for is WaitingFor.DISK_SPACE, (found.explanation, found.error)
            assert found.fix == "free_disk_space"
            assert "node" not in files(disk)
            disks.resize(disk, 8_000_000)
            thread.join(60)
            assert raised == []
            assert (disk / "node" / "large").read_bytes() == noise(600_000)
            assert files(disk) == {"node"}
        finally:
            host.detach()


def test_pip_on_a_full_disk_leaves_the_environment_as_it_was(far: Far, tmp_path: Path) -> None:
    source = Source(tmp_path / "source")
    far.offer(wheel("plain", "1.0", size=3_000_000), wheel("first", "1.0"))
    source.commit({"requirements.txt": far.requirements("first", "plain")})
    url = far.serve(source)
    with disks.memory_disk(tmp_path / "project", 3_000_000) as disk:
        make_environment(disk / "environment", wheel("numpy", "2.0"))
        host = Host(tmp_path / "custom_nodes", max_retries=2)
        host.attach()
        try:
            thread, raised = begin(host, url, disk / "environment")
            found = wait_until_it_waits(host)
            assert found.waiting_for is WaitingFor.DISK_SPACE, (found.explanation, found.error)
            assert f"The disk with {packages_of(disk / 'environment')} is full" in str(found.explanation)
            assert versions(disk / "environment") == {"numpy": "2.0"}
            assert not (host.folder / "node").exists()
            disks.resize(disk, 20_000_000)
            thread.join(60)
            assert raised == []
            assert versions(disk / "environment") == {"numpy": "2.0", "plain": "1.0", "first": "1.0"}
            assert files(host.folder) == {"node"}
        finally:
            host.detach()


@pytest.mark.parametrize("which", ["nodes", "environment"])
def test_a_folder_that_cannot_be_written_to(far: Far, url: str, tmp_path: Path, which: str) -> None:
    with disks.memory_disk(tmp_path / "disk", 20_000_000) as disk:
        environment = (disk if which == "environment" else tmp_path) / "environment"
        make_environment(environment, wheel("numpy", "2.0"))
        folder = (disk if which == "nodes" else tmp_path) / "custom_nodes"
        folder.mkdir()
        disks.remount(disk, "ro")
        host = Host(folder, max_retries=2)
        host.attach()
        try:
            with pytest.raises((CommandError, OSError)) as raised:
                install(host, url, environment)
            found = only(host)
            assert found.state in (RecoveryState.FAILED, RecoveryState.EXHAUSTED)
            assert "Read-only file system" in str(raised.value)
            assert "node" not in files(folder)
            assert versions(environment) == {"numpy": "2.0"}
        finally:
            host.detach()
