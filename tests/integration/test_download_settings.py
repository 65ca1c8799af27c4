"""Settings of downloads change what happens between a real server, the disk and a launcher; some while bytes come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import SQLitePersistence, integration, transfer
from launcher_recovery.config import DEFAULT_CONFIG, RecoveryConfig
from launcher_recovery.errors import RecoveryConfigError, RefusedError
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.records import RecoveryData
from launcher_recovery.transfer.connections import limits, ramp
from launcher_recovery.transfer.connections.limits import BANDWIDTH, CONNECTIONS
from tests.origin import Behaviour, End, File, Origin
from tests.origin import behaviours as act
from tests.support import Host, wait_for
from tests.transfers import integrator

MIB = 1 << 20
FILE = File(6 * MIB)


@pytest.fixture(autouse=True)
def _limits_end_with_the_test() -> Iterator[None]:
    yield
    limits.put_in_force(DEFAULT_CONFIG, RecoveryConfig(bandwidth_limit=1, connections_per_host=1, connections_in_all=1))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Makes launchers with these settings."""
    made: list[Host] = []

    def make(**settings: Any) -> Host:
        made.append(Host(tmp_path / "models", **settings))
        made[-1].attach()
        return made[-1]

    yield make
    for one in made:
        one.detach()


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Calls outside of a launcher, with settings from the environment; those that are set before the first call."""
    monkeypatch.setenv("RECOVERY_PERSISTENCE_PATH", str(tmp_path / "own.db"))
    with integrator(None):
        yield monkeypatch


class Held:
    """A server that stops after so many bytes until it may go on."""

    def __init__(self, after: int) -> None:
        self.go = threading.Event()
        self.is_reached = threading.Event()
        self._left = after

    def behaviour(self) -> Behaviour:
        def gate(count: int) -> tuple[int, End | None]:
            self._left -= count
            if self._left < 0 and not self.go.is_set():
                self.is_reached.set()
                assert self.go.wait(30)
            return count, None

        return lambda request, file, due: replace(due, gate=gate)


def begin(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def end(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


# -- the staging folder ---------------------------------------------------------------------------------------


def test_partials_of_a_launcher_lie_in_the_staging_folder(tmp_path: Path, host: Callable[..., Host]) -> None:
    """It is made; nothing lies beside the destination before the whole file does, and nothing is left behind."""
    staging, held = tmp_path / "new" / "staging", Held(2 * MIB)
    launcher = host(staging_folder=str(staging))
    with Origin() as origin:
        url = origin.add(FILE, held.behaviour())
        thread = begin(lambda: launcher.download("model.bin", url))
        assert held.is_reached.wait(30)
        [partial] = wait_for(lambda: files(staging))
        assert partial.startswith("model.bin-")
        assert partial.endswith(".part")
        assert files(launcher.folder) == []
        held.go.set()
        end(thread)
    assert (launcher.folder / "model.bin").read_bytes() == FILE.content()
    assert (files(launcher.folder), files(staging)) == (["model.bin"], [])


def test_partials_of_other_calls_lie_there_too_unless_they_say_where(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("RECOVERY_STAGING_FOLDER", str(tmp_path / "staging"))

    def where(name: str, **options: Any) -> set[str]:
        """The folders in which there is a partial meanwhile."""
        held, destination = Held(2 * MIB), tmp_path / "models" / name
        with Origin() as origin:
            url = origin.add(FILE, held.behaviour())
            thread = begin(lambda: transfer.download(url, destination, **options))
            assert held.is_reached.wait(30)
            found = wait_for(lambda: {path.parent.name for path in tmp_path.rglob("*.part")})
            held.go.set()
            end(thread)
        assert destination.read_bytes() == FILE.content()
        return found

    assert where("one.bin") == {"staging"}
    assert where("two.bin", staging=tmp_path / "own") == {"own"}


def test_a_partial_is_gone_on_with_where_it_lies_though_the_setting_is_another_one(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    """No byte is fetched twice for that, and no partial is forgotten."""
    environment.setenv("RECOVERY_MAX_RETRIES", "0")
    destination = tmp_path / "models" / "model.bin"
    with Origin() as origin:
        url = origin.add(FILE, act.script(act.drop(2 * MIB)), act.since(2, act.refuse("404 Not Found")))
        with pytest.raises(Exception, match="404"):
            transfer.download(url, destination)
        assert files(destination.parent) == ["model.bin.part"]
        integration.get_recovery_integrator().update_config({"staging_folder": str(tmp_path / "staging")})
        origin.add(FILE)
        transfer.download(url, destination)
        assert origin.settled().sent() == FILE.size
    assert destination.read_bytes() == FILE.content()
    assert (files(destination.parent), files(tmp_path / "staging")) == (["model.bin"], [])


# -- bandwidth ------------------------------------------------------------------------------------------------


class Standstill:
    """The time of the bandwidth limit. It stands still at first: what that lets through then is all that there is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._went_on_at: float | None = None
        monkeypatch.setattr(BANDWIDTH, "_monotonic", self._now)
        monkeypatch.setattr(BANDWIDTH, "_wait", lambda seconds: threading.Event().wait(0.002))
        monkeypatch.setattr(BANDWIDTH, "_due", 0.0)

    def _now(self) -> float:
        return 1000.0 if self._went_on_at is None else 1000.0 + time.monotonic() - self._went_on_at

    def go_on(self) -> None:
        """From now on it passes."""
        self._went_on_at = time.monotonic()

    def is_reached(self) -> bool:
        """Whether somebody waits for it."""
        return BANDWIDTH._waiting.total() > 0


