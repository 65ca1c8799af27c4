"""Tokens and passwords reach the server that they are for, and nobody else: no other server, log, store or message."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import SQLitePersistence, transfer
from launcher_recovery.signals import Event, recovery_updated
from tests.origin import Authority, File, Origin, Request
from tests.origin import behaviours as act
from tests.transfers import Downloads, integrator

MIB = 1 << 20
FILE = File(6 * MIB)
TOKEN = "hf_QzRk7VnYw2LpXb9TsJm4"
KEY = "k3y-5f2b9c7d1e8a4f60"
USER, PASSWORD = "artist", "correct-horse-battery"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
HEADERS = {"Authorization": f"Bearer {TOKEN}", "X-Api-Key": KEY}
SECRETS = (TOKEN, KEY, PASSWORD, BASIC)


class Witness:
    """Everything that is told of a download: by the log, by events, by errors; and what is written into the store."""

    def __init__(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.path = folder / "recovery.db"
        self.store = SQLitePersistence(self.path)
        self.downloads = Downloads(self.store)
        self.told: list[str] = []
        self._caplog = caplog
        caplog.set_level(logging.DEBUG)
        for name in ("urllib3", "launcher_recovery", "requests"):
            caplog.set_level(logging.DEBUG, name)
        recovery_updated.connect(self._on_event)

    def _on_event(self, sender: object, event: Event) -> None:
        self.told.append(repr(event))

    def fails(self, url: str, destination: Path, **options: Any) -> None:
        """Download, which does not work."""
        with pytest.raises(Exception, match=r".") as raised:
            self.downloads(url, destination, **options)
        self.told += [str(raised.value), repr(raised.value), *getattr(raised.value, "__notes__", [])]

    def log_of(self, *names: str) -> str:
        """What these loggers were told; without a name: all but urllib3's, which has each address that is asked for."""
        records = [record for record in self._caplog.records if record.name.partition(".")[0] in names or not names]
        records = [record for record in records if names or not record.name.startswith("urllib3")]
        return "\n".join(f"{record.getMessage()} {vars(record)!r} {record.exc_text}" for record in records)

    def everything(self) -> str:
        """All of it, with every byte of the store's files, and what its own calls give."""
        operation_id = self.downloads.record.operation_id
        told = [*self.told, self.log_of()]
        told += [repr(self.downloads.record), repr(self.store.attempts(operation_id)), repr(self.store.events_since(0))]
        files = [path.read_bytes().decode("latin-1") for path in self.path.parent.glob("recovery.db*")]
        return "\n".join([*told, *files])

    def close(self) -> None:
        recovery_updated.disconnect(self._on_event)
        self.store.close()


@pytest.fixture
def witness(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Witness]:
    made = Witness(tmp_path, caplog)
    yield made
    made.close()


def seen_by(origin: Origin) -> str:
    """All that a server was told."""
    return "\n".join(f"{one.method} {one.target} {dict(one.headers)}" for one in origin.requests())


def expect_silence(text: str, *secrets: str) -> None:
    for secret in secrets or SECRETS:
        assert secret not in text


def expect_all(requests: list[Request]) -> None:
    """Every request had both headers."""
    assert requests
    for request in requests:
        assert (request.headers.get("authorization"), request.headers.get("x-api-key")) == (f"Bearer {TOKEN}", KEY)


def test_headers_reach_the_server_they_are_for_with_every_request(tmp_path: Path, witness: Witness) -> None:
    destination = tmp_path / "models" / "model.bin"
    with Origin() as origin:
        url = origin.add(FILE, act.needs_token(f"Bearer {TOKEN}"), act.drops(MIB, 3 * MIB, reset=lambda: True))
        witness.downloads(url, destination, headers=HEADERS)
        expect_all(origin.requests())
        assert len(origin.requests()) > 2
    assert destination.read_bytes() == FILE.content()
    expect_silence(witness.everything())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["another port", "another host"])
def test_headers_do_not_follow_a_redirect_to_another_server(tmp_path: Path, witness: Witness, host: str) -> None:
    destination = tmp_path / "models" / "model.bin"
    with Origin() as origin, Origin() as other:
        other.add(FILE, act.drops(MIB, 3 * MIB, reset=lambda: True), path="/stored")
        url = origin.add(FILE, act.redirect(other.url("/stored", host)))
        witness.downloads(url, destination, headers=HEADERS)
        expect_all(origin.requests())
        assert len(other.requests()) > 2
        expect_silence(seen_by(other))
    assert destination.read_bytes() == FILE.content()
    expect_silence(witness.everything())


def test_headers_are_there_again_when_redirects_lead_back(tmp_path: Path, witness: Witness) -> None:
    """To another server and from there back to the first one, which wants to know who asks."""
    with Origin() as origin, Origin() as other:
        back = origin.add(FILE, act.needs_token(f"Bearer {TOKEN}"), path="/back")
        other.add(FILE, act.redirect(back), path="/there")
        url = origin.add(FILE, act.redirect(other.url("/there")))
        witness.downloads(url, tmp_path / "models" / "model.bin", headers=HEADERS)
        expect_all(origin.requests())
        expect_silence(seen_by(other))


def test_headers_do_not_go_from_tls_to_a_connection_without(
    tmp_path: Path, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.bundle))
    with Origin(authority.context()) as origin, Origin() as plain:
        plain.add(FILE, path="/stored")
        url = origin.add(FILE, act.redirect(plain.url("/stored")))
        destination = tmp_path / "models" / "model.bin"
        witness.downloads(url, destination, headers=HEADERS, sha256=FILE.sha256)
        expect_all(origin.requests())
        expect_silence(seen_by(plain))


