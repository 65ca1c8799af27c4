"""Plugins of third parties that download naively become resumable within operations, without an edit."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import pytest
import requests
import urllib3

from launcher_recovery.transfer.healing import body_log
from launcher_recovery.transfer.healing import switch as healing
from launcher_recovery.transfer.healing.kept_bodies import KeptBodies
from launcher_recovery.transfer.http.representation import Representation
from sample_launcher.hookspecs import hookimpl
from sample_launcher.hub import Drop, Hub, Stall, Status
from tests.disks import memory_disk
from tests.launcher import ROOT
from tests.naive import NaivePlugin
from tests.support import Host, wait_for

MIB = 1 << 20
SIZE = 16 * MIB


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    made = Host(tmp_path, **getattr(request, "param", {}))
    yield made
    made.detach()


def kept(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.body"))


def test_a_naive_plugin_over_two_drops_ends_with_one_attempt_and_no_byte_twice(
    host: Host, hub: Hub, cache: Path
) -> None:
    naive = NaivePlugin()
    host.manager.register(naive)
    host.attach()
    url = hub.add_model("m", SIZE, [Drop(after=5 * MIB), Drop(after=3 * MIB)])
    destination = host.download("m.bin", url)
    assert Path(destination).read_bytes() == hub.content("m")
    assert naive.calls == 1
    assert [data.attempt for data in host.operations()] == [1]
    assert hub.stats("m")["bytes_sent"] == SIZE
    assert kept(cache) == []


def test_a_naive_plugin_that_is_called_again_gets_what_is_kept(host: Host, hub: Hub) -> None:
    naive = NaivePlugin()
    host.manager.register(naive)
    host.attach()
    url = hub.add_model("m", SIZE, [Drop(after=5 * MIB), Status(404), Drop(after=3 * MIB), Status(404)])
    destination = host.download("m.bin", url)
    assert Path(destination).read_bytes() == hub.content("m")
    assert naive.calls == 3
    assert hub.stats("m")["bytes_sent"] == SIZE


class Looking:
    """Says of what type the body of a response is."""

    def __init__(self) -> None:
        self.seen: list[type] = []

    @hookimpl
    def launcher_download(self, url: str) -> str:
        with requests.get(url, stream=True) as response:
            self.seen.append(type(response.raw))
        return url


@pytest.mark.parametrize("host", [{"mode": "off"}, {"mode": "observe"}, {"rollout": {"download": 0}}], indirect=True)
def test_where_recovery_does_not_act_responses_are_those_of_requests(host: Host, hub: Hub) -> None:
    looking = Looking()
    host.manager.register(looking)
    host.attach()
    host.download("m.bin", hub.add_model("m", MIB))
    assert looking.seen == [urllib3.HTTPResponse]


def test_attaching_and_detaching_leave_requests_as_it_was(host: Host, hub: Hub) -> None:
    before = requests.Session.__dict__["send"]
    host.attach()
    assert requests.Session.__dict__["send"] is not before
    looking = Looking()
    host.manager.register(looking)
    url = hub.add_model("m", MIB)
    host.download("m.bin", url)
    assert looking.seen != [urllib3.HTTPResponse]
    host.detach()
    assert requests.Session.__dict__["send"] is before


def test_a_host_that_is_off_does_not_even_load_it(tmp_path: Path) -> None:
    code = (
        "import sys, pluggy, requests\n"
        "from launcher_recovery import plugin\n"
        "before = requests.Session.__dict__['send']\n"
        "class App: config = {}\n"
        "plugin.launcher_startup(App(), None, pluggy.PluginManager('comfyui_launcher'))\n"
        "assert requests.Session.__dict__['send'] is before\n"
        "assert not any('heal' in name for name in sys.modules if name.startswith('launcher_recovery'))\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RECOVERY_")}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=environment)


def test_what_nobody_went_on_with_is_deleted_at_the_start(host: Host, cache: Path) -> None:
    bodies = KeptBodies(healing.default_folder())
    for name in ("old", "new"):
        log = bodies.begin(name, "https://hub.example/m", 1, Representation('"v1"', "", 2 * MIB), [])
        assert log is not None
        log.close()
    old, new = (next(bodies._folder_of(name).iterdir()) for name in ("old", "new"))
    assert old.is_relative_to(cache)
    now = host.integrator.clock.time()  # a virtual one
    month_ago = (datetime.fromtimestamp(now, timezone.utc) - timedelta(days=30)).timestamp()
    os.utime(old, (month_ago, month_ago))
    os.utime(new, (now, now))
    host.attach()
    wait_for(lambda: not old.exists())
    assert new.exists()


def test_a_full_disk_below_the_cache_harms_no_download(
    host: Host, hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(body_log, "free_bytes", lambda folder: 1 << 40)  # as on a disk that others fill
    host.manager.register(NaivePlugin())
    url = hub.add_model("m", SIZE, [Drop(after=12 * MIB), Status(404)])
    with memory_disk(cache, 8 * MIB):
        host.attach()
        destination = host.download("m.bin", url)
        assert kept(cache) == []
    assert Path(destination).read_bytes() == hub.content("m")
    assert len([one for one in caplog.records if "is not kept" in one.getMessage()]) == 1


# -- killed -------------------------------------------------------------------------------------------


def has_kept(cache: Path, count: int) -> bool:
    """Whether so many bytes of the body are kept; the log has a few of its own."""
    return any(kept_bytes(path) >= count for path in kept(cache))


def kept_bytes(path: Path) -> int:
    """How many bytes of the body are in the records of a log that is being written."""
    with path.open("rb") as file:
        found = body_log.read_head(file.fileno())
        if found is None:
            return 0
        file.seek(found[1])
        count = 0
        while len(record := file.read(body_log._RECORD.size)) == body_log._RECORD.size:
            length = body_log._RECORD.unpack(record)[1]
            if len(file.read(length)) < length:
                break
            count += length
        return count


def has_sent(hub: Hub, count: int) -> bool:
    return bool(hub.stats("m")["bytes_sent"] > count)


def start(folder: Path, url: str, *more: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "tests.naive", str(folder), url, *more]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_after_kill_9_the_next_process_gets_only_the_rest(tmp_path: Path, hub: Hub, cache: Path) -> None:
    """The naive handler itself begins at zero each time."""
    stops = [3 * MIB, 4 * MIB, 5 * MIB]
    url = hub.add_model("m", SIZE, [Stall(after=after, seconds=60) for after in stops])
    for number in range(1, len(stops) + 1):
        process = start(tmp_path, url)
        there = sum(stops[:number])
        wait_for(partial(has_kept, cache, there))
        kill(process)
        assert (tmp_path / "model.bin").stat().st_size <= there
    process = start(tmp_path, url)
    assert process.communicate(timeout=60)[0].split() == [str(len(stops) + 1), "success"]
    assert hashlib.sha256((tmp_path / "model.bin").read_bytes()).hexdigest() == hub.sha256("m")
    assert hub.stats("m")["bytes_sent"] == SIZE
    assert [one["range"] for one in hub.stats("m")["requests"]] == [
        None,
        *(f"bytes={sum(stops[:number])}-" for number in range(1, len(stops) + 1)),
    ]
    assert kept(cache) == []


@pytest.mark.slow
def test_killed_in_the_middle_of_writing_it_loses_next_to_nothing(tmp_path: Path, hub: Hub, cache: Path) -> None:
    url = hub.add_model("m", SIZE, rate=12_000_000)
    kills = 4
    for number in range(1, kills + 1):
        process = start(tmp_path, url)
        wait_for(partial(has_sent, hub, number * 3 * MIB))
        kill(process)
    process = start(tmp_path, url)
    assert process.communicate(timeout=60)[0].split()[1] == "success"
    assert hashlib.sha256((tmp_path / "model.bin").read_bytes()).hexdigest() == hub.sha256("m")
    assert hub.stats("m")["bytes_sent"] - SIZE < kills * MIB
    assert kept(cache) == []
