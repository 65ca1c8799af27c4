"""Projects are created whole, or say what is missing, and go on from there."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.errors import ProjectIncompleteError, RefusedError
from launcher_recovery.fixes.effects import SETTINGS
from launcher_recovery.records import RecoveryState
from tests.projects import WORKFLOW, Creator, model, node
from tests.support import wait_for

S = RecoveryState


def refuse(arguments: dict[str, Any]) -> None:
    raise PermissionError(13, "Permission denied", "/models/loras")


def missing_file(arguments: dict[str, Any]) -> None:
    raise FileNotFoundError(2, "No such file or directory", "/models/loras/b.pt")


def test_an_empty_project_has_an_environment_and_is_ready(creator: Creator) -> None:
    result = creator.host.manager.hook.launcher_create_project(
        project_id="p", name="P", import_json=None, project_folder=str(creator.folder), models_folder="m"
    )
    assert (result["state"], result["id"], result["name"], result["left_out"]) == ("ready", "p", "P", [])
    assert (creator.folder / "venv" / "bin" / "python").exists()
    assert creator.told[-1]["state"] == "ready"
    assert creator.told[-1]["progress"] == 100
    assert creator.whole.state is S.SUCCESS
    assert not (creator.folder / "workflow.json").exists()


def test_all_parts_are_operations_inside_of_the_whole_and_the_workflow_comes_last(creator: Creator) -> None:
    creator.has_environment()
    models = [model("a.pt"), model("b.pt", size=5)]
    result = creator.create(nodes=[node("x"), node("y", name="Y")], models=models, workflow=WORKFLOW)
    assert result["state"] == "ready"
    assert json.loads((creator.folder / "workflow.json").read_text()) == WORKFLOW
    assert (creator.folder / "custom_nodes" / "x").is_dir()
    assert (creator.folder / "custom_nodes" / "Y").is_dir()
    assert sorted(path.name for path in (creator.models / "loras").iterdir()) == ["a.pt", "b.pt"]
    assert creator.calls[-1] == "workflow"
    assert creator.calls.index("x") < creator.calls.index("y")
    inside = [one for one in creator.host.operations() if one.parent_id == creator.whole.operation_id]
    assert sorted(one.kind for one in inside) == [
        *("download", "download", "install_node", "install_node", "make_environment", "validate_workflow")
    ]
    assert set(creator.stages().values()) == {"done"}
    by_name = {part["name"]: part for part in creator.whole.metadata["parts"]}
    assert by_name["Y"]["operation_id"] == creator.part("install_node", "Y").operation_id
    progress = creator.whole.progress
    assert progress is not None
    assert (progress.done, progress.total, progress.unit) == (100, 100, "percent")
    percents = [one["progress"] for one in creator.told]
    assert percents == sorted(percents)
    assert [one["state"] for one in creator.told[:-1]] == ["setting_up"] * (len(creator.told) - 1)


def test_models_are_downloaded_while_nodes_are_installed(creator: Creator) -> None:
    creator.has_environment()
    both = threading.Barrier(3)
    for name in ("x", "a.pt", "b.pt"):
        creator.doing[name] = lambda arguments: both.wait(20)
    thread = creator.begin(nodes=[node("x")], models=[model("a.pt"), model("b.pt")])
    thread.join(30)
    assert creator.told[-1]["state"] == "ready"  # none of them waited for another to end


def test_what_runs_is_told_with_the_share_that_is_done(creator: Creator) -> None:
    go_on = threading.Event()
    creator.doing["a.pt"] = lambda arguments: go_on.wait(20)
    thread = creator.begin(models=[model("a.pt", size=990_000_000)])
    # The environment is reckoned with 10 s, the model with 99 s at 10 MB/s.
    # The share may be told before the end of the environment's part.
    told = wait_for(lambda: [one for one in creator.told if one["message"] == "Downloading a.pt"])[0]
    go_on.set()
    thread.join(20)
    assert (told["state"], told["progress"]) == ("setting_up", 9)
    assert {part["name"]: (part["what"], part["state"]) for part in told["parts"]} == {
        "venv": ("environment", "done"), "a.pt": ("model", "running"),
    }  # fmt: skip


def test_the_rest_is_done_when_a_part_fails_and_the_whole_says_what_is_missing(creator: Creator) -> None:
    creator.has_environment()
    creator.doing.update({"x": refuse, "b.pt": missing_file})
    with pytest.raises(ProjectIncompleteError) as raised:
        creator.create(nodes=[node("x"), node("y")], models=[model("a.pt"), model("b.pt")], workflow=WORKFLOW)
    error = raised.value
    assert [(part["what"], part["name"]) for part in error.missing] == [
        *(("node", "x"), ("model", "b.pt"), ("workflow", "workflow.json"))
    ]
    assert error.done == ("venv", "y", "a.pt")
    text = str(error)
    assert text.startswith("Not ready: 3 of 6 parts are missing: the node x (")
    assert "the workflow (it is put in place when nothing else is missing)" in text
    assert not (creator.folder / "workflow.json").exists()
    assert "workflow" not in creator.calls
    whole = creator.whole
    assert (whole.state, whole.attempt, whole.category) == (S.FAILED, 1, "dependency")
    assert whole.explanation is not None
    assert "a retry goes on with what is missing" in whole.explanation
    assert creator.stages() == {
        "venv": "done", "x": "failed", "y": "done", "a.pt": "done", "b.pt": "failed", "workflow.json": "blocked",
    }  # fmt: skip
    told = creator.told[-1]
    assert (told["state"], told["message"]) == ("failed", text)
    assert [part["name"] for part in told["missing"]] == ["x", "b.pt", "workflow.json"]
    assert told["missing"][0]["reason"]
    # Each was tried as often as its own error is worth, and not again by the whole.
    assert creator.calls.count("x") == creator.part("install_node", "x").attempt


def test_a_retry_does_what_is_missing_and_nothing_else(creator: Creator) -> None:
    creator.has_environment()
    creator.doing.update({"x": refuse, "b.pt": refuse})
    wanted = {"nodes": [node("x"), node("y")], "models": [model("a.pt"), model("b.pt")], "workflow": WORKFLOW}
    with pytest.raises(ProjectIncompleteError):
        creator.create(**wanted)
    creator.doing.clear()
    creator.calls.clear()
    assert creator.told[-1]["progress"] > 0
    assert creator.create(**wanted)["state"] == "ready"
    percents = [one["progress"] for one in creator.told]
    assert percents == sorted(percents)
    assert sorted(creator.calls) == ["b.pt", "workflow", "x"]
    assert creator.whole.state is S.SUCCESS
    assert creator.whole.attempt == 2
    assert set(creator.stages().values()) == {"done"}
    assert creator.told[-1]["missing"] == []


def test_a_person_who_retries_the_part_takes_the_whole_along(creator: Creator) -> None:
    creator.doing["a.pt"] = refuse
    with pytest.raises(ProjectIncompleteError):
        creator.create(models=[model("a.pt")])
    creator.doing.clear()
    creator.host.integrator.retry(creator.part("download", "a.pt").operation_id)
    wait_for(lambda: creator.whole.state is S.SUCCESS)
    assert creator.told[-1]["state"] == "ready"


def test_what_was_made_and_is_gone_is_made_again_or_missing(creator: Creator) -> None:
    creator.has_environment()

    def remove(arguments: dict[str, Any]) -> None:
        (creator.models / "loras" / "a.pt").unlink()

    def refuse_after(arguments: dict[str, Any]) -> None:
        wait_for(lambda: creator.part("download", "a.pt").state is S.SUCCESS)
        remove(arguments)

    creator.doing["x"] = refuse_after
    with pytest.raises(ProjectIncompleteError, match=r"the model a.pt \(it was deleted meanwhile\)"):
        creator.create(nodes=[node("x")], models=[model("a.pt")])
    creator.doing.clear()
    assert creator.create(nodes=[node("x")], models=[model("a.pt")])["state"] == "ready"
    assert (creator.models / "loras" / "a.pt").exists()


# -- ComfyUI and the environment ----------------------------------------------------------------------


def test_nothing_is_installed_into_what_could_not_be_made(creator: Creator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(creator.folder / "no-python"))
    with pytest.raises(ProjectIncompleteError) as raised:
        creator.create(nodes=[node("x")], comfyui=node("ComfyUI"), models=[model("a.pt")])
    reasons = {part["name"]: part["reason"] for part in raised.value.missing}
    assert sorted(reasons) == ["comfyui", "venv", "x"]
    assert reasons["comfyui"] == reasons["x"] == "it needs the Python environment"
    assert raised.value.missing[0]["name"] == "venv"
    assert not (creator.folder / "venv").exists()
    assert raised.value.done == ("a.pt",)


def test_nodes_go_into_comfyui_and_wait_for_it(creator: Creator) -> None:
    creator.has_environment()
    with pytest.raises(ProjectIncompleteError) as raised:
        # Nobody listens there.
        creator.create(nodes=[node("x")], comfyui={"url": "http://127.0.0.1:9/ComfyUI.git"}, workflow=WORKFLOW)
    assert [(part["label"], part["reason"]) for part in raised.value.missing[1:]] == [
        ("the node x", "it needs ComfyUI"),
        ("the workflow", "it is put in place when nothing else is missing"),
    ]
    assert creator.host.operations("install_comfyui")[0].state in (S.FAILED, S.EXHAUSTED)
    assert not (creator.folder / "comfyui").exists()
    assert "x" not in creator.calls


# -- models -------------------------------------------------------------------------------------------


def test_a_model_is_looked_for_at_its_other_addresses_when_the_first_is_given_up(creator: Creator) -> None:
    creator.doing.update({"a.pt": missing_file, "a2.pt": missing_file})
    mirrors = ["http://127.0.0.1:9/a2.pt", "http://127.0.0.1:9/a3.pt", "http://127.0.0.1:9/a4.pt"]
    assert creator.create(models=[model("a.pt", mirrors=mirrors)])["state"] == "ready"
    assert creator.calls[-1] == "a3.pt"
    assert (creator.models / "loras" / "a.pt").read_text() == mirrors[1]
    assert len(creator.host.operations("download")) == 1


@pytest.mark.parametrize("other_fails", [False, True])
def test_a_model_that_a_person_cancelled_is_missing_and_the_rest_is_done(creator: Creator, other_fails: bool) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def wait(arguments: dict[str, Any]) -> None:
        reached.set()
        go_on.wait(20)

    creator.doing.update({"a.pt": wait, **({"b.pt": refuse} if other_fails else {})})
    thread = creator.begin(models=[model("a.pt", mirrors=["http://127.0.0.1:9/a2.pt"]), model("b.pt")])
    assert reached.wait(20)
    creator.host.integrator.cancel(creator.part("download", "a.pt").operation_id)
    go_on.set()
    thread.join(20)
    assert "the model a.pt (it was cancelled)" in creator.told[-1]["message"]
    assert creator.stages() == {"venv": "done", "a.pt": "failed", "b.pt": "failed" if other_fails else "done"}
    # Where nothing else is missing, a person knows of it.
    assert creator.whole.state is (S.FAILED if other_fails else S.CANCELLED)
    assert "a2.pt" not in creator.calls
    states = {one["message"]: one["state"] for one in creator.told if one["state"] != "raised"}
    assert "Cancelled" not in states


# -- a person's controls ------------------------------------------------------------------------------


def test_a_cancel_of_the_whole_ends_the_parts_and_is_told(creator: Creator) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def wait(arguments: dict[str, Any]) -> None:
        reached.set()
        go_on.wait(20)

    creator.doing["a.pt"] = wait
    thread = creator.begin(models=[model("a.pt")])
    assert reached.wait(20)
    creator.host.integrator.cancel(creator.whole.operation_id)
    thread.join(20)
    go_on.set()
    (told,) = wait_for(lambda: [one for one in creator.told if one["message"] == "Cancelled"])
    assert told["state"] == "failed"
    assert creator.part("download", "a.pt").state is S.CANCELLED
    assert any(one["state"] == "raised" for one in creator.told)


def test_a_pause_stops_the_parts_and_a_resume_goes_on_with_them(creator: Creator) -> None:
    reached = threading.Event()
    operation = creator.host.integrator

    def wait(arguments: dict[str, Any]) -> None:
        from launcher_recovery.operation import current_operation

        reached.set()
        live = current_operation()
        assert live is not None
        while not (creator.folder / "go").exists():
            live.check()

    creator.doing["a.pt"] = wait
    thread = creator.begin(models=[model("a.pt")], workflow=WORKFLOW)
    assert reached.wait(20)
    operation.pause(creator.whole.operation_id)
    wait_for(lambda: creator.part("download", "a.pt").state is S.PAUSED)
    (told,) = wait_for(lambda: [one for one in creator.told if one["message"] == "Paused"])
    assert told["state"] == "setting_up"
    (creator.folder / "go").touch()
    assert creator.whole.state is S.PAUSED
    operation.resume(creator.whole.operation_id)
    thread.join(20)
    assert creator.told[-1]["state"] == "ready"
    assert creator.host.operations("download")[0].state is S.SUCCESS
    assert creator.calls.count("workflow") == 1


def test_what_a_person_leaves_out_is_not_missing(creator: Creator) -> None:
    creator.has_environment()
    creator.doing["x"] = refuse
    wanted = {"nodes": [node("x")], "workflow": WORKFLOW}
    with pytest.raises(ProjectIncompleteError):
        creator.create(**wanted)
    creator.host.integrator.lifecycle.amend(
        creator.part("install_node", "x").operation_id, {SETTINGS: {"skipped": True}}
    )
    creator.problems = [{"code": "missing_node", "message": "No installed custom node provides X."}]
    result = creator.create(**wanted)
    assert (result["state"], result["left_out"]) == ("ready", ["x"])
    assert result["status_message"] == "Ready without x, left out as you asked"
    assert creator.stages()["x"] == "left_out"
    assert not (creator.folder / "custom_nodes" / "x").exists()


# -- the workflow -------------------------------------------------------------------------------------


def test_a_workflow_with_problems_is_not_put_in_place(creator: Creator) -> None:
    creator.problems = [
        {"code": "odd", "message": "Something is odd."},
        {"code": "strange", "message": "The rest is strange."},
    ]
    with pytest.raises(ProjectIncompleteError) as raised:
        creator.create(workflow=WORKFLOW)
    assert str(raised.value) == (
        "Not ready: 1 of 2 parts is missing: the workflow (Something is odd. The rest is strange)"
    )
    assert not (creator.folder / "workflow.json").exists()
    assert creator.whole.state is S.FAILED
    assert creator.whole.attempt == 1


def test_a_workflow_is_checked_again_when_what_was_missing_may_be_there(creator: Creator) -> None:
    creator.problems = [{"code": "odd", "message": "Something is odd."}]
    with pytest.raises(ProjectIncompleteError):
        creator.create(workflow=WORKFLOW)
    creator.problems = []
    assert creator.create(workflow=WORKFLOW)["state"] == "ready"
    assert creator.calls == ["workflow", "workflow"]


def test_a_workflow_that_was_mended_is_put_in_place_as_it_was_mended(creator: Creator) -> None:
    workflow = {"1": {"class_type": "VAELoader", "inputs": {"vae_name": "VAE.pt"}}}
    wanted = {"models": [model("vae.pt", path="vae/vae.pt")], "workflow": workflow}
    with pytest.raises(ProjectIncompleteError, match=r"the workflow \(.*VAE\.pt"):
        creator.create(**wanted)
    (check,) = creator.host.operations("validate_workflow")
    fixed = creator.host.integrator.fix_workflow(check.operation_id)
    assert fixed["1"]["inputs"]["vae_name"] == "vae.pt"
    assert creator.create(**wanted)["state"] == "ready"
    assert json.loads((creator.folder / "workflow.json").read_text()) == fixed
    assert creator.stages()["workflow.json"] == "done"
    part = next(part for part in creator.whole.metadata["parts"] if part["what"] == "workflow")
    assert part["operation_id"] == creator.host.operations("validate_workflow")[-1].operation_id != check.operation_id


def test_another_workflow_that_was_there_is_kept_beside_it(creator: Creator) -> None:
    creator.folder.mkdir()
    (creator.folder / "workflow.json").write_text("mine")
    (creator.folder / "workflow.before-1.json").write_text("older")
    creator.create(workflow=WORKFLOW)
    assert (creator.folder / "workflow.before-2.json").read_text() == "mine"
    assert (creator.folder / "workflow.before-1.json").read_text() == "older"
    assert json.loads((creator.folder / "workflow.json").read_text()) == WORKFLOW


def test_the_same_workflow_is_no_other_one(creator: Creator) -> None:
    creator.folder.mkdir()
    (creator.folder / "workflow.json").write_text(json.dumps(WORKFLOW, indent=1))
    creator.create(workflow=WORKFLOW)
    assert sorted(path.name for path in creator.folder.iterdir()) == ["venv", "workflow.json"]


def test_a_workflow_that_cannot_be_written_is_tried_again_by_the_whole(
    creator: Creator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from launcher_recovery.projects import creating

    write, failed = creating._write, []

    def fail_once(place: Path, workflow: Any) -> None:
        if not failed:
            failed.append(place)
            raise ConnectionResetError(104, "Connection reset by peer")  # of a disk that is somewhere else
        write(place, workflow)

    monkeypatch.setattr(creating, "_write", fail_once)
    assert creator.create(workflow=WORKFLOW)["state"] == "ready"
    assert creator.whole.attempt == 2


# -- imports ------------------------------------------------------------------------------------------


def test_an_import_that_nobody_reads_is_left_to_the_launcher(creator: Creator) -> None:
    with pytest.raises(Exception, match="no plugin of the launcher handled"):
        creator.host.create()


@pytest.mark.parametrize(
    "wanted",
    [
        {"nodes": [node("x", name="..")]},
        {"nodes": [node("x"), node("x")]},
        {"models": [{"url": "http://h/a", "path": "../a.pt"}]},
        {"models": [model("a.pt"), model("a.pt")]},
        {"comfyui": node("c", name="venv")},
    ],
)
def test_an_import_that_is_not_safe_is_refused_before_anything_is_made(
    creator: Creator, wanted: dict[str, Any]
) -> None:
    with pytest.raises(RefusedError):
        creator.create(**wanted)
    assert not creator.folder.exists()
    assert creator.whole.attempt == 1
    wait_for(lambda: creator.told)
    assert creator.told[-1]["state"] == "failed"


def test_a_launcher_that_fails_when_it_is_told_harms_nothing(
    creator: Creator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**details: Any) -> None:
        raise RuntimeError("moose")

    monkeypatch.setattr(creator, "told", None)
    assert creator.create()["state"] == "ready"
    assert "the launcher failed in launcher_project_changed" in caplog.text


def test_no_more_than_five_are_named() -> None:
    missing = [{"label": f"the model {number}", "reason": "r"} for number in range(7)]
    text = str(ProjectIncompleteError(missing, ["a", "b"]))
    assert text.startswith("Not ready: 7 of 9 parts are missing: the model 0 (r), ")
    assert text.endswith("the model 4 (r) and 2 more")
