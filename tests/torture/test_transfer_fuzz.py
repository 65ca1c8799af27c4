"""Whatever servers do: either the right file or none, an error that says what it is, and an end to it."""

from __future__ import annotations

import gc
import os
import random
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from launcher_recovery.errors import OperationInterrupted
from launcher_recovery.persistence import MemoryPersistence
from tests.origin import Authority, File, Origin
from tests.origin import behaviours as act
from tests.support import wait_for
from tests.torture import fuzz
from tests.transfers import Downloads, turn

# urllib3 leaves the socket of a handshake that broke off to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")

KNOBS = {"piece": 64 << 10, "sync_bytes": 256 << 10, "silence_s": 0.3, "first_byte_s": 0.5, "answer_s": 1.0}
LONGEST_S = 45.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> None:
    turn(KNOBS, monkeypatch.setattr)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.bundle))


def open_files(folder: Path) -> list[str]:
    """What of a folder this process has open."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue  # that of the listing itself
    return [path for path in found if path.startswith(str(folder))]


def face(folder: Path, seed: int, authority: Authority) -> None:
    """Download from the servers of a seed."""
    destination = folder / "models" / "model.bin"
    threads = set(threading.enumerate())
    downloads = Downloads(MemoryPersistence())
    began = time.monotonic()
    with ExitStack() as stack:
        scenario = fuzz.build(seed, authority, stack)
        if scenario.before is not None:
            destination.parent.mkdir()
            destination.write_bytes(scenario.before)
        story = "\n".join(scenario.story)
        print(story)  # for who looks at a seed that takes too long
        try:
            downloads(scenario.url, destination, **scenario.options)
            error = None
        except Exception as problem:
            error = problem
        seconds = time.monotonic() - began
    found = destination.read_bytes() if destination.exists() else None
    if error is None:
        right = [scenario.file] if scenario.is_checked else scenario.acceptable
        if scenario.is_sized:
            right = [file for file in right if file.size == scenario.file.size]
        assert found in [file.content() for file in right], f"a bad file was published\n{story}"
        assert [path.name for path in destination.parent.iterdir()] == ["model.bin"], story
    else:
        assert not scenario.has_to_work, f"{error!r}\n{story}"
        assert found == scenario.before, f"{error!r}, but a file was published\n{story}"
        assert not isinstance(error, OperationInterrupted), story
        assert downloads.record.category not in ("unknown", "internal"), f"{error!r}\n{story}"
        assert downloads.record.explanation, story
    assert seconds < LONGEST_S, story
    wait_for(lambda: {one for one in threading.enumerate() if one.name.startswith("recovery-")} <= threads, 10)
    assert open_files(folder) == [], story
    gc.collect()  # a connection that was left open is complained of with the seed that left it


@pytest.mark.timeout(90)
@pytest.mark.parametrize("seed", range(40))
def test_forty_servers(tmp_path: Path, authority: Authority, seed: int) -> None:
    face(tmp_path, seed, authority)


@pytest.mark.slow
@pytest.mark.timeout(90)
@pytest.mark.parametrize("seed", range(40, 540))
def test_five_hundred_servers(tmp_path: Path, authority: Authority, seed: int) -> None:
    face(tmp_path, seed, authority)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("name", [name for name, kind in fuzz.KINDS.items() if kind.is_provable])
@pytest.mark.parametrize("has_begun", [False, True], ids=["first answer", "answer for the rest"])
def test_each_kind_of_fault_by_itself_without_a_checksum(
    tmp_path: Path, authority: Authority, name: str, has_begun: bool
) -> None:
    """As the first answer, and as the one for what is missing after a drop; afterwards the server is honest."""
    file = File(400_000)
    destination = tmp_path / "models" / "model.bin"
    kind = fuzz.KINDS[name]
    fault = kind.make(random.Random(1), file)
    downloads = Downloads(MemoryPersistence())
    changed = [File(size, version=1).content() for size in (file.size, file.size + 5000, file.size // 2)]
    with Origin() as origin:
        url = origin.add(file, act.script(*([act.drop(150_000)] if has_begun else []), fault))
        try:
            downloads(url, destination)
        except Exception:
            assert not kind.passes
            assert not destination.exists()
            assert downloads.record.category not in ("unknown", "internal")
            return
    assert destination.read_bytes() in [file.content(), *changed]
