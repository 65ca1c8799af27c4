"""The command line: what may be typed, what is shown meanwhile, and how it ends, with a stand-in for the transfer."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import re
import signal
import sys
import warnings
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import requests

from launcher_recovery import transfer
from launcher_recovery.cli import display as display_module
from launcher_recovery.cli import main, values, words
from launcher_recovery.cli.bar import Bar
from launcher_recovery.cli.destination import base_name, destination_of, name_of_disposition
from launcher_recovery.cli.display import JsonLines, Lines, Silent, display
from launcher_recovery.cli.program import COMMANDS
from launcher_recovery.config import load_config
from launcher_recovery.errors import IntegrityError, OperationCancelled, RecoveryConfigError, StoredError
from tests.faults import FaultServer, Reply, whole
from tests.origin import Authority

URL = "https://example.org/models/model.safetensors"
DIGEST = "ab" * 32
NOW = 1_700_000_000.0


def update(state: str = "in_progress", **members: Any) -> dict[str, Any]:
    return {"state": state, "attempt": 1, "progress": None, **members}


def progress(done: float, total: float | None = 4e9, **members: Any) -> dict[str, Any]:
    return {"done": done, "total": total, "unit": "bytes", "rate": 85e6, "eta_s": 33.0, "message": None, **members}


def due(seconds: float) -> str:
    return datetime.fromtimestamp(NOW + seconds, timezone.utc).isoformat()


class StandIn:
    """Takes the place of `transfer.download`: tells `updates`, does `then`, leaves a file."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        self.updates: list[dict[str, Any]] = []
        self.then: Callable[[], object] = lambda: None

    def __call__(self, urls: Any, destination: Path, **more: Any) -> Path:
        on_update = more.pop("on_update")
        self.given = {"urls": urls, "destination": destination, **more}
        for one in self.updates:
            on_update(one)
        self.then()
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_bytes(b"model")
        return destination


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn()
    monkeypatch.setattr(transfer, "download", made)
    return made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the command."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error, when nothing else was printed."""
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err.strip()


def raising(error: BaseException) -> Callable[[], object]:
    def then() -> object:
        raise error

    return then


# -- what may be typed ----------------------------------------------------------------------------------------


def test_everything_that_is_typed_reaches_the_download(stand_in: StandIn, folder: Path) -> None:
    """Options may stand before, between and behind the addresses."""
    bundle = str(Authority(folder).bundle)
    (folder / "a.meta4").touch()
    arguments = [
        "download",
        "--sha256",
        DIGEST.upper(),
        URL,
        "--size",
        "4G",
        "http://127.0.0.1:9/m",
        "--priority",
        "-3",
    ]
    arguments += [
        "--mirror",
        "https://one.example/m",
        "--header",
        "Authorization: Bearer X",
        "--mirror",
        "https://two/m",
    ]
    arguments += [
        "--proxy",
        "http://u:p@proxy:3128",
        "--ca-bundle",
        bundle,
        "--connections",
        "3",
        "--limit-rate",
        "10M",
        "--metalink",
        "a.meta4",
        "models/m.bin",
        "--quiet",
    ]
    assert main(arguments) == 0
    assert stand_in.given == {
        "urls": [URL, "http://127.0.0.1:9/m"],
        "destination": folder / "models" / "m.bin",
        "sha256": DIGEST,
        "checksum": None,
        "size": 4 << 30,
        "sources": ["https://one.example/m", "https://two/m"],
        "metalink": Path("a.meta4"),
        "headers": {"Authorization": "Bearer X"},
        "connections": 3,
        "limit_rate": 10 << 20,
        "priority": -3,
        "proxy": "http://u:p@proxy:3128",
        "ca_bundle": bundle,
        "resume": True,
    }


def test_what_is_not_typed_is_left_to_the_download(stand_in: StandIn, folder: Path) -> None:
    """One address is given as such."""
    assert main(["download", URL, "m.bin"]) == 0
    assert stand_in.given == {
        "urls": URL,
        "destination": folder / "m.bin",
        **dict.fromkeys(("sha256", "checksum", "size", "metalink", "headers", "connections", "limit_rate")),
        **dict.fromkeys(("proxy", "ca_bundle")),
        "sources": [],
        "priority": 0,
        "resume": True,
    }


