"""Downloads as a program calls them, from a real server: what it is told meanwhile, and what a Metalink file adds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import integration, transfer
from launcher_recovery.cli import main
from launcher_recovery.errors import IntegrityError
from launcher_recovery.integration import get_recovery_integrator
from launcher_recovery.records import RecoveryState
from tests.origin import Behaviour, End, File, Origin
from tests.origin import behaviours as act
from tests.support import wait_for
from tests.transfers import Child, integrator, with_pieces

MIB = 1 << 20
FILE = File(6 * MIB)


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RECOVERY_PERSISTENCE_PATH", str(tmp_path / "recovery.db"))
    with integrator(None):
        yield


class Held:
    """A server that stops after so many bytes until it may go on."""

    def __init__(self, after: int) -> None:
        self.go = threading.Event()
        self._left = after

    def behaviour(self) -> Behaviour:
        def gate(count: int) -> tuple[int, End | None]:
            self._left -= count
            assert self._left >= 0 or self.go.wait(30)
            return count, None

        return lambda request, file, due: replace(due, gate=gate)


class Updates:
    """What `on_update` was told."""

    def __init__(self) -> None:
        self.told: list[Mapping[str, Any]] = []

    def __call__(self, update: Mapping[str, Any]) -> None:
        self.told.append(update)

    def has(self, state: str, at_least: int = 0) -> bool:
        """Whether that state was told, with so many bytes."""
        return any(
            one["state"] == state and ((one["progress"] or {}).get("done") or 0) >= at_least for one in self.told
        )


def begin(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


# -- what it is given -----------------------------------------------------------------------------------------


def test_a_mirror_is_a_text_or_several_are_a_list(tmp_path: Path) -> None:
    """A single one is asked as it is, and not letter by letter."""
    with Origin() as origin, Origin() as mirror:
        url = origin.add(FILE, act.refuse("404 Not Found"))
        source = mirror.add(FILE)
        for number, sources in enumerate((source, [source], (one for one in [source]))):
            path = tmp_path / f"{number}.bin"
            transfer.download(url, path, sha256=FILE.sha256, sources=sources)  # type: ignore[arg-type]
            assert path.read_bytes() == FILE.content()


# -- what it is told ------------------------------------------------------------------------------------------


def test_a_caller_is_told_how_its_download_goes(tmp_path: Path) -> None:
    """While bytes come, while it waits and for what, and how it ended; nothing twice."""
    held, updates = Held(2 * MIB), Updates()
    with Origin() as origin:
        url = origin.add(FILE, held.behaviour(), act.script(act.drop(3 * MIB), act.refuse("503 Busy", retry_after=1)))
        thread = begin(lambda: transfer.download(url, tmp_path / "model.bin", on_update=updates))
        wait_for(lambda: updates.has("in_progress", MIB))
        assert not updates.has("recovering")
        held.go.set()
        thread.join(60)
    told = updates.told
    waiting = next(one for one in told if one["state"] == "recovering" and one["waiting_for"] == "retry_after")
    assert waiting["explanation"]
    assert waiting["next_attempt_at"]
    last = told[-1]
    assert (last["state"], last["progress"]["done"], last["progress"]["total"]) == ("success", FILE.size, FILE.size)
    assert [one["state"] for one in told].count("success") == 1
    assert all(before != after for before, after in pairwise(told))
    assert {(one["operation_id"], one["title"], one["joined"]) for one in told} == {
        (last["operation_id"], "model.bin", False)
    }
    done = [one["progress"]["done"] for one in told if one["progress"]]
    assert done == sorted(done)


def test_who_joins_is_told_that_another_process_has_the_download(tmp_path: Path) -> None:
    """And gets the result of that; each byte comes once."""
    held, updates, path = Held(2 * MIB), Updates(), tmp_path / "model.bin"
    with Origin() as origin:
        url = origin.add(FILE, held.behaviour())
        with Child(tmp_path / "recovery.db", url, path) as other:
            wait_for(lambda: origin.sent() >= 2 * MIB)
            thread = begin(lambda: transfer.download(url, path, on_update=updates))
            wait_for(lambda: updates.has("in_progress", MIB))
            assert updates.told[-1]["joined"] is True
            held.go.set()
            thread.join(60)
            assert other.result() == {"path": str(path)}
        assert origin.settled().sent() == FILE.size
    assert updates.told[-1]["state"] == "success"
    assert path.read_bytes() == FILE.content()


def test_a_caller_that_cannot_take_it_harms_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What it raises is logged."""

    def fail(update: Mapping[str, Any]) -> None:
        raise RuntimeError("no display")

    with Origin() as origin:
        transfer.download(origin.add(FILE), tmp_path / "model.bin", on_update=fail)
    assert (tmp_path / "model.bin").read_bytes() == FILE.content()
    assert "on_update raised" in caplog.text
    assert "RuntimeError: no display" in caplog.text


