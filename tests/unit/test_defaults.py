"""The built-in kinds: what identifies a call, what is refused, and when a result is still there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from launcher_recovery.classification import ErrorClassifier
from launcher_recovery.defaults import http, projects, workflow
from launcher_recovery.defaults.paths import confined
from launcher_recovery.errors import AddressUnknownError, RefusedError
from launcher_recovery.kinds import OperationKind
from launcher_recovery.records import RecoveryData
from sample_launcher.hub import Hub
from tests.nodes import NODE, Attempts

DOWNLOAD: OperationKind = http.recovery_operations()[0]


@pytest.fixture
def attempts() -> Attempts:
    return Attempts()


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("https://github.com/a/b", True),
        ("http://h/a.git", True),
        ("ssh://git@h/a", True),
        ("file:///srv/a", True),
        ("git@github.com:a/b.git", True),
        ("git://h/a", False),
        ("ext::sh -c id", False),
        ("-u", False),
        ("/srv/a", False),
        ("a/b", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_which_repository_addresses_are_taken(url: str, fine: bool) -> None:
    arguments = {"url": url, "destination": "/nodes/a", "ref": None}
    if fine:
        NODE.check(arguments, ("/nodes",))
        return
    with pytest.raises(RefusedError, match="is not a repository address"):
        NODE.check(arguments, ("/nodes",))


# -- what identifies a call ---------------------------------------------------------------------------


def test_the_same_place_is_the_same_operation(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for kind in (NODE, DOWNLOAD):
        keys = {
            kind.key({"destination": str(path)})
            for path in (tmp_path / "real/m", tmp_path / "link/m", tmp_path / "link/../real/./m")
        }
        assert keys == {f"{kind.name}:{tmp_path.resolve()}/real/m"}
        assert kind.title({"destination": str(tmp_path / "real/m")}) == "m"
        assert kind.scope({"url": "http://Hub.example:80/x", "destination": ""}) == "hub.example"
        assert kind.key({"destination": "a\0b"}) == f"{kind.name}:a\0b"


def test_workflows_and_projects_are_told_apart() -> None:
    (validate,), create = workflow.recovery_operations(), projects.recovery_operations()[0]
    assert (validate.handler, create.handler) == (None, None)
    same = [{"workflow": {"b": 1, "a": [2]}, "project_id": "p"}, {"workflow": {"a": [2], "b": 1}, "project_id": "p"}]
    other = [
        {"workflow": {"a": [2], "b": 2}, "project_id": "p"},
        {"workflow": {"a": [2], "b": 1}, "project_id": "q"},
        {"workflow": None, "project_id": None},
    ]
    assert len({validate.key(arguments) for arguments in same}) == 1
    assert len({validate.key(arguments) for arguments in same + other}) == 4
    assert validate.title(same[0]) == "workflow of p"
    assert validate.title(other[2]) == "workflow of no project"
    assert create.key({"project_id": "p", "name": "N"}) == create.key({"project_id": "p", "name": "M"})
    assert create.title({"project_id": "p", "name": "N"}) == "N"
    assert create.title({"project_id": "p", "name": ""}) == "p"


def test_comfyui_is_known_by_its_place_as_a_node_is() -> None:
    """So upkeep finds whose a staging folder is, and a person restores by the folder."""
    comfyui = next(kind for kind in projects.recovery_operations() if kind.name == "install_comfyui")
    arguments = {"url": "https://h/ComfyUI", "destination": "/p/comfyui", "ref": None, "python": None}
    assert comfyui.key(arguments) == NODE.key(arguments)
    assert comfyui.title(arguments) == "ComfyUI"


# -- downloads ----------------------------------------------------------------------------------------


def test_a_download_is_kept_as_long_as_the_file_is_as_it_arrived(attempts: Attempts, hub: Hub, tmp_path: Path) -> None:
    url = hub.add_model("m.pt", 5000)
    destination = tmp_path / "models" / "m.pt"
    operation = attempts.next()
    assert DOWNLOAD.handler is not None
    arguments = {"url": url, "destination": str(destination), "sha256": hub.sha256("m.pt").upper(), "size": 5000}
    asked: list[str] = []
    assert DOWNLOAD.handler(operation, arguments, lambda url: asked.append(url) or ()) == str(destination)
    assert asked == [url]
    assert destination.read_bytes() == hub.content("m.pt")
    kept = attempts.lifecycle.store.get(attempts.id)
    assert kept is not None
    assert kept.metadata["size"] == 5000
    kept.kwargs["destination"] = str(destination)
    assert DOWNLOAD.still_there(kept)
    destination.write_bytes(b"x")
    assert not DOWNLOAD.still_there(kept)
    destination.unlink()
    assert not DOWNLOAD.still_there(kept)


def unaddressed(destination: Path, content: bytes) -> dict[str, object]:
    sha256 = hashlib.sha256(content).hexdigest()
    return {"url": "", "destination": str(destination), "sha256": sha256, "size": None}


def test_a_file_without_an_address_has_to_be_there(attempts: Attempts, tmp_path: Path) -> None:
    arguments = unaddressed(tmp_path / "m.pt", b"model")
    DOWNLOAD.check(arguments, ())
    assert DOWNLOAD.scope(arguments) is None
    assert DOWNLOAD.handler is not None
    (tmp_path / "m.pt").write_bytes(b"another")
    with pytest.raises(AddressUnknownError, match=r"^nobody knows where m\.pt is to be had$") as raised:
        DOWNLOAD.handler(attempts.next(), arguments, lambda url: [])
    verdict = ErrorClassifier().classify(raised.value)
    assert (verdict.category.value, verdict.retry.value, verdict.fix) == ("not_found", "no", "update_url")
    (tmp_path / "m.pt").write_bytes(b"model")
    assert DOWNLOAD.handler(attempts.next(), arguments, lambda url: []) == str(tmp_path / "m.pt")


def test_an_extension_may_know_where_a_file_is_that_has_no_address(
    attempts: Attempts, hub: Hub, tmp_path: Path
) -> None:
    url = hub.add_model("m.pt", 5000)
    arguments = unaddressed(tmp_path / "m.pt", hub.content("m.pt"))
    assert DOWNLOAD.handler is not None
    DOWNLOAD.handler(attempts.next(), arguments, lambda asked: [] if asked else [url])
    assert (tmp_path / "m.pt").read_bytes() == hub.content("m.pt")


def test_an_installed_node_is_kept_as_long_as_its_folder_is_there(tmp_path: Path) -> None:
    data = RecoveryData("id", "launcher_install_node", kwargs={"destination": str(tmp_path / "node")})
    assert not NODE.still_there(data)
    (tmp_path / "node").mkdir()
    assert NODE.still_there(data)


def test_without_allowed_folders_any_will_do(tmp_path: Path) -> None:
    assert confined(str(tmp_path / "a" / ".." / "b"), ()) == tmp_path.resolve() / "b"
    assert confined(str(tmp_path / "b"), ("/other", str(tmp_path))) == tmp_path.resolve() / "b"
    with pytest.raises(RefusedError, match="'' is not a file name: a path below a folder is needed"):
        confined("", ())
    with pytest.raises(RefusedError, match="must lie below /one or /two"):
        confined("/three/m", ("/one", "/two"))
