"""A request that is wrong in two ways gets the answer of the check that comes first, for each pair of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask

from launcher_recovery.config import RecoveryConfig
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.persistence.memory import MemoryPersistence
from launcher_recovery.testing import VirtualClock
from launcher_recovery.web import init_app
from launcher_recovery.web.security import MAX_BODY
from launcher_recovery.web.security.rates import BURST

TOKEN = "kestrel-over-the-9-hills"


@dataclass
class Request:
    """One that pauses an operation, and is right in every way."""

    operation: str
    method: str = "POST"
    path: str = "/pause"
    body: str = "{}"
    is_late: bool = False
    headers: dict[str, str] = field(
        default_factory=lambda: {
            "Host": "localhost",
            "Content-Type": "application/json",
            "Origin": "http://localhost",
            "Sec-Fetch-Site": "same-origin",
            "X-Launcher-Recovery": "1",
            "Authorization": f"Bearer {TOKEN}",
        }
    )


def header(name: str, value: str) -> Callable[[Request], object]:
    return lambda request: request.headers.update({name: value})


def without(name: str) -> Callable[[Request], object]:
    return lambda request: request.headers.pop(name)


def change(name: str, value: Any) -> Callable[[Request], object]:
    return lambda request: setattr(request, name, value)


FAULTS: list[tuple[str, tuple[int, str], Callable[[Request], object]]] = [
    ("host", (403, "forbidden_host"), header("Host", "evil.example")),
    ("route", (404, "not_found"), change("path", "/pause/nope")),
    ("method", (405, "method_not_allowed"), change("method", "PUT")),
    ("type", (415, "not_json"), header("Content-Type", "text/plain")),
    ("origin", (403, "forbidden"), header("Origin", "http://evil.example")),
    ("site", (403, "forbidden"), header("Sec-Fetch-Site", "cross-site")),
    ("header", (403, "forbidden"), without("X-Launcher-Recovery")),
    ("size", (413, "too_large"), lambda request: change("body", request.body + " " * MAX_BODY)(request)),
    ("token", (401, "token_needed"), header("Authorization", "Bearer wrong")),
    ("rate", (429, "too_many_requests"), change("is_late", True)),
    ("body", (422, "not_an_object"), lambda request: change("body", request.body.replace("{}", "[]"))(request)),
    ("lookup", (404, "unknown_operation"), change("operation", "nobody")),
    ("conflict", (409, "conflict"), change("operation", "ended")),
]
# What cannot be wrong in both ways.
ALIKE = {("route", "method"), ("lookup", "conflict")}
PAIRS = [pair for pair in itertools.combinations(FAULTS, 2) if (pair[0][0], pair[1][0]) not in ALIKE]


class Site:
    """A host with recovery, a token, and a clock that stands still."""

    def __init__(self) -> None:
        self.integrator = RecoveryIntegrator(
            RecoveryConfig(enabled=True, api_token=TOKEN), persistence=MemoryPersistence(), clock=VirtualClock()
        )
        app = Flask("host")
        init_app(app, self.integrator, None)
        self.client = app.test_client()

    def ask(self, *faults: Callable[[Request], object]) -> tuple[int, str | None]:
        lifecycle = self.integrator.lifecycle
        data = lifecycle.open("launcher_download", (), {"url": "http://h/m"}, kind="download", title="m")
        ended = lifecycle.open("launcher_download", (), {"url": "http://h/n"}, kind="download", title="n")
        lifecycle.cancel(ended.operation_id)
        request = Request(data.operation_id)
        for fault in faults:
            fault(request)
        for _ in range(BURST if request.is_late else 0):
            self.client.get("/api/recovery/health", headers={"Authorization": f"Bearer {TOKEN}"})
        operation = ended.operation_id if request.operation == "ended" else request.operation
        path = f"/api/recovery/operations/{operation}{request.path}"
        answer = self.client.open(path, method=request.method, data=request.body, headers=request.headers)
        error = answer.get_json().get("error")
        return answer.status_code, None if error is None else error["code"]


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.integrator.stop()


def test_a_request_that_is_right_is_answered(site: Site) -> None:
    assert site.ask() == (200, None)


@pytest.mark.parametrize(("name", "answer", "fault"), FAULTS, ids=[name for name, _, _ in FAULTS])
def test_each_fault_by_itself(site: Site, name: str, answer: tuple[int, str], fault: Callable[..., object]) -> None:
    assert site.ask(fault) == answer


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=[f"{a[0]}-{b[0]}" for a, b in PAIRS])
def test_of_two_faults_the_first_is_told(site: Site, first: Any, second: Any) -> None:
    assert site.ask(first[2], second[2]) == first[1]
