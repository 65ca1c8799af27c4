"""Whole imports in the sample launcher: with ComfyUI, over a network that fails, and what a person sees of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sample_launcher.hub import Drop, Hub, Status
from tests.launcher import MODEL, PATIENCE_S, QUICK, Launcher, sent, sha256, wanted
from tests.nodes import Fault, versions, wheel
from tests.origin import File
from tests.origin.behaviours import drops
from tests.standin import world as standin
from tests.support import wait_for

MIB = 1 << 20
SIZE = 8 * MIB


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    with Launcher(tmp_path / "launcher-data") as running:
        yield running


def parts(project: dict[str, Any]) -> dict[str, str]:
    return {part["name"]: part["state"] for part in project["details"]["parts"]}


def test_faults_on_the_way_cost_an_import_nothing_but_time(launcher: Launcher, hub: Hub) -> None:
    hub.add_model(MODEL, SIZE, [Drop(after=3 * MIB), Status(status=503), Drop(after=2 * MIB, reset=True)])
    hub.arm("/git/comfyui.git/info/refs", [Status(status=503), Drop(after=10)])
    hub.arm("/git/demo-node.git/info/refs", [Status(status=502)])
    hub.arm("/simple/demo-node-helper/", [Status(status=503)])
    project = launcher.import_project("Whole", wanted(hub, node=True, comfyui=True))
    state = launcher.settled(project)
    assert (state["state"], state["status_message"]) == ("ready", "Ready")
    assert set(parts(state).values()) == {"done"}
    assert state["details"]["progress"] == 100
    assert sha256(launcher.model()) == hub.sha256(MODEL)
    assert sent(hub) == SIZE
    folder = launcher.data / "projects" / project
    assert (folder / "workflow.json").is_file()
    assert (folder / "comfyui" / "custom_nodes" / "demo-node").is_dir()
    python = folder / "venv" / "bin" / "python"
    ran = subprocess.run([python, folder / "comfyui" / "main.py"], check=True, capture_output=True, text=True)
    assert ran.stdout == "ComfyUI of the demo: CheckpointLoaderSimple\n"
    whole = launcher.operation("create_project", project)
    assert (whole["attempt"], whole["progress"]["done"], whole["progress"]["unit"]) == (1, 100, "percent")
    assert launcher.operation("install_comfyui", project)["attempt"] == 3
    assert launcher.operation("install_node", project)["attempt"] == 2


def test_what_cannot_be_had_is_named_the_rest_is_kept_and_a_retry_goes_on(launcher: Launcher, hub: Hub) -> None:
    hub.add_model(MODEL, SIZE, [Status(status=404, times=99)])
    hub.arm("/git/demo-node.git/info/refs", [Status(status=404, times=99)])
    project = launcher.import_project("Incomplete", wanted(hub, node=True, comfyui=True))
    state = launcher.settled(project)
    assert state["state"] == "failed"
    assert state["status_message"].startswith("Not ready: 3 of 5 parts are missing: the node demo-node (")
    assert f"the model {MODEL} (" in state["status_message"]
    assert parts(state) == {
        "venv": "done", "comfyui": "done", "demo-node": "failed", MODEL: "failed", "workflow.json": "blocked",
    }  # fmt: skip
    folder = launcher.data / "projects" / project
    assert not (folder / "workflow.json").exists()
    whole = launcher.operation_in("create_project", project, "failed")
    assert (whole["attempt"], whole["category"]) == (1, "dependency")
    assert launcher.operation("install_node", project)["attempt"] == 1

    hub.arm(f"/models/{MODEL}", None)
    hub.arm("/git/demo-node.git/info/refs", None)
    made = (folder / "venv" / "pyvenv.cfg").stat().st_mtime_ns
    launcher.control(whole, "retry")
    wait_for(lambda: launcher.project(project)["state"] == "ready", PATIENCE_S)
    assert (folder / "venv" / "pyvenv.cfg").stat().st_mtime_ns == made
    assert launcher.operation("install_comfyui", project)["attempt"] == 1
    assert set(parts(launcher.project(project)).values()) == {"done"}


@pytest.mark.slow
def test_the_model_comes_while_programs_are_installed(launcher: Launcher, hub: Hub) -> None:
    """What git and pip are waited for does not hold up the download."""
    hub.add_model(MODEL, SIZE)
    hub.arm("/git/comfyui.git/info/refs", [Status(status=503, retry_after=3600)] * 2)
    project = launcher.import_project("Beside", wanted(hub, comfyui=True))
    launcher.operation_in("download", project, "success")
    comfyui = launcher.operation_in("install_comfyui", project, "recovering", "in_progress")
    assert comfyui["state"] != "success"
    state = launcher.project(project)
    assert (state["state"], state["busy"]) == ("setting_up", True)
    launcher.control(launcher.operation("create_project", project), "cancel")
    wait_for(lambda: launcher.project(project)["status_message"] == "Cancelled", PATIENCE_S)
    assert launcher.operation("install_comfyui", project)["state"] == "cancelled"
    assert launcher.model().is_file()


def test_a_launcher_json_of_another_launcher_is_imported_whole(tmp_path: Path) -> None:
    """Its packages, its files beside the models, and a file that does as well as one that cannot be had."""
    with standin.World(tmp_path / "world", SIZE) as world:
        world.model(drops(SIZE // 2))
        world.far.offer(wheel("extra", "1.0"), wheel("extra", "2.0"))
        world.far.fail("/git/comfyui.git/info/refs", Fault(status=503))
        world.far.fail("/git/node.git/git-upload-pack", Fault(cut_after=1000))
        world.far.fail("/simple/extra/", Fault(status=503))
        given = world.launcher_json()
        del given["snapshot_json"]["git_custom_nodes"]["https://github.com/ltdrdata/ComfyUI-Manager"]
        given["pip_requirements"] = [{"_key": "extra", "_version": "1.0"}]
        weights = File(1000, name="weights")
        gone = {"download_url": world.origin.url("/gone"), "sha256_checksum": "0" * 64}
        given["files"] = [
            [{**gone, "dest_relative_path": f"models/{standin.MODEL_FOLDER}/better.pt"}, *given["files"][0]],
            [
                {
                    "download_url": world.origin.add(weights, path="/weights"),
                    "dest_relative_path": "custom_nodes\\node\\weights\\w.pt",
                    "sha256_checksum": weights.sha256,
                }
            ],
        ]
        with Launcher(tmp_path / "launcher-data", **QUICK, **world.environment) as launcher:
            project = launcher.import_project("Another", given)
            state = launcher.settled(project)
            assert (state["state"], state["status_message"]) == ("ready", "Ready")
            assert parts(state) == dict.fromkeys(
                ("venv", "comfyui", "node", "requirements.txt", "better.pt", "w.pt", "workflow.json"), "done"
            )
            folder = launcher.data / "projects" / project
            model = launcher.model(standin.MODEL)
            assert sha256(model) == world.file.sha256
            assert not model.with_name("better.pt").exists()
            assert sha256(folder / "comfyui" / "custom_nodes" / "node" / "weights" / "w.pt") == weights.sha256
            assert versions(folder / "venv").items() >= {"extra": "1.0", "frontend": "1.0", "helper": "1.0"}.items()
            assert (folder / "requirements.txt").read_text() == "extra==1.0\n"
            head = (folder / "comfyui" / ".git" / "HEAD").read_text().strip()
            assert head == given["snapshot_json"]["comfyui"]
            assert launcher.operation("install_requirements", project)["state"] == "success"
            assert launcher.operation("create_project", project)["attempt"] == 1
        assert world.origin.sent(f"/{standin.MODEL}") == SIZE
