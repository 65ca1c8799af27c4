"""kill -9 in each step of a node install: the next process goes on with the first open one, and all comes out right."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.persistence import SQLitePersistence
from tests.nodes import Far, Fault, Source, far_away, files, make_environment, noise, run_git, staging, versions, wheel
from tests.support import wait_for

ROOT = Path(__file__).parents[2]

# Waits until it is let go the first time that it runs.
SCRIPT = """
import os, time
print("running", flush=True)
open("half", "x").close()
if not os.path.exists({flag!r}):
    open({flag!r}, "w").close()
    time.sleep(600)
open("conf.ini", "w").write(os.getcwd())
"""


class Stage:
    """A node that needs everything, where it is to be, and the process that installs it."""

    def __init__(self, folder: Path, far: Far) -> None:
        self.far = far
        self.folder = folder
        self.destination = folder / "custom_nodes" / "node"
        self.flag = folder / "flag"
        inner, source = Source(folder / "inner"), Source(folder / "source")
        inner.commit({"inside": noise(50_000)})
        far.offer(wheel("plain", "1.0", size=50_000))
        content = {"one": noise(50_000, "one"), "requirements.txt": far.requirements("plain")}
        source.commit({**content, "install.py": SCRIPT.format(flag=str(self.flag))})
        self.flag.touch()
        source.add_submodule(far.serve(inner, "inner.git"), "inner")
        self.url = far.serve(source)
        self.python = make_environment(folder / "environment", wheel("numpy", "2.0"))
        self.store = folder / "recovery.db"

    @contextmanager
    def process(self) -> Iterator[subprocess.Popen[str]]:
        order: dict[str, Any] = {
            "folder": str(self.destination.parent),
            "store": str(self.store),
            "url": self.url,
            "python": str(self.python),
        }
        own = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        environment = {**own, "PIP_CONFIG_FILE": os.devnull, "PIP_CACHE_DIR": str(self.folder / "cache")}
        environment["PIP_INDEX_URL"] = "http://127.0.0.1:9/simple"  # nobody listens there
        argv = [sys.executable, "-m", "tests.node_process", json.dumps(order)]
        process = subprocess.Popen(
            argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def finish(self) -> None:
        """Install in a new process, to the end."""
        with self.process() as process:
            output, _ = process.communicate(timeout=100)
        assert process.returncode == 0, output

    def steps(self) -> list[str]:
        store = SQLitePersistence(self.store)
        try:
            (found,) = store.find(kind="install_node")
            return [step.name for step in store.steps(found.operation_id)]
        finally:
            store.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with far_away(tmp_path / "far") as far:
        yield Stage(tmp_path, far)


def children(folder: Path) -> list[int]:
    """Processes that work below a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                where = os.readlink(entry / "cwd")
            except OSError:
                continue
            if where.startswith(str(folder)):
                found.append(int(entry.name))
    return found


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