def test_a_metalink_file_takes_the_place_of_an_address(stand_in: StandIn, folder: Path) -> None:
    """In a folder its own name, without the ending, is that of the file."""
    (folder / "model.bin.meta4").touch()
    assert main(["download", "--metalink", "model.bin.meta4", "."]) == 0
    assert stand_in.given["urls"] == []
    assert stand_in.given["destination"] == folder / "model.bin"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the following arguments are required: command"),
        (["upload"], "invalid choice: 'upload'"),
        (["download"], "the following arguments are required: DEST"),
        (["download", URL], "give the address of the file, and then where it is to be saved"),
        (["download", "m.bin", URL], "'m.bin' is no web address"),
        (["download", "ftp://u:secret@host/m", "m.bin"], "'ftp://host/m' is no web address"),
        (["download", URL, "m.bin", "--sha256", "abc"], "a sha256 has 64 hexadecimal digits, but 3 were given"),
        (["download", URL, "m.bin", "--checksum", DIGEST], "is no checksum; give the algorithm"),
        (["download", URL, "m.bin", "--sha256", DIGEST, "--checksum", "md5:00"], "a md5 has 32 hexadecimal digits"),
        (["download", URL, "m.bin", "--sha256", DIGEST, "--checksum", f"md5:{'0' * 32}"], "not allowed with argument"),
        (["download", URL, "m.bin", "--proxy", "http://u:secret@host/p"], "proxy='http://host/p' is not usable"),
        (["download", URL, "m.bin", "--proxy", "off"], "it must be the address of a proxy such as http://"),
        (["download", URL, "m.bin", "--ca-bundle", "/dev/null"], "'/dev/null' is no file of certificates"),
        (["verify", "m.bin", "--ca-bundle", "none"], "'none' is no file of certificates"),
        (["download", URL, "m.bin", "--size", "big"], "'big' is no number of bytes"),
        (["download", URL, "m.bin", "--limit-rate", "0"], "'0' would let nothing through"),
        (["download", URL, "m.bin", "--connections", "0"], "'0' is no number of connections"),
        (["download", URL, "m.bin", "--priority", "high"], "invalid int value: 'high'"),
        (["download", URL, "m.bin", "--metalink", "none.meta4"], "the Metalink file none.meta4 is not there"),
        (["download", URL, "m.bin", "--colour"], "unrecognized arguments: --colour"),
        (["download", "https://example.org/", "."], "nothing tells the name of the file"),
        (["verify"], "the following arguments are required: FILE"),
        (["verify", "m.bin", "--url", URL], "--url is where --repair fetches from"),
    ],
)
def test_wrong_usage_is_told_in_one_sentence_with_status_2(
    arguments: list[str],
    said: str,
    stand_in: StandIn,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And nothing is begun."""
    monkeypatch.setattr(transfer, "verify", pytest.fail, raising=False)
    monkeypatch.setattr("launcher_recovery.cli.destination._asked_name", lambda *_: "")
    try:
        status: object = main(arguments)
    except SystemExit as end:
        status = end.code
    assert status == 2
    line = sentence(capsys)
    assert said in line
    assert line.startswith("launcher-recovery")
    assert line.endswith(".")
    assert "secret" not in line
    assert stand_in.given == {}


def test_a_header_that_is_none_is_refused_without_repeating_it(capsys: pytest.CaptureFixture[str]) -> None:
    """What was meant to be a header may be a token."""
    with pytest.raises(SystemExit):
        main(["download", URL, "m.bin", "--header", "hf_abcdefghijklmnopqrstuvw"])
    line = sentence(capsys)
    assert "a header is not usable; give it as 'Name: value'" in line
    assert "hf_" not in line


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("0", 0),
        ("1048576", 1 << 20),
        ("10M", 10 << 20),
        ("1.5g", 3 << 29),
        ("10 MiB", 10 << 20),
        ("10MB", 10_000_000),
        ("7B", 7),
        ("2T", 2 << 40),
    ],
)
def test_amounts_are_read(typed: str, expected: int) -> None:
    """K, M, G, T of 1024 as curl and wget have them; those with a B of 1000."""
    assert values.byte_count(typed) == expected


@pytest.mark.parametrize("typed", ["", "M", "-1", "1e3", "10X", "0x10", "nan", "1.2.3"])
def test_what_is_no_amount_is_refused(typed: str) -> None:
    """With an example of one."""
    with pytest.raises(ArgumentTypeError, match="give one such as 1048576, 10M"):
        values.byte_count(typed)


def test_checksums_are_read() -> None:
    """With a colon, or with an equals sign as aria2 has it; of algorithms that are not known here, whatever length."""
    assert values.checksum(f"SHA-256={DIGEST.upper()}") == f"sha256:{DIGEST}"
    assert values.checksum(f"blake3:{DIGEST}") == f"blake3:{DIGEST}"
    assert values.checksum("autov2:0123456789") == "autov2:0123456789"


def test_headers_are_read() -> None:
    """The value may hold colons, and nothing that would begin another header."""
    assert values.header("X-Time:  12:30 ") == ("X-Time", "12:30")
    for wrong in ("no colon", ": value", "Na me: value", "Name: a\r\nOther: b", "Name: a\nb"):
        with pytest.raises(ArgumentTypeError, match="Name: value"):
            values.header(wrong)


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """And each of them has help of its own; the version is told."""
    for arguments, expected in (
        (["--help"], [*(command.name for command in COMMANDS), "130  Ctrl-C"]),
        (["download", "--help"], ["--sha256", "--mirror", "DEST", "2    it was typed wrongly"]),
        (["verify", "--help"], ["--repair", "FILE"]),
        (["--version"], ["launcher-recovery 0."]),
    ):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 0
        printed = capsys.readouterr().out
        assert [word for word in expected if word not in printed] == []


# -- where it goes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("model.bin", "model.bin"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\windows\\system.ini", "system.ini"),
        (".bashrc", "bashrc"),
        ("..", ""),
        ("", ""),
        ("a\x00b\nc.bin", "abc.bin"),
        ("  model.bin. ", "model.bin"),
        ("模型.safetensors", "模型.safetensors"),
    ],
)
def test_a_foreign_name_is_only_that_of_a_file_in_the_folder(given: str, expected: str) -> None:
    """No folder, no hidden file, no control characters."""
    assert base_name(given) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, ""),
        ("inline", ""),
        ('attachment; filename="model.bin"', "model.bin"),
        ("attachment; filename=../../model.bin", "model.bin"),
        ("attachment; filename*=UTF-8''m%C3%B6del.bin", "mödel.bin"),
        ("attachment; filename*=UTF-8''..%2F..%2Fmodel.bin", "model.bin"),
        ('attachment; filename="m\xc3\xb6del.bin"', "mödel.bin"),
    ],
)
def test_the_name_of_a_content_disposition(header: str | None, expected: str) -> None:
    """RFC 6266, and UTF-8 in it as many servers send it; never more than a base name."""
    assert name_of_disposition(header) == expected


def test_in_a_folder_the_address_names_the_file(folder: Path) -> None:
    """A folder that is there, or one with a slash behind it; else what is typed is the file."""
    url = "https://example.org/a/m%C3%B6del.bin?download=true"
    assert destination_of(".", [url]) == folder / "mödel.bin"
    assert destination_of("new/", [url]) == folder / "new" / "mödel.bin"
    assert destination_of("new", [url]) == folder / "new"
    assert destination_of(".", ["https://example.org/a/..%2F..%2Fx.bin"]) == folder / "x.bin"


def test_an_address_without_a_suffix_asks_the_server_for_the_name(folder: Path) -> None:
    """For one byte; the server's answer counts, else the address."""
    with FaultServer(whole(b"m", Content_Disposition='attachment; filename="real.safetensors"')) as server:
        url = server.url("/api/download/12345")
        assert destination_of(".", [url], {"Authorization": "Bearer X"}) == folder / "real.safetensors"
        assert server.asked[0].range == "bytes=0-0"
        assert server.asked[0].headers["authorization"] == "Bearer X"
        server.then(whole(b"m"))
        assert destination_of(".", [url]) == folder / "12345"


def test_headers_for_the_name_do_not_go_to_another_server(folder: Path) -> None:
    """A redirect to the same server keeps them."""
    with FaultServer(whole(b"m", Content_Disposition="attachment; filename=m.bin")) as cdn:
        redirects = [Reply("302 Found", {"Location": target, "Content-Length": 0}) for target in ("/b", cdn.url("/c"))]
        with FaultServer(*redirects) as origin:
            assert destination_of(".", [origin.url("/a")], {"X-Api-Key": "secret"}) == folder / "m.bin"
            assert [one.headers["x-api-key"] for one in origin.asked] == ["secret", "secret"]
        assert "x-api-key" not in cdn.asked[0].headers


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply("403 Forbidden", {"Content-Length": 0}), "does not let us have this"),
        (Reply("302 Found", {"Location": "/a", "Content-Length": 0}), "not a usable web address"),
        (Reply("302 Found", {"Location": "file:///etc/passwd", "Content-Length": 0}), "not a usable web address"),
    ],
)
def test_a_name_that_cannot_be_asked_for_is_to_be_given(
    reply: Reply, said: str, stand_in: StandIn, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that is another one each time would lose the partial."""
    with FaultServer(reply) as server:
        assert main(["download", server.url("/a"), "."]) == 1
    line = sentence(capsys)
    assert said in line
    assert "give it as well, such as ./NAME" in line
    assert stand_in.given == {}


def test_a_server_that_is_not_there_cannot_be_asked_for_the_name(
    stand_in: StandIn, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same."""
    with FaultServer(whole(b"m")) as server:
        url = server.url("/a")
    assert main(["download", url, "."]) == 1
    assert "the name of the file could not be asked for: " in sentence(capsys)
    assert stand_in.given == {}


# -- what is shown --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (-5, "0 B"),
        (999, "999 B"),
        (640_000, "640 kB"),
        (999_600, "1 MB"),
        (4_000_000, "4 MB"),
        (4_200_000, "4.2 MB"),
        (70e6, "70 MB"),
        (6.9e9, "6.9 GB"),
        (6.94e9, "6.94 GB"),
        (3e15, "3000 TB"),
    ],
)
def test_amounts_are_written_as_on_the_page(count: float, expected: str) -> None:
    """In powers of 1000."""
    assert words.amount(count) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (65, "1 min 5 s"),
        (7800, "2 h 10 min"),
        (7200, "2 h"),
        (260000, "3 days"),
    ],
)
def test_times_are_written_as_on_the_page(seconds: float, expected: str) -> None:
    """In the two largest units."""
    assert words.span(seconds) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.2, "1 s left"), (33, "33 s left"), (64, "1 min left"), (66, "1 min 10 s left"), (3671, "1 h 1 min left")],
)
def test_the_time_left_does_not_flicker(seconds: float, expected: str) -> None:
    """It is rounded the more, the longer it is."""
    assert words.left(seconds) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (update(), ""),
        (update(progress=progress(1.2e9)), "1.2 GB of 4 GB, 30 %, 85 MB/s, 33 s left"),
        (update(progress=progress(1.2e9, None, rate=None, eta_s=None)), "1.2 GB"),
        (update(progress=progress(3.999e9, rate=0, eta_s=float("inf"))), "4 GB of 4 GB, 99 %"),
        (update("recovering", progress=progress(1.2e9)), "1.2 GB of 4 GB, 30 %"),
    ],
)
def test_how_far_it_is(given: dict[str, Any], expected: str) -> None:
    """What is there, of what, how fast, and for how long still; only what is known, and no speed while it waits."""
    assert words.how_far(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (update(progress=progress(1)), ""),
        (update(progress=progress(1, message="verifying")), "verifying"),
        (update(joined=True, progress=progress(1)), "another process is downloading this file; joined"),
        (update("pending"), "waiting to start"),
        (update("pending", waiting_for="slot", explanation=None), "waiting: other downloads come first"),
        (
            update("recovering", next_attempt_at=due(11.2), waiting_for="retry_after", explanation="cdn asked us."),
            "waiting 12 s: cdn asked us",
        ),
        (
            update("recovering", next_attempt_at=due(75), waiting_for="disk_space", explanation="The disk is full."),
            "waiting 1 min 15 s: the disk is full",
        ),
        (
            update("recovering", next_attempt_at=due(3), waiting_for="retry_after", explanation=None),
            "waiting 3 s: the server asked us to wait",
        ),
        (update("recovering", next_attempt_at=due(-1), waiting_for="backoff"), "trying again"),
        (
            update("recovering", next_attempt_at=None, waiting_for="disk_space"),
            "waiting: there is not enough free disk",
        ),
        (
            update("recovering", next_attempt_at=None, waiting_for="program", explanation=None),
            "waiting: another program is writing",
        ),
        (update("paused"), "paused"),
    ],
)
def test_what_goes_on(given: dict[str, Any], expected: str) -> None:
    """Why it waits and for how long, who else is at it, and nothing while bytes come."""
    assert words.what_goes_on(given, NOW).startswith(expected)
    assert bool(words.what_goes_on(given, NOW)) == bool(expected)