def test_headers_reach_no_mirror(tmp_path: Path, witness: Witness) -> None:
    """Neither one that takes over in the middle, nor one that has a part of the work from the beginning."""
    with Origin() as origin, Origin() as mirror:
        url = origin.add(FILE, act.script(act.drop(MIB)), act.since(2, act.refuse("503 Service Unavailable")))
        sources = [mirror.add(FILE)]
        witness.downloads(url, tmp_path / "models" / "model.bin", headers=HEADERS, sha256=FILE.sha256, sources=sources)
        expect_all(origin.requests())
        assert mirror.settled().sent() > 0
        expect_silence(seen_by(mirror))
    expect_silence(witness.everything())


def test_the_password_of_an_address_reaches_its_server_only(tmp_path: Path, witness: Witness) -> None:
    destination = tmp_path / "models" / "model.bin"
    with Origin() as origin, Origin() as other, Origin() as mirror:
        other.add(FILE, act.script(act.drop(MIB)), act.since(2, act.refuse("503 Service Unavailable")), path="/stored")
        origin.add(FILE, act.redirect(other.url("/stored")))
        sources = [mirror.add(FILE)]
        url = origin.url(user=f"{USER}:{PASSWORD}")
        witness.downloads(url, destination, sha256=FILE.sha256, sources=sources)
        assert {request.headers.get("authorization") for request in origin.requests()} == {f"Basic {BASIC}"}
        assert mirror.settled().sent() > 0
        for foreign in (other, mirror):
            expect_silence(seen_by(foreign))
    assert destination.read_bytes() == FILE.content()
    expect_silence(witness.everything())


FAILURES = {
    "401": [act.refuse("401 Unauthorized", WWW_Authenticate="Bearer")],
    "403": [act.refuse("403 Forbidden")],
    "500": [act.refuse("500 Internal Server Error")],
    "login page": [act.login_page],
    "closed": [act.no_answer()],
    "reset": [act.no_answer(reset=True)],
    "no HTTP": [act.garbage()],
    "in a circle": [act.loop],
    "drops": [act.drop(0)],
}


@pytest.mark.parametrize("behaviours", FAILURES.values(), ids=FAILURES)
def test_no_error_tells_a_secret(tmp_path: Path, witness: Witness, behaviours: list[Any]) -> None:
    file = File(1000)
    with Origin() as origin:
        origin.add(file, *behaviours)
        url = f"{origin.url(user=f'{USER}:{PASSWORD}')}?token={KEY}"
        witness.fails(url, tmp_path / "models" / "model.bin", headers={"X-Api-Key": TOKEN}, max_attempts=2)
        assert origin.requests()
    expect_silence(witness.everything())


def test_no_error_tells_a_secret_when_nobody_is_there(tmp_path: Path, witness: Witness) -> None:
    with Origin() as origin:
        url = f"{origin.url(user=f'{USER}:{PASSWORD}')}?token={KEY}"
    witness.fails(url, tmp_path / "models" / "model.bin", headers={"X-Api-Key": TOKEN}, max_attempts=2)
    expect_silence(witness.everything())


def test_the_debug_log_of_urllib3_has_no_secret_of_an_address_either(tmp_path: Path, witness: Witness) -> None:
    """It tells every path with its query: the token of the given address, and the signature of where it leads to."""
    signatures = act.Signatures()
    with Origin() as origin:
        bare = origin.add(FILE, signatures.required, path="/stored")
        url = origin.add(FILE, act.redirect(signatures.sign(bare)))
        witness.downloads(f"{url}?token={KEY}", tmp_path / "models" / "model.bin", headers=HEADERS)
    assert "/stored" in witness.log_of("urllib3")
    expect_silence(witness.log_of("urllib3"), *SECRETS, *signatures.issued)


@pytest.mark.parametrize("works", [True, False], ids=["works", "fails"])
def test_a_signed_address_that_a_redirect_gave_is_not_written_down(
    tmp_path: Path, witness: Witness, works: bool
) -> None:
    """Not in the store, an event, an error or a log: whoever has it has the file."""
    signatures = act.Signatures()
    refusal = [] if works else [act.since(2, act.refuse("500 Internal Server Error"))]
    with Origin() as origin, Origin() as store:
        bare = store.add(FILE, signatures.required, act.script(act.drop(MIB)), *refusal, path="/stored")
        url = origin.add(FILE, act.redirect(signatures.sign(bare)))
        if works:
            witness.downloads(url, tmp_path / "models" / "model.bin")
        else:
            witness.fails(url, tmp_path / "models" / "model.bin", max_attempts=2)
    assert signatures.issued
    expect_silence(witness.everything(), *signatures.issued)


def test_a_call_of_its_own_writes_no_secret_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Outside of an operation the arguments are those of one: headers and passwords are not kept with it."""
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "state" / "recovery.db"
    monkeypatch.setenv("RECOVERY_PERSISTENCE_PATH", str(path))
    destination = tmp_path / "models" / "model.bin"
    with Origin() as origin:
        origin.add(FILE)
        with integrator(None):
            transfer.download(origin.url(user=f"{USER}:{PASSWORD}"), destination, headers={"X-Api-Key": KEY})
        assert origin.requests()[0].headers["x-api-key"] == KEY
    assert destination.read_bytes() == FILE.content()
    files = [found.read_bytes().decode("latin-1") for found in path.parent.iterdir()]
    assert any("model.bin" in text for text in files)
    expect_silence("\n".join([*files, caplog.text]))
