"""Whether recovery works here: its parts, and real faults of a private server."""

from __future__ import annotations

import time
from collections.abc import Sequence

from flask import Response

from launcher_recovery.selftest.checks import checks_of
from launcher_recovery.selftest.results import Check, results_of
from launcher_recovery.selftest.scenarios import SCENARIOS
from launcher_recovery.web.api.answers import ApiError, answer, here
from launcher_recovery.web.api.description import described
from launcher_recovery.web.api.flights import single_flight
from launcher_recovery.web.api.models.operations import NothingBody
from launcher_recovery.web.api.models.testing import RunBody, ScenariosAnswer, TestAnswer

MOST_SECONDS = 60.0
"""After so many no further check is begun."""


@described(TestAnswer, tag="testing")
def test(json: NothingBody) -> Response:
    """Try every part of recovery here and now: the store, the waits, the rules, the breakers, retrying, events."""
    return _run(checks_of(here()))


@described(ScenariosAnswer, tag="testing")
def scenarios() -> Response:
    """The faults that can be tried."""
    return answer(scenarios=[{"id": one.id, "title": one.title, "about": one.about} for one in SCENARIOS])


@described(TestAnswer, tag="testing")
def run(json: RunBody) -> Response:
    """Try real faults against a server and a database of their own."""
    known = {one.id: one for one in SCENARIOS}
    unknown = [name for name in json.scenarios or () if name not in known]
    if unknown:
        message = f"There is no scenario {unknown[0][:64]}: use {', '.join(known)}."
        raise ApiError(422, "bad_scenarios", message, field="scenarios")
    return _run([known[name] for name in dict.fromkeys(json.scenarios or known)])


def _run(checks: Sequence[Check]) -> Response:
    titles = {check.id: check.title for check in checks}
    with single_flight():
        began = time.perf_counter()
        results = [*results_of(checks, MOST_SECONDS)]
        seconds = round(time.perf_counter() - began, 3)
    redactor = here().redactor
    return answer(
        passed=all(result.passed is True for result in results),
        results=[
            {
                "id": result.id,
                "title": titles[result.id],
                "passed": result.passed,
                "detail": redactor.text(result.detail),
                "seconds": result.seconds,
            }
            for result in results
        ],
        seconds=seconds,
    )
