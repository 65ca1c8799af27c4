"""Live events reach a real Socket.IO client of a real server: in order, replayed when missed, and nobody else's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import socketio

from launcher_recovery.errors import StoreError
from launcher_recovery.web.live import bridge
from tests.live import Server
from tests.support import wait_for

ROOT = Path(__file__).parents[2]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("launcher_recovery.persistence.outbox._WAIT_S", 0.05)
    running = Server(tmp_path / "recovery.db")
    yield running
    running.close()


UPDATE = {
    "seq", "operation_id", "function_name", "kind", "project", "parent_id", "title", "state", "attempt", "max_attempts",
    "error", "category", "explanation", "fix", "next_attempt_at", "waiting_for", "progress", "timestamp", "resumable",
    "actions", "created_at",
}  # fmt: skip


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]])
def test_events_arrive_in_order_with_growing_numbers(server: Server, transports: list[str]) -> None:
    client = server.connect(*transports)
    data = server.run(failures=3)
    wait_for(lambda: client.of("recovery_completed"))
    updates = client.of("recovery_update")
    assert [item["state"] for item in updates] == [
        "pending",
        *("in_progress", "recovering", "in_progress", "recovering"),
        *("in_progress", "recovering", "in_progress", "success"),
    ]
    assert all(set(item) >= UPDATE for item in updates)
    waiting = updates[2]
    assert (waiting["operation_id"], waiting["kind"], waiting["project"]) == (data.operation_id, "download", "p")
    assert (waiting["title"], waiting["attempt"], waiting["max_attempts"]) == ("m.pt", 1, 8)
    assert (waiting["error"], waiting["category"]) == ("ConnectionResetError: broken", "network")
    assert (waiting["waiting_for"], waiting["actions"]) == ("backoff", ["pause", "retry", "cancel"])
    for name in ("next_attempt_at", "timestamp", "created_at"):
        assert datetime.fromisoformat(waiting[name]).tzinfo is not None
    (completed,) = client.of("recovery_completed")
    assert set(completed) == {
        "seq", "operation_id", "success", "final_state", "total_attempts", "duration", "timestamp",
    }  # fmt: skip
    assert (completed["success"], completed["final_state"], completed["total_attempts"]) == (True, "success", 4)
    assert completed["duration"] >= 0
    breakers = client.of("circuit_breaker_update")
    assert all(
        set(item) == {"seq", "scope", "operation_type", "state", "failure_count", "timeout_remaining", "timestamp"}
        for item in breakers
    )
    assert [item["state"] for item in breakers] == ["open", "half_open", "open", "half_open", "closed"]
    assert {(item["scope"], item["operation_type"]) for item in breakers} == {("h", "download")}
    numbers = [item["seq"] for _, item in client.events]
    assert numbers == sorted(set(numbers))
    assert numbers == [event.seq for event in server.integrator.persistence.events_since(0)]


def test_every_client_gets_everything_and_progress_carries_its_figures(server: Server) -> None:
    clients = [server.connect("websocket"), server.connect("polling")]
    server.run(progress=True)
    for client in clients:
        wait_for(lambda client=client: client.of("recovery_completed"))
        last = client.of("recovery_update")[-1]
        assert (last["state"], last["progress"]["done"], last["progress"]["total"]) == ("success", 1, 2)


def test_a_client_that_comes_back_gets_what_it_missed(server: Server) -> None:
    client = server.connect()
    server.run()
    wait_for(lambda: client.of("recovery_completed"))
    seen = client.events[-1][1]["seq"]
    client.leave()
    server.run(failures=1)
    again = server.connect()
    answer = again.subscribe({"since": seen})
    assert (set(answer), answer["reset"]) == ({"events", "seq", "reset"}, False)
    numbers = [item["data"]["seq"] for item in answer["events"]]
    assert numbers == list(range(seen + 1, answer["seq"] + 1))
    assert [item["event"] for item in answer["events"]] == ["recovery_update"] * 5 + ["recovery_completed"]
    # Exactly what those got who were there.
    everything = again.subscribe({"since": 0})["events"]
    assert [(item["event"], item["data"]) for item in everything[: len(client.events)]] == client.events
    assert again.subscribe({"since": answer["seq"]}) == {"events": [], "seq": answer["seq"], "reset": False}


def test_a_client_that_was_away_too_long_is_told_to_fetch_the_list(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.run()
    latest = server.integrator.persistence.event_range()[1]
    client = server.connect()
    reset = {"events": [], "seq": latest, "reset": True}
    for since in (latest + 1, -1, 10**30, -(10**30)):
        assert client.subscribe({"since": since}) == reset
    monkeypatch.setattr(bridge, "MAX_REPLAY", latest - 1)
    assert client.subscribe({"since": 0}) == reset
    assert client.subscribe({"since": 1})["reset"] is False
    monkeypatch.setattr(server.integrator.persistence, "event_range", lambda: (3, latest))
    assert client.subscribe({"since": 1}) == reset
    assert client.subscribe({"since": 2})["reset"] is False


@pytest.mark.parametrize("request_", [(), (None,), ({},), ("5",), (5,), ([],), ({"since": "5"},), ({"since": True},)])
def test_a_request_that_makes_no_sense_is_answered_with_a_sentence(server: Server, request_: tuple[Any, ...]) -> None:
    client = server.connect()
    assert client.subscribe(*request_) == {"error": 'subscribe_recovery needs {"since": number of the last event seen}'}


def test_a_store_that_fails_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> Any:
        raise StoreError("The disk is full.")

    client = server.connect()
    monkeypatch.setattr(server.integrator.persistence, "event_range", broken)
    assert client.subscribe({"since": 0}) == {"error": "The disk is full."}


WORKER = """
import sys
from launcher_recovery.lifecycle import Lifecycle
from launcher_recovery.operation import Operation
from launcher_recovery.persistence.sqlite import SQLitePersistence

