"""A node's install.py runs before it is in its place; a path that it wrote down is right afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher_recovery.errors import CommandError
from tests.nodes import Attempts, Far, Source, files, install, make_environment, packages_of, run_git, staging, wheel


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    make_environment(tmp_path / "environment", wheel("numpy", "2.0"))
    return tmp_path / "environment"


@pytest.fixture
def python(environment: Path) -> Path:
    return environment / "bin" / "python"


def scripted(far: Far, source: Source, script: str) -> str:
    """The address of a node with this install.py."""
    source.commit({"install.py": script})
    return far.serve(source)


def test_it_runs_in_the_node_with_the_python_of_the_project(
    attempts: Attempts,
    far: Far,
    source: Source,
    destination: Path,
    python: Path,
    environment: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = (
        "import json, os, sys\n"
        "print('downloading a model', flush=True)\n"
        "names = ('COMFYUI_PATH', 'LAUNCHER_RECOVERY_DESTINATION')\n"
        "json.dump([sys.prefix, os.listdir(), [os.environ[name] for name in names]], open('found.json', 'w'))\n"
    )
    operation = attempts.next()
    told: list[str | None] = []
    progress = operation.progress
    monkeypatch.setattr(operation, "progress", lambda *given: (told.append(given[3]), progress(*given)))
    install(operation, scripted(far, source, script), destination, None, python)
    found = (destination / "found.json").read_text()
    assert str(environment) in found
    assert '"one"' in found
    assert f'["{destination.parents[1]}", "{destination}"]' in found
    assert "install.py: downloading a model" in told
    assert attempts.steps() == ["clone", "checkout", "submodules", "environment", "install_script"]
    assert "install_script_begun" not in attempts.metadata
    assert told[-1] is None


def test_what_it_did_to_the_environment_is_told(
    attempts: Attempts, far: Far, source: Source, destination: Path, python: Path, environment: Path
) -> None:
    info = packages_of(environment) / "numpy-2.0.dist-info"
    install(
        attempts.next(),
        scripted(far, source, f"import shutil; shutil.rmtree({str(info)!r})"),
        destination,
        None,
        python,
    )
    assert [warning["message"] for warning in attempts.metadata["warnings"]] == ["node removed numpy 2.0."]


def test_one_that_fails_keeps_the_node_away_and_runs_again_from_a_clean_copy(
    attempts: Attempts, far: Far, source: Source, destination: Path, python: Path, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    script = (
        "import os, sys\n"
        "assert open('one').read() == 'one', 'not a clean copy'\n"
        "assert not os.path.exists('half'), 'not a clean copy'\n"
        "open('one', 'w').write('changed')\n"
        "open('half', 'w').close()\n"
        f"if not os.path.exists({str(ready)!r}): sys.exit('no weights')\n"
    )
    url = scripted(far, source, script)
    for _ in range(2):
        with pytest.raises(CommandError, match="no weights"):
            install(attempts.next(), url, destination, None, python)
        assert not destination.exists()
    asked = len(far.asked)
    ready.touch()
    install(attempts.next(), url, destination, None, python)
    assert len(far.asked) == asked
    assert files(destination) == {".git", "one", "install.py", "half"}
    assert (destination / "one").read_text() == "changed"


def test_one_that_ended_well_is_not_run_again_and_what_it_changed_stays(
    attempts: Attempts,
    far: Far,
    source: Source,
    destination: Path,
    python: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = tmp_path / "count"
    script = f"open({str(count)!r}, 'a').write('x'); open('one', 'w').write('changed')\n"
    url = scripted(far, source, script)
    with monkeypatch.context() as broken:
        broken.setattr("launcher_recovery.nodes.publishing.publish", lambda staging, check: staging.destination.rmdir())
        with pytest.raises(OSError, match="node"):
            install(attempts.next(), url, destination, None, python)
    install(attempts.next(), url, destination, None, python)
    assert count.read_text() == "x"
    assert (destination / "one").read_text() == "changed"


def test_paths_that_were_written_down_lead_to_its_place(
    attempts: Attempts, far: Far, source: Source, destination: Path, python: Path, environment: Path
) -> None:
    packages = packages_of(environment)
    script = (
        "import os, pathlib\n"
        "here = os.getcwd()\n"
        "pathlib.Path('conf').mkdir()\n"
        "pathlib.Path('conf/own.ini').write_text(f'path = {here}/models\\n')\n"
        "pathlib.Path('conf/own.ini').chmod(0o640)\n"
        "pathlib.Path('binary').write_bytes(b'\\0' + os.fsencode(here))\n"
        "pathlib.Path('link').symlink_to(f'{here}/one')\n"
        "pathlib.Path('away').symlink_to('/somewhere')\n"
        f"pathlib.Path({str(packages)!r}, '__editable__.own.pth').write_text(here + '\\n')\n"
    )
    install(attempts.next(), scripted(far, source, script), destination, None, python)
    assert (destination / "conf/own.ini").read_text() == f"path = {destination}/models\n"
    assert (destination / "conf/own.ini").stat().st_mode & 0o777 == 0o640
    assert (destination / "link").read_text() == "one"
    assert (destination / "away").readlink() == Path("/somewhere")
    assert (packages / "__editable__.own.pth").read_text() == f"{destination}\n"
    messages = [warning["message"] for warning in attempts.metadata["warnings"]]
    assert messages == ["binary of node holds a path that is not there any more."]
    assert str(staging(destination)) not in run_git(destination, "config", "--list", "--local")


def test_what_pip_says_in_it_is_told_like_that_of_pip(
    attempts: Attempts, far: Far, source: Source, destination: Path, python: Path
) -> None:
    url = scripted(far, source, "print('ERROR: a 1.0 requires b>=2, but you have b 1.0 which is incompatible.')")
    install(attempts.next(), url, destination, None, python)
    assert attempts.metadata["warnings"][0]["message"] == "a 1.0 needs b>=2, but b is 1.0 now."
