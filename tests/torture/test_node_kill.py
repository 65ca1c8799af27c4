"""kill -9 in each step of a node install: the next process goes on with the first open one, and all comes out right."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node_stage import Stage, children
from tests.nodes import Fault, far_away, files, noise, run_git, staging, versions
from tests.support import wait_for


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with far_away(tmp_path / "far") as far:
        yield Stage(tmp_path, far)


WHERE = {
    # In which request the server hangs, and what is done by then.
    "asking": ("/node.git/info/refs", 0, []),
    "fetching": ("/node.git/git-upload-pack", 2, []),
    "submodule": ("/inner.git/git-upload-pack", 1, ["clone", "checkout"]),
    "index": ("/simple/plain", 0, ["clone", "checkout", "submodule inner", "submodules", "environment"]),
    "package": ("/files/", 0, ["clone", "checkout", "submodule inner", "submodules", "environment"]),
    "script": (None, 0, ["clone", "checkout", "submodule inner", "submodules", "environment", "requirements"]),
}


@pytest.mark.parametrize("where", WHERE)
def test_a_kill_leaves_no_half_node_and_what_was_done_is_not_done_again(stage: Stage, where: str) -> None:
    path, earlier, done = WHERE[where]
    if path is None:
        stage.flag.unlink()
    else:
        stage.far.fail(path, *[Fault()] * earlier, Fault(hangs=True))
    with stage.process() as process:
        if path is None:
            wait_for(stage.flag.exists, 60)
        else:
            wait_for(lambda: not stage.far.faults, 60)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not stage.destination.exists()
    assert stage.steps() == done
    # Whoever it had started is gone as well: two of them would work in one folder.
    wait_for(lambda: not children(stage.destination.parent))
    asked = [stage.far.count(name) for name in ("/node.git/", "/inner.git/", "/files/")]
    stage.finish()
    again = [stage.far.count(name) for name in ("/node.git/", "/inner.git/", "/files/")]
    assert [before == after for before, after in zip(asked, again, strict=True)] == [
        "clone" in done,
        "submodule inner" in done,
        "requirements" in done,
    ]
    assert files(stage.destination) == {
        ".git", ".gitmodules", "one", "inner", "requirements.txt", "install.py", "half", "conf.ini",
    }  # fmt: skip
    assert (stage.destination / "inner" / "inside").read_bytes() == noise(50_000)
    assert (stage.destination / "conf.ini").read_text() == str(stage.destination)
    assert run_git(stage.destination, "fsck", "--strict", "--no-dangling") == ""
    assert files(stage.destination.parent) == {"node"}
    assert not staging(stage.destination).exists()
    assert versions(stage.folder / "environment") == {"numpy": "2.0", "plain": "1.0"}


@pytest.mark.slow
@pytest.mark.parametrize("after_ms", range(0, 4000, 125))
def test_a_kill_at_any_moment(stage: Stage, after_ms: int) -> None:
    """Wherever it comes: afterwards there is the whole node or none, and the next process makes it whole."""
    with stage.process() as process:
        wait_for(lambda: stage.far.asked, 60)
        try:
            process.wait(after_ms / 1000)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
    if stage.destination.exists():
        assert (stage.destination / "conf.ini").read_text() == str(stage.destination)
    stage.finish()
    assert (stage.destination / "conf.ini").read_text() == str(stage.destination)
    assert run_git(stage.destination, "fsck", "--strict", "--no-dangling") == ""
    assert files(stage.destination.parent) == {"node"}
    assert versions(stage.folder / "environment") == {"numpy": "2.0", "plain": "1.0"}
