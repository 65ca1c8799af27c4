"""The REST API and the page, on a real Flask app: what they answer, and whom they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_socketio import SocketIO
from werkzeug.test import TestResponse

from launcher_recovery import __version__, integration
from launcher_recovery.config import RecoveryConfig
from launcher_recovery.errors import StoreError
from launcher_recovery.integration import RecoveryIntegrator
from launcher_recovery.records import FINAL, RecoveryState
from launcher_recovery.web import init_app, pages
from launcher_recovery.web.security import MAX_BODY, HostNames, same_site
from sample_launcher.app import create_app
from tests.site import BASE, PAGE, SENT, Site, error_of

OPERATION = {
    "operation_id", "function_name", "kind", "key", "project", "parent_id", "title", "state", "attempt",
    "max_attempts", "error", "category", "explanation", "fix", "created_at", "updated_at", "next_attempt_at",
    "waiting_for", "progress", "metadata", "resumable", "actions",
}  # fmt: skip


# -- what it answers ----------------------------------------------------------------------------------


def test_status(site: Site) -> None:
    site.in_state("success")
    site.in_state("recovering")
    site.in_state("exhausted")
    site.integrator.report_problem("plugin", "It cannot be.")
    body = site.get("/status").get_json()
    assert body["success"] is True
    status = body["recovery"]
    expected = {
        "enabled": True,
        "mode": "recover",
        "persistence_enabled": True,
        "max_retries": 3,
        "circuit_breaker_threshold": 5,
        "active_operations": 1,
        "total_operations": 3,
        "recovered_operations": 0,
        "failed_operations": 1,
        "average_recovery_time": 0.0,
        "retry_attempts": 0,
        "problems": [{"code": "plugin", "message": "It cannot be."}],
        "breakers": [],
        "version": __version__,
        "seq": site.store.event_range()[1],
    }
    assert {name: status[name] for name in expected} == expected
    now = datetime.fromisoformat(status["now"])
    assert now.utcoffset() == timedelta(0)
    assert abs(now.timestamp() - site.clock.time()) < 1


def test_health(site: Site) -> None:
    # A problem that is none of the store's does not make it unhealthy.
    site.integrator.report_problem("plugin", "It cannot be.")
    answer = site.get("/health")
    body = answer.get_json()
    assert answer.status_code == 200
    assert {
        name: body[name] for name in ("persistence_healthy", "system_healthy", "active_operations", "problems")
    } == {
        "persistence_healthy": True,
        "system_healthy": True,
        "active_operations": 0,
        "problems": [{"code": "plugin", "message": "It cannot be."}],
    }


def test_operations_in_full(site: Site) -> None:
    site.begin("other.pt")
    data = site.begin("m.pt", parent_id="outer")
    live = site.attempt(data)
    live.resume_at(100, 1000, "bytes")
    site.clock.advance(1)
    live.progress(400, 1000, "bytes")
    site.clock.advance(1)
    live.progress(600, 1000, "bytes", "halfway")
    live.metadata["size"] = 1000
    live.save_metadata()
    running = site.get(f"/operations/{data.operation_id}").get_json()["operation"]["progress"]
    assert running["rate"] == pytest.approx(200, rel=0.05)
    assert running["eta_s"] == pytest.approx(2, rel=0.05)
    site.fail(live, RecoveryState.RECOVERING, 30)
    body = site.get("/operations").get_json()
    assert set(body) == {"success", "operations", "next", "seq", "now"}
    assert (body["success"], body["next"]) == (True, None)
    assert body["seq"] == site.store.event_range()[1]
    shown, other = body["operations"]
    assert set(shown) >= OPERATION
    assert (other["title"], other["state"], other["progress"], other["actions"]) == (
        "other.pt", "pending", None, ["pause", "cancel"],
    )  # fmt: skip
    progress = shown.pop("progress")
    assert (progress["done"], progress["total"], progress["unit"]) == (600, 1000, "bytes")
    assert (progress["resumed"], progress["message"]) == (100, "halfway")
    assert (progress["rate"], progress["eta_s"]) == (None, None)  # nothing moves while it waits
    due, created = (datetime.fromisoformat(shown[name]) for name in ("next_attempt_at", "created_at"))
    assert 32 <= (due - created).total_seconds() < 33
    expected = {
        "operation_id": data.operation_id,
        "function_name": "launcher_download",
        "kind": "download",
        "key": "download:m.pt",
        "project": "p",
        "parent_id": "outer",
        "title": "m.pt",
        "state": "recovering",
        "attempt": 1,
        "max_attempts": 4,
        "error": "ConnectionResetError: broken by http://h/",
        "category": "network",
        "explanation": "The connection to h broke off.",
        "fix": "check_connection",
        "waiting_for": "backoff",
        "metadata": {"size": 1000},
        "resumable": True,
        "actions": ["pause", "retry", "cancel"],
    }
    assert {name: shown[name] for name in expected} == expected


def test_one_operation_with_its_history(site: Site) -> None:
    data = site.begin()
    live = site.attempt(data)
    live.step("clone", lambda: "done")
    site.fail(live, RecoveryState.RECOVERING, 30)
    site.lifecycle.succeed(site.attempt(data), "/models/m.pt")
    body = site.get(f"/operations/{data.operation_id}").get_json()
    assert set(body) == {"success", "operation", "seq", "now"}
    shown = body["operation"]
    assert OPERATION | {"attempts", "steps", "events"} <= set(shown)
    assert (shown["state"], shown["attempt"], shown["error"], shown["actions"]) == ("success", 2, None, [])
    first, second = shown["attempts"]
    times = {"started_at", "ended_at", "delay_s"}
    assert set(first) == {"number", "outcome", "category", "error", "error_type", "traceback", "resumed", *times}
    assert first["error_type"] == "ConnectionResetError"
    assert (first["number"], first["outcome"], first["category"], first["delay_s"]) == (1, "failed", "network", 30)
    assert (second["number"], second["outcome"], second["error"]) == (2, "success", None)
    assert first["started_at"] < first["ended_at"] < second["started_at"] < second["ended_at"]
    assert [step["name"] for step in shown["steps"]] == ["clone"]
    assert [event["data"].get("state", event["event"]) for event in shown["events"]] == [
        "pending", "in_progress", "recovering", "in_progress", "success", "recovery_completed",
    ]  # fmt: skip
    numbers = [event["seq"] for event in shown["events"]]
    assert numbers == sorted(set(numbers))


def test_advice_for_an_operation_in_the_language_that_is_asked_for(site: Site) -> None:
    operation_id = site.in_state("failed")
    for query, language, title in (
        ("", "en", "Check the connection"),
        ("?language=zh-CN", "zh", "检查网络连接"),
        ("?language=fr", "en", "Check the connection"),
    ):
        body = site.get(f"/operations/{operation_id}/advice{query}").get_json()
        assert set(body) == {"success", "advice", "language"}
        assert body["language"] == language
        assert (body["advice"][0]["fix"], body["advice"][0]["title"]) == ("check_connection", title)
        assert set(body["advice"][0]) == {"fix", "title", "text"}
    assert site.get(f"/operations/{site.in_state('success')}/advice").get_json()["advice"] == []
    assert error_of(site.get("/operations/nope/advice")) == (404, "unknown_operation")
    assert error_of(site.get(f"/operations/{operation_id}/advice?language=../x")) == (422, "bad_language")


@pytest.mark.parametrize("path", ["/operations", "/operations/{}"])
def test_what_happens_while_it_is_read_has_a_number_above_that_of_the_answer(
    site: Site, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    data = site.begin()
    read = site.store.attempts if "{}" in path else site.store.find

    def slowly(*arguments: Any, **options: Any) -> Any:
        found = read(*arguments, **options)
        monkeypatch.undo()
        site.lifecycle.pause(data.operation_id)
        return found

    monkeypatch.setattr(site.store, read.__name__, slowly)
    body = site.get(path.format(data.operation_id)).get_json()
    assert [event.payload["state"] for event in site.store.events_since(body["seq"], 10)] == ["paused"]


@pytest.mark.parametrize("standing", [False, True])
def test_pages_have_every_operation_once_also_when_new_ones_come_between(site: Site, standing: bool) -> None:
    now = site.clock.time()
    if standing:  # hundreds in one moment
        site.clock.__dict__["time"] = lambda: now
    for number in range(450):
        site.begin(f"{number}.pt")
    seen: list[str] = []
    sizes: list[int] = []
    cursor: str | None = None
    while True:
        page = site.get("/operations", query_string={"limit": 70, **({"before": cursor} if cursor else {})}).get_json()
        seen += [item["title"] for item in page["operations"]]
        sizes.append(len(page["operations"]))
        cursor = page["next"]
        if cursor is None:
            break
        if not standing:
            site.begin(f"new{len(seen)}.pt")
    assert sizes == [70] * 6 + [30]
    assert sorted(seen) == sorted(f"{number}.pt" for number in range(450))
    if not standing:
        assert seen == [f"{number}.pt" for number in reversed(range(450))]


def test_pages_end_exactly(site: Site) -> None:
    for number in range(60):
        site.begin(f"{number}.pt")
    assert len(site.get("/operations").get_json()["operations"]) == 50
    whole = site.get("/operations?limit=60").get_json()
    assert (len(whole["operations"]), whole["next"]) == (60, None)
    assert len(site.get("/operations?limit=200").get_json()["operations"]) == 60


def test_filters(site: Site) -> None:
    for state in ("pending", "paused", "success", "failed", "cancelled"):
        site.in_state(state)
    site.begin("node", kind="install_node", project="q")

    def titles(query: str) -> set[str]:
        return {item["title"].removesuffix(".pt") for item in site.get(f"/operations?{query}").get_json()["operations"]}

    assert titles("state=paused") == {"paused"}
    assert titles("state=paused,failed") == titles("state=paused&state=failed") == {"paused", "failed"}
    assert titles("state=pending") == {"pending", "node"}
    assert titles("state=") == titles("") == {"pending", "paused", "success", "failed", "cancelled", "node"}
    assert titles("kind=install_node") == titles("project=q") == {"node"}
    assert titles("kind=install_node&state=paused") == titles("kind=mine") == titles("project=nobody") == set()
    assert titles("project=p&state=pending") == {"pending"}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "bad_limit"),
        ("limit=201", "bad_limit"),
        ("limit=-1", "bad_limit"),
        ("limit=", "bad_limit"),
        ("limit=1.5", "bad_limit"),
        ("limit=" + "9" * 5000, "bad_limit"),
        ("state=done", "bad_state"),
        ("state=paused,Failed", "bad_state"),
        ("kind=no-kind", "bad_kind"),
        ("kind=", "bad_kind"),
        ("before=", "bad_before"),
        ("before=abc", "bad_before"),
        ("before=%C3%A4", "bad_before"),
        ("before=e30=", "bad_before"),
        ("before=WzFd", "bad_before"),
        ("before=WyJ4IiwgInkiXQ==", "bad_before"),
        ("before=" + "W1tb" * 4000, "bad_before"),
        ("before=WzE" + "wMDAw" * 100 + "LCAieCJd", "bad_before"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused_with_a_sentence(site: Site, query: str, code: str) -> None:
    assert error_of(site.get(f"/operations?{query}")) == (422, code)


CONTROLS = {
    "pause": {"pending": "paused", "in_progress": "paused", "recovering": "paused", "paused": "paused"},
    "resume": {state: state for state in ("pending", "in_progress", "recovering")} | {"paused": "pending"},
    "cancel": dict.fromkeys(("pending", "in_progress", "recovering", "paused", "cancelled"), "cancelled"),
    "retry": dict.fromkeys(("failed", "exhausted", "cancelled"), "pending")
    | {"recovering": "recovering", "pending": "pending"},
}


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("state", [state.value for state in RecoveryState])
def test_every_control_in_every_state(site: Site, control: str, state: str) -> None:
    operation_id = site.in_state(state)
    before = site.store.get(operation_id)
    answer = site.post(f"/operations/{operation_id}/{control}")
    after = site.store.get(operation_id)
    assert before is not None
    assert after is not None
    if state not in CONTROLS[control]:
        assert error_of(answer) == (409, "conflict")
        assert answer.get_json()["error"]["params"] == {"state": state}
        assert after == before or replace(after, error=None) == replace(before, error=None)
        return
    body = answer.get_json()
    assert (answer.status_code, body["success"]) == (200, True)
    assert after.state.value == CONTROLS[control][state] == body["operation"]["state"]
    assert set(body["operation"]) >= OPERATION
    assert body["message"].startswith(f"{state}.pt ")
    if control == "retry":
        assert body["retry_id"] == operation_id
        if state == "recovering":
            assert after.next_attempt_at is not None
            assert after.next_attempt_at.timestamp() <= site.clock.time()


def test_the_actions_that_are_shown_are_legal_and_a_control_reaches_the_parts(site: Site) -> None:
    for state in RecoveryState:
        shown = site.get(f"/operations/{site.in_state(state.value)}").get_json()["operation"]
        assert all(state.value in CONTROLS[action] for action in shown["actions"])
    outer = site.begin("outer")
    part = site.begin("part", parent_id=outer.operation_id)
    site.post(f"/operations/{outer.operation_id}/pause")
    assert site.get(f"/operations/{part.operation_id}").get_json()["operation"]["state"] == "paused"


@pytest.mark.parametrize("state", [state.value for state in RecoveryState])
def test_the_priority_can_be_set_until_it_is_over(site: Site, state: str) -> None:
    operation_id = site.in_state(state)
    part = site.begin("part", parent_id=operation_id)
    answer = site.post(f"/operations/{operation_id}/priority", '{"priority": -7}')
    if RecoveryState(state) in FINAL:
        assert error_of(answer) == (409, "conflict")
        assert answer.get_json()["error"]["params"] == {"state": state}
        return
    body = answer.get_json()
    assert (answer.status_code, body["success"]) == (200, True)
    assert body["message"] == f"{state}.pt has the priority -7 now."
    assert set(body["operation"]) >= OPERATION
    assert body["operation"]["state"] == state
    for one in (operation_id, part.operation_id):
        assert site.get(f"/operations/{one}").get_json()["operation"]["metadata"]["priority"] == -7


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("{}", "priority is missing: "),
        ("", "priority is missing: "),
        ('{"priority": "5"}', 'priority="5" is not usable: '),
        ('{"priority": 1.5}', "priority=1.5 is not usable: "),
        ('{"priority": true}', "priority=true is not usable: "),
        ('{"priority": null}', "priority=null is not usable: "),
        ('{"priority": 1000001}', "priority=1000001 is not usable: "),
        (f'{{"priority": {"9" * 4000}}}', f"priority={'9' * 20} is not usable: "),
    ],
)
def test_a_priority_that_is_none_is_refused_with_a_sentence(site: Site, body: str, shown: str) -> None:
    operation_id = site.in_state("pending")
    for path in (f"/operations/{operation_id}/priority", "/operations/nobody/priority"):
        answer = site.post(path, body)
        assert error_of(answer) == (422, "bad_priority")
        assert answer.get_json()["error"]["message"] == (
            f"{shown}it must be a whole number from -1000000 to 1000000, and the higher goes first."
        )
    assert site.get(f"/operations/{operation_id}").get_json()["operation"]["metadata"] == {}


def test_what_cannot_be_run_from_its_record_says_where_to_start_it(site: Site) -> None:
    data = site.lifecycle.open("launcher_download", (), {"url": "http://h/x?token=1"}, kind="download", title="x")
    site.lifecycle.cancel(data.operation_id)
    answer = site.post(f"/operations/{data.operation_id}/retry")
    assert error_of(answer) == (409, "conflict")
    assert "start it again where it was started first" in answer.get_json()["error"]["message"]
    assert site.get(f"/operations/{data.operation_id}").get_json()["operation"]["actions"] == []


# -- what it refuses ----------------------------------------------------------------------------------


def test_an_unknown_operation_is_404(site: Site) -> None:
    assert error_of(site.get("/operations/nobody")) == (404, "unknown_operation")
    for control in (*CONTROLS, "priority"):
        body = '{"priority": 1}' if control == "priority" else "{}"
        answer = site.post(f"/operations/{'x' * 500}/{control}", body)
        assert error_of(answer) == (404, "unknown_operation")
        assert answer.get_json()["error"]["params"] == {"operation_id": "x" * 64}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/", "/nope", "/status/", "/operations/x/nope", "/operations/x/retry/y", "/a/b/c/d"])
def test_an_unknown_path_is_404_in_json_whatever_the_host_makes_of_404(site: Site, path: str, method: str) -> None:
    assert site.client.get("/nope").get_data(as_text=True) == PAGE
    assert error_of(site.client.open(BASE + path, method=method)) == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "method", "allow"),
    [
        ("/status", "POST", "GET"),
        ("/status", "DELETE", "GET"),
        ("/health", "PUT", "GET"),
        ("/operations", "POST", "GET"),
        ("/operations/x", "DELETE", "GET"),
        ("/operations/x/retry", "GET", "POST"),
        ("/operations/x/pause", "PATCH", "POST"),
        ("/operations/x/priority", "GET", "POST"),
        ("/operations/x/pause", "TRACE", "POST"),
        ("/status", "BREW", "GET"),
    ],
)
def test_a_known_path_with_another_method_is_405_and_says_which(site: Site, path: str, method: str, allow: str) -> None:
    answer = site.client.open(BASE + path, method=method)
    assert error_of(answer) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == allow
    assert f"takes {allow}, not {method}" in answer.get_json()["error"]["message"]


def test_unusual_methods_of_the_host_are_the_hosts_and_a_rebound_name_is_refused_first(site: Site) -> None:
    site.app.add_url_rule("/own", view_func=lambda: "own")
    assert site.client.open("/own", method="BREW").get_data(as_text=True) == PAGE
    answer = site.client.open(BASE + "/status", method="BREW", headers={"Host": "evil.example"})
    assert error_of(answer) == (403, "forbidden_host")


def test_bodies(site: Site) -> None:
    path = f"/operations/{site.in_state('failed')}/pause"
    for body in ("{", "nope", "[1", "\x00", "[" * 50_000):
        assert error_of(site.post(path, body)) == (400, "malformed_json")
    for body in ("[]", "1", "null", '"x"', "true"):
        assert error_of(site.post(path, body)) == (422, "not_an_object")
    for body in ("", "  ", "{}"):
        assert error_of(site.post(path, body)) == (409, "conflict")
    assert error_of(site.post(path, '{"anything": 1}')) == (422, "unknown_field")


def test_content_types(site: Site) -> None:
    path = f"/operations/{site.in_state('failed')}/pause"
    for kind in ("", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "text/json"):
        assert error_of(site.post(path, Content_Type=kind)) == (415, "not_json")
    for kind in ("application/json", "Application/JSON; charset=utf-8"):
        assert error_of(site.post(path, Content_Type=kind)) == (409, "conflict")


def test_a_body_that_is_too_large_or_of_unknown_length(site: Site) -> None:
    path = f"/operations/{site.in_state('failed')}/pause"
    largest = "{" + " " * (MAX_BODY - 2) + "}"
    assert len(largest) == MAX_BODY
    assert error_of(site.post(path, largest)) == (409, "conflict")
    assert error_of(site.post(path, largest + " ")) == (413, "too_large")
    site.app.config["MAX_CONTENT_LENGTH"] = 10
    assert error_of(site.post(path, "{" + " " * 20 + "}")) == (413, "request_entity_too_large")
    chunked = site.client.post(
        BASE + path,
        headers={**SENT, "Content-Type": "application/json", "Transfer-Encoding": "chunked"},
        environ_overrides={"CONTENT_LENGTH": ""},
    )
    assert error_of(chunked) == (413, "too_large")


FOREIGN_HOSTS = ["evil.example", "evil.example:5000", "127.0.0.1.evil.example", "localhost.evil.example", "0x7f.1"]
OWN_HOSTS = [
    "localhost", "localhost:5000", "LOCALHOST:1", "localhost.", "127.0.0.1:4000", "192.168.1.5", "[::1]:5000",
    "models.localhost", "my-box.lan",
]  # fmt: skip


@pytest.mark.parametrize("path", [BASE + "/status", BASE + "/nope", "/recovery/", "/recovery/banner.js"])
def test_a_rebound_name_is_refused_everywhere_and_the_servers_own_names_are_not(path: str) -> None:
    site = Site(allowed_hosts=("My-Box.lan",))
    for host in FOREIGN_HOSTS:
        answer = site.client.get(path, headers={"Host": host})
        assert answer.status_code == 403
        assert host.split(":")[0] in answer.get_data(as_text=True)
        assert "RECOVERY_ALLOWED_HOSTS" in answer.get_data(as_text=True)
        if path.startswith(BASE):
            assert error_of(answer) == (403, "forbidden_host")
    for host in OWN_HOSTS:
        answer = site.client.get(path, headers={"Host": host})
        assert answer.status_code == (404 if "nope" in path else 200)
        answer.close()
    # What is not the plugin's is not its business.
    assert site.client.get("/", headers={"Host": "evil.example"}).get_data(as_text=True) == PAGE
    site.integrator.stop()


@pytest.mark.parametrize("host", ["", "[", "[::1", ":5000", "evil@evil.example"])
def test_a_host_that_is_none_is_not_accepted(host: str) -> None:
    assert not HostNames().accepts(host)
    assert not same_site("http://localhost", host)


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_socket_io_refuses_a_rebound_name(site: Site, host: str) -> None:
    path = "/socket.io/?EIO=4&transport=polling"
    answer = site.client.get(path, headers={"Host": host, "Origin": f"http://{host}"})
    assert answer.status_code == 403
    assert answer.get_json()["error"]["code"] == "forbidden"
    assert site.client.get(path, headers={"Host": "localhost"}).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
        ("http://localhost.evil.example", 403),
        ("http://localhost", 200),
        ("http://localhost:9999", 200),
        ("https://localhost", 200),
    ],
)
def test_socket_io_and_controls_are_for_pages_of_this_site(site: Site, origin: str, status: int) -> None:
    headers = {"Host": "localhost:5000", "Origin": origin}
    answer = site.client.get("/socket.io/?EIO=4&transport=polling", headers=headers)
    # Beyond ours, Socket.IO has a check of its own, which wants equal ports.
    assert answer.status_code in ((403,) if status == 403 else (200, 400))
    path = f"/operations/{site.in_state('pending')}/pause"
    answer = site.post(path, **headers)
    assert answer.status_code == status
    if status == 403:
        assert error_of(answer) == (403, "forbidden")
        assert "only this server's own pages may change something" in answer.get_json()["error"]["message"]


def test_socket_io_is_guarded_where_it_is(tmp_path: Path) -> None:
    app = Flask("host")
    socketio = SocketIO(app, async_mode="threading", path="/live/events")
    integrator = RecoveryIntegrator(RecoveryConfig(persistence_enabled=False))
    init_app(app, integrator, socketio)
    client = app.test_client()
    path = "/live/events/?EIO=4&transport=polling"
    assert client.get(path, headers={"Host": "evil.example"}).status_code == 403
    assert client.get(path, headers={"Host": "localhost"}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 200),
        ({"Sec_Fetch_Site": "none"}, 200),
        ({"X_Launcher_Recovery": ""}, 403),
        ({"X_Launcher_Recovery": "0"}, 403),
        ({"X_Launcher_Recovery": "", "Origin": "http://localhost", "Sec_Fetch_Site": "same-origin"}, 403),
        ({"Origin": "http://localhost:1234", "Sec_Fetch_Site": "same-origin"}, 200),
        ({}, 200),
    ],
)
def test_who_may_change_something(site: Site, headers: dict[str, str], status: int) -> None:
    operation_id = site.in_state("pending")
    answer = site.post(f"/operations/{operation_id}/pause", **headers)
    assert answer.status_code == status
    data = site.store.get(operation_id)
    assert data is not None
    assert data.state.value == ("paused" if status == 200 else "pending")


def test_reading_needs_no_header_and_is_not_cached(site: Site) -> None:
    answer = site.get("/operations", headers={"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert site.client.head(BASE + "/status").status_code == 200


def test_of_several_faults_the_first_in_order_is_told(site: Site) -> None:
    """Host, route, content type, origin, header, size, body, lookup, conflict."""
    request: dict[str, Any] = {
        "path": "/operations/nobody/nope", "method": "POST", "body": "x" * (MAX_BODY + 1), "Host": "evil.example",
        "Content-Type": "text/plain", "Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site",
    }  # fmt: skip
    mended: list[tuple[dict[str, Any], tuple[int, str], str]] = [
        ({}, (403, "forbidden_host"), "evil.example"),
        ({"Host": "localhost"}, (404, "not_found"), "nope"),
        ({"path": "/operations/nobody/pause", "method": "PUT"}, (405, "method_not_allowed"), "PUT"),
        ({"method": "POST"}, (415, "not_json"), "text/plain"),
        ({"Content-Type": "application/json"}, (403, "forbidden"), "http://evil.example"),
        ({"Origin": "http://localhost"}, (403, "forbidden"), "another site"),
        ({"Sec-Fetch-Site": "same-origin"}, (403, "forbidden"), "X-Launcher-Recovery"),
        ({"X-Launcher-Recovery": "1"}, (413, "too_large"), str(MAX_BODY)),
        ({"body": "{"}, (400, "malformed_json"), "not JSON"),
        ({"body": "[]"}, (422, "not_an_object"), "JSON object"),
        ({"body": "{}"}, (404, "unknown_operation"), "nobody"),
        ({"path": f"/operations/{site.in_state('success')}/pause"}, (409, "conflict"), "success"),
    ]
    for change, expected, words in mended:
        request.update(change)
        headers = {name: value for name, value in request.items() if name[0].isupper()}
        path = BASE + request["path"]
        answer = site.client.open(path, method=request["method"], data=request["body"], headers=headers)
        assert error_of(answer) == expected
        assert words in answer.get_json()["error"]["message"]


# -- the page -----------------------------------------------------------------------------------------


def test_the_page_and_its_files_have_their_types_and_a_strict_policy(site: Site) -> None:
    entries = json.loads((Path(pages.__file__).parent / "static" / "manifest.json").read_text())
    for path, kind, kept in (
        ("", "text/html", "no-cache"),
        ("banner.js", "text/javascript", "no-cache"),
        ("LICENSES.txt", "text/plain", "no-cache"),
        (entries["style"]["file"], "text/css", "public, max-age=31536000, immutable"),
        (entries["recovery"]["file"], "text/javascript", "public, max-age=31536000, immutable"),
    ):
        answer = site.client.get(f"/recovery/{path}")
        assert (answer.status_code, answer.mimetype) == (200, kind)
        assert answer.headers["Cache-Control"] == kept
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        answer.close()
    for name in ("nope.js", "..%2f..%2fapi.py", "__init__.py", "index"):
        assert site.client.get(f"/recovery/assets/{name}").get_data(as_text=True) == PAGE


# -- the store ----------------------------------------------------------------------------------------


def test_a_store_that_fails_is_503_with_its_sentence(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise StoreError("The disk is full.")

    operation_id = site.in_state("pending")
    for name in ("counts", "check", "find", "get", "change"):
        monkeypatch.setattr(site.integrator.persistence, name, broken)
    calls: list[Callable[[], TestResponse]] = [
        lambda: site.get("/status"),
        lambda: site.get("/health"),
        lambda: site.get("/operations"),
        lambda: site.get(f"/operations/{operation_id}"),
        lambda: site.post(f"/operations/{operation_id}/cancel"),
        lambda: site.post(f"/operations/{operation_id}/retry"),
        lambda: site.post(f"/operations/{operation_id}/priority", '{"priority": 1}'),
    ]
    for call in calls:
        answer = call()
        assert error_of(answer) == (503, "store")
        assert answer.get_json()["error"]["message"] == "The disk is full."


def launcher(folder: Path, plugins: bool = True, **settings: Any) -> Flask:
    given = {f"RECOVERY_{name.upper()}": value for name, value in settings.items()}
    return create_app(folder, given, load_plugins=plugins).app


@pytest.fixture
def clean_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No settings of the machine, and whatever a launcher attached is stopped."""
    for name in ("ENABLED", "MODE", "CONFIG", "ALLOWED_HOSTS"):
        monkeypatch.delenv(f"RECOVERY_{name}", raising=False)
    monkeypatch.setenv("RECOVERY_PERSISTENCE_PATH", str(tmp_path / "recovery.db"))
    yield
    if integration._integrator is not None:
        integration._integrator.stop()
    integration.set_recovery_integrator(None)


