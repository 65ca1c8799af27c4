"""Encryption at rest: with a key nothing secret is in the files, and without it nothing but the secrets is lost."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from launcher_recovery import RecoveryConfig, RecoveryStateError, SQLitePersistence, StoreError, load_config
from launcher_recovery.errors import StoredError
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.operation import Operation, current_operation
from launcher_recovery.persistence import PostgresPersistence, ResilientPersistence
from launcher_recovery.persistence.encryption import UNREADABLE_TEXT, Cipher, Seal, UnreadableError
from launcher_recovery.plugin import LauncherPlugin
from launcher_recovery.records import RecoveryData, RecoveryState
from sample_launcher.hookspecs import hookimpl
from tests import postgres
from tests.support import Host, wait_for
from tests.unit.kit import Kit

S = RecoveryState
KEY, OTHER = (Fernet.generate_key().decode() for _ in range(2))
SECRET = "rosebud0123456789abcdef"
SIGNED = f"https://host/m.pt?X-Amz-Signature={SECRET}"


@pytest.fixture(autouse=True)
def _no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECOVERY_ENCRYPTION_KEY", raising=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "recovery.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[..., SQLitePersistence]]:
    """Opens the database with a key or without one, after closing it."""
    stores: list[SQLitePersistence] = []

    def again(key: str | None = None) -> SQLitePersistence:
        for store in stores:
            store.close()
        stores.append(SQLitePersistence(path, None if key is None else Cipher(key)))
        return stores[-1]

    yield again
    for store in stores:
        store.close()


def contents(path: Path) -> bytes:
    """All that is on the disk, with the -wal and -shm."""
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


def work_with_secrets(kit: Kit) -> Any:
    """An operation that fails once, and in which every text that is encrypted has the word in it."""

    def handler() -> Any:
        operation = current_operation()
        assert operation is not None
        operation.metadata["note"] = "meta Rosebud"
        operation.save_metadata()
        operation.step("plan", lambda: ["step Rosebud"])
        if operation.attempt == 1:
            raise ConnectionError("error Rosebud")
        return {"list": ["result Rosebud"]}

    return kit.run(handler, args=("argument Rosebud", SIGNED), kwargs={"x": b"Rosebud"}, title="work")


# -- what is on the disk ------------------------------------------------------------------------------


def test_nothing_of_it_is_in_the_files(path: Path, opened: Callable[..., SQLitePersistence]) -> None:
    """Arguments, results, metadata, steps and errors cannot be read in the database, nor in what lies beside it."""
    store = opened(KEY)
    kit = Kit(store)
    work_with_secrets(kit)
    assert len(list(path.parent.iterdir())) == 3
    written = contents(path)
    assert b"enc:v1:" in written
    assert b"Rosebud" not in written
    assert SECRET.encode() not in written
    store.close()
    assert b"Rosebud" not in contents(path)


@postgres.needs_server
@pytest.mark.parametrize("key", [KEY, None], ids=["key", "no key"])
def test_nothing_of_it_is_on_the_server(postgres_url: str, key: str | None) -> None:
    """In a PostgreSQL database it cannot be read either."""
    store = PostgresPersistence(postgres_url, None if key is None else Cipher(key))
    work_with_secrets(Kit(store))
    store.close()
    tables = ("recovery_data", "recovery_attempts", "recovery_steps", "recovery_outbox")
    written = str([postgres.rows(postgres_url, f"SELECT * FROM {table}") for table in tables])
    assert ("Rosebud" in written) is (key is None)
    assert SECRET not in written


def test_without_a_key_it_is(path: Path, opened: Callable[..., SQLitePersistence]) -> None:
    """The same without a key is there to be read, so that the test before is one."""
    work_with_secrets(Kit(opened()))
    assert contents(path).count(b"Rosebud") > 5
    assert b"enc:v1:" not in contents(path)


def test_it_comes_back_with_the_key(opened: Callable[..., SQLitePersistence]) -> None:
    """With the key everything is as it was given, and arguments are kept with the secrets in them."""
    kit = Kit(opened(KEY))
    work_with_secrets(kit)
    operation_id = kit.data.operation_id
    store = opened(KEY)
    data = store.get(operation_id)
    assert data is not None
    assert (data.args, data.kwargs) == (("argument Rosebud", SIGNED), {"x": b"Rosebud"})
    assert (data.resumable, data.result) == (True, {"list": ["result Rosebud"]})
    assert data.metadata["note"] == "meta Rosebud"
    assert store.steps(operation_id)[0].result == ["step Rosebud"]
    first = store.attempts(operation_id)[0]
    assert first.error == "ConnectionError: error Rosebud"
    assert "error Rosebud" in str(first.traceback)
    errors = [event.payload.get("error") for event in store.events_since(0)]
    assert "ConnectionError: error Rosebud" in errors
    assert store.unreadable is None


def test_only_arguments_keep_their_secrets(opened: Callable[..., SQLitePersistence]) -> None:
    """Titles, keys, metadata, results, errors and events are without them, encrypted or not."""
    store = opened(KEY)
    kit = Kit(store)

    def handler() -> str:
        operation = current_operation()
        assert operation is not None
        operation.metadata["url"] = SIGNED
        if operation.attempt == 1:
            raise ConnectionError(f"cannot reach {SIGNED}")
        return SIGNED

    kit.run(handler, args=([SIGNED],), title=SIGNED, key=SIGNED)
    shown = [vars(kit.now).copy(), *(event.payload for event in kit.events()), *map(vars, kit.attempts)]
    assert shown[0].pop("args") == ([SIGNED],)
    assert SECRET not in str(shown)


def test_arguments_are_a_copy(opened: Callable[..., SQLitePersistence]) -> None:
    """What the call changes in its arguments later is not what is kept, nor what the record has."""
    kit = Kit(opened(KEY))
    given = ["a"]
    data = kit.open(args=(given,))
    given.append("b")
    assert data.args == (["a"],)
    assert kit.open(args=(print,)).resumable is False


def test_written_before_there_was_a_key(path: Path, opened: Callable[..., SQLitePersistence]) -> None:
    """What was kept plain stays readable, and becomes encrypted when it is written again."""
    Kit(opened()).open(args=("Rosebud",), key="k")
    store = opened(KEY)
    data = store.latest_with_key("k")
    assert data is not None
    assert data.args == ("Rosebud",)
    kit = Kit(store)
    kit.lifecycle.pause(data.operation_id)
    assert store._fetch("SELECT args FROM recovery_data") == [('{"$type":"tuple","value":["Rosebud"]}',)]


@pytest.mark.parametrize("key", [KEY, None], ids=["key", "no key"])
def test_what_happened_while_the_disk_failed(
    path: Path, opened: Callable[..., SQLitePersistence], key: str | None
) -> None:
    """What is written back after a failure of the disk is encrypted as well."""
    disk = opened(key)
    kit = Kit(disk)
    store = kit.store = kit.lifecycle.store = ResilientPersistence(disk, kit.clock)
    assert (store.is_encrypted, store.unreadable) == (key is not None, None)
    store._fails(StoreError("no space"))
    work_with_secrets(kit)
    data = kit.open(args=("argument Rosebud", SIGNED))
    kit.clock.advance(60)
    store.check()
    assert disk.get(data.operation_id) == kit.record(data.operation_id)
    assert disk.attempts(kit.data.operation_id)[0].error == "ConnectionError: error Rosebud"
    assert (b"Rosebud" in contents(path)) is (key is None)


# -- keys ---------------------------------------------------------------------------------------------


def test_a_new_key(opened: Callable[..., SQLitePersistence]) -> None:
    """With a new key before the old one all can be read, and what is written needs the new one."""
    Kit(opened(OTHER)).open(args=("old",), key="old")
    both = opened(f" {KEY} ,\n{OTHER},")
    Kit(both).open(args=("new",), key="new")
    assert [data.args for data in both.find()] in ([("new",), ("old",)], [("old",), ("new",)])
    assert both.unreadable is None

    def readable(key: str) -> set[Any]:
        return {data.args for data in opened(key).find() if data.resumable}

    assert readable(KEY) == {("new",)}
    assert readable(OTHER) == {("old",)}


def test_keys_in_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file holds one key or several; one that others can read is used, with a warning."""
    file = tmp_path / "keys"
    file.write_text(f"{KEY}\n{OTHER}\n")
    file.chmod(0o600)
    token = Cipher(OTHER).encrypt("text \udce9")
    assert Cipher(f"file:{file}").decrypt(token) == "text \udce9"
    assert Cipher(KEY).decrypt(token) is None
    assert Cipher(KEY).decrypt("ü") is None
    assert caplog.messages == []
    file.chmod(0o644)
    Cipher(f"file:{file}")
    assert caplog.messages == [f"{file} holds a key and can be read by others, who should not: chmod 600 {file}"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (KEY[:-2], "RECOVERY_ENCRYPTION_KEY has something of 42 characters that is no key: it must be 32 bytes in URL"),
        (f"{KEY},{SECRET}", "RECOVERY_ENCRYPTION_KEY has something of 23 characters that is no key"),
        (f"/{SECRET}", "is given as file:/its/path"),
        (" ,\n", "RECOVERY_ENCRYPTION_KEY has no key in it. This prints a new one: python -c"),
        ("file:nowhere", "names the file nowhere, which cannot be read (No such file or directory): make it readable"),
        ("file:.", "names the file ., which cannot be read (Is a directory)"),
        ("file:empty", "names the file empty, which has no key in it"),
        ("file:secret", "secret holds something of 23 characters that is no key"),
        ("file:binary", "names the file binary, which cannot be read (it is not plain text)"),
    ],
    ids=["cut short", "two", "path", "none", "no file", "folder", "empty file", "no key in a file", "binary file"],
)
def test_keys_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, message: str) -> None:
    """What is no key is refused with one sentence that says what to do, and does not repeat it."""
    monkeypatch.chdir(tmp_path)
    Path("empty").write_text("\n")
    Path("secret").write_text(SECRET)
    Path("binary").write_bytes(b"\xff" + SECRET.encode())
    with pytest.raises(StoreError, match=re.escape(message)) as caught:
        Cipher(given)
    assert SECRET not in str(caught.value)
    assert KEY[:20] not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `cryptography` a key is refused; without a key nothing is missed."""
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
    assert Cipher.from_environment() is None
    with pytest.raises(StoreError, match=r"cryptography is missing: pip install 'launcher-recovery\[crypto\]'"):
        Cipher(KEY)


def test_key_of_the_environment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is given no cipher takes the key of the environment; one that is none stops it."""
    monkeypatch.setenv("RECOVERY_ENCRYPTION_KEY", KEY)
    store = SQLitePersistence(path)
    assert store.is_encrypted
    store.close()
    monkeypatch.setenv("RECOVERY_ENCRYPTION_KEY", SECRET)
    with pytest.raises(StoreError, match="that is no key"):
        SQLitePersistence(path)


