"""The packages that an import lists itself are installed as those of a node are, and can be undone as those."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.classification import ErrorClassifier
from launcher_recovery.defaults import projects
from launcher_recovery.errors import CommandError, RefusedError
from launcher_recovery.kinds import OperationKind
from launcher_recovery.nodes.packages import are_there
from launcher_recovery.nodes.recording import TOUCHED
from launcher_recovery.operation import Operation
from launcher_recovery.records import RecoveryData
from tests.nodes import Attempts, Far, Fault, make_environment, versions, wheel
from tests.support import Host

KIND: OperationKind = next(kind for kind in projects.recovery_operations() if kind.name == "install_requirements")
BEFORE = {"numpy": "2.0", "torch": "2.4.0"}


@pytest.fixture
def environment(tmp_path: Path, far: Far, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment of a project that has numpy and torch, and an index with others."""
    monkeypatch.setenv("PIP_INDEX_URL", f"{far.url}/simple")
    make_environment(tmp_path / "project" / "venv", wheel("numpy", "2.0"), wheel("torch", "2.4.0"))
    far.offer(wheel("torch", "2.1.0"), wheel("torch", "2.4.0"), wheel("plain", "1.0"), wheel("numpy", "2.0"))
    return tmp_path / "project" / "venv"


def arguments(environment: Path, *lines: str) -> dict[str, Any]:
    project = environment.parent
    return {
        "destination": str(project / "requirements.txt"),
        "lines": list(lines),
        "nodes_folder": str(project / "comfyui" / "custom_nodes"),
        "python": str(environment / "bin" / "python"),
        "project_id": "p",
    }


def install(operation: Operation, environment: Path, *lines: str) -> Any:
    assert KIND.handler is not None
    return KIND.handler(operation, arguments(environment, *lines), lambda url: ())


def test_they_are_there_afterwards_and_the_file_lists_them(attempts: Attempts, environment: Path) -> None:
    project = environment.parent
    (project / "requirements.txt").write_text("of an earlier import\n")
    assert install(attempts.next(), environment, "plain", "torch==2.1.0") == str(project / "requirements.txt")
    assert (project / "requirements.txt").read_text() == "plain\ntorch==2.1.0\n"
    assert sorted(path.name for path in project.iterdir()) == ["requirements.txt", "venv"]
    assert versions(environment) == {"numpy": "2.0", "plain": "1.0", "torch": "2.1.0"}
    assert attempts.steps() == ["environment", "requirements"]
    assert attempts.metadata["warnings"][0]["message"] == "This import changed torch 2.4.0 to 2.1.0."
    assert [change["name"] for change in attempts.metadata["environment_changes"]] == ["plain", "torch"]
    assert attempts.live is not None
    progress = attempts.live.data.progress
    assert progress is not None
    assert (progress.done, progress.total) == (2, 2)


def test_what_an_earlier_attempt_installed_is_not_asked_for_again(
    attempts: Attempts, environment: Path, far: Far
) -> None:
    install(attempts.next(), environment, "plain")
    asked = far.count("/simple/")
    install(attempts.next(), environment, "plain")
    assert far.count("/simple/") == asked
    install(attempts.next(), environment, "plain", "numpy")
    assert far.count("/simple/plain/") >= 1
    assert (environment.parent / "requirements.txt").read_text() == "plain\nnumpy\n"


def test_a_failure_leaves_the_environment_as_it_was(attempts: Attempts, environment: Path) -> None:
    with pytest.raises(CommandError, match="No matching distribution found for nowhere"):
        install(attempts.next(), environment, "torch==2.1.0", "nowhere")
    assert versions(environment) == BEFORE
    assert TOUCHED not in attempts.metadata


def test_an_index_that_fails_once_is_not_given_up(attempts: Attempts, environment: Path, far: Far) -> None:
    far.fail("/simple/plain/", Fault(status=503))
    with pytest.raises(CommandError) as raised:
        install(attempts.next(), environment, "plain")
    assert ErrorClassifier().classify(raised.value).category.value == "network"
    install(attempts.next(), environment, "plain")
    assert versions(environment) == {**BEFORE, "plain": "1.0"}


def test_a_node_whose_packages_change_is_named(attempts: Attempts, environment: Path) -> None:
    node = environment.parent / "comfyui" / "custom_nodes" / "x"
    node.mkdir(parents=True)
    (node / "requirements.txt").write_text("torch>=2.2\n")
    install(attempts.next(), environment, "torch==2.1.0")
    (conflict,) = attempts.metadata["conflicts"]
    assert conflict["name"] == "torch"
    assert {"by": "x", "wants": "torch>=2.2"} in conflict["asked"]
    assert {"by": "This import", "wants": "torch==2.1.0"} in conflict["asked"]


def test_it_is_known_by_the_environment_and_what_is_asked_for(tmp_path: Path) -> None:
    one = arguments(tmp_path / "venv", "a", "b")
    assert KIND.key(one) == KIND.key(dict(one))
    assert KIND.key(one) != KIND.key({**one, "lines": ["a b"]})
    assert KIND.key(one) != KIND.key({**one, "python": str(tmp_path / "other")})
    assert KIND.place_of(one) == str(tmp_path / "venv" / "bin" / "python")
    assert KIND.scope(one) is None
    assert KIND.title(one) == "Packages of the import"


def test_only_packages_and_only_allowed_folders(tmp_path: Path) -> None:
    KIND.check(arguments(tmp_path / "venv", "a"), (str(tmp_path),))
    with pytest.raises(RefusedError, match="option of pip"):
        KIND.check(arguments(tmp_path / "venv", "-r a"), (str(tmp_path),))
    with pytest.raises(RefusedError, match="outside the allowed folders"):
        KIND.check(arguments(tmp_path / "venv", "a"), (str(tmp_path / "elsewhere"),))


def test_they_are_there_as_long_as_their_environment_is_as_they_left_it(tmp_path: Path) -> None:
    given = arguments(tmp_path / "venv", "a")
    data = RecoveryData("o", "install_requirements", kwargs=given, metadata={TOUCHED: True})
    assert not KIND.still_there(data)
    make_environment(tmp_path / "venv")
    assert not are_there(data)
    Path(given["destination"]).write_text("a\n")
    assert are_there(data)
    data.metadata[TOUCHED] = False  # the environment was restored
    assert not are_there(data)


def test_the_environment_is_put_back_as_it_was_before_them(environment: Path, tmp_path: Path) -> None:
    host = Host(tmp_path / "host")
    host.attach()
    try:
        host.plugin.begin(host.integrator.kinds[KIND.name], arguments(environment, "torch==2.1.0", "plain"))()
        (data,) = host.operations(KIND.name)
        assert versions(environment) == {"numpy": "2.0", "plain": "1.0", "torch": "2.1.0"}
        host.integrator.restore_environment(data.operation_id)
        assert versions(environment) == BEFORE
        (data,) = host.operations(KIND.name)
        assert not KIND.still_there(data)
    finally:
        host.detach()


def test_packages_that_are_given_up_leave_nothing_behind(environment: Path, tmp_path: Path) -> None:
    host = Host(tmp_path / "host", max_retries=0)
    host.attach()
    try:
        with pytest.raises(CommandError):
            host.plugin.begin(host.integrator.kinds[KIND.name], arguments(environment, "torch==2.1.0", "nowhere"))()
        assert versions(environment) == BEFORE
    finally:
        host.detach()
