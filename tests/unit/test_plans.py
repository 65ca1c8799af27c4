"""What imports ask for is read, and refused where it is not safe."""

from __future__ import annotations

from dataclasses import replace
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
                {"url": "https://h/n", "path": "n.pt", "otherwise": [{"url": "https://h/o", "path": "o.pt"}]},
            ],
            "files": [{"url": "https://h/f", "path": "custom_nodes/b/f.pt"}],
            "requirements": ["numpy<2", "torch==2.4.0"],
            "workflow": {"1": {}},
        }
    )
    assert plan == Plan(
        Repository("https://h/ComfyUI.git", "comfyui", "v1"),
        (Repository("https://h/a/Some-Node.git", "Some-Node"), Repository("git@h:a/b", "B", "abc")),
        (
            Model("https://h/m", "loras/m.pt", "0" * 64, 7, ("https://i/m",)),
            Model("https://h/n", "n.pt", otherwise=(Model("https://h/o", "o.pt"),)),
        ),
        {"1": {}},
        ("numpy<2", "torch==2.4.0"),
        (Model("https://h/f", "custom_nodes/b/f.pt"),),
    )
    assert plan is not None
    plan.check()


def test_nothing_is_an_empty_project() -> None:
    assert read(None) == Plan()
    assert read({"nodes": [], "models": None}) == Plan()
    assert read({"workflow": {"1": {}}}) == Plan(workflow={"1": {}})
    assert read({"requirements": ["a"]}) == Plan(requirements=("a",))


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
        {"nodes": [], "requirements": "numpy"},
        {"nodes": [], "requirements": [7]},
        {"nodes": [], "files": [[]]},
        {"files": []},
        {"models": [{"url": "https://h/m", "path": "m", "otherwise": [7]}]},
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


def test_what_does_as_well_is_checked_as_the_first_choice_is() -> None:
    other = Model("https://h/b", "../b.pt")
    first = Model("https://h/a", "a", otherwise=(other,))
    assert first.choices == (first, other)
    for plan in (
        Plan(models=(Model("https://h/a", "a.pt", otherwise=(other,)),)),
        Plan(files=(Model("https://h/a", "a.pt", otherwise=(other,)),)),
    ):
        with pytest.raises(RefusedError, match=r"'\.\./b\.pt' is no path below"):
            plan.check()


@pytest.mark.parametrize("path", ["../a", "/a", "a\\b", "C:a", ""])
def test_files_stay_below_comfyui(path: str) -> None:
    with pytest.raises(RefusedError, match="is no path below ComfyUI's folder"):
        Plan(files=(Model("https://h/a", path),)).check()


@pytest.mark.parametrize("path", [".git/config", "custom_nodes/x/.GIT/hooks/post-checkout", "models", "custom_nodes"])
def test_files_are_not_put_on_top_of_what_is_there(path: str) -> None:
    with pytest.raises(RefusedError, match="needs that place itself"):
        Plan(Repository("https://h/c", "comfyui"), files=(Model("https://h/a", path),)).check()


@pytest.mark.parametrize("path", ["venv/bin/python", "workflow.json", "requirements.txt"])
def test_files_of_a_project_without_comfyui_leave_the_project_alone(path: str) -> None:
    plan = Plan(files=(Model("https://h/a", path),))
    with pytest.raises(RefusedError, match="needs that place itself"):
        plan.check()
    replace(plan, comfyui=Repository("https://h/c", "comfyui")).check()
    Plan(files=(Model("https://h/a", "custom_nodes/x/a.pt"),)).check()


def test_one_place_is_for_one_content() -> None:
    one = Model("https://h/a", "loras/a.pt", "A" * 64)
    same = Model("https://h/b", "models//loras/a.pt", "a" * 64)
    Plan(models=(one,), files=(same,)).check()
    Plan(models=(replace(one, otherwise=(replace(one, sha256="b" * 64),)),)).check()
    other = Model("https://h/b", "x.pt", otherwise=(replace(one, sha256="b" * 64),))
    for plan in (Plan(models=(one, other)), Plan(models=(one,), files=(replace(same, sha256=None),))):
        with pytest.raises(RefusedError, match=r"two different files are to be at 'models/loras/a\.pt'"):
            plan.check()
    with pytest.raises(RefusedError, match=r"two files are named 'x\.pt'"):
        Plan(files=(Model("https://h/a", "x.pt"), Model("https://h/b", "x.pt"))).check()


def test_packages_are_checked() -> None:
    Plan(requirements=("numpy<2",)).check()
    with pytest.raises(RefusedError, match="option of pip"):
        Plan(requirements=("numpy<2", "-r other.txt")).check()


def test_the_packages_of_the_import_have_a_place_of_their_own() -> None:
    with pytest.raises(RefusedError, match="which the project needs itself"):
        Plan(comfyui=Repository("https://h/a", "requirements.txt")).check()
