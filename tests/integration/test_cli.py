"""The command line as a person types it: a real process against the faulty hub, killed, stopped, joined and paused."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher_recovery import SQLitePersistence
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.owners import let_go
from sample_launcher.hub import Drop, Hub, Status
from tests.origin import File, Origin
from tests.origin import behaviours as act
from tests.support import wait_for
from tests.transfers import with_pieces

MIB = 1 << 20
SIZE = 12 * MIB
RATE = 6_000_000
NAME = "model.safetensors"
LOST_AT_MOST = 3 * MIB
"""Bytes that one kill may cost: what was in the kernel, and never reached the file. It takes the more, the less time
the process gets to read."""


class Typed:
    """What is typed at a terminal, in a folder of its own with a database of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "recovery.db"
        self.running: list[subprocess.Popen[str]] = []
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RECOVERY_")}
        self._environ = {**kept, "RECOVERY_PERSISTENCE_PATH": str(self.database), "TERM": "xterm", "COLUMNS": "100"}

    def start(self, *arguments: object, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "launcher_recovery", *map(str, arguments)]
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self._environ, "PYTHONPATH": os.pathsep.join(filter(None, (os.getcwd(), os.getenv("PYTHONPATH"))))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        self.running.append(process)
        return process

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """The exit status, what was printed, and what was said on standard error."""
        return ended(self.start(*arguments))

    def close(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    printed, said = process.communicate(timeout=60)
    return process.returncode, printed, said


@pytest.fixture
def typed(tmp_path: Path) -> Iterator[Typed]:
    made = Typed(tmp_path)
    yield made
    made.close()


def sent(hub: Hub) -> int:
    count: int = hub.stats(NAME)["bytes_sent"]
    return count


def has_sent(hub: Hub, count: int) -> Callable[[], bool]:
    return lambda: sent(hub) >= count


def expect_right(hub: Hub, typed: Typed) -> None:
    assert (typed.folder / NAME).read_bytes() == hub.content(NAME)
    assert [path.name for path in typed.folder.iterdir() if not path.name.startswith("recovery.db")] == [NAME]


def test_a_download_over_a_dropped_connection_and_a_503_prints_its_path(typed: Typed, hub: Hub) -> None:
    """The address names the file in the folder; each byte comes once; lines say what happened."""
    url = hub.add_model(NAME, SIZE, [Drop(after=4 * MIB), Status(status=503, retry_after=1)])
    status, printed, said = typed("download", url, ".", "--sha256", hub.sha256(NAME))
    assert (status, printed) == (0, f"{typed.folder / NAME}\n")
    assert "model.safetensors: 4.2 MB of 13 MB, 33 %, waiting 1 s: " in said
    assert re.search(r"^13 MB in \d+ s, sha256 as expected$", said, re.MULTILINE)
    expect_right(hub, typed)
    assert sent(hub) == SIZE


def test_quiet_says_nothing(typed: Typed, hub: Hub) -> None:
    """Exit status 0 is all."""
    assert typed("download", hub.add_model(NAME, MIB), NAME, "--quiet") == (0, "", "")
    expect_right(hub, typed)


@pytest.mark.parametrize(
    ("status", "said"),
    [(404, "is not there any more on 127.0.0.1 (status 404)"), (403, "does not let us have this")],
)
def test_what_cannot_be_had_is_one_sentence_and_status_1(status: int, said: str, typed: Typed, hub: Hub) -> None:
    """Nothing is left at the destination."""
    url = hub.add_model(NAME, MIB, [Status(status=status, times=100)])
    code, printed, line = typed("download", f"{url}?token=secret", NAME)
    assert (code, printed) == (1, "")
    assert line.startswith(f"launcher-recovery download: {NAME} was not downloaded: ")
    assert said in line
    assert line.count("\n") == 1
    assert "secret" not in line
    assert not (typed.folder / NAME).exists()


def test_a_wrong_checksum_is_never_published(typed: Typed, hub: Hub) -> None:
    """Also when the server sends the same again and again."""
    code, _, line = typed("download", hub.add_model(NAME, MIB), NAME, "--sha256", "0" * 64)
    assert code == 1
    assert "0" * 64 in line
    assert not (typed.folder / NAME).exists()


def test_the_same_command_goes_on_after_kill_9(typed: Typed, hub: Hub) -> None:
    """At the byte; and again after another one."""
    command = ("download", hub.add_model(NAME, SIZE, rate=RATE), NAME, "--sha256", hub.sha256(NAME))
    for point in (3 * MIB, 7 * MIB):
        process = typed.start(*command)
        wait_for(has_sent(hub, point))
        process.kill()
        process.wait(10)
    status, _, said = typed(*command)
    assert status == 0, said
    expect_right(hub, typed)
    assert sent(hub) - SIZE < 2 * LOST_AT_MOST


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C of another process")
def test_ctrl_c_ends_it_at_once_and_the_same_command_goes_on(typed: Typed, hub: Hub) -> None:
    """Exit status 130, and how much is kept."""
    command = ("download", hub.add_model(NAME, SIZE, rate=RATE), NAME)
    process = typed.start(*command)
    wait_for(has_sent(hub, 4 * MIB))
    process.send_signal(signal.SIGINT)
    status, printed, said = ended(process)
    assert (status, printed) == (130, "")
    last = said.splitlines()[-1]
    assert re.fullmatch(
        rf"launcher-recovery download: {NAME} was stopped; what has arrived \([\d.]+ MB of 13 MB\) is kept: "
        "the same command goes on.",
        last,
    )
    assert "Traceback" not in said
    assert typed(*command)[0] == 0
    expect_right(hub, typed)
    assert sent(hub) - SIZE < LOST_AT_MOST


@pytest.mark.slow
def test_two_commands_for_one_file_download_it_once(typed: Typed, hub: Hub) -> None:
    """The second one joins, says so, and gets the same result."""
    # So slow that the second one has begun long before it is there, on a busy machine as well.
    url = hub.add_model(NAME, SIZE, rate=SIZE // 8)
    command = ("download", url, NAME, "--connections", "1", "--sha256", hub.sha256(NAME))
    first = typed.start(*command)
    wait_for(has_sent(hub, MIB))
    second = typed.start(*command)
    for process in (first, second):
        status, printed, said = ended(process)
        assert (status, printed) == (0, f"{typed.folder / NAME}\n"), said
    assert "another process is downloading this file; joined" in said
    expect_right(hub, typed)
    assert sent(hub) == SIZE


def test_a_pause_from_elsewhere_ends_the_command_and_the_same_command_goes_on(typed: Typed, hub: Hub) -> None:
    """It does not wait for the person who will resume it; who types it again wants it now."""
    command = ("download", hub.add_model(NAME, SIZE, rate=RATE), NAME, "--quiet")
    process = typed.start(*command)
    wait_for(has_sent(hub, 3 * MIB))
    store = SQLitePersistence(typed.database)
    try:
        [data] = store.find(kind="download")
        Lifecycle(store).pause(data.operation_id)
        status, printed, said = ended(process)
    finally:
        let_go(store)
        store.close()
    assert (status, printed) == (1, "")
    assert f"{NAME} was paused by somebody" in said
    assert said.count("\n") == 1
    assert typed(*command) == (0, "", "")
    expect_right(hub, typed)
    assert sent(hub) - SIZE < LOST_AT_MOST


def test_the_priority_of_a_download_is_set_from_another_terminal(typed: Typed) -> None:
    """While it runs; when it is over, one sentence says so."""
    goes_on, name = threading.Event(), "model.bin"
    with Origin() as origin:
        url = origin.add(File(2 * MIB), act.hold(MIB, goes_on.is_set))
        process = typed.start("download", url, name, "--quiet")
        wait_for(lambda: bool(origin.requests()))
        assert typed("priority", name, "7") == (0, f"{name} has the priority 7 now\n", "")
        goes_on.set()
        assert ended(process)[0] == 0
    status, printed, said = typed("priority", name, "8")
    assert (status, printed) == (1, "")
    assert said == (
        f"launcher-recovery priority: {name} is over, so that its priority counts for nothing: its state is success.\n"
    )
    store = SQLitePersistence(typed.database)
    try:
        assert [data.metadata["priority"] for data in store.find(kind="download")] == [7]
    finally:
        store.close()


def test_a_header_is_sent_and_neither_shown_nor_kept(typed: Typed) -> None:
    """Also when the server refuses it, in every way of showing."""
    file, name, key = File(MIB), "model.bin", "k3y-5f2b9c7d1e8a4f60"
    with Origin() as origin:
        url = origin.add(file, act.needs_token(key, "x-key"), act.refuse("403 Forbidden"))
        for option in ("--quiet", "--json"):
            status, printed, said = typed("download", url, name, "--header", f"X-Key: {key}", option)
            assert status == 1
            assert key not in printed + said
        origin.add(file, act.needs_token(key, "x-key"))
        status, printed, said = typed("download", url, name, "--header", f"X-Key: {key}", "--json")
        assert status == 0, said
        assert {request.headers.get("x-key") for request in origin.requests()} == {key}
    assert (typed.folder / name).read_bytes() == file.content()
    for path in typed.folder.iterdir():
        assert path.name == name or key.encode() not in path.read_bytes()


def test_a_metalink_file_and_mirrors_give_the_file_when_its_server_does_not(typed: Typed) -> None:
    """And one limit of bandwidth and one number of connections that are given are no hindrance."""
    file = File(2 * MIB)
    with Origin() as origin, Origin() as mirror:
        url = origin.add(file, act.refuse("404 Not Found"))
        metalink = with_pieces(typed.folder, url, file, MIB)["metalink"]
        options = ("--mirror", mirror.add(file), "--limit-rate", "1G", "--connections", "2", "--quiet")
        assert typed("download", "--metalink", metalink, "models/model.bin", *options) == (0, "", "")
    assert (typed.folder / "models" / "model.bin").read_bytes() == file.content()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no terminals like that")
def test_on_a_terminal_there_is_a_bar(typed: Typed, hub: Hub) -> None:
    """It counts a wait down, and is gone in the end."""
    import pty

    ours, theirs = pty.openpty()
    url = hub.add_model(NAME, SIZE, [Drop(after=4 * MIB), Status(status=503, retry_after=2)], rate=RATE)
    process = typed.start("download", url, NAME, stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while block := os.read(ours, 65536):
            seen += block
    except OSError:  # EIO: the other end is closed
        pass
    finally:
        os.close(ours)
    assert ended(process)[0] == 0
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", seen.decode())
    assert re.search(rf"{NAME} .*[\d.]+ MB of 13 MB, \d+ %", text)
    assert "waiting 2 s: " in text
    assert "waiting 1 s: " in text
    assert "13 MB in " in text.splitlines()[-1]


def test_a_damaged_file_is_found_and_repaired(typed: Typed, hub: Hub) -> None:
    """One flipped byte costs the piece that it is in, not the file."""
    url = hub.add_model(NAME, SIZE)
    assert typed("download", url, NAME, "--sha256", hub.sha256(NAME), "--quiet")[0] == 0
    assert typed("verify", NAME)[0] == 0
    with (typed.folder / NAME).open("r+b") as file:
        file.seek(5 * MIB)
        right = file.read(1)
        file.seek(5 * MIB)
        file.write(bytes([right[0] ^ 1]))
    status, printed, said = typed("verify", NAME)
    assert (status, printed) == (1, "")
    assert said.startswith(f"launcher-recovery verify: {NAME} is not right: ")
    hub.reset()
    status, printed, said = typed("verify", NAME, "--repair")
    assert status == 0, said
    assert printed.startswith(f"{NAME} was damaged and is right again: 13 MB")
    expect_right(hub, typed)
    assert 0 < sent(hub) <= 4 * MIB


def test_wrong_usage_has_status_2(typed: Typed) -> None:
    """In one sentence, without a start of anything."""
    status, printed, said = typed("download", "model.bin", "http://127.0.0.1:9/model.bin")
    assert (status, printed) == (2, "")
    assert said.count("\n") == 1
    assert not typed.database.exists()
