"""The files of an import into ComfyUI Launcher: had by recovery, and found by the launcher's own code."""

from __future__ import annotations

import hashlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery.defaults.http import recovery_operations
from launcher_recovery.engine import Engine
from launcher_recovery.errors import RecoveryError, UnexpectedContentError
from launcher_recovery.joinpoints import Call, JoinPoint
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import current_operation
from launcher_recovery.persistence import MemoryPersistence
from launcher_recovery.policy import Policy
from launcher_recovery.records import RecoveryData
from launcher_recovery.strategies import FixedDelayStrategy
from launcher_recovery.weave.advice import files, importing
from launcher_recovery.weave.advice.asked import Asked
from launcher_recovery.weave.advice.setup import Setup, current_setup
from tests.origin import File, Origin
from tests.origin.behaviours import drop, says

POINT = JoinPoint("utils", "setup_files_from_launcher_json", "download", tolerant=True)
FILE = File(300_000, name="model.bin")
CONTENT = FILE.content()


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        yield made


class Download:
    """Runs `files.download` as an operation, and as often as it takes."""

    def __init__(self, folder: Path) -> None:
        self.place = folder / "models" / "model.bin"
        self.place.parent.mkdir()
        self.lifecycle = Lifecycle(MemoryPersistence())

    def __call__(self, url: str, sha256: str | None = FILE.sha256, sources: tuple[str, ...] = ()) -> str:
        arguments = {"url": url, "destination": str(self.place), "sha256": sha256, "size": None, "project_id": "mine"}
        [kind] = recovery_operations()
        self.data = self.lifecycle.open("launcher_download", (), arguments, kind="download", key=kind.key(arguments))

        def attempt() -> str:
            operation = current_operation()
            assert operation is not None
            return files.download(operation, arguments, lambda _: sources)

        result: str = Engine(self.lifecycle).run(self.data, Policy(strategy=FixedDelayStrategy(0)), attempt)
        return result

    @property
    def record(self) -> RecoveryData:
        found = self.lifecycle.store.get(self.data.operation_id)
        assert found is not None
        return found

    @property
    def there(self) -> dict[str, bytes]:
        folder = self.place.parent
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def download(tmp_path: Path) -> Download:
    return Download(tmp_path)


def test_a_file_is_there_and_known_to_be_right(download: Download, origin: Origin) -> None:
    assert download(origin.add(FILE, drop(100_000))) == str(download.place)
    assert download.there == {"model.bin": CONTENT}
    assert origin.settled().sent() <= FILE.size * 1.02
    verified = files.verified_in(download.record.metadata)
    assert verified is not None
    assert (verified.sha256, verified.is_of(download.place)) == (FILE.sha256, True)
    assert files.place_of(str(download.place), download.record.metadata) == download.place


def test_a_file_without_a_checksum_is_not_known_to_be_right(download: Download, origin: Origin) -> None:
    download(origin.add(FILE), None)
    assert download.there == {"model.bin": CONTENT}
    assert files.verified_in(download.record.metadata) is None


def test_the_beginning_of_the_file_is_moved_away(download: Download, origin: Origin) -> None:
    """It is what a download without recovery left there."""
    for number in ("", "1"):
        download.place.write_bytes(CONTENT[:200_000])
        download(origin.add(FILE))
        assert download.there[f".recovery-quarantine/model.bin{number}.quarantined"] == CONTENT[:200_000]
        assert download.there["model.bin"] == CONTENT
        assert files.place_of(str(download.place), download.record.metadata) == download.place
    assert len(download.there) == 3


@pytest.mark.parametrize("other", [b"another model", CONTENT[:-1] + b"!", CONTENT + b"more"])
def test_another_file_of_the_name_stays(download: Download, origin: Origin, other: bytes) -> None:
    """Another project uses it."""
    download.place.write_bytes(other)
    (download.place.parent / "model (1).bin").write_bytes(b"the next one")
    download(origin.add(FILE))
    assert download.there == {
        "model.bin": other, "model (1).bin": b"the next one", "model (2).bin": CONTENT,
    }  # fmt: skip
    beside = download.place.with_name("model (2).bin")
    assert files.place_of(str(download.place), download.record.metadata) == beside
    verified = files.verified_in(download.record.metadata)
    assert verified is not None
    assert verified.is_of(beside)


def test_a_file_that_is_beside_another_one_already_is_found_there(download: Download, origin: Origin) -> None:
    download.place.write_bytes(b"another model")
    download.place.with_name("model (1).bin").write_bytes(CONTENT)
    download(origin.add(FILE))
    assert origin.settled().sent() == 0
    assert len(download.there) == 2


