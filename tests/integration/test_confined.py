"""What an import asks for leads nowhere into this machine's own network: not by its address, not by a redirect, and not
by a name that has another address a moment later. A real server plays the private one."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import hookimpl, reach
from launcher_recovery.downloads import download
from launcher_recovery.integration import set_recovery_integrator
from launcher_recovery.reach import PrivateAddressError
from launcher_recovery.records import RecoveryState
from launcher_recovery.transfer.http.session import way
from tests.nodes import Far, Source
from tests.origin import Authority, File, Origin
from tests.origin import behaviours as act
from tests.proxy import Proxy
from tests.support import Host, but_for

FILE = File(200_000)
REAL_LOOK_UP = socket.getaddrinfo


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as made:
        yield made


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    made = Host(tmp_path, allow_private_addresses=False)
    made.attach()
    yield made
    made.detach()


class Names:
    """What names resolve to: the first address the first time, and so on; the last one stays."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.known: dict[str, list[str]] = {}
        self.asked: list[str] = []
        # 127.0.0.1 plays an address of the internet.
        monkeypatch.setattr(reach, "is_public", lambda address: address == ipaddress.ip_address("127.0.0.1"))
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, host: Any, *args: Any, **kwargs: Any) -> Any:
        known = self.known.get(host)
        if known is None:
            return REAL_LOOK_UP(host, *args, **kwargs)
        self.asked.append(host)
        return REAL_LOOK_UP(known.pop(0) if len(known) > 1 else known[0], *args, **kwargs)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


def refused(host: Host, url: str, **more: Any) -> str:
    with pytest.raises(PrivateAddressError) as caught:
        host.download(url=url, **more)
    data = host.operations("download")[-1]
    assert (data.state, data.attempt, data.category) == (RecoveryState.FAILED, 1, "validation")
    return str(caught.value)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "127.1"])
def test_an_address_of_this_machine_is_refused_at_once_and_nobody_is_asked(
    host: Host, origin: Origin, name: str
) -> None:
    origin.add(FILE)
    said = refused(host, origin.url(host=name))
    assert "an address of this machine or a private network" in said
    assert "RECOVERY_ALLOW_PRIVATE_ADDRESSES=true" in said
    assert origin.connections == 0
    assert not (host.folder / "m.pt").exists()


def test_the_setting_allows_it(host: Host, origin: Origin) -> None:
    host.integrator.update_config({"allow_private_addresses": True})
    host.download(url=origin.add(FILE))
    assert (host.folder / "m.pt").read_bytes() == FILE.content()


def test_what_code_calls_is_trusted(host: Host, origin: Origin) -> None:
    set_recovery_integrator(host.integrator)
    try:
        assert download(origin.add(FILE), host.folder / "own.pt").stat().st_size == FILE.size
    finally:
        set_recovery_integrator(None)


def test_a_redirect_is_looked_at_like_the_address_itself(host: Host, origin: Origin, names: Names) -> None:
    inside = origin.add(FILE, path="/inside")
    for number, name in enumerate(("127.0.0.2", "inside.test", "[::1]")):
        names.known["inside.test"] = ["127.0.0.2"]
        outside = origin.add(FILE, act.redirect(inside.replace("127.0.0.1", name)), path=f"/outside{number}")
        assert "RECOVERY_ALLOW_PRIVATE_ADDRESSES" in refused(host, outside, destination=str(host.folder / str(number)))
    assert origin.requests("/inside") == []


def test_a_redirect_to_a_public_address_is_followed(host: Host, origin: Origin, names: Names) -> None:
    names.known["models.test"] = ["127.0.0.1"]
    target = origin.add(FILE, path="/target").replace("127.0.0.1", "models.test")
    host.download(url=origin.add(FILE, act.redirect(target)))
    (request,) = origin.requests("/target")
    assert request.headers["host"] == f"models.test:{origin.port}"


def test_the_address_that_was_looked_at_is_the_one_that_is_connected_to(
    host: Host, origin: Origin, names: Names
) -> None:
    names.known["rebound.test"] = ["127.0.0.1", "127.0.0.2"]
    url = origin.add(FILE).replace("127.0.0.1", "rebound.test")
    host.download(url=url, size=FILE.size)
    assert (host.folder / "m.pt").read_bytes() == FILE.content()
    # Each connection is looked at: those after the first would have led elsewhere.
    said = refused(host, url, destination=str(host.folder / "again"))
    assert said.startswith("rebound.test leads to 127.0.0.2, an address of this machine")


