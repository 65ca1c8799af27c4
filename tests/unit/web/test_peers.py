"""Who a request comes from, and when it is trusted without a token."""

from __future__ import annotations

from typing import Any

import pytest
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import EnvironBuilder

from launcher_recovery.web.security.peers import is_of_this_machine, peer_of


def asked(peer: str = "127.0.0.1", host: str = "localhost:5000", protocol: str = "HTTP/1.1", **headers: str) -> Any:
    """The environ of a request."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    environ = EnvironBuilder(headers=given).get_environ()
    return {**environ, "REMOTE_ADDR": peer, "HTTP_HOST": host, "SERVER_PROTOCOL": protocol}


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "a.localhost", "127.0.0.1:5000", "[::1]:1", "0.0.0.0:1"])
def test_a_browser_of_this_machine_is_trusted(peer: str, host: str) -> None:
    assert is_of_this_machine(asked(peer, host))


@pytest.mark.parametrize(
    "peer", ["192.168.1.5", "10.0.0.1", "::2", "fe80::1%eth0", "::ffff:10.0.0.1", "", "unix", "0.0.0.0"]
)
def test_another_machine_is_not(peer: str) -> None:
    assert not is_of_this_machine(asked(peer))


@pytest.mark.parametrize(
    "host", ["evil.example", "192.168.1.5", "my-box", "localhost.evil.example", "", "[", "8.8.8.8"]
)
def test_a_request_for_another_name_was_passed_on(host: str) -> None:
    assert not is_of_this_machine(asked(host=host))


@pytest.mark.parametrize(
    "name",
    [
        "Forwarded", "X_Forwarded_For", "X_Forwarded_Host", "X_Forwarded_Proto", "X_Forwarded_Anything", "X_Real_IP",
        "Via", "CF_Connecting_IP", "True_Client_IP", "X_Client_IP", "X_Original_Forwarded_For", "CDN_Loop",
    ],
)  # fmt: skip
def test_a_header_of_a_proxy_ends_the_trust_whatever_it_says(name: str) -> None:
    for value in ("127.0.0.1", "", "8.8.8.8"):
        assert not is_of_this_machine(asked(**{name: value}))


def test_an_old_protocol_is_that_of_a_proxy_that_says_nothing() -> None:
    assert not is_of_this_machine(asked(protocol="HTTP/1.0"))


def test_no_host_header_is_no_local_name() -> None:
    environ = asked()
    del environ["HTTP_HOST"]
    assert not is_of_this_machine(environ)


@pytest.mark.parametrize(
    ("peer", "headers", "trusted"),
    [
        ("127.0.0.1", {}, True),
        ("127.0.0.1", {"X_Forwarded_For": "127.0.0.1"}, False),
        ("10.0.0.9", {"X_Forwarded_For": "127.0.0.1", "X_Forwarded_Host": "localhost"}, False),
    ],
)
def test_what_proxy_fix_has_rewritten_is_seen_through(peer: str, headers: dict[str, str], trusted: bool) -> None:
    seen: list[dict[str, Any]] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ)
        return []

    ProxyFix(application, x_for=1, x_host=1)(asked(peer, **headers), lambda *args: None)  # type: ignore[arg-type]
    assert seen[0]["REMOTE_ADDR"] == "127.0.0.1"
    assert is_of_this_machine(seen[0]) is trusted
    # Also where something took the headers away afterwards.
    kept = {name: value for name, value in seen[0].items() if "FORWARDED" not in name}
    assert is_of_this_machine(kept) is (peer == "127.0.0.1")


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::2", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix:", "unix:"),
    ],
)
def test_an_ipv6_network_counts_as_one_peer(peer: str, expected: str) -> None:
    assert peer_of(asked(peer)) == expected
