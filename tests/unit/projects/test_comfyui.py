"""A project with a ComfyUI that does not work is made with one that does, in the place of the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.errors import ProjectIncompleteError
from launcher_recovery.fixes import known_good
from launcher_recovery.workflows.model_paths import read_model_paths
from tests.nodes import Source, run_git
from tests.projects import Creator, model, node


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """A ComfyUI whose newer commit has no `web`."""
    made = Source(tmp_path / "source")
    made.commit({"web/index.html": "old"})
    made.git("tag", "old")
    made.git("rm", "-r", "--quiet", "web")
    made.commit({"main.py": "new"})
    return made


def test_the_commit_that_a_person_has_chosen_takes_the_place_of_the_newest_and_is_offered_from_then_on(
    creator: Creator, source: Source, tmp_path: Path
) -> None:
    creator.has_environment()
    place, old = creator.folder / "comfyui", source.git("rev-parse", "old")

    def needs_web(arguments: dict[str, Any]) -> None:
        if not (place / "web").is_dir():
            raise FileNotFoundError(2, "No such file or directory", "web")

    creator.doing["x"] = needs_web
    wanted: dict[str, Any] = {"nodes": [node("y"), node("x")], "comfyui": {"url": source.url}}
    with pytest.raises(ProjectIncompleteError, match="1 of 4 parts"):
        creator.create(**wanted)
    assert known_good.last(tmp_path / "data") is None
    fixes, whole = creator.host.integrator.fixes, creator.whole.operation_id
    shown = fixes.preview(whole, "pin_comfyui", {"commit": old})
    fixes.apply(whole, "pin_comfyui", {"commit": old}, shown.token)
    assert creator.create(**wanted)["state"] == "ready"
    assert run_git(place, "rev-parse", "HEAD") == old
    assert (place / "custom_nodes" / "y").is_dir()
    assert creator.calls.count("y") == 1
    assert known_good.last(tmp_path / "data") == old


def test_comfyui_is_told_where_the_models_are_that_all_projects_share(creator: Creator, source: Source) -> None:
    creator.has_environment()
    models = [model("a.pt"), model("b.pt", path="odd/b.pt"), model("c.pt", path="c.pt")]
    creator.create(comfyui={"url": source.url}, models=models)
    found = read_model_paths(creator.folder / "comfyui" / "extra_model_paths.yaml")
    folders = {folder.folder: folder.path for folder in found}
    assert folders["loras"] == str(creator.models / "loras")
    assert folders["odd"] == str(creator.models / "odd")
    assert "c.pt" not in folders


def test_a_launcher_that_links_the_models_itself_is_left_alone(creator: Creator, source: Source) -> None:
    creator.has_environment()
    place = creator.folder / "comfyui"
    place.mkdir()
    (place / "models").symlink_to(creator.models)
    creator.create(comfyui={"url": source.url})
    assert [path.name for path in place.iterdir()] == ["models"]


def test_a_comfyui_that_was_there_before_is_not_noted(creator: Creator, source: Source, tmp_path: Path) -> None:
    creator.has_environment()
    place = creator.folder / "comfyui"
    place.mkdir()
    (place / "main.py").write_text("mine")
    assert creator.create(comfyui={"url": source.url})["state"] == "ready"
    assert known_good.last(tmp_path / "data") is None