@pytest.mark.usefixtures("clean_process")
def test_a_database_that_is_none_is_told_and_left_untouched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_bytes(b"Dear all, this is no database.")
    monkeypatch.setenv("RECOVERY_PERSISTENCE_PATH", str(letter))
    client = launcher(tmp_path / "data", enabled=True).test_client()
    status = client.get(BASE + "/status").get_json()["recovery"]
    (problem,) = status["problems"]
    assert problem["code"] == "store"
    assert f"{letter} is not a SQLite database, it was left as it is" in problem["message"]
    assert (status["enabled"], status["persistence_enabled"]) == (True, False)
    health = client.get(BASE + "/health")
    assert error_of(health) == (503, "store")
    assert health.get_json()["error"]["message"] == problem["message"]
    assert client.get(BASE + "/operations").get_json()["operations"] == []
    assert letter.read_bytes() == b"Dear all, this is no database."
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "letter.txt"]


@pytest.mark.usefixtures("clean_process")
def test_a_store_in_memory_by_choice_is_healthy(tmp_path: Path) -> None:
    client = launcher(tmp_path / "data", enabled=True, persistence_enabled=False).test_client()
    assert client.get(BASE + "/health").status_code == 200
    assert client.get(BASE + "/status").get_json()["recovery"]["persistence_enabled"] is False
    assert not (tmp_path / "recovery.db").exists()


REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/", {}),
    ("GET", "/nope", {}),
    ("GET", "/static/style.css", {}),
    ("GET", "/api/projects", {}),
    ("GET", "/api/projects/nobody", {}),
    ("POST", "/api/projects", {"data": "{", "headers": {"Content-Type": "application/json"}}),
    ("POST", "/api/projects", {"data": "x"}),
    ("DELETE", "/api/projects/nobody", {}),
    ("GET", "/", {"headers": {"Host": "evil.example"}}),
    ("GET", "/socket.io/?EIO=4&transport=nope", {"headers": {"Host": "evil.example"}}),
    ("POST", "/socket.io/?EIO=4&transport=polling&sid=nobody", {"headers": {"Origin": "http://evil.example"}}),
]
RECOVERY = [("GET", f"{BASE}/status", {}), ("GET", "/recovery/", {}), ("PUT", f"{BASE}/x", {})]


def answers(app: Flask, requests: list[tuple[str, str, dict[str, Any]]]) -> list[Any]:
    """Status, headers and body of each answer."""
    client = app.test_client()
    found = []
    for method, path, options in requests:
        answer = client.open(path, method=method, **options)
        headers = sorted((name, value) for name, value in answer.headers.items() if name != "Date")
        found.append((answer.status_code, headers, answer.get_data()))
        answer.close()
    return found


