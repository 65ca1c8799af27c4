"""Files of an import: below ComfyUI once it is there, and others that do as well where one cannot be had."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.errors import ProjectIncompleteError
from launcher_recovery.fixes.effects import SETTINGS
from launcher_recovery.kinds import Arguments
from launcher_recovery.plans import Model, Plan
from launcher_recovery.projects.files import Files
from launcher_recovery.projects.lanes import Lanes
from launcher_recovery.projects.part import Part
from launcher_recovery.records import RecoveryData, RecoveryState
from tests.nodes import Source
from tests.projects import Creator, model, node
from tests.support import wait_for

S = RecoveryState


def missing_file(arguments: dict[str, Any]) -> None:
    raise FileNotFoundError(2, "No such file or directory", "/models/loras/a.pt")


def refuse(arguments: dict[str, Any]) -> None:
    raise PermissionError(13, "Permission denied", "/nodes")


def parts(creator: Creator) -> dict[str, dict[str, Any]]:
    return {part["name"]: part for part in creator.whole.metadata["parts"]}


# -- files of ComfyUI ---------------------------------------------------------------------------------


def test_files_come_below_comfyui_when_it_and_its_nodes_are_there(creator: Creator, tmp_path: Path) -> None:
    creator.has_environment()
    source = Source(tmp_path / "source")
    source.commit({"main.py": "", "custom_nodes/example": ""})
    both = threading.Barrier(2)
    for name in ("f.pt", "g.pt"):
        creator.doing[name] = lambda arguments: both.wait(20)
    files = [
        model("f.pt", path="custom_nodes/x/f.pt"),
        model("g.pt", path="input/g.png"),
        model("h.pt", path="models/vae/h.pt", size=5),
    ]
    result = creator.create(comfyui={"url": source.url}, nodes=[node("x")], files=files, models=[model("a.pt")])
    assert result["state"] == "ready"
    comfyui = creator.folder / "comfyui"
    assert (comfyui / "custom_nodes" / "x" / "f.pt").is_file()
    assert (comfyui / "input" / "g.png").is_file()
    assert (creator.models / "vae" / "h.pt").is_file()
    assert not (comfyui / "models").exists()
    assert creator.calls.index("x") < min(map(creator.calls.index, ("f.pt", "g.pt", "h.pt")))
    told = parts(creator)
    assert (told["f.pt"]["what"], told["a.pt"]["what"]) == ("file", "model")
    assert set(creator.stages().values()) == {"done"}


def test_files_of_a_project_without_comfyui_come_below_the_project(creator: Creator) -> None:
    creator.has_environment()
    creator.create(nodes=[node("x")], files=[model("f.pt", path="custom_nodes/x/f.pt"), model("g.pt", path="in/g.pt")])
    assert (creator.folder / "custom_nodes" / "x" / "f.pt").is_file()
    assert (creator.folder / "in" / "g.pt").is_file()


def test_a_file_in_the_folder_of_a_node_waits_for_that_node(creator: Creator) -> None:
    """In a folder that is there already a node is taken to be installed."""
    creator.has_environment()
    creator.doing["x"] = refuse
    wanted: dict[str, Any] = {
        "nodes": [node("x")], "files": [model("f.pt", path="custom_nodes/x/f.pt"), model("g.pt", path="in/g.pt")],
    }  # fmt: skip
    with pytest.raises(ProjectIncompleteError, match=r"the file f\.pt \(it needs the node x\)"):
        creator.create(**wanted)
    assert not (creator.folder / "custom_nodes" / "x").exists()
    assert creator.stages()["g.pt"] == "done"
    creator.doing.clear()
    assert creator.create(**wanted)["state"] == "ready"
    assert creator.calls.count("g.pt") == 1


def test_nothing_comes_below_a_comfyui_that_is_not_there(creator: Creator) -> None:
    creator.has_environment()
    with pytest.raises(ProjectIncompleteError, match=r"the file g\.pt \(it needs ComfyUI\)"):
        creator.create(comfyui={"url": "http://127.0.0.1:9/ComfyUI.git"}, files=[model("g.pt", path="in/g.pt")])
    assert not (creator.folder / "comfyui").exists()


def test_the_files_of_a_node_are_left_out_with_it(creator: Creator) -> None:
    creator.has_environment()
    creator.doing["x"] = refuse
    wanted: dict[str, Any] = {"nodes": [node("x")], "files": [model("f.pt", path="custom_nodes/x/f.pt")]}
    with pytest.raises(ProjectIncompleteError):
        creator.create(**wanted)
    creator.host.integrator.lifecycle.amend(
        creator.part("install_node", "x").operation_id, {SETTINGS: {"skipped": True}}
    )
    assert creator.create(**wanted)["left_out"] == ["x", "f.pt"]
    assert parts(creator)["f.pt"]["reason"] == "it belongs to the node x"
    assert not (creator.folder / "custom_nodes" / "x").exists()


def test_a_file_does_not_follow_a_link_out_of_the_project(creator: Creator, tmp_path: Path) -> None:
    creator.has_environment()
    (tmp_path / "elsewhere").mkdir()

    def link(arguments: dict[str, Any]) -> None:
        place = creator.folder / "custom_nodes" / "x"
        place.mkdir(parents=True)
        (place / "out").symlink_to(tmp_path / "elsewhere")

    creator.doing["x"] = link
    with pytest.raises(ProjectIncompleteError, match="leads out of the project"):
        creator.create(nodes=[node("x")], files=[model("f.pt", path="custom_nodes/x/out/f.pt")])
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert "f.pt" not in creator.calls


# -- others that do as well ---------------------------------------------------------------------------


def either(**more: Any) -> dict[str, Any]:
    return model("a.pt", otherwise=[model("b.pt", mirrors=["http://127.0.0.1:9/b2.pt"]), model("c.pt")], **more)


def test_another_file_that_does_as_well_is_taken_where_one_cannot_be_had(creator: Creator) -> None:
    creator.doing.update({"a.pt": missing_file, "b.pt": missing_file})
    assert creator.create(models=[either()])["state"] == "ready"
    assert [path.name for path in (creator.models / "loras").iterdir()] == ["b.pt"]
    assert "c.pt" not in creator.calls
    told = parts(creator)["a.pt"]
    assert (told["state"], told["operation_id"]) == ("done", creator.part("download", "b.pt").operation_id)
    assert creator.part("download", "a.pt").state in (S.FAILED, S.EXHAUSTED)


def test_where_none_can_be_had_the_last_one_says_why_and_a_retry_tries_all(creator: Creator) -> None:
    creator.doing.update(dict.fromkeys(("a.pt", "b.pt", "b2.pt", "c.pt"), missing_file))
    with pytest.raises(ProjectIncompleteError, match=r"the model a\.pt"):
        creator.create(models=[either()])
    assert parts(creator)["a.pt"]["operation_id"] == creator.part("download", "c.pt").operation_id
    creator.doing.clear()
    creator.calls.clear()
    assert creator.create(models=[either()])["state"] == "ready"
    assert creator.calls == ["a.pt"]


def test_the_one_that_was_taken_is_not_given_up_for_another_later(creator: Creator) -> None:
    creator.doing.update({"a.pt": missing_file, "x.pt": missing_file})
    with pytest.raises(ProjectIncompleteError, match=r"1 of 3 parts is missing: the model x\.pt"):
        creator.create(models=[either(), model("x.pt")])
    creator.doing.clear()
    creator.calls.clear()
    assert creator.create(models=[either(), model("x.pt")])["state"] == "ready"
    assert creator.calls == ["x.pt"]


def test_the_one_that_was_taken_has_to_stay(creator: Creator) -> None:
    creator.has_environment()

    def remove_later(arguments: dict[str, Any]) -> None:
        wait_for(lambda: creator.part("download", "b.pt").state is S.SUCCESS)
        (creator.models / "loras" / "b.pt").unlink()

    creator.doing.update({"a.pt": missing_file, "x": remove_later})
    with pytest.raises(ProjectIncompleteError, match=r"the model a\.pt \(it was deleted meanwhile\)"):
        creator.create(models=[either()], nodes=[node("x")])


def test_a_person_who_cancels_one_does_not_get_another(creator: Creator) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def wait(arguments: dict[str, Any]) -> None:
        reached.set()
        go_on.wait(20)

    creator.doing["a.pt"] = wait
    thread = creator.begin(models=[either()])
    assert reached.wait(20)
    creator.host.integrator.cancel(creator.part("download", "a.pt").operation_id)
    go_on.set()
    thread.join(20)
    assert creator.whole.state is S.CANCELLED
    assert creator.calls == ["a.pt"]


class Records:
    """A launcher whose downloads are in the states that a test says, by the name of the file."""

    def __init__(self, **states: RecoveryState) -> None:
        self.states = states
        self.ran: list[str] = []

    def run(self, kind: str, arguments: Arguments) -> Any:
        self.ran.append(Path(arguments["destination"]).stem)
        raise FileNotFoundError

    def record(self, kind: str, arguments: Arguments) -> RecoveryData | None:
        state = self.states.get(Path(arguments["destination"]).stem)
        return None if state is None else RecoveryData("o", "launcher_download", state=state)

    def read_import(self, import_json: Any) -> Plan | None:
        raise NotImplementedError

    def tell(self, hook: str, arguments: Arguments) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("state", [S.PENDING, S.RECOVERING, S.IN_PROGRESS])
def test_after_a_restart_it_goes_on_with_what_it_was_at(tmp_path: Path, state: RecoveryState) -> None:
    launcher = Records(a=S.FAILED, b=state, c=S.SUCCESS)  # the file of the last one is gone
    others = tuple(Model("http://h/x", f"{name}.pt") for name in "bcd")
    part = Files(launcher, "p", tmp_path, tmp_path).model(Model("http://h/x", "a.pt", otherwise=others))
    part.do()
    assert launcher.ran == ["b", "a", "c", "d"]


# -- nobody knows where -------------------------------------------------------------------------------


def test_a_file_of_which_nobody_knows_where_it_is_is_missing_until_a_person_brings_it(creator: Creator) -> None:
    wanted = {"models": [{"url": "", "path": "loras/a.pt"}, model("b.pt")]}
    with pytest.raises(ProjectIncompleteError, match="Nobody knows where this file is to be had"):
        creator.create(**wanted)
    data = creator.part("download", "a.pt")
    assert (data.state, data.attempt, data.category, data.fix) == (S.FAILED, 1, "not_found", "update_url")
    (creator.models / "loras" / "a.pt").write_text("brought")
    assert creator.create(**wanted)["state"] == "ready"
    assert (creator.models / "loras" / "a.pt").read_text() == "brought"


def test_a_person_can_say_where_it_is(creator: Creator) -> None:
    wanted = {"models": [{"url": "", "path": "loras/a.pt"}]}
    with pytest.raises(ProjectIncompleteError):
        creator.create(**wanted)
    fixes, operation_id = creator.host.integrator.fixes, creator.part("download", "a.pt").operation_id
    given = {"url": "http://127.0.0.1:9/found.pt"}
    fixes.apply(operation_id, "update_url", given, fixes.preview(operation_id, "update_url", given).token)
    assert creator.create(**wanted)["state"] == "ready"
    assert (creator.models / "loras" / "a.pt").read_text() == given["url"]


# -- lanes --------------------------------------------------------------------------------------------


def part_that(run: Callable[[], object]) -> Part:
    return Part("file", "f", 1.0, run)


def test_what_waits_for_the_programs_begins_nothing_when_the_whole_has_stopped() -> None:
    reached, go_on = threading.Event(), threading.Event()
    ran: list[str] = []

    def program() -> None:
        reached.set()
        go_on.wait(20)

    lanes = Lanes([part_that(program)], [], [part_that(lambda: ran.append("after"))])
    with lanes:
        assert reached.wait(20)
    go_on.set()
    wait_for(lambda: lanes.are_over(0.01))
    assert ran == []


def test_nothing_waits_for_ever_for_a_lane_that_broke(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
    ran: list[str] = []

    def broken() -> RecoveryData | None:
        raise OSError("the store is gone")

    first = Part("node", "x", 1.0, lambda: None, broken)
    with Lanes([first], [], [part_that(lambda: ran.append("after"))]) as lanes:
        wait_for(lambda: lanes.are_over(0.01))
    assert ran == ["after"]
