"""What is read of HTTP answers and of programs, from whatever client they come."""

from __future__ import annotations

import os
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from launcher_recovery.classification import ErrorClassifier
from launcher_recovery.classification.answers import answer_of
from launcher_recovery.classification.facts import read
from launcher_recovery.classification.outputs import command_of, told_in

NOW = 1_700_000_000.0
DATE = "Tue, 14 Nov 2023 22:13:10 GMT"  # ten seconds before


def refused(status: int = 429, **headers: str) -> Exception:
    error: Any = Exception("x")
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    error.response = SimpleNamespace(status_code=status, headers=given, url="https://h.example/x")
    return error  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("headers", "status", "wait"),
    [
        ({"Retry_After": "30", "X_RateLimit_Reset": "1700000900"}, 429, 30),
        ({"Retry_After": "Tue, 14 Nov 2023 22:14:50 GMT"}, 503, 90),
        ({"Retry_After": "Tue, 14 Nov 2023 22:14:50 GMT", "Date": DATE}, 503, 100),
        ({"Retry_After": "Tue, 14 Nov 2023 22:14:50 GMT", "Date": "once upon a time"}, 503, 90),
        ({"X_RateLimit_Reset": "1700000900", "X_RateLimit_Remaining": "0"}, 403, 900),
        ({"X_RateLimit_Reset": "1700000900", "X_RateLimit_Remaining": "12"}, 403, None),
        ({"X_RateLimit_Reset": "1700000900"}, 429, 900),
        ({"X_RateLimit_Reset": "1600000000"}, 429, 0),
        ({"X_RateLimit_Reset": "1700000900"}, 503, None),
        ({"RateLimit_Reset": "60"}, 429, 60),
        ({"RateLimit_Reset": "soon", "X_Rate_Limit_Reset": "5"}, 429, 5),
        ({"RateLimit": '"api";r=0;t=55'}, 429, 55),
        ({"RateLimit": "limit=100, remaining=0, reset=50"}, 429, 50),
        ({"RateLimit": "whatever"}, 429, None),
        ({}, 429, None),
    ],
)
def test_wait(headers: dict[str, str], status: int, wait: float | None) -> None:
    """A limit says until when in several ways; a date is taken against the clock of the server where it tells."""
    assert ErrorClassifier(now=lambda: NOW).classify(refused(status, **headers)).wait_s == wait


def test_clients() -> None:
    """Status, headers and body are found where requests, aiohttp and urllib have them."""
    answer = requests.Response()
    answer.status_code, answer.url, answer._content = 403, "https://h.example/x", b"error code: 1020"
    found = answer_of(requests.HTTPError("x", response=answer), NOW)
    assert found is not None
    assert (found.status, found.body, found.url) == (403, "error code: 1020", "https://h.example/x")
    aiohttp_like: Any = Exception("x")
    aiohttp_like.status, aiohttp_like.headers = 429, {"RETRY-AFTER": "3"}
    found = answer_of(aiohttp_like, NOW)
    assert found is not None
    assert (found.status, found.wait_s) == (429, 3)
    fine: Any = Exception("of another kind, while the answer is fine")
    fine.status = 200
    assert answer_of(fine, NOW) is None


def test_the_client_of_hugging_face() -> None:
    """With its own kind of headers and body."""
    httpx = pytest.importorskip("httpx2")
    request = httpx.Request("GET", "https://h.example/x")
    modern = httpx.Response(403, headers={"X-Error-Code": "GatedRepo"}, content=b"x" * 5000, request=request)
    found = answer_of(httpx.HTTPStatusError("x", request=request, response=modern), NOW)
    assert found is not None
    assert (found.headers["x-error-code"], found.body) == ("GatedRepo", "x" * 1024)


def test_a_body_that_was_not_read_is_left_alone() -> None:
    """Reading it would take from the network what is its owner's."""
    answer = requests.Response()
    answer.status_code, answer.raw = 403, object()
    found = answer_of(requests.HTTPError("x", response=answer), NOW)
    assert found is not None
    assert found.body == ""
    text: Any = Exception("x")
    text.response = SimpleNamespace(status_code=400, headers={}, content="words", url=5)
    found = answer_of(text, NOW)
    assert found is not None
    assert (found.body, found.url) == ("words", "5")


@pytest.mark.parametrize("headers", [dict, 5, "x", [1], {b"x": 1}, {str(number): "x" for number in range(1000)}])
def test_odd_headers(headers: Any) -> None:
    """What are no headers are none, and too many are cut."""
    error: Any = Exception("x")
    error.status_code, error.headers = 500, headers
    found = answer_of(error, NOW)
    assert found is not None
    assert len(found.headers) <= 100


@pytest.mark.parametrize(
    "url", ["https://[::1", "https://h/?se=%ff&sig=", "https://h/?Expires=²&Signature=x", "https://h/?" + "a=1&" * 1000]
)
def test_odd_addresses(url: str) -> None:
    """An address that cannot be taken apart does no harm."""
    error: Any = refused(403)
    error.response.url = url
    assert ErrorClassifier().classify(error).category.value == "permission"


def test_programs() -> None:
    """What subprocess raises has the output of both streams, as text or bytes."""
    error = subprocess.CalledProcessError(128, ["git", "clone"], b"Cloning", b"fatal: early EOF\xff")
    command = command_of(error)
    assert command is not None
    assert (command.program, command.exit, command.output) == ("git", 128, "Cloning\nfatal: early EOF\ufffd")
    assert ErrorClassifier().classify(error).rule == "git-network"
    late = subprocess.TimeoutExpired("git clone x", 5, output="Cloning")
    assert (read(late, NOW).program, read(late, NOW).exit, read(late, NOW).output) == ("git", None, "Cloning")
    assert ErrorClassifier().classify(late).rule == "timeout"
    assert command_of(OSError()) is None


def test_numbers_of_rust(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs in Rust give the number of the system, which is another one on Windows."""
    said = "x.Error: failed to write (os error 112)"
    assert (told_in(said)[0].errno, told_in(said)[0].winerror) == (112, None)
    monkeypatch.setattr(os, "name", "nt")
    assert (told_in(said)[0].errno, told_in(said)[0].winerror) == (None, 112)
