"""The description of the API: it is right, whole, readable, and no request that it allows brings the server down."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import booleans

from launcher_recovery.records import RecoveryState
from launcher_recovery.web.api.description import document
from launcher_recovery.web.api.routes import PREFIX, ROUTES, Route
from launcher_recovery.web.security import Access
from tests.site import Site


def path_of(route: Route) -> str:
    """The path of a route as the document has it."""
    return PREFIX + re.sub(r"<(\w+)>", r"{\1}", route.rule)


def test_every_route_is_in_the_document_with_what_it_asks_and_answers(site: Site) -> None:
    answer = site.get("/openapi.json")
    found = answer.get_json()
    assert found == json.loads(json.dumps(document()))
    assert found["openapi"].startswith("3.1")
    paths = {(method.upper(), path) for path, methods in found["paths"].items() for method in methods}
    assert paths == {(route.method, path_of(route)) for route in ROUTES}
    for route in ROUTES:
        entry = found["paths"][path_of(route)][route.method.lower()]
        assert entry["summary"]
        assert ("(trusted)" in entry["summary"]) is (route.access is Access.TRUSTED)
        names = {one["name"] for one in entry["parameters"]}
        assert ("X-Launcher-Recovery" in names) is (route.method != "GET")
        assert {"200", "default"} <= set(entry["responses"])
        assert ("requestBody" in entry) is (route.method in ("POST", "PATCH"))
    text = json.dumps(found)
    for reference in set(re.findall(r'"\$ref": "#/components/schemas/(\w+)"', text)):
        assert reference in found["components"]["schemas"]


def test_the_hosts_own_routes_are_not_in_it(site: Site) -> None:
    assert all(path.startswith(PREFIX) for path in document()["paths"])


def test_the_page_shows_every_route_and_nothing_from_outside_runs_in_it(site: Site) -> None:
    answer = site.get("/docs")
    assert answer.mimetype == "text/html"
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    for path in document()["paths"]:
        assert f"<code>{path}</code>" in answer.text
    assert "<script" not in answer.text
    assert "style=" not in answer.text
    assert 'href="docs.css"' in answer.text
    assert site.get("/docs.css").mimetype == "text/css"


def _valid(site: Site, path: str, answer: Any, method: str = "get") -> None:
    """That an answer is as the document describes it."""
    schemas = document()["components"]["schemas"]
    described = document()["paths"][f"{PREFIX}{path}"][method]["responses"]["200"]["content"]["application/json"]
    validator = pytest.importorskip("jsonschema_rs")  # comes with schemathesis
    validator.validate({**described["schema"], "components": {"schemas": schemas}}, answer)


def test_answers_are_as_they_are_described(site: Site) -> None:
    ids = {state.value: site.in_state(state.value) for state in RecoveryState}
    live = site.attempt(site.begin("running.pt"))
    live.step("first", lambda: 1)
    live.progress(1, 2, "bytes")
    _valid(site, "/operations", site.get("/operations").get_json())
    for one in ids.values():
        _valid(site, "/operations/{operation_id}", site.get(f"/operations/{one}").get_json())
        _valid(site, "/operations/{operation_id}/fixes", site.get(f"/operations/{one}/fixes").get_json())
        _valid(site, "/operations/{operation_id}/advice", site.get(f"/operations/{one}/advice").get_json())
    for path in ("/status", "/health", "/config", "/events", "/performance", "/testing/scenarios"):
        _valid(site, path, site.get(path).get_json())
    retried = site.send(f"/operations/{ids['failed']}/retry").get_json()
    _valid(site, "/operations/{operation_id}/retry", retried, "post")
    many = site.send("/operations/cancel", {"filter": {}}).get_json()
    _valid(site, "/operations/cancel", many, "post")
    run = site.send("/testing/run", {"scenarios": ["dead_host"]}).get_json()
    _valid(site, "/testing/run", run, "post")


# What takes seconds is left to the tests that are about it; what it answers to nonsense is tried there, too.
_SLOW = re.compile(r"/(test|testing/run|performance/(validate|benchmark))$")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="schemathesis needs Python 3.11")
@pytest.mark.timeout(300)
def test_no_request_of_the_document_fails_the_server(site: Site) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    failed = site.in_state("failed")
    site.in_state("recovering")
    site.app.extensions["launcher_recovery_gate"].rates.take = lambda *given: 0  # thousands of requests in a moment
    schema = schemathesis.openapi.from_wsgi(f"{PREFIX}/openapi.json", site.app)
    problems: list[str] = []

    @settings(
        max_examples=15,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(case: Any, is_known: bool) -> None:
        if "operation_id" in case.path_parameters and is_known:
            case.path_parameters["operation_id"] = failed
        answer = case.call()
        if answer.status_code >= 500:
            problems.append(
                f"{answer.status_code} {case.method} {case.formatted_path} {case.body!r}: {answer.text[:300]}"
            )
        else:
            # Not everything that a request must be can be said in a schema, such as the `next` of an earlier answer.
            case.validate_response(answer, excluded_checks=[positive_data_acceptance])

    tried = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        if _SLOW.search(operation.path):
            continue
        tried.add((operation.method.upper(), operation.path))
        given(case=operation.as_strategy(), is_known=booleans())(send)()
    routes = {(route.method, path_of(route)) for route in ROUTES}
    untried = {route for route in routes if _SLOW.search(route[1])} | {("GET", f"{PREFIX}/openapi.json")}
    assert tried == routes - untried
    assert problems == []