# -- another key, or none any more --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (None, "is encrypted, and there is no key: set RECOVERY_ENCRYPTION_KEY to the one it needs."),
        (OTHER, "with a key that is not among those given: put the one it needs into RECOVERY_ENCRYPTION_KEY as well"),
    ],
    ids=["no key", "another key"],
)
def test_what_cannot_be_opened(
    path: Path,
    opened: Callable[..., SQLitePersistence],
    caplog: pytest.LogCaptureFixture,
    key: str | None,
    sentence: str,
) -> None:
    """With another key, or none, records are there without what is encrypted, and it is said once, at the start."""
    kit = Kit(opened(KEY))
    work_with_secrets(kit)
    operation_id = kit.data.operation_id
    before = kit.now
    events = len(kit.events())
    pending = kit.open(args=("Rosebud",))
    store = opened(key)
    assert sentence in str(store.unreadable)
    assert [message for message in caplog.messages if sentence in message] == caplog.messages
    assert len(caplog.messages) == 1
    data = store.get(operation_id)
    assert data is not None
    assert (data.args, data.kwargs, data.metadata, data.result, data.resumable) == ((), {}, {}, None, False)
    assert isinstance(data.error, UnreadableError)
    assert sentence in str(data.error)
    assert (data.state, data.title, data.attempt) == (S.SUCCESS, "work", 2)
    assert (store.steps(operation_id), store.load_step(operation_id, "plan")) == ([], None)
    first = store.attempts(operation_id)[0]
    assert (first.error, first.traceback, first.category) == (UNREADABLE_TEXT, UNREADABLE_TEXT, "network")
    found = [event.payload.get("error") for event in store.events_since(0)]
    assert len(found) == events + 1
    assert set(found) == {None, UNREADABLE_TEXT}
    # It can be handled, which loses nothing of it.
    Kit(store).lifecycle.pause(pending.operation_id)
    assert len(caplog.messages) == 1
    again = opened(KEY)
    same = again.get(operation_id)
    assert same is not None
    assert {**vars(same), "error": str(same.error)} == {**vars(before), "error": str(before.error)}
    paused = again.get(pending.operation_id)
    assert paused is not None
    assert (paused.state, paused.args, paused.resumable, paused.error) == (S.PAUSED, ("Rosebud",), True, None)