class Seconds:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_lines_come_at_changes_and_every_five_seconds() -> None:
    """What a name or a message would do to a terminal is left out."""
    stream, clock = io.StringIO(), Seconds()
    with Lines("m\x1b[31m.bin", stream, clock, lambda: NOW) as show:
        show(update())
        show(update(progress=progress(0)))
        show(update(progress=progress(1e9)))
        show(update(progress=progress(1.1e9)))
        clock.now = 5.0
        show(update(progress=progress(1.2e9)))
        show(update("recovering", next_attempt_at=due(4), explanation="It\x07 broke off."))
        show(update(progress=progress(1.3e9)))
        show(update("success", progress=progress(4e9)))
    assert stream.getvalue().splitlines() == [
        "m [31m.bin: 1 GB of 4 GB, 25 %, 85 MB/s, 33 s left",
        "m [31m.bin: 1.2 GB of 4 GB, 30 %, 85 MB/s, 33 s left",
        "m [31m.bin: waiting 4 s: it  broke off",
        "m [31m.bin: 1.3 GB of 4 GB, 32 %, 85 MB/s, 33 s left",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_shows_how_far_it_is_and_is_gone_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Square brackets in a name are no markup."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with Bar("m[bold].bin", stream, lambda: NOW) as show:
        show(update(progress=progress(1.2e9)))
        show._progress.refresh()
        show(update("recovering", progress=progress(1.2e9), next_attempt_at=due(4), explanation="It broke off."))
        show._progress.refresh()
    written = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", stream.getvalue())
    assert "m[bold].bin" in written
    assert "1.2 GB of 4 GB, 30 %, 85 MB/s, 33 s left" in written
    assert "waiting 4 s: it broke off" in written
    assert stream.getvalue().endswith("\x1b[2K")  # erases the line


def test_a_narrow_terminal_cuts_the_words_and_not_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar that wraps would leave its lines behind."""
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with Bar("a-rather-long-name-of-a-model.safetensors", stream, lambda: NOW) as show:
        show(update(progress=progress(1.2e9)))
        show._progress.refresh()
    lines = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", stream.getvalue()).replace("\r", "\n").split("\n")
    assert max(map(len, lines)) <= 50
    assert any("…" in line for line in lines)


def test_the_way_to_show_it_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar on a terminal with rich; lines without one of them; JSON and silence on request."""

    def chosen(stream: io.StringIO, **asked: bool) -> type:
        return type(display("m", stream, io.StringIO(), **{"quiet": False, "as_json": False, **asked}))

    monkeypatch.setenv("TERM", "xterm")
    assert chosen(Terminal()) is Bar
    assert chosen(io.StringIO()) is Lines
    assert chosen(Terminal(), quiet=True) is Silent
    assert chosen(Terminal(), as_json=True) is JsonLines
    assert chosen(Terminal(), as_json=True, quiet=True) is Silent
    monkeypatch.setattr(display_module.importlib.util, "find_spec", lambda name: None)
    assert chosen(Terminal()) is Lines
    monkeypatch.undo()
    monkeypatch.setenv("TERM", "dumb")
    assert chosen(Terminal()) is Lines


# -- how it ends ----------------------------------------------------------------------------------------------


def test_the_path_of_what_is_done_is_printed(
    stand_in: StandIn, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard output and nothing else there, so that a script can use it; the rest is for people."""
    stand_in.updates = [update(progress=progress(1e9)), update("success", progress=progress(4e9))]
    assert main(["download", URL, ".", "--sha256", DIGEST]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{folder / 'model.safetensors'}\n"
    assert printed.err.splitlines() == [
        "model.safetensors: 1 GB of 4 GB, 25 %, 85 MB/s, 33 s left",
        "5 B in 0 s, sha256 as expected",
    ]


def test_with_quiet_nothing_is_printed(stand_in: StandIn, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither meanwhile nor in the end."""
    stand_in.updates = [update(progress=progress(1e9))]
    assert main(["download", URL, "m.bin", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_json_tells_every_change_and_the_end(
    stand_in: StandIn, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One object a line on standard output; an error stays a sentence on standard error, too."""
    stand_in.updates = [update(progress=progress(1e9))]
    assert main(["download", URL, "m.bin", "--json"]) == 0
    printed = capsys.readouterr()
    assert [json.loads(line) for line in printed.out.splitlines()] == [
        {"event": "recovery_update", **stand_in.updates[0]},
        {"event": "done", "path": str(folder / "m.bin"), "size": 5},
    ]
    assert printed.err == ""
    stand_in.then = raising(IntegrityError("the SHA-256 is wrong"))
    assert main(["download", URL, "m.bin", "--json", "--quiet"]) == 1
    printed = capsys.readouterr()
    error = "m.bin was not downloaded: the SHA-256 is wrong"
    assert json.loads(printed.out) == {"event": "failed", "error": error}
    assert printed.err == "launcher-recovery download: m.bin was not downloaded: the SHA-256 is wrong.\n"


def http_error(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code, response.url = status, "https://example.org/m?X-Amz-Signature=secret"
    return requests.HTTPError(f"{status} for url {response.url}", response=response)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (http_error(403), "example.org does not take the signature any more"),
        (requests.ConnectionError("HTTPSConnectionPool(host='x')…"), "broke off"),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/models/m.part"),
            "The disk with /models is full: /models/m.part (No space",
        ),
        (IntegrityError("the file\nhas 3 bytes."), "the file has 3 bytes."),
        (RecoveryConfigError("RECOVERY_TIMEOUT='x' is not usable"), "RECOVERY_TIMEOUT='x' is not usable"),
        (StoredError("HTTPError", "404 for https://example.org/m?token=secret"), "HTTPError: 404 for"),
        (RuntimeError("token=secret"), "RuntimeError: token=***"),
        (KeyError(), "KeyError"),
    ],
)
def test_an_error_is_one_sentence_without_secrets(
    error: Exception, said: str, stand_in: StandIn, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one that is foreign, or that another process had."""
    stand_in.then = raising(error)
    assert main(["download", URL, "m.bin"]) == 1
    line = sentence(capsys)
    assert line.startswith("launcher-recovery download: m.bin was not downloaded: ")
    assert said in line
    assert "secret" not in line


def test_giving_up_tells_the_attempts_the_reason_and_that_the_rest_is_kept(
    stand_in: StandIn, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the operation itself says goes before what its error says."""
    stand_in.updates = [
        update("exhausted", attempt=8, explanation="cdn.example did not answer in time.", progress=progress(1.2e9))
    ]
    stand_in.then = raising(StoredError("ReadTimeout", "HTTPSConnectionPool"))
    assert main(["download", URL, "m.bin"]) == 1
    assert sentence(capsys) == (
        "launcher-recovery download: m.bin was not downloaded after 8 attempts: cdn.example did not answer in time; "
        "what has arrived (1.2 GB of 4 GB) is kept, and the same command goes on from there."
    )


@pytest.mark.filterwarnings("default")
def test_a_warning_is_a_sentence_too(
    stand_in: StandIn, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the line of code that it comes from; how warnings are shown elsewhere is left alone."""
    monkeypatch.setenv("RECOVERY_TIMEOUTS", "5")
    stand_in.then = load_config
    shown = warnings.showwarning
    assert main(["download", URL, "m.bin", "--quiet"]) == 0
    assert sentence(capsys) == (
        "launcher-recovery download: RECOVERY_TIMEOUTS is not a setting; did you mean RECOVERY_TIMEOUT?"
    )
    assert warnings.showwarning is shown


def test_what_is_logged_is_a_sentence_too(stand_in: StandIn, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without what happens to the operation, which is shown anyway; with --quiet only errors; and in no other way."""
    logger = logging.getLogger("launcher_recovery")
    before = list(logger.handlers)

    def log() -> None:
        logger.info("a step")
        logger.warning("m.bin: attempt 1 failed: %s", "gone", extra={"event": "attempt_failed"})
        logger.warning("a piece of %s was damaged", "m.bin")
        logger.error("the store\nfails")

    stand_in.then = log
    assert main(["download", URL, "m.bin"]) == 0
    said = "launcher-recovery download: a piece of m.bin was damaged.\nlauncher-recovery download: the store fails.\n"
    assert capsys.readouterr().err.startswith(said)
    assert main(["download", URL, "m.bin", "--quiet"]) == 0
    assert sentence(capsys) == "launcher-recovery download: the store fails."
    assert logger.handlers == before


def test_a_cancelled_download_says_so(stand_in: StandIn, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It was cancelled elsewhere."""
    stand_in.then = raising(OperationCancelled("m.bin was cancelled"))
    assert main(["download", URL, "m.bin"]) == 1
    assert sentence(capsys) == "launcher-recovery download: m.bin was cancelled."


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_what_is_kept(
    number: int, status: int, stand_in: StandIn, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C above all; the handlers are those from before afterwards."""
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    stand_in.updates = [update("pending", progress=progress(1.2e9))]
    stand_in.then = lambda: signal.raise_signal(number)
    assert main(["download", URL, "m.bin", "--quiet"]) == status
    assert sentence(capsys) == (
        "launcher-recovery download: m.bin was stopped; what has arrived (1.2 GB of 4 GB) is kept: "
        "the same command goes on."
    )
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_signal_before_anything_came_says_that(
    stand_in: StandIn, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is promised that is not there."""
    stand_in.then = lambda: signal.raise_signal(signal.SIGINT)
    assert main(["download", URL, "m.bin"]) == 130
    assert "nothing had arrived yet" in sentence(capsys)


def test_who_joined_leaves_the_download_to_the_other_process(
    stand_in: StandIn, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C ends only the looking on."""
    stand_in.updates = [update(joined=True, progress=progress(1.2e9))]
    stand_in.then = lambda: signal.raise_signal(signal.SIGINT)
    assert main(["download", URL, "m.bin", "--quiet"]) == 130
    assert "the other process goes on downloading m.bin" in sentence(capsys)


def test_a_pause_by_somebody_else_ends_it(stand_in: StandIn, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command never waits for a person."""
    stand_in.updates = [update("paused", progress=progress(1.2e9))]
    stand_in.then = lambda: pytest.fail("it waited")
    assert main(["download", URL, "m.bin", "--quiet"]) == 1
    assert sentence(capsys) == (
        "launcher-recovery download: m.bin was paused by somebody; what has arrived (1.2 GB of 4 GB) is kept: "
        "the same command goes on."
    )


# -- verify ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    ok: bool = True
    size: int = 4_000_000
    checked: str = f"sha256 {DIGEST}"
    bad: tuple[tuple[int, int], ...] = ()
    repaired: bool = False
    problem: str | None = None


class Verifier:
    """Takes the place of `transfer.verify`."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}
        self.found = Found()

    def __call__(self, path: Path, **more: Any) -> Found:
        self.given = {"path": path, **more}
        return self.found


@pytest.fixture
def verifier(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Verifier]:
    made = Verifier()
    monkeypatch.setattr(transfer, "verify", made, raising=False)
    (folder / "m.bin").write_bytes(b"model")
    return made


def test_a_right_file_is_told_with_what_it_was_checked_by(
    verifier: Verifier, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Silently with --quiet."""
    assert main(["verify", "m.bin", "--sha256", DIGEST]) == 0
    assert capsys.readouterr() == (f"m.bin is right: 4 MB, sha256 {DIGEST}\n", "")
    assert verifier.given == {
        "path": folder / "m.bin",
        "sha256": DIGEST,
        "checksum": None,
        "url": None,
        "headers": None,
        "repair": False,
        "proxy": None,
        "ca_bundle": None,
    }
    assert main(["verify", "m.bin", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_repaired_file_is_right_again(verifier: Verifier, capsys: pytest.CaptureFixture[str]) -> None:
    """The address and the wish reach the transfer."""
    verifier.found = Found(repaired=True)
    typed = ["verify", "--repair", "m.bin", "--url", URL, "--checksum", f"blake3:{DIGEST}", "--header", "X-Key: 1"]
    assert main(typed) == 0
    assert capsys.readouterr().out.startswith("m.bin was damaged and is right again: 4 MB")
    assert (verifier.given["url"], verifier.given["headers"], verifier.given["repair"]) == (URL, {"X-Key": "1"}, True)
    assert verifier.given["checksum"] == f"blake3:{DIGEST}"


@pytest.mark.parametrize(
    ("arguments", "found", "said"),
    [
        (
            [],
            Found(ok=False, bad=((4096, 8192), (20_480, 24_576)), problem="it differs."),
            "it differs; 8.2 kB in 2 places are damaged, from byte 4096 on; --repair fetches the damaged bytes again",
        ),
        (
            ["--repair"],
            Found(ok=False, bad=((0, 4096),)),
            "its content differs; 4.1 kB in one place are damaged, from byte 0 on; they could not be repaired",
        ),
        (
            ["--repair"],
            Found(ok=False, problem="nothing is known of it"),
            "nothing is known of it",
        ),
    ],
)
def test_a_damaged_file_is_told_with_what_can_be_done(
    arguments: list[str], found: Found, said: str, verifier: Verifier, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1."""
    verifier.found = found
    assert main(["verify", "m.bin", *arguments]) == 1
    assert sentence(capsys) == f"launcher-recovery verify: m.bin is not right: {said}."


def test_the_result_can_be_told_as_json(verifier: Verifier, capsys: pytest.CaptureFixture[str]) -> None:
    """With the damaged ranges; the exit status is the same."""
    verifier.found = Found(ok=False, bad=((0, 4096),), problem="it differs")
    assert main(["verify", "m.bin", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "path": "m.bin",
        "ok": False,
        "size": 4_000_000,
        "checked": f"sha256 {DIGEST}",
        "bad": [[0, 4096]],
        "repaired": False,
        "problem": "it differs",
    }


def test_a_file_that_is_not_there_is_told(verifier: Verifier, capsys: pytest.CaptureFixture[str]) -> None:
    """As is a folder."""
    for name in ("none.bin", "."):
        assert main(["verify", name]) == 1
        assert sentence(capsys) == f"launcher-recovery verify: {name} is not there, or no file."
    assert verifier.given == {}


def test_an_interrupted_check_ends_with_130(
    verifier: Verifier, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one sentence, too."""
    monkeypatch.setattr(transfer, "verify", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    assert main(["verify", "m.bin"]) == 130
    assert sentence(capsys) == "launcher-recovery verify: stopped before it was done."


def test_the_help_loads_nothing_heavy() -> None:
    """No database, no requests, no rich: what is asked for most often is there at once."""
    import subprocess

    code = (
        "import sys\nfrom launcher_recovery.cli import main\n"
        "try:\n    main(['download', '--help'])\nexcept SystemExit:\n    pass\n"
        "print(*({'requests', 'peewee', 'rich', 'pluggy'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.split() == []
