"""What the API tells of the whole: health, metrics, figures, events, support files, and what tests find."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launcher_recovery import prometheus
from launcher_recovery.errors import StoreError
from launcher_recovery.owners import OWNER, introduce
from launcher_recovery.persistence.base import Owner
from launcher_recovery.selftest import scenarios
from launcher_recovery.selftest.results import Check, NotPassedError
from launcher_recovery.web.api.flights import single_flight
from launcher_recovery.web.api.views import testing
from tests.site import Site, error_of

# -- health and metrics -------------------------------------------------------------------------------


def test_health_tells_of_processes_disks_and_breakers(site: Site, tmp_path: Path) -> None:
    now = site.clock.time()
    site.store.heartbeat(replace(OWNER, about='{"role": "worker"}'), now)
    site.store.heartbeat(Owner("gone", OWNER.host, 999_999_999, "never"), now - 5)
    site.store.heartbeat(Owner("far", "another machine", 7, "x", about="no JSON"), now - 9)
    breaker = site.integrator.guards.breaker("h", "download")
    for _ in range(breaker.threshold):
        breaker.failure()
    body = site.get("/health").get_json()
    assert (body["persistence_healthy"], body["system_healthy"]) == (True, True)
    workers = {one["owner_id"]: one for one in body["workers"]}
    assert (workers[OWNER.owner_id]["role"], workers[OWNER.owner_id]["alive"]) == ("worker", True)
    assert (workers["gone"]["role"], workers["gone"]["alive"]) == ("process", False)
    assert (workers["far"]["host"], workers["far"]["alive"]) == ("another machine", True)
    assert [one["owner_id"] for one in body["workers"]] == [OWNER.owner_id, "gone", "far"]
    (disk,) = body["disk"]
    assert disk["path"] == str(tmp_path)
    assert 0 < disk["free"] <= disk["total"]
    assert disk["low"] is (disk["free"] < 2_000_000_000)
    git = next(one for one in body["extensions"] if one["name"] == "git")
    assert (git["package"], git["state"], git["hooks"]) == ("launcher-recovery", "loaded", ["recovery_operations"])
    (shown,) = body["circuit_breakers"]
    assert (shown["scope"], shown["state"], shown["failure_count"]) == ("h", "open", breaker.threshold)


def test_a_store_that_fails_is_503_with_all_the_rest(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise StoreError("The disk is full.")

    monkeypatch.setattr(site.store, "check", fail)
    answer = site.get("/health")
    assert error_of(answer) == (503, "store")
    error = answer.get_json()["error"]
    assert error["message"] == "The disk is full."
    assert error["params"]["persistence_healthy"] is False
    assert error["params"]["disk"]


def metrics_of(site: Site) -> dict[str, float]:
    answer = site.get("/metrics")
    assert answer.status_code == 200
    assert answer.mimetype == "text/plain"
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_metrics_count_what_there_is_with_labels_that_cannot_grow(site: Site) -> None:
    for state in ("failed", "recovering", "success", "pending"):
        site.in_state(state)
    for number in range(20):
        site.begin(f"{number}", kind=f"kind_{number}", project=f"project {number}")
    found = metrics_of(site)
    assert found['launcher_recovery_operations{state="failed"}'] == 1
    assert found['launcher_recovery_operations{state="pending"}'] == 21
    assert found['launcher_recovery_active_operations{kind="download"}'] == 2
    assert found['launcher_recovery_active_operations{kind="other"}'] == 20
    assert found["launcher_recovery_persistence_healthy"] == 1
    assert found['launcher_recovery_circuit_breakers{state="open"}'] == 0
    assert not any("project " in name or "kind_" in name for name in found)
    site.integrator.guards.breaker("h", "download")
    breaker = site.integrator.guards.breaker("h", "download")
    for _ in range(breaker.threshold):
        breaker.failure()
    more = metrics_of(site)
    assert more['launcher_recovery_circuit_breakers{state="open"}'] == 1
    assert len(more) == len(found)


def test_metrics_without_what_they_are_made_with_say_what_to_install(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "prometheus_client", None)
    with pytest.raises(prometheus.MetricsMissingError):
        prometheus.exposition(site.integrator)
    answer = site.get("/metrics")
    assert error_of(answer) == (503, "missing_dependency")
    assert "pip install 'launcher-recovery[metrics]'" in answer.get_json()["error"]["message"]


# -- events and figures -------------------------------------------------------------------------------


def test_events_after_a_number_the_latest_and_those_of_one_operation(site: Site) -> None:
    first, second = site.begin("a"), site.begin("b")
    site.lifecycle.cancel(first.operation_id)
    everything = site.get("/events").get_json()
    told = [(event["event"], event["data"].get("state")) for event in everything["events"]]
    assert told == [
        ("recovery_update", "pending"),
        ("recovery_update", "pending"),
        ("recovery_update", "cancelled"),
        ("recovery_completed", None),
    ]
    numbers = [event["seq"] for event in everything["events"]]
    assert (everything["seq"], everything["reset"]) == (numbers[-1], False)
    assert [event["seq"] for event in site.get(f"/events?since={numbers[1]}").get_json()["events"]] == numbers[2:]
    assert site.get("/events?limit=1").get_json()["events"][0]["seq"] == numbers[-1]
    one = site.get(f"/events?operation_id={second.operation_id}").get_json()["events"]
    assert [event["data"]["operation_id"] for event in one] == [second.operation_id]
    late = site.get(f"/events?operation_id={first.operation_id}&since={numbers[2]}").get_json()["events"]
    assert [event["event"] for event in late] == ["recovery_completed"]
    assert site.get(f"/events?since={numbers[-1]}").get_json()["events"] == []
    assert site.get(f"/events?since={numbers[-1] + 5}").get_json()["reset"] is True  # of another database
    assert error_of(site.get("/events?since=-1")) == (422, "bad_since")


def test_performance_has_what_was_done_and_what_answers_took(site: Site) -> None:
    data = site.begin()
    live = site.attempt(data)
    live.resume_at(0, 1000, "bytes")
    site.fail(live, live.data.state.__class__("recovering"), 0.0)
    again = site.attempt(data)
    again.resume_at(400, 1000, "bytes")
    site.lifecycle.succeed(again, "/models/m.pt")
    site.get("/status")
    body = site.get("/performance?hours=2").get_json()["performance"]
    assert body["totals"] == {"attempts": 2, "success_rate": 0.5, "bytes_resumed": 400.0}
    assert len(body["history"]) <= 48
    assert sum(span["attempts"] for span in body["history"]) == 2
    assert {span["bytes_resumed"] for span in body["history"]} == {0.0, 400.0}
    assert body["process"]["total_operations"] >= 1
    timing = body["process"]["api"]["status_status"]
    assert timing["requests"] == 1
    assert timing["p50_ms"] == timing["p99_ms"] > 0
    assert error_of(site.get("/performance?hours=0")) == (422, "bad_hours")


def test_figures_are_measured_and_judged(site: Site, tmp_path: Path) -> None:
    body = site.send("/performance/validate", {"seconds": 0.1}).get_json()
    found = {one["name"]: one for one in body["figures"]}
    assert set(found) == {"overhead", "state_write", "event_latency", "memory"}
    assert all(one["value"] > 0 and one["limit"] > 0 and one["meaning"] for one in found.values())
    assert body["valid"] is all(one["value"] <= one["limit"] for one in found.values())
    measured = site.send("/performance/benchmark", {"seconds": 0.1}).get_json()["figures"]
    assert {one["name"] for one in measured} == {
        "call", "durable_rate", "durable_p99", "list_p99", "event_p50", "event_p99",
    }  # fmt: skip
    assert all(one["value"] > 0 for one in measured)
    assert not [*(tmp_path / "data").glob(".recovery-figures-*")]
    for seconds in (0, 11, True, "much"):
        assert error_of(site.send("/performance/validate", {"seconds": seconds})) == (422, "bad_seconds")


def test_what_is_measured_and_tested_is_told_to_nobody(site: Site) -> None:
    before, counted = site.store.event_range(), site.integrator.metrics.as_dict()
    site.send("/performance/benchmark", {"seconds": 0.1})
    site.send("/testing/run", {"scenarios": ["dropped_connection", "restart"]})
    site.send("/test")
    assert site.store.event_range() == before
    assert site.integrator.metrics.as_dict() == counted
    assert site.get("/operations").get_json()["operations"] == []


def test_one_measures_at_a_time(site: Site) -> None:
    with single_flight():
        for path in ("/performance/validate", "/performance/benchmark", "/test", "/testing/run"):
            assert error_of(site.send(path)) == (409, "busy")
    assert site.send("/testing/run", {"scenarios": ["dead_host"]}).status_code == 200


# -- tests --------------------------------------------------------------------------------------------


def test_the_self_test_passes_and_finds_what_is_wrong(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    body = site.send("/test").get_json()
    names = ["persistence", "strategies", "classification", "circuit_breaker", "retry", "events"]
    assert [one["id"] for one in body["results"]] == names
    assert body["passed"] is True
    assert all(one["passed"] is True and one["detail"] and one["title"] for one in body["results"])

    def fail() -> None:
        raise StoreError("The disk is full.")

    monkeypatch.setattr(site.store, "check", fail)
    broken = site.send("/test").get_json()
    assert broken["passed"] is False
    assert [one["id"] for one in broken["results"] if one["passed"] is not True] == ["persistence"]
    assert broken["results"][0]["detail"] == "StoreError: The disk is full."


def test_scenarios_are_listed_and_run(site: Site) -> None:
    listed = site.get("/testing/scenarios").get_json()["scenarios"]
    assert [one["id"] for one in listed] == [one.id for one in scenarios.SCENARIOS]
    body = site.send(
        "/testing/run", {"scenarios": ["dropped_connection", "dead_host", "dropped_connection"]}
    ).get_json()
    assert [one["id"] for one in body["results"]] == ["dropped_connection", "dead_host"]
    assert body["passed"] is True
    assert body["results"][0]["detail"].startswith("3 attempts, ")
    unknown = site.send("/testing/run", {"scenarios": ["dead_host", "flood"]})
    assert error_of(unknown) == (422, "bad_scenarios")
    assert "There is no scenario flood: use dropped_connection, " in unknown.get_json()["error"]["message"]
    assert error_of(site.send("/testing/run", {"scenarios": []})) == (422, "bad_scenarios")


def test_what_a_scenario_finds_is_told_without_secrets(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(folder: Path) -> str:
        raise NotPassedError("It came from http://u:hunter2@h/x.")

    monkeypatch.setattr(testing, "SCENARIOS", (Check("one", "One", "It is one.", find),))
    body = site.send("/testing/run").get_json()
    assert body["passed"] is False
    assert "hunter2" not in json.dumps(body)


# -- support files ------------------------------------------------------------------------------------


def test_a_support_file_has_all_that_is_known_and_no_secret(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    site.integrator.recent.attach()
    failed = site.in_state("failed")
    site.begin("part.pt", parent_id=failed)
    site.lifecycle.amend(failed, {"note": "Bearer hunter2hunter2hunter2", "path": f"{tmp_path}/models/m.pt"})
    answer = site.get(f"/operations/{failed}/bundle")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="recovery-{failed}.json"'
    found: dict[str, Any] = json.loads(answer.text)
    assert found["operation"]["operation_id"] == failed
    assert found["operation"]["attempts"][0]["error_type"] == "ConnectionResetError"
    assert found["operation"]["metadata"]["path"] == "~/models/m.pt"
    assert [part["title"] for part in found["parts"]] == ["part.pt"]
    assert found["events"][-1]["event"] in ("recovery_update", "recovery_completed")
    assert {one["name"] for one in found["settings"]} >= {"max_retries", "api_token"}
    assert found["health"]["disk"][0]["path"] == "~"
    assert found["system"]["packages"]["flask"]
    assert any("gave up after attempt 1" in line for line in found["log"])
    assert "hunter2" not in answer.text
    assert str(tmp_path) not in answer.text
    assert error_of(site.get("/operations/nobody/bundle")) == (404, "unknown_operation")


def test_a_support_file_can_be_made_while_the_store_fails_in_part(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = site.in_state("failed")

    def fail() -> Any:
        raise StoreError("The disk is full.")

    monkeypatch.setattr(site.integrator.persistence, "counts", fail)
    found = json.loads(site.get(f"/operations/{failed}/bundle").text)
    assert found["status"] == {"error": "The disk is full."}
    assert found["health"]["persistence_healthy"] is False


def test_what_goes_wrong_in_a_view_is_json_and_in_the_log(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Any:
        raise RuntimeError("hunter2")

    monkeypatch.setattr(site.integrator, "status", fail)
    answer = site.get("/status")
    assert error_of(answer) == (500, "internal")
    assert "hunter2" not in answer.text
    assert "the API cannot answer GET /api/recovery/status" in caplog.text


def test_a_woven_process_that_introduced_itself_is_shown(site: Site) -> None:
    introduce(site.store, '{"role": "launcher"}')
    (worker,) = site.get("/health").get_json()["workers"]
    assert (worker["role"], worker["alive"], worker["pid"]) == ("launcher", True, OWNER.pid)