store = SQLitePersistence(sys.argv[1])
lifecycle = Lifecycle(store, owner_id="worker")
data = lifecycle.open("launcher_download", (), {}, kind="download", title="from elsewhere")
live = Operation(lifecycle.begin_attempt(data.operation_id, 4), lifecycle, lifecycle.clock)
lifecycle.succeed(live, "done")
store.close()
print(data.operation_id)
"""


def test_events_of_another_process_arrive(server: Server) -> None:
    client = server.connect()
    script = [sys.executable, "-c", WORKER, str(server.path)]
    ended = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    wait_for(lambda: client.of("recovery_completed"))
    assert [item["state"] for item in client.of("recovery_update")] == ["pending", "in_progress", "success"]
    assert {data["operation_id"] for _, data in client.events} == {ended.stdout.strip()}
    server.run()
    wait_for(lambda: len(client.of("recovery_completed")) == 2)
    numbers = [data["seq"] for _, data in client.events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
    ],
)
def test_pages_of_other_sites_get_no_events(server: Server, transport: str, headers: dict[str, str]) -> None:
    with pytest.raises(socketio.exceptions.ConnectionError):
        server.connect(transport, **headers)


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_pages_of_this_site_get_events(server: Server, transport: str) -> None:
    client = server.connect(transport, Origin=server.url)
    server.run()
    wait_for(lambda: client.of("recovery_completed"))


def test_the_refusal_says_why(server: Server) -> None:
    path = f"{server.url}/socket.io/?EIO=4&transport=polling"
    asked: list[tuple[dict[str, str], str]] = [
        ({"Origin": "http://evil.example"}, "Live events are not given to pages of http://evil.example."),
        ({"Host": "evil.example"}, "The address 'evil.example' is not one of this server's names"),
    ]
    for headers, words in asked:
        answer = requests.get(path, headers=headers, timeout=20)
        assert answer.status_code == 403
        assert words in answer.json()["error"]["message"]


def test_a_client_that_hangs_up_does_not_disturb_the_others(server: Server) -> None:
    leaving, staying = server.connect(), server.connect()
    leaving.leave()
    server.run()
    wait_for(lambda: staying.of("recovery_completed"))