def test_only_its_error_cannot_be_opened(opened: Callable[..., SQLitePersistence]) -> None:
    """A record of which only the error is encrypted goes on with its arguments."""
    data = Kit(opened()).open(args=("plain",))
    with_error = Kit(opened(KEY))
    error = StoredError("ConnectionError", "gone", "")
    live = Operation(with_error.lifecycle.begin_attempt(data.operation_id, 3), with_error.lifecycle, with_error.clock)
    with_error.lifecycle.end_attempt(
        live, S.FAILED, error, category="network", explanation="It broke.", fix=None, fruitless=1, limit=3
    )
    found = opened().get(data.operation_id)
    assert found is not None
    assert (found.args, found.resumable, found.explanation) == (("plain",), True, None)
    assert isinstance(found.error, UnreadableError)


def test_a_seal_without_a_cipher() -> None:
    """Without a cipher texts and payloads are as they are."""
    seal = Seal()
    assert (seal.close("a"), seal.close(None), seal.open("a"), seal.open(None)) == ("a", None, "a", None)
    payload = {"error": "a", "n": 1}
    assert seal.close_payload(payload) == payload == seal.open_payload(payload)
    assert not seal.is_closed
    closed = Seal(Cipher(KEY))
    assert closed.close("a") != closed.close("a") != "a"
    assert closed.open(closed.close("a")) == "a"
    assert closed.close_payload({"error": None, "seq": 1}) == {"error": None, "seq": 1}


