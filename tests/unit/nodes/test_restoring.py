"""An environment is put back as it was before a node was installed, and what was done is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher_recovery import CommandError, RecoveryStateError
from launcher_recovery.cli import main
from launcher_recovery.integration import set_recovery_integrator
from launcher_recovery.nodes import environment as environments
from launcher_recovery.records import RecoveryState
from tests.nodes import Far, Fault, Source, make_environment, versions, wheel
from tests.support import Host


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, far: Far) -> Path:
    """That of a project; pip knows the index of the test alone."""
    monkeypatch.setenv("PIP_INDEX_URL", f"{far.url}/simple")
    make_environment(tmp_path / "environment", wheel("numpy", "2.0"), wheel("torch", "2.4.0"), wheel("gone", "1.0"))
    return tmp_path / "environment"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A launcher with recovery, which is that of this process."""
    made = Host(tmp_path / "custom_nodes", max_retries=0)
    made.attach()
    set_recovery_integrator(made.integrator)
    yield made
    set_recovery_integrator(None)
    made.detach()


BEFORE = {"numpy": "2.0", "torch": "2.4.0", "gone": "1.0"}


@pytest.fixture
def installed(host: Host, far: Far, source: Source, environment: Path) -> str:
    """The id of the install of a node that downgraded torch, removed a package and brought another one."""
    far.offer(wheel("torch", "2.1.0"), wheel("torch", "2.4.0"), wheel("gone", "1.0"), wheel("plain", "1.0"))
    source.commit(
        {
            "requirements.txt": "torch==2.1.0\nplain\n",
            "install.py": "import subprocess, sys\n"
            "subprocess.check_call([sys.executable, '-m', 'pip', 'uninstall', '--yes', 'gone'])\n",
        }
    )
    host.install("node", far.serve(source), python=str(environment / "bin/python"))
    assert versions(environment) == {"numpy": "2.0", "torch": "2.1.0", "plain": "1.0"}
    (found,) = host.operations("install_node")
    return found.operation_id


def test_what_changed_is_reinstalled_what_came_is_removed_and_both_are_said(
    host: Host, installed: str, environment: Path
) -> None:
    planned = host.integrator.restore_environment(installed, dry_run=True)
    assert versions(environment) == {"numpy": "2.0", "torch": "2.1.0", "plain": "1.0"}
    done = host.integrator.restore_environment(installed)
    assert done == planned
    assert versions(environment) == BEFORE
    assert done.sentence() == "Reinstalled gone 1.0, torch 2.4.0 (was 2.1.0); removed plain 1.0."
    kept = host.operations("function")[-1]
    assert (kept.state, kept.title) == (RecoveryState.SUCCESS, "Python environment before node")
    again = host.integrator.restore_environment(installed)
    assert again.is_nothing
    assert again.sentence() == "The Python environment is as it was before."


def test_what_others_added_since_stays(host: Host, far: Far, source: Source, installed: str, environment: Path) -> None:
    far.offer(wheel("later", "1.0"))
    source.git("rm", "--quiet", "install.py")
    source.commit({"requirements.txt": "later\n"})
    host.install("another", far.serve(source), python=str(environment / "bin/python"))
    host.integrator.restore_environment(installed)
    assert versions(environment) == {**BEFORE, "later": "1.0"}


def test_an_index_that_fails_is_raised_and_the_next_call_does_it(
    host: Host, far: Far, installed: str, environment: Path
) -> None:
    far.fail("/simple/torch", Fault(status=404))
    with pytest.raises(CommandError, match="torch"):
        host.integrator.restore_environment(installed)
    host.integrator.restore_environment(installed)
    assert versions(environment) == BEFORE