def test_of_several_addresses_one_that_does_not_answer_is_passed_over(
    names: Names, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("127.0.0.3")}
    monkeypatch.setattr(reach, "is_public", lambda address: address in public)

    def look_up(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        found = [host] if host != "models.test" else ["127.0.0.2", "127.0.0.3", "127.0.0.1"]
        return [entry for one in found for entry in REAL_LOOK_UP(one, port, *args, **kwargs)]

    monkeypatch.setattr(reach, "socket", but_for(socket, getaddrinfo=look_up))
    origin.add(FILE)
    with reach.of_others(allow_private=False):
        make = way(None, None)
    with make() as session, session.get(origin.url(host="models.test"), timeout=20) as answer:
        assert answer.content == FILE.content()


def test_a_server_is_checked_by_its_name_all_the_same(tmp_path: Path, names: Names) -> None:
    authority = Authority(tmp_path)
    with Origin(authority.context()) as origin:
        origin.add(FILE)
        names.known["localhost"] = ["127.0.0.1"]
        names.known["other.test"] = ["127.0.0.1"]
        with reach.of_others(allow_private=False):
            make = way(None, str(authority.bundle))
        with make() as session:
            with session.get(origin.url(host="localhost"), timeout=20) as answer:
                assert answer.content == FILE.content()
            with pytest.raises(OSError, match="certificate"):
                session.get(origin.url(host="other.test"), timeout=20)


def test_a_name_that_nobody_has_is_told_as_ever(host: Host, names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(OSError, match=r"nowhere\.test"):
        host.download(url="http://nowhere.test/m.pt")
    assert host.operations("download")[-1].category == "network"


def test_a_proxy_is_where_the_person_has_put_it_and_only_literal_addresses_are_looked_at(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        refused(host, "http://169.254.169.254/latest/meta-data")
        assert proxy.asked == []


def test_mirrors_of_extensions_are_trusted(host: Host, origin: Origin) -> None:
    class Mirrors:
        @hookimpl
        def recovery_sources(self, url: str) -> list[str]:
            return [origin.url()]

    origin.add(FILE)
    host.integrator.extensions.register(Mirrors(), "mirrors")
    host.download(url="http://169.254.169.254/m.pt", sha256=FILE.sha256, size=FILE.size)
    assert (host.folder / "m.pt").read_bytes() == FILE.content()


def test_repositories_are_looked_at_as_well(host: Host, tmp_path: Path) -> None:
    far = Far(tmp_path)
    urls = (f"{far.url}/node.git", "file:///etc", "ssh://git@127.0.0.1/node.git", "git@localhost:node.git")
    try:
        for number, url in enumerate(urls):
            with pytest.raises(PrivateAddressError):
                host.install(url=url, destination=str(host.folder / str(number)))
            data = host.operations("install_node")[-1]
            assert (data.state, data.attempt) == (RecoveryState.FAILED, 1)
        assert far.asked == []
    finally:
        far.close()


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    """A git server with a repository `node.git`, which plays one of the internet."""
    made = Far(tmp_path / "far")
    made.folder.mkdir()
    source = Source(tmp_path / "work")
    source.commit({"__init__.py": ""})
    made.serve(source)
    yield made
    made.close()


def test_git_is_not_redirected_into_this_network(host: Host, far: Far, names: Names, tmp_path: Path) -> None:
    front = Far(tmp_path, redirects=far.url.replace("127.0.0.1", "127.0.0.2"))
    try:
        with pytest.raises(PrivateAddressError):
            host.install(url=f"{front.url}/git/node.git", destination=str(host.folder / "node"))
    finally:
        front.close()
    assert far.asked == []
    assert not (host.folder / "node").exists()


def test_git_is_redirected_to_a_public_address(host: Host, far: Far, names: Names, tmp_path: Path) -> None:
    front = Far(tmp_path, redirects=far.url)
    try:
        host.install(url=f"{front.url}/git/node.git", destination=str(host.folder / "node"))
        assert (host.folder / "node" / "__init__.py").is_file()
        assert all("/info/refs" in one.path for one in front.asked)
    finally:
        front.close()


def test_git_connects_to_the_address_that_was_looked_at(host: Host, far: Far, names: Names) -> None:
    """Nobody else knows the name, so that git can have it from nowhere else."""
    names.known["git.test"] = ["127.0.0.1"]
    url = f"{far.url.replace('127.0.0.1', 'git.test')}/git/node.git"
    host.install(url=url, destination=str(host.folder / "node"))
    assert (host.folder / "node" / "__init__.py").is_file()