def test_a_damaged_start_is_left_to_who_reads_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look for what cannot be opened does not keep a store from being opened."""

    def fail(self: SQLitePersistence, **given: Any) -> Any:
        raise StoreError("a page is damaged")

    monkeypatch.setattr(SQLitePersistence, "find", fail)
    SQLitePersistence(path).close()


# -- in a launcher ------------------------------------------------------------------------------------


def test_the_key_is_in_no_text(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The setting is a secret: neither its record, nor messages, nor the problems shown have it."""
    caplog.set_level(logging.DEBUG)
    config = load_config({"persistence_path": str(path)}, environ={"RECOVERY_ENCRYPTION_KEY": KEY})
    assert config.encryption_key == KEY
    assert KEY not in repr(config)
    assert KEY not in str(config.sources)
    assert config.merged({"encryption_key": ""}).encryption_key is None
    integrator = RecoveryIntegrator(config)
    try:
        assert getattr(integrator.persistence, "is_encrypted", False)
        assert integrator.known_problems() == []
    finally:
        integrator.stop()
    assert KEY not in caplog.text


def test_a_launcher_with_a_key_that_is_none(path: Path) -> None:
    """The launcher goes on, says so, and writes nothing to the disk, rather than writing it plainly."""
    integrator = RecoveryIntegrator(RecoveryConfig(persistence_path=str(path), encryption_key=SECRET))
    try:
        [problem] = integrator.known_problems()
        assert problem["code"] == "store"
        assert "that is no key" in problem["message"]
        assert SECRET not in problem["message"]
        assert not integrator.is_durable
        assert not path.exists()
    finally:
        integrator.stop()


def test_a_launcher_without_its_key(path: Path, opened: Callable[..., SQLitePersistence]) -> None:
    """It starts, and the page says what is missing."""
    Kit(opened(KEY)).open(args=("Rosebud",))
    integrator = RecoveryIntegrator(RecoveryConfig(persistence_path=str(path)))
    try:
        [problem] = integrator.known_problems()
        assert problem["code"] == "encryption"
        assert "there is no key: set RECOVERY_ENCRYPTION_KEY" in problem["message"]
    finally:
        integrator.stop()


class Downloads:
    """A launcher's own handler, which remembers what it was asked for."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    @hookimpl
    def launcher_download(self, url: str, destination: str) -> str:
        self.urls.append(url)
        return destination


def interrupted(store: SQLitePersistence, folder: Path) -> RecoveryData:
    """A download from a signed address in the middle of which its process died."""
    kit = Kit(store)
    arguments = {"url": SIGNED, "destination": str(folder / "m.pt"), "sha256": None, "size": None, "project_id": "p"}
    data = kit.open(function_name="launcher_download", kind="download", kwargs=arguments, title="m.pt")
    kit.lifecycle.begin_attempt(data.operation_id, 3)
    store.forget_owner("me")
    return data


def restarted(store: SQLitePersistence, folder: Path, downloads: Downloads, operation_id: str) -> RecoveryData:
    host = Host(folder, store=store)
    host.manager.register(downloads)
    assert isinstance(host.plugin, LauncherPlugin)
    host.attach()
    try:

        def settled() -> RecoveryData | None:
            data = store.get(operation_id)
            return data if data is not None and data.completed_at is not None else None

        return wait_for(settled)
    finally:
        host.detach()


def test_a_signed_address_survives_a_restart(tmp_path: Path, opened: Callable[..., SQLitePersistence]) -> None:
    """With encryption a download from a signed address goes on after a restart; without its key it fails and says why,
    and with the key a person can try again."""
    data = interrupted(opened(KEY), tmp_path)
    downloads = Downloads()
    failed = restarted(opened(OTHER), tmp_path, downloads, data.operation_id)
    assert (failed.state, failed.fix, downloads.urls) == (S.FAILED, None, [])
    assert "a key that is not among those given" in str(failed.explanation)
    assert str(failed.explanation).endswith("Then try again.")
    with pytest.raises(RecoveryStateError, match=r"m\.pt cannot be started again from here\. Some of what is "):
        Kit(opened()).lifecycle.retry(data.operation_id)
    store = opened(f"{KEY},{OTHER}")
    kit = Kit(store)
    kit.lifecycle.retry(data.operation_id)
    done = restarted(store, tmp_path, downloads, data.operation_id)
    assert (done.state, downloads.urls) == (S.SUCCESS, [SIGNED])