def test_how_a_download_failed_is_told(tmp_path: Path) -> None:
    """With what can be done about it."""
    updates = Updates()
    with Origin() as origin:
        url = origin.add(FILE, act.refuse("403 Forbidden"))
        with pytest.raises(Exception, match="403"):
            transfer.download(url, tmp_path / "model.bin", on_update=updates)
    assert (updates.told[-1]["state"], updates.told[-1]["fix"]) == ("failed", "add_token")


# -- one that is paused ---------------------------------------------------------------------------------------


def paused(url: str, path: Path) -> tuple[threading.Thread, str]:
    """A download that was begun here, and paused when its first bytes had come; its thread waits."""
    updates = Updates()
    thread = begin(lambda: transfer.download(url, path, on_update=updates))
    wait_for(lambda: updates.has("in_progress", MIB))
    operation_id = updates.told[-1]["operation_id"]
    get_recovery_integrator().pause(operation_id)
    wait_for(lambda: updates.has("paused"))
    return thread, operation_id


def test_a_download_that_was_paused_waits_unless_the_call_resumes_it(tmp_path: Path) -> None:
    """Both calls get the file then, and no byte comes twice."""
    held, path = Held(2 * MIB), tmp_path / "model.bin"
    with Origin() as origin:
        url = origin.add(FILE, act.script(held.behaviour()))
        first, operation_id = paused(url, path)
        held.go.set()
        updates = Updates()
        second = begin(lambda: transfer.download(url, path, on_update=updates))
        wait_for(lambda: updates.has("paused"))
        assert transfer.download(url, path, resume=True) == path
        for thread in (first, second):
            thread.join(60)
            assert not thread.is_alive()
    assert path.read_bytes() == FILE.content()
    store = integration.get_recovery_integrator().persistence
    assert [(one.operation_id, one.state) for one in store.find()] == [(operation_id, RecoveryState.SUCCESS)]


def test_at_the_command_line_a_paused_download_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who types it wants it now."""
    held, path = Held(2 * MIB), tmp_path / "model.bin"
    with Origin() as origin:
        url = origin.add(FILE, act.script(held.behaviour()))
        thread, _ = paused(url, path)
        held.go.set()
        assert main(["download", url, str(path)]) == 0
        thread.join(60)
    assert capsys.readouterr().out == f"{path}\n"
    assert path.read_bytes() == FILE.content()


# -- Metalink files -------------------------------------------------------------------------------------------

LENGTH = MIB
AT = 3 * MIB + 5


def ranges(origin: Origin) -> list[str | None]:
    return [request.range for request in origin.requests()]


@pytest.mark.parametrize("is_typed", [False, True], ids=["called", "typed"])
def test_of_a_file_with_a_wrong_byte_only_the_piece_is_fetched_again(tmp_path: Path, is_typed: bool) -> None:
    """Where a Metalink file has the hashes of its pieces; the address is from that as well."""
    destination = tmp_path / "models" / "model.bin"
    with Origin() as origin:
        url = origin.add(FILE, act.flip(AT))
        metalink = with_pieces(tmp_path, url, FILE, LENGTH)["metalink"]
        if is_typed:
            assert main(["download", "--metalink", str(metalink), str(destination), "--quiet"]) == 0
        else:
            assert transfer.download([], destination, metalink=metalink) == destination
        assert origin.settled().sent() == FILE.size + LENGTH
        assert ranges(origin)[1:] == [f"bytes={3 * MIB}-{4 * MIB - 1}"]
    assert destination.read_bytes() == FILE.content()


def test_a_piece_that_a_server_has_wrong_for_good_comes_from_the_mirror_of_the_metalink_file(tmp_path: Path) -> None:
    """That piece, and what shows that the mirror has the same file, and nothing else."""
    damaged = replace(FILE, wrong=frozenset({AT}))
    destination = tmp_path / "model.bin"
    with Origin() as origin, Origin() as mirror:
        metalink = with_pieces(tmp_path, origin.add(damaged), FILE, LENGTH)["metalink"]
        text = metalink.read_text().replace("</file>", f"<url>{mirror.add(FILE)}</url></file>")
        metalink.write_text(text)
        transfer.download([], destination, metalink=metalink)
        assert origin.settled().sent() <= FILE.size + LENGTH
        assert 0 < mirror.settled().sent() <= 3 * LENGTH
    assert destination.read_bytes() == FILE.content()


def test_a_file_that_is_wrong_everywhere_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names the piece."""
    monkeypatch.setenv("RECOVERY_MAX_RETRIES", "0")
    with Origin() as origin:
        metalink = with_pieces(tmp_path, origin.add(replace(FILE, wrong=frozenset({AT}))), FILE, LENGTH)["metalink"]
        with pytest.raises(IntegrityError, match="sent piece 4 of the file wrong"):
            transfer.download([], tmp_path / "model.bin", metalink=metalink)
    assert not (tmp_path / "model.bin").exists()