def test_the_bandwidth_limit_of_a_launcher_is_changed_while_bytes_come(
    host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds what it does not let through, also when it comes in the middle, and lets go when it is lifted."""
    stands = Standstill(monkeypatch)
    launcher = host(bandwidth_limit=64 << 10)
    with Origin() as origin:
        url, other = origin.add(FILE), origin.add(FILE, path="/other.bin")
        first = begin(lambda: launcher.download("first.bin", url))
        wait_for(stands.is_reached)
        second = begin(lambda: launcher.download("second.bin", other))
        wait_for(lambda: BANDWIDTH._waiting.total() == 2)
        assert files(launcher.folder) == ["first.bin.part", "second.bin.part"]
        launcher.integrator.update_config({"bandwidth_limit": ""})
        end(first, second)
        assert files(launcher.folder) == ["first.bin", "second.bin"]
        held = Held(2 * MIB)
        url = origin.add(FILE, held.behaviour(), path="/third.bin")
        third = begin(lambda: launcher.download("third.bin", url))
        assert held.is_reached.wait(30)
        assert not stands.is_reached()
        launcher.integrator.update_config({"bandwidth_limit": "16K"})
        held.go.set()
        wait_for(stands.is_reached)
        assert not (launcher.folder / "third.bin").exists()
        launcher.integrator.update_config({"bandwidth_limit": None})
        end(third)
    assert (launcher.folder / "third.bin").read_bytes() == FILE.content()


def test_the_bandwidth_limit_of_the_environment_is_that_of_other_calls(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    """Another setting that changes leaves alone what a call has set meanwhile."""
    stands = Standstill(environment)
    environment.setenv("RECOVERY_BANDWIDTH_LIMIT", "64K")
    with Origin() as origin:
        url = origin.add(FILE)
        thread = begin(lambda: transfer.download(url, tmp_path / "model.bin"))
        wait_for(stands.is_reached)
        assert BANDWIDTH.rate == 64 << 10
        integration.get_recovery_integrator().update_config({"bandwidth_limit": "1G", "reuse": "copy"})
        assert BANDWIDTH.rate == 1 << 30
        stands.go_on()
        end(thread)
        small = origin.add(File(1000), path="/small.bin")
        transfer.download(small, tmp_path / "small.bin", limit_rate=5e9)
        integration.get_recovery_integrator().update_config({"max_retries": 5})
        assert BANDWIDTH.rate == 5e9
    assert (tmp_path / "model.bin").read_bytes() == FILE.content()


def test_the_limits_are_as_they_were_when_the_launcher_is_gone(host: Callable[..., Host]) -> None:
    """What is left at its default touches nothing."""
    launcher = host(bandwidth_limit="10M", connections_per_host=2, connections_in_all=3)
    assert (BANDWIDTH.rate, CONNECTIONS.per_host, CONNECTIONS.in_all) == (10 << 20, 2, 3)
    host()
    assert (BANDWIDTH.rate, CONNECTIONS.per_host, CONNECTIONS.in_all) == (10 << 20, 2, 3)
    launcher.detach()
    assert (BANDWIDTH.rate, CONNECTIONS.per_host, CONNECTIONS.in_all) == (None, 4, 16)


# -- connections ----------------------------------------------------------------------------------------------

LARGE = File(48 * MIB)


@pytest.fixture
def _ramp_tries_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ramp, "_AGAIN_S", 0.1)


@pytest.mark.usefixtures("_ramp_tries_again_soon")
@pytest.mark.parametrize("setting", ["connections_per_host", "connections_in_all"])
def test_how_many_connections_there_are_is_changed_while_bytes_come(host: Callable[..., Host], setting: str) -> None:
    """A server that is slow on each connection is asked over one; over more as soon as there may be more."""
    launcher = host(**{setting: 1})
    with Origin() as origin:
        url = origin.add(LARGE, act.slow(12e6))
        thread = begin(lambda: launcher.download("model.bin", url))
        # By then it was measured, and one more was refused.
        wait_for(lambda: origin.sent() > 14 * MIB)
        assert origin.connections == 1
        launcher.integrator.update_config({setting: 8})
        wait_for(lambda: origin.most_at_once() > 1)
        end(thread)
    assert (launcher.folder / "model.bin").stat().st_size == LARGE.size


@pytest.mark.usefixtures("_ramp_tries_again_soon")
def test_how_many_connections_one_download_has(host: Callable[..., Host]) -> None:
    """One, where nothing else is allowed, however slow the server is on each."""
    launcher = host(connections_per_download=1)
    with Origin() as origin:
        url = origin.add(File(24 * MIB), act.slow(16e6))
        launcher.download("model.bin", url)
        assert origin.settled().connections == 1


# -- reuse ----------------------------------------------------------------------------------------------------


def sent_for_a_second_one(download: Callable[[str, str], object]) -> int:
    """The bytes that a server sends for a file that is wanted at another place as well."""
    with Origin() as origin:
        url = origin.add(FILE)
        download("first.bin", url)
        before = origin.settled().sent()
        assert before == FILE.size
        download("second.bin", url)
        return origin.settled().sent() - before


@pytest.mark.parametrize(("how", "is_shared"), [("copy", False), ("hardlink", True), ("auto", None)])
def test_the_same_content_is_not_downloaded_twice_where_that_is_set(
    host: Callable[..., Host], how: str, is_shared: bool | None
) -> None:
    launcher = host(reuse=how)
    assert sent_for_a_second_one(lambda name, url: launcher.download(name, url, sha256=FILE.sha256)) == 0
    first, second = launcher.folder / "first.bin", launcher.folder / "second.bin"
    assert second.read_bytes() == FILE.content()
    assert is_shared in (None, first.samefile(second))


def test_the_same_content_is_downloaded_again_by_default(host: Callable[..., Host]) -> None:
    launcher = host()
    sent = sent_for_a_second_one(lambda name, url: launcher.download(name, url, sha256=FILE.sha256))
    assert sent == FILE.size


def test_a_way_that_the_file_system_does_not_know_is_no_reason_to_fail(
    host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is downloaded then."""
    monkeypatch.setattr("launcher_recovery.transfer.disk.reuse._share", lambda *_: False)
    launcher = host(reuse="reflink")
    sent = sent_for_a_second_one(lambda name, url: launcher.download(name, url, sha256=FILE.sha256))
    assert sent == FILE.size


@pytest.mark.parametrize(
    ("setting", "said", "expected"), [("copy", None, 0), ("copy", "off", FILE.size), ("off", "copy", 0)]
)
def test_what_a_call_says_of_reuse_goes_before_the_setting(
    tmp_path: Path, environment: pytest.MonkeyPatch, setting: str, said: str | None, expected: int
) -> None:
    environment.setenv("RECOVERY_REUSE", setting)

    def download(name: str, url: str) -> None:
        transfer.download(url, tmp_path / name, sha256=FILE.sha256, reuse=said)

    assert sent_for_a_second_one(download) == expected


# -- what cannot be used --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"reuse": "yes"}, "reuse='yes' is not usable: it must be off, reflink, hardlink, copy, auto or None"),
        ({"staging": 5}, "staging=5 is not usable: it must be the path of a folder, or None"),
        ({"staging": b"/tmp"}, "staging=b'/tmp' is not usable: it must be the path of a folder, or None"),
        ({"resume": 1}, "resume=1 is not usable: it must be True or False"),
        ({"connections": 0}, "connections=0 is not usable: it must be a whole number of at least 1"),
        ({"sources": 5}, "sources=5 is not usable: it must be a text, or several in a list"),
        (
            {"sources": ["http://127.0.0.1:9/m", None]},
            "sources=None is not usable: it must be a text, or several in a list",
        ),
        ({"checksum": b"md5"}, "checksum=b'md5' is not usable: it must be a text, or several in a list"),
        ({"limit_rate": 0}, "limit_rate=0 is not usable: it must be a number of at least 1"),
        (
            {"headers": {"X Key": "secret"}},
            "a name in headers is not usable (it is not shown): it must be a word such as X-Key",
        ),
        (
            {"headers": {"X-Key": "secret\r\nHost: x"}},
            "the value of X-Key in headers is not usable (it is not shown): it must be text without line ends",
        ),
    ],
)
def test_what_a_call_cannot_use_is_one_sentence(
    tmp_path: Path, environment: pytest.MonkeyPatch, options: dict[str, Any], said: str
) -> None:
    """Nothing is asked, and no limit is changed."""
    with Origin() as origin:
        with pytest.raises(RecoveryConfigError) as caught:
            transfer.download(origin.add(FILE), tmp_path / "model.bin", **options)
        assert str(caught.value) == said
        assert origin.requests() == []
    assert BANDWIDTH.rate is None


