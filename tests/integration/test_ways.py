"""A proxy and certificates for one download: given with the call or typed, or set by a guided fix for its operation."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from launcher_recovery import integration, transfer
from launcher_recovery.cli import main
from launcher_recovery.errors import RecoveryConfigError
from launcher_recovery.integration import RecoveryIntegrator
from sample_launcher.hookspecs import hookimpl
from tests.origin import Authority, File, Origin
from tests.origin import behaviours as act
from tests.proxy import Proxy
from tests.support import Host
from tests.transfers import integrator

FILE = File(1 << 20)
LOGIN = "ann:secret of ann"


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Calls outside of a launcher, on a machine that knows no proxy, and not these certificates."""
    for name in os.environ:
        if name.lower().endswith("_proxy") or name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RECOVERY_PERSISTENCE_PATH", str(tmp_path / "state" / "recovery.db"))
    monkeypatch.setenv("RECOVERY_MAX_RETRIES", "0")
    with integrator(None):
        yield


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def origin(authority: Authority) -> Iterator[Origin]:
    with Origin(authority.context()) as running:
        yield running


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """One that wants to know who asks."""
    with Proxy(LOGIN) as running:
        yield running


def with_login(proxy: Proxy) -> str:
    return proxy.url.replace("://", "://ann:secret%20of%20ann@")


def test_a_call_goes_through_its_proxy_and_checks_servers_by_its_certificates(
    tmp_path: Path, origin: Origin, proxy: Proxy, authority: Authority
) -> None:
    """What it was given is not kept."""
    url, destination = origin.add(FILE, path="/m.bin"), tmp_path / "m.bin"
    with pytest.raises(requests.exceptions.SSLError):
        transfer.download(url, destination)
    with pytest.raises(requests.exceptions.ProxyError):
        transfer.download(url, destination, proxy=proxy.url, ca_bundle=authority.bundle)
    assert proxy.asked == []
    transfer.download(url, destination, proxy=with_login(proxy), ca_bundle=authority.bundle)
    assert destination.read_bytes() == FILE.content()
    assert proxy.asked
    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir())
    assert b"m.bin" in kept
    for secret in (b"secret of ann", b"secret%20of%20ann", base64.b64encode(LOGIN.encode())):
        assert secret not in kept, kept[max(0, kept.index(secret) - 300) : kept.index(secret) + 100]