@pytest.mark.usefixtures("clean_process")
def test_off_not_one_byte_of_the_launcher_differs(tmp_path: Path) -> None:
    bare = answers(launcher(tmp_path / "data", plugins=False), REQUESTS + RECOVERY)
    assert answers(launcher(tmp_path / "data"), REQUESTS + RECOVERY) == bare
    assert answers(launcher(tmp_path / "data", enabled="0"), REQUESTS + RECOVERY) == bare
    assert not (tmp_path / "recovery.db").exists()


@pytest.mark.usefixtures("clean_process")
def test_on_the_launchers_own_routes_answer_as_before(tmp_path: Path) -> None:
    own = [one for one in REQUESTS if not one[1].startswith("/socket.io/") and one[1] != "/"]
    bare = answers(launcher(tmp_path / "data", plugins=False), own)
    app = launcher(tmp_path / "data", enabled=True)
    assert answers(app, own) == bare
    assert app.test_client().get(BASE + "/status").get_json()["recovery"]["enabled"] is True


def test_a_project_whose_id_has_a_secret_in_it_is_kept_without_and_found_by_what_people_know(site: Site) -> None:
    given = "https://ann:hunter2-and-more@git.example/project"
    data = site.begin("secret.pt", project=given)
    assert data.project == "https://git.example/project"
    for asked in (given, data.project):
        (found,) = site.get("/operations", query_string={"project": asked}).get_json()["operations"]
        assert (found["operation_id"], found["project"]) == (data.operation_id, data.project)
    cancelled = site.send("/operations/cancel", {"filter": {"project": given}}).get_json()
    assert cancelled["changed"] == [data.operation_id]
