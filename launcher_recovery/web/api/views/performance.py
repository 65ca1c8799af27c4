"""What was done over time, and how fast it is here: measured when it is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from flask import Response, current_app

from launcher_recovery.activity import history, totals
from launcher_recovery.selftest import figures
from launcher_recovery.web.api.answers import answer, here
from launcher_recovery.web.api.description import described
from launcher_recovery.web.api.flights import single_flight
from launcher_recovery.web.api.models.performance import (
    BenchmarkAnswer,
    HistoryQuery,
    PerformanceAnswer,
    SecondsBody,
    ValidateAnswer,
)
from launcher_recovery.web.api.timing import Timing


@described(PerformanceAnswer, tag="performance")
def performance(query: HistoryQuery) -> Response:
    """Attempts over time, bytes that were not fetched again, and what this process did."""
    integrator = here()
    spans, seconds = history(integrator.persistence, query.hours, integrator.clock.time())
    timing: Timing = current_app.extensions["launcher_recovery_timing"]
    return answer(
        performance={
            "history": [span.to_json() for span in spans],
            "span_s": seconds,
            "totals": totals(spans),
            "process": {**integrator.metrics.as_dict(), "api": timing.to_json()},
        }
    )


@described(ValidateAnswer, tag="performance")
def validate(json: SecondsBody) -> Response:
    """Measure here and now whether the limits are kept that recovery promises to keep."""
    found, seconds = _measured(figures.validate, json.seconds)
    return answer(
        valid=all(figure.is_kept is not False for figure in found),
        figures=[asdict(figure) for figure in found],
        seconds=seconds,
    )


@described(BenchmarkAnswer, tag="performance")
def benchmark(json: SecondsBody) -> Response:
    """Measure here and now how much this machine can do."""
    found, seconds = _measured(figures.benchmark, json.seconds)
    return answer(figures=[asdict(figure) for figure in found], seconds=seconds)


def _measured(
    measure: Callable[[Path, float], list[figures.Figure]], seconds: float
) -> tuple[list[figures.Figure], float]:
    with single_flight():
        began = time.perf_counter()
        folder = here().data_folder
        folder.mkdir(parents=True, exist_ok=True)
        return measure(folder, seconds), round(time.perf_counter() - began, 3)
