"""What imports ask for is read, and refused where it is not safe."""

from __future__ import annotations

from typing import Any

import pytest

from launcher_recovery.errors import RefusedError
from launcher_recovery.plans import Model, Plan, Repository, end_of, read


def test_a_whole_import_is_read() -> None:
    plan = read(
        {
            "format": "any",
            "comfyui": {"url": "https://h/ComfyUI.git", "ref": "v1"},
            "nodes": [{"url": "https://h/a/Some-Node.git"}, {"url": "git@h:a/b", "ref": "abc", "name": "B"}],
            "models": [
                {"url": "https://h/m", "path": "loras/m.pt", "sha256": "0" * 64, "size": 7, "mirrors": ["https://i/m"]},
                {"url": "https://h/n", "path": "n.pt"},
            ],
            "workflow": {"1": {}},
        }
    )
    assert plan == Plan(
        Repository("https://h/ComfyUI.git", "comfyui", "v1"),
        (Repository("https://h/a/Some-Node.git", "Some-Node"), Repository("git@h:a/b", "B", "abc")),
        (
            Model("https://h/m", "loras/m.pt", "0" * 64, 7, ("https://i/m",)),
            Model("https://h/n", "n.pt"),
        ),
        {"1": {}},
    )
    assert plan is not None
    plan.check()


def test_nothing_is_an_empty_project() -> None:
    assert read(None) == Plan()
    assert read({"nodes": [], "models": None}) == Plan()
    assert read({"workflow": {"1": {}}}) == Plan(workflow={"1": {}})


@pytest.mark.parametrize(
    "value",
    [
        [],
        "text",
        {},
        {"format": "comfyui_launcher", "snapshot_json": {}, "files": []},
        {"nodes": [{"name": "no address"}]},
        {"nodes": ["https://h/a"]},
        {"nodes": [{"id": 1, "type": "KSampler"}], "links": []},
        {"nodes": [{"url": 7}]},
        {"nodes": [{"url": "https://h/a", "ref": 7}]},
        {"nodes": 7},
        {"nodes": [{"url": "https://[h/a"}]},
        {"models": [{"url": "https://h/m"}]},
        {"models": [{"url": "https://h/m", "path": "m", "size": True}]},
        {"models": [{"url": "https://h/m", "path": "m", "mirrors": [7]}]},
        {"comfyui": "https://h/ComfyUI"},
        {"nodes": [], "workflow": []},
    ],
)
def test_another_format_is_left_to_others(value: Any) -> None:
    assert read(value) is None


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a/Node.git", "Node"),
        ("https://h/a/Node?x=1", "Node"),
        ("git@h:a/Node.git", "Node"),
        ("git@h:Node", "Node"),
    ],
)
def test_the_name_of_a_repository_is_the_end_of_its_address(url: str, name: str) -> None:
    assert end_of(url) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".git", "a/b", "a\\b", "-a", "a" * 101, "a b", "x\n"])
def test_names_that_are_no_folder_are_refused(name: str) -> None:
    for plan in (Plan(nodes=(Repository("https://h/a", name),)), Plan(comfyui=Repository("https://h/a", name))):
        with pytest.raises(RefusedError, match="is no name for a folder"):
            plan.check()


@pytest.mark.parametrize("name", ["venv", "custom_nodes"])
def test_comfyui_is_not_put_on_top_of_what_the_project_needs(name: str) -> None:
    with pytest.raises(RefusedError, match="which the project needs itself"):
        Plan(comfyui=Repository("https://h/a", name)).check()


@pytest.mark.parametrize(
    "path", ["", ".", "..", "../a", "a/../../b", "/a", "C:/a", "C:a", "a\\b", "a\nb", "\0", "loras/"]
)
def test_paths_that_are_not_below_the_models_are_refused(path: str) -> None:
    with pytest.raises(RefusedError, match="is no path below the folder of models"):
        Plan(models=(Model("https://h/a", path),)).check()


def test_two_for_one_place_are_refused() -> None:
    with pytest.raises(RefusedError, match="two nodes are named 'a'"):
        Plan(nodes=(Repository("https://h/a", "a"), Repository("https://i/a", "a"))).check()
    with pytest.raises(RefusedError, match=r"two models are named 'l/a\.pt'"):
        Plan(models=(Model("https://h/a", "l/a.pt"), Model("https://h/b", "l//a.pt"))).check()