def test_addresses_that_are_to_be_asked_directly_are(
    tmp_path: Path, origin: Origin, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    with Proxy() as proxy:
        transfer.download(origin.add(FILE), tmp_path / "m.bin", proxy=proxy.url, ca_bundle=str(authority.bundle))
        assert proxy.asked == []


def test_what_is_typed_counts_for_the_name_of_the_file_as_well(
    tmp_path: Path, origin: Origin, proxy: Proxy, authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    url = origin.add(FILE, act.said("Content-Disposition", 'attachment; filename="m.bin"'), path="/12345")
    words = ["download", url, f"{tmp_path}/", "--ca-bundle", str(authority.bundle), "--proxy"]
    assert main([*words, with_login(proxy)]) == 0
    assert (tmp_path / "m.bin").read_bytes() == FILE.content()
    assert len(proxy.asked) == 2
    assert "secret" not in "".join(capsys.readouterr())


def test_damaged_pieces_are_fetched_again_that_way(
    tmp_path: Path, origin: Origin, proxy: Proxy, authority: Authority
) -> None:
    url, path = origin.add(FILE), tmp_path / "m.bin"
    way: dict[str, Any] = {"proxy": with_login(proxy), "ca_bundle": authority.bundle}
    transfer.download(url, path, sha256=FILE.sha256, **way)
    path.write_bytes(b"\0" + path.read_bytes()[1:])
    asked = len(proxy.asked)
    assert main(["verify", str(path), "--repair", "--proxy", way["proxy"], "--ca-bundle", str(authority.bundle)]) == 0
    assert path.read_bytes() == FILE.content()
    assert len(proxy.asked) > asked


def fix(owner: RecoveryIntegrator, operation_id: str, name: str, **given: Any) -> None:
    fixes = owner.fixes
    fixes.apply(operation_id, name, given, fixes.preview(operation_id, name, given).token)


def test_a_fix_of_a_download_counts_when_the_same_call_is_made_again(
    tmp_path: Path, origin: Origin, authority: Authority
) -> None:
    """A new address as well."""
    destination = tmp_path / "m.bin"
    with pytest.raises(requests.ConnectionError):
        transfer.download("https://127.0.0.1:9/m.bin", destination)
    owner = integration.get_recovery_integrator()
    [data] = owner.persistence.find()
    fix(owner, data.operation_id, "use_ca_bundle", path=str(authority.bundle))
    fix(owner, data.operation_id, "update_url", url=origin.add(FILE, path="/new"))
    with Proxy() as proxy:
        fix(owner, data.operation_id, "use_proxy", proxy=proxy.url)
        transfer.download("https://127.0.0.1:9/m.bin", destination)
        assert proxy.asked
    assert destination.read_bytes() == FILE.content()


def test_a_fix_of_an_operation_counts_for_the_downloads_that_its_code_makes(
    tmp_path: Path, origin: Origin, authority: Authority
) -> None:
    """Where a call says nothing else."""
    url = origin.add(FILE)
    host = Host(tmp_path / "project", max_retries=0, persistence_path=str(tmp_path / "data" / "recovery.db"))
    other = tmp_path / "other"
    other.mkdir()
    calls: list[dict[str, Any]] = [{}]

    class Importing:
        @hookimpl(trylast=True)
        def launcher_create_project(self) -> Any:
            return str(transfer.download(url, tmp_path / "m.bin", **calls[-1]))

    host.attach()
    try:
        host.manager.register(Importing())
        with pytest.raises(requests.exceptions.SSLError):
            host.create()
        (data,) = host.operations("create_project")
        fix(host.integrator, data.operation_id, "use_ca_bundle", path=str(authority.bundle))
        calls.append({"ca_bundle": Authority(other).bundle})
        with pytest.raises(requests.exceptions.SSLError):
            host.create()
        calls.append({})
        assert host.create() == str(tmp_path / "m.bin")
    finally:
        host.detach()
    assert (tmp_path / "m.bin").read_bytes() == FILE.content()


def test_a_fix_of_a_download_counts_for_a_handler_that_knows_nothing_of_it(
    tmp_path: Path, origin: Origin, authority: Authority
) -> None:
    """But for what the handler has chosen itself."""
    (tmp_path / "other").mkdir()
    own: list[str | bool] = [True]

    class Naive:
        @hookimpl
        def launcher_download(self, url: str, destination: str) -> str:
            Path(destination).write_bytes(requests.get(url, verify=own[-1]).content)
            return destination

    host = Host(tmp_path, max_retries=0, persistence_path=str(tmp_path / "data" / "recovery.db"))
    url = origin.add(FILE)
    host.manager.register(Naive())
    host.attach()
    try:
        with pytest.raises(requests.exceptions.SSLError):
            host.download(url=url)
        (data,) = host.operations("download")
        with Proxy(LOGIN) as proxy:
            fix(host.integrator, data.operation_id, "use_ca_bundle", path=str(authority.bundle))
            fix(host.integrator, data.operation_id, "use_proxy", proxy=proxy.url, user="ann", password="secret of ann")
            own.append(str(Authority(tmp_path / "other").bundle))
            with pytest.raises(requests.exceptions.SSLError):
                host.download(url=url)
            own.append(True)
            assert host.download(url=url) == str(tmp_path / "m.pt")
            assert len(proxy.asked) == 2
    finally:
        host.detach()
    assert (tmp_path / "m.pt").read_bytes() == FILE.content()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"proxy": 3128}, "proxy=3128 is not usable: it must be the address of a proxy such as http://"),
        ({"proxy": "http://u:secret@proxy:port"}, "proxy='http://proxy:port' is not usable"),
        ({"ca_bundle": False}, "ca_bundle=False is not usable: it must be the path of a file of certificates"),
        ({"ca_bundle": os.devnull}, "ca_bundle='/dev/null' is not usable"),
        ({"proxy": "http://proxy", "session": requests.Session()}, "proxy and ca_bundle are for sessions made here"),
    ],
)
def test_what_cannot_be_used_is_told_before_anything_is_asked(tmp_path: Path, given: Any, said: str) -> None:
    with pytest.raises(RecoveryConfigError) as raised:
        transfer.download("https://127.0.0.1:9/m.bin", tmp_path / "m.bin", **given)
    assert str(raised.value).startswith(said)
    assert not (tmp_path / "state").exists() or not integration.get_recovery_integrator().persistence.find()
