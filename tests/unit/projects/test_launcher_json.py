"""A launcher.json of ComfyUI Launcher becomes a plan, or it is said which member of it cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from launcher_recovery.defaults.projects import recovery_read_import
from launcher_recovery.errors import RefusedError
from launcher_recovery.plans import Model, Plan, Repository
from launcher_recovery.projects.launcher_json import COMFYUI_URL, left_of, read_launcher_json

ONE, TWO = "1" * 64, "2" * 64
COMFYUI = Repository(COMFYUI_URL, "comfyui")


def file(url: str | None, path: str, sha256: str = ONE) -> dict[str, Any]:
    return {"download_url": url, "dest_relative_path": path, "sha256_checksum": sha256}


def launcher_json(*files: Any, **changes: Any) -> dict[str, Any]:
    return {
        "format": "comfyui_launcher",
        "workflow_json": {"nodes": []},
        "snapshot_json": {"comfyui": "", "git_custom_nodes": {}},
        "files": list(files),
        **changes,
    }


def snapshot(**changes: Any) -> dict[str, Any]:
    return {"snapshot_json": {"comfyui": "", "git_custom_nodes": {}, **changes}}


def nodes(**by_name: Any) -> dict[str, Any]:
    """Nodes at https://h/NAME.git."""
    return snapshot(git_custom_nodes={f"https://h/{name}.git": about for name, about in by_name.items()})


def test_a_whole_import_is_read() -> None:
    given = launcher_json(
        [file("https://h/a", "models/loras/a.pt", "A" * 64)],
        [file("https://h/b", "custom_nodes\\x\\b.pt")],
        snapshot_json={
            "comfyui": "abc",
            "git_custom_nodes": {
                "https://h/o/Some.git": {"hash": "def", "disabled": False},
                "https://h/o/Other": {"hash": "", "disabled": False},
                "https://h/o/Off": {"hash": "def", "disabled": True},
            },
        },
        pip_requirements=[
            "numpy<2",
            " # nothing",
            "",
            {"_key": "torch", "_version": "2.4.0"},
            {"_key": "x", "_version": 1.5},
        ],
    )
    plan = read_launcher_json(given)
    assert plan == Plan(
        Repository(COMFYUI_URL, "comfyui", "abc"),
        (Repository("https://h/o/Some.git", "Some", "def"), Repository("https://h/o/Other", "Other")),
        (Model("https://h/a", "loras/a.pt", "a" * 64),),
        {"nodes": []},
        ("numpy<2", "torch==2.4.0", "x==1.5"),
        (Model("https://h/b", "custom_nodes/x/b.pt", ONE),),
    )
    plan.check()
    assert left_of(given) == ()
    assert recovery_read_import(given) == plan


def test_a_launcher_has_nodes_and_an_address_of_its_own() -> None:
    manager = Repository("https://h/Manager", "Manager")
    how: dict[str, Any] = {"comfyui_url": "https://i/c", "default_nodes": (manager,), "ignored": ("Manager",)}
    assert read_launcher_json(None, **how) == Plan(Repository("https://i/c", "comfyui"), (manager,))
    assert left_of(None) == ()
    given = launcher_json(**nodes(Manager={"hash": "abc", "disabled": False}, x={"hash": None, "disabled": None}))
    found = read_launcher_json(given, with_workflow=False, **how)
    assert found.nodes == (manager, Repository("https://h/x.git", "x"))
    assert found.workflow is None


def test_a_workflow_that_is_no_object_is_the_launchers_own_affair_where_it_is_not_read() -> None:
    assert read_launcher_json(launcher_json(workflow_json=[]), with_workflow=False) == Plan(COMFYUI)
    with pytest.raises(RefusedError, match=r"^workflow_json of the launcher\.json is \[\], but has to be an object$"):
        read_launcher_json(launcher_json(workflow_json=[]))


# -- files --------------------------------------------------------------------------------------------


def test_the_same_file_at_several_addresses_has_mirrors_and_others_do_as_well() -> None:
    entry = [
        file("https://h/a", "models/a.pt"),
        file("https://i/a", "models/./a.pt"),
        file("https://h/b", "models/b.pt", TWO),
        file("https://j/a", "models/a.pt", ONE.upper()),
        file("https://h/a", "models/a.pt"),
        file("https://h/c", "models/a.pt", TWO),
    ]
    assert read_launcher_json(launcher_json(entry)).models == (
        Model(
            "https://h/a",
            "a.pt",
            ONE,
            mirrors=("https://i/a", "https://j/a"),
            otherwise=(Model("https://h/b", "b.pt", TWO), Model("https://h/c", "a.pt", TWO)),
        ),
    )


@pytest.mark.parametrize("nothing", ["", None])
def test_what_has_no_address_counts_only_where_nothing_of_the_entry_has_one(nothing: str | None) -> None:
    first, second = file(nothing, "models/a.pt"), file(nothing, "models/b.pt", TWO)
    some = [first, file("https://h/b", "models/b.pt", TWO), file(nothing, "models/c.pt")]
    assert read_launcher_json(launcher_json(some)).models == (Model("https://h/b", "b.pt", TWO),)
    assert read_launcher_json(launcher_json([first, second])).models == (
        Model("", "a.pt", ONE, otherwise=(Model("", "b.pt", TWO),)),
    )
    same = [first, file("https://h/a", "models/a.pt")]
    assert read_launcher_json(launcher_json(same)).models == (Model("https://h/a", "a.pt", ONE),)


