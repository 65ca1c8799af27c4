"""A project import survives what ends launchers: SIGKILL at any moment, SIGTERM, restarts, a useless database."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from sample_launcher.hub import Drop, Hub, Status
from tests.launcher import MODEL, Launcher, clones, sent, sha256, wanted
from tests.support import LOOK_S, wait_for

MIB = 1 << 20
SIZE = 24 * MIB
RATE = 8_000_000
LOST_AT_MOST = 3 * MIB
"""Bytes that one kill may cost: what was in the kernel, and never reached the file. It takes the more, the less time
the process gets to read."""


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    with Launcher(tmp_path / "launcher-data") as running:
        yield running


def has_sent(hub: Hub, count: int) -> Callable[[], bool]:
    return lambda: sent(hub) >= count


def expect_ready(launcher: Launcher, hub: Hub, project: str) -> None:
    assert (launcher.settled(project)["state"], launcher.project(project)["status_message"]) == ("ready", "Ready")
    assert sha256(launcher.model()) == hub.sha256(MODEL)
    assert [path.name for path in launcher.model().parent.iterdir()] == [MODEL]
    # The project's own operation settles just after the launcher's state is written.
    assert launcher.operation_in("create_project", project, "success", "failed")["state"] == "success"


def test_a_project_killed_three_times_in_mid_download_becomes_ready_and_nothing_is_done_twice(
    launcher: Launcher, hub: Hub
) -> None:
    hub.add_model(MODEL, SIZE, rate=RATE)
    points = sorted(random.Random(1).sample(range(8 * MIB, SIZE - 4 * MIB), 3))
    project = launcher.import_project("Survivor", wanted(hub, node=True))
    # Its node is installed meanwhile; here that is over before the first kill.
    launcher.control(launcher.operation("download", project), "pause")
    launcher.operation_in("install_node", project, "success")
    launcher.control(launcher.operation_in("download", project, "paused"), "resume")
    for point in points:
        wait_for(has_sent(hub, point), 90)
        launcher.kill()
        launcher.start()
    expect_ready(launcher, hub, project)

    assert clones(hub) == 1
    assert sent(hub) - SIZE < len(points) * LOST_AT_MOST
    ranges = [one["range"] for one in hub.stats(MODEL)["requests"]]
    assert ranges[0] is None
    assert all(range_ is not None for range_ in ranges[1:])

    download = launcher.operation("download", project)
    node = launcher.operation("install_node", project)
    whole = launcher.operation("create_project", project)
    interrupted = ["interrupted"] * len(points)
    assert [attempt["outcome"] for attempt in download["attempts"]] == ["paused", *interrupted, "success"]
    assert [attempt["number"] for attempt in download["attempts"]] == [1, 2, 3, 4, 5]
    assert [attempt["outcome"] for attempt in whole["attempts"]] == [*interrupted, "success"]
    assert [attempt["outcome"] for attempt in node["attempts"]] == ["success"]
    assert [step["name"] for step in node["steps"]] == [
        "clone",
        "checkout",
        "submodules",
        "environment",
        "requirements",
    ]
    assert {download["parent_id"], node["parent_id"]} == {whole["operation_id"]}
    assert download["progress"]["done"] == download["progress"]["total"] == SIZE
    assert download["progress"]["resumed"] >= points[-1] - LOST_AT_MOST
    assert len(launcher.operations()) == 5


def test_a_wait_that_a_kill_interrupted_ends_when_it_was_due_and_can_be_cut_short(launcher: Launcher, hub: Hub) -> None:
    hub.add_model(MODEL, SIZE, [Drop(after=5 * MIB), Status(status=503, retry_after=3600)])
    project = launcher.import_project("Patient", wanted(hub))
    waiting = launcher.operation_in("download", project, "recovering")
    while waiting["waiting_for"] != "retry_after":
        waiting = launcher.operation_in("download", project, "recovering")
    launcher.kill()
    launcher.start()

    after = wait_for(lambda: _claimed_again(launcher, project), 90, LOOK_S)
    assert after["next_attempt_at"] == waiting["next_attempt_at"]
    assert after["waiting_for"] == "retry_after"
    assert after["attempt"] == waiting["attempt"] == 2
    assert "retry" in after["actions"]
    assert launcher.project(project)["state"] == "setting_up"
    launcher.control(after, "retry")
    expect_ready(launcher, hub, project)
    assert sent(hub) == SIZE


def _claimed_again(launcher: Launcher, project: str) -> dict[str, object] | None:
    """The download once the import around it runs again, so that somebody waits for its due time."""
    if launcher.operation("create_project", project)["attempt"] < 2:
        return None
    return launcher.operation("download", project)


def test_what_was_paused_before_a_kill_stays_paused_until_it_is_resumed(launcher: Launcher, hub: Hub) -> None:
    hub.add_model(MODEL, SIZE, rate=RATE)
    project = launcher.import_project("Paused", wanted(hub))
    wait_for(has_sent(hub, 6 * MIB), 90)
    launcher.control(launcher.operation("download", project), "pause")
    launcher.operation_in("download", project, "paused")
    launcher.kill()
    before = sent(hub)
    launcher.start()

    wait_for(lambda: launcher.operation("create_project", project)["attempt"] == 2, 90)
    paused = launcher.operation("download", project)
    assert (paused["state"], paused["actions"]) == ("paused", ["resume", "cancel"])
    assert sent(hub) == before
    launcher.control(paused, "resume")
    expect_ready(launcher, hub, project)
    assert sent(hub) - SIZE < 2 * LOST_AT_MOST
    outcomes = [attempt["outcome"] for attempt in launcher.operation("download", project)["attempts"]]
    assert outcomes == ["paused", "success"]


def test_a_cancelled_download_ends_the_import_keeps_its_bytes_and_can_be_begun_again(
    launcher: Launcher, hub: Hub
) -> None:
    hub.add_model(MODEL, SIZE, rate=RATE)
    project = launcher.import_project("Cancelled", wanted(hub))
    wait_for(has_sent(hub, 6 * MIB), 90)
    launcher.control(launcher.operation("download", project), "cancel")
    assert launcher.settled(project)["state"] == "failed"
    assert launcher.operation("download", project)["state"] == "cancelled"
    assert launcher.operation_in("create_project", project, "failed", "cancelled", "exhausted")
    partial = launcher.model().with_name(f"{MODEL}.part")
    assert not launcher.model().exists()
    assert partial.stat().st_size >= 6 * MIB - LOST_AT_MOST

    launcher.control(launcher.operation("download", project), "retry")
    wait_for(lambda: launcher.project(project)["state"] == "ready", 90)
    expect_ready(launcher, hub, project)
    assert sent(hub) - SIZE < LOST_AT_MOST


def test_an_import_that_is_cancelled_as_a_whole_takes_its_download_along(launcher: Launcher, hub: Hub) -> None:
    hub.add_model(MODEL, SIZE, rate=RATE)
    project = launcher.import_project("Whole", wanted(hub))
    wait_for(has_sent(hub, 2 * MIB), 90)
    launcher.control(launcher.operation("create_project", project), "cancel")
    launcher.operation_in("download", project, "cancelled")
    assert launcher.settled(project)["state"] == "failed"
    assert launcher.operation("create_project", project)["state"] == "cancelled"
    assert not launcher.model().exists()


def test_a_launcher_that_was_asked_to_end_goes_on_after_the_next_start(launcher: Launcher, hub: Hub) -> None:
    hub.add_model(MODEL, SIZE, rate=RATE)
    project = launcher.import_project("Asked", wanted(hub))
    wait_for(has_sent(hub, 6 * MIB), 90)
    assert launcher.terminate() == 0
    assert "Traceback" not in launcher.log
    launcher.start()
    expect_ready(launcher, hub, project)
    # While Python ends, nobody reads any more, and the kernel takes what still comes until its buffer is full.
    assert sent(hub) - SIZE < 8 * MIB
    assert all(one["status"] == 206 for one in hub.stats(MODEL)["requests"][1:])


def test_without_the_plugin_the_same_fault_loses_the_download(tmp_path: Path, hub: Hub) -> None:
    hub.add_model(MODEL, SIZE, [Drop(after=6 * MIB)])
    with Launcher(tmp_path / "launcher-data", "--no-recovery") as launcher:
        project = launcher.import_project("Lost", wanted(hub))
        assert launcher.settled(project)["state"] == "failed"
        assert list(launcher.data.glob("models/**/*.*")) == []
        assert requests.get(f"{launcher.url}/api/recovery/status", timeout=30).status_code == 404
        assert requests.get(f"{launcher.url}/recovery/", timeout=30).status_code == 404
        assert not (launcher.data / "recovery.db").exists()


def test_a_file_that_is_no_database_is_left_alone_and_recovery_works_without_it(tmp_path: Path, hub: Hub) -> None:
    data = tmp_path / "launcher-data"
    data.mkdir()
    database = data / "recovery.db"
    database.write_bytes(b"my thesis\n" * 500)
    hub.add_model(MODEL, SIZE, [Drop(after=6 * MIB)])
    with Launcher(data) as launcher:
        status = launcher.status()
        assert status["persistence_enabled"] is False
        (problem,) = status["problems"]
        assert problem["code"] == "store"
        assert str(database) in problem["message"]
        assert requests.get(f"{launcher.url}/api/recovery/health", timeout=30).status_code == 503
        project = launcher.import_project("Thesis", wanted(hub))
        expect_ready(launcher, hub, project)
        assert sent(hub) == SIZE
    assert database.read_bytes() == b"my thesis\n" * 500


@pytest.mark.parametrize(
    ("name", "value"),
    [("RECOVERY_MAX_RETRIES", "many"), ("RECOVERY_MODE", "maybe"), ("RECOVERY_CONFIG", "/nowhere/recovery.toml")],
)
def test_a_setting_that_cannot_be_used_turns_recovery_off_with_one_sentence(
    tmp_path: Path, name: str, value: str
) -> None:
    with Launcher(tmp_path / "launcher-data", **{name: value}) as launcher:
        assert launcher.get("/api/projects") == {"success": True, "projects": []}
        assert requests.get(f"{launcher.url}/api/recovery/status", timeout=30).status_code == 404
        said = [line for line in launcher.log.splitlines() if "recovery" in line.lower() and "ERROR" in line]
        assert len(said) == 1, launcher.log
        assert name in said[0]
        assert value in said[0]
        assert "Traceback" not in launcher.log
        assert launcher.terminate() == 0