def test_an_import_is_restored_as_a_whole(
    host: Host, far: Far, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{far.url}/simple")
    python = make_environment(tmp_path / "project" / "venv", wheel("numpy", "2.0"), wheel("torch", "2.4.0"))
    far.offer(wheel("torch", "2.4.0"), wheel("torch", "2.1.0"), wheel("numpy", "2.0"), wheel("numpy", "1.0"))
    far.offer(wheel("plain", "1.0"), wheel("other", "1.0"))
    needs = {"main.py": "", "requirements.txt": "plain\n"}, {"requirements.txt": "torch==2.1.0\nother\n"}
    comfyui, one, two = (Source(tmp_path / name) for name in ("comfyui", "one", "two"))
    for source, content in zip((comfyui, one, two), (*needs, {"requirements.txt": "numpy==1.0\n"}), strict=True):
        source.commit(content)
    import_json = {
        "comfyui": {"url": far.serve(comfyui, "comfyui.git")},
        "nodes": [{"url": far.serve(one, "one.git")}, {"url": far.serve(two, "two.git")}],
    }
    host.manager.hook.launcher_create_project(
        project_id="p",
        name="P",
        import_json=import_json,
        project_folder=str(tmp_path / "project"),
        models_folder=str(tmp_path / "models"),
    )
    folder = python.parents[1]
    assert versions(folder) == {"numpy": "1.0", "torch": "2.1.0", "plain": "1.0", "other": "1.0"}
    (whole,) = host.operations("create_project")
    done = host.integrator.restore_environment(whole.operation_id)
    assert versions(folder) == {"numpy": "2.0", "torch": "2.4.0"}
    assert done.sentence() == (
        "Reinstalled numpy 2.0 (was 1.0), torch 2.4.0 (was 2.1.0); removed other 1.0, plain 1.0."
    )


def test_what_cannot_be_restored_is_said(host: Host, far: Far, source: Source, tmp_path: Path) -> None:
    with pytest.raises(RecoveryStateError, match="there is no node install and no project import x"):
        host.integrator.restore_environment("x")
    host.install("node", far.serve(source))
    (found,) = host.operations("install_node")
    with pytest.raises(RecoveryStateError, match="nothing was recorded"):
        host.integrator.restore_environment(found.operation_id)


def test_not_while_another_node_is_installed_there(host: Host, installed: str, environment: Path) -> None:
    lifecycle = host.integrator.lifecycle
    arguments = {"python": str(environment / "bin/python")}
    other = lifecycle.open("launcher_install_node", (), arguments, kind="install_node", title="other")
    lifecycle.begin_attempt(other.operation_id, 1)
    with pytest.raises(RecoveryStateError, match="other is being installed into this Python environment"):
        host.integrator.restore_environment(installed)


def test_at_a_terminal(
    host: Host, installed: str, environment: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = str(tmp_path / "custom_nodes" / "node")
    assert main(["restore", folder, "--dry-run"]) == 0
    assert capsys.readouterr().out == (
        "It would be done: Reinstalled gone 1.0, torch 2.4.0 (was 2.1.0); removed plain 1.0.\n"
    )
    assert main(["restore", installed, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["done"] is True
    assert told["removed"] == [{"name": "plain", "before": "1.0", "after": None}]
    assert versions(environment) == BEFORE
    assert main(["restore", folder]) == 0
    assert capsys.readouterr().out == "The Python environment is as it was before.\n"
    assert main(["restore", "nowhere"]) == 1
    assert "there is no install of a node to nowhere" in capsys.readouterr().err
    assert main(["restore", host.operations("function")[0].operation_id]) == 1
    assert "there is no node install" in capsys.readouterr().err


def test_builds_of_torch_are_looked_for_where_they_are() -> None:
    lines = ["torch==2.4.0+cu121", "torchvision==0.19.0+cu121", "numpy==2.0", "own==1.0+local", "cpu @ file:///a+cpu"]
    assert environments.indexes(lines) == ["https://download.pytorch.org/whl/cu121"]


@pytest.mark.parametrize(
    ("line", "name", "words"),
    [
        ("torch==2.4.0", "torch", "2.4.0"),
        ("own @ git+https://h/a@abc", "own", "git+https://h/a@abc"),
        ("-e file:///srv/own%20one#egg=own", "own", "/srv/own one"),
    ],
)
def test_lines_are_read_as_they_are_written(line: str, name: str, words: str) -> None:
    assert environments.name_of(line) == name
    assert environments.wording(line) == words


def test_a_package_whose_source_needs_a_secret_is_left(tmp_path: Path) -> None:
    from launcher_recovery.nodes.interpreter import Environment

    found = Environment(versions={"own": "1"}, sources={"own": "git+https://u:secret-token@h/a?token=abcdef123456@abc"})
    (line,) = environments.lines_of(found)
    assert "secret-token" not in line
    assert "abcdef123456" not in line