def test_a_file_that_was_not_put_in_its_place_any_more_is_put_there_by_the_next_attempt(
    download: Download, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process died between two renames."""
    download.place.write_bytes(CONTENT[:1000])
    replace, renamed = files.os.replace, []

    def die(source: Path, target: Path) -> None:
        replace(source, target)
        if target.name.endswith(".quarantined") and not renamed:
            renamed.append(target)
            raise ConnectionError("as good as a crash")

    monkeypatch.setattr(files.os, "replace", die)
    download(origin.add(FILE))
    assert download.record.attempt == 2
    assert download.there["model.bin"] == CONTENT
    assert len(download.there) == 2
    assert origin.settled().sent() <= FILE.size * 1.02


def test_a_file_that_came_to_its_place_at_the_very_end_is_not_fetched_again(
    download: Download, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process died before it could note that."""
    download.place.write_bytes(CONTENT[:1000])
    replace, renamed = files.os.replace, []

    def die(source: Path, target: Path) -> None:
        replace(source, target)
        if target == download.place and not renamed:
            renamed.append(target)
            raise ConnectionError("as good as a crash")

    monkeypatch.setattr(files.os, "replace", die)
    download(origin.add(FILE))
    assert download.record.attempt == 2
    assert sorted(download.there) == [".recovery-quarantine/model.bin.quarantined", "model.bin"]
    assert download.there["model.bin"] == CONTENT
    assert origin.settled().sent() <= FILE.size * 1.02
    assert files.place_of(str(download.place), download.record.metadata) == download.place


def test_a_folder_in_the_place_of_a_file_stays_and_is_named(download: Download, origin: Origin) -> None:
    download.place.mkdir()
    (download.place / "kept.txt").write_text("kept")
    with pytest.raises(OSError, match=r"model\.bin"):
        download(origin.add(FILE))
    assert download.there["model.bin/kept.txt"] == b"kept"


def test_a_file_below_a_link_is_put_where_that_leads(download: Download, origin: Origin, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    download.place.parent.rename(elsewhere)
    download.place.parent.symlink_to(elsewhere)
    (elsewhere / "model.bin").write_bytes(b"another model")
    download(origin.add(FILE))
    assert (elsewhere / "model (1).bin").read_bytes() == CONTENT
    assert files.place_of(str(download.place), download.record.metadata).name == "model (1).bin"


def test_the_launchers_site_gives_addresses(download: Download, origin: Origin) -> None:
    """Each is a source of the file."""
    gone, good = origin.url("/gone.bin"), origin.add(FILE, path="/good.bin")
    body = f'{{"urls": ["{gone}", "{good}"]}}'.encode()
    download(origin.add(FILE, says(body), path="/api/comfyui-launcher/file"))
    assert download.there == {"model.bin": CONTENT}


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"urls": []}', b'{"urls": [5]}'])
def test_a_site_that_gives_no_addresses_is_named(download: Download, origin: Origin, body: bytes) -> None:
    listing = origin.add(FILE, says(body), path="/api/comfyui-launcher/file")
    with pytest.raises(UnexpectedContentError, match="was to give addresses of a file, and gave something else"):
        download(listing)


# -- the key of Civitai -------------------------------------------------------------------------------


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """The launcher's settings have it."""
    utils = types.ModuleType("utils")
    config = {"credentials": {"civitai": {"apikey": " 0123456789abcdef "}}}
    setattr(utils, "get_config", lambda: config)
    monkeypatch.setitem(sys.modules, "utils", utils)
    for name in ("CIVITAI_API_TOKEN", "CIVITAI_API_KEY", "CIVITAI_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return "0123456789abcdef"


def test_civitai_gets_the_launchers_key(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {"Authorization": f"Bearer {key}"}
    assert files._authorization("https://civitai.com/api/download/models/1") == expected
    assert files._authorization("https://civitai.com:443/api/download/models/1") == expected
    monkeypatch.setenv("CIVITAI_API_TOKEN", "that-of-the-environment")
    assert files._authorization("https://civitai.com/a") == {"Authorization": "Bearer that-of-the-environment"}


@pytest.mark.parametrize(
    "url",
    [
        "http://civitai.com/a",
        "https://civitai.com.example.com/a",
        "https://image.civitai.com/a",
        "https://example.com/civitai.com",
        "https://civitai.com:8443/a",
        "https://me@civitai.com/a",
        "https://civitai.com/a?token=mine",
        "http://127.0.0.1:5000/a",
    ],
)
def test_nobody_else_gets_it(key: str, url: str) -> None:
    assert files._authorization(url) == {}


@pytest.mark.parametrize("config", [{}, {"credentials": None}, {"credentials": {"civitai": {"apikey": 5}}}, None])
def test_settings_without_a_key_are_no_error(key: str, config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["utils"], "get_config", lambda: config)
    assert files._authorization("https://civitai.com/a") == {}


# -- the launcher's own code --------------------------------------------------------------------------


class Host:
    """The launcher's function, which says what it was given, and how it renames in the workflow."""

    def __init__(self, folder: Path) -> None:
        self.comfyui = folder / "comfyui"
        self.given: list[Any] = []
        self.missing: set[str] | None = set()
        names: dict[str, Any] = {"host": self}
        source = (
            "def rename_file_in_launcher_json(launcher_json, old, new):\n"
            "    launcher_json['workflow_json'] = {'renamed': [old, new]}\n"
            "def setup_files_from_launcher_json(project_folder_path, launcher_json):\n"
            "    host.given.append(launcher_json)\n"
            "    return host.missing\n"
        )
        exec(source, names)
        self.function = names["setup_files_from_launcher_json"]

    def set_up(self, launcher_json: Any, setup: Setup | None = None) -> Any:
        token = current_setup.set(setup)
        try:
            return files.set_up_files(Call(POINT, self.function, (self.comfyui.parent, launcher_json), {}, None))
        finally:
            current_setup.reset(token)

    def setup(self, placed: dict[str, str], *left_out: str) -> Setup:
        return Setup(
            folder=self.comfyui.parent,
            comfyui=self.comfyui,
            python=self.comfyui.parent / "venv/bin/python",
            placed={self.comfyui / place: self.comfyui / actual for place, actual in placed.items()},
            left_out=frozenset(self.comfyui / place for place in left_out),
        )


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def one(relative: str, url: str | None = "https://example.com/file") -> dict[str, Any]:
    checksum = hashlib.sha256(relative.encode()).hexdigest()
    return {"download_url": url, "dest_relative_path": relative, "sha256_checksum": checksum}


def test_the_launcher_goes_over_the_files_that_are_there(host: Host) -> None:
    first, second, third, fourth = one("models/a.pt"), one("models/b.pt"), one("models\\c.pt"), one("models/d.pt")
    unknown, left = one("models/e.pt"), one("models/f.pt", None)
    launcher_json = {"workflow_json": {"a": 1}, "files": [[first, second], [third], [fourth], [unknown], [left]]}
    there = {"models/b.pt": "models/b.pt", "models/c.pt": "models/c.pt", "models/f.pt": "models/f.pt"}
    assert host.set_up(launcher_json, host.setup(there, "models/d.pt")) == set()
    [given] = host.given
    assert given["files"] == [[second], [{**third, "dest_relative_path": "models/c.pt"}], [unknown]]
    assert launcher_json["files"][0] == [first, second]


def test_a_file_under_another_name_is_found_under_that(host: Host) -> None:
    launcher_json: dict[str, Any] = {"workflow_json": {}, "files": [[one("models/a.pt")]]}
    host.set_up(launcher_json, host.setup({"models/a.pt": "models/a (1).pt"}))
    [given] = host.given
    assert given["files"] == [[{**one("models/a.pt"), "dest_relative_path": "models/a (1).pt"}]]
    assert launcher_json["workflow_json"] == {"renamed": ["a.pt", "a (1).pt"]}


@pytest.mark.parametrize("path", ["models\\loras\\a.pt", "./models//loras/a.pt"])
def test_a_file_whose_path_is_written_in_another_way_is_found_as_well(host: Host, path: str) -> None:
    launcher_json: dict[str, Any] = {"workflow_json": {}, "files": [[one(path)]]}
    host.set_up(launcher_json, host.setup({"models/loras/a.pt": "models/loras/a (1).pt"}))
    [given] = host.given
    assert given["files"] == [[{**one(path), "dest_relative_path": "models/loras/a (1).pt"}]]
    asked = Asked("a", "A", host.comfyui.parent, host.comfyui.parent / "models", None, None)
    assert importing.place_in_comfyui(asked, path) == asked.models / "loras/a.pt"


def test_what_the_launcher_keeps_to_itself_is_an_error(host: Host) -> None:
    host.missing = {"models/b.pt", "models/a.pt"}
    launcher_json: dict[str, Any] = {"workflow_json": {}, "files": []}
    with pytest.raises(
        RecoveryError, match=r"the launcher could not have models/a\.pt, models/b\.pt; its log says why"
    ):
        host.set_up(launcher_json, host.setup({}))
    assert host.set_up(launcher_json) == host.missing  # elsewhere it is as it is


@pytest.mark.parametrize("launcher_json", [None, {}])
def test_an_import_of_nothing_is_the_launchers(host: Host, launcher_json: Any) -> None:
    host.missing = None
    assert host.set_up(launcher_json, host.setup({})) is None
    assert host.given == [launcher_json]