def test_a_setting_of_the_environment_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("RECOVERY_BANDWIDTH_LIMIT", "fast")
    with pytest.raises(RecoveryConfigError, match=r"^RECOVERY_BANDWIDTH_LIMIT='fast' is not usable: it must be bytes"):
        transfer.download("http://127.0.0.1:9/model.bin", tmp_path / "model.bin")


def test_a_launcher_refuses_a_download_that_the_environment_makes_impossible(
    host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others go on."""
    monkeypatch.setenv("HF_ENDPOINT", "mirror.example")
    launcher = host()
    with pytest.raises(RefusedError, match=r"^HF_ENDPOINT='mirror.example' is not usable: it must be a web address"):
        launcher.download("model.bin", "https://huggingface.co/a/b/resolve/main/model.bin")
    with Origin() as origin:
        launcher.download("model.bin", origin.add(FILE))
    operations: list[RecoveryData] = launcher.operations()
    assert [data.state.value for data in operations] == ["success"]


def test_an_integrator_of_ones_own_has_its_settings_followed(tmp_path: Path) -> None:
    """With `update_config` it is enough to give what changes."""
    own = RecoveryIntegrator(RecoveryConfig(), persistence=SQLitePersistence(tmp_path / "recovery.db"))
    try:
        own.update_config({"connections_in_all": 5})
        assert (CONNECTIONS.in_all, CONNECTIONS.per_host, BANDWIDTH.rate) == (5, 4, None)
        with pytest.raises(RecoveryConfigError, match="connections_in_all=0 is not usable"):
            own.update_config({"connections_in_all": 0, "bandwidth_limit": "5M"})
        assert (CONNECTIONS.in_all, BANDWIDTH.rate) == (5, None)
        own.update_config(RecoveryConfig())
        assert CONNECTIONS.in_all == 16
    finally:
        own.stop()


@pytest.mark.parametrize("url", ["", []])
def test_a_download_of_ones_own_needs_an_address(tmp_path: Path, url: str | list[str]) -> None:
    with pytest.raises(RefusedError, match="no web address is given"):
        transfer.download(url, tmp_path / "model.bin")
