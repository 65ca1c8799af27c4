"""The key of Civitai, and signed addresses that the launcher's site gives, are told to those only that they are for."""

from __future__ import annotations

import json
import logging
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher_recovery import SQLitePersistence
from launcher_recovery.config import RecoveryConfig
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.kinds import OperationKind
from launcher_recovery.operation import current_operation
from launcher_recovery.policy import Policy
from launcher_recovery.strategies import FixedDelayStrategy
from launcher_recovery.weave.advice import files, launcher
from launcher_recovery.weave.hosts.comfyui_launcher import NAME
from tests.origin import Authority, File, Origin
from tests.origin import behaviours as act

FILE = File(300_000, name="model.bin")
KEY = "k3y-5f2b9c7d1e8a4f60"
SIGNATURES = ("f00dfeedc0ffee0001", "f00dfeedc0ffee0002")


class Site:
    """Downloads as the parts of an import, with a store on the disk; and all that is told of them."""

    def __init__(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.folder = folder
        self.caplog = caplog
        for name in ("", "launcher_recovery", "requests"):
            caplog.set_level(logging.DEBUG, name)
        self.integrator = RecoveryIntegrator(
            RecoveryConfig(allow_private_addresses=True), persistence=SQLitePersistence(folder / "recovery.db")
        )
        self.integrator.load()
        self.integrator.extensions.register(launcher, NAME)

    def download(self, url: str) -> bytes:
        place = self.folder / "models" / "model.bin"
        arguments = {
            "url": url, "destination": str(place), "sha256": FILE.sha256, "size": None, "project_id": "mine",
        }  # fmt: skip
        kind: OperationKind = self.integrator.kinds["download"]
        data = self.integrator.lifecycle.enter(self.integrator.draft(kind, arguments))

        def attempt() -> str:
            operation = current_operation()
            assert operation is not None
            return files.download(operation, arguments, lambda _: ())

        policy = Policy(max_attempts=4, strategy=FixedDelayStrategy(0), classify=self.integrator.classify)
        self.integrator.engine.run(data, policy, attempt)
        return place.read_bytes()

    def everything(self) -> str:
        """By the log, by events, and with every byte of the store's files."""
        store = self.integrator.persistence
        told = [f"{record.getMessage()} {record.exc_text}" for record in self._records()]
        told += [repr(store.find(limit=-1)), repr(store.events_since(0)), repr(store.partials())]
        told += [repr(store.attempts(data.operation_id)) for data in store.find(limit=-1)]
        return "\n".join([*told, *(path.read_bytes().decode("latin-1") for path in self.folder.glob("recovery.db*"))])

    def _records(self) -> list[logging.LogRecord]:
        # urllib3 itself has each address that is asked for, at the level that nobody turns on.
        return [record for record in self.caplog.records if not record.name.startswith("urllib3")]


@pytest.fixture
def site(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Site]:
    made = Site(tmp_path, caplog)
    yield made
    made.integrator.persistence.close()


def test_signed_addresses_of_the_launchers_site(site: Site) -> None:
    """One of them is not good any more, the other one's connection is dropped, and it is not good either then: the site
    is asked again."""
    with Origin() as origin:
        gone = origin.add(FILE, act.refuse("403 Forbidden"), path="/gone.bin")
        good = origin.add(FILE, act.script(act.drop(100_000), act.refuse("403 Forbidden")), path="/good.bin")
        signed = [f"{url}?X-Amz-Signature={value}" for url, value in zip((gone, good), SIGNATURES, strict=True)]
        listing = origin.add(FILE, act.says(json.dumps({"urls": signed}).encode()), path="/api/comfyui-launcher/file")
        assert site.download(listing) == FILE.content()
        assert len(origin.requests("/api/comfyui-launcher/file")) > 1
        assert all(value in str([one.target for one in origin.requests()]) for value in SIGNATURES)
    told = site.everything()
    assert "the address holds a signature, which is valid only for a while" in told
    assert [value for value in SIGNATURES if value in told] == []


def test_a_site_that_says_a_signed_address_in_its_error(site: Site) -> None:
    with Origin() as origin:
        body = json.dumps({"error": f"https://example.com/a?X-Amz-Signature={SIGNATURES[0]}"}).encode()
        listing = origin.add(FILE, act.says(body), path="/api/comfyui-launcher/file")
        with pytest.raises(Exception, match="was to give addresses") as raised:
            site.download(f"{listing}?token={SIGNATURES[1]}")
    told = site.everything() + repr(raised.value)
    assert [value for value in SIGNATURES if value in told] == []


def test_the_key_of_civitai_goes_to_it_and_not_to_where_it_leads(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.bundle))
    utils = types.ModuleType("utils")
    setattr(utils, "get_config", lambda: {"credentials": {"civitai": {"apikey": KEY}}})
    monkeypatch.setitem(sys.modules, "utils", utils)
    signatures = act.Signatures()
    with Origin(authority.context()) as civitai, Origin(authority.context()) as stored:
        stored.add(FILE, signatures.required, act.drop(100_000), path="/stored")
        repeats = act.refuse(f"503 Busy, {KEY}")
        url = civitai.add(
            FILE, act.needs_token(f"Bearer {KEY}"), act.redirect(signatures.sign(stored.url("/stored"))),
            act.script(repeats, None),
        )  # fmt: skip

        monkeypatch.setattr(files, "_CIVITAI", f"https://127.0.0.1:{civitai.port}")
        assert site.download(url) == FILE.content()
        assert {one.headers.get("authorization") for one in civitai.requests()} == {f"Bearer {KEY}"}
        assert len(civitai.requests()) > 1
        assert len(stored.requests()) > 1
        assert all(KEY not in f"{one.target} {dict(one.headers)}" for one in stored.requests())
    told = site.everything()
    assert [value for value in (KEY, *signatures.issued) if value in told] == []