def test_entries_for_the_same_file_are_one() -> None:
    given = launcher_json(
        [file("https://h/a", "models/a.pt")],
        [],
        [file("https://i/a", "models//a.pt"), file("https://h/b", "models/b.pt", TWO)],
    )
    assert read_launcher_json(given).models == (
        Model("https://h/a", "a.pt", ONE, mirrors=("https://i/a",), otherwise=(Model("https://h/b", "b.pt", TWO),)),
    )


def test_another_file_for_a_place_is_left_and_told() -> None:
    given = launcher_json(
        [file("https://h/b", "models/b.pt", TWO), file("https://h/a2", "models/a.pt", TWO)],
        [file("https://h/a", "models/a.pt", ONE)],
        [file("https://i/a", "models/a.pt", TWO), file("https://h/c", "models/c.pt")],
        [file("https://h/d", "models/d.pt"), file("https://j/a", "models/a.pt", ONE)],
    )
    plan = read_launcher_json(given)
    assert plan.models == (
        Model("https://h/b", "b.pt", TWO),
        Model("https://h/a", "a.pt", ONE),
        Model("https://h/d", "d.pt", ONE, otherwise=(Model("https://j/a", "a.pt", ONE),)),
    )
    plan.check()
    assert [one.url for one in left_of(given)] == ["https://i/a", "https://h/a2"]
    with pytest.raises(RefusedError, match=r"two different files of the launcher\.json are to be at 'models/a\.pt'"):
        recovery_read_import(given)


def test_a_file_that_may_be_a_model_or_not_is_one_of_comfyui() -> None:
    entry = [file("https://h/a", "models/loras/a.pt"), file("https://h/b", "custom_nodes/x/a.pt")]
    plan = read_launcher_json(launcher_json(entry))
    assert plan.models == ()
    other = Model("https://h/b", "custom_nodes/x/a.pt", ONE)
    assert plan.files == (Model("https://h/a", "models/loras/a.pt", ONE, otherwise=(other,)),)
    elsewhere = [file("https://h/a", "weights/loras/a.pt"), file("https://h/b", "custom_nodes/x/a.pt")]
    assert read_launcher_json(launcher_json(elsewhere), models_prefix="weights/").files == plan.files


@pytest.mark.parametrize(
    "path", ["../a", "models/../../a", "/etc/passwd", "models/", "", "models", "custom_nodes/x/.git/a"]
)
def test_files_that_go_elsewhere_are_refused_with_the_plan(path: str) -> None:
    with pytest.raises(RefusedError):
        read_launcher_json(launcher_json([file("https://h/a", path)])).check()


def test_a_checksum_that_is_not_told_is_none() -> None:
    assert read_launcher_json(launcher_json([file("https://h/a", "models/a", "")])).models == (
        Model("https://h/a", "a"),
    )


# -- what is wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "member", ["workflow_json", "snapshot_json", "files", "snapshot_json.comfyui", "snapshot_json.git_custom_nodes"]
)
def test_a_member_that_is_missing_is_named(member: str) -> None:
    given = launcher_json()
    above: Any = given
    *path, name = member.split(".")
    for part in path:
        above = above[part]
    del above[name]
    with pytest.raises(RefusedError) as raised:
        read_launcher_json(given)
    assert str(raised.value) == f"the launcher.json has no {member}, which has to be there"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (launcher_json(snapshot_json=[]), "snapshot_json"),
        (launcher_json(**snapshot(comfyui=7)), "snapshot_json.comfyui"),
        (launcher_json(**snapshot(git_custom_nodes=[])), "snapshot_json.git_custom_nodes"),
        (launcher_json(**nodes(x="abc")), "snapshot_json.git_custom_nodes['https://h/x.git']"),
        (launcher_json(**nodes(x={"hash": 7, "disabled": False})), "git_custom_nodes['https://h/x.git'].hash"),
        (launcher_json(**nodes(x={"disabled": False})), "no snapshot_json.git_custom_nodes['https://h/x.git'].hash"),
        (launcher_json(**nodes(x={"hash": ""})), "no snapshot_json.git_custom_nodes['https://h/x.git'].disabled"),
        (launcher_json(files={}), "files"),
        (launcher_json({}), "files[0]"),
        (launcher_json([], ["https://h/a"]), "files[1][0]"),
        (launcher_json([file("u", "models/a"), {}]), "no files[0][1].download_url"),
        (launcher_json([{**file("u", "models/a"), "download_url": ["u"]}]), "files[0][0].download_url"),
        (launcher_json([{**file("u", "models/a"), "dest_relative_path": None}]), "files[0][0].dest_relative_path"),
        (launcher_json([{**file("u", "models/a"), "sha256_checksum": None}]), "files[0][0].sha256_checksum"),
        (launcher_json(pip_requirements="torch"), "pip_requirements"),
        (launcher_json(pip_requirements=["torch", 7]), "pip_requirements[1]"),
        (launcher_json(pip_requirements=[{"_key": "torch"}]), "no pip_requirements[0]._version"),
        (launcher_json(pip_requirements=[{"_key": "torch", "_version": True}]), "pip_requirements[0]._version"),
    ],
)
def test_a_member_that_cannot_be_is_named(given: Any, named: str) -> None:
    with pytest.raises(RefusedError) as raised:
        read_launcher_json(given)
    assert named in str(raised.value)
    assert "has to be" in str(raised.value)


def test_an_option_of_pip_is_refused_with_the_plan() -> None:
    with pytest.raises(RefusedError, match="option of pip"):
        read_launcher_json(launcher_json(pip_requirements=["-r /etc/passwd"])).check()
