"""Controls of many operations at once, and how an operation is tried again."""

from __future__ import annotations

from typing import Any

import pytest

from launcher_recovery.breaker import CircuitState
from launcher_recovery.records import RecoveryState, given_attempts_of
from tests.site import Site, error_of


def state_of(site: Site, operation_id: str) -> str:
    data = site.store.get(operation_id)
    assert data is not None
    return data.state.value


def test_all_that_failed_is_tried_again_and_nothing_else(site: Site) -> None:
    ids = {state.value: site.in_state(state.value) for state in RecoveryState}
    body = site.send("/operations/retry", {"filter": {"state": ["failed", "exhausted"]}}).get_json()
    assert set(body["changed"]) == {ids["failed"], ids["exhausted"]}
    assert (body["refused"], body["more"]) == ([], False)
    assert body["message"] == "2 operations were tried again."
    now = {name: state_of(site, one) for name, one in ids.items()}
    assert now == {**{name: name for name in ids}, "failed": "pending", "exhausted": "pending"}


def test_only_those_for_which_it_is_legal_are_changed(site: Site) -> None:
    ids = {state.value: site.in_state(state.value) for state in RecoveryState}
    paused = site.send("/operations/pause", {"filter": {}}).get_json()
    assert set(paused["changed"]) == {ids[name] for name in ("pending", "in_progress", "recovering")}
    assert paused["refused"] == []
    resumed = site.send("/operations/resume", {"filter": {"state": ["paused"]}}).get_json()
    assert set(resumed["changed"]) == {ids[name] for name in ("pending", "in_progress", "recovering", "paused")}
    cancelled = site.send("/operations/cancel", {"filter": {"text": "PAUSED.PT", "kind": "download"}}).get_json()
    assert cancelled["changed"] == [ids["paused"]]
    assert cancelled["message"] == "1 operation was cancelled."


def test_of_named_ones_it_is_told_which_could_not_be_changed(site: Site) -> None:
    failed, done = site.in_state("failed"), site.in_state("success")
    body = site.send("/operations/retry", {"operation_ids": [failed, done, failed, "nobody"]}).get_json()
    assert body["changed"] == [failed]
    assert [one["operation_id"] for one in body["refused"]] == [done, "nobody"]
    assert "success.pt" in body["refused"][0]["message"]
    assert body["refused"][1]["message"] == "there is no operation nobody."
    assert body["message"] == "1 operation was tried again, 2 could not be."


def test_two_hundred_are_changed_at_once_and_the_rest_with_the_next_request(site: Site) -> None:
    for number in range(205):
        site.begin(f"{number}.pt")
    first = site.send("/operations/cancel", {"filter": {"state": ["pending"]}}).get_json()
    assert (len(first["changed"]), first["more"]) == (200, True)
    assert first["message"] == "200 operations were cancelled; there are more, so do it once more."
    second = site.send("/operations/cancel", {"filter": {"state": ["pending"]}}).get_json()
    assert (len(second["changed"]), second["more"]) == (5, False)


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ({}, "bad_filter", "one of them, and not both"),
        ({"filter": {}, "operation_ids": ["a"]}, "bad_filter", "one of them, and not both"),
        ({"operation_ids": []}, "bad_operation_ids", "a list of 1 to 200 ids of operations"),
        ({"operation_ids": ["a"] * 201}, "bad_operation_ids", "a list of 1 to 200 ids of operations"),
        ({"operation_ids": "a"}, "bad_operation_ids", "a list of 1 to 200 ids of operations"),
        ({"filter": {"state": ["done"]}}, "bad_filter", "an object with some of state"),
        ({"filter": {"colour": "red"}}, "bad_filter", "an object with some of state"),
        ({"filter": {}, "force": "yes"}, "bad_force", "true or false"),
        ({"filter": {}, "max_attempts": 0}, "bad_max_attempts", "a whole number from 1 to 1000"),
        ({"filter": {}, "forse": True}, "unknown_field", "the fields are operation_ids, filter, force, max_attempts"),
    ],
)
def test_a_request_that_makes_no_sense_changes_nothing(site: Site, body: dict[str, Any], code: str, says: str) -> None:
    failed = site.in_state("failed")
    answer = site.send("/operations/retry", body)
    assert error_of(answer) == (422, code)
    assert says in answer.get_json()["error"]["message"]
    assert state_of(site, failed) == "failed"


def test_attempts_can_be_given_when_it_begins_again_and_not_meanwhile(site: Site) -> None:
    failed, waiting = site.in_state("failed"), site.in_state("recovering")
    answer = site.send(f"/operations/{failed}/retry", {"max_attempts": 30})
    assert answer.get_json()["operation"]["max_attempts"] == 31  # one was used up before
    data = site.store.get(failed)
    assert data is not None
    assert given_attempts_of(data) == 30
    kind = site.integrator.kinds["download"]
    assert site.integrator.rules_for(kind, data, None)().max_attempts == 30
    site.integrator.update_config({"max_delay": 7})
    assert site.integrator.rules_for(kind, data, None)().max_attempts == 30
    refused = site.send(f"/operations/{waiting}/retry", {"max_attempts": 30})
    assert error_of(refused) == (409, "conflict")
    assert "is under way" in refused.get_json()["error"]["message"]
    site.integrator.cancel(failed)
    site.send(f"/operations/{failed}/retry")
    data = site.store.get(failed)
    assert data is not None
    assert given_attempts_of(data) is None


def test_with_force_it_is_the_probe_of_an_open_circuit_breaker(site: Site) -> None:
    breaker = site.integrator.guards.breaker("h", "download")
    for _ in range(breaker.threshold):
        breaker.failure()
    waiting = site.in_state("recovering")
    site.send(f"/operations/{waiting}/retry")
    assert breaker.is_open()
    site.send(f"/operations/{waiting}/retry", {"force": True})
    assert (breaker.is_open(), breaker.state) == (False, CircuitState.OPEN)
    assert breaker.acquire() == 0
    assert breaker.acquire() > 0  # the others wait for the probe
