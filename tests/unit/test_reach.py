"""How far what came from outside may lead."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest

from launcher_recovery import reach
from launcher_recovery.errors import RefusedError
from launcher_recovery.reach import PrivateAddressError, Reach, is_public
from tests.support import but_for

PRIVATE = [
    "127.0.0.1", "127.255.0.9", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250",
    "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "fd12:3456::1", "ff02::1", "ff0e::1",
    "2001:db8::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::1", "198.18.0.5",
]  # fmt: skip
PUBLIC = ["8.8.8.8", "104.18.2.3", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]


@pytest.mark.parametrize("text", PRIVATE)
def test_private_addresses(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "host",
    [
        *(text for text in PRIVATE if ":" not in text),
        *(f"[{text}]" for text in PRIVATE if ":" in text),
        "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "0", "127.0.0.1.", "2852039166",
        "[fe80::1%25eth0]",
    ],
)  # fmt: skip
def test_an_address_in_an_address_is_refused_however_it_is_written(host: str) -> None:
    for url in (f"http://{host}/x", f"https://{host}:8443/x"):
        with pytest.raises(PrivateAddressError, match="RECOVERY_ALLOW_PRIVATE_ADDRESSES=true"):
            Reach().check(url)


@pytest.mark.parametrize(
    "url", ["https://8.8.8.8/x", "http://[2606:4700::1]/x", "https://models.example/x", "http:///"]
)
def test_what_is_public_or_a_name_may_be_asked(url: str) -> None:
    Reach().check(url)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What each name resolves to."""
    known: dict[str, list[str]] = {}

    def getaddrinfo(host: str, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, 0, 0, "", (address, port)) for address in known[host]]

    monkeypatch.setattr(reach, "socket", but_for(socket, getaddrinfo=getaddrinfo))
    return known


def test_of_several_addresses_the_public_ones_are_connected_to(names: dict[str, list[str]]) -> None:
    names["models.example"] = ["10.0.0.1", "8.8.8.8", "8.8.8.8", "2606:4700::1"]
    assert Reach().resolve("models.example", 443) == ["8.8.8.8", "2606:4700::1"]
    names["evil.example"] = ["127.0.0.1", "fe80::1%eth0"]
    with pytest.raises(PrivateAddressError, match=r"^evil\.example leads to 127\.0\.0\.1, an address of this machine"):
        Reach().resolve("evil.example", 443)
    with pytest.raises(socket.gaierror):
        Reach().resolve("nowhere.example", 443)


def test_what_stands_in_for_every_name_behind_some_proxies_is_no_private_address(names: dict[str, list[str]]) -> None:
    names["models.example"], names["198.18.0.5"] = ["198.18.0.5"], ["198.18.0.5"]
    assert Reach().resolve("models.example", 443) == ["198.18.0.5"]
    with pytest.raises(PrivateAddressError):
        Reach().resolve("198.18.0.5", 443)


def test_servers_that_the_person_has_named_are_trusted_and_others_beside_them_are_not(
    names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    names["mirror.lan"] = ["10.0.0.9"]
    found = Reach()
    found.trust(["https://Mirror.lan/models/a", "http://10.0.0.8:8080/", "nothing"])
    assert found.resolve("mirror.lan", 443) is None
    found.check("http://10.0.0.8:8080/a")
    for url in ("http://10.0.0.8/a", "http://10.0.0.8:22/a"):
        with pytest.raises(PrivateAddressError):
            found.check(url)
    with pytest.raises(PrivateAddressError):
        found.resolve("mirror.lan", 22)
    monkeypatch.setenv("HF_ENDPOINT", "http://10.0.0.7:9000/")
    Reach().check("http://10.0.0.7:9000/a/b")
    with pytest.raises(PrivateAddressError):
        Reach().check("http://10.0.0.7:9001/a/b")


def test_only_what_is_asked_for_somebody_else_is_confined() -> None:
    assert reach.current() is None
    with reach.of_others(allow_private=False):
        assert reach.current() is not None
        assert reach.trusting(["http://10.0.0.1/"]) == ["http://10.0.0.1/"]
        found = reach.current()
        assert found is not None
        found.check("http://10.0.0.1/a")
        with reach.of_others(allow_private=True):
            assert reach.current() is None
    assert reach.current() is None
    assert reach.trusting(["http://10.0.0.1/"]) == ["http://10.0.0.1/"]
    assert issubclass(PrivateAddressError, RefusedError)


def test_repositories(names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    names.update({"git.example": ["8.8.8.8"], "evil.example": ["8.8.8.8", "127.0.0.1"], "10.0.0.1": ["10.0.0.1"]})
    found = Reach()
    found.check_repository("https://git.example/a.git", "git.example")
    found.check_repository("git@git.example:a.git", "git.example")
    found.check_repository("https://nowhere.example/a.git", "nowhere.example")  # git says so
    for url, host in (
        ("https://evil.example/a.git", "evil.example"),
        ("ssh://git@10.0.0.1/a.git", "10.0.0.1"),
        ("git@10.0.0.1:a.git", "10.0.0.1"),
        ("https://127.1/a.git", "127.1"),
        ("file:///home/ann/repository", None),
    ):
        with pytest.raises(PrivateAddressError, match="RECOVERY_ALLOW_PRIVATE_ADDRESSES=true"):
            found.check_repository(url, host)
    found.trust(["https://evil.example/"])
    found.check_repository("https://evil.example/a.git", "evil.example")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    names.clear()
    Reach().check_repository("https://git.example/a.git", "git.example")  # the proxy resolves it
    with pytest.raises(PrivateAddressError):
        Reach().check_repository("https://10.0.0.1/a.git", "10.0.0.1")
