"""Who may do what: with and without a token, on this machine and from elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from werkzeug.test import EnvironBuilder

from launcher_recovery.config import RecoveryConfig
from launcher_recovery.testing import VirtualClock
from launcher_recovery.web.security import Access, Gate
from launcher_recovery.web.security.rates import BURST

TOKEN = "kestrel-over-the-9-hills"
NEAR: dict[str, str] = {"REMOTE_ADDR": "127.0.0.1"}
PROXIED = {**NEAR, "HTTP_X_FORWARDED_FOR": "10.0.0.5"}
FAR = {"REMOTE_ADDR": "10.0.0.5"}
SHOWN = {"HTTP_AUTHORIZATION": f"Bearer {TOKEN}"}
WRONG = {"HTTP_AUTHORIZATION": f"Bearer {TOKEN[:-1]}"}


def gate(token: str | None) -> Gate:
    return Gate(RecoveryConfig(api_token=token), VirtualClock())


def asked(**changes: str) -> dict[str, Any]:
    return {**EnvironBuilder().get_environ(), **changes}


@pytest.mark.parametrize(
    ("token", "request_", "read", "trusted"),
    [
        (None, NEAR, None, None),
        (None, PROXIED, None, "not_trusted"),
        (None, FAR, None, "not_trusted"),
        (None, FAR | SHOWN, None, "not_trusted"),
        (TOKEN, NEAR, "token_needed", "token_needed"),
        (TOKEN, FAR, "token_needed", "token_needed"),
        (TOKEN, NEAR | WRONG, "token_needed", "token_needed"),
        (TOKEN, NEAR | SHOWN, None, None),
        (TOKEN, FAR | SHOWN, None, None),
        (TOKEN, PROXIED | SHOWN, None, None),
    ],
)
def test_who_may_do_what(token: str | None, request_: dict[str, str], read: str | None, trusted: str | None) -> None:
    found = gate(token)
    environ = asked(**request_)
    expected = {Access.READ: read, Access.CONTROL: read, Access.TRUSTED: trusted}
    for access, code in expected.items():
        refusal = found.refuse_peer(environ, access)
        assert (refusal and refusal.code) == code
    assert found.is_trusted(environ) is (trusted is None)


def test_who_is_not_trusted_is_told_before_the_rate() -> None:
    found = gate(None)
    environ = asked(**FAR)
    for _ in range(BURST):
        assert found.refuse_rate(environ) is None
    refusals = [found.refuse_peer(environ, access) for access in (Access.READ, Access.TRUSTED)]
    assert [refusal and (refusal.status, refusal.code) for refusal in refusals] == [
        (429, "too_many_requests"),
        (403, "not_trusted"),
    ]


def test_where_to_log_in_is_told_below_a_prefix_too() -> None:
    refusal = gate(TOKEN).refuse_peer(asked(SCRIPT_NAME="/tool"))
    assert refusal is not None
    assert refusal.params == {"login": "/tool/recovery/login"}
